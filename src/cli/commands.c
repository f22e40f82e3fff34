#include "cli/commands.h"

#include "base/mem.h"
#include "cli/args.h"

#include <stdio.h>
#include <string.h>

#define JOB_OPTIONS                                                                                          \
    P_COMMENT, P_DISABLE, P_KEEP_POINTS, P_MAX_AGE, P_RATE, P_REMOVE_JOB, P_SCHEDULE, P_SCRUB_DAYS,          \
        P_SOURCE, P_TARGET_STORAGE

static int check_delete(const struct args *a, struct err *e)
{
    if (a->value[P_KEEP].flag && a->value[P_FORCE].flag)
        return err_set(e, ERR_USAGE, 0,
                       "keep: conflicts with 'force', which leaves the target as it is anyway");
    return 0;
}

static int check_update(const struct args *a, struct err *e)
{
    static const enum parameter_id settings[] = {JOB_OPTIONS};
    for (size_t i = 0; i < ELEMENTS(settings); i++) {
        const char *name = parameters[settings[i]].name;
        if (args_given(a, settings[i]) && strv_has(&a->value[P_DELETE].list, name))
            return err_set(e, ERR_USAGE, 0, "delete: cannot set and delete '%s' at the same time", name);
    }
    return 0;
}

static int check_status(const struct args *a, struct err *e)
{
    if (a->value[P_WATCH].flag && args_want_json(a))
        return err_set(e, ERR_USAGE, 0, "watch: for people to look at, not as json");
    return 0;
}

static int check_run(const struct args *a, struct err *e)
{
    if (args_given(a, P_ID) && a->value[P_MAIL].flag)
        return err_set(e, ERR_USAGE, 0, "mail: only for a whole pass, not together with 'id'");
    if (a->value[P_RESYNC].flag && !args_given(a, P_ID))
        return err_set(e, ERR_USAGE, 0, "resync: only for one job, together with 'id'");
    return 0;
}

static int check_verify(const struct args *a, struct err *e)
{
    bool jobs = a->value[P_JOBS].list.n > 0;
    if (jobs == a->value[P_ALL_JOBS].flag)
        return err_set(e, ERR_USAGE, 0, jobs ? "all: not together with 'job'" : "job: which one? Or --all");
    return 0;
}

static int check_failover(const struct args *a, struct err *e)
{
    if (a->value[P_AS_IS].flag && args_given(a, P_POINT))
        return err_set(e, ERR_USAGE, 0, "point: not together with 'as-is'");
    return 0;
}

static int check_takeover(const struct args *a, struct err *e)
{
    if (a->value[P_RUNTIME].flag && strcmp(args_text(a, P_TAKEOVER), "off") != 0)
        return err_set(e, ERR_USAGE, 0, "runtime: only together with 'off'");
    return 0;
}

