#include "conf/digest.h"

#include <sha1.h>
#include <stdint.h>

void digest_sha1(const void *data, size_t len, char out[41])
{
    SHA1Data(len ? data : (const uint8_t *)"", len, out);
}
