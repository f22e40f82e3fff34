/* A job's map of storages between its two nodes: "SRC=DST[,SRC=DST…]", the property `target-storage`.
 *
 * A volume on SRC of the one node has its replica on DST of the other. The map has no direction: after a
 * change of the owner the same entry leads back. So each storage is in it once at most, which also keeps two
 * volumes from meeting under one name. */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "conf/storage.h"

#define STORAGEMAP_TEXT_MAX 1024

struct storagemap {
    struct strv from, to; /* pairs */
};

/* ERR_USAGE, the sentence is only the reason. text NULL: nothing is mapped. */
int storagemap_parse(const char *text, struct storagemap *ret, struct err *e);
void storagemap_release(struct storagemap *m);
#define _cleanup_storagemap_ _cleanup_(storagemap_release)

/* The storage at the other end: itself where nothing else is said. Borrowed from either. */
const char *storagemap_other(const struct storagemap *m, const char *storage);

/* A volume's name on a storage of another type: "100/vm-100-disk-0.raw" of dir and btrfs is "vm-100-disk-0"
 * of lvmthin and zfspool. Between storages of one type nothing changes. malloc'ed; NULL and ERR_CONFIG for
 * names that have no counterpart: templates and their clones, containers, other formats than raw. */
char *storagemap_name(const char *name, const char *from_type, const char *to_type, struct err *e);

/* The volid at the other end, malloc'ed. NULL and ERR_CONFIG when a storage does not exist, or as above. A
 * volume whose storage is not mapped keeps its volid, whatever it is. */
char *storagemap_volid(const struct storagemap *m, const struct storages *storages, const char *volid,
                       struct err *e);
