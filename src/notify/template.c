#include "notify/template.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

const char *secret_find(const struct strv *secrets, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < secrets->n; i++)
        if (strncmp(secrets->v[i], name, n) == 0 && secrets->v[i][n] == '=')
            return secrets->v[i] + n + 1;
    return NULL;
}

static void add_json(struct buf *out, const json_t *value, bool whole)
{
    char *quoted = json_dumps(value, JSON_ENCODE_ANY | JSON_SORT_KEYS);
    size_t n = quoted ? strlen(quoted) : 0;
    if (whole)
        buf_add(out, quoted, n);
    else if (n > 2)
        buf_add(out, quoted + 1, n - 2);
    free(quoted);
}

static void add_url(struct buf *out, const char *value)
{
    for (const unsigned char *p = (const unsigned char *)value; *p; p++)
        if (isalnum(*p) || strchr("-._~", *p))
            buf_addc(out, (char)*p);
        else
            buf_addf(out, "%%%02X", *p);
}

enum how { PLAIN, SECRET, JSON, WHOLE_JSON, URL, HOWS };

static enum how how_of(const char *word, bool stock)
{
    static const char *const words[2][HOWS] = {{"", "secret", "json", "-", "url"},
                                               {"", "-", "escape", "json", "url-encode"}};
    enum how h = PLAIN;
    while (h < HOWS && strcmp(words[stock][h], word) != 0)
        h++;
    return h;
}

/* Borrowed, or NULL. */
static const json_t *value_of(const json_t *event, const char *key)
{
    bool of_fields = strncmp(key, "fields.", 7) == 0;
    return of_fields ? json_object_get(json_object_get(event, "fields"), key + 7)
                     : json_object_get(event, key);
}

static void add_value(enum how how, const json_t *value, struct buf *out)
{
    if (how == JSON || how == WHOLE_JSON)
        add_json(out, value, how == WHOLE_JSON);
    else if (how == URL)
        add_url(out, json_string_value(value));
    else
        buf_adds(out, json_string_value(value));
}

static int fill_gap(const char *gap, const json_t *event, const struct strv *secrets, struct buf *out,
                    struct err *e)
{
    _cleanup_strv_ struct strv words = STRV_INIT;
    strv_split(&words, gap, " \t");
    bool stock = json_object_get(event, "fields"), few = words.n == 1 || words.n == 2;
    const char *key = few ? words.v[words.n - 1] : "";
    enum how how = few ? how_of(words.n == 2 ? words.v[0] : "", stock) : HOWS;
    bool of_secrets = stock && strncmp(key, "secrets.", 8) == 0;
    const char *secret = of_secrets      ? secret_find(secrets, key + 8)
                         : how == SECRET ? secret_find(secrets, key)
                                         : NULL;
    json_t *value = secret          ? json_string_nocheck(secret)
                    : how == SECRET ? NULL
                                    : json_incref((json_t *)(uintptr_t)value_of(event, key));
    bool good = how < HOWS && (how == WHOLE_JSON ? value != NULL : json_is_string(value));
    if (good)
        add_value(how, value, out);
    json_decref(value);
    if (good)
        return 0;
    return err_set(e, ERR_CONFIG, 0, "nothing fills '{{%s}}'%s", gap,
                   how == SECRET || of_secrets ? ": give the secret in the file below priv/"
                   : stock                     ? ""
                                               : "; pvesr.conf(5) lists the keys");
}

int template_fill(const char *text, const json_t *event, const struct strv *secrets, struct buf *out,
                  struct err *e)
{
    for (const char *open; (open = strstr(text, "{{"));) {
        const char *close = strstr(open, "}}");
        if (!close)
            return err_set(e, ERR_CONFIG, 0, "'%.40s' has no end: '}}' is missing", open);
        _cleanup_free_ char *gap = xstrndup(open + 2, (size_t)(close - open) - 2);
        buf_add(out, text, (size_t)(open - text));
        if (fill_gap(gap, event, secrets, out, e) < 0)
            return -1;
        text = close + 2;
    }
    buf_adds(out, text);
    return 0;
}
