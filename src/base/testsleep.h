/* For tests: has another process come to where it waits? */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static inline bool sleeps(pid_t pid)
{
    char path[64], line[200] = "";
    snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid); /* proc_pid_syscall(5) */
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool read = fgets(line, sizeof line, f);
    fclose(f);
    return read && strtol(line, NULL, 10) == SYS_clock_nanosleep;
}

/* Until the child sleeps, as it does only while it waits for a lock. False: it has ended. */
static inline bool await_sleep(pid_t pid)
{
    while (!sleeps(pid)) {
        if (waitpid(pid, NULL, WNOHANG) != 0)
            return false;
        usleep(1000);
    }
    return true;
}
