#include "volume/lvm/mark.h"

#include "base/num.h"
#include "volume/mark.h"
#include "volume/name.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FIELDS 13
#define FIELDS_1 11 /* of earlier versions */

/* Worst case three bytes for one. */
static void put_text(char *to, size_t room, const char *text)
{
    size_t n = 0;
    for (const char *p = text; *p && n + 4 <= room; p++) {
        if (isascii(*p) && (isalnum((unsigned char)*p) || strchr("_+.-:", *p)))
            to[n++] = *p;
        else
            n += (size_t)snprintf(to + n, room - n, "&%02x", (unsigned char)*p);
    }
    to[n] = 0;
    if (!n)
        strcpy(to, "-");
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool get_text(const char *p, char *to, size_t room)
{
    size_t n = 0;
    if (strcmp(p, "-") == 0)
        p = "";
    while (*p) {
        int c = (unsigned char)*p++;
        if (c == '&') {
            int high = hex_digit(p[0]), low = high < 0 ? -1 : hex_digit(p[1]);
            if (low < 0 || !(c = high << 4 | low))
                return false;
            p += 2;
        }
        if (n + 1 >= room)
            return false;
        to[n++] = (char)c;
    }
    to[n] = 0;
    return true;
}

void lvm_mark_print(const struct lvm_mark *mark, char ret[LVM_TAG_MAX])
{
    const struct filestage_mark *m = &mark->m;
    char snapshot[3 * sizeof m->snapshot], owner[3 * sizeof m->owner];
    put_text(snapshot, sizeof snapshot, m->snapshot);
    char was[3 * sizeof mark->was], volume[3 * sizeof mark->volume];
    put_text(owner, sizeof owner, m->owner);
    put_text(was, sizeof was, mark->was);
    put_text(volume, sizeof volume, mark->volume);
    int n = snprintf(ret, LVM_TAG_MAX,
                     LVM_TAG_PREFIX "%d/%s/%s/%s/%s/%" PRId64 "/%" PRIu64 "/%" PRIu64 "/%d/%" PRIu64 "/%u",
                     mark->volume[0] ? 2 : 1, snapshot, m->id, m->base_id[0] ? m->base_id : "-", owner,
                     m->created, m->size, m->offset, m->sealed, mark->seq, mark->flags & SNAPSHOT_RECEIVED);
    if (mark->volume[0])
        snprintf(ret + n, LVM_TAG_MAX - (size_t)n, "/%s/%s", volume, was);
}

enum bond lvm_mark_bond(const struct lvm_mark *mark, const char *volume, const char *snapshot)
{
    if (!mark->volume[0])
        return BOND_NONE;
    bool same = strcmp(mark->volume, volume) == 0;
    if (!snapshot)
        return same ? BOND_OURS : BOND_RENAMED;
    if (strcmp(mark->m.snapshot, snapshot) != 0 && strcmp(mark->was, snapshot) != 0)
        return BOND_RENAMED;
    return same ? BOND_OURS : BOND_NONE;
}

static bool parse_fields(char *const f[FIELDS], size_t n, struct lvm_mark *ret)
{
    struct filestage_mark *m = &ret->m;
    struct err ignored;
    uint64_t sealed, flags;
    if (strcmp(f[0], n == FIELDS ? "2" : "1") != 0 ||
        (n == FIELDS &&
         (!get_text(f[11], ret->volume, sizeof ret->volume) || !get_text(f[12], ret->was, sizeof ret->was) ||
          !volume_name_valid(ret->volume, NULL, NULL))) ||
        !get_text(f[1], m->snapshot, sizeof m->snapshot) || !get_text(f[2], m->id, sizeof m->id) ||
        !get_text(f[3], m->base_id, sizeof m->base_id) || !get_text(f[4], m->owner, sizeof m->owner) ||
        num_parse_i64("created", f[5], INT64_MIN, INT64_MAX, &m->created, &ignored) < 0 ||
        num_parse_u64("size", f[6], 0, INT64_MAX, &m->size, &ignored) < 0 ||
        num_parse_u64("offset", f[7], 0, m->size, &m->offset, &ignored) < 0 ||
        num_parse_u64("sealed", f[8], 0, 1, &sealed, &ignored) < 0 ||
        num_parse_u64("seq", f[9], 0, INT64_MAX, &ret->seq, &ignored) < 0 ||
        num_parse_u64("flags", f[10], 0, SNAPSHOT_RECEIVED, &flags, &ignored) < 0)
        return false;
    m->sealed = sealed;
    ret->flags = (unsigned)flags;
    return snapshot_name_valid(m->snapshot) && snapshot_id_valid(m->id) &&
           (!m->base_id[0] || snapshot_id_valid(m->base_id)) && owner_name_valid(m->owner);
}

bool lvm_mark_parse(const char *tag, struct lvm_mark *ret)
{
    char text[LVM_TAG_MAX], *f[FIELDS], *rest = text;
    memset(ret, 0, sizeof *ret);
    if (strncmp(tag, LVM_TAG_PREFIX, strlen(LVM_TAG_PREFIX)) != 0 || strlen(tag) >= sizeof text)
        return false;
    strcpy(text, tag + strlen(LVM_TAG_PREFIX));
    size_t n = 0;
    while (n < FIELDS && (f[n] = strsep(&rest, "/")))
        n++;
    return !rest && (n == FIELDS || n == FIELDS_1) && parse_fields(f, n, ret);
}

uint64_t lvm_round(uint64_t bytes, uint64_t extent)
{
    if (!extent || bytes > INT64_MAX - extent)
        return 0;
    return bytes ? (bytes + extent - 1) / extent * extent : extent;
}
