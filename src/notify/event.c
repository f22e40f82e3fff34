#include "notify/event.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"

#include <inttypes.h>
#include <string.h>

#define ERROR_MAX 8000 /* bytes; within JSON twice as long, and that twice */
#define NAMES_MAX 1000
#define LINES_MAX 16000
#define LINE_ERROR_MAX 300

static const struct {
    const char *name, *severity, *title, *what, *command, *many;
} kinds[EVENT_KINDS + 1] = {
    [EVENT_FAILURE] = {"failure", "error", "Replication Job: '%s' failed", "failed", "pvesr log %s",
                       "replication failed"},
    [EVENT_RECOVERY] = {"recovery", "notice", "Replication Job: '%s' works again", "works again",
                        "pvesr history --id %s", "replication works again"},
    [EVENT_OVERDUE] = {"overdue", "error", "Replication Job: '%s' is overdue",
                       "is overdue: the newest restore point is older than it may be", "pvesr status",
                       "replication is overdue"},
    [EVENT_KEPT_ASIDE] = {"kept-aside", "warning", "Replication Job: '%s' has something kept aside",
                          "goes on, but the target had what nobody else has, and keeps it aside",
                          "pvesr status", "something is kept aside"},
    [EVENT_CANNOT_RUN] = {"cannot-run", "error", "Replication Job: '%s' cannot run",
                          "cannot run before somebody mends it", "pvesr status", "replication cannot run"},
    [EVENT_VERIFICATION] = {"verification", "error", "Replication Job: '%s' has a replica in doubt",
                            "has a replica that was not found to be what the guest has", "pvesr status",
                            "a replica is in doubt"},
    [EVENT_PAUSED] = {"paused", "error", "Replication: nothing is scheduled on node '%s'",
                      "stands still: nothing is scheduled", "journalctl -u pvesrd", "nothing is scheduled"},
    [EVENT_TEST] = {"test", "notice", "Replication: a test from node '%s'",
                    "can tell you what is wrong: this is a test", "pvesr status", "a test"},
};

const char *event_kind_name(enum event_kind k)
{
    return kinds[k].name;
}

bool event_kind_parse(const char *name, enum event_kind *ret)
{
    for (enum event_kind k = 0; k < EVENT_KINDS; k++)
        if (strcmp(name, kinds[k].name) == 0) {
            *ret = k;
            return true;
        }
    return false;
}

static bool is_of_node(enum event_kind k)
{
    return k == EVENT_PAUSED || k == EVENT_TEST;
}

/* The one %s of a text of the table. */
static char *fill(const char *text, const char *with)
{
    const char *at = strstr(text, "%s");
    return at ? xasprintf("%.*s%s%s", (int)(at - text), text, with, at + 2) : xstrdup(text);
}

/* At most so many bytes of it, and no half of a character. */
static int cut(const char *text, size_t most)
{
    size_t n = strlen(text);
    if (n > most)
        for (n = most; n > 0 && (text[n] & 0xc0) == 0x80;)
            n--;
    return (int)n;
}

static void set(json_t *o, const char *key, const char *value)
{
    size_t n = value ? strlen(value) : 0;
    _cleanup_free_ char *text =
        n > ERROR_MAX ? xasprintf("%.*s …", cut(value, ERROR_MAX), value) : xstrdup(n ? value : "");
    text_clean(text);
    json_object_set_new(o, key, json_string(text));
}

static void set_time(json_t *o, const char *key, int64_t epoch)
{
    char text[32];
    clock_print_log(epoch, text);
    set(o, key, epoch > 1 ? text : "");
}

static void add_line(struct buf *b, const char *what, const char *value)
{
    if (*value)
        buf_addf(b, "%-23s%s\n", what, value);
}

static void set_message(json_t *o, const struct event *ev)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (is_of_node(ev->kind))
        buf_addf(&b, "Replication of node '%s' %s.\n\n", event_text(o, "source"), kinds[ev->kind].what);
    else
        buf_addf(&b, "Replication of guest %s from node '%s' to node '%s' %s.\n\n", event_text(o, "guest"),
                 event_text(o, "source"), event_text(o, "target"), kinds[ev->kind].what);
    add_line(&b, "Job:", event_text(o, "job"));
    add_line(&b, "Since:", event_text(o, "since"));
    add_line(&b, "Failures in a row:", ev->failures ? event_text(o, "failures") : "");
    add_line(&b, "Next try:", event_text(o, "next"));
    if (*event_text(o, "error"))
        buf_addf(&b, "\n%s\n%s\n",
                 ev->kind == EVENT_KEPT_ASIDE ? "Kept aside:" : "Error:", event_text(o, "error"));
    buf_addf(&b, "\nTo look, on node '%s': %s\n", event_text(o, "source"), event_text(o, "command"));
    json_object_set_new(o, "message", json_string(buf_str(&b)));
}

json_t *event_json(const struct event *ev)
{
    json_t *o = json_object();
    _cleanup_free_ char *guest = ev->guest ? xasprintf("%" PRIu32, ev->guest) : NULL;
    _cleanup_free_ char *failures = xasprintf("%" PRId64, ev->failures);
    const char *of = is_of_node(ev->kind) ? ev->source : ev->job;
    _cleanup_free_ char *title = fill(kinds[ev->kind].title, of);
    _cleanup_free_ char *command = fill(kinds[ev->kind].command, of);
    set(o, "event", kinds[ev->kind].name);
    set(o, "severity", kinds[ev->kind].severity);
    set(o, "title", title);
    set(o, "job", ev->job);
    set(o, "guest", guest);
    set(o, "source", ev->source);
    set(o, "target", ev->target);
    set_time(o, "time", ev->time);
    json_object_set_new(o, "timestamp", json_sprintf("%" PRId64, ev->time));
    set_time(o, "since", ev->since);
    set_time(o, "next", ev->next > ev->time ? ev->next : 0);
    set(o, "failures", failures);
    set(o, "error", ev->error);
    set(o, "command", command);
    set_message(o, ev);
    return o;
}

