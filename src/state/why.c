#include "state/why.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/proc.h"

#include <inttypes.h>

char *job_why_stopped(pid_t pid)
{
    return proc_is_stopped(pid)
               ? xasprintf("its process %d is stopped: 'kill -CONT %d' lets it go on", (int)pid, (int)pid)
               : NULL;
}

/* A process that cannot go on by itself, or NULL. */
static char *stuck(const struct job_why *w)
{
    char since[32], state = proc_state(w->pid);
    clock_print_log(w->began, since);
    char *stopped = job_why_stopped(w->pid);
    if (stopped)
        return stopped;
    if (state == 'D')
        return xasprintf("a run is under way since %s, process %d, and waits for a disk or file system of "
                         "this node (state D)%s",
                         since, (int)w->pid, w->still ? ", which does not answer" : "");
    return w->still
               ? xasprintf("a run is under way since %s, process %d, and stands still", since, (int)w->pid)
               : NULL;
}

static char *under_way(const struct job_why *w)
{
    char since[32];
    clock_print_log(w->began, since);
    return w->pid ? xasprintf("a run is under way since %s, process %d", since, (int)w->pid)
                  : xstrdup("a run is under way");
}

static char *postponed(const struct job_why *w)
{
    return xasprintf("its runs were postponed, %" PRId64 " in a row: %s%s%s", w->postponements, w->hindrance,
                     w->error ? "; the one before failed: " : "", w->error ? w->error : "");
}

char *job_why(const struct job_why *w)
{
    if (w->fault || w->unrecorded)
        return xstrdup(w->fault ? w->fault : w->unrecorded);
    char *why = w->running ? stuck(w) : NULL;
    if (why)
        return why;
    if (w->left)
        return xstrdup(w->left);
    if (w->waits)
        return xasprintf("%s%s%s", w->waits, w->error ? "; its last run failed: " : "",
                         w->error ? w->error : "");
    if (w->hindrance)
        return postponed(w);
    if (w->error)
        return xstrdup(w->error);
    if (w->to_come)
        return xstrdup(WHY_OTHER_CLOCK);
    if (w->over && !w->running)
        return xstrdup("its schedule has no event any more: give it another one, or run it by hand");
    return w->running ? under_way(w) : w->offline ? xasprintf("node '%s' is not online", w->offline) : NULL;
}
