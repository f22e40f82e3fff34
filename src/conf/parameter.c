#include "conf/parameter.h"

#include "base/num.h"
#include "conf/calendar.h"
#include "conf/comment.h"
#include "conf/datacenter.h"
#include "conf/job.h"
#include "conf/keep.h"
#include "conf/storagemap.h"

#include <ctype.h>
#include <string.h>

#define LIST_SEPARATORS ",; \t\n"
#define EPOCH_MAX 253402300799 /* the end of the year 9999 */

static int check_job_id(const char *text, struct err *e)
{
    struct job_id id;
    return job_id_parse(text, &id, e);
}

/* [a-zA-Z][more]* with an alphanumeric end when `closed`. */
static bool is_name(const char *text, const char *more, bool closed)
{
    if (!isalpha((unsigned char)*text) || (closed && !isalnum((unsigned char)text[strlen(text) - 1])))
        return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr(more, *text))
            return false;
    return true;
}

static int check_storage_id(const char *text, struct err *e)
{
    if (is_name(text, "._-", true) && text[1])
        return 0;
    return err_set(e, ERR_USAGE, 0, "'%s' is not a storage id: letters, digits, '.', '_', '-'", text);
}

static int check_snapshot_name(const char *text, struct err *e)
{
    if (is_name(text, "_-", false) && text[1])
        return 0;
    return err_set(e, ERR_USAGE, 0, "'%s' is not a snapshot name: a letter, then letters, digits, '_', '-'",
                   text);
}

static int check_root(const char *text, struct err *e)
{
    return *text == '/' ? 0 : err_set(e, ERR_USAGE, 0, "'%s' is not an absolute path", text);
}

static const char *const deletable[] = {"comment",    "disable",  "keep",       "max-age", "rate",
                                        "remove_job", "schedule", "scrub-days", "source",  "target-storage"};

static int check_deletable(const char *text, struct err *e)
{
    for (size_t i = 0; i < ELEMENTS(deletable); i++)
        if (strcmp(text, deletable[i]) == 0)
            return 0;
    if (strcmp(text, "target") == 0)
        return err_set(e, ERR_USAGE, 0,
                       "unable to delete required or fixed option 'target': make a new job instead");
    return err_set(e, ERR_USAGE, 0,
                   "unknown option '%s': comment, disable, keep, max-age, rate, remove_job, schedule, "
                   "scrub-days, source and target-storage can be deleted",
                   text);
}

static int check_transport(const char *text, struct err *e)
{
    struct transport t = {0};
    bool ok = transport_parse(text, &t);
    transport_release(&t);
    return ok ? 0 : err_set(e, ERR_USAGE, 0, "'%s' is not [type=]secure|insecure[,network=CIDR]", text);
}

static int check_option(const char *text, struct err *e)
{
    if (strcmp(text, "replication") == 0 || strcmp(text, "migration") == 0)
        return 0;
    return err_set(e, ERR_USAGE, 0, "unknown option '%s': replication and migration can be deleted here",
                   text);
}

