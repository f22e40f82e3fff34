/* Who starts the replication jobs of a Proxmox VE node: its own pvescheduler, or pvesrd alone. The Debian
 * package brings a drop-in for pvescheduler.service that loads a module of Perl into it (debian/takeover),
 * which takes replication out of its hands. systemd reads a file of the same name in /etc before that in
 * /run, and that before the package's: an empty one there switches the takeover off, and no upgrade of the
 * package switches it on again. */
#pragma once

#include "base/err.h"

#include <stdbool.h>

/* One sentence that begins with "on" or "off" and says what is wrong, if anything is; malloc'ed. 1 and *ret
 * NULL where there is no pvescheduler. `root` is put before all paths; with "" the services that run are
 * asked, too. */
int takeover_status(const char *root, char **ret, struct err *e);

/* On, or off; off `until_boot` writes in /run only, where systemd runs. With "" for `root` a scheduler that
 * runs is started anew where it must, to know it. ERR_GONE when it cannot be because the package's files, or
 * systemd's folder in /run, are missing. */
int takeover_set(const char *root, bool on, bool until_boot, struct err *e);
