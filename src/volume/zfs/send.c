/* The zfspool driver: sending. See zfs.h. */
#include "volume/zfs/zfs.h"

#include "base/debug.h"
#include "base/mem.h"
#include "base/proc.h"
#include "volume/stream/streamproc.h"
#include "volume/zfs/ranges.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct zfs_delta {
    struct streamproc proc;
    char header[ZFS_HEADER_MAX];
    size_t sent; /* of the header */
    struct zfsranges *ranges;
};

static int start_send(struct delta *d, const struct snapshot *snapshot, const struct zfs_view *w,
                      const struct strv *argv, struct err *e)
{
    struct zfs_delta *x = xcalloc(1, sizeof *x);
    const struct zfs_snapshot *s = zfs_find_id(w, snapshot->id);
    bool quota = s && s->quota[0] && !w->live.volume;
    d->priv = x;
    snprintf(x->header, sizeof x->header, ZFS_HEADER "%s%s%s\n", w->live.properties,
             quota ? " " ZFS_SNAPSHOT_QUOTA "=" : "", quota ? s->quota : "");
    if (streamproc_start(&x->proc, argv->v, true, d->volume->store.context, e) == 0)
        return 0;
    zfs_delta_close(d);
    return -1;
}

/* Of the live volume, or of what was kept of it. */
static const struct zfs_snapshot *find(const struct zfs_view *w, const struct snapshot *s, struct err *e)
{
    const struct zfs_snapshot *x = zfs_find_id(w, s->id);
    if (x && strcmp(x->dataset, w->stage.name) != 0)
        return x;
    err_set(e, ERR_GONE, 0, "snapshot '%s' (id %s) is not there", s->name, s->id);
    return NULL;
}

static char *full_name(const struct zfs_snapshot *x)
{
    return xasprintf("%s%c%s", x->dataset, x->is_bookmark ? '#' : '@', x->s.name);
}

/* The snapshots' full names; *old NULL without a base. */
static int look_for_both(const struct volume *v, const struct snapshot *base, const struct snapshot *snapshot,
                         struct zfs_view *w, char **old, char **new, struct err *e)
{
    if (zfs_view(v->priv, w, e) < 0)
        return -1;
    const struct zfs_snapshot *x = find(w, snapshot, e), *from = x && base ? find(w, base, e) : NULL;
    if (!x || (base && !from))
        return -1;
    if (from && !from->of_origin && strcmp(from->dataset, x->dataset) != 0)
        return err_set(e, ERR_GONE, 0, "snapshots '%s' and '%s' are not of one dataset", base->name,
                       snapshot->name);
    *new = full_name(x);
    *old = from ? full_name(from) : NULL;
    if (w->live.encrypted && !w->live.key && v->form != VOLUME_RAW)
        return err_set(e, ERR_CONFIG, 0,
                       "the key of '%s' is not loaded: zfs load-key, of the dataset that 'zfs get "
                       "encryptionroot %s' names",
                       w->live.name, w->live.name);
    return 0;
}

static ssize_t read_proc(void *arg, void *data, size_t room, struct err *e)
{
    return streamproc_read(arg, data, room, e);
}

int zfs_delta_open(struct delta *d, const struct snapshot *base, const struct snapshot *snapshot,
                   uint64_t from, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_free_ char *old = NULL;
    _cleanup_free_ char *new = NULL;
    if (look_for_both(d->volume, base, snapshot, &w, &old, &new, e) < 0)
        return -1;
    bool ranges = d->volume->form == VOLUME_RANGES;
    strv_adds(&argv, "zfs", "send", NULL);
    if (ranges || d->volume->large)
        strv_add(&argv, "-L");
    if (!ranges)
        strv_add(&argv, "-c"); /* without -e: zfs.h, "Embedded blocks" */
    if (d->volume->form == VOLUME_RAW)
        strv_add(&argv, "-w");
    if (old)
        strv_adds(&argv, "-i", old, NULL);
    strv_adds(&argv, "--", new, NULL);
    if (start_send(d, snapshot, &w, &argv, e) < 0)
        return -1;
    struct zfs_delta *x = d->priv;
    if (ranges)
        x->ranges = zfsranges_new(d->size, d->full, from, read_proc, &x->proc);
    return 0;
}

/* What a token says (`zfs send -nv -t`, "\tKEY = VALUE" by line). It comes from a peer: anything but a plain
 * stream between exactly these two snapshots could be somebody else's data. */
struct token_facts {
    char *name;
    uint64_t to, from, bytes, raw, embedded, large;
    unsigned seen;
    bool odd; /* it asks for something else besides, or says something twice */
};

