#include "volume/lvm/lvm.h"

#include "base/clock.h"
#include "base/debug.h"
#include "base/num.h"
#include "base/proc.h"
#include "volume/name.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define LVS_MAX (64u << 20)
#define COMMAND_SECONDS 300
/* Others change the group too: what was read is believed for that long. */
#define BELIEVED_SECONDS 5.0
#define OLD_SECONDS 60.0
#define FRESH_SECONDS 1.0
#define FIELDS 13
#define OPEN_TRIES 3

static struct {
    struct vg **v;
    size_t n;
} groups;

/* ---- names ---- */

/* by enum lvm_kind */
static const char *const prefixes[] = {"snap_", "pvesr_stage_", "pvesr_new_", "pvesr_tmp_", "pvesr_old_"};

static bool has_tag(enum lvm_kind kind)
{
    return kind == LVM_SNAPSHOT || kind == LVM_TEMP;
}

struct lvm_name lvm_name(const struct lvm *l, enum lvm_kind kind, const char *tag)
{
    struct lvm_name n;
    snprintf(n.s, sizeof n.s, "%s%s%s%s", prefixes[kind], l->volume, has_tag(kind) ? "_" : "",
             has_tag(kind) ? tag : "");
    return n;
}

/* ---- reading the group ---- */

static bool copy(char *to, size_t room, const char *from)
{
    size_t n = strlen(from);
    if (n >= room)
        return false;
    memcpy(to, from, n + 1);
    return true;
}

/* Of several tags of ours the one that is ahead; they are never several but for a hand at work. */
static void take_tags(struct lv *lv, char *tags)
{
    struct lvm_mark mark;
    for (char *tag; (tag = strsep(&tags, ","));) {
        if (strncmp(tag, LVM_TAG_DAMAGED, strlen(LVM_TAG_DAMAGED)) == 0)
            lv->damaged = mark_damaged_parse(tag + strlen(LVM_TAG_DAMAGED));
        if (strncmp(tag, LVM_TAG_SEAL, strlen(LVM_TAG_SEAL)) == 0)
            copy(lv->seal, sizeof lv->seal, tag + strlen(LVM_TAG_SEAL));
        if (!lvm_mark_parse(tag, &mark))
            continue;
        bool ahead = !lv->marked || mark.m.sealed > lv->mark.m.sealed ||
                     (mark.m.sealed == lv->mark.m.sealed && mark.m.offset > lv->mark.m.offset);
        if (!ahead)
            continue;
        lv->marked = true;
        lv->mark = mark;
        copy(lv->tag, sizeof lv->tag, tag);
    }
}

static uint64_t bytes_of(const char *text)
{
    uint64_t n = 0;
    struct err ignored;
    return num_parse_u64("lvs", text, 0, INT64_MAX, &n, &ignored) < 0 ? 0 : n;
}

static double percent_of(const char *text)
{
    double n;
    struct err ignored;
    return num_parse_double("lvs", text, 0, 100, &n, &ignored) < 0 ? -1 : n;
}

static void take_pool(struct vg *g, char *const f[FIELDS])
{
    struct thin_pool p = {.size = bytes_of(f[2]), .chunk = bytes_of(f[7]), .zeroes = f[1][7] == 'z'};
    if (!copy(p.name, sizeof p.name, f[0]))
        return;
    p.used = percent_of(f[8]);
    p.meta_used = percent_of(f[9]);
    g->pools = xgrow(g->pools, g->n_pools, sizeof *g->pools);
    g->pools[g->n_pools++] = p;
}

/* One line of lvs: see ask(). */
static bool take_line(struct vg *g, char *line)
{
    char *f[FIELDS];
    line += strspn(line, " ");
    for (size_t i = 0; i < FIELDS; i++)
        if (!(f[i] = strsep(&line, "|")))
            return false;
    if (strlen(f[1]) < 8)
        return false;
    g->extent = bytes_of(f[10]);
    if (f[1][0] == 't')
        take_pool(g, f);
    struct lv lv = {.size = bytes_of(f[2]),
                    .thin_id = bytes_of(f[5]),
                    .created = (int64_t)bytes_of(f[6]),
                    .read_only = f[1][1] != 'w',
                    .merging = f[1][0] == 'O',
                    .active = f[1][4] == 'a'};
    if (!copy(lv.name, sizeof lv.name, f[0]) || !copy(lv.pool, sizeof lv.pool, f[3]) ||
        !copy(lv.origin, sizeof lv.origin, f[4]) || !copy(lv.uuid, sizeof lv.uuid, f[12]))
        return true; /* nothing of ours has such a name */
    take_tags(&lv, f[11]);
    if (g->n % 64 == 0)
        g->lvs = xreallocarray(g->lvs, g->n + 64, sizeof *g->lvs);
    g->lvs[g->n++] = lv;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct lv *)a)->name, ((const struct lv *)b)->name);
}

