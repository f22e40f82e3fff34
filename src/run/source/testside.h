/* For tests: what one side holds of a volume, in short.
 *
 * A list of snapshots, oldest first: S5=a is this job's of epoch 5 with id a, T5=b (U5) another job's,
 * anything else (g1=c) a guest snapshot. On the target "!" marks one that was made there, "~" one without
 * readable data, "U" one whose node cannot say whether it is doubtful; on the source "?" marks one that was
 * received; on either side "D" one that is doubtful, "C" one that was changed ("C~": it is writable), "M" one
 * at which it is noted that it is damaged, "L" one with blocks
 * above 128 KiB, "N" one without. */
#pragma once

#include "base/buf.h"
#include "base/strv.h"
#include "run/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static inline void side_parse(const char *text, bool target, struct snapshots *ret)
{
    _cleanup_strv_ struct strv words = STRV_INIT;
    strv_split(&words, text, " ");
    for (size_t i = 0; i < words.n; i++) {
        struct snapshot s = {.seq = i + 1, .flags = SNAPSHOT_READABLE | (target ? SNAPSHOT_RECEIVED : 0)};
        char *w = words.v[i], *id = strchr(w, '=');
        assert_non_null(id);
        *id++ = 0;
        memset(s.id, id[0], SNAPSHOT_ID_LEN);
        if (strchr(id, '!'))
            s.flags &= ~(unsigned)SNAPSHOT_RECEIVED;
        if (strchr(id, '?'))
            s.flags |= SNAPSHOT_RECEIVED;
        if (strchr(id, '~'))
            s.flags &= ~(unsigned)SNAPSHOT_READABLE;
        if (strchr(id, 'D'))
            s.flags |= SNAPSHOT_DOUBTFUL;
        if (strchr(id, 'C'))
            s.flags |= SNAPSHOT_CHANGED;
        if (strchr(id, 'M'))
            s.damaged = 1000;
        if (strchr(id, 'L'))
            s.flags |= SNAPSHOT_LARGE;
        if (strchr(id, 'N'))
            s.flags |= SNAPSHOT_SMALL;
        if (strchr(id, 'U'))
            s.flags |= SNAPSHOT_UNTOLD;
        if (*w == 'S' || *w == 'T' || *w == 'U')
            snprintf(s.name, sizeof s.name, "__replicate_100-%d_%s__", *w - 'S', w + 1);
        else
            snprintf(s.name, sizeof s.name, "%s", w);
        snapshots_add(ret, &s);
    }
}

static inline void short_name(const char *name, struct buf *out)
{
    if (snapshot_epoch(name))
        buf_addf(out, "%c%d", 'S' + name[strlen("__replicate_100-")] - '0', (int)snapshot_epoch(name));
    else
        buf_adds(out, name);
}

static inline void print_all(const char *what, const struct snapshots *s, struct buf *out)
{
    for (size_t i = 0; i < s->n; i++) {
        buf_adds(out, what);
        short_name(s->v[i].name, out);
    }
}
