#include "api/tls.h"

#include "base/clock.h"

#include <string.h>

#define CHAIN_MAX 16

struct pair {
    struct pair *next; /* those replaced: handshakes that have begun use them on */
    double replaced;
    gnutls_pcert_st certs[CHAIN_MAX];
    unsigned n;
    gnutls_privkey_t key;
};

static struct pair *used, *former;

static void pair_free(struct pair *p)
{
    for (unsigned i = 0; i < p->n; i++)
        gnutls_pcert_deinit(&p->certs[i]);
    gnutls_privkey_deinit(p->key);
    free(p);
}

static int parse(const struct certificate *c, struct pair *p)
{
    gnutls_datum_t cert = {(unsigned char *)buf_str(&c->cert), (unsigned)c->cert.len};
    gnutls_datum_t key = {(unsigned char *)buf_str(&c->key), (unsigned)c->key.len};
    unsigned n = CHAIN_MAX;
    int r = gnutls_privkey_init(&p->key);
    if (r >= 0)
        r = gnutls_privkey_import_x509_raw(p->key, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (r >= 0)
        r = gnutls_pcert_list_import_x509_raw(p->certs, &n, &cert, GNUTLS_X509_FMT_PEM, 0);
    if (r >= 0)
        p->n = n;
    return r;
}

static int key_id(gnutls_pubkey_t key, unsigned char id[32])
{
    size_t n = 32;
    return gnutls_pubkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, id, &n);
}

static bool fit(const struct pair *p)
{
    unsigned char of_cert[32], of_key[32];
    gnutls_pubkey_t public = NULL;
    bool fits = gnutls_pubkey_init(&public) >= 0 && gnutls_pubkey_import_privkey(public, p->key, 0, 0) >= 0 &&
                key_id(public, of_key) >= 0 && key_id(p->certs[0].pubkey, of_cert) >= 0 &&
                memcmp(of_key, of_cert, sizeof of_key) == 0;
    gnutls_pubkey_deinit(public);
    return fits;
}

int tls_use(const struct certificate *c, struct err *e)
{
    struct pair *p = xcalloc(1, sizeof *p);
    int r = parse(c, p);
    if (r < 0)
        err_set(e, ERR_CONFIG, 0, "certificate and key cannot be read: %s", gnutls_strerror(r));
    else if (p->n == 0 || !fit(p))
        r = err_set(e, ERR_CONFIG, 0, "the key is not that of the certificate");
    if (r < 0) {
        pair_free(p);
        return -1;
    }
    if (used) {
        used->next = former;
        used->replaced = clock_mono();
        former = used;
    }
    used = p;
    return 0;
}

void tls_sweep(double seconds)
{
    for (struct pair **at = &former; *at;) {
        struct pair *p = *at;
        if (clock_mono() - p->replaced <= seconds) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        pair_free(p);
    }
}

void tls_release(void)
{
    tls_sweep(-1);
    if (used)
        pair_free(used);
    used = NULL;
}

int tls_retrieve(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                 const gnutls_pk_algorithm_t *algorithms, int n_algorithms, gnutls_pcert_st **certs,
                 unsigned *n_certs, gnutls_privkey_t *key)
{
    if (!used)
        return -1;
    *certs = used->certs;
    *n_certs = used->n;
    *key = used->key;
    return 0;
}
