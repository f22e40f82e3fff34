#include "api/attempts.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

struct failure {
    int64_t when; /* 0: none */
    char address[48], user[72];
};

struct attempts {
    struct failure v[ATTEMPTS_KEPT]; /* a ring */
    unsigned next;
};

const char *attempts_network(const char *address, char out[INET6_ADDRSTRLEN])
{
    unsigned char ip[16];
    if (inet_pton(AF_INET6, address, ip) != 1)
        return address;
    memset(ip + 8, 0, 8);
    return inet_ntop(AF_INET6, ip, out, INET6_ADDRSTRLEN);
}

struct attempts *attempts_new(void)
{
    return xcalloc(1, sizeof(struct attempts));
}

void attempts_free(struct attempts *a)
{
    free(a);
}

bool attempts_allow(const struct attempts *a, const char *address, const char *user, int64_t now)
{
    char room[INET6_ADDRSTRLEN];
    unsigned from_there = 0, of_user = 0;
    address = attempts_network(address, room);
    for (size_t i = 0; i < ATTEMPTS_KEPT; i++) {
        const struct failure *f = &a->v[i];
        if (!f->when || now - f->when > ATTEMPTS_SECONDS)
            continue;
        from_there += strncmp(f->address, address, sizeof f->address - 1) == 0;
        of_user += strncmp(f->user, user, sizeof f->user - 1) == 0;
    }
    return from_there < ATTEMPTS_ADDRESS && of_user < ATTEMPTS_USER;
}

void attempts_failed(struct attempts *a, const char *address, const char *user, int64_t now)
{
    char room[INET6_ADDRSTRLEN];
    struct failure *f = &a->v[a->next];
    a->next = (a->next + 1) % ATTEMPTS_KEPT;
    f->when = now ? now : 1;
    snprintf(f->address, sizeof f->address, "%s", attempts_network(address, room));
    snprintf(f->user, sizeof f->user, "%s", user);
}

void attempts_succeeded(struct attempts *a, const char *address, const char *user)
{
    char room[INET6_ADDRSTRLEN];
    address = attempts_network(address, room);
    for (size_t i = 0; i < ATTEMPTS_KEPT; i++) {
        struct failure *f = &a->v[i];
        if (strncmp(f->address, address, sizeof f->address - 1) == 0 &&
            strncmp(f->user, user, sizeof f->user - 1) == 0)
            f->when = 0;
    }
}
