/* One job's state, from and to JSON; private to src/state. */
#pragma once

#include "base/jsonspan.h"
#include "state/jobstate.h"

/* p NULL or not an object: the defaults, exists false. A pid that does not run any more is given as 0. */
void state_decode(struct json_span s, struct job_state *ret);
/* job_states_get_of of what was decoded. */
void state_of_job(struct job_state *s, const char *job);
/* The keys of BEHAVIOUR.md#job-state from *s, any other key from `old`. What a peer or a program said is
 * bounded, closer where the file is large already (crowded): of the error the rest is cut off, of what is
 * kept aside the oldest is left out, of what is damaged the ranges become one. */
void state_encode(struct buf *out, struct json_span old, const struct job_state *s, bool crowded);
