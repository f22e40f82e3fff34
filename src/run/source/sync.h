/* The heart: one sync (docs/ARCHITECTURE.md, BEHAVIOUR.md#steps-of-a-run), read from top to bottom: sync.c,
 * then sync-carry.c, which calls sync-prove.c, sync-snapshot.c and sync-prune.c. The outer frame (locks,
 * state, log, journal) is run.c; what is here only needs a struct sync that says what to replicate and where
 * to talk. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "conf/storagemap.h"
#include "run/env.h"
#include "run/known.h"
#include "run/source/peer.h"
#include "run/source/plan.h"
#include "run/source/progress.h"
#include "run/steps.h"
#include "state/joblog.h"
#include "state/jobstate.h"

#include <stdbool.h>
#include <stdint.h>

struct sync_volume {
    struct env_volume local;
    struct volume_info info;
    struct snapshots snapshots; /* before the new one */
    struct replica replica;     /* the target's view */
    struct snapshot new;
    bool same;  /* nothing changed since the plan's base: `new` is that base under the new name */
    bool ahead; /* part of it was made ahead: a temporary may be left */
    bool taken; /* the new snapshot exists, perhaps not kept yet */
    bool begun; /* its transfer was begun: the target may hold a part of it */
};

struct sync {
    struct env *env;
    const struct job *job;
    const struct guest_entry *guest;
    const struct member *target;
    int64_t start;
    const struct strv *siblings; /* see retain_source */
    struct job_state *state;     /* last_sync and storages are read and, on success, changed */
    struct joblog *log;          /* may be NULL */
    struct steps *steps;
    bool terminal;
    bool resync; /* plan_input.resync */
    bool checks; /* look for lost settings before the map of storages is read (run/lost.h) */
    bool locked; /* the guest's locks are held, so a volume may be brought in order */

    struct guest_config *config;
    struct known was, known; /* by what the last run knew the guest, and what it is known by now */
    int64_t former; /* the run that was of another guest of this id, by `was`; 0: it was of this one */
    struct storagemap map;
    struct strv volids;
    struct strv there;           /* as volids: what the target calls them */
    struct sync_volume *volumes; /* as volids */
    size_t n;
    struct strv stale; /* images on the target that this job made and the guest no longer has */
    struct strv held, held_here, held_why; /* those of them that stay (sync_hold): there, here, a sentence */
    struct strv warnings;                  /* sync_warn */
    struct strv notes;                     /* the same for job_state.notes */
    struct peer peer;
    bool connected;
    struct plan plan;
    struct strv compared; /* plan_input.compared */
    char snapshot[SNAPSHOT_NAME_MAX + 1];
    uint64_t delta; /* bytes that had changed */
    bool committed; /* the target has acknowledged */
};

void sync_release(struct sync *s);

/* What the source holds; then what the target holds; then the plan. */
int sync_look(struct sync *s, struct err *e);
int sync_ask(struct sync *s, struct err *e);
int sync_plan(struct sync *s, struct err *e);
/* The rest: snapshot, transfer, commit, record, prune. */
int sync_carry_out(struct sync *s, struct err *e);

/* Parts that the removal shares: read the job's map of storages; open one volume of the guest, unless it is
 * open, and list what it holds; where the target is searched for images that the guest no longer has (where
 * its volumes are and were); connect. */
int sync_read_map(struct sync *s, struct err *e);
int sync_look_volume(struct sync *s, const char *volid, struct sync_volume *v, struct err *e);
int sync_scan_list(struct sync *s, struct strv *scan, struct err *e);
int sync_connect(struct sync *s, struct err *e);
/* peer_open of these volids, with the signs of the guest's own volumes put up meanwhile. */
int sync_open(struct sync *s, const struct strv *volids, const struct strv *scan, struct replica *replicas,
              struct err *e);
/* peer_look in the same way. Where no sign can be put up (the storage is read-only) it looks without. */
int sync_look_there(struct sync *s, struct replica *replicas, struct err *e);

/* Job removal (BEHAVIOUR.md#removal): the replicas on the target (full), then the local snapshots of the
 * job. */
int sync_remove(struct sync *s, struct err *e);
/* The first half: what is here, and of a full removal the replicas there (s->stale); nothing is changed. */
int sync_removal_look(struct sync *s, struct err *e);
/* The job's snapshots of a volume here. */
void sync_removal_choose(const struct sync *s, size_t i, struct snapshots *ret);

/* What a run would do, after sync_plan; what removing the job would. A line each. */
void sync_tell_plan(struct sync *s, struct buf *out);
int sync_tell_removal(struct sync *s, struct buf *out, struct err *e);