/* In the order in which faults are reported. */
const struct parameter parameters[P_COUNT] = {
    [P_ID] = {"id", TYPE_TEXT, .max = 64, .check = check_job_id,
              .help = "Replication job: guest ID, a dash, job number, as in 100-0."},
    [P_TARGET] = {"target", TYPE_TEXT, .max = 63, .check = node_name_check, .help = "Target node."},
    [P_VMID] = {"vmid", TYPE_INTEGER, .min = 100, .max = 999999999, .help = "Guest ID."},
    [P_POINT] = {"point", TYPE_TEXT, .max = POINT_NAME_MAX, .ours = true,
                 .help = "Name of a restore point, as 'restore-points' shows it."},
    [P_NEW_VMID] = {"newid", TYPE_INTEGER, .min = 100, .max = 999999999, .ours = true,
                    .help = "ID of a guest that does not exist yet."},
    [P_DIRECTORY] = {"directory", TYPE_TEXT, .max = 4096, .ours = true, .help = "An empty directory."},
    [P_TAKEOVER] = {"what", TYPE_CHOICE, .choices = "on|off|status", .ours = true, .help = "What to do."},
    [P_STATE] = {"state", TYPE_TEXT, .max = 1048576,
                 .help = "Job states of the guest as a JSON object, by \"local/TARGET\"."},
    [P_VOLID] = {"volid", TYPE_LIST, .max = 0, .help = "Volumes that the source wants, as STORAGE:NAME."},
    [P_EXPR] = {"expr", TYPE_TEXT, .max = CALENDAR_TEXT_MAX, .check = job_check_schedule,
                .help = "Calendar event, as in '*/15' or 'mon..fri 22:00'."},
    [P_COMMAND] = {"command", TYPE_TEXT, .max = 64, .help = "The command to explain."},
    [P_COMMENT] = {"comment", TYPE_TEXT, .max = COMMENT_MAX, .characters = true, .check = job_check_comment,
                   .help = "Description."},
    [P_DISABLE] = {"disable", TYPE_BOOLEAN, .help = "Keep the job, but do not run it."},
    [P_RATE] = {"rate", TYPE_NUMBER, .min = 1, .max = 1000000000,
                .help = "Rate limit in MB/s (10^6 bytes a second)."},
    [P_REMOVE_JOB] = {"remove_job", TYPE_CHOICE, .choices = "full|local",
                      .help = "Mark the job for removal. The next run removes its snapshots and the job; "
                              "'full' removes the volumes on the target too."},
    [P_SCHEDULE] = {"schedule", TYPE_TEXT, .max = CALENDAR_TEXT_MAX, .fallback = CALENDAR_DEFAULT,
                    .check = job_check_schedule, .help = "When to run: a calendar event."},
    [P_KEEP_POINTS] = {"keep", TYPE_TEXT, .max = KEEP_TEXT_MAX, .check = job_check_keep, .ours = true,
                       .help = "Restore points that the target keeps, as in last=3,hourly=24,daily=7. One, "
                               "when left out."},
    [P_TARGET_STORAGE] = {"target-storage", TYPE_TEXT, .max = STORAGEMAP_TEXT_MAX,
                          .check = job_check_target_storage, .ours = true,
                          .help = "Storages that have another name on the other node, as in fast=slow: "
                                  "volumes on one have their replicas on the other. Leads both ways."},
    [P_SOURCE] = {"source", TYPE_TEXT, .max = 63, .check = node_name_check,
                  .help = "Node that owns the guest; found out when left out."},
    [P_DELETE] = {"delete", TYPE_LIST, .max = 4096, .check = check_deletable,
                  .help = "Settings to remove from the job."},
    [P_DIGEST] =
        {"digest", TYPE_TEXT, .max = 64,
         .help = "Refuse the change unless the files of the jobs still have this digest, as it was read."},
    [P_KEEP] = {"keep", TYPE_BOOLEAN, .fallback = "0", .help = "Keep the volumes on the target."},
    [P_FORCE] = {"force", TYPE_BOOLEAN, .fallback = "0",
                 .help = "Remove the job from the configuration at once and clean up nothing."},
    [P_FORCE_PREPARE] = {"force", TYPE_BOOLEAN, .fallback = "0",
                         .help = "Allow an empty list of volumes: all replicas of the job go."},
    [P_FORCE_FAILOVER] = {"force", TYPE_BOOLEAN, .fallback = "0",
                          .help = "The guest does not run on its node, though that may be alive."},
    [P_DRY_RUN] = {"dry-run", TYPE_BOOLEAN, .fallback = "0", .ours = true,
                   .help = "Say what would be done, change nothing."},
    [P_AS_IS] = {"as-is", TYPE_BOOLEAN, .fallback = "0", .ours = true,
                 .help = "Leave the disks as they are, though they be of different instants."},
    [P_REPAIR] = {"repair", TYPE_BOOLEAN, .fallback = "0", .ours = true,
                  .help = "Remove what is left over, too."},
    [P_FREE] =
        {"free", TYPE_LIST, .max = 4096, .ours = true,
         .help = "Remove this as well: a replica, or VOLID@POINT a restore point, of which doctor says that "
                 "only a person can tell whether anybody needs it."},
    [P_REPAIR_REPLICA] = {"repair", TYPE_BOOLEAN, .fallback = "0", .ours = true,
                          .help = "Let a run send anew what differs."},
    [P_JOBS] = {"job", TYPE_LIST, .max = 0, .check = check_job_id, .ours = true, .help = "Replication jobs."},
    [P_ALL_JOBS] = {"all", TYPE_BOOLEAN, .fallback = "0", .ours = true,
                    .help = "All jobs whose guest is on this node."},
    [P_PART] = {"part", TYPE_BOOLEAN, .fallback = "0", .ours = true,
                .help = "Go on with the rolling verification, as pvesrd does; says only what differs."},
    [P_MAX_AGE] = {"max-age", TYPE_TEXT, .max = 16, .check = job_check_max_age, .ours = true,
                   .help = "How old the newest restore point may be (90s, 15m, 2h, 3d) before the job is "
                           "OVERDUE. Default: three events of its schedule."},
    [P_SCRUB_DAYS] = {"scrub-days", TYPE_INTEGER, .min = 0, .max = 3650, .fallback = SCRUB_DAYS_DEFAULT,
                      .ours = true,
                      .help =
                          "pvesrd verifies the replica once in so many days, a little at a time. 0: never."},
    [P_GUEST] = {"guest", TYPE_INTEGER, .min = 100, .max = 999999999, .help = "Only this guest."},
    [P_VERBOSE] = {"verbose", TYPE_BOOLEAN, .fallback = "0", .help = "Say more."},
    [P_MAIL] = {"mail", TYPE_BOOLEAN, .fallback = "0",
                .help = "Tell of the first failures of a job by mail, and of a few later ones."},
    [P_RESYNC] = {"resync", TYPE_BOOLEAN, .fallback = "0",
                  .help = "Keep aside whatever the target has under the volume's name, and send what differs "
                          "from that."},
    [P_SCAN] = {"scan", TYPE_LIST, .max = 4096, .check = check_storage_id,
                .help = "Storages to look for stale volumes."},
    [P_LAST_SYNC] = {"last_sync", TYPE_INTEGER, .min = 0, .max = EPOCH_MAX, .fallback = "0",
                     .help = "Start of the last successful run, in seconds since 1970. 0: unknown, nothing "
                             "is removed; 1: all snapshots of the job are removed."},
    [P_PARENT_SNAPNAME] = {"parent_snapname", TYPE_TEXT, .max = 40, .check = check_snapshot_name,
                           .help = "Snapshot that the guest's state derives from; it is kept."},
    [P_LIMIT] = {"limit", TYPE_INTEGER, .min = 0, .max = 1000000, .fallback = "50", .ours = true,
                 .help = "Most runs to show; 0: all."},
    [P_FOLLOW] = {"follow", TYPE_BOOLEAN, .fallback = "0", .ours = true, .help = "Go on with what comes."},
    [P_WATCH] = {"watch", TYPE_BOOLEAN, .fallback = "0", .ours = true,
                 .help = "Show it again and again, each two seconds."},
    [P_AFTER] = {"after", TYPE_INTEGER, .min = -EPOCH_MAX, .max = EPOCH_MAX, .ours = true,
                 .help = "Seconds since 1970; events are later than this. Now, when left out."},
    [P_ITERATIONS] = {"iterations", TYPE_INTEGER, .min = 1, .max = 1000, .fallback = "1", .ours = true,
                      .help = "How many events."},
    [P_RUNTIME] = {"runtime", TYPE_BOOLEAN, .fallback = "0", .ours = true,
                   .help = "Only until this system is started anew."},
    [P_PEER] = {"peer", TYPE_TEXT, .max = 63, .check = node_name_check, .ours = true,
                .help = "The only node that may be at the other end."},
    [P_ROOT] = {"root", TYPE_TEXT, .max = 4096, .fallback = "/", .check = check_root, .ours = true,
                .help = "Where the system lies that is meant; only in that of \"/\" services are told."},
    [P_OUTPUT_FORMAT] = {"output-format", TYPE_CHOICE, .choices = "text|json", .fallback = "text",
                         .ours = true, .help = "Format of the output."},
    [P_CONFIG] = {"config", TYPE_TEXT, .max = 4096, .ours = true,
                  .help = "Node configuration to use instead of $PVESR_CONFIG or /etc/pvesr/pvesr.conf."},
    [P_NODE] = {"node", TYPE_TEXT, .max = 63, .check = node_name_check, .help = "Node."},
    [P_TYPE] = {"type", TYPE_CHOICE, .choices = "local", .help = "Kind of job: there is one."},
    [P_LOG_START] = {"start", TYPE_INTEGER, .min = 0, .max = 1000000000, .fallback = "0",
                     .help = "So many lines are left out at the beginning."},
    [P_LOG_LIMIT] = {"limit", TYPE_INTEGER, .min = 0, .max = 1000000000, .fallback = "50",
                     .help = "Most lines; 0: all."},
    [P_STARTTIME] = {"starttime", TYPE_INTEGER, .min = 0, .max = EPOCH_MAX,
                     .help = "Seconds since 1970; events are later than this. Now, when left out."},
    [P_EVENTS] = {"iterations", TYPE_INTEGER, .min = 1, .max = 100, .fallback = "10",
                  .help = "How many events."},
    [P_RESOURCE] = {"type", TYPE_CHOICE, .choices = "vm|storage|node|sdn", .help = "Only such entries."},
    [P_USERNAME] = {"username", TYPE_TEXT, .max = 64, .help = "User, with the realm: USER@REALM."},
    [P_PASSWORD] = {"password", TYPE_TEXT, .max = 4096,
                    .help = "The password, or a ticket that is good still: that renews it."},
    [P_REALM] = {"realm", TYPE_TEXT, .max = 32, .help = "Realm, where the user name has none."},
    [P_USERID] = {"userid", TYPE_TEXT, .max = 192,
                  .help = "Whose permissions: USER@REALM or USER@REALM!TOKEN; who asks, when left out."},
    [P_ACL_PATH] = {"path", TYPE_TEXT, .max = 256, .help = "Only this path, as in /vms/100."},
    [P_NEW_FORMAT] = {"new-format", TYPE_BOOLEAN, .fallback = "0",
                      .help = "Taken for the sake of Proxmox VE's clients; changes nothing."},
    [P_RUNS] = {"limit", TYPE_INTEGER, .min = 1, .max = 1000, .fallback = "50", .help = "Most runs."},
    [P_LOGS] = {"logs", TYPE_BOOLEAN, .fallback = "1",
                .help = "Each run with its log; of many long ones only the newest have it."},
    [P_REPLICATION] =
        {"replication", TYPE_TEXT, .max = 256, .check = check_transport,
         .help = "How replication goes to other nodes: secure or insecure, and by which network, as in "
                 "secure,network=10.0.0.0/24."},
    [P_MIGRATION] = {"migration", TYPE_TEXT, .max = 256, .check = check_transport,
                     .help = "The same of migrations; of replication, too, where that has none of its own."},
    [P_DELETE_OPTIONS] = {"delete", TYPE_LIST, .max = 4096, .check = check_option,
                          .help = "Settings to remove: replication, migration."},
};

