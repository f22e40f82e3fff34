/* Which subvolumes are ours, by uuid and name. Their own attributes cannot say: a snapshot has those of its
 * original, and a read-only one takes none. So the directory of images says it: its attribute
 * user.pvesr.at.UUID is the name that we gave to the subvolume of that uuid, two names while we rename it. A
 * directory without user.pvesr.bonds is from an earlier version, or has nothing of ours: what is there then
 * gets its bond when it is first seen. */
#include "volume/btrfs/btrfs.h"

#include "volume/name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define BEGUN "bonds"
#define AT "at."
#define NAMES_MAX (2 * BTRFS_NAME_MAX + 2)

struct bond_key {
    char s[SUBVOL_UUID_LEN + 4];
};

static struct bond_key key_of(const char *uuid)
{
    struct bond_key key;
    snprintf(key.s, sizeof key.s, AT "%.*s", SUBVOL_UUID_LEN, uuid);
    return key;
}

int btrfs_bond_set(const struct btrfs_volume *b, const char *uuid, const char *name, const char *also,
                   struct err *e)
{
    _cleanup_free_ char *names = xasprintf("%s%s%s", name, also ? " " : "", also ? also : "");
    return mark_set(b->dir, key_of(uuid).s, names, e);
}

int btrfs_bond_get(const struct btrfs_volume *b, const char *uuid, const char *name, enum bond *ret,
                   struct err *e)
{
    char names[NAMES_MAX];
    int r = mark_get(b->dir, key_of(uuid).s, names, sizeof names, e);
    if (r < 0)
        return -1;
    *ret = r > 0 ? BOND_NONE : mark_has_name(names, name) ? BOND_OURS : BOND_RENAMED;
    return 0;
}

void btrfs_bond_end(const struct btrfs_volume *b, const char *uuid)
{
    struct err ignored; /* of what is gone it says nothing */
    mark_clear(b->dir, key_of(uuid).s, &ignored);
    mark_damaged_set(b->dir, uuid, 0, &ignored);
}

/* Received, or shown by a run of an earlier version? */
static int bind_one(const char *name, void *arg, struct err *e)
{
    const struct btrfs_volume *b = arg;
    struct btrfs_image image;
    struct subvol info;
    char owner[32];
    _cleanup_close_ int fd = -1;
    _cleanup_free_ char *of = xstrndup(name, strcspn(name, "@"));
    bool snapshot = strchr(name, '@');
    if (strlen(name) >= BTRFS_NAME_MAX || !btrfs_image_parse(of, &image))
        return 0;
    int r = subvol_open(b->dir, name, &fd, e);
    if (r != 0)
        return r > 0 || e->kind == ERR_DATA ? 0 : -1;
    if (subvol_read(fd, &info, e) < 0 || btrfs_owner_get(fd, owner, e) < 0)
        return -1;
    bool ours = snapshot ? info.readonly && info.received_uuid[0] : owner[0];
    return ours ? btrfs_bond_set(b, info.uuid, name, NULL, e) : 0;
}

int btrfs_bonds_begin(struct btrfs_volume *b, struct err *e)
{
    char value[8];
    if (b->dir < 0)
        return 0;
    int r = mark_get(b->dir, BEGUN, value, sizeof value, e);
    if (r <= 0)
        return r;
    return btrfs_each_name(b->dir, "", bind_one, b, e) < 0 ? -1 : mark_set(b->dir, BEGUN, "1", e);
}

/* ---- of what is gone ---- */

struct census {
    const struct btrfs_volume *b;
    struct strv uuids;
    size_t names;
    bool blind; /* one could not be opened: nobody knows what is gone */
};

static int count_name(const char *name, void *arg, struct err *e)
{
    (void)name, (void)e;
    return ((struct census *)arg)->names++, 0;
}

static int add_uuid(const char *name, void *arg, struct err *e)
{
    struct census *c = arg;
    _cleanup_close_ int fd = -1;
    struct subvol info;
    struct err ignored;
    int r = subvol_open(c->b->dir, name, &fd, &ignored);
    c->blind |= r < 0 && ignored.kind != ERR_DATA;
    if (r != 0)
        return 0;
    if (subvol_read(fd, &info, e) < 0)
        return -1;
    strv_add(&c->uuids, info.uuid);
    return 0;
}