const struct command commands[] = {
    {.name = "list",
     .group = GROUP_JOBS,
     .options = {P_OUTPUT_FORMAT},
     .run = cmd_list,
     .help = "List replication jobs."},
    {.name = "status",
     .group = GROUP_LOOKING,
     .options = {P_GUEST, P_WATCH, P_OUTPUT_FORMAT},
     .check = check_status,
     .run = cmd_status,
     .help = "List the status of the jobs whose guest is on this node."},
    {.name = "read",
     .group = GROUP_JOBS,
     .positionals = {P_ID},
     .run = cmd_read,
     .help = "Print a job's configuration as JSON."},
    {.name = "create-local-job",
     .group = GROUP_JOBS,
     .positionals = {P_ID, P_TARGET},
     .options = {JOB_OPTIONS},
     .run = cmd_create,
     .help = "Create a replication job.",
     .detail = "The guest must exist, the target must be another node of the cluster, and every volume of "
               "the guest must be on a storage that can replicate (or be excluded with replicate=0)."},
    {.name = "update",
     .group = GROUP_JOBS,
     .positionals = {P_ID},
     .options = {JOB_OPTIONS, P_DELETE, P_DIGEST},
     .check = check_update,
     .run = cmd_update,
     .help = "Change a replication job."},
    {.name = "delete",
     .group = GROUP_JOBS,
     .positionals = {P_ID},
     .options = {P_KEEP, P_FORCE},
     .check = check_delete,
     .run = cmd_delete,
     .help = "Mark a replication job for removal.",
     .detail = "The next run removes the job's snapshots and, without --keep, the volumes on the target; "
               "then the job itself. With --force only the job's configuration is removed, at once."},
    {.name = "enable",
     .group = GROUP_JOBS,
     .positionals = {P_ID},
     .run = cmd_enable,
     .help = "Enable a replication job."},
    {.name = "disable",
     .group = GROUP_JOBS,
     .positionals = {P_ID},
     .run = cmd_disable,
     .help = "Disable a replication job. A run that has begun goes on."},
    {.name = "schedule-now",
     .group = GROUP_RUNNING,
     .positionals = {P_ID},
     .run = cmd_schedule_now,
     .help = "Let a job of this node run as soon as possible."},
    {.name = "run",
     .group = GROUP_RUNNING,
     .options = {P_ID, P_VERBOSE, P_MAIL, P_RESYNC},
     .check = check_run,
     .run = cmd_run,
     .help = "Run one job now, or one by one all that are due.",
     .detail = "With --id that job runs whatever its schedule says. Exit status 75: the guest is busy "
               "(migration, rollback, another run), nothing was done; try again later."},
    {.name = "prepare-local-job",
     .group = GROUP_INTERNAL,
     .positionals = {P_ID, P_VOLID},
     .repeats = true,
     .options = {P_SCAN, P_LAST_SYNC, P_PARENT_SNAPNAME, P_FORCE_PREPARE},
     .run = cmd_prepare,
     .help = "Prepare this node as a job's target.",
     .detail = "Called by a Proxmox VE source. Removes stale snapshots and volumes of the job, prints the "
               "remaining snapshots as one line "
               "of JSON."},
    {.name = "finalize-local-job",
     .group = GROUP_INTERNAL,
     .positionals = {P_ID, P_VOLID},
     .repeats = true,
     .options = {P_LAST_SYNC},
     .run = cmd_finalize,
     .help = "Remove old snapshots after a successful run.",
     .detail = "Called by a Proxmox VE source."},
    {.name = "set-state",
     .group = GROUP_INTERNAL,
     .positionals = {P_VMID, P_STATE},
     .run = cmd_set_state,
     .help = "Replace the job states of a guest.",
     .detail = "Called by a migration."},
    {.name = "history",
     .group = GROUP_LOOKING,
     .options = {P_ID, P_LIMIT, P_VERBOSE, P_OUTPUT_FORMAT},
     .run = cmd_history,
     .ours = true,
     .help = "Show past and present runs of this node, newest first.",
     .detail = "With --verbose the steps and the log of each run follow its line."},
    {.name = "at-risk",
     .group = GROUP_LOOKING,
     .options = {P_GUEST, P_OUTPUT_FORMAT},
     .run = cmd_at_risk,
     .ours = true,
     .help = "Say what would be lost if this node died now.",
     .detail = "The guest with most to lose comes first: each of its targets, the age of the newest restore "
               "point there, and how old that may be. State: no job, never (no run has succeeded), OVERDUE, "
               "differs (a verification found it wrong), faulty, disabled, ok; and the volumes that no job "
               "carries."},
    {.name = "log",
     .group = GROUP_LOOKING,
     .positionals = {P_ID},
     .options = {P_FOLLOW},
     .run = cmd_log,
     .ours = true,
     .help = "Print the log of a job's last run on this node.",
     .detail = "With --follow also what comes, of the runs after it, too, until it is interrupted."},
    {.name = "metrics",
     .group = GROUP_LOOKING,
     .run = cmd_metrics,
     .ours = true,
     .help = "Print how this node's jobs are doing, for Prometheus."},
    {.name = "plan",
     .group = GROUP_RUNNING,
     .positionals = {P_ID},
     .run = cmd_plan,
     .ours = true,
     .help = "Say what a run of a job would do, and why.",
     .detail = "Nothing is changed; the target is asked."},
    {.name = "verify",
     .group = GROUP_RUNNING,
     .positionals = {P_JOBS},
     .repeats = true,
     .options = {P_ALL_JOBS, P_POINT, P_REPAIR_REPLICA, P_RATE, P_PART},
     .check = check_verify,
     .run = cmd_verify,
     .ours = true,
     .help = "Compare replicas with what this node has, by digests.",
     .detail =
         "Says what is equal, and which bytes are not. Both nodes read their disks, digests travel. Runs "
         "and whatever else needs the guest come first. Exit status 1: something differs; with --repair a "
         "run sends it anew."},
    {.name = "restore-points",
     .group = GROUP_RESTORING,
     .positionals = {P_VMID},
     .options = {P_OUTPUT_FORMAT},
     .run = cmd_restore_points,
     .ours = true,
     .help = "List the restore points of a guest on this node.",
     .detail =
         "The oldest comes first. State: damaged (it is not what the guest had), changed (somebody wrote to "
         "it), shown (the replica is at this point), aside (kept because "
         "nobody else has it), no-data "
         "(the storage keeps only the live volume)."},
    {.name = "failover",
     .group = GROUP_RESTORING,
     .positionals = {P_VMID},
     .options = {P_DRY_RUN, P_FORCE_FAILOVER, P_AS_IS, P_POINT, P_OUTPUT_FORMAT},
     .check = check_failover,
     .run = cmd_failover,
     .ours = true,
     .help = "Make this node the owner of a guest, on its replicas.",
     .detail =
         "The guest's configuration moves here, and names its volumes as the job's map of storages "
         "says. Where it "
         "was moved by hand already, only the latter. All disks go to the newest restore point that all of "
         "them have, or to --point. The guest is not started; its jobs turn round."},
    {.name = "mount",
     .group = GROUP_RESTORING,
     .positionals = {P_VMID, P_POINT, P_DIRECTORY},
     .run = cmd_mount,
     .ours = true,
     .help = "Show a restore point's volumes in a directory.",
     .detail = "They are read-only. A disk is shown as a file, a container's root as a directory; umount "
               "takes them away. Nothing "
               "keeps the point from being pruned meanwhile: for longer use, clone it."},
    {.name = "clone",
     .group = GROUP_RESTORING,
     .positionals = {P_VMID, P_POINT, P_NEW_VMID},
     .run = cmd_clone,
     .ours = true,
     .help = "Copy a restore point to volumes of a new guest.",
     .detail = "Their volids are printed. The volumes are made on the storages of the originals; a guest "
               "that uses them is yours to "
               "make. The point itself and the replica stay as they are."},
    {.name = "doctor",
     .group = GROUP_REPAIR,
     .options = {P_GUEST, P_REPAIR, P_FREE, P_OUTPUT_FORMAT},
     .run = cmd_doctor,
     .ours = true,
     .help = "End what a crash interrupted, list what is left over.",
     .detail =
         "State: ended (done now), left (left over; removed with --repair), removed, kept (only a person "
         "should remove it; what --free removes says so). No other volume is ever removed."},
    {.name = "settle",
     .group = GROUP_REPAIR,
     .options = {P_GUEST, P_AS_IS},
     .run = cmd_settle,
     .ours = true,
     .help = "End commits of replicas that a crash cut.",
     .detail = "All disks of a guest show the new restore point then, or all the one before. pvesrd does so "
               "when it "
               "starts; runs, failover and doctor do so, too."},
    {.name = "takeover",
     .group = GROUP_RUNNING,
     .positionals = {P_TAKEOVER},
     .options = {P_RUNTIME, P_ROOT},
     .check = check_takeover,
     .run = cmd_takeover,
     .without_env = true,
     .ours = true,
     .help = "Keep Proxmox VE's scheduler from running jobs.",
     .detail = "It is on where the Debian package is installed; what is switched off stays off. A "
               "pvescheduler that runs is restarted, if it must be, to know it. status: says how it is."},
    {.name = "calendar",
     .group = GROUP_LOOKING,
     .positionals = {P_EXPR},
     .options = {P_AFTER, P_ITERATIONS},
     .run = cmd_calendar,
     .without_env = true,
     .ours = true,
     .help = "Print the next events of a schedule.",
     .detail = "One event a line: seconds since 1970, a blank, local time. 'never' when there is none."},
    {.name = "agent",
     .group = GROUP_INTERNAL,
     .options = {P_PEER},
     .run = cmd_agent,
     .ours = true,
     .help = "Be the far side of a run, on stdin and stdout.",
     .detail = "A key of ssh that may do nothing else has it as its forced command, with --peer for the node "
               "whose key it is."},
    {.name = "help",
     .group = GROUP_LOOKING,
     .positionals = {P_COMMAND},
     .repeats = true,
     .options = {P_VERBOSE},
     .run = cmd_help,
     .without_env = true,
     .help = "Explain a command, or list all."},
    {.name = "bashcomplete",
     .positionals = {P_COMMAND},
     .repeats = true,
     .run = cmd_bashcomplete,
     .without_env = true,
     .raw = true,
     .hidden = true,
     .help = "Internal: complete the command line in $COMP_LINE."},
};
const size_t n_commands = ELEMENTS(commands);

