/* One notification to one target, and wait for its answer: for a process of its own, with a deadline. */
#pragma once

#include "base/err.h"
#include "notify/targets.h"

#define SEND_SECONDS 45

struct sending {
    const char *sendmail; /* the program */
    const char *from;     /* of mails, where the target says none; NULL: root */
    const char *id;       /* the same whenever it is tried: receivers can tell that they had it */
    struct strv *had; /* recipients at a mail server that have it: not sent again; those that get it now are
                         added, also where others do not; or NULL */
};

/* 0 when it was accepted, for all recipients. ERR_DATA: a server has read it, and says that it will never
 * take it, or not for one of them. No secret is in *e. */
int notify_send(const struct notify_target *t, const json_t *event, const struct sending *s, struct err *e);
