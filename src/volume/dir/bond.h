/* What ties a mark of ours to the file that got it and the name that we gave that (enum bond): a copy made
 * with its attributes (cp -a) has the mark, too. An attribute `user.pvesr.KEY` is "INODE BIRTH NAME[ NAME]",
 * two names while we rename it ourselves. A restore point by the very name that it was given is ours,
 * whatever file it is: somebody may have moved the whole directory to another file system. A live file is
 * not: all that is of it would go.
 */
#pragma once

#include "volume/dir/dir.h"
#include "volume/mark.h"

#define BOND_SNAPSHOT "named" /* of a file of digests, too */
#define BOND_LIVE "shown"
#define BOND_STAGE "staged"
#define BOND_MAX (64 + 2 * NAME_MAX + 4)

/* also: NULL, or the other name while it is renamed. Not durable before the next fsync. */
int bond_set(int fd, const char *key, const char *name, const char *also, struct err *e);
int bond_get(int fd, const char *key, const char *name, enum bond *ret, struct err *e);
/* Of the live file; a restore point that became one by its name is RENAMED, or a COPY. */
int bond_of_live(const struct dir *d, int fd, enum bond *ret, struct err *e);
/* volume_strays */
int bond_strays(struct dir *d, bool live, struct strv *ret, struct err *e);
