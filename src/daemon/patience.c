#include "daemon/patience.h"

#include "base/mem.h"
#include "base/proc.h"

/* Looks in a row that find it where it was: so time that nobody had, this process neither, is not counted. */
#define LOOKS 10

struct patience {
    sd_event_source *timer;
    pid_t pid;
    uint64_t usec, turns;
    unsigned still;
    void (*ran_out)(void *arg);
    void *arg;
};

static int on_look(sd_event_source *s, uint64_t usec, void *arg)
{
    struct patience *p = arg;
    uint64_t now = proc_turns(p->pid);
    p->still = now && now == p->turns ? p->still + 1 : 0;
    p->turns = now;
    if (p->still >= LOOKS) {
        p->ran_out(p->arg);
        return 0;
    }
    sd_event_source_set_time_relative(s, p->usec);
    return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

struct patience *patience_begin(sd_event *event, pid_t pid, double seconds, void (*ran_out)(void *arg),
                                void *arg)
{
    struct patience *p = xcalloc(1, sizeof *p);
    *p = (struct patience){
        .pid = pid, .usec = (uint64_t)(seconds * 1e6 / LOOKS), .ran_out = ran_out, .arg = arg};
    if (sd_event_add_time_relative(event, &p->timer, CLOCK_MONOTONIC, p->usec, 0, on_look, p) < 0) {
        free(p);
        return NULL;
    }
    return p;
}

void patience_end(struct patience *p)
{
    if (!p)
        return;
    sd_event_source_disable_unref(p->timer);
    free(p);
}