int btrfs_bonds_tidy(struct btrfs_volume *b, struct err *e)
{
    struct census c = {.b = b};
    _cleanup_strv_ struct strv known = STRV_INIT;
    if (b->dir < 0)
        return 0;
    mark_list(b->dir, AT, &known);
    int r = btrfs_each_name(b->dir, "", count_name, &c, e);
    if (known.n <= c.names)
        strv_release(&known);
    mark_list(b->dir, MARK_DAMAGED, &known);
    if (r == 0 && known.n)
        r = btrfs_each_name(b->dir, "", add_uuid, &c, e);
    _cleanup_lookup_ struct lookup there = {0};
    lookup_add_all(&there, &c.uuids);
    for (size_t i = 0; r == 0 && !c.blind && i < known.n; i++)
        if (!lookup_has(&there, known.v[i]))
            btrfs_bond_end(b, known.v[i]);
    strv_release(&c.uuids);
    return r;
}

/* ---- what is not ours ---- */

struct stray_search {
    struct btrfs_volume *b;
    const struct btrfs_snapshots *ours;
    bool live; /* a node that the guest does not live on: its tools receive nothing there */
    struct strv *ret;
};

static int tell_snapshot(const char *snapshot, void *arg, struct err *e)
{
    const struct stray_search *s = arg;
    char full[BTRFS_NAME_MAX];
    struct subvol info;
    enum bond bond;
    _cleanup_close_ int fd = -1;
    if (!*snapshot || strlen(snapshot) > SNAPSHOT_NAME_MAX)
        return 0;
    btrfs_snapshot_name(s->b, snapshot, full);
    int r = subvol_open(s->b->dir, full, &fd, e);
    if (r != 0)
        return r > 0 || e->kind == ERR_DATA ? 0 : -1;
    if (subvol_read(fd, &info, e) < 0 || btrfs_bond_get(s->b, info.uuid, full, &bond, e) < 0)
        return -1;
    const struct btrfs_snapshot *of = btrfs_find_id(s->ours, info.received_uuid);
    if (bond == BOND_RENAMED)
        strv_addf(s->ret, "'%s' is a restore point that somebody gave this name", full);
    else if (bond == BOND_NONE && !info.readonly)
        strv_addf(s->ret, "'%s' is a writable snapshot that somebody made", full);
    else if (bond == BOND_NONE && of && (s->live || strcmp(of->s.name, snapshot) != 0))
        strv_addf(s->ret, "'%s' is a copy of a restore point, or received by something else than a run",
                  full);
    return 0;
}

int btrfs_strays(struct volume *v, bool live, struct strv *ret, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_btrfs_snapshots_ struct btrfs_snapshots ours = {0};
    struct stray_search s = {b, &ours, live, ret};
    char prefix[BTRFS_NAME_MAX], owner[32] = "";
    _cleanup_close_ int fd = -1;
    enum bond bond = BOND_OURS;
    struct subvol info;
    if (b->dir < 0)
        return 0;
    int r = live ? btrfs_open_live(b, &fd, e) : 1;
    btrfs_snapshot_name(b, "", prefix);
    if (r < 0 || btrfs_scan(b, &ours, e) < 0 || btrfs_each_name(b->dir, prefix, tell_snapshot, &s, e) < 0 ||
        (r == 0 && (btrfs_owner_get(fd, owner, e) < 0 || subvol_read(fd, &info, e) < 0 ||
                    btrfs_bond_get(b, info.uuid, b->image, &bond, e) < 0)))
        return -1;
    if (owner[0] && bond != BOND_OURS)
        strv_addf(ret, "'%s' is a replica that somebody %s", b->image,
                  bond == BOND_NONE ? "copied to this name" : "gave this name");
    return 0;
}

int btrfs_live_owner(struct btrfs_volume *b, int live, char owner[32], struct err *e)
{
    struct subvol info;
    enum bond bond;
    if (btrfs_owner_get(live, owner, e) < 0 || subvol_read(live, &info, e) < 0 ||
        btrfs_bond_get(b, info.uuid, b->image, &bond, e) < 0)
        return -1;
    if (bond != BOND_OURS)
        owner[0] = 0;
    return 0;
}
