/* The one table of what commands and the API are given: names, types, ranges, defaults, help. Command line
 * (cli/command.h) and API (api/endpoint.h) check what they get by the same rows.
 *
 * A new parameter is one number here and one row in parameter.c.
 */
#pragma once

#include "base/err.h"
#include "base/strv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a restore point: SNAPSHOT_NAME_MAX (volume/snapshot.h). */
#define POINT_NAME_MAX 63

enum parameter_id {
    P_NONE, /* ends a list in a command's row */
    P_ID,
    P_TARGET,
    P_VMID,
    P_STATE,
    P_POINT,
    P_NEW_VMID,
    P_DIRECTORY,
    P_TAKEOVER,
    P_VOLID,
    P_EXPR,
    P_COMMAND,
    P_COMMENT,
    P_DISABLE,
    P_RATE,
    P_REMOVE_JOB,
    P_SCHEDULE,
    P_SOURCE,
    P_DELETE,
    P_DIGEST,
    P_KEEP,
    P_FORCE,
    P_KEEP_POINTS,
    P_TARGET_STORAGE,
    P_FORCE_PREPARE,
    P_FORCE_FAILOVER,
    P_DRY_RUN,
    P_AS_IS,
    P_REPAIR,
    P_FREE,
    P_REPAIR_REPLICA,
    P_JOBS,
    P_ALL_JOBS,
    P_PART,
    P_SCRUB_DAYS,
    P_MAX_AGE,
    P_GUEST,
    P_VERBOSE,
    P_MAIL,
    P_RESYNC,
    P_SCAN,
    P_LAST_SYNC,
    P_PARENT_SNAPNAME,
    P_LIMIT,
    P_FOLLOW,
    P_WATCH,
    P_AFTER,
    P_ITERATIONS,
    P_PEER,
    P_RUNTIME,
    P_ROOT,
    P_OUTPUT_FORMAT,
    P_CONFIG, /* every command has it */
    P_NODE,   /* from here on: of the API alone */
    P_TYPE,
    P_LOG_START,
    P_LOG_LIMIT,
    P_STARTTIME,
    P_EVENTS,
    P_RESOURCE,
    P_USERNAME,
    P_PASSWORD,
    P_REALM,
    P_USERID,
    P_ACL_PATH,
    P_NEW_FORMAT,
    P_RUNS,
    P_LOGS,
    P_REPLICATION,
    P_MIGRATION,
    P_DELETE_OPTIONS,
    P_COUNT
};

enum parameter_type {
    TYPE_TEXT,    /* max: most bytes */
    TYPE_INTEGER, /* min..max */
    TYPE_NUMBER,  /* min..max */
    TYPE_BOOLEAN,
    TYPE_CHOICE, /* one of `choices` */
    TYPE_LIST,   /* items between commas, semicolons or blanks; may be repeated; max: most bytes in all */
};

struct parameter {
    const char *name;
    enum parameter_type type;
    int64_t min, max;
    const char *choices;  /* "full|local" */
    const char *fallback; /* the default as the user would write it, or NULL */
    const char *help;
    /* What the type does not say, for the text or each item of a list; the sentence is only the reason. */
    int (*check)(const char *text, struct err *e);
    bool characters; /* of a text: max counts them, and not bytes */
    bool ours;       /* Proxmox VE does not have it: its abbreviations come second */
};

extern const struct parameter parameters[P_COUNT];

struct value {
    bool given;       /* on the command line; otherwise the rest shows the default, or zero */
    const char *text; /* as written; NULL when neither given nor defaulted */
    int64_t integer;
    double number;
    bool flag;
    struct strv list;
};

/* From v->text. ERR_USAGE "NAME: reason"; of a boolean the whole sentence. v->list is the caller's to
 * release; words that are there already are checked as they are. */
int parameter_parse(const struct parameter *d, struct value *v, struct err *e);
