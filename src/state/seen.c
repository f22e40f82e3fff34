#include "state/seen.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/modes.h"
#include "base/strv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One that begins so long after the last one began is none that dies again and again. */
#define AGAIN_SECONDS 600
#define FILE_MAX (16 << 20)

static char *path_of(const char *state_dir)
{
    return xasprintf("%s/pvesr-seen", state_dir);
}

static int by_id(const void *a, const void *b)
{
    const struct seen_job *x = a, *y = b;
    return strcmp(x->id, y->id);
}

static void parse_line(const char *line, struct seen *s)
{
    struct seen_job j = {.since = 0};
    if (sscanf(line, "watched %" SCNd64 " %" SCNd64, &s->watched, &s->started) == 2 ||
        sscanf(line, "job %23s %79s %" SCNd64 " %" SCNd64 " %" SCNd64, j.id, j.target, &j.since, &j.told,
               &j.told_sync) != 5)
        return;
    s->v = xgrow(s->v, s->n, sizeof *s->v);
    s->v[s->n++] = j;
}

void seen_load(const char *state_dir, struct seen *ret)
{
    struct err ignored;
    _cleanup_free_ char *path = path_of(state_dir);
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_strv_ struct strv lines = STRV_INIT;
    *ret = (struct seen){0};
    if (fs_read(path, FILE_MAX, &text, &ignored) != 0)
        return;
    strv_split(&lines, buf_str(&text), "\n");
    for (size_t i = 0; i < lines.n; i++)
        parse_line(lines.v[i], ret);
    if (ret->n)
        qsort(ret->v, ret->n, sizeof *ret->v, by_id);
}

void seen_release(struct seen *s)
{
    free(s->v);
    *s = (struct seen){0};
}

static struct seen_job *find(const struct seen *s, const char *id)
{
    struct seen_job key = {.since = 0};
    snprintf(key.id, sizeof key.id, "%s", id);
    return s->n ? bsearch(&key, s->v, s->n, sizeof *s->v, by_id) : NULL;
}

struct seen_job *seen_find(const struct seen *s, const char *id, const char *target)
{
    struct seen_job *j = find(s, id);
    return j && strcmp(j->target, target) == 0 ? j : NULL;
}

static int store(const char *state_dir, const struct seen *s, struct err *e)
{
    _cleanup_free_ char *path = path_of(state_dir);
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (s->watched)
        buf_addf(&text, "watched %" PRId64 " %" PRId64 "\n", s->watched, s->started);
    for (size_t i = 0; i < s->n; i++) {
        const struct seen_job *j = &s->v[i];
        buf_addf(&text, "job %s %s %" PRId64 " %" PRId64 " %" PRId64 "\n", j->id, j->target, j->since,
                 j->told, j->told_sync);
    }
    return fs_write_atomic(path, buf_str(&text), text.len, MODE_STATE, e);
}

int seen_set(const char *state_dir, struct seen *s, struct seen_job *v, size_t n, int64_t now, struct err *e)
{
    struct seen next = {.watched = s->watched, .started = s->started, .v = v, .n = n};
    bool changed = n != s->n;
    for (size_t i = 0; i < n; i++) {
        const struct seen_job *before = seen_find(s, v[i].id, v[i].target);
        if (before)
            v[i] = *before;
        if (v[i].since > now) /* by a clock that was ahead */
            v[i].since = now;
        changed |= !before || before->since != v[i].since;
    }
    if (n)
        qsort(v, n, sizeof *v, by_id);
    return changed ? store(state_dir, &next, e) : 0;
}

int64_t seen_begin(const char *state_dir, int64_t now)
{
    struct err ignored;
    struct seen s;
    seen_load(state_dir, &s);
    bool again = s.started && s.watched <= s.started && s.started <= now && now - s.started <= AGAIN_SECONDS;
    if (!again)
        s.watched = now;
    for (size_t i = 0; !again && i < s.n; i++)
        s.v[i].told = s.v[i].told_sync = 0;
    s.started = now;
    store(state_dir, &s, &ignored);
    int64_t since = s.watched;
    seen_release(&s);
    return since;
}

void seen_tell(const char *state_dir, const struct seen_job *v, size_t n)
{
    struct err ignored;
    struct seen s;
    seen_load(state_dir, &s);
    for (size_t i = 0; i < n; i++) {
        struct seen_job *j = find(&s, v[i].id);
        if (!j)
            continue;
        j->told = v[i].told;
        j->told_sync = v[i].told_sync;
    }
    store(state_dir, &s, &ignored);
    seen_release(&s);
}

void seen_end(const char *state_dir)
{
    struct err ignored;
    struct seen s;
    seen_load(state_dir, &s);
    s.watched = s.started = 0;
    for (size_t i = 0; i < s.n; i++)
        s.v[i].told = s.v[i].told_sync = 0;
    store(state_dir, &s, &ignored);
    seen_release(&s);
}
