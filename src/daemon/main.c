/* pvesrd: runs this node's replication jobs when they are due. */
#include "base/num.h"
#include "base/proc.h"
#include "daemon/daemon.h"

#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

enum { EXIT_USAGE = 255 };

static const char help[] =
    "Usage: pvesrd [OPTION]…\n"
    "Run this node's replication jobs when they are due.\n"
    "\n"
    "  --config FILE          settings, instead of $PVESR_CONFIG or /etc/pvesr/pvesr.conf\n"
    "  --stop-timeout SECONDS how long runs may go on after SIGTERM before they are ended\n"
    "                         (default 60)\n"
    "  --test-notification TARGET\n"
    "                         only send a test to a target of notify.cfg, and say how that went\n"
    "  --help                 this text\n"
    "  --version              the version\n"
    "\n"
    "SIGTERM lets runs end and stops; a second one ends them at once. SIGHUP reads the\n"
    "settings and all jobs anew.\n";

struct options {
    const char *config;
    double stop_timeout;
    enum errand errand;
    const char *arg; /* of the errand */
};

static bool parse_stop_timeout(const char *text, struct options *o)
{
    struct err e = {0};
    int r = num_parse_double("--stop-timeout", text, 0, 86400, &o->stop_timeout, &e);
    if (r < 0)
        fprintf(stderr, "%s\n", e.text);
    return r == 0;
}

/* 0 to go on, 1 when all is done, -1 for a mistake that has been told. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {{"config", required_argument, NULL, 'c'},
                                          {"stop-timeout", required_argument, NULL, 's'},
                                          {"check-login", no_argument, NULL, ERRAND_CHECK_LOGIN},
                                          {"make-keys", no_argument, NULL, ERRAND_MAKE_KEYS},
                                          {"send-notification", no_argument, NULL, ERRAND_SEND},
                                          {"test-notification", required_argument, NULL, ERRAND_TEST},
                                          {"set-options", required_argument, NULL, ERRAND_OPTIONS},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'v'},
                                          {0}};
    int c;
    while ((c = getopt_long(argc, argv, "", known, NULL)) >= 0)
        switch (c) {
        case 'c':
            o->config = optarg;
            break;
        case 's':
            if (!parse_stop_timeout(optarg, o))
                return -1;
            break;
        case ERRAND_CHECK_LOGIN: /* not for people */
        case ERRAND_MAKE_KEYS:
        case ERRAND_SEND:
        case ERRAND_TEST:
        case ERRAND_OPTIONS:
            o->arg = optarg;
            o->errand = (enum errand)c;
            break;
        case 'h':
            fputs(help, stdout);
            return 1;
        case 'v':
            printf("pvesrd %s\n", PVESR_VERSION);
            return 1;
        default:
            return -1;
        }
    if (optind < argc) {
        fprintf(stderr, "pvesrd: unexpected argument '%s'; see pvesrd --help\n", argv[optind]);
        return -1;
    }
    return 0;
}

static int run_errand(const struct options *o)
{
    struct err e = {0};
    int r = daemon_errand(o->config, o->errand, o->arg, &e);
    if (r != 0)
        fprintf(stderr, "%s\n", e.text);
    return r < 0 && e.kind == ERR_BUSY ? EX_TEMPFAIL : r < 0 ? 1 : r;
}

int main(int argc, char **argv)
{
    struct options o = {.stop_timeout = 60};
    struct daemon d;
    struct err e = {0};
    proc_begin();
    int r = parse(argc, argv, &o);
    if (r != 0)
        return r < 0 ? EXIT_USAGE : 0;
    if (o.errand)
        return run_errand(&o);
    r = daemon_init(&d, o.config, o.stop_timeout, &e);
    if (r == 0)
        r = daemon_run(&d, &e);
    daemon_release(&d);
    if (r < 0)
        fprintf(stderr, "pvesrd: %s\n", e.text);
    return r < 0;
}
