/* Which command was meant by a word that names none. */
#pragma once

#include "base/buf.h"
#include "base/strv.h"

/* Those that it abbreviates; or else those from which it differs least, if that is little. */
void nearest_commands(const char *text, struct strv *ret);
/* "ERROR: unknown command 'pvesr staus'", and on a line of its own what was meant, or where the list is. */
void nearest_complaint(const char *text, struct buf *out);
