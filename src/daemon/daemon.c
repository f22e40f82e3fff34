#include "daemon/daemon.h"

#include "base/mem.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/modes.h"
#include "api/events.h"
#include "api/options.h"
#include "api/who.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "notify/spool.h"
#include "sched/worker.h"
#include "state/due.h"
#include "state/seen.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#define RETRY_SECONDS 10
/* However quiet it is, the jobs are read anew after this time: for a change that no watch has seen, a new
 * time zone of the machine, and the purge. */
#define REREAD_SECONDS 900
#define BURST_SECONDS 0.05
#define KEYS_USEC (3600 * 1000000ull)
#define API_RETRY_USEC (10 * 1000000ull)
#define KEYS_SECONDS 60
#define VERIFY_PATIENCE 600

/* ---- telling ---- */

/* Keep *last as what was last told; true when text is new. */
static bool is_news(char **last, const char *text)
{
    if (*last && strcmp(*last, text) == 0)
        return false;
    free(*last);
    *last = xstrdup(text);
    return true;
}

static void tell_status(struct daemon *d, int64_t now)
{
    char text[256], at[32], told[sizeof text + sizeof "STATUS="];
    int64_t wake = queue_wake(&d->queue, now);
    clock_print_log(wake, at);
    if (d->paused)
        snprintf(text, sizeof text, "Paused: %s", d->problem);
    else
        snprintf(text, sizeof text, "%zu jobs, %u running, %zu due, next %s", d->queue.n,
                 d->queue.running + d->queue.foreign, queue_count_due(&d->queue, now), wake ? at : "never");
    snprintf(told, sizeof told, "STATUS=%s", text);
    if (d->runs.stop == STOP_NOT && is_news(&d->status, text))
        notify(told);
}

static void tell_warnings(struct daemon *d, const struct strv *warnings)
{
    _cleanup_free_ char *all = strv_join(warnings, "\n");
    if (!is_news(&d->warnings, all))
        return;
    for (size_t i = 0; i < warnings->n; i++)
        log_line(LOG_WARNING, "%s", warnings->v[i]);
}

static void tell_problem(struct daemon *d, const char *problem)
{
    if (problem && is_news(&d->problem, problem))
        log_line(LOG_ERR, "scheduling is paused: %s", problem);
    if (!problem && d->problem) {
        log_line(LOG_NOTICE, "scheduling goes on");
        free(d->problem);
        d->problem = NULL;
    }
    d->paused = problem != NULL;
    d->paused_at = !problem ? 0 : d->paused_at ? d->paused_at : clock_epoch();
    d->pause_told = problem ? d->pause_told : 0;
}

static bool is_own(pid_t pid, void *arg)
{
    return runs_own(&((struct daemon *)arg)->runs, pid);
}

static void on_run_ended(const struct queue_job *j, void *arg)
{
    if (j->outcome == QUEUE_FAILED && !j->lost && job_reports(j->fail_count))
        report_failure(arg, j);
}

static void on_untraced(const struct queue_job *j, void *arg)
{
    if (job_reports(j->fail_count))
        report_failure(arg, j);
}

/* ---- when to look again ---- */

/* Load what has changed, soon: changes come in bursts. Never takes more than a fifth of the processor,
 * however fast the files change. */
static void refresh_soon(struct daemon *d, double seconds)
{
    int enabled = SD_EVENT_OFF;
    uint64_t now = 0, at = 0;
    seconds = seconds < BURST_SECONDS ? BURST_SECONDS : seconds;
    seconds = seconds < 4 * d->refresh_cost ? 4 * d->refresh_cost : seconds;
    sd_event_source_get_enabled(d->refresh_timer, &enabled);
    sd_event_source_get_time(d->refresh_timer, &at);
    sd_event_now(d->event, CLOCK_MONOTONIC, &now);
    uint64_t wanted = now + (uint64_t)(seconds * 1e6);
    if (enabled != SD_EVENT_OFF && at <= wanted)
        return;
    sd_event_source_set_time(d->refresh_timer, wanted);
    sd_event_source_set_enabled(d->refresh_timer, SD_EVENT_ONESHOT);
}

