#include "conf/datacenter.h"

#include "base/mem.h"
#include "base/num.h"
#include "conf/propstring.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

/* A network in CIDR notation, not a host's address: the bits behind the prefix are 0. */
static bool cidr_ok(const char *text)
{
    char address[64];
    uint8_t raw[16];
    uint64_t prefix;
    struct err e;
    const char *slash = strchr(text, '/');
    if (!slash || (size_t)(slash - text) >= sizeof address)
        return false;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = 0;
    bool v4 = inet_pton(AF_INET, address, raw) == 1;
    if (!v4 && inet_pton(AF_INET6, address, raw) != 1)
        return false;
    unsigned bits = v4 ? 32 : 128;
    if (num_parse_u64("prefix", slash + 1, 1, bits, &prefix, &e) < 0)
        return false;
    for (unsigned bit = (unsigned)prefix; bit < bits; bit++)
        if (raw[bit / 8] & (0x80 >> bit % 8))
            return false;
    return true;
}

/* "[type=]secure|insecure[,network=CIDR]" */
static bool parse_transport(const char *text, struct transport *ret)
{
    struct transport t = {0};
    bool has_type = false, ok = true;
    const char *k, *v;
    size_t k_len, v_len;
    while (ok && propstring_next(&text, &k, &k_len, &v, &v_len)) {
        _cleanup_free_ char *key = k_len ? xstrndup(k, k_len) : xstrdup("type");
        _cleanup_free_ char *value = xstrndup(v, v_len);
        if (strcmp(key, "type") == 0 && !has_type &&
            (!strcmp(value, "secure") || !strcmp(value, "insecure"))) {
            t.insecure = !strcmp(value, "insecure");
            has_type = true;
        } else if (strcmp(key, "network") == 0 && !t.network && cidr_ok(value)) {
            t.network = take_ptr(value);
        } else {
            ok = false;
        }
    }
    if (!ok || !has_type) {
        free(t.network);
        return false;
    }
    *ret = t;
    return true;
}

struct found {
    bool replication, migration;
    struct transport of_replication, of_migration;
};

static void take_line(const char *name, unsigned number, const char *line, size_t n, struct found *f,
                      struct strv *warnings)
{
    while (n && isspace((unsigned char)line[n - 1]))
        n--;
    const char *colon = memchr(line, ':', n);
    if (!colon || *line == '#')
        return;
    size_t k = (size_t)(colon - line);
    const char *v = colon + 1;
    while (v < line + n && isspace((unsigned char)*v))
        v++;
    _cleanup_free_ char *value = xstrndup(v, (size_t)(line + n - v));
    bool ok = true;
    if (k == 11 && !memcmp(line, "replication", 11) && !f->replication)
        ok = f->replication = parse_transport(value, &f->of_replication);
    else if (k == 9 && !memcmp(line, "migration", 9) && !f->migration)
        ok = f->migration = parse_transport(value, &f->of_migration);
    else if (k == 18 && !memcmp(line, "migration_unsecure", 18) && !f->migration)
        f->migration = f->of_migration.insecure = strcmp(value, "1") == 0;
    if (!ok)
        strv_addf(warnings, "%s:%u: ignored: '%s' is not [type=]secure|insecure[,network=CIDR]", name, number,
                  value);
}

void datacenter_parse(const char *name, const char *text, size_t len, struct transport *ret,
                      struct strv *warnings)
{
    struct found f = {0};
    unsigned number = 0;
    for (const char *end = text + len; text && text < end;) {
        const char *eol = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((eol ? eol : end) - text);
        take_line(name, ++number, text, n, &f, warnings);
        text = eol ? eol + 1 : end;
    }
    *ret = f.replication ? f.of_replication : f.of_migration;
    if (f.replication)
        transport_release(&f.of_migration);
}

void transport_release(struct transport *t)
{
    free(t->network);
    *t = (struct transport){0};
}
