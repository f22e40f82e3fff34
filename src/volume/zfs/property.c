/* The zfspool driver: the properties of a container's filesystem that its replica has, too. Without the right
 * acltype its files have lost their ACLs, without refquota it is as large as the pool. */
#include "volume/zfs/zfs.h"

#include "base/num.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REFQUOTA "refquota="
#define SNAPSHOT_QUOTA ZFS_SNAPSHOT_QUOTA "="

#define TEXT(key) #key,
static const char *const keys[] = {ZFS_PROPERTIES(TEXT)};

void zfs_properties_join(char *const values[], char ret[ZFS_PROPERTIES_MAX])
{
    size_t n = 0;
    ret[0] = 0;
    for (size_t i = 0; i < ELEMENTS(keys); i++) {
        if (strcmp(values[i], "-") == 0)
            continue;
        int k = snprintf(ret + n, ZFS_PROPERTIES_MAX - n, "%s%s=%s", n ? " " : "", keys[i], values[i]);
        if (k < 0 || (size_t)k >= ZFS_PROPERTIES_MAX - n) {
            ret[n] = 0;
            return;
        }
        n += (size_t)k;
    }
}

static bool is_of_snapshot(const char *property)
{
    return strncmp(property, SNAPSHOT_QUOTA, strlen(SNAPSHOT_QUOTA)) == 0;
}

char *zfs_properties_of_snapshot(const char *text)
{
    _cleanup_strv_ struct strv all = STRV_INIT;
    strv_split(&all, text, " ");
    for (size_t i = 0; i < all.n; i++)
        if (is_of_snapshot(all.v[i]))
            return xstrdup(all.v[i]);
    return NULL;
}

/* "KEY=VALUE" of ours; it may come from a peer. */
static bool property_valid(const char *property)
{
    size_t n = strcspn(property, "=");
    if (is_of_snapshot(property))
        return property[n + 1] && strlen(property + n + 1) <= 20 &&
               !property[n + 1 + strspn(property + n + 1, "0123456789")];
    for (size_t i = 0; i < ELEMENTS(keys); i++)
        if (strlen(keys[i]) == n && strncmp(keys[i], property, n) == 0)
            return property[n] && property[n + 1] &&
                   !property[n + 1 + strspn(property + n + 1, "abcdefghijklmnopqrstuvwxyz0123456789-")];
    return false;
}

bool zfs_properties_valid(const char *text)
{
    _cleanup_strv_ struct strv all = STRV_INIT;
    strv_split(&all, text, " ");
    for (size_t i = 0; i < all.n; i++)
        if (!property_valid(all.v[i]))
            return false;
    return true;
}

/* The same data can take more room here than there, and what is larger than its quota cannot have it. */
static char *as_possible(const struct zfs_dataset *d, const char *property)
{
    uint64_t quota;
    struct err ignored;
    size_t n = strlen(REFQUOTA);
    bool fits = strncmp(property, REFQUOTA, n) != 0 ||
                num_parse_u64("refquota", property + n, 0, INT64_MAX, &quota, &ignored) < 0 || !quota ||
                quota >= d->referenced;
    return fits ? xstrdup(property) : xasprintf(REFQUOTA "%" PRIu64, d->referenced);
}

/* What is seen of the stage becomes what it has now. */
static void note_set(struct zfs *z, struct strv *there, char *const set[], size_t n)
{
    for (size_t i = 0; i < there->n; i++)
        for (size_t k = 0; k < n; k++) {
            size_t key = strcspn(set[k], "=") + 1;
            if (strncmp(there->v[i], set[k], key) != 0)
                continue;
            free(there->v[i]);
            there->v[i] = xstrdup(set[k]);
        }
    _cleanup_free_ char *text = strv_join(there, " ");
    snprintf(z->seen.stage.properties, sizeof z->seen.stage.properties, "%s", text);
}

int zfs_properties_apply(struct zfs *z, const struct zfs_dataset *d, struct err *e)
{
    _cleanup_strv_ struct strv wanted = STRV_INIT;
    _cleanup_strv_ struct strv there = STRV_INIT;
    _cleanup_strv_ struct strv argv = STRV_INIT;
    if (d->volume || !zfs_properties_valid(d->wanted))
        return 0;
    strv_split(&wanted, d->wanted, " ");
    strv_split(&there, d->properties, " ");
    strv_adds(&argv, "zfs", "set", NULL);
    size_t options = argv.n;
    for (size_t i = 0; i < wanted.n; i++) {
        _cleanup_free_ char *property = as_possible(d, wanted.v[i]);
        if (!is_of_snapshot(property) && !strv_has(&there, property))
            strv_add(&argv, property);
    }
    if (argv.n == options)
        return 0;
    strv_add(&argv, d->name); /* it begins with the pool's name, and `zfs set` knows no "--" */
    int r = zfs_change_all(z, &argv, e);
    if (r < 0 || strcmp(d->name, z->stage) != 0)
        zfs_forget(z);
    else if (z->known)
        note_set(z, &there, argv.v + options, argv.n - 1 - options);
    return r;
}