static void set_wake(struct daemon *d, int64_t now)
{
    int64_t at = queue_wake(&d->queue, now), verify = queue_wake_verify(&d->queue, now);
    int64_t overdue = queue_wake_overdue(&d->queue, d->watched, now);
    if (verify && (at == 0 || verify < at))
        at = verify;
    if (overdue && (at == 0 || overdue < at))
        at = overdue;
    if (d->paused)
        at = overdue;
    if (at == 0 || at > now + REREAD_SECONDS)
        at = now + REREAD_SECONDS;
    struct itimerspec spec = {.it_value.tv_sec = at};
    if (timerfd_settime(d->wake_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &spec, NULL) == 0)
        return;
    /* ECANCELED: the clock was set since the last look. The timer is armed all the same. */
    d->jobs_changed = d->states_changed = true;
    refresh_soon(d, 1);
}

static void schedule(struct daemon *d)
{
    int64_t now = clock_epoch();
    if (d->runs.stop != STOP_NOT)
        return;
    if (!d->paused) {
        runs_start_due(&d->runs, now);
        runs_verify_due(&d->runs, now);
    }
    report_overdue(d, now);
    set_wake(d, now);
    tell_status(d, now);
}

/* ---- loading ---- */

/* As load_jobs. */
static int reload_jobs(struct daemon *d, int64_t now, struct err *e)
{
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    /* Opened anew: pmxcfs may have been mounted since. */
    struct tree *tree = tree_open(d->settings.cluster, e);
    if (!tree)
        return -1;
    tree_free(d->tree);
    d->tree = tree;
    watch_update(&d->watch, tree, d->settings.state_dir); /* before reading, so that no change is missed */
    if (!fs_exists(tree_root(tree)))
        return err_set(e, ERR_SYSTEM, ENOENT, "cannot read the cluster's configuration in '%s'",
                       tree_root(tree));
    tell_load(d);
    int r = load_jobs(&d->queue, &d->purge, tree, &d->settings, now, &warnings, e);
    if (r != 0)
        return r;
    tell_warnings(d, &warnings);
    d->jobs_changed = false;
    d->states_changed = true;
    d->jobs_loaded = clock_mono();
    return 0;
}

/* The one that is documented, and one that no cleaner of temporary files takes away from under us. */
static int take_locks(struct daemon *d, struct err *e)
{
    const char *const folders[] = {d->settings.run_dir, d->settings.state_dir};
    for (size_t i = 0; i < ELEMENTS(folders); i++) {
        _cleanup_free_ char *path = xasprintf("%s/pvesrd.lock", folders[i]);
        if (d->locks[i] || (d->locks[i] = lock_take(path, true, 0, false, e)))
            continue;
        if (e->kind == ERR_BUSY)
            return err_wrap(e, "another pvesrd schedules for node '%s'", d->settings.node);
        if (i == 0)
            return -1;
        if (is_news(&d->lock_problem, e->text))
            log_line(LOG_WARNING, "%s: nothing keeps another pvesrd out if run-dir is cleaned", e->text);
    }
    return 0;
}

/* What a node must have before anything is scheduled, and may lack for a while. */
static int prepare(struct daemon *d, struct err *e)
{
    if (d->prepared)
        return 0;
    if (take_locks(d, e) < 0 || fs_mkdir_p(d->settings.state_dir, MODE_FOLDER, e) < 0)
        return -1;
    d->watched = seen_begin(d->settings.state_dir, d->began);
    d->prepared = true;
    return 0;
}

static int reload(struct daemon *d, int64_t now, struct err *e)
{
    struct queue_events events = {is_own, on_run_ended, d};
    d->pause_is_ours = true;
    int r = prepare(d, e);
    if (r < 0)
        return -1;
    d->pause_is_ours = false;
    if (!d->jobs_changed)
        tell_load(d); /* on pmxcfs nothing tells when it changes */
    else if ((r = reload_jobs(d, now, e)) < 0)
        return -1;
    if (r > 0) {
        refresh_soon(d, 1);
        return 0;
    }
    if (!d->states_changed)
        return 0;
    d->states_changed = false; /* first, so that following a run may ask for another look */
    if (load_states(&d->queue, &d->settings, now, &events, e) < 0) {
        d->states_changed = d->pause_is_ours = true;
        return -1;
    }
    report_adopted(d);
    tell_look(d, now);
    runs_count_lost(&d->runs); /* its change of the file asks for another look */
    if (!runs_follow_foreign(&d->runs)) {
        d->states_changed = true;
        refresh_soon(d, 1);
    }
    return 0;
}

