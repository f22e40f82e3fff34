/* Holding a virtual machine still that no guest agent freezes. */
#include "guest/config.h"
#include "guest/freeze.h"
#include "guest/qga.h"

#include <string.h>

/* ---- by its control group ---- */

static int group_freeze(struct freeze *f, double seconds, struct err *e)
{
    return cgroup_set_frozen(&f->group, true, seconds, e);
}

static int group_thaw(const struct freeze *f, double seconds, struct err *e)
{
    return cgroup_set_frozen(&f->group, false, seconds, e);
}

/* ---- by QEMU itself ---- */

/* 1: it is as it says in `status`, 0: it is not, -1: QEMU does not say. */
static int is_in_state(struct qga *q, const char *status, double seconds, struct err *e)
{
    json_auto_t *answer = qga_call(q, "query-status", seconds, e);
    const char *is = json_string_value(json_object_get(answer, "status"));
    if (answer && !is)
        err_set(e, ERR_DATA, 0, "%s at '%s' does not say whether the guest runs", q->who, q->path);
    return is ? strcmp(is, status) == 0 : -1;
}

/* One that somebody paused stays so. */
static int machine_stop(struct freeze *f, double seconds, struct err *e)
{
    struct qga q;
    _cleanup_free_ char *path = machine_path(f->id, "qmp");
    if (qmp_open(path, PING_SECONDS, &q, e) < 0)
        return -1;
    int running = is_in_state(&q, "running", PING_SECONDS, e);
    f->untouched = running <= 0;
    if (running == 0)
        err_set(e, ERR_SYSTEM, 0, "somebody else has paused the guest meanwhile");
    json_auto_t *done = running > 0 ? qga_call(&q, "stop", seconds, e) : NULL;
    qga_close(&q); /* QEMU serves one client: the watchdog may need it */
    return done ? 0 : -1;
}

static int machine_go_on(const struct freeze *f, double seconds, struct err *e)
{
    struct qga q;
    _cleanup_free_ char *path = machine_path(f->id, "qmp");
    if (f->untouched || machine_pid(f->id, NULL) == 0)
        return 0;
    if (qmp_open(path, seconds, &q, e) < 0)
        return -1;
    int paused = is_in_state(&q, "paused", seconds, e);
    json_auto_t *done = paused > 0 ? qga_call(&q, "cont", seconds, e) : NULL;
    qga_close(&q);
    return paused == 0 || done ? 0 : -1;
}

/* ---- which of them ---- */

/* 0: by its group; 1: it is frozen already; -1: *e says why not. */
static int try_group(struct freeze *f, struct err *e)
{
    time_t written = 0;
    pid_t pid = machine_pid(f->id, &written);
    int r = cgroup_of_machine(pid, f->id, written, &f->group, e);
    if (r == 0)
        r = cgroup_is_frozen(&f->group, e);
    f->make = group_freeze;
    f->undo = group_thaw;
    return r;
}

static int try_monitor(struct freeze *f, struct err *e)
{
    struct qga q;
    _cleanup_free_ char *path = machine_path(f->id, "qmp");
    if (qmp_open(path, PING_SECONDS, &q, e) < 0)
        return -1;
    int running = is_in_state(&q, "running", PING_SECONDS, e);
    qga_close(&q);
    f->make = machine_stop;
    f->undo = machine_go_on;
    return running < 0 ? -1 : !running;
}

/* As try_group. */
static int choose(struct freeze *f, struct err *e)
{
    struct err group = {0};
    int r = try_group(f, &group);
    if (r >= 0)
        return r;
    cgroup_release(&f->group);
    r = try_monitor(f, e);
    return r < 0 ? err_wrap(e, "%s", group.text) : r;
}

static int prepare(const struct guest_config *g, struct freeze *f, struct err *e)
{
    *f = (struct freeze){.id = g->id, .still = true};
    if (guest_running(g->type, g->id) == 0)
        return 1;
    return g->type == GUEST_QEMU ? choose(f, e)
                                 : err_set(e, ERR_CONFIG, 0, "a container can only be frozen, not held");
}

bool guest_may_hold(const struct guest_config *g)
{
    struct freeze f;
    struct err ignored;
    int r = prepare(g, &f, &ignored);
    cgroup_release(&f.group);
    return r == 0;
}

struct freeze *guest_hold(const struct guest_config *g, double seconds, struct err *e)
{
    struct freeze f;
    int r = prepare(g, &f, e);
    if (r == 0)
        return freeze_begin(&f, seconds, e);
    cgroup_release(&f.group);
    if (r > 0)
        err_set(e, ERR_NONE, 0, "the guest does not run, or somebody has paused it");
    return NULL;
}

const char *guest_held_by(const struct freeze *f)
{
    return f->group.path ? f->group.path : "QEMU";
}

/* ---- does it stand still? ---- */

static char *frozen_group(const struct guest_config *g)
{
    struct freeze f = {.id = g->id};
    struct err ignored;
    char *text = NULL;
    if (try_group(&f, &ignored) == 1)
        text = xasprintf("its control group is frozen: 'echo %s >%s/%s' lets it go on",
                         f.group.v2 ? "0" : "THAWED", f.group.path,
                         f.group.v2 ? "cgroup.freeze" : "freezer.state");
    cgroup_release(&f.group);
    return text;
}

static bool is_paused(uint32_t id)
{
    struct qga q;
    struct err ignored;
    _cleanup_free_ char *path = machine_path(id, "qmp");
    if (qmp_open(path, PING_SECONDS, &q, &ignored) < 0)
        return false;
    int paused = is_in_state(&q, "paused", PING_SECONDS, &ignored);
    qga_close(&q);
    return paused > 0;
}

static char *still_machine(const struct guest_config *g)
{
    char *text = frozen_group(g); /* QEMU could not answer then */
    if (!text && is_paused(g->id))
        text = xasprintf("QEMU has paused it: 'qm resume %u' lets it go on", g->id);
    if (!text && machine_fs_is_frozen(g))
        text =
            xasprintf("its file systems are frozen: 'qm guest cmd %u fsfreeze-thaw' lets them go on", g->id);
    return text;
}

char *guest_stands_still(const struct guest_config *g)
{
    struct err ignored;
    if (guest_running(g->type, g->id) == 0)
        return NULL;
    if (g->type == GUEST_QEMU)
        return still_machine(g);
    return container_is_frozen(g->id, &ignored) == 1
               ? xasprintf("its control group is frozen: 'lxc-unfreeze -n %u' lets it go on", g->id)
               : NULL;
}
