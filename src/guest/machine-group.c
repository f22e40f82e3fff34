/* Which control group is a virtual machine's alone. */
#include "base/clock.h"
#include "base/fs.h"
#include "base/proc.h"
#include "base/strv.h"
#include "guest/cgroup.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 8
#define ANCESTORS_MAX 64
#define PROCS_MAX (1u << 20)

/* The path behind `start` ("0::", or what ends in ":freezer:") of the first such line; "" where there is
 * none. */
static void path_of(const char *groups, bool v2, char *ret, size_t room)
{
    _cleanup_strv_ struct strv lines = STRV_INIT;
    strv_split(&lines, groups, "\n");
    *ret = 0;
    for (size_t i = 0; i < lines.n && !*ret; i++) {
        const char *found = v2 ? (strncmp(lines.v[i], "0::", 3) == 0 ? lines.v[i] + 3 : NULL)
                               : strstr(lines.v[i], ":freezer:");
        if (found)
            snprintf(ret, room, "%s", v2 ? found : found + strlen(":freezer:"));
    }
}

static int read_groups(const char *pid, struct buf *ret, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("/proc/%s/cgroup", pid);
    int r = fs_read(path, PROCS_MAX, ret, e);
    return r > 0 ? err_set(e, ERR_GONE, 0, "there is no '%s'", path) : r;
}

static pid_t parent_of(pid_t pid)
{
    char path[64];
    struct err ignored;
    _cleanup_buf_ struct buf text = BUF_INIT;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    const char *name_end = fs_read(path, 4096, &text, &ignored) == 0 ? strrchr(buf_str(&text), ')') : NULL;
    return name_end && strlen(name_end) > 4 ? (pid_t)strtol(name_end + 4, NULL, 10) : 0;
}

static bool descends(pid_t pid, pid_t from)
{
    for (int i = 0; i < ANCESTORS_MAX && pid > 1; i++, pid = parent_of(pid))
        if (pid == from)
            return true;
    return false;
}

/* A process that this one cannot see is told as 0. */
static int check_processes(const char *path, pid_t guest, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_strv_ struct strv pids = STRV_INIT;
    _cleanup_free_ char *procs = xasprintf("%s/cgroup.procs", path);
    int r = fs_read(procs, PROCS_MAX, &text, e);
    if (r != 0)
        return r < 0 ? -1 : 0; /* gone since: it is empty */
    strv_split(&pids, buf_str(&text), "\n");
    for (size_t i = 0; i < pids.n; i++)
        if (!descends((pid_t)strtol(pids.v[i], NULL, 10), guest))
            return err_set(e, ERR_CONFIG, 0, "its control group '%s' holds process %s, too, which is not its",
                           path, pids.v[i]);
    return 0;
}

static int check_tree(const char *path, pid_t guest, int depth, struct err *e)
{
    if (depth > DEPTH_MAX)
        return err_set(e, ERR_CONFIG, 0, "the control groups below '%s' are too deep to be looked at", path);
    int r = check_processes(path, guest, e);
    DIR *d = r == 0 ? opendir(path) : NULL;
    for (struct dirent *entry; r == 0 && d && (entry = readdir(d));) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        _cleanup_free_ char *child = xasprintf("%s/%s", path, entry->d_name);
        r = check_tree(child, guest, depth + 1, e);
    }
    if (d)
        closedir(d);
    return r;
}

/* What is frozen with us in it nobody thaws. */
static int check_not_ours(const char *group, bool v2, struct err *e)
{
    char own[PATH_MAX];
    size_t n = strlen(group);
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (read_groups("self", &text, e) < 0)
        return -1;
    path_of(buf_str(&text), v2, own, sizeof own);
    bool below = strncmp(own, group, n) == 0 && (own[n] == 0 || own[n] == '/');
    return below ? err_set(e, ERR_CONFIG, 0, "its control group '%s' is ours, too", group) : 0;
}

/* A pid file that was left behind names, after a while, some other process: one that began after the file was
 * written. */
static int check_age(pid_t pid, time_t written, struct err *e)
{
    double began = (double)proc_start_time(pid) / (double)sysconf(_SC_CLK_TCK);
    double running = clock_boot() - began;
    return (double)written + 2 < (double)clock_epoch() - running
               ? err_set(e, ERR_CONFIG, 0, "process %d is younger than the guest's pid file", (int)pid)
               : 0;
}

static int check_alone(const struct cgroup *g, const char *group, pid_t pid, uint32_t id, time_t written,
                       struct err *e)
{
    char named[64];
    snprintf(named, sizeof named, "/qemu.slice/%" PRIu32 ".scope", id);
    if (strcmp(group, "/") == 0 || !*group || strstr(group, "/.."))
        return err_set(e, ERR_CONFIG, 0, "it is in no control group of its own");
    if (check_not_ours(group, g->v2, e) < 0)
        return -1;
    if (strcmp(group, named) == 0)
        return 0;
    return check_age(pid, written, e) < 0 ? -1 : check_tree(g->path, pid, 0, e);
}

static int look_at(const char *place, bool v2, const char *groups, pid_t pid, uint32_t id, time_t written,
                   struct cgroup *ret, struct err *e)
{
    char group[PATH_MAX];
    path_of(groups, v2, group, sizeof group);
    struct cgroup g = {.path = xasprintf("%s%s%s", guest_runtime_root, place, group), .v2 = v2};
    int r = 1;
    if (*group && cgroup_can_freeze(&g))
        r = check_alone(&g, group, pid, id, written, e);
    if (r == 0)
        *ret = g;
    else
        cgroup_release(&g);
    return r;
}

int cgroup_of_machine(pid_t pid, uint32_t id, time_t written, struct cgroup *ret, struct err *e)
{
    char number[32];
    _cleanup_buf_ struct buf groups = BUF_INIT;
    snprintf(number, sizeof number, "%d", (int)pid);
    if (read_groups(number, &groups, e) < 0)
        return -1;
    err_set(e, ERR_CONFIG, 0, "it is in no control group of its own");
    int r = 1;
    for (size_t i = 0; r != 0 && i < CGROUP_PLACES; i++)
        r = look_at(cgroup_places[i].path, cgroup_places[i].v2, buf_str(&groups), pid, id, written, ret, e);
    return r == 0 ? 0 : -1;
}
