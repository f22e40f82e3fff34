/* A request to another server, followed on the event loop (libcurl): nothing here waits. The server is known
 * by its public key alone. Each request has a connection of its own, so that whoever is away is known to be
 * within FORWARD_CONNECT_SECONDS. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/strv.h"

#include <systemd/sd-event.h>

#define FORWARDS_MAX 64    /* at a time */
#define FORWARDS_OF_ONE 16 /* …of one caller */
#define FORWARD_CONNECT_SECONDS 2.5
#define FORWARD_MORE_SECONDS 5 /* than the other side gives itself */
#define FORWARD_ANSWER_MAX (8 << 20)

struct forwards;
struct forward;

struct forward_request {
    const char *who; /* for whom; borrowed until forward_start returns, as all of it */
    const char *url, *pin, *method;
    const struct strv *headers;
    unsigned seconds; /* that the answer may take */
    const char *body; /* NULL: none */
    size_t len;
};

struct forward_result {
    unsigned status; /* 0: there is no answer, and `problem` says why */
    const char *problem;
    struct buf body;
};

struct forwards *forwards_new(sd_event *event, struct err *e);
/* None must be under way. NULL is fine. */
void forwards_free(struct forwards *f);

/* done is called once, from the event loop, and the forward is freed behind it. NULL and *e: ERR_BUSY when
 * there are too many, of all or of this caller. */
struct forward *forward_start(struct forwards *f, const struct forward_request *r,
                              void (*done)(const struct forward_result *r, void *arg), void *arg,
                              struct err *e);
/* The connection is closed; done is not called. */
void forward_cancel(struct forward *f);
