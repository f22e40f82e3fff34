/* Numbers through one door: the whole text must be the number. Empty text, blanks, trailing junk, overflow
 * and values outside [min, max] are refused; the sentence names `what` and the text. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Decimal digits only, no sign. */
int num_parse_u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret,
                  struct err *e);
/* An optional leading '-' or '+'. */
int num_parse_i64(const char *what, const char *text, int64_t min, int64_t max, int64_t *ret, struct err *e);
/* 12, 1.5, .5, 1e2, optional sign; no hex, inf or nan; independent of the locale. */
int num_parse_double(const char *what, const char *text, double min, double max, double *ret, struct err *e);
/* 1 on yes true / 0 off no false, any letter case. */
int num_parse_bool(const char *what, const char *text, bool *ret, struct err *e);
/* The shortest text that reads back as the same number: 10, 1.5. out has room for 32 bytes. */
void num_print_double(double value, char out[32]);
