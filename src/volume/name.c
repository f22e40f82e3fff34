#include "volume/name.h"

#include "base/mem.h"
#include "volume/snapshot.h"

#include <stdlib.h>
#include <string.h>

#define DIGITS "0123456789"
#define ALPHA "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define ALNUM DIGITS ALPHA

/* ---- volumes ---- */

struct part {
    const char *s;
    size_t n;
};

/* What stands between the slashes, and in it the id of the last part. */
struct parts {
    struct part v[4];
    size_t n;
    struct part id;
};

/* A guest's id at the start of a part: its length, or 0. */
static size_t id_length(struct part p)
{
    size_t n = 0;
    while (n < p.n && strchr(DIGITS, p.s[n]))
        n++;
    return n <= 9 && n && *p.s != '0' ? n : 0;
}

/* The id in PREFIX-ID-REST as a part of it; length 0 when the name is not of that form. */
static struct part id_of_image(struct part p, const char *const *prefixes, size_t n_prefixes)
{
    for (size_t i = 0; i < n_prefixes; i++) {
        size_t k = strlen(prefixes[i]);
        if (p.n <= k || strncmp(p.s, prefixes[i], k) != 0)
            continue;
        struct part id = {p.s + k, p.n - k};
        size_t n = id_length(id);
        if (n == 0 || n + 1 >= id.n || id.s[n] != '-')
            continue;
        bool rest = strspn(id.s + n, ALNUM "_.+-") == id.n - n;
        return (struct part){id.s, rest ? n : 0};
    }
    return (struct part){0};
}

static bool same(struct part a, struct part b)
{
    return a.n && a.n == b.n && memcmp(a.s, b.s, a.n) == 0;
}

static bool is_folder_of(struct part folder, struct part id)
{
    return id_length(folder) == folder.n && same(folder, id);
}

static bool split(const char *name, struct parts *ret)
{
    for (ret->n = 0; ret->n < ELEMENTS(ret->v);) {
        size_t len = strcspn(name, "/");
        ret->v[ret->n++] = (struct part){name, len};
        if (!name[len])
            return true;
        name += len + 1;
    }
    return false;
}

static bool parse(const char *name, struct parts *ret)
{
    static const char *const prefixes[] = {"vm-", "base-", "subvol-", "basevol-"};
    static const char *const bases[] = {"base-", "basevol-"};
    if (!split(name, ret))
        return false;
    const struct part *p = ret->v;
    ret->id = id_of_image(p[ret->n - 1], prefixes, ELEMENTS(prefixes));
    switch (ret->id.n ? ret->n : 0) {
    case 1:
        return true;
    case 2:
        return is_folder_of(p[0], ret->id) || id_of_image(p[0], bases, ELEMENTS(bases)).n;
    case 4:
        return is_folder_of(p[2], ret->id) && is_folder_of(p[0], id_of_image(p[1], bases, ELEMENTS(bases)));
    default:
        return false;
    }
}

uint32_t volume_name_owner(const char *name)
{
    struct parts p;
    return parse(name, &p) ? (uint32_t)strtoul(p.id.s, NULL, 10) : 0;
}

bool volume_name_linked(const char *name)
{
    return (strncmp(name, "base-", 5) == 0 || strncmp(name, "basevol-", 8) == 0) && strchr(name, '/');
}

bool volume_name_valid(const char *name, uint32_t *vmid, const char **file)
{
    struct parts p;
    if (!parse(name, &p) || p.n > 2)
        return false;
    for (size_t i = 0; i < p.n; i++)
        if (p.v[i].n > VOLUME_FILE_MAX)
            return false;
    if (vmid)
        *vmid = (uint32_t)strtoul(p.id.s, NULL, 10);
    if (file)
        *file = p.v[p.n - 1].s;
    return true;
}

/* ---- snapshots ---- */

static bool made_of(const char *name, const char *first, const char *rest)
{
    size_t n = strlen(name);
    return n >= 1 && n <= SNAPSHOT_NAME_MAX && strchr(first, name[0]) && strspn(name, rest) == n;
}

bool snapshot_name_valid(const char *name)
{
    return made_of(name, ALNUM "_", ALNUM "_.:-");
}

bool snapshot_name_portable(const char *name)
{
    return made_of(name, ALPHA "_", ALNUM "_-");
}

bool snapshot_id_valid(const char *id)
{
    return strlen(id) == SNAPSHOT_ID_LEN && strspn(id, DIGITS "abcdef") == SNAPSHOT_ID_LEN;
}

bool owner_name_valid(const char *owner)
{
    size_t n = strlen(owner);
    if (n >= 32 || strcmp(owner, "-") == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (owner[i] <= ' ' || owner[i] > '~')
            return false;
    return true;
}