/* ---- texts to values ---- */

static size_t count_characters(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += (*text & 0xc0) != 0x80; /* which begins one, of UTF-8 */
    return n;
}

static int check_text(const struct parameter *d, const char *text, struct err *e)
{
    size_t n = d->characters ? count_characters(text) : strlen(text);
    if (d->max && n > (size_t)d->max)
        return err_set(e, ERR_USAGE, 0, "%s: value may only be %lld characters long, not %zu", d->name,
                       (long long)d->max, n);
    if (strpbrk(text, "\r\n"))
        return err_set(e, ERR_USAGE, 0, "%s: value must not contain line breaks", d->name);
    return d->check && d->check(text, e) < 0 ? err_wrap(e, "%s", d->name) : 0;
}

static int check_choice(const struct parameter *d, const char *text, struct err *e)
{
    _cleanup_strv_ struct strv choices = STRV_INIT;
    strv_split(&choices, d->choices, "|");
    if (strv_has(&choices, text))
        return 0;
    _cleanup_free_ char *all = strv_join(&choices, ", ");
    return err_set(e, ERR_USAGE, 0, "%s: value '%s' does not have a value in the enumeration '%s'", d->name,
                   text, all);
}

static int check_list(const struct parameter *d, const char *text, struct value *v, struct err *e)
{
    struct parameter item = *d;
    item.max = 0;
    if (d->max && strlen(text) > (size_t)d->max)
        return check_text(d, text, e);
    if (!v->list.n) /* the words of a repeated positional are there already */
        strv_split(&v->list, text, LIST_SEPARATORS);
    for (size_t i = 0; i < v->list.n; i++)
        if (check_text(&item, v->list.v[i], e) < 0)
            return -1;
    return 0;
}

