#include "guest/runtime.h"

#include "base/fs.h"
#include "base/num.h"
#include "base/proc.h"
#include "conf/propstring.h"
#include "guest/config.h"
#include "guest/freeze.h"
#include "guest/qga.h"

#include <string.h>
#include <sys/stat.h>

#define THAW_SECONDS 20.0

/* ---- virtual machines ---- */

pid_t machine_pid(uint32_t id, time_t *written)
{
    _cleanup_free_ char *path = machine_path(id, "pid");
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct err ignored;
    struct stat st;
    uint64_t pid;
    if (fs_read(path, 64, &text, &ignored) != 0 || stat(path, &st) < 0)
        return 0;
    _cleanup_free_ char *line = buf_take(&text);
    line[strcspn(line, "\n")] = 0;
    if (num_parse_u64("pid", line, 1, INT32_MAX, &pid, &ignored) < 0)
        return 0;
    if (written)
        *written = st.st_mtime;
    return proc_start_time((pid_t)pid) > 0 ? (pid_t)pid : 0;
}

char *machine_path(uint32_t id, const char *kind)
{
    return xasprintf("%s/run/qemu-server/%u.%s", guest_runtime_root, id, kind);
}

/* `agent: [enabled=]0|1[,freeze-fs=0|1]`, with the older names of freeze-fs
 * (BEHAVIOUR.md#guest-configuration). */
static bool agent_may_freeze(const struct guest_config *g, const char **why)
{
    static const char *const off_switches[] = {"freeze-fs", "freeze-fs-on-backup", "guest-fsfreeze"};
    const char *text = guest_config_get(g, "agent");
    char value[16];
    bool on = false;
    struct err ignored;
    if (!text ||
        (!propstring_get(text, "enabled", value, sizeof value) &&
         !propstring_get(text, NULL, value, sizeof value)) ||
        num_parse_bool("agent", value, &on, &ignored) < 0 || !on) {
        *why = "agent not configured";
        return false;
    }
    for (size_t i = 0; i < ELEMENTS(off_switches); i++)
        if (propstring_get(text, off_switches[i], value, sizeof value) &&
            num_parse_bool("freeze-fs", value, &on, &ignored) == 0 && !on) {
            *why = "disabled in the options of the agent";
            return false;
        }
    return true;
}

static const char fs_is_frozen[] = "its file systems are frozen already";

static bool machine_can_freeze(const struct guest_config *g, const char *path, const char **why)
{
    struct qga q;
    struct err ignored;
    if (!agent_may_freeze(g, why))
        return false;
    *why = "the guest agent does not answer";
    if (qga_open(path, PING_SECONDS, &q, &ignored) < 0)
        return false;
    json_auto_t *pong = qga_call(&q, "guest-ping", PING_SECONDS, &ignored);
    json_auto_t *status = pong ? qga_call(&q, "guest-fsfreeze-status", PING_SECONDS, &ignored) : NULL;
    qga_close(&q);
    if (!json_is_string(status))
        return false;
    *why = fs_is_frozen;
    return strcmp(json_string_value(status), "frozen") != 0;
}

bool machine_fs_is_frozen(const struct guest_config *g)
{
    const char *why = "";
    _cleanup_free_ char *path = machine_path(g->id, "qga");
    return !machine_can_freeze(g, path, &why) && why == fs_is_frozen;
}

static int machine_freeze(struct freeze *f, double seconds, struct err *e)
{
    struct qga q;
    _cleanup_free_ char *path = machine_path(f->id, "qga");
    if (qga_open(path, PING_SECONDS, &q, e) < 0)
        return -1;
    json_auto_t *count = qga_call(&q, "guest-fsfreeze-freeze", seconds, e);
    qga_close(&q); /* QEMU serves one client: the watchdog may need the agent */
    return count ? 0 : -1;
}

static int machine_thaw(const struct freeze *f, double seconds, struct err *e)
{
    struct qga q;
    _cleanup_free_ char *path = machine_path(f->id, "qga");
    if (machine_pid(f->id, NULL) == 0)
        return 0;
    if (qga_open(path, seconds, &q, e) < 0)
        return -1;
    json_auto_t *count = qga_call(&q, "guest-fsfreeze-thaw", seconds, e);
    qga_close(&q);
    return count ? 0 : -1;
}

