#include "notify/template.h"

#include <ctype.h>
#include <string.h>

const char *secret_find(const struct strv *secrets, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < secrets->n; i++)
        if (strncmp(secrets->v[i], name, n) == 0 && secrets->v[i][n] == '=')
            return secrets->v[i] + n + 1;
    return NULL;
}

static void add_json(struct buf *out, const char *value)
{
    json_t *text = json_string(value);
    char *quoted = json_dumps(text, JSON_ENCODE_ANY);
    if (quoted)
        buf_add(out, quoted + 1, strlen(quoted) - 2);
    free(quoted);
    json_decref(text);
}

static void add_url(struct buf *out, const char *value)
{
    for (const unsigned char *p = (const unsigned char *)value; *p; p++)
        if (isalnum(*p) || strchr("-._~", *p))
            buf_addc(out, (char)*p);
        else
            buf_addf(out, "%%%02X", *p);
}

static int fill_gap(const char *gap, const json_t *event, const struct strv *secrets, struct buf *out,
                    struct err *e)
{
    _cleanup_strv_ struct strv words = STRV_INIT;
    strv_split(&words, gap, " \t");
    const char *how = words.n == 2 ? words.v[0] : "", *key = words.n ? words.v[words.n - 1] : "";
    bool is_secret = strcmp(how, "secret") == 0;
    const char *value =
        is_secret ? secret_find(secrets, key) : json_string_value(json_object_get(event, key));
    bool known = !*how || is_secret || strcmp(how, "json") == 0 || strcmp(how, "url") == 0;
    if (!value || !known || words.n == 0 || words.n > 2)
        return err_set(e, ERR_CONFIG, 0, "nothing fills '{{%s}}'%s", gap,
                       is_secret ? ": give the secret in priv/notify.cfg" : "; pvesr.conf(5) lists the keys");
    if (strcmp(how, "json") == 0)
        add_json(out, value);
    else if (strcmp(how, "url") == 0)
        add_url(out, value);
    else
        buf_adds(out, value);
    return 0;
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
