#include "cli/commands.h"

#include "base/clock.h"
#include "cli/lines.h"
#include "cli/size.h"
#include "view/json.h"
#include "view/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_steps(const char *text)
{
    json_t *steps = json_loads(text, 0, NULL);
    for (size_t i = 0; i < json_array_size(steps); i++) {
        json_t *step = json_array_get(steps, i);
        const char *name = json_string_value(json_object_get(step, "name"));
        put_line(stdout, "    %-24s %.3f s", name ? name : "?",
                 json_number_value(json_object_get(step, "seconds")));
    }
    json_decref(steps);
}

static bool print_run(const struct journal_run *run, void *arg)
{
    const bool *verbose = arg;
    char start[32], duration[32] = "-", sent[32], delta[32];
    clock_print_status(run->start, start);
    if (run->duration >= 0)
        snprintf(duration, sizeof duration, "%.3f", run->duration);
    print_size(run->bytes, sent);
    print_size(run->delta, delta);
    put_line(stdout, "%-20s %20s %10s %-11s %10s %10s %s", run->job, start, duration, run->result, sent,
             delta, run->error ? run->error : "-");
    if (*verbose && run->steps)
        print_steps(run->steps);
    if (*verbose && run->log)
        put_lines(stdout, 4, run->log);
    return true;
}

static bool collect_run(const struct journal_run *run, void *arg)
{
    json_array_append_new(arg, run_json(run));
    return true;
}

int cmd_history(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_(journal_freep) struct journal *journal = journal_open(env->settings.state_dir, e);
    if (!journal)
        return -1;
    const char *job = args_text(a, P_ID);
    unsigned limit = (unsigned)a->value[P_LIMIT].integer;
    if (args_want_json(a)) {
        json_t *list = json_array();
        int r = journal_list(journal, job, limit, true, collect_run, list, e);
        if (r < 0)
            json_decref(list);
        else
            json_put(list, false);
        return r;
    }
    bool verbose = a->value[P_VERBOSE].flag;
    printf("%-20s %20s %10s %-11s %10s %10s %s\n", "JobID", "Start", "Duration", "Result", "Sent", "Delta",
           "Error");
    return journal_list(journal, job, limit, verbose, print_run, &verbose, e);
}
