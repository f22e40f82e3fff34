#include "sched/worker.h"

#include "base/proc.h"

#include <fcntl.h>
#include <string.h>

char *worker_program(void)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = 0;
        char *slash = strrchr(self, '/');
        _cleanup_free_ char *sibling = slash ? xasprintf("%.*s/pvesr", (int)(slash - self), self) : NULL;
        if (sibling && access(sibling, X_OK) == 0)
            return take_ptr(sibling);
    }
    return xstrdup("pvesr");
}

/* said: NULL: its stderr is ours. */
static pid_t start(struct strv *argv, const char *config, int *said, struct err *e)
{
    struct proc_streams streams = {.pipe_err = said != NULL};
    struct proc p = PROC_INIT;
    if (config)
        strv_adds(argv, "--config", config, NULL);
    if (proc_spawn(argv->v, &streams, &p, e) < 0)
        return -1;
    if (said) {
        fcntl(p.err, F_SETFL, fcntl(p.err, F_GETFL) | O_NONBLOCK);
        *said = p.err;
    }
    return p.pid;
}

pid_t worker_start(const char *program, const char *config, const char *job_id, int *said, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    strv_adds(&argv, program, "run", "--id", job_id, NULL);
    return start(&argv, config, said, e);
}

pid_t worker_verify(const char *program, const char *config, const char *job_id, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    strv_adds(&argv, program, "verify", job_id, "--part", NULL);
    return start(&argv, config, NULL, e);
}

enum queue_outcome worker_outcome(int status)
{
    return status == 0 ? QUEUE_DONE : status == WORKER_POSTPONED ? QUEUE_POSTPONED : QUEUE_FAILED;
}

int worker_settle(const char *program, const char *config, struct buf *out, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    strv_adds(&argv, program, "settle", NULL);
    if (config)
        strv_adds(&argv, "--config", config, NULL);
    return proc_check(argv.v, NULL, out, e);
}
