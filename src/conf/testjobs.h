/* For tests of the jobs: read a text, compare what came of it. */
#pragma once

#include "conf/job.h"
#include "conf/testdump.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static inline void parse(const char *text, struct jobs *j)
{
    jobs_parse("replication.cfg", text, text ? strlen(text) : 0, j);
}

/* "100-0>pve2 source=a schedule=x rate=1 comment=c disable remove=full FAULT; " for each job. */
static inline void dump_jobs(const struct jobs *j, struct buf *out)
{
    static const char *const removes[] = {"", " remove=local", " remove=full"};
    for (size_t i = 0; i < j->n; i++) {
        const struct job *x = &j->v[i];
        buf_addf(out, "%s%s>%s", i ? "; " : "", x->id, x->target);
        if (x->source)
            buf_addf(out, " source=%s", x->source);
        if (x->schedule)
            buf_addf(out, " schedule=%s", x->schedule);
        if (x->rate > 0)
            buf_addf(out, " rate=%g", x->rate);
        if (x->comment)
            buf_addf(out, " comment=%s", x->comment);
        buf_addf(out, "%s%s%s", x->disabled ? " disable" : "", removes[x->remove], x->fault ? " FAULT" : "");
    }
}

static inline void expect_jobs(const struct jobs *j, const char *what, const char *expect)
{
    _cleanup_buf_ struct buf dump = BUF_INIT;
    dump_jobs(j, &dump);
    if (strcmp(buf_str(&dump), expect) != 0)
        fail_msg("%s: '%s', not '%s'", what, buf_str(&dump), expect);
}

static inline void expect_printed(const struct jobs *j, const char *what, const char *expect)
{
    _cleanup_buf_ struct buf once = BUF_INIT, twice = BUF_INIT;
    jobs_print(j, &once);
    jobs_print(j, &twice);
    if (strcmp(buf_str(&once), expect) != 0)
        fail_msg("%s: printed '%s', not '%s'", what, buf_str(&once), expect);
    assert_string_equal(buf_str(&once), buf_str(&twice));
}
