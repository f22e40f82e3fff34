/* Commits of this node's replicas that were cut (run/intent.h). */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "run/env.h"

#include <stdbool.h>
#include <stdint.h>

/* End them; guest 0: of all guests. One whose replicas are being worked on is left out: that run does it.
 * as_is: change no disk, forget what was to be shown. Sentences go to `out`. ERR_SYSTEM when something is
 * left, and `out` says what. */
int run_settle(struct env *env, uint32_t guest, bool as_is, struct buf *out, struct err *e);
/* One guest's, by who has its locks and knows its owner. 1: there was none. */
int settle_guest(struct env *env, uint32_t guest, struct err *e);
