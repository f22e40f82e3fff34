/* Where the API is served. */
#pragma once

#include "conf/settings.h"

#include <netinet/in.h>

/* The setting, or where it is by default: on all addresses, port 8006, beside Proxmox VE's own panel, which
 * has that, 8016. malloc'ed. */
char *listen_where(const struct settings *s);
/* A socket that listens there. */
int listen_open(const char *where, struct err *e);

/* The address of who connects; "?" where it is none of the internet's. An IPv4 one is told as such, however
 * it came. */
void listen_print_peer(const struct sockaddr *sa, char out[INET6_ADDRSTRLEN]);
