/* Tokens against forged requests: who has one was shown it by us, which a cookie alone does not prove. */
#include "base/base64.h"
#include "access/stamp.h"
#include "access/ticket.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

#define HASH_LEN 32 /* bytes of SHA-256 */

/* Append the base64 text, without padding, of HMAC-SHA-256. */
static int add_hmac(const char *key, const void *text, size_t len, struct buf *out, struct err *e)
{
    uint8_t hash[HASH_LEN];
    int r = gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, strlen(key), text, len, hash);
    if (r < 0)
        return err_set(e, ERR_SYSTEM, 0, "HMAC-SHA-256 fails: %s", gnutls_strerror(r));
    base64_encode(hash, sizeof hash, false, out);
    return 0;
}

int csrf_secret(const char *text, size_t len, char out[CSRF_SECRET_MAX], struct err *e)
{
    _cleanup_buf_ struct buf secret = BUF_INIT;
    if (len == 0)
        return err_set(e, ERR_CONFIG, 0, "pve-www.key is empty");
    if (add_hmac("", text, len, &secret, e) < 0)
        return -1;
    memcpy(out, secret.data, secret.len + 1);
    explicit_bzero(secret.data, secret.len);
    return 0;
}

int csrf_make(const char *secret, const char *userid, int64_t now, char out[CSRF_TOKEN_MAX], struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT, token = BUF_INIT;
    stamp_print(now, out);
    buf_addf(&text, "%s:%s", out, userid);
    buf_addf(&token, "%s:", out);
    if (add_hmac(secret, text.data, text.len, &token, e) < 0)
        return -1;
    memcpy(out, token.data, token.len + 1);
    return 0;
}

int csrf_check(const char *secret, const char *userid, const char *token, int64_t now, struct err *e)
{
    int64_t stamp;
    char right[CSRF_TOKEN_MAX];
    if (!stamp_parse(token, &stamp))
        return err_set(e, ERR_USAGE, 0, "the CSRFPreventionToken has not the form of one");
    if (csrf_make(secret, userid, stamp, right, e) < 0)
        return -1;
    if (strlen(token) != strlen(right) || gnutls_memcmp(token, right, strlen(right)) != 0)
        return err_set(e, ERR_USAGE, 0, "the CSRFPreventionToken is not that of user '%s'", userid);
    return stamp_check("the CSRFPreventionToken", stamp, now, e);
}
