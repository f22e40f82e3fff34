/* What datacenter.cfg says of the way to the target (BEHAVIOUR.md#datacenter): the dedicated network.
 *
 * In a dedicated network a node is reached at its only address there. The node itself says which that is,
 * asked over its default address; the answer is remembered beside the control socket of that address, until a
 * connection to it fails. A target of the same machine (`address local`) has no network.
 */
#pragma once

#include "run/env.h"
#include "state/joblog.h"
#include "wire/link.h"

/* Read datacenter.cfg; what is wrong with it, or cannot be as it says, goes to the log. */
int transport_load(struct env *env, struct joblog *log, struct err *e);
/* "using secure transmission over CIDR, rate limit: 10 MByte/s"; rate in MB/s, 0: none. */
void transport_log(struct joblog *log, const struct env *env, const struct member *target, double rate);

/* The network to use for this target, or NULL: its default address is right. env_transport was called. */
const char *transport_network(const struct env *env, const struct node *target);
/* The one address of those that the node named: malloc'ed. ERR_CONFIG when there is none, or several. */
char *transport_choose(const char *node, const char *network, const struct strv *addresses, struct err *e);

/* t is the target at its default address. malloc'ed, or NULL: not known. */
char *transport_recall(const struct link_target *t, const char *network);
void transport_remember(const struct link_target *t, const char *network, const char *address);
void transport_forget(const struct link_target *t);
