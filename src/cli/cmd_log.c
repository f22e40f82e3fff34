/* log: what a job's last run on this node said (BEHAVIOUR.md#job-log), and on demand what comes. */
#include "cli/commands.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/modes.h"
#include "cli/lines.h"
#include "cli/load.h"
#include "guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* The log as far as it was shown. */
struct shown {
    const char *path;
    FILE *file;  /* NULL: there is none yet */
    char *first; /* its first line: another one is another run's */
    off_t at;
};

static void shown_release(struct shown *s)
{
    if (s->file)
        fclose(s->file);
    free(s->first);
    *s = (struct shown){.path = s->path};
}

/* 0 opened, 1 there is none, -1. */
static int open_log(struct shown *s, struct err *e)
{
    _cleanup_close_ int fd = open(s->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 1;
    struct stat st;
    bool link = fd < 0 && errno == ELOOP;
    if (!link && (fd < 0 || fstat(fd, &st) < 0))
        return err_sys(e, "cannot open the job log '%s'", s->path);
    if (link || !S_ISREG(st.st_mode))
        return err_set(e, ERR_DATA, 0, "the job log '%s' is a symlink or no regular file; remove it",
                       s->path);
    s->file = fdopen(fd, "re");
    if (!s->file)
        return err_sys(e, "cannot open the job log '%s'", s->path);
    (void)take_fd(&fd);
    return 0;
}

/* A run empties the log, and may be over before we look: then only its first line tells. */
static bool is_another(const struct shown *s)
{
    _cleanup_free_ char *first = NULL;
    size_t room = 0;
    struct stat there, st;
    if (fstat(fileno(s->file), &st) < 0 || st.st_size < s->at)
        return true;
    if (stat(s->path, &there) == 0 && (there.st_ino != st.st_ino || there.st_dev != st.st_dev))
        return true;
    rewind(s->file);
    return s->first && (getline(&first, &room, s->file) < 0 || strcmp(first, s->first) != 0);
}

/* Whole lines only: a line that is being written is shown when it is whole. */
static void put_rest(struct shown *s)
{
    _cleanup_free_ char *line = NULL;
    size_t room = 0;
    fseeko(s->file, s->at, SEEK_SET);
    for (ssize_t n; (n = getline(&line, &room, s->file)) > 0 && line[n - 1] == '\n';) {
        s->at = ftello(s->file);
        if (!s->first)
            s->first = xstrdup(line);
        line[n - 1] = 0;
        put_line(stdout, "%s", line);
    }
    fflush(stdout);
}

static int show(struct shown *s, struct err *e)
{
    if (s->file && is_another(s))
        shown_release(s);
    int r = s->file ? 0 : open_log(s, e);
    if (r == 0)
        put_rest(s);
    return r;
}

/* Until the output is closed, or a signal. */
static int follow(struct shown *s, const char *folder, struct err *e)
{
    _cleanup_close_ int fd = inotify_init1(IN_CLOEXEC);
    if (fs_mkdir_p(folder, MODE_FOLDER, e) < 0)
        return -1;
    if (fd < 0 || inotify_add_watch(fd, folder, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
        return err_sys(e, "cannot watch the folder of the job logs '%s'", folder);
    for (;;) {
        char events[16384];
        if (show(s, e) < 0)
            return -1;
        if (ferror(stdout))
            return 0;
        if (read(fd, events, sizeof events) < 0 && errno != EINTR)
            return err_sys(e, "cannot watch the folder of the job logs '%s'", folder);
    }
}

/* Why there is none. */
static int explain(struct env *env, const char *id, struct err *e)
{
    _cleanup_(jobs_release) struct jobs jobs = {0};
    if (load_jobs(env, &jobs, e) < 0)
        return -1;
    const struct job *job = jobs_find(&jobs, id);
    if (!job)
        return err_set(e, ERR_GONE, 0, "no such replication job '%s', and no log of one here", id);
    const struct guest_entry *guest = env_guest(env, job->guest, e);
    if (!guest)
        return -1;
    if (strcmp(guest->node, env->settings.node) != 0)
        return err_set(e, ERR_GONE, 0,
                       "job '%s' has no log here: its guest is on '%s', call 'pvesr log %s' there", id,
                       guest->node, id);
    return err_set(e, ERR_GONE, 0, "job '%s' has no log: it did not run yet; 'pvesr run --id %s' runs it now",
                   id, id);
}

int cmd_log(struct env *env, const struct args *a, struct err *e)
{
    const char *id = args_text(a, P_ID);
    _cleanup_free_ char *path = xasprintf("%s/%s", env->settings.log_dir, id);
    _cleanup_(shown_release) struct shown s = {.path = path};
    if (a->value[P_FOLLOW].flag)
        return follow(&s, env->settings.log_dir, e);
    int r = show(&s, e);
    return r > 0 ? explain(env, id, e) : r;
}
