/* Finding zeros in data, so that what is written stays sparse. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPARSE_PAGE 4096u

/* Data of n > 0 bytes for this offset of a file begins with a run that is all zeros in whole pages of the
 * file, or with one that has something in each: its length, and which of the two. A part of a page counts as
 * something. */
size_t sparse_run(const void *data, size_t n, uint64_t offset, bool *zero);
