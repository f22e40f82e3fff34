/* The zfspool driver: what is set on a volume, beside what its stream's first line says (property.c): what a
 * person set on it itself. What it inherits is the node's affair. And whether a guest could write to it. */
#include "volume/zfs/zfs.h"

#include "base/mem.h"
#include "base/num.h"
#include "base/proc.h"
#include "volume/traits.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define LACKING "pvesr:lacking"
#define THICK "refreservation=auto"

/* In the order in which they are set: what needs room comes last. */
static const struct {
    const char *key;
    bool amount; /* not inherited; 0 is none */
} known[] = {
    {"compression", false},   {"checksum", false},           {"copies", false},         {"dnodesize", false},
    {"logbias", false},       {"primarycache", false},       {"secondarycache", false}, {"sync", false},
    {"snapdir", false},       {"redundant_metadata", false}, {"quota", true},           {"reservation", true},
    {"refreservation", true},
};

static bool is_amount(const char *key)
{
    for (size_t i = 0; i < ELEMENTS(known); i++)
        if (strcmp(known[i].key, key) == 0)
            return known[i].amount;
    return false;
}

/* How much a thick zvol reserves depends on the pool's disks. */
static void add(struct strv *ret, const struct zfs_dataset *d, const char *key, const char *value)
{
    uint64_t n = 0;
    struct err ignored;
    if (is_amount(key) && (num_parse_u64(key, value, 0, UINT64_MAX, &n, &ignored) < 0 || !n))
        return;
    if (d->volume && strcmp(key, "refreservation") == 0 && n >= d->size)
        strv_add(ret, THICK);
    else
        strv_addf(ret, "%s=%s", key, value);
}

/* "NAME PROPERTY VALUE" by line goes to whom it is of. */
static void take_local(char *line, struct zfs *const all[], size_t n)
{
    char *name = strsep(&line, "\t");
    for (size_t i = 0; line && i < n; i++)
        if (strcmp(all[i]->live, name) == 0)
            strv_add(&all[i]->local, line);
}

static int ask_local_of(struct zfs *const all[], size_t n, struct buf *ret, struct err *e)
{
    _cleanup_buf_ struct buf keys = BUF_INIT;
    _cleanup_strv_ struct strv argv = STRV_INIT;
    for (size_t i = 0; i < ELEMENTS(known); i++)
        buf_addf(&keys, "%s,", known[i].key);
    buf_adds(&keys, LACKING);
    strv_adds(&argv, "zfs", "get", "-Hp", "-s", "local,received", "-o", "name,property,value", buf_str(&keys),
              NULL);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || all[i]->seen.live.name[0])
            strv_add_once(&argv, all[i]->live);
    return zfs_command(zfs_tick(*all), &argv, ret, e);
}

/* Of the volumes of the guest that lie beside it, too: they are asked next. */
static int ask_local(struct zfs *z, struct err *e)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    _cleanup_free_ struct zfs **all = NULL;
    size_t n = zfs_beside_open(z, &all);
    int r = ask_local_of(all, n, &out, e);
    if (r < 0 && n > 1) { /* one of the others may have vanished meanwhile */
        buf_clear(&out);
        n = 1;
        r = ask_local_of(all, n, &out, e);
    }
    if (r < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        strv_release(&all[i]->local);
        all[i]->has_local = i == 0 || all[i]->seen.live.name[0];
    }
    char *rest = out.data;
    for (char *line; rest && (line = strsep(&rest, "\n"));)
        take_local(line, all, n);
    return 0;
}

/* What is set on the live volume itself, and what it was to have and could not. */
static int look(struct zfs *z, const struct zfs_dataset *d, struct strv *set, struct strv *lacking,
                struct err *e)
{
    if (!z->has_local && ask_local(z, e) < 0)
        return -1;
    z->has_local = false;
    for (size_t i = 0; i < z->local.n; i++) {
        char *value = strchr(z->local.v[i], '\t');
        if (!value)
            continue;
        *value++ = 0;
        if (strcmp(z->local.v[i], LACKING) == 0)
            strv_split(lacking, value, " ");
        else
            add(set, d, z->local.v[i], value);
    }
    for (size_t i = lacking->n; i-- > 0;)
        if (!trait_valid(lacking->v[i]))
            strv_remove(lacking, i);
    return 0;
}

