#include "wire/link.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/proc.h"
#include "base/text.h"
#include "wire/ssh.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKET_BUFFER (1 << 20)
#define FRAME_SECONDS 60 /* until the caller sets its own */
#define END_SECONDS 10
#define END_FAILED_SECONDS 2
#define LINE_MAX_TAKEN 8192 /* a command with the names of all volumes of a guest */
#define LINE_MAX_KEPT 500

struct link_process {
    struct proc proc;
    int in, out; /* our ends: the agent's stdout and stdin */
    void (*line)(const char *line, void *arg);
    void *line_arg;
    char partial[LINE_MAX_TAKEN];
    size_t partial_len;
    char last[LINE_MAX_KEPT];
};

/* ---- what the far side says on stderr ---- */

static void end_of_line(struct link_process *p)
{
    if (p->partial_len == 0)
        return;
    p->partial[p->partial_len] = 0;
    p->partial_len = 0;
    text_clean(p->partial);
    if (strncmp(p->last, "ERROR: ", 7) != 0) /* how a tool is used may follow, which says nothing */
        snprintf(p->last, sizeof p->last, "%s", p->partial);
    if (p->line)
        p->line(p->partial, p->line_arg);
}

static bool take_stderr(void *arg)
{
    struct link_process *p = arg;
    char piece[4096];
    ssize_t n = read(p->proc.err, piece, sizeof piece);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    for (ssize_t i = 0; i < n; i++) {
        char c = piece[i];
        if (c == '\n' || c == '\r')
            end_of_line(p);
        else if (p->partial_len < sizeof p->partial - 1)
            p->partial[p->partial_len++] = c ? c : '?';
    }
    if (n == 0)
        end_of_line(p);
    return n > 0;
}

/* ---- starting ---- */

/* The words of the agent's command, --config, with everything that is not the administrator's own quoted. */
static void agent_words(const struct link_target *t, struct strv *argv)
{
    strv_split(argv, t->agent, " \t");
    if (!t->config)
        return;
    _cleanup_buf_ struct buf quoted = BUF_INIT;
    if (strcmp(t->address, "local") == 0)
        buf_adds(&quoted, t->config);
    else
        shell_quote(&quoted, t->config);
    strv_adds(argv, "--config", buf_str(&quoted), NULL);
}

static int check_target(const struct link_target *t, struct err *e)
{
    _cleanup_strv_ struct strv words = STRV_INIT;
    strv_split(&words, t->agent, " \t");
    if (words.n == 0 || words.v[0][0] == '-')
        return err_set(e, ERR_CONFIG, 0,
                       "node '%s': '%s' cannot be an agent command: correct it in nodes.cfg", t->node,
                       t->agent);
    return strcmp(t->address, "local") == 0 ? 0 : ssh_check_target(t, e);
}

/* The ssh command up to the remote words; the shared connection is up when this returns 0. */
static int ssh_words(const struct link_target *t, struct strv *argv, struct err *e)
{
    _cleanup_free_ char *control = ssh_control_path(t);
    if (control && ssh_master(t, control, e) < 0)
        return -1;
    ssh_options(t, 10, argv);
    strv_adds(argv, "-o", "ControlMaster=no", "-o", NULL);
    strv_addf(argv, "ControlPath=%s", control ? control : "none");
    ssh_destination(t, argv);
    return 0;
}

/* An agent of the same machine whose program is not installed is this program itself. */
static bool use_self(const struct link_target *t, struct strv *argv, const struct err *e)
{
    if (strcmp(t->address, "local") != 0 || e->code != ENOENT || strcmp(argv->v[0], "pvesr") != 0)
        return false;
    free(argv->v[0]);
    argv->v[0] = xstrdup("/proc/self/exe");
    return true;
}

/* Two socket pairs rather than pipes: measured, they carry large writes two to three times as fast. */
static int stream_pair(int *ours, int *theirs, struct err *e)
{
    int fds[2], size = SOCKET_BUFFER;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return err_sys(e, "cannot make a socket pair");
    for (int i = 0; i < 2; i++)
        if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
            setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    *ours = fds[0];
    *theirs = fds[1];
    return 0;
}

static void process_free(struct link_process *p)
{
    proc_kill(&p->proc);
    cleanup_closep(&p->in);
    cleanup_closep(&p->out);
    free(p);
}

