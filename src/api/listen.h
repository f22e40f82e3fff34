/* Where the API is served. */
#pragma once

#include "conf/settings.h"

/* The setting, or where it is by default: on all addresses, port 8006, beside Proxmox VE's own panel, which
 * has that, 8016. malloc'ed. */
char *listen_where(const struct settings *s);
/* A socket that listens there. */
int listen_open(const char *where, struct err *e);
