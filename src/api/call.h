/* One request to the API, from its text to the answer's: who sends it, which row of the table it is, are its
 * parameters right, may they, what comes out. Knows nothing of HTTP's wire: that is server.h.
 *
 *     call_begin(c)   ──► answered at once
 *                     └─► 1: a child (or another node) answers; c->answered is called then
 *     call_print(c, &body), or stream_read(c->stream, …) again and again
 */
#pragma once

#include "access/caller.h"
#include "api/child.h"
#include "api/facts.h"
#include "api/forward.h"
#include "api/often.h"
#include "api/request.h"
#include "api/who.h"
#include "cluster/guests.h"
#include "cluster/jobs.h"
#include "cluster/members.h"
#include "conf/settings.h"
#include "view/rows.h"

#include <netinet/in.h>
#include <systemd/sd-event.h>

#define API_CHILDREN_MAX 16  /* at a time */
#define API_LOOKS_MAX 8      /* …that look: log-ins and changes need the others */
#define API_LOOKS_OF_ONE 2   /* …of one caller */
#define API_CHILD_SECONDS 45 /* a change waits up to 10 s each for the locks of tree, guest and state */
#define API_BODY_MAX (128 << 10)

/* What all requests share. Filled by the daemon, and borrowed, but for what is at its end. */
struct api {
    sd_event *event;
    const struct settings *settings;
    const char *program; /* pvesr */
    const char *config;  /* --config for it, or NULL */
    void (*log)(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

    void (*add_metrics)(struct buf *out, void *arg); /* what the daemon says of itself; NULL: nothing */
    void *metrics_arg;

    struct who who;
    struct jobs_kept jobs;
    struct facts facts;          /* of guests */
    struct rows configs, states; /* of the lists of jobs */
    struct children *children;
    struct attempts *attempts;
    struct events *events; /* of the server; NULL: there is none */
    struct often refused;  /* lines of the log */
    struct forwards *forwards;
};
void api_release(struct api *a);
/* Who may, as the tree says now; what is wrong with it goes to the log. */
void api_update_who(struct api *a, struct tree *t);
/* A line of what anybody may cause: api/often.h. */
void api_log_often(struct api *a, int priority, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Now and then: says how many were not written. */
void api_log_held(struct api *a);

struct call {
    struct api *api;

    /* the request, from the server; texts are borrowed until the answer, NULL where there is none */
    const char *method, *uri; /* as they came; uri with the query */
    const char *content_type;
    struct credentials credentials;
    const char *forwarded_by; /* the node by which it came, or NULL */
    const char *last_event_id;
    char address[INET6_ADDRSTRLEN];
    struct buf body;
    void (*answered)(struct call *c); /* when call_begin gave 1 */
    void (*more)(struct call *c);     /* of a stream: stream_read has something, if only its end */
    void *arg;

    /* what is known of it */
    enum api_method verb;
    bool extjs; /* the other envelope */
    struct request request;
    struct caller caller;
    struct tree *tree;
    int64_t now;
    double begun; /* monotonic */
    double steps; /* 0, or the answer comes a multiple of so many seconds after that, and not at 0 */
    sd_event_source *pause;
    struct child *child; /* who is asked for the answer: one of both, or none… */
    struct forward *forward;
    struct gather *gather; /* …and with the child all other nodes (gather.h) */
    int (*finish)(struct call *c, const struct child_result *r,
                  struct err *e);                                             /* 1: others are asked still */
    int (*then)(struct call *c, const struct child_result *r, struct err *e); /* of call_pvesr */

    /* the answer */
    unsigned status;
    char *message;         /* of a failure: one line */
    json_t *data;          /* NULL: null… */
    struct buf list;       /* …or as it is printed, where it is a list of rows that are kept */
    struct buf text;       /* instead of JSON, where there is any: metrics */
    json_t *total;         /* of a list of which only a part is sent, or NULL */
    struct stream *stream; /* instead of all that: the answer has no end (events.h); else NULL */
};

int call_begin(struct call *c);
/* That its child may take, here or on another node. */
static inline unsigned call_seconds(const struct call *c)
{
    return c->request.endpoint->seconds ? c->request.endpoint->seconds : API_CHILD_SECONDS;
}
/* The body of the answer, once there is one. */
void call_print(const struct call *c, struct buf *body);
/* What kind of text that is, for who sent this header, or NULL. */
const char *call_type(const struct call *c, const char *accept);
/* Ends its stream. Wipes what was sent. Of a call that is not answered its child goes on, and nobody waits
 * for it. */
void call_release(struct call *c);
/* Nobody waits any more: answer at once, with a failure. */
void call_cut(struct call *c);

/* ---- for the functions of the table ---- */

/* Note the failure. -1. */
int call_refuse(struct call *c, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A parameter's fault: 400 with it in `errors`. -1. */
int call_refuse_parameter(struct call *c, const char *name, const char *reason);
/* Of who asks; none while nothing says who may what, as may come to be while a child is under way. */
privileges call_may(const struct call *c, const char *path);
/* 0, or 403. One of `wanted` is enough. */
int call_require(struct call *c, const char *path, privileges wanted);
privileges call_may_guest(const struct call *c, uint32_t guest);
/* For a `finish` or `then` that shows what the caller may see: -1 and *e while nothing says what that is. */
int call_check_who(const struct call *c, struct err *e);
static inline const char *call_text(const struct call *c, enum parameter_id id)
{
    return c->request.value[id].text;
}
static inline bool call_given(const struct call *c, enum parameter_id id)
{
    return c->request.value[id].given;
}

/* The jobs as they are now; borrowed until the next one. NULL and *e. */
const struct jobs *call_jobs(struct call *c, struct err *e);
/* Of {id}: NULL is a 404 "no such …job 'ID'" (what: "job", "replication job"), or *e. */
const struct job *call_job(struct call *c, const char *what, struct err *e);

/* Answer with those rows whose guest is wanted. */
void call_list(struct call *c, const struct rows *rows, bool (*wanted)(const struct call *c, uint32_t guest));

/* Who was asked has answered: 0, or -1 when the failure is noted. */
void call_end(struct call *c, int r);

/* Answer with what `pvesr ARGV` does: its success is null, or what `then` (may be NULL) makes of its output
 * (0, or -1 as a function of the table). Its failure is the text that it says: 400 where that names a
 * parameter, else 500. 1, or -1. */
int call_pvesr(struct call *c, struct strv *argv,
               int (*then)(struct call *c, const struct child_result *r, struct err *e), struct err *e);
/* The same; finish is called however it ends. What it says of its failure call_refuse_as_said takes: -1. */
int call_pvesr_always(struct call *c, struct strv *argv,
                      int (*finish)(struct call *c, const struct child_result *r, struct err *e),
                      struct err *e);
int call_refuse_as_said(struct call *c, const struct child_result *r);
/* The same with any program; finish is called whatever it says. 503 where there are too many, of all, of the
 * caller or at the same guest, as the row says. */
int call_child(struct call *c, const struct strv *argv, const char *input, size_t input_len,
               int (*finish)(struct call *c, const struct child_result *r, struct err *e), struct err *e);
