/* What somebody is to be told (BEHAVIOUR.md#notifications): as an object of texts, which is spooled, mailed,
 * and what templates are filled from. Its size has a bound (EVENT_MAX as JSON). Pure. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define EVENT_MAX (48 << 10)

enum event_kind {
    EVENT_FAILURE,
    EVENT_RECOVERY,
    EVENT_OVERDUE,
    EVENT_KEPT_ASIDE,
    EVENT_CANNOT_RUN,
    EVENT_VERIFICATION,
    EVENT_PAUSED, /* of the node: no job, guest, target */
    EVENT_KINDS,
    EVENT_TEST = EVENT_KINDS, /* of the node, asked for by hand: no rule names it */
};

/* "failure", … */
const char *event_kind_name(enum event_kind k);
bool event_kind_parse(const char *name, enum event_kind *ret);

struct event {
    enum event_kind kind;
    const char *job, *source, *target; /* source: this node */
    uint32_t guest;
    int64_t time, since; /* epoch; since 0: unknown */
    int64_t next;        /* epoch, 0: none by itself, or unknown; what is past by then is not told */
    int64_t failures;    /* in a row */
    const char *error;   /* what is wrong, NULL: nothing is known */
};

/* Keys, all of them texts and always there: event, severity, title, message (lines), job, guest, source,
 * target, time, timestamp (epoch), since, next, failures, error, command. New. */
json_t *event_json(const struct event *ev);
/* Of many at once: where there are more than EVENTS_APART of a kind, one in place of all of them that has a
 * line for each, as far as they fit, and of a failure that is over, or that came back, only the last is told;
 * the others as they are, in order. New. */
#define EVENTS_APART 20
json_t *events_group(const json_t *events);
/* A text of it, "" where there is none. */
const char *event_text(const json_t *event, const char *key);
