/* A number that tells texts apart, for tables and for "is it as it was?": no protection against who wants two
 * texts to have the same one. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* FNV-1a, with its upper half mixed into the lower, which alone chooses a slot of a table. */
static inline uint64_t hash_bytes(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3;
    return h ^ h >> 32;
}
