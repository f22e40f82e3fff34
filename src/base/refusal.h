/* Why the kernel refused to change a file, where the text of an errno does not say it, and the way out: put
 * behind the sentence of an error. The error's kind and code stay. */
#pragma once

#include "base/err.h"

#include <stdbool.h>

/* By e->code: ENOSPC (bytes or inodes), EDQUOT, EROFS, EIO (which file system is to be repaired, how), EPERM
 * (of a flag that chattr(1) sets). path: what was to be changed, or read; it need not be there, its folder
 * must. What the sentence says already is not said again. */
void refusal_explain(struct err *e, const char *path);
/* -1: it has a flag that keeps it from being changed, renamed and removed. 0 also when it is not there. */
int refusal_barred(const char *path, struct err *e);
/* EPERM alone, and of this path alone: has it such a flag? Then e says so. */
bool refusal_by_flag(struct err *e, const char *path);
