/* The seals of restore points: what a file with data was (its identity, ident.h) once it had been made, so
 * that it can be told when it was written to since. Kept outside of it, in the attribute
 * `user.pvesr.seal.ID` of the directory: an attribute of its own would change its times. A change below the
 * file system leaves no trace.
 *
 * A snapshot without a seal (an earlier version made it, or a crash came in between) counts as unchanged; one
 * that could not be made, too, which is no failure.
 */
#pragma once

#include "volume/dir/dir.h"

/* Of a snapshot's file: `state`, and SNAPSHOT_CHANGED when there is a seal and it does not hold. s->id must
 * be there. */
int seal_look(const struct dir *d, int fd, struct snapshot *s, struct err *e);
/* It is what it is to be. Not durable before dir_sync. */
void seal_set(const struct dir *d, int fd, const char *id);
/* The same of one that somebody made: without the wait that a change in the next milliseconds would need, to
 * be seen. There may be thousands of them. */
void seal_found(const struct dir *d, int fd, const char *id);
/* After a change of ours, which its times show, too: `before` is what seal_look said before it. */
void seal_renew(const struct dir *d, int fd, const struct snapshot *before);
/* Of what goes: what was found of it (mark_damaged_set), too. */
void seal_end(const struct dir *d, const char *id);
/* Seals of files that somebody removed go, once there are more of them than files; what was found of such, at
 * once. */
void seal_tidy(const struct dir *d);
