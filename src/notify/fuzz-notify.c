/* libFuzzer: files of targets, ours and Proxmox VE's: the text, a zero byte, the secrets. Whatever is taken
 * has what sending needs. */
#include "notify/stock.h"
#include "notify/template.h"

#include <stdlib.h>
#include <string.h>

static void use(struct notify_targets *t)
{
    json_t *event =
        event_json(&(struct event){.kind = EVENT_FAILURE, .job = "1-0", .source = "a", .target = "b"});
    json_t *o = t->n_matchers ? stock_event(event) : json_incref(event);
    for (size_t i = 0; i < t->n; i++) {
        const struct notify_target *x = &t->v[i];
        struct err e;
        _cleanup_buf_ struct buf out = BUF_INIT;
        targets_want(t, x, event, 1);
        if (!*x->name || (x->kind == TARGET_WEBHOOK  ? !x->url
                          : x->kind == TARGET_GOTIFY ? !x->server
                                                     : !x->mail_to))
            abort();
        if (x->body)
            template_fill(x->body, o, &x->secrets, &out, &e);
    }
    json_decref(o);
    json_decref(event);
    targets_release(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct notify_targets t;
    const char *text = (const char *)data, *zero = size ? memchr(text, 0, size) : NULL;
    size_t n = zero ? (size_t)(zero - text) : size, rest = size - n;
    const char *secrets = zero ? zero + 1 : "";
    targets_parse(text, n, secrets, rest ? rest - 1 : 0, &t);
    use(&t);
    stock_parse(text, n, secrets, rest ? rest - 1 : 0, "user:u@p:1:0:::a@b::\n", 21, &t);
    use(&t);
    return 0;
}
