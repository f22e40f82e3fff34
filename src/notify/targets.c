#include "notify/targets.h"

#include "base/num.h"
#include "conf/section.h"
#include "conf/warn.h"
#include "notify/target.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#define SECRETS_FILE "priv/notify.cfg"
#define HEADER "header-"

static const char *const kinds[TARGET_KINDS] = {"sendmail", "smtp", "webhook", "gotify"};

#define OF(k) (1u << TARGET_##k)

/* What a section may have, of which kinds; needed by which. */
static const struct row {
    const char *key;
    unsigned kinds, needed;
    size_t offset;
} rows[] = {
    {"mailto", OF(SENDMAIL) | OF(SMTP), OF(SENDMAIL) | OF(SMTP), offsetof(struct notify_target, mail_to)},
    {"from-address", OF(SENDMAIL) | OF(SMTP), OF(SMTP), offsetof(struct notify_target, mail_from)},
    {"server", OF(SMTP) | OF(GOTIFY), OF(SMTP) | OF(GOTIFY), offsetof(struct notify_target, server)},
    {"mode", OF(SMTP), 0, offsetof(struct notify_target, mode)},
    {"username", OF(SMTP), 0, offsetof(struct notify_target, user)},
    {"url", OF(WEBHOOK), OF(WEBHOOK), offsetof(struct notify_target, url)},
    {"method", OF(WEBHOOK), 0, offsetof(struct notify_target, method)},
    {"body", OF(WEBHOOK), 0, offsetof(struct notify_target, body)},
};

static char **slot(struct notify_target *t, const struct row *r)
{
    return (char **)((char *)t + r->offset);
}

void target_release(struct notify_target *t)
{
    for (size_t i = 0; i < ELEMENTS(rows); i++)
        free(*slot(t, &rows[i]));
    free(t->name);
    strv_release(&t->headers);
    strv_release(&t->secrets);
}

void targets_release(struct notify_targets *t)
{
    for (size_t i = 0; i < t->n; i++)
        target_release(&t->v[i]);
    free(t->v);
    for (size_t i = 0; i < t->n_matchers; i++)
        matcher_release(&t->matchers[i]);
    free(t->matchers);
    strv_release(&t->warnings);
    *t = (struct notify_targets){0};
}

const struct notify_target *targets_find(const struct notify_targets *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->v[i].name, name) == 0)
            return &t->v[i];
    return NULL;
}

bool targets_want(const struct notify_targets *all, const struct notify_target *t, const json_t *event,
                  int64_t at)
{
    enum event_kind k;
    bool wanted = event_kind_parse(event_text(event, "event"), &k) && (t->events & (1u << k));
    for (size_t i = 0; i < all->n_matchers && !wanted; i++)
        wanted = matcher_takes(&all->matchers[i], t->name, event, at);
    return wanted && !t->disabled;
}

/* ---- values: NULL, or what is wrong ---- */

static const char *set_events(struct notify_target *t, const char *value)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    strv_split(&names, value, ", \t");
    t->events = 0;
    for (size_t i = 0; i < names.n; i++) {
        enum event_kind k;
        if (!event_kind_parse(names.v[i], &k))
            return "no event (failure, recovery, overdue, kept-aside, cannot-run, verification, paused)";
        t->events |= 1u << k;
    }
    return NULL;
}

/* Each becomes a line of a conversation, or of a head. */
static const char *check_addresses(const char *value)
{
    _cleanup_strv_ struct strv all = STRV_INIT;
    strv_split(&all, value, ", \t");
    for (size_t i = 0; i < all.n; i++)
        if (*all.v[i] == '-' || strpbrk(all.v[i], "<>\"\\;:()"))
            return "no mail address";
    return all.n ? NULL : "no mail address";
}

static const char *check_server(const char *value)
{
    for (const char *p = value; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(".-_:[]", *p))
            return "no host name or address";
    return NULL;
}

static const char *check(const struct notify_target *t, const char *key, const char *value)
{
    bool url = strncmp(value, "http://", 7) == 0 || strncmp(value, "https://", 8) == 0;
    if (strcmp(key, "mailto") == 0 || strcmp(key, "from-address") == 0)
        return check_addresses(value);
    if (strcmp(key, "url") == 0 || (strcmp(key, "server") == 0 && t->kind == TARGET_GOTIFY))
        return url ? NULL : "no URL with http:// or https://";
    if (strcmp(key, "server") == 0)
        return check_server(value);
    if (strcmp(key, "mode") == 0 && strcmp(value, "insecure") != 0 && strcmp(value, "starttls") != 0 &&
        strcmp(value, "tls") != 0)
        return "none of insecure, starttls, tls";
    if (strcmp(key, "method") == 0 && strcmp(value, "post") != 0 && strcmp(value, "put") != 0 &&
        strcmp(value, "get") != 0)
        return "none of post, put, get";
    return NULL;
}

static const char *set_text(struct notify_target *t, const char *key, const char *value)
{
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        if (strcmp(key, rows[i].key) != 0 || !(rows[i].kinds & (1u << t->kind)))
            continue;
        const char *wrong = *value ? check(t, key, value) : "nothing";
        if (!wrong) {
            free(*slot(t, &rows[i]));
            *slot(t, &rows[i]) = xstrdup(value);
        }
        return wrong;
    }
    return "unknown property";
}

