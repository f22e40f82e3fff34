/* A vector of strings it owns; argv-ready: v[n] is NULL once anything was added. */
#pragma once

#include "base/mem.h"

#include <stdbool.h>

struct strv {
    char **v; /* NULL while empty and never used */
    size_t n;
};

#define STRV_INIT                                                                                            \
    {                                                                                                        \
        NULL, 0                                                                                              \
    }

void strv_release(struct strv *s);
void strv_add(struct strv *s, const char *item);
void strv_addf(struct strv *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Add all items up to a NULL. */
void strv_adds(struct strv *s, ...) __attribute__((sentinel));
bool strv_has(const struct strv *s, const char *item);
bool strv_equal(const struct strv *a, const struct strv *b);
/* Add unless it is there; true when added. */
bool strv_add_once(struct strv *s, const char *item);
/* Remove the item at i, keeping the order. */
void strv_remove(struct strv *s, size_t i);
/* Ascending by bytes (strcmp). */
void strv_sort(struct strv *s);
/* Append the parts of text between any of the separator bytes; empty parts are left out. */
void strv_split(struct strv *s, const char *text, const char *separators);
/* malloc'ed. */
char *strv_join(const struct strv *s, const char *between);

#define _cleanup_strv_ _cleanup_(strv_release)
