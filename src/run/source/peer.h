/* The source's end of the conversation with the agent on the target (docs/PROTOCOL.md): one function per
 * call. */
#pragma once

#include "base/err.h"
#include "run/env.h"
#include "run/source/plan.h"
#include "state/joblog.h"
#include "wire/link.h"

struct peer {
    struct link link;
    const char *node;               /* borrowed; prefixes the peer's error texts */
    struct volume_context *volumes; /* of the env: their tick tells the peer that we live */
    struct joblog *log;             /* where what the target removed is told; may be NULL */
    bool marks;                     /* it knows peer_mark */
    bool resyncs;                   /* it knows STAGE_OF_LIVE */
    bool opened;                    /* peer_open succeeded, so `kept` is what the target holds */
    int64_t since;                  /* set before peer_open: epoch, older replicas are of a former job of this
                                     * id; 0: none is */
    struct strv former;             /* those that are, else they were stale */
    struct strv used;               /* who uses a volume there: sentences; a run would be postponed */
    struct strv kept;     /* "SNAPSHOT of VOLID": the newest PEER_KEPT_MAX that are kept aside there of
                           * the opened volumes */
    int64_t noted;        /* of the last run that it knows of the job's: when it began, 0: none is known */
    struct strv settings; /* …and with which settings it worked (known.settings) */
    double limit;         /* seconds that it may be busy with one call, before peer_set_volumes */
    size_t said;          /* bytes of sentences that it sent, at most PEER_SAID_MAX are taken */
};

/* Connect to the member, at its address in the dedicated network if there is one (run/transport.h), and
 * exchange HELLO. */
int peer_connect(struct env *env, const struct member *m, struct peer *ret, struct err *e);
/* The volumes have so many bytes together: a call may take longer than settings.peer_limit by what it takes
 * to read them. */
void peer_set_volumes(struct peer *p, uint64_t bytes);
/* The target's view of these volumes, and which other images of the guest on the `scan` storages carry this
 * job's snapshots or were made by it (`stale`). An error when the target sees one of the `signs` of the
 * guest's own volumes. Takes the target's lock on the guest until the peer is closed. replicas has room for
 * volids->n. */
int peer_open(struct peer *p, const char *job_id, const struct strv *volids, const struct strv *scan,
              const struct strv *signs, struct replica *replicas, struct strv *stale, struct err *e);
/* The same, to look only: nothing there is locked afterwards, and peer_digest_*, peer_mark are all that may
 * be called. ERR_CONFIG when the node has a version that does not know this. */
int peer_look(struct peer *p, const char *job_id, const struct strv *volids, const struct strv *signs,
              struct replica *replicas, struct err *e);
/* Ask for the digests of so many blocks (at most FRAME_DIGESTS_MAX) of the restore point with this id, or
 * ("") of the live volume, or in the middle of a transfer (STAGE_OF_LIVE) of its stage; several may be asked
 * for before the first answer is taken. */
int peer_digest_ask(struct peer *p, const char *volid, const char *id, uint64_t offset, size_t blocks,
                    struct err *e);
struct peer_digests {
    size_t n;      /* fewer than asked for: there the volume ends */
    uint64_t size; /* of the volume */
    bool wanted;   /* somebody else needs the volume: nothing was read, try again later */
    char bad[256]; /* why a block could not be read, "" */
    struct digest v[FRAME_DIGESTS_MAX];
};
/* The answer to the oldest question, which was for `blocks` from `offset` on. */
int peer_digest_take(struct peer *p, uint64_t offset, size_t blocks, struct peer_digests *ret, struct err *e);
/* After the last answer: is what they were of there still, the same as when the volumes were opened?
 * ERR_GONE: it was removed or replaced meanwhile; 1: somebody else needs the volume. A node of an older
 * version says that it is there. */
int peer_still_there(struct peer *p, const char *volid, const char *id, struct err *e);
/* Note at the restore point with this id there that it was found to be another than it should be (damaged),
 * or that it is not. *problem gets why it cannot be noted, "" if it is. 1: somebody else there needs the
 * guest's replicas, nothing was changed. */
#define PEER_PROBLEM_MAX 512
int peer_mark(struct peer *p, const char *volid, const char *id, bool damaged, char problem[PEER_PROBLEM_MAX],
              struct err *e);
struct peer_stage {
    const char *base_id; /* "": full; STAGE_OF_LIVE */
    bool replace;        /* destroy the half-made copy first */
    bool anew, resume;   /* struct stage_want */
};
/* Open a stage for `s`. *offset: from where to send. */
int peer_stage(struct peer *p, const char *volid, const struct snapshot *s, const struct peer_stage *how,
               uint64_t *offset, struct err *e);
/* After the last frame of a transfer: wait until the stage is sealed. */
int peer_sealed(struct peer *p, uint64_t bytes, uint64_t frames, const struct transfer_digest *d,
                struct err *e);
/* Turn a FRAME_ERROR into *e; -1. */
int peer_take_error(const struct peer *p, const struct frame *f, struct err *e);
/* One intermediate snapshot becomes visible, the live volume stays. */
int peer_commit_one(struct peer *p, const char *volid, const char *id, struct err *e);

/* Rename snapshots of one volume out of the way of those to be sent; `said` gets sentences about it. */
int peer_aside(struct peer *p, const char *volid, const struct asides *a, struct strv *said, struct err *e);

struct peer_commit {
    const char *volid, *id;
    const char *as;                     /* the name the restore point must have */
    const char *live_aside;             /* name to keep a written live volume under */
    bool keep_live;                     /* …or one that the agent cannot know to be of value */
    const struct asides *aside;         /* snapshots to rename */
    char traits[VOLUME_TRAITS_MAX + 1]; /* that the live volume is to have */
};
/* All volumes of the run, whose settings (known.settings) the target notes. Its return is the ACK. `asides`
 * gets sentences about what was kept aside. */
int peer_commit(struct peer *p, const struct peer_commit *v, size_t n, const struct strv *settings,
                struct strv *asides, struct err *e);
/* Remove snapshots, for the reason `why`. Problems are sentences, not failures. */
struct peer_prune {
    struct snapshots go;
    struct snapshots adopt; /* count as received from now on */
};
/* v[i] is about volids->v[i]. */
int peer_prune(struct peer *p, const struct strv *volids, const struct peer_prune *v, const char *why,
               struct strv *problems, struct err *e);
/* Remove one stale image, unless it is one of `named` under another name: what the guest has by now. */
int peer_drop(struct peer *p, const char *volid, const struct strv *named, const char *why,
              struct strv *problems, struct err *e);
/* Closes. When *e is a network failure, the node and what the carrier said last are added to it. */
void peer_close(struct peer *p, struct err *e);
