/* A file's identity: a cheap proof that it was not written to. A digest map keeps that of the live file, in
 * its attribute `ident`, as it was when the file was what the map says.
 *
 * It proves nothing about the time before the machine was started: where it went down without an end, what
 * was written in place may be on the disk, and the times that told of it not. */
#pragma once

#include "volume/dir/dir.h"

#define IDENT_MAX 160

/* "" when the times are too coarse or too strange to prove anything. Waits up to 20 ms for a file that was
 * just changed: that saves reading all of it again later. */
int ident_take(int fd, char ident[IDENT_MAX], struct err *e);
bool ident_holds(int fd, const char *ident);
/* The same of a file that got or lost a name since, which the time of its last change of status shows. */
bool ident_holds_linked(int fd, const char *ident);
/* Of the present one; 0: it cannot be told. */
uint64_t ident_hash(int fd);

/* Does the live file still have the identity it had when these digests were made? */
bool ident_unchanged(const struct dir *d, int map_fd);
/* Nothing tells that it has not: enough for what compares the bytes anyway, once it reads them. */
bool ident_not_changed(const struct dir *d, int map_fd);
/* The live file is what the map says: remember how it looks now. */
int ident_note(struct dir *d, int live, const char *map_name, struct err *e);
