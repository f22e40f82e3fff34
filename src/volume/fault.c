/* A driver for tests: a `dir` storage that fails when told to, by the environment variable
 *
 *     PVESR_FAULT=OP:N[:HOW]
 *
 * The N-th call of OP in this process fails with errno HOW ("ENOSPC", "EIO", …; EIO when left out), before it
 * did anything. HOW `kill` kills the process there with SIGKILL, `kill-after` when the call is done. OP is
 * the name of a slot of struct volume_driver.
 */
#include "volume/driver.h"

#include "base/mem.h"
#include "base/num.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum how { FAIL, KILL, KILL_AFTER };

static struct plan {
    char text[96]; /* that it was made from */
    char op[32];
    uint64_t n; /* 0: never */
    enum how how;
    int code;
    uint64_t calls; /* of op, so far */
} plan;

static int code_of(const char *name)
{
    for (int code = 1; code < 200; code++) {
        const char *known = strerrorname_np(code);
        if (known && strcmp(known, name) == 0)
            return code;
    }
    return EIO;
}

static void read_plan(const char *text)
{
    _cleanup_strv_ struct strv f = STRV_INIT;
    struct err ignored;
    plan = (struct plan){.n = 0};
    snprintf(plan.text, sizeof plan.text, "%s", text);
    strv_split(&f, plan.text, ":");
    if (f.n < 2 || strlen(f.v[0]) >= sizeof plan.op ||
        num_parse_u64("PVESR_FAULT", f.v[1], 1, UINT64_MAX, &plan.n, &ignored) < 0)
        return;
    strcpy(plan.op, f.v[0]);
    const char *how = f.n > 2 ? f.v[2] : "EIO";
    plan.how = strcmp(how, "kill") == 0 ? KILL : strcmp(how, "kill-after") == 0 ? KILL_AFTER : FAIL;
    plan.code = code_of(how);
}

/* Count a call; -1 when it must fail. *last: kill when it is done. */
static int before(const char *op, bool *last, struct err *e)
{
    const char *text = getenv("PVESR_FAULT");
    if (!text)
        text = "";
    if (strncmp(text, plan.text, sizeof plan.text - 1) != 0)
        read_plan(text);
    *last = false;
    if (strcmp(op, plan.op) != 0 || ++plan.calls != plan.n)
        return 0;
    if (plan.how == KILL)
        raise(SIGKILL);
    *last = plan.how == KILL_AFTER;
    if (*last)
        return 0;
    return err_set(e, ERR_SYSTEM, plan.code, "PVESR_FAULT: %s fails at call %llu", op,
                   (unsigned long long)plan.n);
}

static int after(bool last, int r)
{
    if (last)
        raise(SIGKILL);
    return r;
}

