/* The node-local job state file, byte-compatible with Proxmox VE (BEHAVIOUR.md#job-state):
 * STATE-DIR/pve-replication-state.json, one line, {"<vmid>":{"local/<target>":{…}}}.
 *
 * The state is a hint: the storage tells the truth. A file that cannot be understood is ERR_DATA with its
 * path; it is never overwritten by accident (move it away and the next run goes on from what the storages
 * hold). Unknown keys inside a state survive a rewrite, and what a change does not concern is copied byte for
 * byte. Up to 16 MiB are read. An error text is cut at 2 KiB; that and
 * what is kept aside take at most 4 KiB of an entry, damage 8 KiB, and 256 bytes each in a file of more than
 * 8 MiB: 10,000 jobs to a target that says as much as it can leave room for all others.
 */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "conf/job.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct job_state {
    int64_t last_sync; /* epoch of the start of the last successful run, 0: none */
    int64_t last_try;  /* 0: never, or as soon as possible */
    int64_t asked;     /* another value each time that schedule-now asked for a run; not Proxmox VE's */
    int64_t began;     /* epoch of the first run about the guest as it is now, 0: unknown; not Proxmox VE's */
    struct strv guest; /* …and what that is known by (guest_config_identity); not Proxmox VE's */
    int64_t last_iteration;
    int64_t fail_count;
    char *error;          /* NULL: ok */
    double duration;      /* seconds; < 0: unknown */
    struct strv storages; /* storeid_list */
    /* The guest's storages here, as the last run began to read them; not Proxmox VE's. */
    struct strv sources;
    /* Names of snapshots whose full copy was begun and never acknowledged; not Proxmox VE's. */
    struct strv first_copies;
    /* "SNAPSHOT of VOLID": what the target kept aside, as the last run saw it; not Proxmox VE's. */
    struct strv kept_aside;
    /* What the last success left undone, for people, a line each; not Proxmox VE's. */
    struct strv notes;
    /* Verification, not Proxmox VE's: when the last one that found nothing began (0: none); when the next
     * part of a rolling one is to come, and where it goes on ("OFFSET VOLID", NULL: from the beginning) and
     * when that pass began; what was found (run/source/damage.h). */
    int64_t verified, verify_next, verify_began;
    char *verify_at;
    struct strv damaged;
    /* …how it ended, not Proxmox VE's either: a volume whose replica the last one did not find on the target,
     * NULL: all are there, or a run came since; how many parts failed in a row, and why the last did; when
     * those began that none succeeded since (0: nothing says); a volume was left out of the present pass. */
    char *gone, *verify_error;
    int64_t verify_fails, verify_since, verify_left;
    /* Not Proxmox VE's: why the last run was postponed, and how many were in a row. */
    char *postponed;
    int64_t postponements;
    char *last_node;
    char *keep; /* how many restore points the last success left to the target (job.keep); not Proxmox VE's;
                   NULL: one, or unknown */
    char *job;  /* the id of the job whose run wrote it; not Proxmox VE's; NULL: unknown */
    pid_t pid;  /* 0: not running (a dead pid is given as 0 by job_state_load, and as `lost`) */
    pid_t lost; /* the process of a run that is gone and recorded no end, 0: none */
    uint64_t ptime;
    bool exists; /* false: there was no entry, all else is default */
};

void job_state_release(struct job_state *s);
/* The volume of the first entry of `damaged` that is not dealt with; NULL: there is none. Borrowed. */
const char *job_state_differs(const struct job_state *s);

/* A part of a verification failed and could not say so: it is one more in a row, and the next one is due
 * after JOB_VERIFY_RETRY seconds. */
#define JOB_VERIFY_RETRY 3600
void job_state_count_verify(struct job_state *s, const char *why);
/* The same in the file, if the entry is this job's. */
int job_state_unverified(const char *state_dir, uint32_t guest, const char *target, const char *job,
                         const char *why, struct err *e);

/* The state of guest's job to `target` (a node name). A missing file or entry gives the defaults. */
int job_state_load(const char *state_dir, uint32_t guest, const char *target, struct job_state *ret,
                   struct err *e);
/* Read-modify-write of one entry under STATE-DIR/pve-replication-state.lck (10 s). What the file
 * says of a run of this process that was asked for since it began (job_state_ask_during) is kept, and makes
 * the job due at its end. */
int job_state_store(const char *state_dir, uint32_t guest, const char *target, const struct job_state *s,
                    struct err *e);
/* The same, if there is an entry; else nothing is done: the job was removed meanwhile. */
int job_state_renew(const char *state_dir, uint32_t guest, const char *target, const struct job_state *s,
                    struct err *e);
/* Remove the entry, and the guest's key when it is the last; not there is fine. */
int job_state_remove(const char *state_dir, uint32_t guest, const char *target, struct err *e);
/* Replace the guest's whole object with this JSON object (set-state). ERR_USAGE when it is not one. */
int job_state_set_guest(const char *state_dir, uint32_t guest, const char *json, struct err *e);
/* The guest's object as JSON with key local/FROM renamed to local/TO ("{}" when none); malloc'ed
 * (BEHAVIOUR.md#migration). */
