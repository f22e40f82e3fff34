/* /nodes/{node}/qemu/{vmid} and /lxc/{vmid}: a guest as clients look it up before they come to its jobs. */
#include "api/serve/serve.h"

#include "base/num.h"
#include "conf/comment.h"
#include "conf/digest.h"
#include "conf/lines.h"
#include "view/json.h"

#include <stdio.h>
#include <string.h>

#define CIPASSWORD "cipassword"

/* What is a number in clients' eyes: no more than a number is written there. */
static json_t *value_json(const char *key, const char *text)
{
    uint64_t n;
    struct err ignored;
    if (strcmp(key, CIPASSWORD) == 0)
        return json_string("**********");
    bool plain =
        (*text != '0' || !text[1]) && strlen(text) <= 15 && strspn(text, "0123456789") == strlen(text);
    if (plain && num_parse_u64(key, text, 0, INT64_MAX, &n, &ignored) == 0)
        return json_integer((json_int_t)n);
    return json_text(text);
}

/* "KEY: VALUE" */
static void put_line(const char *text, size_t len, json_t *o)
{
    const char *colon = memchr(text, ':', len);
    if (!colon || colon == text)
        return;
    _cleanup_free_ char *key = xstrndup(text, (size_t)(colon - text));
    size_t rest = len - (size_t)(colon + 1 - text), lead = line_lead(colon + 1, rest);
    _cleanup_free_ char *value = xstrndup(colon + 1 + lead, line_trim(colon + 1 + lead, rest - lead));
    if (strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == strlen(key))
        json_object_set_new(o, key, value_json(key, value));
}

static void put_note(const char *text, size_t len, struct buf *note)
{
    struct err ignored;
    _cleanup_free_ char *line = xstrndup(text, len);
    _cleanup_free_ char *decoded = comment_decode(line, &ignored);
    buf_addf(note, "%s\n", decoded ? decoded : line);
}

json_t *config_json(const struct buf *text)
{
    char digest[41];
    json_t *o = json_object();
    _cleanup_buf_ struct buf note = BUF_INIT;
    struct lines l = LINES_INIT(buf_str(text), text->len);
    while (lines_next(&l) && !(l.len && *l.text == '['))
        if (l.len && *l.text == '#')
            put_note(l.text + 1, l.len - 1, &note);
        else
            put_line(l.text, l.len, o);
    if (note.len)
        json_object_set_new(o, "description", json_text(buf_str(&note)));
    digest_sha1(buf_str(text), text->len, digest);
    json_object_set_new(o, "digest", json_string(digest));
    return o;
}

static int serve_config(struct call *c, enum guest_type type, struct err *e)
{
    struct guest_entry g = {.id = (uint32_t)c->request.value[P_VMID].integer, .type = type};
    snprintf(g.node, sizeof g.node, "%s", call_text(c, P_NODE));
    _cleanup_free_ char *path = guest_config_path(&g);
    _cleanup_buf_ struct buf text = BUF_INIT;
    int r = tree_read(c->tree, path, &text, e);
    if (r > 0)
        return call_refuse(c, 500, "Configuration file '%s' does not exist", path);
    if (r == 0)
        c->data = config_json(&text);
    return r;
}

int serve_qemu_config(struct call *c, struct err *e)
{
    return serve_config(c, GUEST_QEMU, e);
}

int serve_lxc_config(struct call *c, struct err *e)
{
    return serve_config(c, GUEST_LXC, e);
}
