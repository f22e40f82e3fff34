#include "run/steps.h"

#include "base/buf.h"
#include "base/clock.h"

#include <string.h>

static void leave(struct steps *s)
{
    double now = clock_mono();
    if (s->n)
        s->v[s->n - 1].seconds += now - s->since;
    s->since = now;
}

void steps_enter(struct steps *s, const char *name)
{
    leave(s);
    if (s->n && strcmp(s->v[s->n - 1].name, name) == 0)
        return;
    if (s->n < STEPS_MAX) {
        s->v[s->n].name = name;
        s->v[s->n++].seconds = 0;
    }
}

char *steps_finish(struct steps *s)
{
    leave(s);
    struct buf out = BUF_INIT;
    buf_addc(&out, '[');
    for (size_t i = 0; i < s->n; i++)
        buf_addf(&out, "%s{\"name\":\"%s\",\"seconds\":%.6f}", i ? "," : "", s->v[i].name, s->v[i].seconds);
    buf_addc(&out, ']');
    return buf_take(&out);
}
