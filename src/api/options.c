#include "api/options.h"

#include "conf/datacenter.h"

#include <string.h>

#define FILE_NAME "datacenter.cfg"

static void apply(struct buf *text, const char *change)
{
    const char *equals = strchrnul(change, '=');
    _cleanup_free_ char *key = xstrndup(change, (size_t)(equals - change));
    struct buf now = BUF_INIT;
    datacenter_set(buf_str(text), text->len, key, *equals ? equals + 1 : NULL, &now);
    buf_release(text);
    *text = now;
}

int options_write(struct tree *t, const char *changes, struct err *e)
{
    _cleanup_strv_ struct strv all = STRV_INIT;
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_(tree_unlockp) struct tree_lock *lock = tree_lock(t, FILE_NAME, e);
    if (!lock || tree_read(t, FILE_NAME, &text, e) < 0)
        return -1;
    strv_split(&all, changes, "\n");
    for (size_t i = 0; i < all.n; i++)
        apply(&text, all.v[i]);
    return tree_write(t, FILE_NAME, buf_str(&text), text.len, e);
}
