/* The calls a stock Proxmox VE source makes on its target (BEHAVIOUR.md#calls-of-the-stock-tool). */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/strv.h"
#include "run/env.h"

#include <stdbool.h>
#include <stdint.h>

/* prepare-local-job: one line of JSON into out; messages for stderr into notes. volids may be empty with
 * force. */
struct target_prepare {
    const char *job_id;
    const struct strv *volids;
    const struct strv *scan;
    int64_t last_sync;
    const char *parent; /* or NULL */
    bool force;
};
int target_prepare(struct env *env, const struct target_prepare *p, struct buf *out, struct strv *notes,
                   struct err *e);
int target_finalize(struct env *env, const char *job_id, const struct strv *volids, int64_t last_sync,
                    struct strv *notes, struct err *e);
