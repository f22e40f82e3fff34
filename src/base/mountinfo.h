/* One line of /proc/PID/mountinfo (proc(5)). */
#pragma once

#include <stdbool.h>

struct mountinfo {
    unsigned long id;
    unsigned major, minor;     /* of btrfs those of the whole file system */
    const char *root, *point;  /* what of the file system is mounted, and where in the process' namespace */
    const char *type, *source; /* "zfs", "tank/vm" */
    const char *options;       /* of the file system, "" if it has none */
};

/* Takes the line apart in place: *ret points into it. False for one that is none. */
bool mountinfo_parse(char *line, struct mountinfo *ret);
