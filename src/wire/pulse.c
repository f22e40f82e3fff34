#include "wire/pulse.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What is begun is ended: half a word would damage the stream, which the peer would notice. */
static void say(struct pulse *p)
{
    struct pollfd out = {.fd = p->fd, .events = POLLOUT};
    if (poll(&out, 1, 0) != 1 || out.revents != POLLOUT)
        return;
    for (size_t done = 0; done < sizeof p->word;) {
        ssize_t n = write(p->fd, p->word + done, sizeof p->word - done);
        if (n > 0)
            done += (size_t)n;
        else if (n < 0 && errno == EAGAIN && done > 0)
            done = poll(&out, 1, 1000) == 1 ? done : sizeof p->word;
        else if (n == 0 || errno != EINTR)
            return;
        p->said += n > 0 ? (uint64_t)n : 0;
    }
    p->last_sent = clock_mono();
}

static void sleep_until(struct pulse *p, double when)
{
    struct timespec at = {.tv_sec = (time_t)when};
    at.tv_nsec = (long)((when - (double)at.tv_sec) * 1e9);
    pthread_cond_timedwait(&p->wake, &p->lock, &at);
}

static void *beat(void *arg)
{
    struct pulse *p = arg;
    pthread_mutex_lock(&p->lock);
    while (!p->ended) {
        double now = clock_mono();
        if (now - p->last_sent >= p->period && now - p->worked < p->work)
            say(p);
        double next = p->last_sent + p->period;
        sleep_until(p, next > now ? next : now + p->period);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Signals are for the thread that works. */
static bool start_thread(struct pulse *p)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&p->thread, NULL, beat, p) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

void pulse_start(struct pulse *p, int fd, double period, const uint8_t word[PULSE_WORD])
{
    pthread_condattr_t monotonic;
    *p = (struct pulse){.fd = fd, .period = period, .work = PULSE_WORK};
    p->last_sent = p->worked = clock_mono();
    memcpy(p->word, word, PULSE_WORD);
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    p->beats = start_thread(p);
}

void pulse_stop(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    if (p->beats)
        pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
}

void pulse_set_period(struct pulse *p, double period)
{
    pthread_mutex_lock(&p->lock);
    p->period = period;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

void pulse_enter(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
}

void pulse_leave(struct pulse *p)
{
    p->worked = clock_mono();
    pthread_mutex_unlock(&p->lock);
}

void pulse_worked(struct pulse *p)
{
    pulse_enter(p);
    pulse_leave(p);
}
