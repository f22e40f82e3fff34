/* For tests: what was read, as text that a table can hold. */
#pragma once

#include "base/buf.h"
#include "base/strv.h"
#include "conf/section.h"

#include <stdio.h>

/* "local:100-0{target=pve2 disable}" for each section, one after the other; bare keys without "=". */
static inline void dump_sections(const struct section_file *f, struct buf *out)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct section *s = &f->sections[i];
        buf_addf(out, "%s:%s{", s->type, s->id);
        for (size_t k = 0; k < s->n_props; k++)
            buf_addf(out, "%s%s%s%s", k ? " " : "", s->props[k].key, s->props[k].bare ? "" : "=",
                     s->props[k].value);
        buf_adds(out, "}");
    }
}

/* The line numbers of the warnings: "3 7". */
static inline void dump_lines(const struct strv *warnings, struct buf *out)
{
    for (size_t i = 0; i < warnings->n; i++) {
        unsigned line = 0;
        if (sscanf(warnings->v[i], "%*[^:]:%u:", &line) != 1)
            line = 0;
        buf_addf(out, "%s%u", i ? " " : "", line);
    }
}