int zfs_traits(struct volume *v, struct strv *ret, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    _cleanup_strv_ struct strv lacking = STRV_INIT;
    if (zfs_view(z, &w, e) < 0)
        return -1;
    if (!w.live.name[0])
        return 0;
    if (!w.live.volume)
        strv_split(ret, w.live.properties, " ");
    if (look(z, &w.live, ret, &lacking, e) < 0)
        return -1;
    for (size_t i = 0; i < lacking.n; i++) {
        _cleanup_free_ char *key = xstrndup(lacking.v[i], strcspn(lacking.v[i], "="));
        if (!trait_value(ret, key))
            strv_add(ret, lacking.v[i]);
    }
    return 0;
}

/* What THICK is on this pool's disks, which zfs(8) says of a volume that it would make; as a trait. Set as
 * "auto" and refused for want of room, it would set the volume's size anew, which counts as written. */
static char *thick_as_number(struct zfs *z, const struct zfs_dataset *live, struct err *e)
{
    static const char key[] = "\trefreservation\t";
    _cleanup_strv_ struct strv ask = STRV_INIT, try = STRV_INIT;
    _cleanup_buf_ struct buf block = BUF_INIT, out = BUF_INIT;
    strv_adds(&ask, "zfs", "get", "-Hp", "-o", "value", "volblocksize", z->live, NULL);
    if (zfs_command(zfs_tick(z), &ask, &block, e) < 0)
        return NULL;
    strv_adds(&try, "zfs", "create", "-nP", "-V", NULL);
    strv_addf(&try, "%" PRIu64, live->size);
    strv_addf(&try, "-ovolblocksize=%.*s", (int)strcspn(buf_str(&block), "\n"), buf_str(&block));
    strv_addf(&try, "%s-thick", z->live);
    if (zfs_command(zfs_tick(z), &try, &out, e) < 0)
        return NULL;
    const char *found = strstr(buf_str(&out), key);
    if (!found)
        return xstrdup(THICK);
    const char *number = found + strlen(key);
    return xasprintf("refreservation=%.*s", (int)strcspn(number, "\n"), number);
}

/* A value NULL: as if nobody had set it. */
static int set_one(struct zfs *z, const struct zfs_dataset *live, size_t k, const char *value, struct err *e)
{
    if (!value && !known[k].amount)
        return zfs_change(z, e, "inherit", known[k].key, z->live, NULL);
    _cleanup_free_ char *trait = xasprintf("%s=%s", known[k].key, value ? value : "none");
    _cleanup_free_ char *thick = NULL;
    if (strcmp(trait, THICK) == 0 && !(thick = thick_as_number(z, live, e)))
        return -1;
    return zfs_change(z, e, "set", thick ? thick : trait, z->live, NULL);
}

static int remember(struct zfs *z, const struct strv *had, const struct strv *lacking, struct err *e)
{
    _cleanup_free_ char *before = strv_join(had, " ");
    _cleanup_free_ char *now = strv_join(lacking, " ");
    if (strcmp(before, now) == 0)
        return 0;
    _cleanup_free_ char *mark = xasprintf(LACKING "=%s", now);
    return *now ? zfs_change(z, e, "set", mark, z->live, NULL)
                : zfs_change(z, e, "inherit", LACKING, z->live, NULL);
}

/* The former live volume's room is free by now. */
static int set_all(struct zfs *z, const struct zfs_dataset *live, const struct strv *traits,
                   struct strv *notes, struct err *e)
{
    _cleanup_strv_ struct strv set = STRV_INIT;
    _cleanup_strv_ struct strv had = STRV_INIT;
    _cleanup_strv_ struct strv lacking = STRV_INIT;
    if (!z->bare_live && look(z, live, &set, &had, e) < 0)
        return -1;
    z->bare_live = false;
    for (size_t k = 0; k < ELEMENTS(known); k++) {
        const char *want = trait_value(traits, known[k].key), *have = trait_value(&set, known[k].key);
        struct err problem;
        if ((want && have && strcmp(want, have) == 0) || (!want && !have) ||
            set_one(z, live, k, want, &problem) == 0)
            continue;
        _cleanup_free_ char *trait = xasprintf("%s=%s", known[k].key, want ? want : "none");
        trait_note(notes, trait, z->live, problem.text);
        if (want)
            strv_add(&lacking, trait);
    }
    return remember(z, &had, &lacking, e);
}

