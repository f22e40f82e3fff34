/* Who is told, as the cluster's tree has it now: notify.cfg, or, where there is none, Proxmox VE's
 * notifications.cfg. */
#pragma once

#include "base/buf.h"
#include "cluster/tree.h"
#include "notify/targets.h"

/* What they were read from; of the secrets only whether they are the same. */
struct targets_text {
    const char *file;
    struct buf text, users;
    char secrets[41]; /* digest of their file; "": it cannot be read, which is an error for who sends */
};
int targets_text_read(struct tree *t, struct targets_text *ret, struct err *e);
bool targets_text_equal(const struct targets_text *a, const struct targets_text *b);
void targets_text_release(struct targets_text *x);

/* without secrets */
void targets_of_text(const struct targets_text *x, struct notify_targets *ret);
/* with secrets: for the process that sends */
int targets_load(struct tree *t, struct notify_targets *ret, struct err *e);
