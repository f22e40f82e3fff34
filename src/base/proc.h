/* Programs are run with an argument vector; there is no shell anywhere.
 *
 * Every child gets: the default signal dispositions and an empty signal mask, no file descriptor but 0, 1, 2
 * (and proc_options.held_fd), and the environment of this process with LC_ALL=C. Its stdin is /dev/null
 * unless asked otherwise.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/strv.h"
#include "base/tick.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The first thing that a program does: no file that it opens may get the number of a standard stream that its
 * caller closed, for what is meant for people would be written into it. Such a stream is /dev/null then; of
 * stdout writing fails, as on a closed one. What it writes to must not end it: SIGPIPE and SIGXFSZ are
 * ignored (EPIPE, EFBIG). */
void proc_begin(void);

struct proc_result {
    int status;     /* exit status, or 128 + signal */
    struct buf out; /* stdout, at most `cap` bytes; more is an error */
    struct buf err; /* the last 64 KiB of stderr */
};
void proc_result_release(struct proc_result *r);

struct proc_options {
    const char *input; /* bytes for stdin, or NULL for /dev/null */
    size_t input_len;
    size_t cap;     /* most bytes of stdout to keep; 0 means 1 MiB */
    double seconds; /* deadline; 0 means 60. At the deadline the group is killed: ERR_SYSTEM "timed out" */
    const struct tick *tick; /* about every second while it is waited for; may be NULL */
    bool new_session;        /* setsid instead of a new process group: for a daemon that outlives us */
    /* A lock's descriptor that it inherits, so that the lock lasts until it has ended, also when this process
     * is killed (flock(2)): as its stdin, or where it has input as descriptor 3. 0: none. */
    int held_fd;
};

/* Run to the end, stdout and stderr read together. 0 when the program ran, whatever its status: look at
 * r->status. A program that cannot be started is ERR_SYSTEM and names it. r is released by the caller in
 * every case (zero-initialise it). options may be NULL. */
int proc_run(char *const argv[], const struct proc_options *options, struct proc_result *r, struct err *e);

/* Of what a program said on stderr, the line that tells why it failed: the first that begins as a complaint
 * does, else the last. */
void proc_complaint(const struct buf *err, char *out, size_t room);

/* proc_run that also takes a status other than 0 as failure: "zfs list: exit status 1: COMPLAINT".
 * out may be NULL. */
int proc_check(char *const argv[], const struct proc_options *options, struct buf *out, struct err *e);

/* A child that goes on while we do something else. */
struct proc {
    pid_t pid; /* 0: none; also its process group */
    int in;    /* write end of its stdin, or -1 */
    int out;   /* read end of its stdout, or -1 */
    int err;   /* read end of its stderr, or -1 */
    char name[64];
};
#define PROC_INIT                                                                                            \
    {                                                                                                        \
        .in = -1, .out = -1, .err = -1                                                                       \
    }

/* Which of the three to connect by pipe, and fds to hand over instead (-1: none). A stream that is neither
 * piped nor handed over is /dev/null for 0 and inherited for 1 and 2. */
struct proc_streams {
    bool pipe_in, pipe_out, pipe_err;
    int use_in, use_out, use_err; /* 0 in a zeroed struct means "not given": give fds > 2 or leave 0 */
};

int proc_spawn(char *const argv[], const struct proc_streams *streams, struct proc *p, struct err *e);
/* Wait up to `seconds`, then kill the group with SIGKILL and wait. Closes the pipes first. Returns the status
 * as in proc_result. Does nothing and returns 0 for pid 0.
 *
 * One that waits for the kernel (state D: a device or file system that does not answer) is not ended by any
 * signal: after proc_unkillable_seconds it is given up, whatever it holds it goes on holding. */
int proc_wait(struct proc *p, double seconds);
#define PROC_UNKILLABLE 1000           /* no status of a process */
extern double proc_unkillable_seconds; /* 60; tests make it shorter */
/* SIGKILL to the group, wait, close. */
int proc_kill(struct proc *p);

/* Start time of a process in clock ticks since boot (proc(5), stat field 22); 0 when it does not exist or is
 * a zombie. With the pid it names a process for good (BEHAVIOUR.md#job-state: ptime). */
uint64_t proc_start_time(pid_t pid);
/* By SIGSTOP, or a debugger: it does nothing until somebody lets it go on. */
bool proc_is_stopped(pid_t pid);
/* Its state's letter (proc(5), stat field 3): 'D' waits for a disk or file system; 0: there is none. */
char proc_state(pid_t pid);
/* Another value each time that its first thread has run: how often it was put to sleep and woken. 0: there is
 * no such process, or it cannot be told. */
uint64_t proc_turns(pid_t pid);

#define PROC_BOOT_MAX 40
/* The kernel's name of the time since the machine was started; "" when it cannot be told. */
void proc_boot(char ret[PROC_BOOT_MAX]);