static int ask(struct vg *g, const struct tick *tick, struct err *e)
{
    char *argv[] = {"lvs",
                    "--noheadings",
                    "--nosuffix",
                    "--units",
                    "b",
                    "--separator",
                    "|",
                    "--config",
                    "report { time_format=\"%s\" }",
                    "-o",
                    "lv_name,lv_attr,lv_size,pool_lv,origin,thin_id,lv_time,chunk_size,data_percent,"
                    "metadata_percent,vg_extent_size,lv_tags,lv_uuid",
                    "--",
                    g->name,
                    NULL};
    _cleanup_buf_ struct buf out = BUF_INIT;
    struct proc_options options = {.cap = LVS_MAX, .seconds = COMMAND_SECONDS, .tick = tick};
    if (proc_check(argv, &options, &out, e) < 0) {
        if (strstr(e->text, "not found"))
            e->kind = ERR_GONE;
        return err_wrap(e, "volume group '%s' cannot be read", g->name);
    }
    free(g->lvs);
    free(g->pools);
    g->lvs = NULL;
    g->pools = NULL;
    g->n = g->n_pools = 0;
    char *rest = out.data;
    for (char *line; rest && (line = strsep(&rest, "\n"));)
        if (line[strspn(line, " ")] && !take_line(g, line))
            return err_set(e, ERR_DATA, 0, "lvs says '%.200s', which is not understood", line);
    if (g->n)
        qsort(g->lvs, g->n, sizeof *g->lvs, by_name);
    g->asked = clock_mono();
    g->stale = false;
    return 0;
}

static struct vg *group_of(const char *name)
{
    for (size_t i = 0; i < groups.n; i++)
        if (strcmp(groups.v[i]->name, name) == 0)
            return groups.v[i];
    struct vg *g = xcalloc(1, sizeof *g);
    snprintf(g->name, sizeof g->name, "%s", name);
    g->asked = -INFINITY;
    groups.v = xgrow(groups.v, groups.n, sizeof *groups.v);
    groups.v[groups.n++] = g;
    return g;
}

void lvm_forget(void)
{
    for (size_t i = 0; i < groups.n; i++)
        groups.v[i]->asked = -INFINITY;
}

const struct vg *lvm_group_anew(const struct lvm *l, struct err *e)
{
    struct vg *g = group_of(l->vg);
    g->asked = -INFINITY;
    return ask(g, l->tick, e) < 0 ? NULL : g;
}

const struct vg *lvm_group(const struct lvm *l, bool old, struct err *e)
{
    struct vg *g = group_of(l->vg);
    double age = clock_mono() - g->asked;
    if (old ? age < OLD_SECONDS : age < BELIEVED_SECONDS && !g->stale)
        return g;
    return lvm_group_anew(l, e);
}

static const struct lv *any_lv(const struct vg *g, const char *name)
{
    struct lv key;
    if (!g->n || !copy(key.name, sizeof key.name, name))
        return NULL;
    return bsearch(&key, g->lvs, g->n, sizeof *g->lvs, by_name);
}

const struct lv *lvm_lv(const struct vg *g, const struct lvm *l, const char *name)
{
    const struct lv *lv = any_lv(g, name);
    return lv && strcmp(lv->pool, l->pool) == 0 ? lv : NULL;
}

const struct thin_pool *lvm_thin_pool(const struct vg *g, const struct lvm *l, struct err *e)
{
    for (size_t i = 0; i < g->n_pools; i++)
        if (strcmp(g->pools[i].name, l->pool) == 0)
            return &g->pools[i];
    err_set(e, ERR_GONE, 0, "volume group '%s' has no thin pool '%s'", l->vg, l->pool);
    return NULL;
}

int lvm_find(const struct lvm *l, const char *name, struct lv *ret, struct err *e)
{
    const struct vg *g = lvm_group(l, false, e);
    if (!g)
        return -1;
    const struct lv *lv = lvm_lv(g, l, name);
    if (!lv)
        return 1;
    *ret = *lv;
    return 0;
}