int job_state_get_guest(const char *state_dir, uint32_t guest, const char *from, const char *to, char **ret,
                        struct err *e);
/* Of the jobs that were turned round when the jobs were loaded, because their guest came here without a
 * migration: what this node remembers of its own runs is of an earlier ownership, and goes. What another node
 * sent with the guest (set-state) stays. Empties jobs->turned. */
int job_states_forget_turned(const char *state_dir, const char *node, struct jobs *jobs, struct err *e);
/* A run whose process is gone without having recorded its end becomes a failure: `lost` is 0 then. */
void job_state_count_lost(struct job_state *s);
/* Why a run that began then (last_try, 0: unknown) is lost, as far as its state says; malloc'ed. */
char *job_why_lost(int64_t began);
/* A process that was to be a run, and is gone. */
struct job_loss {
    pid_t pid;
    const char *how; /* what became of it; NULL: nothing that would be a failure, only the process goes */
    const char *job; /* its job and node, where it may have ended before it recorded that it began… */
    const char *node;
    int64_t since; /* …which it did not if the last try is older than this; 0: it did */
};
/* The same in the file, where the entry still names this process, or nothing that began so late. */
int job_state_lose(const char *state_dir, uint32_t guest, const char *target, const struct job_loss *loss,
                   struct err *e);
/* A run was postponed before it could begin, and not because another one of the job is under way. */
int job_state_postpone(const char *state_dir, uint32_t guest, const char *target, const char *why,
                       struct err *e);
/* Set last_try to 0 if there is an entry, else create one: the job is due at once (schedule-now), also where
 * it was already and had been put off. What another job to that target left does not count for it. */
int job_state_schedule_now(const char *state_dir, const struct job *job, struct err *e);
/* The same while a run of the job is under way, which needs no lock of the guest: when that ends the job is
 * due at once. *ret: whether one is; else nothing is done. */
int job_state_ask_during(const char *state_dir, const struct job *job, bool *ret, struct err *e);
/* The same of a state in memory; `asked` as it was in the file. */
void job_state_ask(struct job_state *s, int64_t asked);

/* 0, or -1 and why nothing can be recorded there now: it is read-only, full, immutable (or the file in it
 * is), no folder, or refuses a file that root writes there to try it. */
int job_states_recordable(const char *state_dir, struct err *e);

/* All entries at once, for the scheduler and `status`. */
struct job_states; /* the file's text and an index: about 1.2 times its size */
struct job_states *job_states_load(const char *state_dir, struct err *e);
/* Of one guest only: the others are not there. */
struct job_states *job_states_load_guest(const char *state_dir, uint32_t guest, struct err *e);
void job_states_free(struct job_states *s);
/* As it was loaded from; borrowed. */
const char *job_states_dir(const struct job_states *s);
bool job_states_any(const struct job_states *s);
/* The same of the file as it is now. One that cannot be read is none that has nothing. */
bool job_states_had_any(const char *state_dir);
/* *ret is the caller's to release. */
void job_states_get(const struct job_states *s, uint32_t guest, const char *target, struct job_state *ret);
/* Since when the job is known, for job_age_begins: one without a success since it was first seen
 * (state/seen.h), however often the file of the jobs is written; `written`: when it was last. */
int64_t job_states_known(const struct job_states *s, const struct job *job, const struct job_state *state,
                         int64_t written);
/* Changes when the entry does, which is as it is in the file; 0: there is none. Costs no decoding. */
uint64_t job_states_stamp(const struct job_states *s, uint32_t guest, const char *target);
/* Of the job of this id: what a run of another one to the same target left, which was removed since, is
 * nobody's, but for where it had replicas. */
void job_states_get_of(const struct job_states *s, uint32_t guest, const char *target, const char *job,
                       struct job_state *ret);
int job_state_load_of(const char *state_dir, const struct job *job, struct job_state *ret, struct err *e);
/* Jobs that runs of this node have recorded and that `jobs` does not name, of guests that are here, as
 * "'100-0' (guest 100 to node 'pve2')". A removal takes its entry along, and migrations take the guest along:
 * these have lost their section otherwise, but for a removal at once by another node, which nobody can tell
 * from that: so none is missed whose last run was more than ORPHAN_SECONDS ago. Not one whose run is under
 * way, which may be its removal. */
#define ORPHAN_SECONDS (8 * 86400) /* what runs each week is missed, too */
typedef bool guest_here_fn(uint32_t guest, const void *arg);
void job_states_orphans(const struct job_states *s, const struct jobs *jobs, guest_here_fn *here,
                        const void *arg, struct strv *ret);
/* ERR_CONFIG, with the remedy: there are such jobs, and `jobs` names none at all (jobs_may_be_lost). */
int job_states_check_lost(const struct job_states *s, const struct jobs *jobs, guest_here_fn *here,
                          const void *arg, struct err *e);
/* Drop every entry for which keep() says false; writes only when something was dropped (BEHAVIOUR.md#purge).
 * keep() is asked once without the lock and, if anything is to go, once more with it. */
int job_states_purge(const char *state_dir, bool (*keep)(uint32_t guest, const char *target, void *arg),
                     void *arg, struct err *e);
