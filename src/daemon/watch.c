#include "daemon/watch.h"

#include "base/jsonspan.h"
#include "base/mem.h"
#include "daemon/log.h"

#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define POLL_USEC (2 * 1000000u)
#define NAMES_CHANGED (IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM)
#define ITSELF_CHANGED (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_Q_OVERFLOW)

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

/* The names say which file it is: they are the same wherever the directories lie. */
static void classify(const struct inotify_event *ev, bool *jobs, bool *states)
{
    const char *name = ev->len ? ev->name : "";
    if (ev->mask & ITSELF_CHANGED)
        *jobs = *states = true;
    else if (strcmp(name, "pve-replication-state.json") == 0 || strcmp(name, "notify.cfg") == 0 ||
             strcmp(name, "notifications.cfg") == 0)
        *states = true; /* each look at them begins with who is to be told */
    else if (ev->mask & IN_ISDIR || strcmp(name, "replication.cfg") == 0 ||
             strcmp(name, "replication-ext.cfg") == 0 || strcmp(name, "nodes.cfg") == 0 ||
             ends_with(name, ".conf"))
        *jobs = true;
}

static int on_inotify(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
    struct watch *w = arg;
    char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool jobs = false, states = false;
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0) {
        for (char *p = buf; p < buf + n;) {
            const struct inotify_event *ev = (const struct inotify_event *)p;
            classify(ev, &jobs, &states);
            p += sizeof *ev + ev->len;
        }
    }
    if (jobs || states)
        w->changed(jobs, states, w->arg);
    return 0;
}

/* The counters that matter; all others change with every beat of the cluster. */
static char *read_version(struct tree *t)
{
    static const char *const keys[] = {"starttime", "clinfo", "vmlist", "replication.cfg"};
    _cleanup_buf_ struct buf text = BUF_INIT, kept = BUF_INIT;
    struct err ignored;
    struct json_span root;
    size_t bad;
    if (tree_read(t, ".version", &text, &ignored) != 0 ||
        json_check(buf_str(&text), text.len, &root, &bad) < 0)
        return xstrdup("");
    for (size_t i = 0; i < ELEMENTS(keys); i++) {
        struct json_span s = json_get(root, keys[i]);
        buf_add(&kept, s.p ? s.p : "-", s.p ? s.len : 1);
        buf_addc(&kept, ' ');
    }
    return buf_take(&kept);
}

/* ---- looking, where nothing tells ---- */

static uint64_t mix(uint64_t stamp, const char *path)
{
    struct stat s = {0};
    if (stat(path, &s) < 0)
        return stamp * 31 + 1;
    const uint64_t facts[] = {s.st_ino, (uint64_t)s.st_size, (uint64_t)s.st_ctim.tv_sec,
                              (uint64_t)s.st_ctim.tv_nsec};
    for (size_t i = 0; i < ELEMENTS(facts); i++)
        stamp = (stamp ^ facts[i]) * UINT64_C(0x100000001b3);
    return stamp;
}

/* A folder changes with the names in it, which is how almost all files are written; these are also written in
 * place. */
static uint64_t read_stamp(const struct watch *w)
{
    static const char *const files[] = {"pve-replication-state.json", "replication.cfg",
                                        "replication-ext.cfg", "nodes.cfg", "notify.cfg"};
    uint64_t stamp = 1;
    for (size_t i = 0; i < w->dirs.n; i++)
        stamp = mix(stamp, w->dirs.v[i]);
    for (size_t i = 0; i < w->dirs.n && i < 2; i++) /* of the state, of the tree */
        for (size_t k = 0; k < ELEMENTS(files); k++) {
            _cleanup_free_ char *path = xasprintf("%s/%s", w->dirs.v[i], files[k]);
            stamp = mix(stamp, path);
        }
    return stamp;
}

static bool counters_changed(struct watch *w)
{
    if (!tree_is_pmxcfs(w->tree))
        return false;
    char *version = read_version(w->tree);
    bool changed = !w->version || strcmp(w->version, version) != 0;
    free(w->version);
    w->version = version;
    return changed;
}

static bool stamp_changed(struct watch *w)
{
    uint64_t before = w->stamp;
    if (w->blind)
        w->stamp = read_stamp(w);
    return w->blind && w->stamp != before;
}

static int on_poll(sd_event_source *s, uint64_t usec, void *arg)
{
    struct watch *w = arg;
    if (!w->tree || !(w->blind || tree_is_pmxcfs(w->tree)))
        return 0;
    bool counted = counters_changed(w), seen = stamp_changed(w);
    sd_event_source_set_time_relative(s, POLL_USEC);
    sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
    if (counted || seen)
        w->changed(true, seen, w->arg);
    return 0;
}

