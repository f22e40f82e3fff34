/* The ticket in a Cookie header. */
#pragma once

#define COOKIE_NAME "PVEAuthCookie"

/* Percent-decoded, malloc'ed; of several cookies of a name the first, and of
 * several names our own panel's before Proxmox VE's: what it says counts, also when it is nothing. NULL:
 * none, or not decodable. header may be NULL. */
char *cookie_ticket(const char *header);
