#include "conf/nodes.h"

#include "base/mem.h"
#include "base/num.h"
#include "conf/job.h"
#include "conf/warn.h"

#include <ctype.h>
#include <string.h>

#define NODES_MAX 1000

struct node *nodes_add(struct nodes *n, const char *name, const char *address)
{
    n->v = xgrow(n->v, n->n, sizeof *n->v);
    struct node *x = &n->v[n->n++];
    *x = (struct node){.name = xstrdup(name),
                       .address = xstrdup(address),
                       .port = 22,
                       .user = xstrdup("root"),
                       .agent = xstrdup("pvesr agent")};
    return x;
}

static void replace(char **slot, const char *value)
{
    free(*slot);
    *slot = xstrdup(value);
}

/* An address or user becomes an argument of ssh: nothing that could be an option or a second word. */
static bool word_ok(const char *s)
{
    if (!*s || *s == '-' || strlen(s) > 255)
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr(".-_:%[]", *s))
            return false;
    return true;
}

static const char *set(struct node *x, const char *key, const char *value)
{
    struct err e;
    uint64_t port;
    if (strcmp(key, "address") == 0) {
        if (!word_ok(value))
            return "not an address";
        replace(&x->address, value);
    } else if (strcmp(key, "user") == 0) {
        if (!word_ok(value))
            return "not a user name";
        replace(&x->user, value);
    } else if (strcmp(key, "port") == 0) {
        if (num_parse_u64(key, value, 1, 65535, &port, &e) < 0)
            return "not a port";
        x->port = (uint16_t)port;
    } else if (strcmp(key, "config") == 0) {
        if (*value != '/')
            return "not an absolute path";
        replace(&x->config, value);
    } else if (strcmp(key, "agent") == 0) {
        if (!*value || *value == '-')
            return "not a command";
        replace(&x->agent, value);
    } else {
        return "unknown property";
    }
    return NULL;
}

static void node_release(struct node *x)
{
    free(x->name);
    free(x->address);
    free(x->user);
    free(x->config);
    free(x->agent);
}

static void take_section(const struct section_file *f, const struct section *s, struct nodes *ret)
{
    struct err e;
    if (strcmp(s->type, "node") != 0 || node_name_check(s->id, &e) < 0) {
        warn_at(&ret->warnings, f->name, s->line, "section skipped: '%s: %s' is not 'node: NAME'", s->type,
                s->id);
        return;
    }
    if (ret->n == NODES_MAX) {
        warn_at(&ret->warnings, f->name, s->line, "section skipped: more than %d nodes", NODES_MAX);
        return;
    }
    struct nodes one = {0};
    struct node *x = nodes_add(&one, s->id, "");
    for (size_t i = 0; i < s->n_props; i++) {
        const char *wrong = set(x, s->props[i].key, s->props[i].value);
        if (wrong)
            warn_at(&ret->warnings, f->name, s->props[i].line, "property ignored: %s: '%.40s %.80s'", wrong,
                    s->props[i].key, s->props[i].value);
    }
    struct node *other = (struct node *)nodes_find(ret, s->id);
    if (!*x->address) {
        warn_at(&ret->warnings, f->name, s->line, "section skipped: node '%s' has no address", s->id);
        nodes_release(&one);
        return;
    }
    if (other) {
        warn_at(&ret->warnings, f->name, s->line, "node '%s' is there twice, the last one counts", s->id);
        node_release(other);
        *other = *x;
    } else {
        ret->v = xgrow(ret->v, ret->n, sizeof *ret->v);
        ret->v[ret->n++] = *x;
    }
    free(one.v);
}

void nodes_parse(const char *name, const char *text, size_t len, struct nodes *ret)
{
    struct section_file f;
    section_parse(name, text, len, &f);
    *ret = (struct nodes){.warnings = f.warnings};
    f.warnings = (struct strv)STRV_INIT;
    for (size_t i = 0; i < f.n; i++)
        take_section(&f, &f.sections[i], ret);
    section_file_release(&f);
}

void nodes_release(struct nodes *n)
{
    for (size_t i = 0; i < n->n; i++)
        node_release(&n->v[i]);
    free(n->v);
    strv_release(&n->warnings);
    *n = (struct nodes){0};
}

const struct node *nodes_find(const struct nodes *n, const char *name)
{
    for (size_t i = 0; i < n->n; i++)
        if (strcmp(n->v[i].name, name) == 0)
            return &n->v[i];
    return NULL;
}
