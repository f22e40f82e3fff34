/* What the plan's files share with each other and with nobody else. */
#pragma once

#include "run/source/plan.h"

/* May this source snapshot travel: a replication snapshot of the guest, one that its configuration lists, or
 * what makes it a template. */
bool plan_mirrored(const struct plan_input *in, const struct snapshot *s);
/* The newest snapshot of the source that the target has, too, sound or not; and the newest that can be built
 * upon. NULL: there is none. */
const struct snapshot *plan_newest_common(const struct plan_input *in, const struct plan_input_volume *v);
const struct snapshot *plan_find_base(const struct plan_input *in, const struct plan_input_volume *v);

/* Has the source this snapshot of the target's? A bookmark, which it keeps for what the target has, is
 * nothing that could be sent. */
bool plan_has_here(const struct plan_input_volume *v, const struct snapshot *s);
/* Does the target alone hold this state, newer than the base? */
bool plan_only_there(const struct plan_input *in, const struct plan_input_volume *v,
                     const struct snapshot *base_there, const struct snapshot *s);

/* Of snapshots of the source: is what the target has under its id, by what a comparison found (damage.h),
 * wrong? */
bool plan_is_damaged(const struct plan_input *in, const struct plan_input_volume *v,
                     const struct snapshot *s);
bool plan_any_damaged(const struct plan_input *in, const struct plan_input_volume *v);
/* …or changed (SNAPSHOT_CHANGED) where no comparison can tell how? */
bool plan_is_wrong(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s);
bool plan_any_wrong(const struct plan_input *in, const struct plan_input_volume *v);
/* What is damaged is set right by sending the ranges with the first step (it is the base), or by sending all
 * of it again under its name. What is wrong and neither is nobody's base. */
bool plan_is_patched(const struct plan_input *in, const struct plan_input_volume *v,
                     const struct snapshot *s);
bool plan_is_sent_again(const struct plan_input *in, const struct plan_input_volume *v,
                        const struct snapshot *s);
/* A finding is noted at it (snapshot.damaged), here or on the target, and what it is about is not known: the
 * guest came here since, or this node's state was lost. Where nothing can be compared, nothing is sound. */
bool plan_is_marked(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s);
/* A base that may have been written to on the target: only a comparison says whether it can be one. */
bool plan_needs_proof(const struct plan_input *in, const struct plan_input_volume *v,
                      const struct snapshot *base);

/* Warns of what is missing (plan_is_missing) and not sent by this run, of those that have another name
 * there, and of what is there alone (snapshot_lost_here). */
void plan_tell_missing(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret);

/* ---- plan.c ---- */

#define ANEW                                                                                                 \
    ": everything is sent anew, and takes its place when it is complete (until then the target needs room "  \
    "for both)"
#define LOSES                                                                                                \
    "in a way in which OpenZFS loses long symbolic links, extended attributes and contents of small files"

/* The source snapshot that the target's stage is of, if the transfer can go on: upon the base, the live
 * volume (resync) or nothing; data readable. */
const struct snapshot *plan_find_resumable(const struct plan_input *in, const struct plan_input_volume *v,
                                           const struct plan_volume *p, const struct snapshot *base);
void plan_keep_aside(const struct plan_input_volume *v, struct plan_volume *ret, const char *name);
/* Everything is sent to take the place of the replica, which has `there`. */
void plan_make_anew(const struct plan_input *in, const struct plan_input_volume *v,
                    const struct snapshot *there, struct plan_volume *ret, const char *why);

/* ---- plan-none.c ---- */

/* False: the target has the volume but nothing in common with it, and may be in the right. */
bool plan_without_base(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret);
/* This node's snapshot of the last sync; NULL: it is not there, or the volume is new since then. */
const struct snapshot *plan_last_synced(const struct plan_input *in, const struct plan_input_volume *v);
/* Warns of what the last sync left on the target, and is gone. */
void plan_lost(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret);
bool plan_in_asides(const struct asides *a, const char *name);
/* The newest that the target has of another guest of this id (plan_input.former) is kept aside, and said. */
void plan_former(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret);
/* Nothing is in common: what pruning would take is kept aside. */
void plan_unrelated(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret);
/* Was a snapshot of this name made by a first copy of this job that we remember and that was never
 * acknowledged? */
bool plan_unacknowledged(const struct plan_input *in, const char *name);
