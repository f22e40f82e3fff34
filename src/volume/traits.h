/* Traits of volumes as text (volume_traits): lists of "KEY=VALUE". */
#pragma once

#include "base/strv.h"

#include <stdbool.h>

/* Keys of a-z and _, values of a-z, 0-9 and -: nothing that a program's argument could be mistaken for. */
bool trait_valid(const char *trait);
/* The value of `key`, NULL: it is not among them. */
const char *trait_value(const struct strv *traits, const char *key);
/* Does it have this key? */
bool trait_is(const char *trait, const char *key);
/* Takes a key's trait out. */
void trait_remove(struct strv *traits, const char *key);
/* "'TRAIT' is not set on PLACE: WHY", one line of it. */
void trait_note(struct strv *notes, const char *trait, const char *place, const char *why);