static int start(const struct link_target *t, struct strv *argv, struct link_process *p, struct err *e)
{
    _cleanup_close_ int their_in = -1;
    _cleanup_close_ int their_out = -1;
    if (stream_pair(&p->out, &their_in, e) < 0 || stream_pair(&p->in, &their_out, e) < 0)
        return -1;
    struct proc_streams streams = {.use_in = their_in, .use_out = their_out, .pipe_err = true};
    struct err first = {0};
    if (proc_spawn(argv->v, &streams, &p->proc, &first) == 0)
        return 0;
    if (use_self(t, argv, &first))
        return proc_spawn(argv->v, &streams, &p->proc, e);
    *e = first;
    return -1;
}

int link_open(const struct link_target *t, struct link *ret, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    if (check_target(t, e) < 0)
        return -1;
    if (strcmp(t->address, "local") != 0 && ssh_words(t, &argv, e) < 0)
        return -1;
    agent_words(t, &argv);
    struct link_process *p = xcalloc(1, sizeof *p);
    *p = (struct link_process){
        .proc = PROC_INIT, .in = -1, .out = -1, .line = t->line, .line_arg = t->line_arg};
    if (start(t, &argv, p, e) < 0) {
        process_free(p);
        return -1;
    }
    ret->process = p;
    ret->channel = channel_new(p->in, p->out, FRAME_SECONDS);
    channel_watch(ret->channel, p->proc.err, take_stderr, p);
    return 0;
}

/* ---- ending ---- */

static void read_last_words(struct link_process *p, double seconds)
{
    double deadline = clock_mono() + seconds;
    for (;;) {
        struct pollfd fd = {.fd = p->proc.err, .events = POLLIN};
        double left = deadline - clock_mono();
        if (left <= 0)
            return;
        int n = poll(&fd, 1, (int)(left * 1000) + 1);
        if (n > 0 && !take_stderr(p))
            return;
    }
}

/* The agent may tell, as the "source"'s, what we found ourselves. */
static bool says(const char *text, const char *words)
{
    const char *behind = strstr(words, ": ");
    return strstr(text, behind ? behind + 2 : words);
}

void link_close(struct link *l, struct err *e)
{
    struct link_process *p = l->process;
    if (!p)
        return;
    bool failed = e->kind != ERR_NONE;
    channel_free(l->channel);
    /* The agent sees the end of its input; what it still says is for the log. */
    cleanup_closep(&p->out);
    p->out = -1;
    cleanup_closep(&p->in);
    p->in = -1;
    read_last_words(p, failed ? END_FAILED_SECONDS : END_SECONDS);
    proc_wait(&p->proc, failed ? 0.5 : 2);
    size_t n = strlen(e->text);
    if (e->kind == ERR_NETWORK && p->last[0] && !says(e->text, p->last))
        snprintf(e->text + n, sizeof e->text - n, " (%s)", p->last);
    process_free(p);
    *l = (struct link){0};
}

void link_forget(const struct link_target *t)
{
    struct err ignored;
    _cleanup_free_ char *control = ssh_control_path(t);
    if (control && strcmp(t->address, "local") != 0)
        fs_unlink(control, &ignored);
}

/* ---- single commands ---- */

static void command_words(const struct link_target *t, bool local, char *const command[], struct strv *argv)
{
    _cleanup_strv_ struct strv agent = STRV_INIT;
    strv_split(&agent, t->agent, " \t");
    for (size_t i = 0; command[i]; i++) {
        _cleanup_buf_ struct buf quoted = BUF_INIT;
        const char *word = i == 0 && strcmp(command[0], "pvesr") == 0 ? agent.v[0] : command[i];
        if (!local)
            shell_quote(&quoted, word);
        strv_add(argv, local ? word : buf_str(&quoted));
    }
    if (!t->config)
        return;
    _cleanup_buf_ struct buf quoted = BUF_INIT;
    shell_quote(&quoted, t->config);
    strv_adds(argv, "--config", local ? t->config : buf_str(&quoted), NULL);
}

int link_command(const struct link_target *t, char *const argv[], struct err *e)
{
    _cleanup_strv_ struct strv words = STRV_INIT;
    bool local = strcmp(t->address, "local") == 0;
    if (check_target(t, e) < 0)
        return -1;
    if (!local && ssh_words(t, &words, e) < 0)
        return -1;
    command_words(t, local, argv, &words);
    struct err problem = {0};
    int r = proc_check(words.v, NULL, NULL, &problem);
    if (r < 0 && use_self(t, &words, &problem))
        r = proc_check(words.v, NULL, NULL, &problem);
    if (r == 0)
        return 0;
    *e = problem;
    return err_wrap(e, "node '%s': %s %s", t->node, argv[0], argv[1] ? argv[1] : "");
}
