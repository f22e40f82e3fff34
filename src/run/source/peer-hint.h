/* What a person can do about a node that cannot be reached, where that can be told from what was said. */
#pragma once

#include "base/err.h"
#include "wire/link.h"

/* Adds it to the sentence. */
void peer_hint(const struct link_target *t, struct err *e);
/* Instead of a damaged frame: what the shell there printed before the agent's first word, if it was that. */
void peer_hint_noise(const struct link *l, struct err *e);
