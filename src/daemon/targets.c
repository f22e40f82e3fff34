#include "daemon/targets.h"

#include "conf/digest.h"
#include "notify/stock.h"

#include <string.h>

static int read_secrets(struct tree *t, const char *file, struct buf *ret, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("priv/%s", file);
    return tree_read(t, path, ret, e);
}

static void forget(struct buf *secrets)
{
    if (secrets->data)
        explicit_bzero(secrets->data, secrets->room);
    buf_release(secrets);
}

static void digest_secrets(struct tree *t, const char *file, char ret[41])
{
    struct err ignored;
    struct buf secrets = BUF_INIT;
    *ret = 0;
    if (read_secrets(t, file, &secrets, &ignored) >= 0)
        digest_sha1(buf_str(&secrets), secrets.len, ret);
    forget(&secrets);
}

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
    else
        digest_secrets(t, ret->file, ret->secrets);
    return r < 0 ? -1 : 0;
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (!a->len || memcmp(a->data, b->data, a->len) == 0);
}

bool targets_text_equal(const struct targets_text *a, const struct targets_text *b)
{
    return a->file && b->file && strcmp(a->file, b->file) == 0 && same(&a->text, &b->text) &&
           same(&a->users, &b->users) && strcmp(a->secrets, b->secrets) == 0;
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
    struct buf secrets = BUF_INIT;
    if (targets_text_read(t, &x, e) < 0)
        return -1;
    int r = read_secrets(t, x.file, &secrets, e);
    if (r >= 0)
        parse(&x, &secrets, ret);
    forget(&secrets);
    targets_text_release(&x);
    return r < 0 ? -1 : 0;
}
