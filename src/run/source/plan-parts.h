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

/* Of snapshots of the source, by what a verification found (damage.h): what the target has under its id is
 * wrong; that is set right by sending the ranges with the first step (it is the base), or by sending all of
 * it again under its name. What is wrong and neither is nobody's base. */
bool plan_is_wrong(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s);
bool plan_is_patched(const struct plan_input *in, const struct plan_input_volume *v,
                     const struct snapshot *s);
bool plan_is_sent_again(const struct plan_input *in, const struct plan_input_volume *v,
                        const struct snapshot *s);
bool plan_any_wrong(const struct plan_input *in, const struct plan_input_volume *v);