static int number_range(const struct parameter *d, double value, const char *text, struct err *e)
{
    if (value < (double)d->min)
        return err_set(e, ERR_USAGE, 0, "%s: value must have a minimum value of %lld, not '%s'", d->name,
                       (long long)d->min, text);
    if (value > (double)d->max)
        return err_set(e, ERR_USAGE, 0, "%s: value must have a maximum value of %lld, not '%s'", d->name,
                       (long long)d->max, text);
    return 0;
}

int parameter_parse(const struct parameter *d, struct value *v, struct err *e)
{
    switch (d->type) {
    case TYPE_TEXT:
        return check_text(d, v->text, e);
    case TYPE_LIST:
        return check_list(d, v->text, v, e);
    case TYPE_CHOICE:
        return check_choice(d, v->text, e);
    case TYPE_BOOLEAN:
        return num_parse_bool(d->name, v->text, &v->flag, e);
    case TYPE_INTEGER:
        if (num_parse_i64(d->name, v->text, INT64_MIN, INT64_MAX, &v->integer, e) < 0)
            return -1;
        return number_range(d, (double)v->integer, v->text, e);
    case TYPE_NUMBER:
        if (num_parse_double(d->name, v->text, -1e300, 1e300, &v->number, e) < 0)
            return -1;
        return number_range(d, v->number, v->text, e);
    }
    return 0;
}
