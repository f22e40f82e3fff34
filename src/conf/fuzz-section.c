/* Section files and jobs: any text is printed as it was read; what is written anew reads back the same and is
 * then written the same. */
#include "conf/job.h"
#include "conf/nodes.h"
#include "conf/storage.h"
#include "conf/testdump.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

static bool equal(const struct buf *a, const void *data, size_t n)
{
    return a->len == n && (n == 0 || memcmp(a->data, data, n) == 0);
}

static void rewrite_sections(const char *text, size_t n)
{
    _cleanup_buf_ struct buf same = BUF_INIT, printed = BUF_INIT, again = BUF_INIT, was = BUF_INIT,
                             is = BUF_INIT;
    struct section_file f, g;
    section_parse("f", text, n, &f);
    section_print(&f, &same);
    check(equal(&same, text, n));
    for (size_t i = 0; i < f.n; i++)
        f.sections[i].changed = true;
    section_print(&f, &printed);
    section_parse("f", printed.data, printed.len, &g);
    dump_sections(&f, &was);
    dump_sections(&g, &is);
    check(equal(&is, was.data, was.len));
    for (size_t i = 0; i < g.n; i++)
        g.sections[i].changed = true;
    section_print(&g, &again);
    check(equal(&again, printed.data, printed.len));
    section_file_release(&f);
    section_file_release(&g);
}

static bool same_text(const char *a, const char *b)
{
    return a ? b && strcmp(a, b) == 0 : !b;
}

static bool same_jobs(const struct jobs *a, const struct jobs *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++) {
        const struct job *x = &a->v[i], *y = &b->v[i];
        same = strcmp(x->id, y->id) == 0 && same_text(x->target, y->target) &&
               same_text(x->source, y->source) && same_text(x->schedule, y->schedule) &&
               same_text(x->comment, y->comment) && same_text(x->fault, y->fault) && x->rate == y->rate &&
               x->disabled == y->disabled && x->remove == y->remove;
    }
    return same;
}

static void rewrite_jobs(const char *text, size_t n)
{
    struct jobs j, k;
    struct err e;
    _cleanup_buf_ struct buf printed = BUF_INIT;
    jobs_parse("f", text, n, &j);
    for (size_t i = 0; i < j.n; i++) {
        struct job *job = &j.v[i];
        check(jobs_find(&j, job->id) == job);
        free(job->comment);
        job->comment = xstrdup("50%: a");
        job->disabled = !job->disabled;
        check(jobs_changed(&j, job, &e) == 0);
    }
    jobs_print(&j, &printed);
    jobs_parse("f", printed.data, printed.len, &k);
    check(same_jobs(&j, &k));
    while (k.n) {
        size_t left = k.n;
        char id[sizeof k.v->id];
        memcpy(id, k.v[0].id, sizeof id);
        jobs_remove(&k, id);
        check(k.n == left - 1);
    }
    jobs_release(&j);
    jobs_release(&k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct storages storages;
    struct nodes nodes;
    rewrite_sections(text, size);
    rewrite_jobs(text, size);
    storages_parse("f", text, size, &storages);
    storages_release(&storages);
    nodes_parse("f", text, size, &nodes);
    nodes_release(&nodes);
    return 0;
}
