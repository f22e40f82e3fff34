/* What the files of the doctor share with each other and with nobody else. */
#pragma once

#include "base/lookup.h"
#include "run/received.h"
#include "run/recover/doctor.h"

struct doctor {
    struct env *env;
    struct findings *found;
    bool repair;
    const struct strv *free;
    struct strv freed;  /* of these, what was found */
    struct lookup told; /* problems that are not of one guest */
    /* of the guest that is looked at */
    uint32_t guest;
    bool here;          /* this node owns it */
    bool exists;        /* some node owns it */
    bool jobless;       /* no job replicates it anywhere */
    bool wanted;        /* a job replicates it to this node, or may do so once it has been turned round */
    bool sure;          /* all jobs and guests could be read */
    bool named;         /* `volids` are known */
    struct strv volids; /* what is replicated of it, wherever it is */
    struct received received; /* what this node received of it… */
    bool counted;             /* …which is all */
    bool readable;            /* so is all that its file names, and… */
    struct strv others;       /* …this of it, which takes no part in replication */
    /* of the volume */
    const char *volid;
    bool live;                  /* it is there itself */
    struct snapshots snapshots; /* what there is of it */
    char owner[32];             /* whose replica it is */
    char points_of[24];         /* a job that sent it restore points… */
    int64_t newest;             /* …and the epoch of the newest of them */
};

/* Takes `text` over. */
void doctor_add(struct doctor *d, enum finding_state state, const char *volid, char *text);
/* The state of what was to be removed, which ended with r. */
enum finding_state doctor_removed(struct doctor *d, const char *volid, int r, const struct err *e);
/* Did somebody say by its name that it may go? What is asked for and never found is told in the end. */
bool doctor_is_freed(struct doctor *d, const char *name);
char *doctor_free_command(const struct doctor *d, const char *name); /* malloc'ed */
int doctor_find_place(struct doctor *d, const char *volid, struct volume_place *ret);

/* ---- doctor-replica.c ---- */

/* 1: another node keeps it, and this one sees it, too; that is told, and nothing of it is this node's to look
 * at. */
int doctor_kept_elsewhere(struct doctor *d, struct volume *v, const char *volid, struct err *e);
/* Is it a replica that probably nobody needs? */
void doctor_look_at_replica(struct doctor *d, struct volume *v, const char *volid,
                            const struct volume_info *info);
