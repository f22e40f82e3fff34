#include "state/mail.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/text.h"
#include "conf/calendar.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define LINE_MAX_BYTES 900 /* a line of a mail has at most 998 */
#define LAST_OF_EACH 3     /* from the failure after this one on, only few are told */

static void add_header(struct buf *b, const char *name, const char *value)
{
    _cleanup_free_ char *text = xstrdup(value);
    text_clean(text);
    buf_addf(b, "%s: %s\n", name, text);
}

/* One sentence, in as many lines as it needs. */
static void add_text(struct buf *b, const char *sentence)
{
    _cleanup_free_ char *text = xstrdup(sentence);
    size_t column = 0;
    text_clean(text);
    for (const char *p = text; *p; p++, column++) {
        bool inside_character = (*p & 0xc0) == 0x80;
        if (column >= LINE_MAX_BYTES && !inside_character) {
            buf_addc(b, '\n');
            column = 0;
        }
        buf_addc(b, *p);
    }
    buf_addc(b, '\n');
}

static void add_time(struct buf *b, const char *what, int64_t epoch, const char *otherwise)
{
    char text[32];
    clock_print_log(epoch, text);
    buf_addf(b, "%-23s%s\n", what, epoch ? text : otherwise);
}

static void add_head(struct buf *b, const char *from, const char *to, const char *subject)
{
    add_header(b, "From", from ? from : "root");
    add_header(b, "To", to);
    add_header(b, "Subject", subject);
    buf_adds(b, "MIME-Version: 1.0\n"
                "Content-Type: text/plain; charset=UTF-8\n"
                "Content-Transfer-Encoding: 8bit\n"
                "Auto-Submitted: auto-generated\n\n");
}

void mail_compose(const struct failure_mail *m, struct buf *ret)
{
    _cleanup_free_ char *subject = xasprintf("Replication Job: '%s' failed", m->job);
    add_head(ret, m->from, m->to, subject);
    buf_addf(ret, "Replication of guest %" PRIu32 " from node '%s' to node '%s' failed.\n\n", m->guest,
             m->node, m->target);
    buf_addf(ret, "%-23s%s\n", "Job:", m->job);
    buf_addf(ret, "%-23s%s\n", "Schedule:", m->schedule ? m->schedule : CALENDAR_DEFAULT);
    add_time(ret, "Last successful sync:", m->last_sync, "never");
    add_time(ret, "Next try:", m->next_try, "when the target is online again");
    buf_addf(ret, "%-23s%" PRId64 "\n", "Failures in a row:", m->fail_count);
    if (m->fail_count == LAST_OF_EACH)
        buf_adds(ret, "\nFurther failures in a row are told less often: the 48th, the 96th, the 192nd and so "
                      "on.\n");
    buf_adds(ret, "\nError:\n");
    add_text(ret, m->error);
}

void mail_compose_overdue(const struct overdue_mail *m, struct buf *ret)
{
    size_t n = m->jobs->n;
    _cleanup_free_ char *subject =
        n ? xasprintf("Replication: %zu %s overdue on node '%s'", n, n == 1 ? "job is" : "jobs are", m->node)
          : xasprintf("Replication: nothing is scheduled on node '%s'", m->node);
    add_head(ret, m->from, m->to, subject);
    if (m->paused) {
        buf_adds(ret, "Nothing is scheduled at the moment:\n");
        add_text(ret, m->paused);
        buf_addc(ret, '\n');
    }
    if (n)
        buf_adds(
            ret,
            "The newest restore point of these jobs is older than it may be. If the node failed now, what "
            "the guests wrote since then would be lost.\n\n");
    for (size_t i = 0; i < n; i++)
        add_text(ret, m->jobs->v[i]);
    buf_adds(ret, n ? "\n" : "");
    buf_adds(ret, "This is told again each day for as long as it lasts. 'pvesr status' has all jobs, "
                  "'pvesr history' what their runs did.\n");
}

void mail_compose_text(const struct text_mail *m, struct buf *ret)
{
    char date[64];
    time_t now = (time_t)clock_epoch();
    struct tm tm;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S %z", localtime_r(&now, &tm));
    _cleanup_free_ char *id = xasprintf("<%s>", m->id);
    add_header(ret, "Date", date);
    add_header(ret, "Message-ID", id);
    add_head(ret, m->from, m->to, m->subject);
    for (const char *line = m->text; *line;) {
        size_t n = strcspn(line, "\n");
        _cleanup_free_ char *one = xstrndup(line, n);
        add_text(ret, one);
        line += n + (line[n] == '\n');
    }
}

static void words(const char *program, struct strv *argv)
{
    strv_adds(argv, program, "-i", "-t", NULL);
}

int mail_send(const char *program, const struct buf *text, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    struct proc_options o = {.input = buf_str(text), .input_len = text->len};
    words(program, &argv);
    return proc_check(argv.v, &o, NULL, e);
}

int mail_start(const char *program, const struct buf *text, struct proc *ret, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_close_ int fd = memfd_create("mail", MFD_CLOEXEC);
    if (fd < 0)
        return err_sys(e, "cannot keep a mail in memory");
    if (fs_pwrite_all(fd, buf_str(text), text->len, 0, "a mail", e) < 0)
        return -1;
    words(program, &argv);
    return proc_spawn(argv.v, &(struct proc_streams){.use_in = fd}, ret, e);
}