/* ---- look-up: an exact name, or else a unique abbreviation ---- */

/* How well a name fits: 0 not, 1 abbreviation of one of ours, 2 abbreviation, 3 exact. */
static int fit(const char *name, bool ours, const char *text, size_t len)
{
    if (len == 0 || strncmp(name, text, len) != 0)
        return 0;
    return !name[len] ? 3 : ours ? 1 : 2;
}

const struct command *command_find(const char *text)
{
    const struct command *best = NULL;
    int best_fit = 0, same = 0;
    for (size_t i = 0; i < n_commands; i++) {
        int f = fit(commands[i].name, commands[i].ours, text, strlen(text));
        if (f == 0 || f < best_fit || (commands[i].hidden && f < 3))
            continue;
        same = f == best_fit ? same + 1 : 1;
        best_fit = f;
        best = &commands[i];
    }
    return same == 1 ? best : NULL;
}

size_t command_positionals(const struct command *c)
{
    size_t n = 0;
    while (n < COMMAND_POSITIONALS && c->positionals[n] != P_NONE)
        n++;
    return n;
}

enum parameter_id command_option_at(const struct command *c, size_t i)
{
    size_t n = 0;
    while (n < COMMAND_OPTIONS && c->options[n] != P_NONE)
        n++;
    return i < n ? c->options[i] : i == n ? P_CONFIG : P_NONE;
}

enum parameter_id command_option(const struct command *c, const char *name, size_t len, bool *ambiguous)
{
    enum parameter_id id, best = P_NONE;
    int best_fit = 0, same = 0;
    *ambiguous = false;
    for (size_t i = 0; i < command_positionals(c);
         i++) { /* "--target" is no short form of --target-storage */
        const char *place = parameters[c->positionals[i]].name;
        if (strlen(place) == len && strncmp(place, name, len) == 0)
            return P_NONE;
    }
    for (size_t i = 0; (id = command_option_at(c, i)) != P_NONE; i++) {
        int f = fit(parameters[id].name, parameters[id].ours, name, len);
        if (f == 0 || f < best_fit)
            continue;
        same = f == best_fit ? same + 1 : 1;
        best_fit = f;
        best = id;
    }
    *ambiguous = same > 1;
    return same == 1 ? best : P_NONE;
}
