#include "api/events.h"

#include "api/serve/serve.h"
#include "base/clock.h"
#include "view/changes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define LOOK_SECONDS 0.1 /* between two looks at least… */
#define LOOK_SHARE                                                                                           \
    20 /* …and so many times what the last one for a change took: a twentieth of the processor */
#define WHOLE_SECONDS 5 /* what comes with time alone is seen by then */

struct event {
    unsigned refs;
    uint32_t guest;
    size_t len;
    char text[];
};

struct events {
    struct api *api;
    sd_event_source *timer;
    struct stream *streams;
    size_t n_streams;
    uint64_t who;   /* version of who is known, that the streams know */
    double emptied; /* monotonic */
    bool over;

    /* while somebody listens */
    bool active, whole, jobs; /* whole: the next look is at everything; jobs: because that has changed */
    uint64_t boot;            /* tells ids of other times from ours */
    struct world world;       /* without its states */
    struct changes seen;
    struct event *kept[EVENTS_KEPT]; /* event `number` is at number % EVENTS_KEPT */
    uint64_t first, next;            /* numbers of the oldest, and of the one to come */
    size_t bytes;
    double looked, looked_whole, cost;
};

struct stream {
    struct events *events;
    struct call *call;
    struct stream *next, **to_me;
    uint64_t place;     /* the number of the event that comes next */
    struct event *part; /* what is being sent… */
    size_t sent;        /* …and how much of it was */
    double last;        /* monotonic: when something was sent */
    bool reset, beat, over;
};

/* ---- what is kept ---- */

static struct event *event_new(const struct events *ev, uint32_t guest, uint64_t number, const char *kind,
                               const char *data, size_t len)
{
    char head[128];
    size_t n = (size_t)snprintf(head, sizeof head,
                                "id: %016" PRIx64 "-%" PRIu64 "\nevent: %s\ndata: ", ev->boot, number, kind);
    struct event *e = xmalloc(sizeof *e + n + len + 2);
    *e = (struct event){.refs = 1, .guest = guest, .len = n + len + 2};
    memcpy(e->text, head, n);
    memcpy(e->text + n, data, len);
    memcpy(e->text + n + len, "\n\n", 2);
    return e;
}

static void event_release(struct event *e)
{
    if (e && --e->refs == 0)
        free(e);
}

static struct event **place_of(struct events *ev, uint64_t number)
{
    return &ev->kept[number % EVENTS_KEPT];
}

static void drop_oldest(struct events *ev)
{
    struct event **oldest = place_of(ev, ev->first++);
    ev->bytes -= (*oldest)->len;
    event_release(*oldest);
    *oldest = NULL;
}

static void on_change(const struct change *change, void *arg)
{
    static const char *const kinds[] = {
        [CHANGE_ADDED] = "added", [CHANGE_CHANGED] = "changed", [CHANGE_REMOVED] = "removed"};
    struct events *ev = arg;
    struct event *e = event_new(ev, change->guest, ev->next, kinds[change->kind], change->row, change->len);
    while (ev->first < ev->next &&
           (ev->next - ev->first == EVENTS_KEPT || ev->bytes + e->len > EVENTS_KEPT_BYTES))
        drop_oldest(ev);
    *place_of(ev, ev->next++) = e;
    ev->bytes += e->len;
}

/* ---- looking ---- */

/* 1: as it was when it was loaded last. */
static int load_world(struct events *ev, struct err *e)
{
    struct api *api = ev->api;
    struct world now = {0};
    _cleanup_(tree_freep) struct tree *t = tree_open(api->settings->cluster, e);
    if (t && jobs_again(t, &api->jobs, e) >= 0 &&
        world_load(&now, t, api->settings->node, &api->jobs.jobs, e) == 0) {
        world_release(&ev->world);
        ev->world = now;
        return 0;
    }
    world_release(&now);
    return -1;
}

/* Of the processor: on a busy machine a look waits, and costs no more for that. */
static double spent(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int look(struct events *ev, bool tell, struct err *e)
{
    bool whole = ev->whole;
    double begin = spent();
    ev->looked = clock_mono();
    if ((whole && load_world(ev, e) < 0) ||
        world_load_states(&ev->world, ev->api->settings->state_dir, e) < 0)
        return -1;
    changes_look(&ev->seen, &ev->world, clock_epoch(), !whole, tell ? on_change : NULL, ev);
    job_states_free(ev->world.states);
    ev->world.states = NULL;
    if (whole)
        ev->looked_whole = ev->looked;
    if (!whole || ev->jobs) /* what comes with time alone is rare: nothing waits longer for it */
        ev->cost = spent() - begin;
    ev->whole = ev->jobs = false;
    return 0;
}

static void wake(struct stream *s)
{
    s->call->more(s->call);
}

/* What cannot be read now is looked at again with the next sweep. */
static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
    struct events *ev = arg;
    struct err ignored = {0};
    uint64_t before = ev->next;
    if (!ev->active)
        return 0;
    if (look(ev, true, &ignored) < 0)
        ev->whole = true;
    for (struct stream *s = ev->streams; s && ev->next != before; s = s->next)
        wake(s);
    return 0;
}

