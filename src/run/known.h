/* What a run knew its guest by. An id comes again, and what a destroyed guest left on either node has the
 * names that the new one's get (BEHAVIOUR.md#whose-things).
 *
 * STATE-DIR/pvesr-guests/JOB on both nodes, of the last run that succeeded; text, a line each: `epoch EPOCH`,
 * `former EPOCH`, `guest WHAT:DIGEST`, `disk DIGEST`, `told DIGEST`, `set TEXT`. It outlives the job and its
 * state. It is a hint: nothing goes for what it says, and refused is only a run whose job has lost a setting
 * (run/lost.h). */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "guest/guest.h"
#include "volume/volume.h"

#include <stdbool.h>
#include <stdint.h>

#define KNOWN_SETTINGS_MAX 16

struct known {
    int64_t epoch;        /* when the run began, as in the name of its restore point; 0: nothing is known */
    int64_t former;       /* the job's points up to this one are another guest's; 0: none is */
    struct strv guest;    /* guest_config_identity_ever */
    struct strv disks;    /* of its live volumes on this node: digests of volume_made */
    struct strv told;     /* digests of sentences that need not be said again */
    struct strv settings; /* with which the run worked: "between SOURCE TARGET", then "KEY VALUE" of each that
                             the job had in replication-ext.cfg; empty: an earlier version noted none */
};
void known_release(struct known *k);

/* STATE-DIR/pvesr-guests/JOB; malloc'ed. */
char *known_path(const char *state_dir, const char *job_id);
/* Where there is no file nothing is known, and no more after an error. */
int known_load(const char *path, struct known *ret, struct err *e);
/* Durably. */
int known_store(const char *path, const struct known *k, struct err *e);

/* Adds what the guest and its volumes on this node are known by now; after an error no disks, so that it is
 * no other guest than any. */
int known_look(const struct guest_config *g, struct volume *const volumes[], size_t n, struct known *ret,
               struct err *e);
/* Is `now` another guest? Only where both have what a guest has of its own (a VM its UUID, a container its
 * host name and an address) and disks, and nothing of it is the same: each of them may be replaced. */
bool known_is_other(const struct known *was, const struct known *now);

/* The sentence is said by now: true, if it was not before. */
bool known_tell(const struct known *was, struct known *now, const char *sentence);