static void take_fact(struct token_facts *t, const char *key, const char *value)
{
    static const char *const harmless[] = {"object", "offset", "compressok"};
    const struct {
        const char *key;
        uint64_t *to;
    } numbers[] = {{"toguid", &t->to}, {"fromguid", &t->from},    {"bytes", &t->bytes},
                   {"rawok", &t->raw}, {"embedok", &t->embedded}, {"largeblockok", &t->large}};
    bool known = strcmp(key, "toname") == 0;
    t->odd |= known && t->name;
    if (known && !t->name)
        t->name = xstrdup(value);
    for (size_t i = 0; i < ELEMENTS(numbers); i++) {
        if (strcmp(key, numbers[i].key) != 0)
            continue;
        known = true;
        t->odd |= t->seen & 1u << i;
        t->seen |= 1u << i;
        *numbers[i].to = strtoull(value, NULL, 0);
    }
    for (size_t i = 0; i < ELEMENTS(harmless); i++)
        known |= strcmp(key, harmless[i]) == 0;
    t->odd |= !known;
}

static void take_facts(struct token_facts *t, char *text)
{
    for (char *line; text && (line = strsep(&text, "\n"));) {
        char *value = strstr(line, " = ");
        if (*line != '\t' || !value)
            continue;
        *value = 0;
        take_fact(t, line + 1, value + 3);
    }
}

static bool token_valid(const char *token)
{
    return isdigit((unsigned char)*token) && !token[strspn(token, "0123456789abcdef-")];
}

int zfs_token_check(char *told, const struct zfs_token_want *want, uint64_t *sent, struct err *e)
{
    struct token_facts t = {0};
    take_facts(&t, told);
    char to[SNAPSHOT_ID_LEN + 1], from[SNAPSHOT_ID_LEN + 1];
    snprintf(to, sizeof to, "%032" PRIx64, t.to);
    snprintf(from, sizeof from, "%032" PRIx64, t.from);
    bool ours = t.name && strcmp(t.name, want->name) == 0 && strcmp(to, want->id) == 0 && !t.odd &&
                !t.raw == !want->raw && (*want->base_id ? strcmp(from, want->base_id) == 0 : !t.from);
    bool as_agreed = want->raw || !t.large == !want->large;
    bool fits = ours && as_agreed && (want->embedded || !t.embedded);
    if (!ours)
        err_set(e, ERR_DATA, 0, "the target's resume token is for '%s', not for '%s'", t.name ? t.name : "",
                want->name);
    else if (!as_agreed)
        err_set(e, ERR_DATA, 0,
                "the target's resume token for '%s' asks for blocks above 128 KiB %s, and this transfer has "
                "them %s",
                want->name, t.large ? "as they are" : "in parts", want->large ? "as they are" : "in parts");
    else if (!fits)
        err_set(e, ERR_DATA, 0, "the target's resume token for '%s' asks for embedded blocks, which get lost",
                want->name);
    *sent = t.bytes;
    free(t.name);
    return fits ? 0 : -1;
}

static int check_token(const char *token, const struct zfs_token_want *want, uint64_t *sent, struct err *e)
{
    char *argv[] = {(char *)"zfs", (char *)"send", (char *)"-nvt", (char *)token, NULL};
    _cleanup_buf_ struct buf out = BUF_INIT;
    if (!token_valid(token))
        return err_set(e, ERR_DATA, 0, "the target's resume token is none");
    if (proc_check(argv, NULL, &out, e) < 0)
        return -1;
    return zfs_token_check(out.data, want, sent, e);
}

int zfs_delta_resume(struct delta *d, const struct snapshot *base, const struct snapshot *snapshot,
                     const char *token, uint64_t *sent, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_free_ char *old = NULL;
    _cleanup_free_ char *new = NULL;
    if (look_for_both(d->volume, base, snapshot, &w, &old, &new, e) < 0)
        return -1;
    bool raw = d->volume->form == VOLUME_RAW;
    struct zfs_token_want want = {.name = new,
                                  .base_id = base ? base->id : "",
                                  .id = snapshot->id,
                                  .raw = raw,
                                  .large = d->volume->large && snapshot->flags &SNAPSHOT_LARGE,
                                  .embedded = raw || w.live.volume}; /* zfs.h, "Embedded blocks" */
    if (check_token(token, &want, sent, e) < 0)
        return -1;
    strv_adds(&argv, "zfs", "send", "-t", token, NULL);
    return start_send(d, snapshot, &w, &argv, e);
}

ssize_t zfs_delta_stream(struct delta *d, void *data, size_t room, struct err *e)
{
    struct zfs_delta *x = d->priv;
    size_t left = strlen(x->header) - x->sent;
    if (!left)
        return streamproc_read(&x->proc, data, room, e);
    size_t n = left < room ? left : room;
    memcpy(data, x->header + x->sent, n);
    x->sent += n;
    return (ssize_t)n;
}

int zfs_delta_next(struct delta *d, struct extent *ret, struct err *e)
{
    const struct zfs_delta *x = d->priv;
    if (!x->ranges)
        return err_set(e, ERR_USAGE, 0, "it was opened as a stream");
    return zfsranges_next(x->ranges, ret, e);
}

const void *zfs_delta_data(const struct delta *d)
{
    const struct zfs_delta *x = d->priv;
    return zfsranges_data(x->ranges);
}

void zfs_delta_close(struct delta *d)
{
    struct zfs_delta *x = d->priv;
    if (!x)
        return;
    zfsranges_free(x->ranges);
    streamproc_stop(&x->proc);
    free(x);
    d->priv = NULL;
}
