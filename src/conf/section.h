/* Section configuration files: replication.cfg, storage.cfg, nodes.cfg (BEHAVIOUR.md#section-files).
 *
 *     type: id
 *     <TAB>key value
 *     <empty line>
 *
 * Parsing keeps every byte: comments, sections of unknown types, lines that make no sense. A section that is
 * not changed is written back byte for byte. A changed one is written anew: its comments stay before the
 * property they stood before, and only lines that had no effect are dropped (a property given twice, one
 * beyond the limit). Nothing here knows a property's meaning: the modules above (job, storage, nodes) check
 * values and report through warnings "FILE:LINE: what is wrong".
 *
 * A section ends only at an empty line or at the end of the file. What looks like a header before that, and a
 * line of nothing but blanks, is ignored with a warning.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/strv.h"

#include <stdbool.h>
#include <stddef.h>

/* Further properties of a section are ignored with a warning. */
#define SECTION_PROPERTIES_MAX 128

struct property {
    char *key;
    char *value; /* "" for a bare key */
    bool bare;
    unsigned line;
    struct buf before; /* comments and odd lines above it, for a section that is written anew */
};

struct section {
    char *type; /* lower case */
    char *id;   /* as in the file */
    struct property *props;
    size_t n_props;
    unsigned line;    /* 0 when made by section_add */
    struct buf raw;   /* its bytes as read, with header, comments and the closing empty line */
    struct buf after; /* comments and odd lines below the last property */
    bool closed;      /* raw ends with the empty line */
    bool changed;     /* write from props, not from raw */
};

/* What looks like the header of a section and begins none: it is indented, or no empty line stands before it.
 */
struct lost_header {
    char *type; /* lower case */
    char *id;
    unsigned line;
};

struct section_file {
    char *name; /* for messages */
    struct section *sections;
    size_t n;
    /* Text between and around sections that belongs to none (comments, stray lines) is kept in order:
     * before[i] precedes section i, before[n] ends the file. */
    struct buf *before;
    struct strv warnings; /* "replication.cfg:7: …" */
    struct lost_header *lost;
    size_t n_lost;
};

/* Never fails on content. text may be NULL when len is 0. */
void section_parse(const char *name, const char *text, size_t len, struct section_file *ret);
void section_print(const struct section_file *f, struct buf *out);
void section_file_release(struct section_file *f);

/* The last section of that name, since that is the one that counts. NULL: none. */
struct section *section_find(struct section_file *f, const char *type, const char *id);
const char *section_get(const struct section *s, const char *key); /* NULL: not set */
/* Add or replace; value NULL sets a bare key. The value has no line break and no blanks at its ends: the
 * caller has checked it. Marks the section changed. */
void section_set(struct section *s, const char *key, const char *value);
void section_unset(struct section *s, const char *key);
/* Order the properties by rank, then by name. Has an effect on a changed section only. */
void section_sort(struct section *s, int (*rank)(const char *key));
/* Appended at the end of the file. Pointers to sections are invalid afterwards. */
struct section *section_add(struct section_file *f, const char *type, const char *id);
void section_remove(struct section_file *f, size_t i);
