/* How many restore points a target keeps: "last=3,hourly=24,daily=7,weekly=4,monthly=6,yearly=1". */
#pragma once

#include "base/err.h"

#include <stdbool.h>

enum keep_rule { KEEP_LAST, KEEP_HOURLY, KEEP_DAILY, KEEP_WEEKLY, KEEP_MONTHLY, KEEP_YEARLY, KEEP_RULES };

/* In all: the target tells of all it has in each run. */
#define KEEP_MAX 1000
#define KEEP_TEXT_MAX 128

/* How many points each rule keeps; 0: the rule is not there. */
struct keep {
    unsigned n[KEEP_RULES];
};

/* One rule at least, none twice, each 1 or more, KEEP_MAX in all. ERR_USAGE, the sentence is only the reason
 * and names the part that is wrong. */
int keep_parse(const char *text, struct keep *ret, struct err *e);

/* Does a job with these rules keep more than the newest point? text is the job's `keep`, NULL: no. */
bool keep_history(const char *text, struct keep *ret);
