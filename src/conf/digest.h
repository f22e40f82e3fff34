/* SHA-1 in hex, for the digest of configuration files (spec 2.1); not a security property. */
#pragma once

#include <stddef.h>

void digest_sha1(const void *data, size_t len, char out[41]);
