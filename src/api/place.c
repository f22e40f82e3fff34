#include "api/place.h"

#include "api/home.h"
#include "base/base64.h"
#include "cluster/members.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <string.h>

#define PIN "sha256//"

void place_release(struct place *p)
{
    free(p->host);
    free(p->pin);
    *p = (struct place){0};
}

static char *path_of(const char *node)
{
    return xasprintf("nodes/%s/pvesr-api", node);
}

/* ---- said ---- */

static int digest_key(gnutls_x509_crt_t crt, unsigned char out[32])
{
    gnutls_pubkey_t key = NULL;
    gnutls_datum_t der = {0};
    int r = gnutls_pubkey_init(&key);
    if (r >= 0)
        r = gnutls_pubkey_import_x509(key, crt, 0);
    if (r >= 0)
        r = gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, &der);
    if (r >= 0)
        r = gnutls_hash_fast(GNUTLS_DIG_SHA256, der.data, der.size, out);
    gnutls_free(der.data);
    gnutls_pubkey_deinit(key);
    return r;
}

/* Of the first certificate in the text: the node's own. */
static int add_pin(const char *pem, struct buf *out, struct err *e)
{
    unsigned char digest[32];
    gnutls_x509_crt_t crt = NULL;
    gnutls_datum_t text = {.data = (unsigned char *)pem, .size = (unsigned)strlen(pem)};
    int r = gnutls_x509_crt_init(&crt);
    if (r >= 0)
        r = gnutls_x509_crt_import(crt, &text, GNUTLS_X509_FMT_PEM);
    if (r >= 0)
        r = digest_key(crt, digest);
    gnutls_x509_crt_deinit(crt);
    if (r < 0)
        return err_set(e, ERR_CONFIG, 0, "the certificate of the API cannot be read: %s", gnutls_strerror(r));
    buf_adds(out, PIN);
    base64_encode(digest, sizeof digest, true, out);
    return 0;
}

int place_publish(struct tree *t, const struct settings *s, const char *where, const char *pem, struct err *e)
{
    _cleanup_free_ char *path = path_of(s->node);
    _cleanup_buf_ struct buf line = BUF_INIT, now = BUF_INIT;
    buf_addf(&line, "%s ", where);
    if (add_pin(pem, &line, e) < 0)
        return -1;
    buf_addc(&line, '\n');
    if (tree_read(t, path, &now, e) == 0 && strcmp(buf_str(&now), buf_str(&line)) == 0)
        return 0;
    return home_check(t, s, e) < 0 ? -1 : tree_write(t, path, line.data, line.len, e);
}

/* ---- found ---- */

static bool is_every_address(const char *host)
{
    return strcmp(host, "::") == 0 || strcmp(host, "0.0.0.0") == 0;
}

/* As the cluster calls the node. */
static int ask_members(struct tree *t, const char *node, char **host, struct err *e)
{
    struct members members = {0};
    if (members_load(t, &members, e) < 0)
        return -1;
    const struct member *m = members_find(&members, node);
    free(*host);
    *host = xstrdup(!m ? node : strcmp(m->node.address, "local") == 0 ? "127.0.0.1" : m->node.address);
    members_release(&members);
    return 0;
}

/* "ADDRESS:PORT PIN\n" */
static int parse(char *line, struct place *ret, struct err *e)
{
    line[strcspn(line, "\n")] = 0;
    char *blank = strchr(line, ' ');
    if (!blank || strncmp(blank + 1, PIN, strlen(PIN)) != 0)
        return err_set(e, ERR_CONFIG, 0, "'%s' is not ADDRESS:PORT " PIN "KEY", line);
    *blank = 0;
    ret->pin = xstrdup(blank + 1);
    return settings_parse_listen(line, &ret->host, &ret->port, e);
}

int place_find(struct tree *t, const char *node, struct place *ret, struct err *e)
{
    _cleanup_free_ char *path = path_of(node);
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct err why = {0};
    int r = tree_read(t, path, &text, e);
    if (r != 0)
        return r;
    _cleanup_free_ char *line = buf_take(&text);
    if (parse(line, ret, &why) < 0)
        r = err_set(e, ERR_CONFIG, 0,
                    "the file '%s' of the cluster is damaged: %s; pvesrd of node '%s' writes it anew "
                    "within 30 s, if it runs",
                    path, why.text, node);
    if (r == 0 && is_every_address(ret->host))
        r = ask_members(t, node, &ret->host, e);
    if (r < 0)
        place_release(ret);
    return r;
}
