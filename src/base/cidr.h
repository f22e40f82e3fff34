/* IP networks in the notation ADDRESS/PREFIX. */
#pragma once

#include "base/err.h"
#include "base/strv.h"

#include <stdbool.h>
#include <stdint.h>

struct cidr {
    int family; /* AF_INET or AF_INET6 */
    uint8_t address[16];
    unsigned prefix;
};

/* The bits behind the prefix may be set, as people write their own address there. False: not a network. */
bool cidr_parse(const char *text, struct cidr *ret);
/* Is `address` a plain IP address (no name, no zone) in the network? */
bool cidr_has(const struct cidr *n, const char *address);
/* Append this machine's addresses in the network, each once: of interfaces that are up. IPv6 link-local ones
 * are left out, because without a zone nobody can connect to them. */
int cidr_local_addresses(const struct cidr *n, struct strv *ret, struct err *e);
