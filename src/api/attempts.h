/* How often somebody may fail to log in: a memory of the last failures, of bounded size. */
#pragma once

#include "base/mem.h"

#include <stdbool.h>
#include <netinet/in.h>
#include <stdint.h>

#define ATTEMPTS_SECONDS 300
#define ATTEMPTS_ADDRESS 20 /* failures from one address in that time, of IPv6 one /64 */
#define ATTEMPTS_USER                                                                                          \
    50 /* …with one name of a user, wherever from: whoever guesses locks them out for a while, and no longer \
        */
#define ATTEMPTS_KEPT 1024

struct attempts;

struct attempts *attempts_new(void);
void attempts_free(struct attempts *a);
CLEANUP_FUNC(attempts_free, struct attempts)

/* What counts as one address: of IPv6 the network, since whoever has an address there has them all. */
const char *attempts_network(const char *address, char room[INET6_ADDRSTRLEN]);

/* May this be tried at `now` (seconds of any clock that does not go back)? */
bool attempts_allow(const struct attempts *a, const char *address, const char *user, int64_t now);
void attempts_failed(struct attempts *a, const char *address, const char *user, int64_t now);
/* Somebody got in: their own failures are forgotten. */
void attempts_succeeded(struct attempts *a, const char *address, const char *user);