/* ---- containers ---- */

static bool container_can_freeze(uint32_t id, const char **why)
{
    struct err ignored;
    *why = "the container is frozen already";
    return container_is_frozen(id, &ignored) != 1;
}

static int container_freeze(struct freeze *f, double seconds, struct err *e)
{
    if (container_set_frozen(f->id, true, seconds, e) < 0)
        return -1;
    pid_t pid = container_pid(f->id);
    return pid > 0 ? container_sync(pid, seconds, e) : 0;
}

static int container_thaw(const struct freeze *f, double seconds, struct err *e)
{
    return container_set_frozen(f->id, false, seconds, e);
}

/* ---- both ---- */

static int thaw_in_watchdog(const void *freeze, double seconds, struct err *e)
{
    const struct freeze *f = freeze;
    return f->undo(f, seconds, e);
}

static void freeze_free(struct freeze *f)
{
    cgroup_release(&f->group);
    free(f);
}

struct freeze *freeze_begin(const struct freeze *model, double seconds, struct err *e)
{
    struct freeze *f = xcalloc(1, sizeof *f);
    *f = *model;
    if (watchdog_start(thaw_in_watchdog, f, seconds, &f->watchdog, e) < 0) {
        freeze_free(f);
        return NULL;
    }
    if (f->make(f, seconds, e) == 0 && watchdog_frozen(&f->watchdog, !f->still, e) == 0)
        return f;
    /* The guest may be frozen nevertheless, or be on the way to it. */
    struct err problem = {0};
    enum freeze_end end;
    if (guest_thaw(f, &end, &problem) < 0)
        err_wrap(e, "%s", problem.text);
    return NULL;
}

pid_t guest_running(enum guest_type type, uint32_t id)
{
    return type == GUEST_QEMU ? machine_pid(id, NULL) : container_pid(id);
}

char *guest_edit_lock_path(enum guest_type type, uint32_t id)
{
    bool machine = type == GUEST_QEMU;
    _cleanup_free_ char *folder =
        xasprintf("%s/run/lock/%s", guest_runtime_root, machine ? "qemu-server" : "lxc");
    return fs_exists(folder) ? xasprintf(machine ? "%s/lock-%u.conf" : "%s/pve-config-%u.lock", folder, id)
                             : NULL;
}

static struct freeze *does_not_apply(const char *why, struct err *e)
{
    err_set(e, ERR_NONE, 0, "skipping guest filesystem freeze - %s", why);
    return NULL;
}

/* NULL: it does; else why not. */
static const char *why_not(const struct guest_config *g)
{
    const char *why = "";
    _cleanup_free_ char *path = machine_path(g->id, "qga");
    if (guest_running(g->type, g->id) == 0)
        return "the guest is not running";
    bool may = g->type == GUEST_QEMU ? machine_can_freeze(g, path, &why) : container_can_freeze(g->id, &why);
    return may ? NULL : why;
}

bool guest_may_freeze(const struct guest_config *g)
{
    return !why_not(g);
}

struct freeze *guest_freeze(const struct guest_config *g, double seconds, struct err *e)
{
    bool machine = g->type == GUEST_QEMU;
    const char *why = why_not(g);
    if (why)
        return does_not_apply(why, e);
    struct freeze model = {.id = g->id,
                           .make = machine ? machine_freeze : container_freeze,
                           .undo = machine ? machine_thaw : container_thaw};
    return freeze_begin(&model, seconds, e);
}

int guest_thaw(struct freeze *f, enum freeze_end *end, struct err *e)
{
    *end = watchdog_is_due(&f->watchdog) ? FREEZE_LOST : FREEZE_HELD;
    int r = f->undo(f, THAW_SECONDS, e);
    if (r < 0) {
        watchdog_leave(&f->watchdog);
    } else {
        r = watchdog_end(&f->watchdog, e);
        *end = r < 0 ? FREEZE_RAN_OUT : FREEZE_HELD;
    }
    freeze_free(f);
    return r;
}
