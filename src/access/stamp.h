/* The time in tickets and CSRF tokens: eight upper-case hex digits, and how long it is good. Of this folder
 * alone. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define STAMP_LEN 8

void stamp_print(int64_t now, char out[STAMP_LEN + 1]);
/* The first eight characters of text. False: no such digits. */
bool stamp_parse(const char *text, int64_t *ret);
/* From TICKET_AHEAD in the future to TICKET_LIFE in the past. what: "the ticket", for the reason. */
int stamp_check(const char *what, int64_t stamp, int64_t now, struct err *e);
