/* For tests: the queue with a real state file and a made-up time. A "run" is what a child would have written.
 */
#pragma once

#include "sched/queue.h"

#include "base/proc.h"
#include "base/strv.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct world {
    char dir[40];
    struct queue q;
    struct jobs jobs;
    struct guest_list guests;
    struct members members;
    const char *node;
    char *told; /* ids of jobs whose run was reported as ended */
};

static struct guest_entry guest_entries[] = {{100, GUEST_QEMU, "pve1"},
                                             {101, GUEST_QEMU, "pve1"},
                                             {102, GUEST_LXC, "pve1"},
                                             {900, GUEST_QEMU, "pve1"}};
static struct member nodes[] = {
    {{.name = (char *)"pve1"}, true}, {{.name = (char *)"pve2"}, true}, {{.name = (char *)"pve3"}, true}};

static inline int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    strcpy(w->dir, "/tmp/pvesr-queue-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    nodes[1].online = true;
    w->guests = (struct guest_list){.v = guest_entries, .n = ELEMENTS(guest_entries)};
    w->members = (struct members){.v = nodes, .n = ELEMENTS(nodes), .quorate = true};
    w->node = "pve1";
    queue_init(&w->q, 4, 4);
    *state = w;
    return 0;
}

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

static inline int teardown(void **state)
{
    struct world *w = *state;
    nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    queue_release(&w->q);
    jobs_release(&w->jobs);
    free(w->told);
    free(w);
    return 0;
}

static inline void configure(struct world *w, const char *text)
{
    jobs_release(&w->jobs);
    jobs_parse("replication.cfg", text, strlen(text), &w->jobs);
    queue_set_jobs(&w->q, &w->jobs, &w->guests, &w->members, w->node);
}

static inline void tell(const struct queue_job *job, void *arg)
{
    struct world *w = arg;
    char *more = xasprintf("%s%s ", w->told ? w->told : "", job->id);
    free(w->told);
    w->told = more;
}

static inline void look(struct world *w, int64_t now)
{
    struct err e = {0};
    struct queue_events ev = {.ended = tell, .arg = w};
    struct job_states *s = job_states_load(w->dir, &e);
    assert_non_null(s);
    queue_set_states(&w->q, s, now, &ev);
    job_states_free(s);
}

static inline struct job_state state_of(struct world *w, const char *id)
{
    struct err e;
    struct job_state s = {0};
    struct job *job = jobs_find(&w->jobs, id);
    assert_int_equal(job_state_load(w->dir, job->guest, job->target, &s, &e), 0);
    return s;
}

static inline void store(struct world *w, const char *id, struct job_state *s)
{
    struct err e;
    struct job *job = jobs_find(&w->jobs, id);
    assert_int_equal(job_state_store(w->dir, job->guest, job->target, s, &e), 0);
    job_state_release(s);
}

/* A run of it that this queue did not start, and that lives. */
static inline void run_by_another(struct world *w, const char *id)
{
    struct job_state s = state_of(w, id);
    s.last_try = 1000;
    s.pid = getpid();
    s.ptime = proc_start_time(getpid());
    store(w, id, &s);
}

/* What a run at `now` records: success, or a failure. */
static inline void record(struct world *w, const char *id, int64_t now, const char *failure)
{
    struct job_state s = state_of(w, id);
    s.last_try = s.last_iteration = now;
    free(s.error);
    s.error = failure ? xstrdup(failure) : NULL;
    s.fail_count = failure ? s.fail_count + 1 : 0;
    if (!failure) {
        s.last_sync = now;
        free(s.postponed);
        s.postponed = NULL;
        s.postponements = 0;
    }
    store(w, id, &s);
}

/* The job that is to be started now, and start it; "" when none. */
static inline const char *start(struct world *w, int64_t now)
{
    struct queue_job *j = queue_pick(&w->q, now);
    if (!j)
        return "";
    queue_started(&w->q, j);
    return j->id;
}

/* One whole run of what is due; its id, or "" when nothing is. */
static inline const char *run_one(struct world *w, int64_t now, const char *failure)
{
    static char id[24];
    look(w, now);
    snprintf(id, sizeof id, "%s", start(w, now));
    if (id[0]) {
        record(w, id, now, failure);
        queue_ended(&w->q, id, failure ? QUEUE_FAILED : QUEUE_DONE);
    }
    return id;
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define FIVE_JOBS                                                                                            \
    "local: 100-0\n\ttarget pve2\n\nlocal: 100-1\n\ttarget pve3\n\nlocal: 101-0\n\ttarget pve2\n\n"          \
    "local: 102-0\n\ttarget pve2\n\nlocal: 900-0\n\ttarget pve2\n"
