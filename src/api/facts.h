/* What lists tell of guests beside where they are: name, template, does it run. Each guest is looked at again
 * after FACTS_SECONDS at the latest, and its file read again only where it is another one: lists of many
 * guests are asked for again and again. */
#pragma once

#include "cluster/guests.h"

#include <stdbool.h>
#include <sys/stat.h>

#define FACTS_SECONDS 10

struct fact {
    uint32_t guest;
    enum guest_type type;
    bool here; /* it is this node's */
    char *name;
    bool is_template;
    bool running;      /* false of another node's guest: nobody knows */
    struct stat *file; /* private: the configuration as it was read */
    double until;      /* private */
};

struct facts {      /* starts with zeroes */
    struct fact *v; /* each beside the guest of facts_look's list that it is of */
    size_t n;
};
void facts_release(struct facts *f);

/* Brings them up to date for these guests, and forgets all others. node: this one; now: monotonic. */
void facts_look(struct facts *f, struct tree *t, const struct guest_list *guests, const char *node,
                double now);

/* Of a guest with this configuration: what Proxmox VE calls it where it says nothing itself. Malloc'ed. */
char *name_of(const struct guest_entry *g, const char *config, size_t len);
/* The value of a key of a configuration's main section, of several lines the last; malloc'ed. NULL: not set.
 */
char *config_value(const char *config, size_t len, const char *key);