/* ---- life ---- */

static void become_blind(struct watch *w, const char *what, int error)
{
    if (!w->blind)
        log_line(
            LOG_WARNING,
            "%s: %s; changes are looked for each %u s instead: raise '%s' (sysctl) for all that root runs",
            what, strerror(error), POLL_USEC / 1000000,
            error == ENOSPC ? "fs.inotify.max_user_watches" : "fs.inotify.max_user_instances");
    w->blind = true;
}

/* Again and again, until there is one. */
static void open_inotify(struct watch *w)
{
    if (w->fd >= 0)
        return;
    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->fd < 0)
        become_blind(w, "cannot watch files", errno);
    else if (sd_event_add_io(w->event, &w->source, w->fd, EPOLLIN, on_inotify, w) < 0) {
        close(w->fd);
        w->fd = -1;
        become_blind(w, "cannot watch files", EMFILE);
    }
}

int watch_init(struct watch *w, sd_event *event, void (*changed)(bool jobs, bool states, void *arg),
               void *arg, struct err *e)
{
    *w = (struct watch){.fd = -1, .event = event, .changed = changed, .arg = arg};
    int r = sd_event_add_time_relative(event, &w->poll, CLOCK_MONOTONIC, POLL_USEC, 0, on_poll, w);
    if (r >= 0)
        r = sd_event_source_set_enabled(w->poll, SD_EVENT_OFF);
    return r < 0 ? err_set(e, ERR_SYSTEM, -r, "cannot watch files") : 0;
}

/* Watching what is watched already, or is not there, changes nothing. */
static int watch_dir(struct watch *w, uint32_t more, const char *path)
{
    const uint32_t what = NAMES_CHANGED | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_MASK_ADD | more;
    strv_add(&w->dirs, path);
    if (w->fd < 0)
        return EMFILE;
    return inotify_add_watch(w->fd, path, what) < 0 && (errno == ENOSPC || errno == ENOMEM) ? errno : 0;
}

/* 0, or why one of them is not watched. */
static int watch_nodes(struct watch *w, struct tree *tree, const char *nodes)
{
    struct err ignored;
    _cleanup_strv_ struct strv names = STRV_INIT;
    int lacking = watch_dir(w, 0, nodes);
    if (tree_list(tree, "nodes", &names, &ignored) != 0)
        return lacking;
    for (size_t i = 0; i < names.n; i++) {
        _cleanup_free_ char *node = xasprintf("%s/%s", nodes, names.v[i]);
        _cleanup_free_ char *qemu = xasprintf("%s/qemu-server", node), *lxc = xasprintf("%s/lxc", node);
        const char *const dirs[] = {node, qemu, lxc};
        for (size_t k = 0; k < ELEMENTS(dirs); k++) {
            int r = watch_dir(w, 0, dirs[k]);
            lacking = r ? r : lacking;
        }
    }
    return lacking;
}

static int watch_all(struct watch *w, struct tree *tree, const char *state_dir)
{
    const char *root = tree_root(tree);
    _cleanup_free_ char *nodes = xasprintf("%s/nodes", root), *priv = xasprintf("%s/priv", root);
    const char *const written[] = {state_dir, root, priv};
    int lacking = 0;
    strv_release(&w->dirs);
    for (size_t i = 0; i < ELEMENTS(written); i++) {
        int r = watch_dir(w, IN_CLOSE_WRITE, written[i]);
        lacking = r ? r : lacking;
    }
    int r = watch_nodes(w, tree, nodes);
    return r ? r : lacking;
}

void watch_update(struct watch *w, struct tree *tree, const char *state_dir)
{
    w->tree = tree;
    open_inotify(w);
    int lacking = watch_all(w, tree, state_dir);
    if (lacking)
        become_blind(w, "cannot watch all folders", lacking);
    else
        w->blind = false;
    if (w->blind) /* before all of it is read */
        w->stamp = read_stamp(w);
    if (tree_is_pmxcfs(tree) && !w->version)
        w->version = read_version(tree);
    if (w->blind || tree_is_pmxcfs(tree)) {
        sd_event_source_set_time_relative(w->poll, POLL_USEC);
        sd_event_source_set_enabled(w->poll, SD_EVENT_ONESHOT);
    }
}

void watch_release(struct watch *w)
{
    sd_event_source_unref(w->source);
    sd_event_source_unref(w->poll);
    if (w->fd >= 0)
        close(w->fd);
    free(w->version);
    strv_release(&w->dirs);
    *w = (struct watch)WATCH_INIT;
}