static void look_soon(struct events *ev)
{
    int enabled = SD_EVENT_OFF;
    double pause = ev->cost * LOOK_SHARE > LOOK_SECONDS ? ev->cost * LOOK_SHARE : LOOK_SECONDS,
           left = ev->looked + pause - clock_mono();
    sd_event_source_get_enabled(ev->timer, &enabled);
    if (enabled != SD_EVENT_OFF)
        return;
    sd_event_source_set_time_relative(ev->timer, left > 0 ? (uint64_t)(left * 1e6) : 0);
    sd_event_source_set_enabled(ev->timer, SD_EVENT_ONESHOT);
}

void events_changed(struct events *ev, bool jobs)
{
    if (!ev || !ev->active)
        return;
    ev->whole |= jobs;
    ev->jobs |= jobs;
    look_soon(ev);
}

/* ---- while somebody listens ---- */

static void forget(struct events *ev)
{
    while (ev->first < ev->next)
        drop_oldest(ev);
    world_release(&ev->world);
    changes_release(&ev->seen);
    ev->active = false;
    sd_event_source_set_enabled(ev->timer, SD_EVENT_OFF);
}

static int begin(struct events *ev, struct err *e)
{
    if (getrandom(&ev->boot, sizeof ev->boot, 0) != (ssize_t)sizeof ev->boot)
        return err_sys(e, "cannot begin to look for changes");
    ev->first = ev->next = 1;
    ev->whole = true;
    if (look(ev, false, e) < 0) {
        forget(ev);
        return -1;
    }
    ev->active = true;
    return 0;
}

struct events *events_new(struct api *api)
{
    struct events *ev = xcalloc(1, sizeof *ev);
    ev->api = api;
    if (sd_event_add_time_relative(api->event, &ev->timer, CLOCK_MONOTONIC, 0, 1, on_timer, ev) < 0)
        abort();
    sd_event_source_set_enabled(ev->timer, SD_EVENT_OFF);
    sd_event_source_set_priority(ev->timer, SD_EVENT_PRIORITY_IDLE);
    return ev;
}

void events_free(struct events *ev)
{
    forget(ev);
    sd_event_source_disable_unref(ev->timer);
    free(ev);
}

/* ---- streams ---- */

static bool same_user(const char *a, const char *b)
{
    size_t n = strcspn(a, "!");
    return n == strcspn(b, "!") && strncmp(a, b, n) == 0;
}

static int check_room(const struct events *ev, struct call *c)
{
    unsigned theirs = 0;
    for (const struct stream *s = ev->streams; s; s = s->next)
        theirs += same_user(s->call->caller.who, c->caller.who);
    if (ev->over)
        return call_refuse(c, 503, "pvesrd is ending");
    if (theirs >= EVENTS_STREAMS_USER)
        return call_refuse(c, 503,
                           "user '%.*s' listens to events %d times already, which is the most: end one",
                           (int)strcspn(c->caller.who, "!"), c->caller.who, EVENTS_STREAMS_USER);
    if (ev->n_streams >= EVENTS_STREAMS)
        return call_refuse(c, 503,
                           "%d listen to events already, which is the most: ask for the lists instead",
                           EVENTS_STREAMS);
    return 0;
}

/* The number behind that of the id; 0: it is none of which we know what came after it. */
static uint64_t place_behind(const struct events *ev, const char *id)
{
    char ours[24];
    int n = snprintf(ours, sizeof ours, "%016" PRIx64 "-", ev->boot);
    if (!id || strncmp(id, ours, (size_t)n) != 0)
        return 0;
    id += n;
    size_t digits = strspn(id, "0123456789");
    if (digits == 0 || digits > 18 || id[digits])
        return 0;
    uint64_t number = strtoull(id, NULL, 10);
    return number < ev->next && number + 1 >= ev->first ? number + 1 : 0;
}

static void stream_open(struct events *ev, struct call *c)
{
    struct stream *s = xcalloc(1, sizeof *s);
    s->events = ev;
    s->call = c;
    s->place = place_behind(ev, c->last_event_id);
    s->reset = s->place == 0;
    s->last = clock_mono();
    s->next = ev->streams;
    s->to_me = &ev->streams;
    if (s->next)
        s->next->to_me = &s->next;
    ev->streams = s;
    ev->n_streams++;
    c->stream = s;
}

