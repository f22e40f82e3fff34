/* Says that a busy process lives, from a thread of its own: a system call (a reflink of a million extents, a
 * flush to a disk that is slow, a file system that is frozen) may take longer than a peer waits.
 *
 * The stream belongs to whoever is between pulse_enter and pulse_leave. Outside of that the word is written
 * when nothing was for a period, for as long as the work goes on: after PULSE_WORK seconds without a
 * pulse_worked it falls silent, so that a process that hangs is given up by its peer.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PULSE_WORK 900.0
#define PULSE_WORD 16

struct pulse {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool beats, ended;
    int fd;
    double period, work;      /* seconds */
    double last_sent, worked; /* clock_mono */
    uint64_t said;            /* bytes that the thread wrote */
    uint8_t word[PULSE_WORD];
};

/* fd is non-blocking and stays the caller's. Where no thread can be had (`beats`), nothing is said. */
void pulse_start(struct pulse *p, int fd, double period, const uint8_t word[PULSE_WORD]);
void pulse_stop(struct pulse *p);
void pulse_set_period(struct pulse *p, double period);

void pulse_enter(struct pulse *p);
void pulse_leave(struct pulse *p);
/* The work goes on. */
void pulse_worked(struct pulse *p);