int lvm_live(const struct lvm *l, struct lv *ret, struct err *e)
{
    int r = lvm_find(l, l->volume, ret, e);
    const struct vg *seen = group_of(l->vg); /* somebody made it since, perhaps */
    bool fresh = clock_mono() - seen->asked < FRESH_SECONDS;
    const struct vg *g = r != 1 ? NULL : fresh ? seen : lvm_group_anew(l, e);
    if (r == 1 && !g)
        return -1;
    const struct lv *made = g ? lvm_lv(g, l, l->volume) : NULL;
    if (made) {
        *ret = *made;
        return 0;
    }
    if (g && any_lv(g, l->volume))
        return err_set(e, ERR_CONFIG, 0, "the logical volume '%s/%s' does not lie in thin pool '%s'", l->vg,
                       l->volume, l->pool);
    return r;
}

static bool volume_there(const struct vg *g, const char *volume)
{
    struct lvm l = {.volume = volume};
    return any_lv(g, volume) || any_lv(g, lvm_name(&l, LVM_STAGE, NULL).s) ||
           any_lv(g, lvm_name(&l, LVM_NEW, NULL).s);
}

/* What somebody else made has no tag, and is known by what it was made from. */
static bool tag_agrees(const struct lv *lv, const char *volume, const char *snapshot)
{
    if (!lv->marked)
        return strcmp(lv->origin, volume) == 0;
    return strcmp(lv->mark.m.snapshot, snapshot) == 0 || strcmp(lv->mark.was, snapshot) == 0;
}

/* The '_' before the snapshot's name in VOLUME_SNAPSHOT. Both names may have one: of the volumes that are
 * there, or that its tag names, it is behind the one that the snapshot's tag agrees with (one that was
 * renamed since agrees with none), or from which one without a tag was made, else behind the longest that is
 * there; else behind the shortest that could be. NULL: none. */
static const char *between(const struct vg *g, const struct lv *lv, const char *name)
{
    char vol[LV_NAME_MAX + 1];
    const char *best = NULL;
    for (const char *p = name; (p = strchr(p, '_')); p++) {
        memcpy(vol, name, (size_t)(p - name));
        vol[p - name] = 0;
        if (!volume_name_valid(vol, NULL, NULL) || !snapshot_name_valid(p + 1))
            continue;
        bool there = volume_there(g, vol);
        if ((there || strcmp(lv->mark.volume, vol) == 0) && tag_agrees(lv, vol, p + 1))
            return p;
        if (there || !best)
            best = p;
    }
    return best;
}

int lvm_owner(const struct vg *g, const struct lv *lv, enum lvm_kind *kind, const char **volume,
              const char **tag)
{
    static char vol[LV_NAME_MAX + 1], rest[LV_NAME_MAX + 1];
    size_t k = 0, n = 0;
    while (k < ELEMENTS(prefixes) && strncmp(lv->name, prefixes[k], n = strlen(prefixes[k])) != 0)
        k++;
    if (k == ELEMENTS(prefixes))
        return 1;
    *kind = (enum lvm_kind)k;
    const char *name = lv->name + n;
    *volume = vol;
    *tag = rest;
    strcpy(vol, name);
    rest[0] = 0;
    if (!has_tag(*kind))
        return volume_name_valid(vol, NULL, NULL) ? 0 : 1;
    const char *best = between(g, lv, name);
    if (!best)
        return 1;
    memcpy(vol, name, (size_t)(best - name));
    vol[best - name] = 0;
    strcpy(rest, best + 1);
    return 0;
}

/* ---- changing it ---- */

static void name_failure(const struct lvm *l, struct err *e)
{
    if (strstr(e->text, "Cannot process volume group") || strstr(e->text, "PVs are missing") ||
        strstr(e->text, "partial LV"))
        pool_explain_missing(l, e);
    if (strstr(e->text, "with queued messages"))
        pool_explain(l, e);
    if (strstr(e->text, "in use") || strstr(e->text, "is used by"))
        e->kind = ERR_BUSY;
    else if (strstr(e->text, "reached threshold") || strstr(e->text, "insufficient free space") ||
             strstr(e->text, "Insufficient free space"))
        e->kind = ERR_FULL;
    err_wrap(e, "volume group '%s'", l->vg);
}

static int change(const struct lvm *l, const struct strv *argv, struct err *e)
{
    struct proc_options options = {
        .seconds = COMMAND_SECONDS, .tick = l->tick, .held_fd = store_lock(l->store)};
    group_of(l->vg)->stale = true;
    debug_command(argv->v);
    if (proc_check(argv->v, &options, NULL, e) == 0)
        return 0;
    name_failure(l, e);
    return -1;
}

int lvm_change(const struct lvm *l, struct err *e, const char *program, ...)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    va_list ap;
    strv_add(&argv, program);
    va_start(ap, program);
    for (const char *a; (a = va_arg(ap, const char *));)
        strv_add(&argv, a);
    va_end(ap);
    return change(l, &argv, e);
}

