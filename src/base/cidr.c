#include "base/cidr.h"

#include "base/num.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

static bool parse_address(const char *text, int *family, uint8_t address[16])
{
    *family = AF_INET;
    if (inet_pton(AF_INET, text, address) == 1)
        return true;
    *family = AF_INET6;
    return inet_pton(AF_INET6, text, address) == 1;
}

bool cidr_parse(const char *text, struct cidr *ret)
{
    struct cidr n = {0};
    struct err e;
    uint64_t prefix;
    const char *slash = strchr(text, '/');
    _cleanup_free_ char *address = slash ? xstrndup(text, (size_t)(slash - text)) : NULL;
    if (!address || !parse_address(address, &n.family, n.address) ||
        num_parse_u64("prefix", slash + 1, 1, n.family == AF_INET ? 32 : 128, &prefix, &e) < 0)
        return false;
    n.prefix = (unsigned)prefix;
    *ret = n;
    return true;
}

static bool has(const struct cidr *n, int family, const uint8_t *address)
{
    unsigned whole = n->prefix / 8, rest = n->prefix % 8;
    return family == n->family && memcmp(address, n->address, whole) == 0 &&
           (rest == 0 || (address[whole] ^ n->address[whole]) >> (8 - rest) == 0);
}

bool cidr_has(const struct cidr *n, const char *address)
{
    int family;
    uint8_t raw[16];
    return parse_address(address, &family, raw) && has(n, family, raw);
}

static const uint8_t *raw_address(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return (const uint8_t *)&((const struct sockaddr_in *)a)->sin_addr;
    const struct in6_addr *in6 = &((const struct sockaddr_in6 *)a)->sin6_addr;
    return IN6_IS_ADDR_LINKLOCAL(in6) ? NULL : in6->s6_addr;
}

int cidr_local_addresses(const struct cidr *n, struct strv *ret, struct err *e)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) < 0)
        return err_sys(e, "cannot list this machine's addresses");
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        const struct sockaddr *a = i->ifa_addr;
        if (!a || a->sa_family != n->family || !(i->ifa_flags & IFF_UP))
            continue;
        const uint8_t *raw = raw_address(a);
        if (raw && has(n, a->sa_family, raw) && inet_ntop(a->sa_family, raw, text, sizeof text))
            strv_add_once(ret, text);
    }
    freeifaddrs(all);
    return 0;
}
