/* Section configuration files: replication.cfg, storage.cfg, nodes.cfg (spec 2.1).
 *
 *     type: id
 *     <TAB>key value
 *     <empty line>
 *
 * Parsing keeps everything: comments, sections of unknown types, lines that make no sense. Each section
 * remembers its raw lines; a section that is not changed is written back byte for byte, and one that is
 * changed is written anew with its comments kept. Nothing here knows a property's meaning: the modules above
 * (job, storage, nodes) check values and report through warnings "FILE:LINE: what is wrong".
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/strv.h"

#include <stdbool.h>
#include <stddef.h>

struct property {
    char *key;
    char *value; /* "" for a bare key */
    bool bare;
    unsigned line;
};

struct section {
    char *type; /* lower case */
    char *id;
    struct property *props;
    size_t n_props;
    unsigned line;
    char *raw; /* its text as read, with header, comments and the closing empty line; NULL when made anew */
    bool changed; /* write from props, not from raw */
};

struct section_file {
    char *name; /* for messages */
    struct section *sections;
    size_t n;
    /* Text between and around sections that belongs to none (comments, stray lines) is kept in order:
     * before[i] precedes section i, before[n] ends the file. */
    char **before;
    struct strv warnings; /* "replication.cfg:7: …" */
};

/* Never fails on content: what it cannot understand becomes a warning and is kept. */
void section_parse(const char *name, const char *text, size_t len, struct section_file *ret);
void section_print(const struct section_file *f, struct buf *out);
void section_file_release(struct section_file *f);

struct section *section_find(struct section_file *f, const char *type, const char *id); /* NULL: none */
const char *section_get(const struct section *s, const char *key);                      /* NULL: not set */
/* Add or replace; value NULL sets a bare key. Marks the section changed. */
void section_set(struct section *s, const char *key, const char *value);
void section_unset(struct section *s, const char *key);
/* Appended at the end of the file. */
struct section *section_add(struct section_file *f, const char *type, const char *id);
void section_remove(struct section_file *f, size_t i);
