/* What reads a target, in whichever file it stands: its properties, one at a time. */
#pragma once

#include "notify/targets.h"

bool target_kind_parse(const char *type, enum target_kind *ret);
const char *target_kind_name(enum target_kind k);
/* NULL, or what is wrong with it. */
const char *target_set(struct notify_target *t, const char *key, const char *value);
/* It becomes a part of a file's name: NULL, or what is wrong with it. */
const char *target_name_check(const struct notify_targets *all, const char *name);
/* The first property that is missing, or NULL. */
const char *target_lacks(struct notify_target *t);
/* Takes over what t holds. */
void targets_add(struct notify_targets *all, const struct notify_target *t);
void target_release(struct notify_target *t);
