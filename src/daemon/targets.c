#include "daemon/targets.h"

#include "notify/stock.h"

#include <string.h>

int targets_text_read(struct tree *t, struct targets_text *ret, struct err *e)
{
    *ret = (struct targets_text){.file = NOTIFY_FILE, .text = BUF_INIT, .users = BUF_INIT};
    int r = tree_read(t, NOTIFY_FILE, &ret->text, e);
    if (r > 0 && (r = tree_read(t, STOCK_FILE, &ret->text, e)) == 0) {
        ret->file = STOCK_FILE;
        r = tree_read(t, "user.cfg", &ret->users, e);
    }
    if (r < 0)
        targets_text_release(ret);
    return r < 0 ? -1 : 0;
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (!a->len || memcmp(a->data, b->data, a->len) == 0);
}

bool targets_text_equal(const struct targets_text *a, const struct targets_text *b)
{
    return a->file && b->file && strcmp(a->file, b->file) == 0 && same(&a->text, &b->text) &&
           same(&a->users, &b->users);
}

void targets_text_release(struct targets_text *x)
{
    buf_release(&x->text);
    buf_release(&x->users);
}

static void parse(const struct targets_text *x, const struct buf *secrets, struct notify_targets *ret)
{
    const char *text = buf_str(&x->text), *hidden = secrets ? buf_str(secrets) : "";
    size_t n = secrets ? secrets->len : 0;
    if (strcmp(x->file, STOCK_FILE) == 0)
        stock_parse(text, x->text.len, hidden, n, buf_str(&x->users), x->users.len, ret);
    else
        targets_parse(text, x->text.len, hidden, n, ret);
}

void targets_of_text(const struct targets_text *x, struct notify_targets *ret)
{
    parse(x, NULL, ret);
}

int targets_load(struct tree *t, struct notify_targets *ret, struct err *e)
{
    struct targets_text x;
    _cleanup_buf_ struct buf secrets = BUF_INIT;
    if (targets_text_read(t, &x, e) < 0)
        return -1;
    _cleanup_free_ char *path = xasprintf("priv/%s", x.file);
    int r = tree_read(t, path, &secrets, e);
    if (r >= 0)
        parse(&x, &secrets, ret);
    if (secrets.data)
        explicit_bzero(secrets.data, secrets.room);
    targets_text_release(&x);
    return r < 0 ? -1 : 0;
}
