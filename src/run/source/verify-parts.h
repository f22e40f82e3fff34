/* What the files of a verification share: comparing (verify.c), what is missing, and recording
 * (verify-record.c). */
#pragma once

#include "run/source/damage.h"
#include "run/source/sync.h"
#include "run/source/verify.h"
#include "wire/rate.h"

/* One comparison that came to its end. */
struct finding {
    char *volid;
    struct snapshot point; /* as the source has it */
    bool live;             /* compared was the live volume, which was written to since */
    struct ranges ranges;  /* that differ; none: it is sound */
};

struct verify {
    struct env *env;
    const struct verify_options *o;
    struct job job;
    struct guest_entry guest;
    struct job_state state; /* as it was when the volumes were looked at */
    struct sync sync;
    struct steps steps;
    struct rate rate;
    double began_mono, looked;
    int64_t began;

    /* where to go on: "" at the beginning */
    char *volid;
    bool live;
    uint64_t at;

    struct finding *found;
    size_t n;
    uint64_t total;      /* bytes of the volumes that can be compared */
    uint64_t done, left; /* of a part: compared, still to be */
    uint64_t sent;       /* over the link */
    bool told;           /* …of guest snapshots that are not there */
    bool complete;       /* it came to the end of the last volume */
    struct err left_out; /* why a volume could not be compared, if one could not */
    bool looked_there;   /* at all replicas… */
    char *gone;          /* …and this volume's is not there, nor any other of these; NULL: all are */
    struct buf text;
};

void verify_say(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Of what was found, how many differ. */
size_t verify_differing(const struct verify *v);
void verify_forget(struct verify *v);
/* Guest snapshots that are not on the target: no part of what is compared, so it changes neither the result
 * nor the exit status. */
void verify_tell_missing(struct verify *v);
/* The replica of this volume is not there, though a run left one. Its restore points may be sound, but
 * whoever starts the guest there finds no disk. */
bool verify_is_gone(const struct verify *v, size_t i);
/* Of all volumes, also those that a part does not come to. */
void verify_look_for_gone(struct verify *v);
/* Write down what was found. 1: a run came in between, so it is about restore points of before. */
int verify_record(struct verify *v, struct err *e);
/* The last finding alone. 1 as above. */
int verify_remember(struct verify *v, struct err *e);
/* Of a failure: it is counted, and a part is tried again later. */
void verify_record_failure(struct verify *v, const struct err *failure);
