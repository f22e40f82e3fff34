/* The commands that replicate or take part in it: thin calls into the run layer. */
#include "cli/commands.h"

#include "cli/lines.h"
#include "run/run.h"
#include "run/target/agent.h"
#include "run/target/stock.h"

#include <stdio.h>
#include <unistd.h>

int cmd_run(struct env *env, const struct args *a, struct err *e)
{
    struct run_options o = {.verbose = a->value[P_VERBOSE].flag,
                            .progress = isatty(STDERR_FILENO),
                            .mail = a->value[P_MAIL].flag,
                            .resync = a->value[P_RESYNC].flag};
    return args_given(a, P_ID) ? run_job(env, args_text(a, P_ID), &o, e) : run_pass(env, &o, e);
}

int cmd_plan(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    int r = run_plan(env, args_text(a, P_ID), &out, e);
    put_lines(stdout, 0, buf_str(&out));
    return r;
}

int cmd_agent(struct env *env, const struct args *a, struct err *e)
{
    /* Frames go where stdout was; whatever prints by mistake must not get between them. */
    _cleanup_close_ int out = dup(STDOUT_FILENO);
    if (out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return err_sys(e, "cannot set the agent's streams up");
    struct agent_options o = {.peer = args_text(a, P_PEER), .patience = AGENT_PATIENCE};
    return agent_serve(env, STDIN_FILENO, out, &o, e);
}

static void tell_notes(const struct strv *notes)
{
    for (size_t i = 0; i < notes->n; i++)
        put_line(stderr, "%s", notes->v[i]);
}

int cmd_prepare(struct env *env, const struct args *a, struct err *e)
{
    struct target_prepare p = {
        .job_id = args_text(a, P_ID),
        .volids = &a->value[P_VOLID].list,
        .scan = &a->value[P_SCAN].list,
        .last_sync = a->value[P_LAST_SYNC].integer,
        .parent = args_text(a, P_PARENT_SNAPNAME),
        .force = a->value[P_FORCE_PREPARE].flag,
    };
    _cleanup_buf_ struct buf out = BUF_INIT;
    _cleanup_strv_ struct strv notes = STRV_INIT;
    int r = target_prepare(env, &p, &out, &notes, e);
    tell_notes(&notes);
    if (r < 0)
        return -1;
    printf("%s%s", buf_str(&out), out.len && out.data[out.len - 1] == '\n' ? "" : "\n");
    return 0;
}

int cmd_finalize(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_strv_ struct strv notes = STRV_INIT;
    int r = target_finalize(env, args_text(a, P_ID), &a->value[P_VOLID].list, a->value[P_LAST_SYNC].integer,
                            &notes, e);
    tell_notes(&notes);
    return r;
}
