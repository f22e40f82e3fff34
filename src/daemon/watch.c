#include "daemon/watch.h"

#include "base/jsonspan.h"

#include <errno.h>
#include <string.h>
#include <sys/inotify.h>

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
    else if (ev->mask & IN_ISDIR || strcmp(name, "replication.cfg") == 0 || strcmp(name, "nodes.cfg") == 0 ||
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

static int on_poll(sd_event_source *s, uint64_t usec, void *arg)
{
    struct watch *w = arg;
    if (!w->tree || !tree_is_pmxcfs(w->tree))
        return 0;
    char *version = read_version(w->tree);
    bool changed = !w->version || strcmp(w->version, version) != 0;
    free(w->version);
    w->version = version;
    sd_event_source_set_time_relative(s, POLL_USEC);
    sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
    if (changed)
        w->changed(true, false, w->arg);
    return 0;
}

int watch_init(struct watch *w, sd_event *event, void (*changed)(bool jobs, bool states, void *arg),
               void *arg, struct err *e)
{
    *w = (struct watch){.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .changed = changed, .arg = arg};
    if (w->fd < 0)
        return err_sys(e, "cannot watch files");
    int r = sd_event_add_io(event, &w->source, w->fd, EPOLLIN, on_inotify, w);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &w->poll, CLOCK_MONOTONIC, POLL_USEC, 0, on_poll, w);
    if (r >= 0)
        r = sd_event_source_set_enabled(w->poll, SD_EVENT_OFF);
    return r < 0 ? err_set(e, ERR_SYSTEM, -r, "cannot watch files") : 0;
}

/* Watching what is watched already, or is not there, changes nothing. */
static void watch_dir(struct watch *w, uint32_t more, const char *path)
{
    inotify_add_watch(w->fd, path,
                      NAMES_CHANGED | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_MASK_ADD | more);
}

void watch_update(struct watch *w, struct tree *tree, const char *state_dir)
{
    const char *root = tree_root(tree);
    struct err ignored;
    _cleanup_strv_ struct strv names = STRV_INIT;
    w->tree = tree;
    watch_dir(w, IN_CLOSE_WRITE, state_dir);
    watch_dir(w, IN_CLOSE_WRITE, root);
    _cleanup_free_ char *nodes = xasprintf("%s/nodes", root), *priv = xasprintf("%s/priv", root);
    watch_dir(w, IN_CLOSE_WRITE, priv);
    watch_dir(w, 0, nodes);
    if (tree_list(tree, "nodes", &names, &ignored) == 0)
        for (size_t i = 0; i < names.n; i++) {
            _cleanup_free_ char *node = xasprintf("%s/%s", nodes, names.v[i]);
            _cleanup_free_ char *qemu = xasprintf("%s/qemu-server", node), *lxc = xasprintf("%s/lxc", node);
            watch_dir(w, 0, node);
            watch_dir(w, 0, qemu);
            watch_dir(w, 0, lxc);
        }
    if (tree_is_pmxcfs(tree)) {
        if (!w->version)
            w->version = read_version(tree);
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
    *w = (struct watch)WATCH_INIT;
}
