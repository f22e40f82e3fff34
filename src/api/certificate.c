#include "api/certificate.h"

#include "api/home.h"
#include "base/fs.h"
#include "cluster/members.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define PEM_MAX (256 << 10)
#define YEARS 10

void certificate_release(struct certificate *c)
{
    buf_release(&c->cert);
    if (c->key.data)
        explicit_bzero(c->key.data, c->key.room);
    buf_release(&c->key);
}

/* ---- made here ---- */

static int failed(int code, struct err *e)
{
    return err_set(e, ERR_SYSTEM, 0, "cannot make a certificate: %s", gnutls_strerror(code));
}

static int add_name(gnutls_x509_crt_t crt, const char *name)
{
    unsigned char ip[16];
    unsigned flags = GNUTLS_FSAN_APPEND;
    if (inet_pton(AF_INET, name, ip) == 1)
        return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, 4, flags);
    if (inet_pton(AF_INET6, name, ip) == 1)
        return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, 16, flags);
    return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, name, (unsigned)strlen(name), flags);
}

static int describe(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *node,
                    const struct strv *names)
{
    unsigned char serial[16];
    time_t now = time(NULL);
    int r = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial);
    serial[0] &= 0x7f; /* a positive number */
    serial[0] |= 1;
    if (r >= 0 && (r = gnutls_x509_crt_set_version(crt, 3)) >= 0 &&
        (r = gnutls_x509_crt_set_serial(crt, serial, sizeof serial)) >= 0 &&
        (r = gnutls_x509_crt_set_activation_time(crt, now - 86400)) >= 0 &&
        (r = gnutls_x509_crt_set_expiration_time(crt, now + YEARS * 365 * 86400LL)) >= 0 &&
        (r = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, node,
                                           (unsigned)strlen(node))) >= 0 &&
        (r = gnutls_x509_crt_set_basic_constraints(crt, 0, -1)) >= 0 &&
        (r = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0)) >= 0)
        r = gnutls_x509_crt_set_key(crt, key);
    for (size_t i = 0; i < names->n && r >= 0; i++)
        r = add_name(crt, names->v[i]);
    return r < 0 ? r : gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
}

static void take(gnutls_datum_t *pem, struct buf *to)
{
    buf_add(to, pem->data, pem->size);
    explicit_bzero(pem->data, pem->size);
    gnutls_free(pem->data);
}

static int export(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, struct certificate *ret)
{
    gnutls_datum_t pem = {0};
    int r = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
    if (r < 0)
        return r;
    take(&pem, &ret->cert);
    if (ret->key.len)
        return 0;
    if ((r = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem)) < 0)
        return r;
    take(&pem, &ret->key);
    return 0;
}

