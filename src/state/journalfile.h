/* What all who read the journal's database share; private to this folder. */
#pragma once

#include "base/err.h"

#include <sqlite3.h>
#include <stdbool.h>

/* The database and its log may be regular files or not there: SQLite would wait for ever for whoever writes
 * into a FIFO. */
int journal_file_check(const char *path, struct err *e);
/* sqlite3_open_v2 of what journal_file_check allows: SQLite's code into *code, for which *ret has the words.
 * -1 and *e where it is not even tried. */
int journal_file_open(const char *path, int flags, sqlite3 **ret, int *code, struct err *e);

/* Does the process of a row live, of which these columns have pid, start time and boot? */
bool journal_row_lives(sqlite3_stmt *row, int pid, int ptime, int boot);
