/* Texts, each with a number, found without looking at all of them: what is asked once per item of a list that
 * may have thousands. The texts are copied. */
#pragma once

#include "base/mem.h"
#include "base/strv.h"

#include <stdbool.h>
#include <stddef.h>

struct lookup {
    struct lookup_slot *slots;
    size_t room; /* 0 or a power of two, at least twice n */
    size_t n;
};

#define LOOKUP_NONE ((size_t)-1)

void lookup_release(struct lookup *l);
/* Add unless it is there, which keeps its number; true when added. */
bool lookup_add(struct lookup *l, const char *key, size_t number);
/* Each with its place. */
void lookup_add_all(struct lookup *l, const struct strv *keys);
/* LOOKUP_NONE: not there. */
size_t lookup_get(const struct lookup *l, const char *key);
bool lookup_has(const struct lookup *l, const char *key);

#define _cleanup_lookup_ _cleanup_(lookup_release)
