#include "run/takeover.h"

#include "base/fs.h"
#include "base/modes.h"
#include "base/num.h"
#include "base/proc.h"

#include <errno.h>
#include <string.h>

#define FILE_MAX (1 << 20)
#define FOLDER "systemd/system/pvescheduler.service.d"
#define SHIPPED "/usr/lib/" FOLDER "/pvesr.conf"
#define MODULE "/usr/share/perl5/Pvesr/Takeover.pm"
#define STOCK "/usr/share/perl5/PVE/API2/Replication.pm"
#define SCHEDULER "/usr/bin/pvescheduler"
#define WORD "-MPvesr::Takeover"
#define OFF_TEXT                                                                                             \
    "# Hides the file of the same name in /usr/lib: pvescheduler runs replication jobs, too.\n"              \
    "# `pvesr takeover on` removes it.\n"

/* The first that is there counts. */
static const char *const folders[] = {"/etc/" FOLDER, "/run/" FOLDER, "/usr/lib/" FOLDER};

static bool is_there(const char *root, const char *path)
{
    _cleanup_free_ char *full = xasprintf("%s%s", root, path);
    return fs_exists(full);
}

/* Does the file have the text? 0 also when there is no such file. */
static int has_text(const char *root, const char *path, const char *text, struct err *e)
{
    _cleanup_free_ char *full = xasprintf("%s%s", root, path);
    _cleanup_buf_ struct buf content = BUF_INIT;
    int r = fs_read(full, FILE_MAX, &content, e);
    return r < 0 ? -1 : r == 0 && memmem(buf_str(&content), content.len, text, strlen(text));
}

static int is_on(const char *root, struct err *e)
{
    for (size_t i = 0; i < ELEMENTS(folders); i++) {
        _cleanup_free_ char *path = xasprintf("%s/pvesr.conf", folders[i]);
        if (!is_there(root, path))
            continue;
        int r = has_text(root, path, WORD, e);
        return r < 0 && e->kind == ERR_DATA ? 0 : r; /* a link to /dev/null hides the drop-in, too */
    }
    return 0;
}

/* ---- the services of this system ---- */

static bool has_systemd(const char *root)
{
    return !*root && fs_exists("/run/systemd/system");
}

/* The scheduler that runs, or 0. */
static int scheduler_pid(uint64_t *ret, struct err *e)
{
    char *const argv[] = {"systemctl", "show", "--property=MainPID", "--value", "pvescheduler.service", NULL};
    _cleanup_buf_ struct buf out = BUF_INIT;
    if (proc_check(argv, NULL, &out, e) < 0)
        return -1;
    out.data[strcspn(buf_str(&out), "\n")] = 0;
    return num_parse_u64("MainPID of pvescheduler.service", buf_str(&out), 0, INT32_MAX, ret, e);
}

/* Was the scheduler that runs started another way than is said now? */
static int is_stale(bool on, struct err *e)
{
    uint64_t pid;
    struct err ignored;
    if (scheduler_pid(&pid, e) < 0)
        return -1;
    _cleanup_free_ char *path = xasprintf("/proc/%llu/environ", (unsigned long long)pid);
    int knows = pid ? has_text("", path, WORD, &ignored) : on;
    return knows >= 0 && knows != on; /* only root can look */
}

static int is_pvesrd_active(struct err *e)
{
    char *const argv[] = {"systemctl", "is-active", "pvesrd.service", NULL};
    struct proc_result r = {0};
    int result = proc_run(argv, NULL, &r, e);
    bool active = r.status == 0;
    proc_result_release(&r);
    return result < 0 ? -1 : active;
}

/* ---- what is said ---- */

/* What keeps files that say "on" from meaning it, or NULL. */
static int fault(const char *root, const char **ret, struct err *e)
{
    int r = has_text(root, STOCK, "sub run_jobs", e);
    if (r < 0)
        return -1;
    if (!is_there(root, MODULE))
        *ret = "but '" MODULE "' is missing, and pvescheduler cannot start so: pvesr takeover off";
    else if (!r)
        *ret = "without effect: PVE::API2::Replication of this Proxmox VE has no run_jobs, and pvescheduler "
               "runs jobs, too";
    return 0;
}

static int fault_of_services(bool on, const char **ret, struct err *e)
{
    int stale = is_stale(on, e), active = stale < 0 ? -1 : is_pvesrd_active(e);
    if (active < 0)
        return -1;
    if (stale)
        *ret = "but the pvescheduler that runs was started before: systemctl restart pvescheduler";
    else if (on && !active)
        *ret = "but pvesrd is not active, and nobody starts jobs: systemctl enable --now pvesrd";
    return 0;
}

int takeover_status(const char *root, char **ret, struct err *e)
{
    const char *wrong = NULL;
    *ret = NULL;
    if (!is_there(root, SCHEDULER))
        return 1;
    int on = is_on(root, e);
    if (on < 0 || (on && fault(root, &wrong, e) < 0))
        return -1;
    if (!wrong && has_systemd(root) && fault_of_services(on, &wrong, e) < 0)
        return -1;
    if (wrong)
        *ret = xasprintf("%s, %s", on ? "on" : "off", wrong);
    else
        *ret = xstrdup(on ? "on: pvescheduler leaves replication to pvesrd"
                          : "off: pvescheduler runs replication jobs, too");
    return 0;
}

/* ---- switching ---- */

static int hide(const char *root, const char *folder, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s%s", root, folder);
    _cleanup_free_ char *path = xasprintf("%s/pvesr.conf", dir);
    if (fs_mkdir_p(dir, MODE_FOLDER, e) < 0)
        return -1;
    return fs_write_atomic(path, OFF_TEXT, strlen(OFF_TEXT), MODE_STATE, e);
}

static int show(const char *root, const char *folder, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s%s", root, folder);
    _cleanup_free_ char *path = xasprintf("%s/pvesr.conf", dir);
    int r = fs_unlink(path, e);
    if (r == 0 && rmdir(dir) < 0 && errno != ENOTEMPTY && errno != EEXIST)
        return err_sys(e, "cannot remove '%s'", dir);
    return r < 0 ? -1 : 0;
}

static int tell_services(bool on, struct err *e)
{
    char *const reload[] = {"systemctl", "daemon-reload", NULL};
    char *const restart[] = {"systemctl", "try-restart", "pvescheduler.service", NULL};
    const struct proc_options patient = {.seconds = 300}; /* it may wait for a job that it runs */
    if (proc_check(reload, NULL, NULL, e) < 0)
        return -1;
    int stale = is_stale(on, e);
    return stale > 0 ? proc_check(restart, &patient, NULL, e) : stale;
}

int takeover_set(const char *root, bool on, bool until_boot, struct err *e)
{
    int r = 0;
    if (on && (!is_there(root, SHIPPED) || !is_there(root, MODULE)))
        return err_set(e, ERR_GONE, 0, "'%s%s' or '%s%s' is missing: they come with the Debian package pvesr",
                       root, SHIPPED, root, MODULE);
    if (!on && until_boot && !is_there(root, "/run/systemd/system"))
        return err_set(e, ERR_GONE, 0, "'%s/run/systemd/system' is missing: systemd does not run there",
                       root);
    if (on)
        r = show(root, folders[0], e) < 0 ? -1 : show(root, folders[1], e);
    else
        r = hide(root, folders[until_boot ? 1 : 0], e);
    return r == 0 && has_systemd(root) ? tell_services(on, e) : r;
}
