/* A guest's disks are one. What a commit is about to show of several volumes is written down before the first
 * of them changes, and forgotten when all of them show it; whoever comes after a commit that was cut brings
 * it to an end, forwards or backwards (docs/ARCHITECTURE.md#a-guests-disks-are-one). Only what begins one
 * needs a quorum: a node that boots has none yet, and a guest that starts there must not find disks of two
 * instants.
 *
 * The caller holds the guest's agent lock, or its guest lock on the node that the guest is on. */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "run/env.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct intent_volume {
    char *volid;
    char id[SNAPSHOT_ID_LEN + 1];   /* the restore point to be shown; its stage is sealed, or it is there */
    char as[SNAPSHOT_NAME_MAX + 1]; /* and its name afterwards; "": as it is */
    char was[SNAPSHOT_ID_LEN + 1];  /* what is shown until then; "" when nothing is, or no restore point */
    char aside[SNAPSHOT_NAME_MAX + 1]; /* the name under which a live volume that was written to is kept, or
                                          another that this very file has already */
    bool keep_live;                    /* keep it, written to or not */
    bool anew;                         /* also what shows `id` is put back, if it was written to */
    /* Restore points that are kept aside from then on, and their names for that: a commit that does not come
     * about leaves them what they are. */
    struct strv points, points_as;
    char *traits; /* that the live volume has afterwards (volume_traits); NULL: those that it had */
};

struct intent {
    uint32_t guest;
    struct intent_volume *v;
    size_t n;
};
void intent_release(struct intent *i);
#define _cleanup_intent_ _cleanup_(intent_release)

/* What the one who carries it out wants to know, and may refuse. NULL: nothing. */
struct intent_watch {
    int (*allowed)(void *arg, struct err *e); /* asked right before each volume is changed */
    /* a live volume that was written to since `since` is kept under v->aside */
    void (*kept)(const struct intent_volume *v, const char *since, void *arg);
    void (*noted)(const char *note, void *arg); /* a trait could not be set, says the sentence */
    void *arg;
};

/* Remember it durably, show what it says, and forget it. volumes[k] is that of i->v[k]; `was` is set here,
 * and traits that nobody told. When a volume cannot show its restore point, those that do already go back to
 * what they showed: -1, and the volumes are of one instant as before. Where that fails, too, the intent
 * stays. */
int intent_carry_out(struct env *env, struct intent *i, struct volume *const volumes[],
                     const struct intent_watch *watch, struct err *e);

/* Bring what was cut to an end. 1: there was nothing. -1: *e says what is left. */
int intent_settle(struct env *env, uint32_t guest, struct err *e);
/* On the node that the guest is on: only while it does not run and nothing was written to its volumes; where
 * they show one instant already, the intent is forgotten. ERR_CONFIG otherwise. */
int intent_settle_own(struct env *env, uint32_t guest, bool running, struct err *e);

/* ---- the record: STATE-DIR/pvesr-commits/VMID.json ---- */

/* 1: there is none. ERR_DATA when it cannot be understood. */
int intent_load(struct env *env, uint32_t guest, struct intent *ret, struct err *e);
int intent_remember(struct env *env, const struct intent *i, struct err *e);
/* Durably. 1: there was none. */
int intent_forget(struct env *env, uint32_t guest, struct err *e);
/* The guests that have one, ascending; malloc'ed. */
int intent_guests(struct env *env, uint32_t **ret, size_t *n, struct err *e);
