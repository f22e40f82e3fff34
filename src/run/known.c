#include "run/known.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/modes.h"
#include "base/num.h"
#include "conf/digest.h"
#include "run/snapshot.h"
#include "volume/name.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FILE_CAP (16 << 20)
#define FOLDER "pvesr-guests"
#define DIGEST_LEN 16

void known_release(struct known *k)
{
    strv_release(&k->former);
    strv_release(&k->guest);
    strv_release(&k->disks);
}

char *known_path(const char *state_dir, uint32_t guest)
{
    return xasprintf("%s/" FOLDER "/%" PRIu32, state_dir, guest);
}

/* ---- the file ---- */

static void take_line(char *line, struct known *ret)
{
    char *value = strchr(line, ' ');
    uint64_t since;
    struct err ignored;
    if (!value)
        return;
    *value++ = 0;
    if (strcmp(line, "since") == 0 && num_parse_u64("", value, 0, INT64_MAX, &since, &ignored) == 0)
        ret->since = (int64_t)since;
    else if (strcmp(line, "former") == 0)
        strv_add(&ret->former, value);
    else if (strcmp(line, "guest") == 0)
        strv_add_once(&ret->guest, value);
    else if (strcmp(line, "disk") == 0)
        strv_add_once(&ret->disks, value);
}

int known_load(const char *path, struct known *ret, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_strv_ struct strv lines = STRV_INIT;
    *ret = (struct known){0};
    if (fs_read(path, FILE_CAP, &text, e) < 0)
        return err_wrap(e, "which guest has its restore points here cannot be read");
    strv_split(&lines, buf_str(&text), "\n");
    for (size_t i = 0; i < lines.n; i++)
        take_line(lines.v[i], ret);
    return 0;
}

static void add_lines(const char *word, const struct strv *values, struct buf *out)
{
    for (size_t i = 0; i < values->n; i++)
        buf_addf(out, "%s %s\n", word, values->v[i]);
}

int known_store(const char *path, const struct known *k, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_free_ char *folder = xasprintf("%.*s", (int)(strrchr(path, '/') - path), path);
    buf_addf(&text, "since %" PRId64 "\n", k->since);
    add_lines("former", &k->former, &text);
    add_lines("guest", &k->guest, &text);
    add_lines("disk", &k->disks, &text);
    if (fs_mkdir_p(folder, MODE_NOTES, e) < 0 || fs_write_atomic(path, text.data, text.len, MODE_NOTE, e) < 0)
        return err_wrap(e, "which guest has its restore points here cannot be remembered");
    return 0;
}

/* ---- which guest ---- */

void known_add_disk(struct known *k, const char *made)
{
    char digest[41];
    if (!*made)
        return;
    digest_sha1(made, strlen(made), digest);
    digest[DIGEST_LEN] = 0;
    strv_add_once(&k->disks, digest);
}

static bool any_common(const struct strv *a, const struct strv *b)
{
    for (size_t i = 0; i < a->n; i++)
        if (strv_has(b, a->v[i]))
            return true;
    return false;
}

static bool same_list(const struct strv *a, const struct strv *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->v[i], b->v[i]) == 0;
    return same;
}

bool known_equal(const struct known *a, const struct known *b)
{
    return a->since == b->since && same_list(&a->former, &b->former) && same_list(&a->guest, &b->guest) &&
           same_list(&a->disks, &b->disks);
}

bool known_is_other(const struct known *was, const struct known *now)
{
    return was->guest.n && now->guest.n && !any_common(&was->guest, &now->guest) &&
           !any_common(&was->disks, &now->disks);
}

/* ---- what is another's ---- */

static bool is_own(const struct strv *listed, const struct snapshot *s)
{
    return (listed && strv_has(listed, s->name)) || strcmp(s->name, TEMPLATE_SNAPSHOT) == 0;
}

static bool is_older(const struct known *k, const struct snapshot *s)
{
    int64_t epoch = snapshot_epoch(s->name);
    return (epoch ? epoch : s->created) < k->since;
}

void known_add_former(struct known *k, const struct strv *listed, const struct snapshots *all)
{
    for (size_t i = 0; i < all->n; i++)
        if (!is_own(listed, &all->v[i]) && !is_older(k, &all->v[i]))
            strv_add_once(&k->former, all->v[i].id);
}

size_t known_hide(const struct known *k, const struct strv *listed, struct snapshots *all)
{
    struct snapshots kept = {0};
    size_t had = all->n;
    for (size_t i = 0; i < had; i++) {
        const struct snapshot *s = &all->v[i];
        if (is_own(listed, s) || !(is_older(k, s) || strv_has(&k->former, s->id)))
            snapshots_add(&kept, s);
    }
    snapshots_release(all);
    *all = kept;
    return had - kept.n;
}
