/* Sends what is spooled (notify/spool.h): each notification in a process of its own with a deadline, one at a
 * time to a target and in order, and again later when it could not be sent. The process itself records what
 * became of it, so that the end of this daemon makes nothing be sent twice. */
#pragma once

#include "cluster/tree.h"
#include "conf/settings.h"
#include "notify/event.h"

#include <systemd/sd-event.h>

struct children;
struct delivery;

struct courier {
    /* set by the owner, and borrowed */
    sd_event *event;
    struct children *children;
    const struct settings *settings;
    const char *config; /* --config for the process, or NULL */

    sd_event_source *timer;
    struct delivery *under_way;
    int64_t retried; /* epoch: what was tried before then is due; at first when this daemon began */
    size_t waiting;  /* as of the last look */
    /* names that are settled, and could not be removed: never sent again by this daemon, nor in anything's
     * way */
    struct strv settled;
    struct strv refused; /* names that were since `retried` */
};

/* A mail of the daemon's own that was not accepted: an event with its text at this key, for this target. */
#define COURIER_MAIL "mail"
#define COURIER_MAIL_TARGET "mail-to"
/* Spool it for a target. */
int courier_add(struct courier *c, const char *target, const json_t *event, struct err *e);
/* Send what is due, and look again when more is. */
void courier_look(struct courier *c);
/* Something was mended, perhaps: try all of it anew. */
void courier_retry(struct courier *c);
/* Wait for no answer any more. */
void courier_release(struct courier *c);

/* The process: "NAME\nSTATE-DIR" of what is to be sent on stdin; the settings may name another one by now. 0:
 * it was sent, or is gone; -1: it waits; or, each with a sentence in *e: */
enum {
    COURIER_DROPPED = 3, /* its target is no more */
    COURIER_STAYS = 4,   /* it was sent, or dropped, and cannot be removed */
    COURIER_REFUSED = 5, /* its target does not take it: it stays, and is tried once more after courier_retry,
                            by the next daemon, and after COURIER_REFUSED_SECONDS */
};
#define COURIER_REFUSED_SECONDS (4 * 3600)
int courier_errand(const struct settings *s, struct tree *t, struct err *e);

/* Tell a target of notify.cfg at once that this is a test, also one that is turned off; what is wrong in
 * notify.cfg goes to stderr. */
int courier_test(const struct settings *s, struct tree *t, const char *target, struct err *e);