/* ---- many at once ---- */

static enum event_kind kind_of(const json_t *event)
{
    enum event_kind k = EVENT_FAILURE;
    event_kind_parse(event_text(event, "event"), &k);
    return k;
}

/* before: the one of the line before, or NULL. One cause has often many jobs. */
static void add_member(struct buf *lines, const json_t *ev, const json_t *before)
{
    const char *since = event_text(ev, "since"), *error = event_text(ev, "error");
    buf_addf(lines, "%s (guest %s to node '%s')%s%s", event_text(ev, "job"), event_text(ev, "guest"),
             event_text(ev, "target"), *since ? ", since " : "", since);
    if (*error && before && strcmp(error, event_text(before, "error")) == 0)
        buf_adds(lines, ": the same");
    else if (*error)
        buf_addf(lines, ": %.*s", cut(error, LINE_ERROR_MAX), error);
    buf_addc(lines, '\n');
}

/* Their names, and a line on each, as far as there is room. */
static void add_members(const json_t *events, enum event_kind k, struct buf *names, struct buf *lines)
{
    size_t unnamed = 0, left = 0;
    const json_t *before = NULL;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *ev = json_array_get(events, i);
        if (kind_of(ev) != k)
            continue;
        if (names->len < NAMES_MAX)
            buf_addf(names, "%s%s", names->len ? ", " : "", event_text(ev, "job"));
        else
            unnamed++;
        if (lines->len < LINES_MAX)
            add_member(lines, ev, before);
        else
            left++;
        before = ev;
    }
    if (unnamed)
        buf_addf(names, " and %zu more", unnamed);
    if (left)
        buf_addf(lines, "… and %zu more\n", left);
}

/* first: of them; what they have not in common is left empty. */
static json_t *one_of_many(const json_t *events, const json_t *first, enum event_kind k, size_t n)
{
    static const char *const own[] = {"job", "guest", "target", "since", "next", "failures"};
    _cleanup_buf_ struct buf names = BUF_INIT, lines = BUF_INIT;
    _cleanup_free_ char *title = xasprintf("%zu jobs: %s", n, kinds[k].many);
    json_t *o = json_copy((json_t *)first);
    add_members(events, k, &names, &lines);
    for (size_t i = 0; i < ELEMENTS(own); i++)
        set(o, own[i], "");
    set(o, "title", title);
    set(o, "error", buf_str(&names));
    set(o, "command", "pvesr status");
    _cleanup_free_ char *message =
        xasprintf("%zu jobs of node '%s': %s.\n\n%s\nTo look, on node '%s': pvesr status\n", n,
                  event_text(o, "source"), kinds[k].many, buf_str(&lines), event_text(o, "source"));
    json_object_set_new(o, "message", json_string(message));
    return o;
}

static bool tells_how_it_does(enum event_kind k)
{
    return k == EVENT_FAILURE || k == EVENT_OVERDUE || k == EVENT_RECOVERY;
}

/* Without those that a later event of the same job undoes: groups have no order between them, and whoever
 * reads last that a job failed which works again, or the other way round, would believe it. New. */
static json_t *not_undone(const json_t *events)
{
    json_t *left = json_array(), *works = json_object(); /* by job: at last */
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *ev = json_array_get(events, i);
        if (tells_how_it_does(kind_of(ev)))
            json_object_set_new(works, event_text(ev, "job"), json_boolean(kind_of(ev) == EVENT_RECOVERY));
    }
    for (size_t i = 0; i < json_array_size(events); i++) {
        json_t *ev = json_array_get(events, i);
        if (!tells_how_it_does(kind_of(ev)) ||
            json_is_true(json_object_get(works, event_text(ev, "job"))) == (kind_of(ev) == EVENT_RECOVERY))
            json_array_append(left, ev);
    }
    json_decref(works);
    return left;
}

static bool are_many(const json_t *events, size_t *n)
{
    bool many = false;
    for (size_t i = 0; i < json_array_size(events); i++)
        many |= ++n[kind_of(json_array_get(events, i))] > EVENTS_APART;
    return many;
}

static json_t *group(const json_t *events, const size_t *n)
{
    json_t *all = json_array();
    bool done[EVENT_KINDS] = {false};
    for (size_t i = 0; i < json_array_size(events); i++) {
        json_t *ev = json_array_get(events, i);
        enum event_kind k = kind_of(ev);
        if (n[k] <= EVENTS_APART)
            json_array_append(all, ev);
        else if (!done[k])
            json_array_append_new(all, one_of_many(events, ev, k, n[k]));
        done[k] = true;
    }
    return all;
}

json_t *events_group(const json_t *events)
{
    size_t n[EVENT_KINDS] = {0}, left[EVENT_KINDS] = {0};
    if (!are_many(events, n))
        return group(events, n);
    json_t *last = not_undone(events);
    are_many(last, left);
    json_t *all = group(last, left);
    json_decref(last);
    return all;
}

const char *event_text(const json_t *event, const char *key)
{
    const char *text = json_string_value(json_object_get(event, key));
    return text ? text : "";
}
