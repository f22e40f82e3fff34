/* What is to be sent, one file each: STATE-DIR/pvesr-notify/TIME-N.json with target, event and what became of
 * it so far (BEHAVIOUR.md#notifications). It goes when it was sent, so that a server that is away loses
 * none. */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "notify/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPOOL_MAX 1000 /* files; then the oldest makes room */
#define SPOOL_KEEP_SECONDS (7 * 86400)
#define SPOOL_NAME_MAX 40

struct spooled {
    char name[SPOOL_NAME_MAX];
    char *target, *title;
    int64_t made, next; /* epoch; not to be tried before `next` */
    unsigned tries;
    bool refused; /* the last try: its target says that it never takes it */
    bool partly;  /* some recipients have it */
    char *error;  /* of the last try, or NULL */
};

struct spool {
    struct spooled *v; /* oldest first */
    size_t n;
};

/* Files that cannot be understood are left out. A folder that is not there is empty. */
int spool_load(const char *state_dir, struct spool *ret, struct err *e);
void spool_release(struct spool *s);

/* *lost (malloc'ed, or NULL): what had to go for it, a sentence. An event above EVENT_MAX is not taken. */
int spool_add(const char *state_dir, const char *target, const json_t *event, int64_t now, char **lost,
              struct err *e);
/* The whole of it: "target", "event". New; NULL: it is gone, or damaged. */
json_t *spool_read(const char *state_dir, const char *name, struct err *e);
/* Is it there? */
bool spool_has(const char *state_dir, const char *name);
/* It was sent, or is given up. */
int spool_remove(const char *state_dir, const char *name, struct err *e);
/* It could not be sent at `now`. refused: the target says that it never takes it. had: recipients that have
 * it all the same, and are not sent it again (spool_had); NULL: as before. */
int spool_failed(const char *state_dir, const char *name, const char *error, bool refused,
                 const struct strv *had, int64_t now, struct err *e);
/* Of what was read. */
void spool_had(const json_t *o, struct strv *ret);

/* Remove what writers that were killed left. */
void spool_sweep(const char *state_dir);

/* Seconds from a try that failed to the next one: half a minute, then twice as long, up to half an hour. */
int64_t spool_retry_delay(unsigned tries);
