/* The restore points of a guest that this node holds, whoever owns the guest; and copies of them as volumes
 * of a new guest. */
#pragma once

#include "base/err.h"
#include "run/env.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct point_volume {
    char *volid;
    struct snapshot snapshot;
    bool shown; /* the live volume was made from it, and is a replica */
};

/* The snapshots of one name on all volumes of the guest. */
struct point {
    char name[SNAPSHOT_NAME_MAX + 1];
    char job[24]; /* whose replication made it; "" for the guest's own snapshots and what is kept aside */
    int64_t time; /* epoch: when that run began, or when the snapshot was taken */
    bool aside;
    struct point_volume *v; /* sorted by volid */
    size_t n;
};

struct points {
    struct point *v; /* ascending time */
    size_t n;
    struct strv problems; /* what could not be looked at… */
    bool unread;          /* …and was there, or could be all that there is */
    struct strv disks;    /* what replication takes of the guest, by its configuration of now */
};

int points_load(struct env *env, uint32_t guest, struct points *ret, struct err *e);
void points_release(struct points *p);
/* NULL and ERR_GONE when there is none of this name. */
const struct point *points_find(const struct points *p, const char *name, struct err *e);
/* Of a run's restore point, the volumes that the guest has, or that the job's next point has, and it has not:
 * they came later, or it is no longer whole. Storages are not compared: a job may map them. */
void point_lacks(const struct points *all, const struct point *p, struct strv *ret);
/* What is known against it, a sentence each: it was written to since it was made, is damaged, or lacks a
 * volume. */
void point_doubts(const struct points *all, const struct point *p, struct strv *ret);

/* Show the point's volumes below the directory `dir`, each under its image's name, read-only: a disk as a
 * file, a container's root as a directory. They are bind mounts; the names are added to *ret, point_doubts to
 * *doubts. The kernel is given no file system of the guest to interpret. On failure nothing stays mounted. */
int point_mount(struct env *env, uint32_t guest, const char *name, const char *dir, struct strv *ret,
                struct strv *doubts, struct err *e);

/* The name under which a disk is made, until the guest's are all there; where it is left, a clone was cut. No
 * guest has a snapshot of such a name: theirs begin with a letter. */
#define CLONE_SNAPSHOT "__pvesr_clone__"
/* Copy the point's volumes to volumes of guest `to`, each on the storage of the original and with its name
 * but for the id; the volids are added to *ret in the order of the point's volumes. No such guest and no such
 * volume may exist (ERR_USAGE). On failure nothing of it is left; who is killed while it copies leaves stages
 * alone. Runs that work on the guest's replica here wait meanwhile, so that the point is not pruned. *doubts
 * as above. */
int point_clone(struct env *env, uint32_t guest, const char *name, uint32_t to, struct strv *ret,
                struct strv *doubts, struct err *e);
