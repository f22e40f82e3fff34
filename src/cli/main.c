/* pvesr: words → one command of the table → text on stdout, one sentence on stderr, an exit status. */
#include "base/proc.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/lines.h"
#include "cli/nearest.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int exit_status(const struct err *e)
{
    switch (e->kind) {
    case ERR_USAGE:
        return EXIT_USAGE;
    case ERR_BUSY:
        return EXIT_BUSY;
    default:
        return 1;
    }
}

static int refuse(const char *sentence)
{
    _cleanup_buf_ struct buf usage = BUF_INIT;
    help_usage(&usage);
    put_lines(stderr, 0, sentence);
    fputs(buf_str(&usage), stderr);
    return EXIT_USAGE;
}

static int refuse_command(const char *name)
{
    _cleanup_buf_ struct buf complaint = BUF_INIT;
    nearest_complaint(name, &complaint);
    put_lines(stderr, 0, buf_str(&complaint));
    return EXIT_USAGE;
}

static int refuse_arguments(const struct command *c, struct buf *complaint)
{
    help_usage_line(c, complaint);
    put_lines(stderr, 0, buf_str(complaint));
    return EXIT_USAGE;
}

static int run(const struct args *a, const char *config)
{
    struct err e = {0};
    struct env env;
    int r;
    if (args_given(a, P_CONFIG))
        config = args_text(a, P_CONFIG);
    if (a->command->without_env) {
        r = a->command->run(NULL, a, &e);
    } else {
        r = env_open(&env, config, &e);
        if (r == 0) {
            r = a->command->run(&env, a, &e);
            env_release(&env);
        }
    }
    if (r < 0) {
        fflush(stdout);
        fprintf(stderr, "%s\n", e.text);
        return exit_status(&e);
    }
    return r;
}

static bool reader_is_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&out, 1, 0) > 0 && out.revents & POLLERR;
}

/* A full disk or a closed pipe behind stdout must not look like success. What failed before the end has left
 * no reason. */
static int finish_output(int status)
{
    int code = fflush(stdout) == 0 ? 0 : errno;
    if (!code && !ferror(stdout))
        return status;
    if (code && code != EPIPE)
        fprintf(stderr, "cannot write the output: %s\n", strerror(code));
    else if (!code && !reader_is_gone())
        fprintf(stderr, "cannot write the output: a part of it is missing\n");
    return status ? status : 1;
}

static int run_command(const struct command *c, char **argv, int n, const char *config)
{
    _cleanup_buf_ struct buf complaint = BUF_INIT;
    struct args a;
    for (int i = 0; i < n && !c->raw; i++)
        if (strcmp(argv[i], "--help") == 0) {
            help_command(c, &complaint);
            fputs(buf_str(&complaint), stdout);
            return 0;
        }
    int r = args_parse(c, argv, (size_t)n, &a, &complaint) < 0 ? refuse_arguments(c, &complaint)
                                                               : run(&a, config);
    args_release(&a);
    return r;
}

/* What may stand before the command's name. Returns how many words, or -1 when the program is to end. */
static int take_leading_options(char **argv, int n, const char **config, int *status)
{
    int i = 0;
    for (; i < n && argv[i][0] == '-'; i++) {
        const char *name = argv[i] + 1 + (argv[i][1] == '-');
        *status = 0;
        if (strcmp(name, "version") == 0) {
            puts("pvesr " PVESR_VERSION);
            return -1;
        }
        if (strcmp(name, "help") == 0 || strcmp(name, "h") == 0) {
            _cleanup_buf_ struct buf usage = BUF_INIT;
            help_usage(&usage);
            fputs(buf_str(&usage), stdout);
            return -1;
        }
        if (strncmp(name, "config=", 7) == 0) {
            *config = name + 7;
        } else if (strcmp(name, "config") == 0 && i + 1 < n) {
            *config = argv[++i];
        } else {
            _cleanup_free_ char *sentence = xasprintf(
                strcmp(name, "config") == 0 ? "Option %s requires an argument\n400 unable to parse option"
                                            : "Unknown option: %s\n400 unable to parse option",
                name);
            *status = refuse(sentence);
            return -1;
        }
    }
    return i;
}

static int dispatch(char **argv, int n)
{
    const char *config = NULL;
    int status;
    int first = take_leading_options(argv, n, &config, &status);
    if (first < 0)
        return status;
    if (first == n)
        return refuse("ERROR: no command specified");
    const struct command *c = command_find(argv[first]);
    if (!c)
        return refuse_command(argv[first]);
    return run_command(c, argv + first + 1, n - first - 1, config);
}

int main(int argc, char **argv)
{
    proc_begin();
    if (setenv("PATH", "/sbin:/bin:/usr/sbin:/usr/bin", 1) < 0)
        return 1;
    return finish_output(dispatch(argv + (argc > 0), argc > 0 ? argc - 1 : 0));
}