/* Before anything runs, and before a guest is started on this node's replicas (systemd/pvesrd.service.in). */
static void settle(const struct daemon *d)
{
    struct err problem = {0};
    _cleanup_buf_ struct buf said = BUF_INIT;
    _cleanup_strv_ struct strv lines = STRV_INIT;
    int r = worker_settle(d->program, d->config, &said, &problem);
    strv_split(&lines, buf_str(&said), "\n");
    for (size_t i = 0; i < lines.n; i++)
        log_line(LOG_NOTICE, "%s", lines.v[i]);
    if (r < 0)
        log_line(
            LOG_ERR,
            "replicas that a crash left half replaced are not put right ('pvesr settle' tries it again): %s",
            problem.text);
}

static void refresh(struct daemon *d)
{
    struct err e = {0};
    double begin = clock_mono();
    tzset();
    if (reload(d, clock_epoch(), &e) < 0) {
        tell_problem(d, e.text);
        refresh_soon(d, RETRY_SECONDS);
    } else
        tell_problem(d, NULL);
    d->refresh_cost = clock_mono() - begin;
    schedule(d);
}

static int on_refresh(sd_event_source *s, uint64_t usec, void *arg)
{
    struct daemon *d = arg;
    if (d->runs.stop == STOP_NOT)
        refresh(d);
    return 0;
}

static void on_changed(bool jobs, bool states, void *arg)
{
    struct daemon *d = arg;
    d->jobs_changed |= jobs;
    d->states_changed |= states;
    refresh_soon(d, 0);
    events_changed(d->api.events, jobs);
}

static void on_process_ended(bool own, void *arg)
{
    struct daemon *d = arg;
    d->jobs_changed = d->states_changed = true; /* a removal run takes its job away */
    refresh_soon(d, 0);
    if (own)
        schedule(d);
}

/* Where the clock was put back. */
static void forget_what_is_to_come(struct daemon *d, int64_t now)
{
    d->began = d->began < now ? d->began : now;
    d->watched = d->watched < now ? d->watched : now;
    d->paused_at = d->paused_at < now ? d->paused_at : now;
    d->pause_told = d->pause_told < now ? d->pause_told : 0;
}

static int on_wake(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
    struct daemon *d = arg;
    uint64_t times;
    ssize_t n = read(fd, &times, sizeof times);
    bool clock_set = n < 0 && errno == ECANCELED;
    if (clock_set) {
        log_line(LOG_NOTICE, "the clock was set");
        forget_what_is_to_come(d, clock_epoch());
    }
    if (d->runs.stop == STOP_NOT && (clock_set || clock_mono() - d->jobs_loaded > REREAD_SECONDS - 5)) {
        d->jobs_changed = d->states_changed = true;
        refresh(d);
    } else {
        schedule(d);
    }
    return 0;
}

/* ---- signals ---- */

static int on_stop_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
    runs_stop(&((struct daemon *)arg)->runs); /* once more: one stage further */
    return 0;
}

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static void swap(char **a, char **b)
{
    char *was = *a;
    *a = *b;
    *b = was;
}

static void tell_settings(const struct settings *s)
{
    for (size_t i = 0; i < s->warnings.n; i++)
        log_line(LOG_WARNING, "%s", s->warnings.v[i]);
}

/* What can be changed without harm to runs under way is; the rest waits for a restart. */
static int on_hangup(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
    struct daemon *d = arg;
    struct settings now = {0};
    struct err e = {0};
    if (d->runs.stop != STOP_NOT)
        return 0;
    sd_notify(0, "RELOADING=1");
    if (settings_load(d->config, &now, &e) < 0) {
        log_line(LOG_ERR, "the settings stay as they were: %s", e.text);
    } else {
        tell_settings(&now);
        d->queue.max_workers = now.max_workers;
        d->queue.max_per_target = now.max_per_target;
        swap(&d->settings.sendmail, &now.sendmail);
        swap(&d->settings.mail_to, &now.mail_to);
        if (!same(now.node, d->settings.node) || !same(now.cluster, d->settings.cluster) ||
            !same(now.state_dir, d->settings.state_dir) || !same(now.run_dir, d->settings.run_dir))
            log_line(LOG_WARNING, "a change of 'node', 'cluster', 'state-dir' or 'run-dir' needs a restart: "
                                  "systemctl restart pvesrd");
        settings_release(&now);
    }
    d->jobs_changed = d->states_changed = true;
    refresh(d);
    sd_notify(0, "READY=1");
    return 0;
}

