#include "conf/digest.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdint.h>
#include <stdio.h>

void digest_sha1(const void *data, size_t len, char out[41])
{
    uint8_t raw[20] = {0};
    gnutls_hash_fast(GNUTLS_DIG_SHA1, len ? data : "", len, raw);
    for (size_t i = 0; i < sizeof raw; i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
}
