/* storage.cfg (BEHAVIOUR.md#storages): which storages there are, where they lie, which nodes have them. */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "conf/section.h"

#include <stdbool.h>
#include <stddef.h>

struct storage {
    char *id;
    char *type;
    char *path;       /* dir, btrfs: as configured, without storage-root; else NULL */
    char *mountpoint; /* dir, btrfs: must be one, without storage-root (is_mountpoint); else NULL */
    char *images;   /* dir, btrfs: the folder of images below the path (content-dirs); NULL: the usual one */
    char *pool;     /* zfspool */
    char *vgname;   /* lvmthin */
    char *thinpool; /* lvmthin */
    struct strv nodes; /* empty: all */
    bool disabled;
    bool shared; /* said so, or by its type */
};

struct storages {
    struct storage *v; /* the implicit `local` (dir /var/lib/vz) included unless configured */
    size_t n;
    struct strv warnings;
    struct strv skipped;      /* private: names of what does not count, each followed by why */
    struct section_file file; /* private */
};

void storages_parse(const char *name, const char *text, size_t len, struct storages *ret);
void storages_release(struct storages *s);
const struct storage *storages_find(const struct storages *s, const char *id); /* NULL: none */
/* Why the section of a name that storages_find does not know does not count; NULL: there is none. */
const char *storages_skipped(const struct storages *s, const char *id);
bool storage_enabled_on(const struct storage *s, const char *node);

/* Letters, digits and `- _ .`, the first a letter, the last none of the three, 2 to 64 of them. */
bool storage_id_ok(const char *id);
/* "STORE:NAME" split; ERR_USAGE when malformed. store and name are malloc'ed. */
int volid_split(const char *volid, char **store, char **name, struct err *e);