/* ---- life ---- */

static int add_signals(struct daemon *d)
{
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGHUP);
    sigaddset(&blocked, SIGCHLD); /* sd-event follows children through it */
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    int r = sd_event_add_signal(d->event, NULL, SIGTERM, on_stop_signal, d);
    if (r >= 0)
        r = sd_event_add_signal(d->event, NULL, SIGINT, on_stop_signal, d);
    if (r >= 0)
        r = sd_event_add_signal(d->event, NULL, SIGHUP, on_hangup, d);
    return r;
}

static int add_sources(struct daemon *d, struct err *e)
{
    int r = sd_event_new(&d->event);
    if (r >= 0)
        r = add_signals(d);
    if (r >= 0)
        r = sd_event_add_time_relative(d->event, &d->refresh_timer, CLOCK_MONOTONIC, 0, 0, on_refresh, d);
    if (r >= 0)
        r = d->wake_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (d->wake_fd < 0)
        r = -errno;
    if (r >= 0)
        r = sd_event_add_io(d->event, NULL, d->wake_fd, EPOLLIN, on_wake, d);
    if (r >= 0)
        r = sd_event_set_watchdog(d->event, true);
    return r < 0 ? err_set(e, ERR_SYSTEM, -r, "cannot set up the event loop") : 0;
}

int daemon_init(struct daemon *d, const char *config, double stop_timeout, struct err *e)
{
    *d = (struct daemon){.config = config, .wake_fd = -1, .watch = WATCH_INIT};
    if (settings_load(config, &d->settings, e) < 0)
        return -1;
    tell_settings(&d->settings);
    d->began = d->watched = clock_epoch();
    if (prepare(d, e) < 0 && e->kind == ERR_BUSY)
        return -1;
    d->program = worker_program();
    queue_init(&d->queue, d->settings.max_workers, d->settings.max_per_target);
    if (add_sources(d, e) < 0)
        return -1;
    d->runs = (struct runs){.event = d->event,
                            .queue = &d->queue,
                            .program = d->program,
                            .config = config,
                            .node = d->settings.node,
                            .state_dir = d->settings.state_dir,
                            .patience = VERIFY_PATIENCE < d->settings.peer_limit ? VERIFY_PATIENCE
                                                                                 : d->settings.peer_limit,
                            .stop_timeout = stop_timeout,
                            .ended = on_process_ended,
                            .untraced = on_untraced,
                            .arg = d};
    d->children = (struct children){.event = d->event};
    d->courier = (struct courier){.event = d->event,
                                  .children = &d->children,
                                  .settings = &d->settings,
                                  .config = config,
                                  .retried = d->began};
    d->jobs_changed = d->states_changed = true;
    return watch_init(&d->watch, d->event, on_changed, d, e);
}

/* ---- the API ---- */

static void on_keys_made(const struct child_result *r, void *arg)
{
    if (r->status != 0)
        log_line(LOG_WARNING, "the keys of the API's tickets are not renewed: %s", buf_str(&r->err));
}

