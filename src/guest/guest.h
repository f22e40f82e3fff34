/* A guest's configuration: its volumes, its snapshots, whether it runs, and how to freeze it
 * (BEHAVIOUR.md#guest-configuration, BEHAVIOUR.md#volumes, BEHAVIOUR.md#freeze). */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/strv.h"
#include "cluster/guests.h"
#include "conf/storage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest_config; /* the parsed file */

/* Never fails on content: odd lines become warnings "FILE:LINE: …". Of a key that is there twice in a section
 * the last line counts. */
struct guest_config *guest_config_parse(const char *name, enum guest_type type, uint32_t id, const char *text,
                                        size_t len);
void guest_config_free(struct guest_config *g);
static inline void guest_config_freep(struct guest_config **g)
{
    guest_config_free(*g);
}
enum guest_type guest_config_type(const struct guest_config *g);
const struct strv *guest_config_warnings(const struct guest_config *g);
const char *guest_config_parent(const struct guest_config *g); /* NULL: none */
/* The names of the snapshot sections, sorted, each once. */
const struct strv *guest_config_snapshots(const struct guest_config *g);
/* ERR_CONFIG when a line may hide a volume of the guest, which would be taken for one that was removed; the
 * text has the file, the line and the remedy. */
int guest_config_whole(const struct guest_config *g, struct err *e);
/* No line of it says anything. */
bool guest_config_is_empty(const struct guest_config *g);
/* Has a disk of this volid a snapshot of this name, by that section? Not what holds a snapshot's memory, nor
 * what is unused. */
bool guest_config_snapshot_has(const struct guest_config *g, const char *snapshot, const char *volid);
/* Does the guest start with it: is it a disk of the main section, be it by a change that is pending, or the
 * memory that it was suspended with? Not so what is unused, or only a snapshot has. */
bool guest_config_starts_with(const struct guest_config *g, const char *volid);
/* The snapshots that have it, be it as their memory, are added to *ret. */
void guest_config_snapshots_with(const struct guest_config *g, const char *volid, struct strv *ret);
/* Is it a disk, be it an unused one or a snapshot's, and not only what holds a snapshot's memory? */
bool guest_config_has_disk(const struct guest_config *g, const char *volid);
const char *guest_config_get(const struct guest_config *g, const char *key); /* main section; NULL: not set */
/* Digests of what tells a guest from another one of the same id, and that it keeps: the UUID of a VM's
 * `smbios1`, the hardware addresses of its interfaces. They are added to *ret; none where it has no such
 * thing. Two configurations are of one guest if they have any in common. */
void guest_config_identity(const struct guest_config *g, struct strv *ret);
/* The same with what it is in its snapshots' sections, to which it may go back, and a container's host name:
 * "WHAT:DIGEST" of each. */
#define IDENTITY_UUID "uuid"
#define IDENTITY_MAC "mac"
#define IDENTITY_NAME "name"
void guest_config_identity_ever(const struct guest_config *g, struct strv *ret);

/* Print `text`, from which g was parsed, with the volumes from->v[i] called to->v[i] in all sections; every
 * other byte stays. */
void guest_config_rename(const struct guest_config *g, const char *text, size_t len, const struct strv *from,
                         const struct strv *to, struct buf *out);

enum volumes_mode {
    VOLUMES_STRICT,  /* a volume that cannot be replicated is an error, and so is a line that may hide one */
    VOLUMES_CLEANUP, /* job removal: replicate=0 included, what cannot be replicated skipped; a storage that
                        does not exist is an error, since what lies there cannot be cleaned up */
    VOLUMES_LENIENT, /* skip what cannot be replicated */
};

/* Can this volume be replicated? Supplied by the caller, who knows the drivers. */
typedef bool (*volume_can_replicate)(const struct storage *s, const char *volname, void *arg);

/* The replicatable volids of the guest are added to *ret, sorted by bytes, each once (BEHAVIOUR.md#volumes).
 * ERR_CONFIG with the texts given there. */
int guest_volumes(const struct guest_config *g, const struct storages *storages, enum volumes_mode mode,
                  volume_can_replicate can, void *arg, struct strv *ret, struct err *e);

/* What guest_volumes leaves out without a word, in the same order: volumes on shared storages, and images of
 * other guests. all: those with replicate=0, too. */
void guest_volumes_left_out(const struct guest_config *g, const struct storages *storages, bool all,
                            struct strv *shared, struct strv *foreign);

/* All that it names, in any section that counts, whatever it is: also what is not replicated, media, and what
 * is other guests'. Sorted by bytes, each once. */
void guest_volumes_named(const struct guest_config *g, struct strv *ret);
