#include "state/leftovers.h"

#include "base/fs.h"
#include "base/mem.h"
#include "conf/jobid.h"
#include "state/journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_named(const char *job, void *arg)
{
    struct jobs *jobs = arg;
    for (size_t i = 0; i < jobs->n_unread; i++)
        if (strcmp(jobs->unread[i].id, job) == 0)
            return true;
    return jobs_find(jobs, job) != NULL;
}

/* What is not there is not made. */
static int sweep_journal(const char *state_dir, struct jobs *jobs, int64_t before, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/pvesr-journal.db", state_dir);
    if (!fs_exists(path))
        return 0;
    _cleanup_(journal_freep) struct journal *j = journal_open(state_dir, e);
    return j ? journal_sweep(j, is_named, jobs, before, LEFTOVERS_A_ROUND, e) : -1;
}

static bool is_old_log(int fd, const char *name, struct jobs *jobs, int64_t before)
{
    struct job_id id;
    struct err ignored;
    struct stat s;
    return job_id_parse(name, &id, &ignored) == 0 && !is_named(name, jobs) &&
           fstatat(fd, name, &s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(s.st_mode) && s.st_mtime < before;
}

static void sweep_logs(const char *log_dir, struct jobs *jobs, int64_t before)
{
    unsigned left = LEFTOVERS_A_ROUND;
    DIR *dir = opendir(log_dir);
    for (struct dirent *f; dir && left && (f = readdir(dir));)
        if (is_old_log(dirfd(dir), f->d_name, jobs, before))
            left -= unlinkat(dirfd(dir), f->d_name, 0) == 0;
    if (dir)
        closedir(dir);
}

int leftovers_sweep(const char *state_dir, const char *log_dir, struct jobs *jobs, int64_t before,
                    struct err *e)
{
    if (!jobs->digest[0] || !jobs->n)
        return 0;
    sweep_logs(log_dir, jobs, before);
    return sweep_journal(state_dir, jobs, before, e);
}
