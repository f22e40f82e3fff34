#include "notify/stock.h"

#include "base/base64.h"
#include "base/mem.h"
#include "conf/lines.h"
#include "conf/propstring.h"
#include "conf/warn.h"
#include "notify/target.h"

#include <string.h>

#define ROOT_TARGET "mail-to-root"
#define ROOT_USER "root@pam"
#define VALUE_MAX 16384
#define MATCHERS_MAX 64

/* ---- values ---- */

/* "user:USERID:ENABLE:EXPIRE:FIRST:LAST:EMAIL:…": malloc'ed, NULL when there is none. */
static char *address_of(const char *users, size_t len, const char *userid)
{
    char *found = NULL;
    struct lines l = LINES_INIT(users, len);
    while (lines_next(&l)) {
        _cleanup_free_ char *line = xstrndup(l.text, l.len);
        char *rest = line, *f[7] = {0};
        for (size_t i = 0; i < ELEMENTS(f); i++)
            f[i] = strsep(&rest, ":");
        if (f[6] && strcmp(f[0], "user") == 0 && strcmp(f[1], userid) == 0) {
            free(found);
            found = *f[6] ? xstrdup(f[6]) : NULL;
        }
    }
    return found || strcmp(userid, ROOT_USER) != 0 ? found : xstrdup("root");
}

/* A property string "name=NAME,value=BASE64" as "NAME" BETWEEN "VALUE"; false: it is none. */
static bool named_value(const char *text, const char *between, struct buf *out)
{
    char name[256], coded[VALUE_MAX];
    if (!propstring_get(text, "name", name, sizeof name))
        return false;
    buf_addf(out, "%s%s", name, between);
    return !propstring_get(text, "value", coded, sizeof coded) ||
           (base64_decode(coded, strlen(coded), out) && strlen(buf_str(out)) == out->len);
}

/* ---- targets ---- */

static const char *add_address(struct notify_target *t, const char *address)
{
    _cleanup_free_ char *all =
        xasprintf("%s%s%s", t->mail_to ? t->mail_to : "", t->mail_to ? ", " : "", address);
    return target_set(t, "mailto", all);
}

static const char *set_body(struct notify_target *t, const char *value)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (!base64_decode(value, strlen(value), &text))
        return "no base64";
    return target_set(t, "body", buf_str(&text));
}

static const char *set_property(struct notify_target *t, const char *users, size_t users_len, const char *key,
                                const char *value)
{
    if (strcmp(key, "mailto") == 0)
        return add_address(t, value);
    if (strcmp(key, "mailto-user") == 0) {
        _cleanup_free_ char *address = address_of(users, users_len, value);
        return address ? add_address(t, address) : "a user without a mail address";
    }
    if (strcmp(key, "body") == 0)
        return set_body(t, value);
    if (strcmp(key, "header") == 0) {
        _cleanup_buf_ struct buf line = BUF_INIT;
        if (!named_value(value, ": ", &line))
            return "no header";
        strv_add(&t->headers, buf_str(&line));
        return NULL;
    }
    /* what secrets a webhook has is said in the secrets' file */
    if (strcmp(key, "author") == 0 || strcmp(key, "origin") == 0 || strcmp(key, "secret") == 0)
        return NULL;
    return target_set(t, key, value);
}

/* ---- sections ---- */

struct reader {
    struct notify_targets *ret;
    const char *users;
    size_t users_len;
    unsigned line; /* of the section's head */
    enum { NONE, TARGET, MATCHER } in;
    bool good;
    struct notify_target target;
    struct matcher matcher;
};

static void add_matcher(struct notify_targets *all, struct matcher *m)
{
    all->matchers = xgrow(all->matchers, all->n_matchers, sizeof *all->matchers);
    all->matchers[all->n_matchers++] = *m;
    *m = (struct matcher){0};
}

static void end_target(struct reader *r)
{
    struct notify_target *t = &r->target;
    const char *missing = r->good ? target_lacks(t) : NULL;
    if (missing)
        warn_at(&r->ret->warnings, STOCK_FILE, r->line, "target '%s' is not used: it has no '%s'", t->name,
                missing);
    if (!t->body)
        t->body = xstrdup("");
    if (r->good && !missing)
        targets_add(r->ret, t);
    else
        target_release(t);
    *t = (struct notify_target){0};
}

static void end_section(struct reader *r)
{
    if (r->in == TARGET)
        end_target(r);
    else if (r->in == MATCHER)
        add_matcher(r->ret, &r->matcher);
    r->in = NONE;
}

static void begin_target(struct reader *r, const char *type, const char *name)
{
    enum target_kind kind;
    bool known = target_kind_parse(type, &kind);
    const char *wrong = known ? target_name_check(r->ret, name) : "of a kind that is not known";
    if (wrong) {
        warn_at(&r->ret->warnings, STOCK_FILE, r->line, "section '%.40s: %.40s' skipped: it is %s", type,
                name, wrong);
        return;
    }
    r->target = (struct notify_target){.kind = kind, .name = xstrdup(name), .file = STOCK_FILE};
    r->in = TARGET;
    r->good = true;
}

