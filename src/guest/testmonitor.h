/* For tests: what a QEMU's sockets are to us, its agent's and its monitor's. */
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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