/* ---- changes whose result is known: nothing needs to be asked anew ---- */

static struct lv *known_lv(const struct lvm *l, const char *name)
{
    return (struct lv *)any_lv(group_of(l->vg), name);
}

/* In all LVs made from it, too. */
static void set_name(const struct lvm *l, const char *from, const char *to)
{
    struct vg *g = group_of(l->vg);
    for (size_t i = 0; i < g->n; i++) {
        if (strcmp(g->lvs[i].name, from) == 0)
            copy(g->lvs[i].name, sizeof g->lvs[i].name, to);
        if (strcmp(g->lvs[i].origin, from) == 0)
            copy(g->lvs[i].origin, sizeof g->lvs[i].origin, to);
    }
    if (g->n)
        qsort(g->lvs, g->n, sizeof *g->lvs, by_name);
}

/* Looks anew unless it was just done: somebody else makes such things. */
int lvm_check_dependents(const struct lvm *l, const char *name, struct err *e)
{
    struct vg *g = group_of(l->vg);
    _cleanup_strv_ struct strv found = STRV_INIT;
    if (clock_mono() - g->asked > FRESH_SECONDS && !lvm_group_anew(l, e))
        return -1;
    for (size_t i = 0; i < g->n; i++)
        if (strcmp(g->lvs[i].origin, name) == 0 && strcmp(g->lvs[i].pool, l->pool) != 0)
            strv_add(&found, g->lvs[i].name);
    if (!found.n)
        return 0;
    _cleanup_free_ char *list = strv_join(&found, "', '");
    return err_set(e, ERR_CONFIG, 0,
                   "'%s/%s' has '%.600s' made of it, which would go with it: copy what is worth keeping "
                   "elsewhere, and remove %s",
                   l->vg, name, list, found.n > 1 ? "them" : "it");
}

int lvm_remove(const struct lvm *l, const char *name, struct err *e)
{
    if (lvm_check_dependents(l, name, e) < 0)
        return -1;
    struct vg *g = group_of(l->vg);
    bool stale = g->stale;
    _cleanup_free_ char *path = xasprintf("%s/%s", l->vg, name);
    if (lvm_change(l, e, "lvremove", "-f", path, NULL) < 0)
        return -1;
    struct lv *lv = known_lv(l, name);
    if (lv) {
        set_name(l, name, "");
        memmove(g->lvs, g->lvs + 1, (--g->n) * sizeof *g->lvs); /* "" is the first of all names */
    }
    g->stale = stale;
    return 0;
}

int lvm_rename(const struct lvm *l, const char *from, const char *to, struct err *e)
{
    struct vg *g = group_of(l->vg);
    bool stale = g->stale;
    if (lvm_change(l, e, "lvrename", l->vg, from, to, NULL) < 0)
        return -1;
    set_name(l, from, to);
    g->stale = stale;
    return 0;
}

int lvm_retag(const struct lvm *l, const struct lv *lv, const struct lvm_mark *mark, const char *seal,
              enum lvm_retag how, struct err *e)
{
    struct vg *g = group_of(l->vg);
    bool stale = g->stale;
    _cleanup_free_ char *path = xasprintf("%s/%s", l->vg, lv->name);
    char tag[LVM_TAG_MAX];
    lvm_mark_print(mark, tag);
    bool same = lv->marked && strcmp(tag, lv->tag) == 0;
    if (same && !seal)
        return 0;
    _cleanup_strv_ struct strv argv = STRV_INIT;
    strv_adds(&argv, "lvchange", "-A", how == LVM_RETAG_OFTEN ? "n" : "y", NULL);
    if (!same)
        strv_adds(&argv, "--addtag", tag, NULL);
    if (!same && lv->marked)
        strv_adds(&argv, "--deltag", lv->tag, NULL);
    if (seal)
        strv_addf(&argv, "--addtag=" LVM_TAG_SEAL "%s", seal);
    if (seal && *lv->seal && strcmp(lv->seal, seal) != 0)
        strv_addf(&argv, "--deltag=" LVM_TAG_SEAL "%s", lv->seal);
    if (how == LVM_RETAG_FINAL)
        strv_add(&argv, "-pr");
    strv_add(&argv, path);
    if (change(l, &argv, e) < 0)
        return -1;
    struct lv *known = known_lv(l, lv->name);
    if (known) {
        known->marked = true;
        known->mark = *mark;
        known->read_only |= how == LVM_RETAG_FINAL;
        strcpy(known->tag, tag);
        if (seal)
            copy(known->seal, sizeof known->seal, seal);
    }
    g->stale = stale;
    return 0;
}

