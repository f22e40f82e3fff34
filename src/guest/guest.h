/* A guest's configuration: its volumes, its snapshots, whether it runs, and how to freeze it
 * (spec 2.5, 3.3, 3.4). */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "cluster/guests.h"
#include "conf/storage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest_config; /* the parsed file */

/* Never fails on content: odd lines become warnings "FILE:LINE: …". */
struct guest_config *guest_config_parse(const char *name, enum guest_type type, uint32_t id, const char *text,
                                        size_t len);
void guest_config_free(struct guest_config *g);
static inline void guest_config_freep(struct guest_config **g)
{
    guest_config_free(*g);
}
const struct strv *guest_config_warnings(const struct guest_config *g);
const char *guest_config_parent(const struct guest_config *g);           /* NULL: none */
const struct strv *guest_config_snapshots(const struct guest_config *g); /* names of the snapshot sections */
const char *guest_config_get(const struct guest_config *g, const char *key); /* main section; NULL: not set */

enum volumes_mode {
    VOLUMES_STRICT,  /* a volume that cannot be replicated is an error */
    VOLUMES_CLEANUP, /* job removal: replicate=0 included, what cannot be replicated skipped */
    VOLUMES_LENIENT, /* skip what cannot be replicated */
};

/* Can this volume be replicated? Supplied by the caller, who knows the drivers. */
typedef bool (*volume_can_replicate)(const struct storage *s, const char *volname, void *arg);

/* The replicatable volids of the guest, sorted by bytes, each once (spec 3.3, V1–V11). */
int guest_volumes(const struct guest_config *g, const struct storages *storages, enum volumes_mode mode,
                  volume_can_replicate can, void *arg, struct strv *ret, struct err *e);

/* The id in an image name: "100/vm-100-disk-0.raw", "base-9-disk-0/vm-100-disk-0", "subvol-100-disk-1" → 100;
 * 0 when it is not a guest image's name. */
uint32_t volname_owner(const char *volname);
