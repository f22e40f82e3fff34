#include "run/target/guard.h"

#include "base/mem.h"
#include "run/intent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASK_SECONDS 60 /* between two looks at whether anything is left to be ended */

/* It has no part in what its parent's group or terminal is told, and no end of the conversation. */
static void leave(int in, int out)
{
    setsid();
    signal(SIGPIPE, SIG_IGN);
    close(in);
    close(out);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd < 3; fd++)
        dup2(null, fd);
}

/* Whoever had the lock in between may have moved it here. Its disks are no replicas then. */
static bool is_elsewhere(struct env *env, uint32_t guest)
{
    struct err ignored;
    if (env_guest_again(env, guest, &ignored) < 0)
        return false;
    const struct guest_entry *g = guests_find(&env->guests, guest);
    return g && strcmp(g->node, env->settings.node) != 0;
}

static bool is_ended(struct env *env, uint32_t guest)
{
    struct err ignored;
    _cleanup_intent_ struct intent i = {0};
    return intent_load(env, guest, &i, &ignored) == 1;
}

static void stand_by(int fd, struct env *env, uint32_t guest, struct lock *lock)
{
    struct err ignored; /* what is left, the next one finds */
    char byte;
    ssize_t n;
    while ((n = read(fd, &byte, 1)) < 0 && errno == EINTR)
        ;
    if (n != 0)
        return;
    env->volumes.tick = (struct tick){0};
    while (lock_inherit(lock, ASK_SECONDS, &ignored) < 0)
        if (ignored.kind != ERR_BUSY || is_ended(env, guest))
            return;
    env_hold(env, lock);
    volumes_forget();
    if (is_elsewhere(env, guest))
        intent_settle(env, guest, &ignored);
}

int guard_begin(struct guard *g, struct env *env, uint32_t guest, struct lock *lock, int in, int out,
                struct err *e)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_sys(e, "cannot make a pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[1]);
        leave(in, out);
        stand_by(fds[0], env, guest, lock);
        _exit(0);
    }
    int code = errno;
    close(fds[0]);
    if (pid < 0) {
        close(fds[1]);
        return err_set(e, ERR_SYSTEM, code, "cannot start a process");
    }
    *g = (struct guard){pid, fds[1]};
    return 0;
}

void guard_end(struct guard *g)
{
    ssize_t ignored = write(g->fd, "", 1);
    (void)ignored;
    close(g->fd);
    while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