/* ---- activation ---- */

/* One command for up to two; NULL is none. */
static int activate(const struct lvm *l, const char *how, const char *a, const char *b, struct err *e)
{
    struct vg *g = group_of(l->vg);
    bool stale = g->stale;
    _cleanup_free_ char *first = xasprintf("%s/%s", l->vg, a ? a : b);
    _cleanup_free_ char *second = a && b ? xasprintf("%s/%s", l->vg, b) : NULL;
    if (lvm_change(l, e, "lvchange", how, "-K", first, second, NULL) < 0)
        return -1;
    const char *const names[] = {a, b};
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        struct lv *lv = names[i] ? known_lv(l, names[i]) : NULL;
        if (lv)
            lv->active = strcmp(how, "-ay") == 0;
    }
    g->stale = stale;
    return 0;
}

static int open_device(const struct lvm *l, const struct lv *lv, int flags, struct lvm_open *ret,
                       struct err *e)
{
    _cleanup_free_ char *device = lvm_device(l->vg, lv->name, "");
    uint64_t size = 0;
    struct stat st;
    ret->fd = open(device, flags | O_CLOEXEC);
    if (ret->fd < 0)
        return err_set(e, errno == EBUSY ? ERR_BUSY : ERR_SYSTEM, errno, "cannot open '%s'", device);
    if (fstat(ret->fd, &st) < 0 || !S_ISBLK(st.st_mode) || ioctl(ret->fd, BLKGETSIZE64, &size) < 0)
        return err_sys(e, "'%s' is no block device", device);
    if (size < lv->size)
        return err_set(e, ERR_DATA, 0, "'%s' has %llu bytes instead of %llu", device,
                       (unsigned long long)size, (unsigned long long)lv->size);
    return 0;
}

/* It may be active because somebody else reads it, who deactivates it after that. */
static int open_active(const struct lvm *l, const struct lv *lv, int flags, struct lvm_open *ret,
                       struct err *e)
{
    int r = -1;
    for (int tries = 0; r < 0 && tries < OPEN_TRIES; tries++) {
        if (tries && activate(l, "-ay", lv->name, NULL, e) < 0)
            return -1;
        ret->activated |= tries > 0;
        r = open_device(l, lv, flags, ret, e);
        if (r < 0 && (ret->fd >= 0 || e->code != ENOENT))
            return -1;
    }
    return r;
}

int lvm_open(const struct lvm *l, const struct lv *lv, int flags, struct lvm_open *ret, struct err *e)
{
    struct lvm_open none = LVM_OPEN_INIT;
    return lvm_open_both(l, lv, NULL, flags, ret, &none, e);
}

int lvm_open_both(const struct lvm *l, const struct lv *a, const struct lv *b, int flags,
                  struct lvm_open *ret_a, struct lvm_open *ret_b, struct err *e)
{
    *ret_a = *ret_b = (struct lvm_open)LVM_OPEN_INIT;
    strcpy(ret_a->name, a->name);
    strcpy(ret_b->name, b ? b->name : "");
    bool need_a = !a->active, need_b = b && !b->active;
    if ((need_a || need_b) && activate(l, "-ay", need_a ? a->name : NULL, need_b ? b->name : NULL, e) < 0)
        return -1;
    ret_a->activated = need_a;
    ret_b->activated = need_b;
    if (open_active(l, a, flags, ret_a, e) == 0 && (!b || open_active(l, b, flags, ret_b, e) == 0))
        return 0;
    lvm_close_both(l, ret_a, ret_b);
    return -1;
}

int lvm_show(const struct lvm *l, const struct lv *lv, int *fd, struct err *e)
{
    struct lvm_open o = LVM_OPEN_INIT;
    if (!lv->active && activate(l, "-ay", lv->name, NULL, e) < 0)
        return -1;
    if (open_active(l, lv, O_RDONLY, &o, e) < 0) {
        cleanup_closep(&o.fd);
        return -1;
    }
    *fd = o.fd;
    return 0;
}

void lvm_close(const struct lvm *l, struct lvm_open *o)
{
    struct lvm_open none = LVM_OPEN_INIT;
    lvm_close_both(l, o, &none);
}

void lvm_close_both(const struct lvm *l, struct lvm_open *a, struct lvm_open *b)
{
    struct err ignored;
    cleanup_closep(&a->fd);
    cleanup_closep(&b->fd);
    a->fd = b->fd = -1;
    if (a->activated || b->activated)
        activate(l, "-an", a->activated ? a->name : NULL, b->activated ? b->name : NULL, &ignored);
    a->activated = b->activated = false;
}
