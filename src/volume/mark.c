#include "volume/mark.h"

#include "base/mem.h"
#include "base/num.h"
#include "volume/name.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/xattr.h>
#include <xxhash.h>

#define PREFIX "user.pvesr."
_Static_assert(sizeof PREFIX + MARK_KEY_MAX <= 64, "the longest key is not cut");

static const char *attribute(const char *key, char name[64])
{
    snprintf(name, 64, PREFIX "%s", key);
    return name;
}

struct mark_key mark_key_of(const char *prefix, const char *name)
{
    struct mark_key key;
    char id[SNAPSHOT_ID_LEN + 1];
    mark_id_of(name, id);
    bool fits = strlen(prefix) + strlen(name) <= MARK_KEY_MAX;
    snprintf(key.s, sizeof key.s, "%s%s", prefix, fits ? name : id);
    return key;
}

int mark_get(int fd, const char *key, char *ret, size_t room, struct err *e)
{
    char name[64];
    ssize_t n = fgetxattr(fd, attribute(key, name), ret, room - 1);
    if (n < 0) {
        ret[0] = 0;
        if (errno == ENODATA || errno == ERANGE || errno == ENOTSUP)
            return 1;
        return err_sys(e, "cannot read the attribute %s", name);
    }
    ret[n] = 0;
    for (ssize_t i = 0; i < n; i++) {
        if (ret[i] < ' ' || ret[i] > '~') {
            ret[0] = 0;
            return 1;
        }
    }
    return 0;
}

int mark_set(int fd, const char *key, const char *value, struct err *e)
{
    char name[64];
    if (fsetxattr(fd, attribute(key, name), value, strlen(value), 0) == 0)
        return 0;
    if (errno == ENOTSUP)
        return err_set(
            e, ERR_CONFIG, 0,
            "the file system keeps no extended attributes of users (%s): use one that does, such as "
            "XFS, btrfs or ext4",
            name);
    return err_sys(e, "cannot set the attribute %s", name);
}

int mark_clear(int fd, const char *key, struct err *e)
{
    char name[64];
    if (fremovexattr(fd, attribute(key, name)) == 0)
        return 0;
    return errno == ENODATA || errno == ENOTSUP ? 1 : err_sys(e, "cannot remove the attribute %s", name);
}

void mark_list(int fd, const char *prefix, struct strv *ret)
{
    char full[64];
    size_t length = strlen(attribute(prefix, full));
    ssize_t n = flistxattr(fd, NULL, 0);
    _cleanup_free_ char *names = n > 0 ? xmalloc((size_t)n) : NULL;
    n = names ? flistxattr(fd, names, (size_t)n) : 0;
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1)
        if (strncmp(names + at, full, length) == 0)
            strv_add(ret, names + at + length);
}

bool mark_has_name(const char *names, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = names; n && (p = strstr(p, name)); p += n)
        if ((p == names || p[-1] == ' ') && (!p[n] || p[n] == ' '))
            return true;
    return false;
}

int64_t mark_damaged_parse(const char *text)
{
    int64_t since;
    struct err ignored;
    return num_parse_i64("damaged", text, 1, SNAPSHOT_DAMAGED_MAX, &since, &ignored) < 0 ? 0 : since;
}

static const char *damaged_key(const char *key, char full[SNAPSHOT_ID_LEN + sizeof MARK_DAMAGED])
{
    snprintf(full, SNAPSHOT_ID_LEN + sizeof MARK_DAMAGED, MARK_DAMAGED "%.*s", SNAPSHOT_ID_LEN, key);
    return full;
}

int mark_damaged_set(int dir, const char *key, int64_t since, struct err *e)
{
    char full[SNAPSHOT_ID_LEN + sizeof MARK_DAMAGED], text[32];
    snprintf(text, sizeof text, "%" PRId64, since);
    if (since)
        return mark_set(dir, damaged_key(key, full), text, e);
    return mark_clear(dir, damaged_key(key, full), e) < 0 ? -1 : 0;
}

int mark_damaged_get(int dir, const char *key, int64_t *ret, struct err *e)
{
    char full[SNAPSHOT_ID_LEN + sizeof MARK_DAMAGED], text[32];
    int r = mark_get(dir, damaged_key(key, full), text, sizeof text, e);
    *ret = r == 0 ? mark_damaged_parse(text) : 0;
    return r < 0 ? -1 : 0;
}

static void print_id(const unsigned char raw[SNAPSHOT_ID_LEN / 2], char id[SNAPSHOT_ID_LEN + 1])
{
    for (size_t i = 0; i < SNAPSHOT_ID_LEN / 2; i++)
        snprintf(id + 2 * i, 3, "%02x", raw[i]);
}

void mark_new_id(char id[SNAPSHOT_ID_LEN + 1])
{
    unsigned char raw[SNAPSHOT_ID_LEN / 2];
    for (size_t n = 0; n < sizeof raw;) {
        ssize_t got = getrandom(raw + n, sizeof raw - n, 0);
        if (got < 0 && errno != EINTR)
            abort(); /* an id that is not random would be taken for another snapshot's */
        if (got > 0)
            n += (size_t)got;
    }
    print_id(raw, id);
}

void mark_id_of(const char *unique, char id[SNAPSHOT_ID_LEN + 1])
{
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, XXH3_128bits(unique, strlen(unique)));
    print_id(c.digest, id);
}

static int set_number(int fd, const char *key, int64_t value, struct err *e)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return mark_set(fd, key, text, e);
}

int mark_snapshot_set(int fd, const struct snapshot *s, const char *owner, struct err *e)
{
    if (set_number(fd, "seq", (int64_t)s->seq, e) < 0 || set_number(fd, "created", s->created, e) < 0 ||
        set_number(fd, "flags", s->flags & SNAPSHOT_RECEIVED, e) < 0)
        return -1;
    if (owner[0] && mark_set(fd, "owner", owner, e) < 0)
        return -1;
    return mark_set(fd, "id", s->id, e);
}

/* 0 when there is none or it makes no sense. */
static int get_number(int fd, const char *key, int64_t *ret, struct err *e)
{
    char text[32];
    struct err ignored;
    *ret = 0;
    int r = mark_get(fd, key, text, sizeof text, e);
    if (r == 0 && num_parse_i64(key, text, 0, INT64_MAX, ret, &ignored) < 0)
        *ret = 0;
    return r < 0 ? -1 : 0;
}

int mark_snapshot_adopt(int fd, struct err *e)
{
    return set_number(fd, "flags", SNAPSHOT_RECEIVED, e);
}

int mark_snapshot_get(int fd, struct snapshot *ret, struct err *e)
{
    char id[SNAPSHOT_ID_LEN + 1];
    int r = mark_get(fd, "id", id, sizeof id, e);
    if (r != 0)
        return r;
    int64_t seq, created, flags;
    if (get_number(fd, "seq", &seq, e) < 0 || get_number(fd, "created", &created, e) < 0 ||
        get_number(fd, "flags", &flags, e) < 0)
        return -1;
    if (!snapshot_id_valid(id))
        return 1;
    memcpy(ret->id, id, sizeof id);
    ret->seq = (uint64_t)seq;
    ret->created = created;
    ret->flags = (unsigned)flags & SNAPSHOT_RECEIVED;
    return 0;
}
