/* The matchers of Proxmox VE's notifications.cfg: which event goes to which targets
 * (https://pve.proxmox.com/pve-docs/chapter-notifications.html, "Notification Matchers"). An event of ours
 * has the fields type (replication), hostname (the node) and job-id. */
#pragma once

#include "base/strv.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct matcher {
    char *name;
    bool disabled, any, inverted;
    bool in_doubt; /* something of it was not understood: it matches always, rather than silence somebody */
    struct strv targets;
    struct strv rules; /* "match-severity error,warning", as they stand in the file */
};

void matcher_release(struct matcher *m);
/* NULL, or what is wrong with it: then the matcher is in doubt. */
const char *matcher_set(struct matcher *m, const char *key, const char *value);
/* at: epoch, judged by this node's clock and zone. Without rules it matches always. */
bool matcher_takes(const struct matcher *m, const char *target, const json_t *event, int64_t at);
