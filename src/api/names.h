/* What guests are called. The files that say it are looked at again after NAMES_SECONDS, and read again only
 * where they are others: lists of many guests are asked for again and again. */
#pragma once

#include "cluster/guests.h"

#define NAMES_SECONDS 10

struct names {      /* starts with zeroes */
    struct name *v; /* by guest */
    size_t n;
};
void names_release(struct names *n);

/* Brings it up to date for these guests, and forgets all others. now: monotonic. */
void names_look(struct names *n, struct tree *t, const struct guest_list *guests, double now);
/* Of one of these guests: its name, and is it a template? Borrowed. */
const char *names_get(const struct names *n, uint32_t guest, bool *is_template);

/* Of a guest with this configuration: what Proxmox VE calls it where it says nothing itself. Malloc'ed. */
char *name_of(const struct guest_entry *g, const char *config, size_t len);
/* The value of a key of a configuration's main section, of several lines the last; malloc'ed. NULL: not set.
 */
char *config_value(const char *config, size_t len, const char *key);
