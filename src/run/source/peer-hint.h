/* What a person can do about a node that cannot be reached, where that can be told from what was said. */
#pragma once

#include "base/err.h"
#include "wire/link.h"

/* Adds it to the sentence. */
void peer_hint(const struct link_target *t, struct err *e);
/* Before the link is closed: instead of a damaged frame what the shell there printed before the agent's first
 * word, if it was that; of a node that is connected and silent, that it is. */
void peer_hint_first(const struct link_target *t, const struct link *l, struct err *e);