/* In a process of its own: it takes a while, and waits for a lock. */
static int on_keys_timer(sd_event_source *s, uint64_t usec, void *arg)
{
    struct daemon *d = arg;
    struct err e = {0};
    _cleanup_strv_ struct strv argv = STRV_INIT;
    strv_adds(&argv, "/proc/self/exe", "--make-keys", NULL);
    if (d->config)
        strv_addf(&argv, "--config=%s", d->config);
    if (!child_start(&d->children, &argv, NULL, 0, KEYS_SECONDS, on_keys_made, NULL, &e))
        log_line(LOG_WARNING, "the keys of the API's tickets are not renewed: %s", e.text);
    sd_event_source_set_time_relative(s, KEYS_USEC);
    return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* What may fail at first: the tree is not mounted yet, an address not there. */
static bool serve_api(struct daemon *d)
{
    struct err e = {0};
    if (!d->tree)
        err_set(&e, ERR_SYSTEM, 0, "the configuration tree, 'cluster' in pvesr.conf, is not there yet");
    else
        d->server = server_start(&d->api, &e);
    if (!d->server && is_news(&d->api_problem, e.text))
        log_line(LOG_ERR, "the API is not served: %s", e.text);
    return d->server;
}

static int on_api_timer(sd_event_source *s, uint64_t usec, void *arg)
{
    if (serve_api(arg))
        return 0;
    sd_event_source_set_time_relative(s, API_RETRY_USEC);
    return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* Replication goes on without it. What it holds in memory, keys and passwords, is not for core files. */
static void start_api(struct daemon *d)
{
    d->api = (struct api){.event = d->event,
                          .children = &d->children,
                          .settings = &d->settings,
                          .program = d->program,
                          .config = d->config,
                          .add_metrics = daemon_add_metrics,
                          .metrics_arg = d,
                          .log = log_line};
    if (!d->settings.api)
        return;
    prctl(PR_SET_DUMPABLE, 0);
    sd_event_add_time_relative(d->event, &d->keys_timer, CLOCK_MONOTONIC, 0, 0, on_keys_timer, d);
    if (!serve_api(d))
        sd_event_add_time_relative(d->event, &d->api_timer, CLOCK_MONOTONIC, API_RETRY_USEC, 0, on_api_timer,
                                   d);
}

int daemon_errand(const char *config, enum errand errand, const char *arg, struct err *e)
{
    struct settings s = {0};
    prctl(PR_SET_DUMPABLE, 0);
    if (settings_load(config, &s, e) < 0)
        return -1;
    struct tree *t = tree_open(s.cluster, e);
    int r = !t                             ? -1
            : errand == ERRAND_CHECK_LOGIN ? who_check_login(t, clock_epoch(), e)
            : errand == ERRAND_SEND        ? courier_errand(&s, t, e)
            : errand == ERRAND_TEST        ? courier_test(&s, t, arg, e)
            : errand == ERRAND_OPTIONS     ? options_write(t, arg, e)
                                           : who_make_keys(t, &s, clock_epoch(), e);
    tree_free(t);
    settings_release(&s);
    return r;
}

/* Of runs that ended while we waited for them; whoever ends a run tells no failure of it. */
static void tell_the_last(struct daemon *d)
{
    struct queue_events events = {is_own, on_run_ended, d};
    struct err e = {0};
    if (d->runs.stop == STOP_WAITING && load_states(&d->queue, &d->settings, clock_epoch(), &events, &e) < 0)
        log_line(LOG_WARNING, "how the last runs ended is not known: %s", e.text);
}

int daemon_run(struct daemon *d, struct err *e)
{
    settle(d);
    refresh(d);
    spool_sweep(d->settings.state_dir);
    courier_look(&d->courier);
    start_api(d);
    sd_notify(0, "READY=1");
    int r = sd_event_loop(d->event);
    tell_the_last(d);
    if (d->prepared)
        seen_end(d->settings.state_dir);
    return r < 0 ? err_set(e, ERR_SYSTEM, -r, "the event loop failed") : 0;
}

void daemon_release(struct daemon *d)
{
    tell_release(d);
    report_release(d);
    courier_release(&d->courier);
    server_free(d->server);
    api_release(&d->api);
    children_release(&d->children);
    sd_event_source_disable_unref(d->keys_timer);
    sd_event_source_disable_unref(d->api_timer);
    free(d->api_problem);
    runs_release(&d->runs);
    watch_release(&d->watch);
    sd_event_source_unref(d->refresh_timer);
    if (d->wake_fd >= 0)
        close(d->wake_fd);
    sd_event_unref(d->event);
    queue_release(&d->queue);
    purge_release(&d->purge);
    tree_free(d->tree);
    for (size_t i = 0; i < ELEMENTS(d->locks); i++)
        lock_free(d->locks[i]);
    settings_release(&d->settings);
    free(d->program);
    free(d->lock_problem);
    free(d->problem);
    free(d->warnings);
    free(d->status);
}
