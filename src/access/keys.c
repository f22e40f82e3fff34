/* The RSA keys behind tickets. */
#include "access/keys.h"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <string.h>

#define KEY_BITS 2048 /* of new keys */

struct ticket_keys {
    gnutls_privkey_t private_key;        /* NULL: cannot sign */
    gnutls_pubkey_t public_key, old_key; /* old_key NULL: none */
    int64_t rotated;
};

static gnutls_datum_t datum(const char *text)
{
    return (gnutls_datum_t){(unsigned char *)text, (unsigned)strlen(text)};
}

static int not_a_key(const char *name, int code, struct err *e)
{
    return err_set(e, ERR_CONFIG, 0, "%s is no RSA key in PEM (%s)", name, gnutls_strerror(code));
}

static int rsa_only(int algorithm)
{
    return algorithm == GNUTLS_PK_RSA ? 0 : GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM;
}

static int read_private(const char *text, gnutls_privkey_t *ret, struct err *e)
{
    gnutls_datum_t pem = datum(text);
    gnutls_privkey_init(ret);
    int r = gnutls_privkey_import_x509_raw(*ret, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    r = r < 0 ? r : rsa_only(gnutls_privkey_get_pk_algorithm(*ret, NULL));
    return r < 0 ? not_a_key("authkey.key", r, e) : 0;
}

static int read_public(const char *name, const char *text, gnutls_pubkey_t *ret, struct err *e)
{
    gnutls_datum_t pem = datum(text);
    gnutls_pubkey_init(ret);
    int r = gnutls_pubkey_import(*ret, &pem, GNUTLS_X509_FMT_PEM);
    r = r < 0 ? r : rsa_only(gnutls_pubkey_get_pk_algorithm(*ret, NULL));
    return r < 0 ? not_a_key(name, r, e) : 0;
}

static int public_of(gnutls_privkey_t private_key, gnutls_pubkey_t *ret, struct err *e)
{
    gnutls_pubkey_init(ret);
    int r = gnutls_pubkey_import_privkey(*ret, private_key, 0, 0);
    return r < 0 ? not_a_key("authkey.key", r, e) : 0;
}

static void read_old(struct ticket_keys *k, const char *text)
{
    struct err e;
    if (read_public("authkey.pub.old", text, &k->old_key, &e) == 0)
        return;
    gnutls_pubkey_deinit(k->old_key);
    k->old_key = NULL;
}

struct ticket_keys *ticket_keys_new(const struct ticket_key_texts *texts, struct err *e)
{
    _cleanup_ticket_keys_ struct ticket_keys *k = xcalloc(1, sizeof *k);
    k->rotated = texts->rotated;
    if (!texts->private_key && !texts->public_key) {
        err_set(e, ERR_CONFIG, 0, "there is neither authkey.key nor authkey.pub");
        return NULL;
    }
    if (texts->private_key && read_private(texts->private_key, &k->private_key, e) < 0)
        return NULL;
    if ((texts->public_key ? read_public("authkey.pub", texts->public_key, &k->public_key, e)
                           : public_of(k->private_key, &k->public_key, e)) < 0)
        return NULL;
    if (texts->old_key)
        read_old(k, texts->old_key);
    return take_ptr(k);
}

void ticket_keys_free(struct ticket_keys *k)
{
    if (!k)
        return;
    gnutls_privkey_deinit(k->private_key);
    gnutls_pubkey_deinit(k->public_key);
    gnutls_pubkey_deinit(k->old_key);
    free(k);
}

int keys_sign(const struct ticket_keys *k, const char *text, size_t len, struct buf *signature, struct err *e)
{
    if (!k->private_key)
        return err_set(e, ERR_CONFIG, 0, "no ticket can be made: there is no authkey.key");
    gnutls_datum_t data = {(unsigned char *)text, (unsigned)len}, out;
    int r = gnutls_privkey_sign_data2(k->private_key, GNUTLS_SIGN_RSA_SHA1, 0, &data, &out);
    if (r < 0)
        return err_set(e, ERR_SYSTEM, 0, "no ticket can be signed: %s", gnutls_strerror(r));
    buf_add(signature, out.data, out.size);
    gnutls_free(out.data);
    return 0;
}

/* SHA-1 is what these tickets are made with, which GnuTLS does not take unless told so. */
static bool is_signed_by(gnutls_pubkey_t key, const char *text, size_t len, const struct buf *signature)
{
    gnutls_datum_t data = {(unsigned char *)text, (unsigned)len};
    gnutls_datum_t sig = {(unsigned char *)signature->data, (unsigned)signature->len};
    return gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_RSA_SHA1, GNUTLS_VERIFY_ALLOW_SIGN_WITH_SHA1, &data,
                                      &sig) >= 0;
}

