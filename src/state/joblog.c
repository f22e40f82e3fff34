#include "state/joblog.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/modes.h"
#include "base/refusal.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { TEXT_CAP = 256 << 10, TEXT_HEAD = 64 << 10, TEXT_TAIL = 128 << 10 };

struct joblog {
    int fd;
    char job[24];
    char *path;
    bool to_stdout;
    struct buf text;
    char *failure;
};

static int check_id(const char *job_id, struct err *e)
{
    size_t n = strspn(job_id, "0123456789-");
    if (!n || job_id[n] || n >= sizeof((struct joblog *)0)->job)
        return err_set(e, ERR_USAGE, 0, "'%s' is not a job id", job_id);
    return 0;
}

/* Truncated only once it is known to be a plain file. */
static int open_log(const char *path, struct err *e)
{
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    _cleanup_close_ int fd = open(path, flags, MODE_LOG);
    if (fd < 0 && (errno == ELOOP || errno == EISDIR || errno == ENXIO))
        return err_set(e, ERR_DATA, 0, "the job log '%s' is a symlink or no regular file; remove it", path);
    if (fd < 0) {
        err_sys(e, "cannot open the job log '%s'", path);
        refusal_explain(e, path);
        return -1;
    }
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot open the job log '%s'", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_DATA, 0, "the job log '%s' is no regular file; remove it", path);
    fs_restrict(fd, MODE_LOG);
    if (ftruncate(fd, 0) < 0)
        return err_sys(e, "cannot truncate the job log '%s'", path);
    return take_fd(&fd);
}

struct joblog *joblog_open(const char *log_dir, const char *job_id, bool also_to_stdout, struct err *e)
{
    if (check_id(job_id, e) < 0)
        return NULL;
    struct joblog *l = xcalloc(1, sizeof *l);
    struct err problem = {0};
    l->path = xasprintf("%s/%s", log_dir, job_id);
    l->fd = fs_mkdir_p(log_dir, MODE_FOLDER, &problem) < 0 ? -1 : open_log(l->path, &problem);
    if (l->fd < 0)
        l->failure = xstrdup(problem.text);
    l->to_stdout = also_to_stdout;
    snprintf(l->job, sizeof l->job, "%s", job_id);
    return l;
}

/* Leave lines out between the first TEXT_HEAD and the last TEXT_TAIL bytes. */
static void shorten(struct buf *text)
{
    static const char mark[] = "[lines left out]\n";
    char *from = memchr(text->data + TEXT_HEAD, '\n', text->len - TEXT_HEAD);
    char *to = memchr(text->data + text->len - TEXT_TAIL, '\n', TEXT_TAIL);
    if (!from || !to)
        return;
    from++;
    to++;
    size_t rest = (size_t)(text->data + text->len - to);
    memcpy(from, mark, sizeof mark - 1);
    from += sizeof mark - 1;
    memmove(from, to, rest + 1);
    text->len = (size_t)(from - text->data) + rest;
}

static void add_line(struct joblog *l, const char *stamp, const char *message, size_t n)
{
    _cleanup_buf_ struct buf line = BUF_INIT;
    buf_addf(&line, "%s %s: ", stamp, l->job);
    size_t prefix = line.len;
    buf_add(&line, message, n);
    text_clean(line.data + prefix);
    line.len = prefix + strlen(line.data + prefix);
    buf_addc(&line, '\n');
    struct err e;
    if (l->fd >= 0 && fs_write_all(l->fd, line.data, line.len, l->path, &e) < 0 && !l->failure)
        l->failure = xstrdup(e.text);
    buf_add(&l->text, line.data, line.len);
    if (l->text.len > TEXT_CAP)
        shorten(&l->text);
    if (l->to_stdout)
        fwrite(line.data + prefix, 1, line.len - prefix, stdout);
}

void joblog_add(struct joblog *l, const char *fmt, ...)
{
    if (!l)
        return;
    _cleanup_free_ char *message = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&message, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort(); /* out of memory, as everywhere */
    char stamp[32];
    clock_print_log(clock_epoch(), stamp);
    const char *p = message;
    do {
        size_t len = strcspn(p, "\n");
        add_line(l, stamp, p, len);
        p += len + (p[len] == '\n');
    } while (*p);
    if (l->to_stdout)
        fflush(stdout);
}

const char *joblog_text(const struct joblog *l)
{
    return l ? buf_str(&l->text) : "";
}

const char *joblog_failure(const struct joblog *l)
{
    return l ? l->failure : NULL;
}

void joblog_free(struct joblog *l)
{
    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    free(l->path);
    free(l->failure);
    buf_release(&l->text);
    free(l);
}
