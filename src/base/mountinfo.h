/* One line of /proc/PID/mountinfo (proc(5)). */
#pragma once

#include <stdbool.h>
#include <stdio.h>

struct mountinfo {
    unsigned long id;
    unsigned major, minor;     /* of btrfs those of the whole file system */
    const char *root, *point;  /* what of the file system is mounted, and where in the process' namespace */
    const char *type, *source; /* "zfs", "tank/vm" */
    const char *options;       /* of the file system, "" if it has none */
};

/* Takes the line apart in place: *ret points into it. False for one that is none. */
bool mountinfo_parse(char *line, struct mountinfo *ret);

/* Textually: symbolic links are not followed. */
bool mountinfo_holds(const struct mountinfo *m, const char *path);
/* Is the path on a mount of a server's or a cluster's file system, or on one that is mounted when it is
 * looked at? Told by the lines of `mounts` alone: the path is not touched, for what is there may not answer.
 * Symbolic links in it are not followed. */
bool mountinfo_is_remote(FILE *mounts, const char *path);
