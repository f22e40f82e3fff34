#include "conf/datacenter.h"

#include "base/cidr.h"
#include "base/mem.h"
#include "conf/lines.h"
#include "conf/propstring.h"
#include "conf/warn.h"

#include <string.h>

bool transport_parse(const char *text, struct transport *ret)
{
    struct transport t = {0};
    struct cidr cidr;
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
        } else if (strcmp(key, "network") == 0 && !t.network && cidr_parse(value, &cidr)) {
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
    bool replication, migration, unsecure;
    struct transport of_replication, of_migration;
};

/* Of a key that is there twice the first valid one counts. */
static void take(struct found *f, const char *name, unsigned number, const char *key, const char *value,
                 struct strv *warnings)
{
    bool ok = true;
    if (strcmp(key, "replication") == 0 && !f->replication)
        ok = f->replication = transport_parse(value, &f->of_replication);
    else if (strcmp(key, "migration") == 0 && !f->migration)
        ok = f->migration = transport_parse(value, &f->of_migration);
    else if (strcmp(key, "migration_unsecure") == 0)
        f->unsecure = strcmp(value, "1") == 0;
    if (!ok)
        warn_at(warnings, name, number, "%s ignored: '%s' is not [type=]secure|insecure[,network=CIDR]", key,
                value);
}

/* "key: value" of a line, malloc'ed; false: there is none. */
static bool split_line(const struct lines *l, char **key, char **value)
{
    size_t n = line_trim(l->text, l->len), lead = line_lead(l->text, n);
    const char *colon = n ? memchr(l->text, ':', n) : NULL;
    if (lead == n || l->text[lead] == '#' || !colon || memchr(l->text, 0, n))
        return false;
    const char *v = colon + 1 + line_lead(colon + 1, (size_t)(l->text + n - colon - 1));
    *key = xstrndup(l->text + lead, (size_t)(colon - l->text) - lead);
    *value = xstrndup(v, (size_t)(l->text + n - v));
    return true;
}

void datacenter_parse(const char *name, const char *text, size_t len, struct transport *ret,
                      struct strv *warnings)
{
    struct found f = {0};
    struct lines l = LINES_INIT(text, len);
    while (lines_next(&l)) {
        _cleanup_free_ char *key = NULL;
        _cleanup_free_ char *value = NULL;
        if (split_line(&l, &key, &value))
            take(&f, name, l.number, key, value, warnings);
    }
    if (!f.migration)
        f.of_migration.insecure = f.unsecure;
    *ret = f.replication ? f.of_replication : f.of_migration;
    if (f.replication)
        transport_release(&f.of_migration);
}

char *datacenter_email_from(const char *text, size_t len)
{
    struct lines l = LINES_INIT(text, len);
    while (lines_next(&l)) {
        _cleanup_free_ char *key = NULL;
        _cleanup_free_ char *value = NULL;
        if (split_line(&l, &key, &value) && strcmp(key, "email_from") == 0)
            return take_ptr(value);
    }
    return NULL;
}

static bool has_key(const struct lines *l, const char *wanted)
{
    _cleanup_free_ char *key = NULL;
    _cleanup_free_ char *value = NULL;
    return split_line(l, &key, &value) && strcmp(key, wanted) == 0;
}

/* Where it was first, else at the end. */
void datacenter_set(const char *text, size_t len, const char *key, const char *value, struct buf *ret)
{
    struct lines l = LINES_INIT(text, len);
    size_t begin = ret->len;
    while (lines_next(&l)) {
        if (!has_key(&l, key)) {
            buf_add(ret, l.raw, l.raw_len);
        } else if (value) {
            buf_addf(ret, "%s: %s\n", key, value);
            value = NULL;
        }
    }
    if (value && ret->len > begin && ret->data[ret->len - 1] != '\n')
        buf_addc(ret, '\n');
    if (value)
        buf_addf(ret, "%s: %s\n", key, value);
}

void transport_release(struct transport *t)
{
    free(t->network);
    *t = (struct transport){0};
}