/* The one that there is, or a new one. */
static int find_key(const struct buf *pem, gnutls_x509_privkey_t *ret)
{
    gnutls_datum_t text = {.data = (unsigned char *)pem->data, .size = (unsigned)pem->len};
    int r = gnutls_x509_privkey_init(ret);
    if (r < 0)
        return r;
    return pem->len ? gnutls_x509_privkey_import2(*ret, &text, GNUTLS_X509_FMT_PEM, NULL, 0)
                    : gnutls_x509_privkey_generate(*ret, GNUTLS_PK_ECDSA,
                                                   GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
}

/* For ret->key, which is made where it is empty. */
static int make(const char *node, const struct strv *names, const char *file, struct certificate *ret,
                struct err *e)
{
    gnutls_x509_crt_t crt = NULL;
    gnutls_x509_privkey_t key = NULL;
    int r = find_key(&ret->key, &key);
    if (r < 0 && ret->key.len) {
        gnutls_x509_privkey_deinit(key);
        return err_set(
            e, ERR_CONFIG, 0,
            "the key '%s' cannot be read (%s): put a good one there, or remove it, and another one is made",
            file, gnutls_strerror(r));
    }
    if (r >= 0)
        r = gnutls_x509_crt_init(&crt);
    if (r >= 0)
        r = describe(crt, key, node, names);
    if (r >= 0)
        r = export(crt, key, ret);
    gnutls_x509_privkey_deinit(key);
    gnutls_x509_crt_deinit(crt);
    return r < 0 ? failed(r, e) : 0;
}

/* By what others may call this node. */
static void name_node(const struct settings *s, struct tree *t, struct strv *names)
{
    struct members members = {0};
    struct err ignored;
    _cleanup_free_ char *listens = NULL;
    uint16_t port;
    strv_adds(names, s->node, "localhost", "127.0.0.1", "::1", NULL);
    if (s->listen && settings_parse_listen(s->listen, &listens, &port, &ignored) == 0)
        strv_add_once(names, listens);
    if (members_load(t, &members, &ignored) < 0)
        return;
    const struct member *self = members_find(&members, s->node);
    if (self && strcmp(self->node.address, "local") != 0)
        strv_add_once(names, self->node.address);
    members_release(&members);
}

/* The key first: a certificate without one would be taken for the administrator's. A key alone is what a
 * crash left of this, or an administrator who renews the certificate: it stays. */
static int make_and_keep(const struct settings *s, struct tree *t, const char *cert, const char *key,
                         struct certificate *ret, struct err *e)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    if (tree_is_pmxcfs(t))
        return err_set(e, ERR_CONFIG, 0,
                       "the node's certificate '%s' is not there: 'pvecm updatecerts' makes it", cert);
    if (home_check(t, s, e) < 0)
        return -1;
    name_node(s, t, &names);
    bool had = ret->key.len;
    if (make(s->node, &names, key, ret, e) < 0 ||
        (!had && tree_write(t, key, ret->key.data, ret->key.len, e) < 0))
        return -1;
    return tree_write(t, cert, ret->cert.data, ret->cert.len, e);
}

/* ---- found ---- */

/* 1: there is none, at most a key. */
static int read_pair(struct tree *t, const char *cert, const char *key, struct certificate *ret,
                     struct err *e)
{
    int r = tree_read(t, cert, &ret->cert, e);
    int k = r < 0 ? -1 : tree_read(t, key, &ret->key, e);
    if (r == 0 && k > 0)
        return err_set(e, ERR_CONFIG, 0,
                       "the certificate '%s' has no key '%s': put that there, or remove the certificate, and "
                       "another one is made",
                       cert, key);
    return r < 0 || k < 0 ? -1 : r;
}

static int read_file(const char *path, struct buf *ret, struct err *e)
{
    int r = fs_read(path, PEM_MAX, ret, e);
    return r > 0 ? err_set(e, ERR_CONFIG, 0, "the file '%s' that pvesr.conf names does not exist", path) : r;
}

static const char *const names[] = {"pveproxy-ssl", "pve-ssl"};

static void stamp(const char *path, struct buf *ret)
{
    struct stat st = {0};
    if (stat(path, &st) < 0)
        st = (struct stat){0};
    buf_addf(ret, "%ju.%jd.%jd.%09ld ", (uintmax_t)st.st_ino, (intmax_t)st.st_size,
             (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

void certificate_stamp(const struct settings *s, const struct tree *t, struct buf *ret)
{
    if (s->tls_cert) {
        stamp(s->tls_cert, ret);
        stamp(s->tls_key, ret);
        return;
    }
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        _cleanup_free_ char *cert = xasprintf("%s/nodes/%s/%s.pem", tree_root(t), s->node, names[i]);
        _cleanup_free_ char *key = xasprintf("%s/nodes/%s/%s.key", tree_root(t), s->node, names[i]);
        stamp(cert, ret);
        stamp(key, ret);
    }
}

int certificate_load(const struct settings *s, struct tree *t, struct certificate *ret, struct err *e)
{
    *ret = (struct certificate){0};
    if (s->tls_cert)
        return read_file(s->tls_cert, &ret->cert, e) < 0 ? -1 : read_file(s->tls_key, &ret->key, e);
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        _cleanup_free_ char *cert = xasprintf("nodes/%s/%s.pem", s->node, names[i]);
        _cleanup_free_ char *key = xasprintf("nodes/%s/%s.key", s->node, names[i]);
        int r = read_pair(t, cert, key, ret, e);
        if (r <= 0)
            return r;
        if (i + 1 == ELEMENTS(names))
            return make_and_keep(s, t, cert, key, ret, e);
    }
    return -1;
}