static void begin_section(struct reader *r, char *line, unsigned number)
{
    char *colon = strchr(line, ':');
    end_section(r);
    r->line = number;
    if (!colon) {
        warn_at(&r->ret->warnings, STOCK_FILE, number, "ignored: '%.80s'", line);
        return;
    }
    *colon = 0;
    const char *name = colon + 1 + strspn(colon + 1, " \t");
    if (strcmp(line, "matcher") != 0) {
        begin_target(r, line, name);
    } else if (r->ret->n_matchers < MATCHERS_MAX) {
        r->matcher = (struct matcher){.name = xstrdup(name)};
        r->in = MATCHER;
    } else {
        warn_at(&r->ret->warnings, STOCK_FILE, number, "matcher '%.40s' is one too many", name);
    }
}

static void read_property(struct reader *r, char *line, unsigned number)
{
    char *key = line + strspn(line, " \t"), *value = key + strcspn(key, " \t");
    if (*value)
        *value++ = 0;
    value += strspn(value, " \t");
    if (r->in == TARGET) {
        const char *wrong = set_property(&r->target, r->users, r->users_len, key, value);
        if (wrong)
            warn_at(&r->ret->warnings, STOCK_FILE, number, "target '%s' is not used: %s: '%.40s %.80s'",
                    r->target.name, wrong, key, value);
        r->good = r->good && !wrong;
    } else if (r->in == MATCHER) {
        const char *wrong = matcher_set(&r->matcher, key, value);
        if (wrong)
            warn_at(&r->ret->warnings, STOCK_FILE, number,
                    "matcher '%.40s' takes whatever comes: %s: '%.40s %.80s'", r->matcher.name, wrong, key,
                    value);
    }
}

static void read_sections(struct reader *r, const char *text, size_t len)
{
    struct lines l = LINES_INIT(text, len);
    while (lines_next(&l)) {
        _cleanup_free_ char *line = xstrndup(l.text, line_trim(l.text, l.len));
        if (!*line)
            end_section(r);
        else if (*line == '#')
            continue;
        else if (line_is_blank(*line))
            read_property(r, line, l.number);
        else
            begin_section(r, line, l.number);
    }
    end_section(r);
}

/* ---- what is there without the file, too ---- */

static void add_built_in(struct reader *r)
{
    struct notify_targets *all = r->ret;
    if (!targets_find(all, ROOT_TARGET)) {
        begin_target(r, "sendmail", ROOT_TARGET);
        r->good =
            r->in == TARGET && !set_property(&r->target, r->users, r->users_len, "mailto-user", ROOT_USER);
        end_section(r);
    }
    for (size_t i = 0; i < all->n_matchers; i++)
        if (strcmp(all->matchers[i].name, "default-matcher") == 0)
            return;
    struct matcher m = {.name = xstrdup("default-matcher")};
    matcher_set(&m, "target", ROOT_TARGET);
    add_matcher(all, &m);
}

static void look_for_lost_targets(struct notify_targets *all)
{
    for (size_t i = 0; i < all->n_matchers; i++)
        for (size_t k = 0; k < all->matchers[i].targets.n; k++)
            if (!targets_find(all, all->matchers[i].targets.v[k]))
                warn_at(&all->warnings, STOCK_FILE, 0,
                        "matcher '%.40s' names target '%.40s', which is not used", all->matchers[i].name,
                        all->matchers[i].targets.v[k]);
}

/* ---- secrets ---- */

static void add_secret(struct notify_target *t, const char *key, const char *value)
{
    _cleanup_buf_ struct buf secret = BUF_INIT;
    if (strcmp(key, "secret") != 0)
        strv_addf(&t->secrets, "%s=%s", key, value);
    else if (named_value(value, "=", &secret))
        strv_add(&t->secrets, buf_str(&secret));
    if (secret.data)
        explicit_bzero(secret.data, secret.room);
}

/* NULL: no target that is used. */
static struct notify_target *target_of_head(struct notify_targets *all, const char *line)
{
    for (size_t i = 0; i < all->n; i++) {
        _cleanup_free_ char *head = xasprintf("%s: %s", target_kind_name(all->v[i].kind), all->v[i].name);
        if (strcmp(head, line) == 0)
            return &all->v[i];
    }
    return NULL;
}

static void read_secrets(struct notify_targets *all, const char *text, size_t len)
{
    struct notify_target *of = NULL;
    struct lines l = LINES_INIT(text, len);
    while (lines_next(&l)) {
        _cleanup_free_ char *line = xstrndup(l.text, line_trim(l.text, l.len));
        size_t n = strlen(line); /* less where there is a zero byte */
        char *key = line + strspn(line, " \t"), *value = key + strcspn(key, " \t");
        if (key == line)
            of = target_of_head(all, line);
        else if (of && *value) {
            *value++ = 0;
            add_secret(of, key, value + strspn(value, " \t"));
        }
        explicit_bzero(line, n);
    }
}

void stock_parse(const char *text, size_t len, const char *secrets, size_t secrets_len, const char *users,
                 size_t users_len, struct notify_targets *ret)
{
    *ret = (struct notify_targets){.file = STOCK_FILE};
    struct reader r = {.ret = ret, .users = users, .users_len = users_len};
    read_sections(&r, text, len);
    add_built_in(&r);
    look_for_lost_targets(ret);
    read_secrets(ret, secrets, secrets_len);
}

json_t *stock_event(const json_t *event)
{
    json_t *o = json_copy((json_t *)(uintptr_t)event);
    json_t *fields = json_pack("{s:s, s:s}", "type", "replication", "hostname", event_text(event, "source"));
    if (*event_text(event, "job"))
        json_object_set(fields, "job-id", json_object_get(event, "job"));
    json_object_set_new(o, "fields", fields);
    return o;
}
