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
