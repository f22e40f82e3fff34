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
/* How many volumes the value names: "STORE:NAME", with or without "file=" (VM) or "volume=" before it, among
 * parts of other keys, in any order. Of the last one *volid points into value, *n bytes. */
size_t guest_value_volumes(enum guest_type type, const char *value, const char **volid, size_t *n);

/* What is not understood is not to be taken for what is not there. */
/* May a line that is not 'key: value' hide a volume, or a section? */
bool guest_line_hides(enum guest_type type, uint32_t id, const char *s, size_t n);
/* Why this one of guest `id` may, in a section of this kind; malloc'ed. NULL: it does not. */
char *guest_key_hides(enum guest_type type, uint32_t id, enum section_kind section,
                      const struct guest_key *line);
