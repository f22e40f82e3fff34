/* The lines of a job's log, as the API gives them. */
#pragma once

#include <jansson.h>
#include <stdint.h>

/* An array of {"n": number, "t": text} of at most `limit` lines (0: all) behind the first `start`; new.
 * *total: how many lines there are. A file that cannot be read is one line that says so, an empty one "no
 * content". Of a file of more than 4 MiB only the beginning is there. */
json_t *logfile_json(const char *path, uint64_t start, uint64_t limit, uint64_t *total);