/* One slot that returns 0 or -1: its parameters and, for the call, their names. */
#define SLOT(op, parameters, arguments)                                                                      \
    static int fault_##op parameters                                                                         \
    {                                                                                                        \
        bool last;                                                                                           \
        return before(#op, &last, e) < 0 ? -1 : after(last, driver_dir.op arguments);                        \
    }

SLOT(open, (struct volume * v, struct err *e), (v, e))
SLOT(list, (const struct volume_store *s, uint32_t vmid, bool asides, struct strv *ret, struct err *e),
     (s, vmid, asides, ret, e))
SLOT(guests, (const struct volume_store *s, volume_guest_fn *tell, void *arg, struct err *e),
     (s, tell, arg, e))
SLOT(info, (struct volume * v, struct volume_info *ret, struct err *e), (v, ret, e))
SLOT(place, (struct volume * v, struct volume_place *ret, struct err *e), (v, ret, e))
SLOT(sign, (struct volume * v, char *ret, struct err *e), (v, ret, e))
SLOT(sign_seen, (struct volume * v, const char *sign, struct err *e), (v, sign, e))
SLOT(made, (struct volume * v, char *ret, struct err *e), (v, ret, e))
SLOT(snapshots, (struct volume * v, struct snapshots *ret, struct err *e), (v, ret, e))
SLOT(snapshot, (struct volume * v, const char *name, bool busy, struct err *e), (v, name, busy, e))
SLOT(snapshot_keep, (struct volume * v, const char *name, struct snapshot *ret, struct err *e),
     (v, name, ret, e))
SLOT(snapshot_destroy, (struct volume * v, const char *name, const char *id, struct err *e), (v, name, id, e))
SLOT(snapshot_rename, (struct volume * v, const char *from, const char *to, struct err *e), (v, from, to, e))
SLOT(snapshot_adopt, (struct volume * v, const char *name, const char *id, struct err *e), (v, name, id, e))
SLOT(snapshot_mark, (struct volume * v, const char *name, const char *id, int64_t since, struct err *e),
     (v, name, id, since, e))
SLOT(tidy, (struct volume * v, struct err *e), (v, e))
SLOT(written, (struct volume * v, char *since, struct err *e), (v, since, e))
SLOT(differs, (struct volume * v, const char *id, struct err *e), (v, id, e))
SLOT(keep_aside, (struct volume * v, const char *name, struct err *e), (v, name, e))
SLOT(in_use, (struct volume * v, char *by, struct err *e), (v, by, e))
SLOT(destroy, (struct volume * v, struct err *e), (v, e))
SLOT(replica, (struct volume * v, char *owner, char *base_id, struct err *e), (v, owner, base_id, e))
SLOT(delta_open,
     (struct delta * d, const struct snapshot *base, const struct snapshot *s, uint64_t from, struct err *e),
     (d, base, s, from, e))
SLOT(delta_next, (struct delta * d, struct extent *ret, struct err *e), (d, ret, e))
SLOT(stage_info, (struct volume * v, struct stage_info *ret, struct err *e), (v, ret, e))
SLOT(stage_open, (struct stage * s, const struct stage_want *want, uint64_t *offset, struct err *e),
     (s, want, offset, e))
SLOT(stage_write, (struct stage * s, uint64_t offset, const void *data, size_t n, struct err *e),
     (s, offset, data, n, e))
SLOT(stage_zero, (struct stage * s, uint64_t offset, uint64_t n, struct err *e), (s, offset, n, e))
SLOT(stage_checkpoint, (struct stage * s, uint64_t offset, struct err *e), (s, offset, e))
SLOT(stage_seal, (struct stage * s, struct err *e), (s, e))
SLOT(stage_discard, (struct volume * v, struct err *e), (v, e))
SLOT(commit, (struct volume * v, const char *id, enum commit_how how, struct err *e), (v, id, how, e))

static bool fault_supports(const char *name)
{
    return driver_dir.supports(name);
}

static void fault_close(struct volume *v)
{
    driver_dir.close(v);
}

static void fault_sign_end(struct volume *v, const char *sign)
{
    driver_dir.sign_end(v, sign);
}

static int fault_strays(struct volume *v, bool live, struct strv *ret, struct err *e)
{
    return driver_dir.strays(v, live, ret, e);
}

static int fault_complete(struct volume *v, struct err *e)
{
    return driver_dir.complete(v, e);
}

static void fault_flush(struct volume *v)
{
    driver_dir.flush(v);
}

static const void *fault_delta_data(const struct delta *d)
{
    return driver_dir.delta_data(d);
}

static void fault_delta_close(struct delta *d)
{
    driver_dir.delta_close(d);
}

static int fault_stage_fd(const struct stage *s)
{
    return driver_dir.stage_fd(s);
}

static void fault_stage_close(struct stage *s)
{
    driver_dir.stage_close(s);
}

const struct volume_driver driver_fault = {
    .type = "fault",
    .supports = fault_supports,
    .open = fault_open,
    .close = fault_close,
    .list = fault_list,
    .guests = fault_guests,
    .info = fault_info,
    .place = fault_place,
    .sign = fault_sign,
    .sign_seen = fault_sign_seen,
    .sign_end = fault_sign_end,
    .made = fault_made,
    .snapshots = fault_snapshots,
    .strays = fault_strays,
    .complete = fault_complete,
    .flush = fault_flush,
    .snapshot = fault_snapshot,
    .snapshot_keep = fault_snapshot_keep,
    .snapshot_destroy = fault_snapshot_destroy,
    .snapshot_rename = fault_snapshot_rename,
    .snapshot_adopt = fault_snapshot_adopt,
    .snapshot_mark = fault_snapshot_mark,
    .tidy = fault_tidy,
    .written = fault_written,
    .differs = fault_differs,
    .keep_aside = fault_keep_aside,
    .in_use = fault_in_use,
    .destroy = fault_destroy,
    .replica = fault_replica,
    .delta_open = fault_delta_open,
    .delta_next = fault_delta_next,
    .delta_data = fault_delta_data,
    .delta_close = fault_delta_close,
    .stage_info = fault_stage_info,
    .stage_open = fault_stage_open,
    .stage_write = fault_stage_write,
    .stage_zero = fault_stage_zero,
    .stage_fd = fault_stage_fd,
    .stage_checkpoint = fault_stage_checkpoint,
    .stage_seal = fault_stage_seal,
    .stage_close = fault_stage_close,
    .stage_discard = fault_stage_discard,
    .commit = fault_commit,
};
