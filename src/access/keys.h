/* What ticket.c asks of the keys. Of this folder alone; the rest is in access/ticket.h. */
#pragma once

#include "access/ticket.h"
#include "base/buf.h"

#define KEYS_GRACE                                                                                           \
    300 /* seconds after a rotation in which somebody may still have signed with the old key                 \
         */

/* Append the bytes of the signature. */
int keys_sign(const struct ticket_keys *k, const char *text, size_t len, struct buf *signature,
              struct err *e);
/* stamp: when the text was signed, as it says. */
bool keys_verify(const struct ticket_keys *k, const char *text, size_t len, int64_t stamp,
                 const struct buf *signature);