int zfs_traits_set(struct volume *v, const struct strv *traits, struct strv *notes, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    _cleanup_strv_ struct strv properties = STRV_INIT;
    if (zfs_view(z, &w, e) < 0)
        return -1;
    if (!w.live.name[0])
        return 0;
    for (size_t i = 0; i < traits->n; i++)
        if (zfs_properties_valid(traits->v[i]))
            strv_add(&properties, traits->v[i]);
    _cleanup_free_ char *wanted = strv_join(&properties, " ");
    snprintf(w.live.wanted, sizeof w.live.wanted, "%s", wanted);
    if (zfs_properties_apply(z, &w.live, e) < 0)
        return -1;
    return set_all(z, &w.live, traits, notes, e);
}

int zfs_traits_lacking(struct volume *v, bool again, struct strv *notes, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    _cleanup_strv_ struct strv set = STRV_INIT;
    _cleanup_strv_ struct strv lacking = STRV_INIT;
    if (zfs_view(z, &w, e) < 0)
        return -1;
    if (!w.live.name[0])
        return 0;
    if (look(z, &w.live, &set, &lacking, e) < 0)
        return -1;
    for (size_t i = 0; i < lacking.n && !again; i++)
        trait_note(notes, lacking.v[i], z->live, "the last run could not");
    if (!lacking.n || !again)
        return 0;
    for (size_t i = 0; i < set.n; i++) {
        _cleanup_free_ char *key = xstrndup(set.v[i], strcspn(set.v[i], "="));
        trait_remove(&lacking, key); /* somebody set it since */
        strv_add(&lacking, set.v[i]);
    }
    return set_all(z, &w.live, &lacking, notes, e);
}

int zfs_reserve_nothing(struct zfs *z, const char *dataset, struct err *e)
{
    return zfs_change(z, e, "set", "refreservation=none", "reservation=none", dataset, NULL);
}

/* ---- writable? ---- */

static int device_writable(struct zfs *z, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("/dev/zvol/%s", z->live);
    int read_only = 0;
    _cleanup_close_ int fd = zfs_device_open(path, O_RDWR, zfs_tick(z), e);
    if (fd < 0) {
        zfs_explain(z->live, e);
        return err_wrap(e, "a guest could not write to it");
    }
    if (ioctl(fd, BLKROGET, &read_only) < 0 || read_only)
        return err_set(e, ERR_CONFIG, 0, "a guest could not write to it: '%s' is read-only", path);
    return 0;
}

int zfs_writable(struct volume *v, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    _cleanup_buf_ struct buf out = BUF_INIT;
    if (zfs_view(z, &w, e) < 0)
        return -1;
    if (!w.live.name[0])
        return err_set(e, ERR_GONE, 0, "there is no dataset '%s'", z->live);
    char *argv[] = {(char *)"zfs",          (char *)"get",      (char *)"-H", (char *)"-o",
                    (char *)"value,source", (char *)"readonly", z->live,      NULL};
    struct proc_options o = {.cap = 4096, .seconds = 600, .tick = zfs_tick(z)};
    if (proc_check(argv, &o, &out, e) < 0)
        return -1;
    const char *text = buf_str(&out), *tab = strchr(text, '\t');
    static const char inherited[] = "inherited from ";
    if (strncmp(text, "on\t", 3) == 0) {
        const char *from =
            strncmp(tab + 1, inherited, strlen(inherited)) == 0 ? tab + strlen(inherited) + 1 : z->live;
        return err_set(e, ERR_CONFIG, 0,
                       "a guest could not write to it: '%s' has readonly=on: zfs set readonly=off %.*s",
                       z->live, (int)strcspn(from, "\n"), from);
    }
    return w.live.volume ? device_writable(z, e) : 0;
}
