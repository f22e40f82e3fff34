#include "guest/cgroup.h"

#include "base/clock.h"
#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 8
#define RECHECK_MS 20

const char *guest_runtime_root = "";

const struct cgroup_place cgroup_places[CGROUP_PLACES] = {
    {"/sys/fs/cgroup", true}, {"/sys/fs/cgroup/unified", true}, {"/sys/fs/cgroup/freezer", false}};

/* As Proxmox VE's containers and plain LXC name them; the id follows. */
static const char *const names[] = {"lxc/", "lxc.payload.", "lxc.payload/"};

void cgroup_release(struct cgroup *g)
{
    free(g->path);
    *g = (struct cgroup){0};
}

/* The i-th place where the container may be; false after the last. */
static bool candidate(size_t i, uint32_t id, struct cgroup *ret)
{
    if (i >= CGROUP_PLACES * ELEMENTS(names))
        return false;
    const struct cgroup_place *h = &cgroup_places[i / ELEMENTS(names)];
    *ret = (struct cgroup){
        xasprintf("%s%s/%s%u", guest_runtime_root, h->path, names[i % ELEMENTS(names)], id), h->v2};
    return true;
}

/* The first process in the group or one below it. */
static pid_t first_process(const char *path, int depth)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct err ignored;
    _cleanup_free_ char *procs = xasprintf("%s/cgroup.procs", path);
    if (fs_read(procs, 1 << 20, &text, &ignored) == 0 && text.len > 0 && strtol(text.data, NULL, 10) > 0)
        return (pid_t)strtol(text.data, NULL, 10);
    DIR *d = depth < DEPTH_MAX ? opendir(path) : NULL;
    pid_t found = 0;
    for (struct dirent *entry; d && found == 0 && (entry = readdir(d));) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        _cleanup_free_ char *child = xasprintf("%s/%s", path, entry->d_name);
        found = first_process(child, depth + 1);
    }
    if (d)
        closedir(d);
    return found;
}

pid_t container_pid(uint32_t id)
{
    struct cgroup g;
    pid_t pid = 0;
    for (size_t i = 0; pid == 0 && candidate(i, id, &g); i++) {
        pid = first_process(g.path, 0);
        cgroup_release(&g);
    }
    return pid;
}

/* ---- freezing ---- */

static char *control_path(const struct cgroup *g)
{
    return xasprintf("%s/%s", g->path, g->v2 ? "cgroup.freeze" : "freezer.state");
}

bool cgroup_can_freeze(const struct cgroup *g)
{
    _cleanup_free_ char *control = control_path(g);
    return access(control, W_OK) == 0;
}

int cgroup_is_frozen(const struct cgroup *g, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_free_ char *path = xasprintf("%s/%s", g->path, g->v2 ? "cgroup.events" : "freezer.state");
    int r = fs_read(path, 4096, &text, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    return g->v2 ? strstr(buf_str(&text), "frozen 1") != NULL : strncmp(buf_str(&text), "FROZEN", 6) == 0;
}

static int ask(const struct cgroup *g, bool frozen, struct err *e)
{
    _cleanup_free_ char *path = control_path(g);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    const char *text = g->v2 ? (frozen ? "1" : "0") : (frozen ? "FROZEN" : "THAWED");
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return err_sys(e, "cannot write '%s' to '%s'", text, path);
    return 0;
}

/* Version 2 tells changes of cgroup.events by POLLPRI; version 1 has to be asked again and again. */
static int wait_state(const struct cgroup *g, bool frozen, double deadline, struct err *e)
{
    _cleanup_free_ char *events = xasprintf("%s/cgroup.events", g->path);
    _cleanup_close_ int fd = g->v2 ? open(events, O_RDONLY | O_CLOEXEC) : -1;
    for (;;) {
        int now = cgroup_is_frozen(g, e);
        if (now < 0 || now == frozen)
            return now < 0 ? -1 : 0;
        if (clock_mono() >= deadline)
            return err_set(e, ERR_SYSTEM, 0,
                           "the control group '%s' did not become %s in time: perhaps a process in it waits "
                           "for its disk, see dmesg",
                           g->path, frozen ? "frozen" : "thawed");
        struct pollfd p = {.fd = fd, .events = POLLPRI};
        poll(&p, 1, RECHECK_MS);
    }
}

static int change(const struct cgroup *g, bool frozen, double deadline, struct err *e)
{
    return ask(g, frozen, e) < 0 ? -1 : wait_state(g, frozen, deadline, e);
}

int cgroup_set_frozen(const struct cgroup *g, bool frozen, double seconds, struct err *e)
{
    if (!frozen && !cgroup_can_freeze(g))
        return 0;
    return change(g, frozen, clock_mono() + seconds, e);
}

/* ---- containers ---- */

int container_is_frozen(uint32_t id, struct err *e)
{
    struct cgroup g;
    bool any = false;
    int r = 0;
    for (size_t i = 0; r == 0 && candidate(i, id, &g); i++) {
        if (cgroup_can_freeze(&g)) {
            any = true;
            r = cgroup_is_frozen(&g, e);
        }
        cgroup_release(&g);
    }
    return r == 0 && !any
               ? err_set(e, ERR_SYSTEM, 0, "container %u has no control group that can be frozen", id)
               : r;
}

static int freeze_one(uint32_t id, double deadline, struct err *e)
{
    struct cgroup g;
    for (size_t i = 0; candidate(i, id, &g); i++) {
        bool here = cgroup_can_freeze(&g) && first_process(g.path, 0) > 0;
        int r = here ? change(&g, true, deadline, e) : 0;
        cgroup_release(&g);
        if (here)
            return r;
    }
    return err_set(e, ERR_SYSTEM, 0, "container %u has no control group that can be frozen", id);
}

/* Wherever it may be frozen, even half, and even if its processes are gone by now. */
static int thaw_all(uint32_t id, double deadline, struct err *e)
{
    struct cgroup g;
    int result = 0;
    for (size_t i = 0; candidate(i, id, &g); i++) {
        if (cgroup_can_freeze(&g) && change(&g, false, deadline, e) < 0)
            result = -1;
        cgroup_release(&g);
    }
    return result;
}

int container_set_frozen(uint32_t id, bool frozen, double seconds, struct err *e)
{
    double deadline = clock_mono() + seconds;
    return frozen ? freeze_one(id, deadline, e) : thaw_all(id, deadline, e);
}
