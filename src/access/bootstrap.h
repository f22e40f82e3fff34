/* What a cluster without Proxmox VE lacks before anybody can log in (BEHAVIOUR.md#first-start). On Proxmox VE
 * its own tools make these files: do not call this there. */
#pragma once

#include "access/caller.h"

struct bootstrap_file {
    const char *path; /* in the tree */
    char *text;
};

#define BOOTSTRAP_FILES 5

struct bootstrap {
    struct bootstrap_file files[BOOTSTRAP_FILES];
    size_t n;
};

/* The files to write, in this order, under the tree's lock; n 0: nothing is missing. Nothing that is there is
 * replaced, but an authkey.pub whose private key is gone, or another. ERR_CONFIG: authkey.key is there and no
 * key. */
int bootstrap_plan(const struct access_texts *there, struct bootstrap *ret, struct err *e);
/* Private keys are overwritten. */
void bootstrap_release(struct bootstrap *b);
