/* datacenter.cfg: only what replication reads (BEHAVIOUR.md#datacenter). */
#pragma once

#include "base/buf.h"
#include "base/strv.h"

#include <stdbool.h>
#include <stddef.h>

struct transport {
    bool insecure;
    char *network; /* CIDR or NULL */
};

/* What replication uses: `replication` if set, else `migration`, else secure. An invalid property string
 * counts as absent and adds a warning "datacenter.cfg:LINE: …". */
void datacenter_parse(const char *name, const char *text, size_t len, struct transport *ret,
                      struct strv *warnings);
/* The value of the first line `email_from: ADDRESS`, malloc'ed, or NULL. */
char *datacenter_email_from(const char *text, size_t len);
/* "[type=]secure|insecure[,network=CIDR]", whole, or false and *ret as it was. */
bool transport_parse(const char *text, struct transport *ret);
/* The same text with `value` for `key`, or without it (NULL), appended to *ret: all else stays as it is. */
void datacenter_set(const char *text, size_t len, const char *key, const char *value, struct buf *ret);
void transport_release(struct transport *t);
