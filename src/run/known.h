/* What a run knew its guest by. An id comes again, and what a destroyed guest left on either node has the
 * names that the new one's get (BEHAVIOUR.md#whose-things).
 *
 * STATE-DIR/pvesr-guests/JOB on both nodes, of the last run that succeeded; text, a line each: `epoch EPOCH`,
 * `former EPOCH`, `came EPOCH`, `type TYPE`, `guest WHAT:DIGEST`, `disk DIGEST`, `told DIGEST`, `unseen
 * VOLID`, `set TEXT`. It outlives the job and its state. It is a hint: nothing goes for what it says. A run
 * whose job has lost a setting is refused (run/lost.h), and a failover back to what a node never received
 * wants it to know the disks (run/recover/whereabouts.h). */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "guest/guest.h"
#include "volume/volume.h"

#include <stdbool.h>
#include <stdint.h>

#define KNOWN_SETTINGS_MAX 16

struct known {
    int64_t epoch;  /* when the run began, as in the name of its restore point; 0: nothing is known */
    int64_t former; /* the job's points up to this one are another guest's; 0: none is */
    /* On the guest's node: the newest point that was received there, of any job, also if it is gone: the
     * guest came after it, and has been there since. 0: it was not known to come. */
    int64_t came;
    char type[8];         /* guest_type_name; "": an earlier version did not note it */
    struct strv guest;    /* guest_config_identity_ever */
    struct strv disks;    /* of its live volumes on this node: digests of volume_made */
    struct strv told;     /* digests of sentences that need not be said again */
    struct strv unseen;   /* volids that the configuration named, and that were not there: a failed run notes
                             them, too */
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
/* Is `now` another guest? Not where a disk is the same. Else where its type is another, or where both have
 * what a guest has of its own (a VM its UUID, a container its host name) and disks, and nothing of it is the
 * same: each of them may be replaced. */
bool known_is_other(const struct known *was, const struct known *now);

/* Is the live volume one that the run knew, and nothing says that the guest is another than it was? What is
 * known of one without UUID and addresses is known by its disks alone. A failed look counts as no. */
bool known_has(const struct known *was, const struct guest_config *g, struct volume *v);

/* The sentence is said by now: true, if it was not before. */
bool known_tell(const struct known *was, struct known *now, const char *sentence);