void stream_close(struct stream *s)
{
    if (!s)
        return;
    struct events *ev = s->events;
    *s->to_me = s->next;
    if (s->next)
        s->next->to_me = s->to_me;
    if (--ev->n_streams == 0)
        ev->emptied = clock_mono();
    event_release(s->part);
    free(s);
}

int serve_events(struct call *c, struct err *e)
{
    struct events *ev = c->api->events;
    if (strcmp(c->method, "GET") != 0) /* HEAD: there is no end to wait for */
        return 0;
    if (check_room(ev, c) < 0 || (!ev->active && begin(ev, e) < 0))
        return -1;
    if (ev->n_streams == 0)
        ev->who = c->api->who.version;
    stream_open(ev, c);
    return 0;
}

/* ---- what a stream is sent ---- */

static bool may_see(const struct stream *s, const struct event *e)
{
    const struct access *a = s->call->api->who.access;
    return a && (users_may_guest(a->users, s->call->caller.who, e->guest, clock_epoch()) & PRIV(VM_Audit));
}

/* The lists are as of now, or later: what comes behind it is in the ring. */
static struct event *reset_new(struct stream *s)
{
    struct events *ev = s->events;
    _cleanup_free_ char *data = xasprintf("{\"node\":\"%s\"}", ev->api->settings->node);
    s->reset = false;
    s->place = ev->next;
    return event_new(ev, 0, ev->next - 1, "reset", data, strlen(data));
}

static struct event *plain_new(const char *text)
{
    size_t n = strlen(text);
    struct event *e = xmalloc(sizeof *e + n);
    *e = (struct event){.refs = 1, .len = n};
    memcpy(e->text, text, n);
    return e;
}

/* NULL: nothing for now. */
static struct event *next_part(struct stream *s)
{
    struct events *ev = s->events;
    if (s->reset || s->place < ev->first)
        return reset_new(s);
    while (s->place < ev->next) {
        struct event *e = *place_of(ev, s->place++);
        if (may_see(s, e)) {
            e->refs++;
            return e;
        }
    }
    if (!s->beat)
        return NULL;
    s->beat = false;
    return plain_new(":\n\n");
}

ssize_t stream_read(struct stream *s, char *out, size_t room)
{
    size_t n = 0;
    if (s->over)
        return -1;
    while (n < room) {
        if (!s->part && !(s->part = next_part(s)))
            break;
        size_t left = s->part->len - s->sent, k = left < room - n ? left : room - n;
        memcpy(out + n, s->part->text + s->sent, k);
        n += k;
        s->sent += k;
        if (s->sent == s->part->len) {
            event_release(s->part);
            s->part = NULL;
            s->sent = 0;
        }
    }
    if (n)
        s->last = clock_mono();
    return (ssize_t)n;
}

/* ---- as time goes ---- */

/* As if they asked again now. */
static bool is_known_still(const struct stream *s, int64_t now)
{
    const struct call *c = s->call;
    const struct access *a = c->api->who.access;
    struct caller caller = {0};
    struct err ignored = {0};
    return a && caller_identify(a, &c->credentials, now, &caller, &ignored) == 0 &&
           strcmp(caller.who, c->caller.who) == 0;
}

static void sweep(struct stream *s, bool other_rights)
{
    bool beat = clock_mono() - s->last >= EVENTS_BEAT_SECONDS;
    s->over |= !is_known_still(s, clock_epoch());
    s->reset |= other_rights;
    s->beat |= beat;
    if (s->over || s->reset || beat)
        wake(s);
}

void events_sweep(struct events *ev)
{
    struct err ignored = {0};
    if (ev->active && !ev->streams && clock_mono() - ev->emptied > EVENTS_IDLE_SECONDS)
        forget(ev);
    if (!ev->active)
        return;
    if (ev->streams) {
        _cleanup_(tree_freep) struct tree *t = tree_open(ev->api->settings->cluster, &ignored);
        if (t)
            api_update_who(ev->api, t);
    }
    bool other_rights = ev->who != ev->api->who.version;
    ev->who = ev->api->who.version;
    for (struct stream *s = ev->streams; s; s = s->next)
        sweep(s, other_rights);
    if (clock_mono() - ev->looked_whole >= WHOLE_SECONDS) {
        ev->whole = true;
        look_soon(ev);
    }
}

void events_end(struct events *ev)
{
    ev->over = true;
    for (struct stream *s = ev->streams; s; s = s->next) {
        s->over = true;
        wake(s);
    }
}