const char *target_set(struct notify_target *t, const char *key, const char *value)
{
    struct err e;
    uint64_t port;
    if (strcmp(key, "comment") == 0)
        return NULL;
    if (strcmp(key, "disable") == 0)
        return num_parse_bool(key, value, &t->disabled, &e) < 0 ? "neither 0 nor 1" : NULL;
    if (strcmp(key, "events") == 0)
        return set_events(t, value);
    if (strcmp(key, "port") == 0 && t->kind == TARGET_SMTP) {
        if (num_parse_u64(key, value, 1, 65535, &port, &e) < 0)
            return "no port";
        t->port = (uint16_t)port;
        return NULL;
    }
    if (strncmp(key, HEADER, strlen(HEADER)) == 0 && t->kind == TARGET_WEBHOOK) {
        strv_addf(&t->headers, "%s: %s", key + strlen(HEADER), value);
        return NULL;
    }
    return set_text(t, key, value);
}

/* ---- sections ---- */

const char *target_lacks(struct notify_target *t)
{
    for (size_t i = 0; i < ELEMENTS(rows); i++)
        if ((rows[i].needed & (1u << t->kind)) && !*slot(t, &rows[i]))
            return rows[i].key;
    return NULL;
}

const char *target_kind_name(enum target_kind k)
{
    return kinds[k];
}

bool target_kind_parse(const char *type, enum target_kind *ret)
{
    for (enum target_kind k = 0; k < TARGET_KINDS; k++)
        if (strcmp(type, kinds[k]) == 0) {
            *ret = k;
            return true;
        }
    return false;
}

/* False: it cannot work; one with a wrong property is not half a target. */
static bool read_section(const struct section *s, struct notify_target *t, struct strv *warnings)
{
    bool good = true;
    t->events = (1u << EVENT_KINDS) - 1;
    t->name = xstrdup(s->id);
    for (size_t i = 0; i < s->n_props; i++) {
        const char *wrong = target_set(t, s->props[i].key, s->props[i].value);
        if (wrong)
            warn_at(warnings, NOTIFY_FILE, s->props[i].line, "target '%s' is not used: %s: '%.40s %.80s'",
                    s->id, wrong, s->props[i].key, s->props[i].value);
        good = good && !wrong;
    }
    const char *missing = good ? target_lacks(t) : NULL;
    if (missing)
        warn_at(warnings, NOTIFY_FILE, s->line, "target '%s' is not used: it has no '%s'", s->id, missing);
    return good && !missing;
}

const char *target_name_check(const struct notify_targets *all, const char *name)
{
    bool good = *name && strlen(name) <= 40;
    for (const char *p = name; *p; p++)
        good = good && (isalnum((unsigned char)*p) || (p > name && strchr(".-_", *p)));
    return !good                   ? "no name: at most 40 letters, digits and '.-_', the first none of these"
           : all->n == TARGETS_MAX ? "one too many"
           : targets_find(all, name) ? "there already"
                                     : NULL;
}

void targets_add(struct notify_targets *all, const struct notify_target *t)
{
    all->v = xgrow(all->v, all->n, sizeof *all->v);
    all->v[all->n++] = *t;
}

static void take_section(const struct section *s, struct notify_targets *ret)
{
    struct notify_target t = {.file = NOTIFY_FILE};
    const char *wrong = target_name_check(ret, s->id);
    if (!target_kind_parse(s->type, &t.kind))
        warn_at(&ret->warnings, NOTIFY_FILE, s->line,
                "section skipped: '%s' is none of sendmail, smtp, webhook, gotify", s->type);
    else if (wrong)
        warn_at(&ret->warnings, NOTIFY_FILE, s->line, "section skipped: '%.40s' is %s", s->id, wrong);
    else if (read_section(s, &t, &ret->warnings))
        targets_add(ret, &t);
    else
        target_release(&t);
}

static void take_secrets(const char *text, size_t len, struct notify_targets *ret)
{
    struct section_file f;
    section_parse(SECRETS_FILE, text, len, &f);
    for (size_t i = 0; i < ret->n; i++) {
        const struct section *s = section_find(&f, kinds[ret->v[i].kind], ret->v[i].name);
        for (size_t k = 0; s && k < s->n_props; k++)
            strv_addf(&ret->v[i].secrets, "%s=%s", s->props[k].key, s->props[k].value);
    }
    section_file_release(&f);
}

void targets_parse(const char *text, size_t len, const char *secrets, size_t secrets_len,
                   struct notify_targets *ret)
{
    struct section_file f;
    section_parse(NOTIFY_FILE, text, len, &f);
    *ret = (struct notify_targets){.file = NOTIFY_FILE, .warnings = f.warnings};
    f.warnings = (struct strv)STRV_INIT;
    for (size_t i = 0; i < f.n; i++)
        take_section(&f.sections[i], ret);
    section_file_release(&f);
    take_secrets(secrets, secrets_len, ret);
}
