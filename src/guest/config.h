/* The parsed guest configuration as its own folder sees it; everybody else uses guest.h. */
#pragma once

#include "guest/guest.h"

struct guest_key {
    char *key, *value;
    unsigned line;
};

enum section_kind {
    SECTION_MAIN,
    SECTION_PENDING,
    SECTION_SNAPSHOT,
    SECTION_OTHER, /* [special:…] and what has no good name: kept out of everything */
};

struct guest_section {
    enum section_kind kind;
    char *name;
    struct guest_key *keys; /* sorted by key, each once: the last line of a key counts */
    size_t n;
};

struct guest_config {
    char *file;
    enum guest_type type;
    uint32_t id;
    struct guest_section *sections; /* the first is the main section */
    size_t n;
    struct strv snapshots, warnings;
    char *hides; /* where, and why, it may hide a volume or a snapshot of the guest; NULL: nowhere */
};

/* Is this a key whose value names a volume, in any section but SECTION_OTHER? */
bool guest_key_is_volume(enum guest_type type, const char *key);
/* The volume in "file=STORE:NAME,…" (VM), "volume=STORE:NAME,…" (CT) or "STORE:NAME,…": within value, *n
 * bytes. NULL when there is none. */
const char *guest_value_volid(enum guest_type type, const char *value, size_t *n);
