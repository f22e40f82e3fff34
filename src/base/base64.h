/* Base64 (RFC 4648): what is read must be exactly what would be written. */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Append, without line breaks; padded: with '=' at the end where the length asks for it. */
void base64_encode(const void *data, size_t len, bool padded, struct buf *out);
/* Append what the padded text says. False: a character, a length, padding or bits that base64_encode would
 * not have written. */
bool base64_decode(const char *text, size_t len, struct buf *out);
