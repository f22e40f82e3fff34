/* SHA-1 in hex, for the digest of configuration files; not a security property. */
#pragma once

#include <stddef.h>

void digest_sha1(const void *data, size_t len, char out[41]);