bool keys_verify(const struct ticket_keys *k, const char *text, size_t len, int64_t stamp,
                 const struct buf *signature)
{
    if (is_signed_by(k->public_key, text, len, signature))
        return true;
    return k->old_key && stamp <= k->rotated + KEYS_GRACE && is_signed_by(k->old_key, text, len, signature);
}

bool ticket_keys_fit(const struct ticket_keys *k)
{
    static const char text[] = "any";
    struct err ignored;
    _cleanup_buf_ struct buf signature = BUF_INIT;
    return keys_sign(k, text, sizeof text, &signature, &ignored) == 0 &&
           is_signed_by(k->public_key, text, sizeof text, &signature);
}

/* ---- new ones ---- */

void ticket_new_keys_release(struct ticket_new_keys *k)
{
    if (k->private_key)
        explicit_bzero(k->private_key, strlen(k->private_key));
    free(k->private_key);
    free(k->public_key);
    free(k->old_key);
    *k = (struct ticket_new_keys){0};
}

static char *text_of(gnutls_datum_t *d)
{
    char *text = xstrndup((char *)d->data, d->size);
    explicit_bzero(d->data, d->size);
    gnutls_free(d->data);
    return text;
}

static int export(gnutls_x509_privkey_t key, struct ticket_new_keys *ret)
{
    gnutls_datum_t d = {NULL, 0};
    gnutls_pubkey_t public_key;
    gnutls_privkey_t private_key;
    gnutls_pubkey_init(&public_key);
    gnutls_privkey_init(&private_key);
    int r = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &d);
    if (r >= 0) {
        ret->private_key = text_of(&d);
        r = gnutls_privkey_import_x509(private_key, key, 0);
    }
    r = r < 0 ? r : gnutls_pubkey_import_privkey(public_key, private_key, 0, 0);
    r = r < 0 ? r : gnutls_pubkey_export2(public_key, GNUTLS_X509_FMT_PEM, &d);
    if (r >= 0)
        ret->public_key = text_of(&d);
    gnutls_pubkey_deinit(public_key);
    gnutls_privkey_deinit(private_key);
    return r;
}

int ticket_keys_public(const char *private_key, char **ret, struct err *e)
{
    gnutls_privkey_t key = NULL;
    gnutls_pubkey_t public_key = NULL;
    gnutls_datum_t d = {NULL, 0};
    int r = read_private(private_key, &key, e);
    r = r < 0 ? r : public_of(key, &public_key, e);
    if (r == 0 && (r = gnutls_pubkey_export2(public_key, GNUTLS_X509_FMT_PEM, &d)) < 0)
        not_a_key("authkey.key", r, e);
    gnutls_pubkey_deinit(public_key);
    gnutls_privkey_deinit(key);
    if (r < 0)
        return -1;
    *ret = text_of(&d);
    return 0;
}

int ticket_keys_rotate(const char *public_key, struct ticket_new_keys *ret, struct err *e)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_privkey_init(&key);
    *ret = (struct ticket_new_keys){0};
    int r = gnutls_x509_privkey_generate(key, GNUTLS_PK_RSA, KEY_BITS, 0);
    r = r < 0 ? r : export(key, ret);
    gnutls_x509_privkey_deinit(key);
    if (r < 0) {
        ticket_new_keys_release(ret);
        return err_set(e, ERR_SYSTEM, 0, "no new key pair for tickets can be made: %s", gnutls_strerror(r));
    }
    ret->old_key = public_key ? xstrdup(public_key) : NULL;
    return 0;
}
