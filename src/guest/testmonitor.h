/* For tests: what a QEMU's sockets are to us, its agent's and its monitor's. */
#pragma once

#include <ftw.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Until the client goes. */
static inline void serve_lines(int fd, void serve_line(int fd, const char *line))
{
    char line[1000];
    size_t n = 0;
    while (n < sizeof line - 1 && read(fd, line + n, 1) == 1) {
        if (line[n++] != '\n')
            continue;
        line[n] = 0;
        serve_line(fd, line);
        n = 0;
    }
}

/* In a process of its own. One client at a time, as QEMU does. */
static inline _Noreturn void play_socket(int fd, void serve(int fd))
{
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        int client = accept(fd, NULL, NULL);
        if (client < 0)
            _exit(1);
        serve(client);
        close(client);
    }
}

/* Its process: kill it at the end. -1: it could not be made. */
static inline pid_t play_at(const char *path, void serve(int fd))
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 5) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        play_socket(fd, serve);
    close(fd);
    return pid;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static inline int end_playing(pid_t pid, const char *root)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
