/* JSON as Proxmox VE's tools print it: keys sorted, numbers without a needless fraction, UTF-8. */
#pragma once

#include "base/buf.h"

#include <jansson.h>
#include <stdbool.h>

/* pretty: 3 blanks of indent and `"key" : value`, one member a line; otherwise all on one line. A line break
 * ends both. */
void json_print(const json_t *value, bool pretty, struct buf *out);

/* A string object of any bytes: what is no UTF-8 is taken as Latin-1. */
json_t *json_text(const char *text);

/* Seconds to be shown: what lies behind the microseconds is only the noise of subtracting two clocks. */
double whole_microseconds(double seconds);

/* Print, write to stdout, release. */
void json_put(json_t *value, bool pretty);
