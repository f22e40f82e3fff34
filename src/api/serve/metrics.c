/* /metrics: what `pvesr metrics` says of the jobs, and what the daemon says of itself
 * (BEHAVIOUR.md#metrics). */
#include "api/serve/serve.h"

#include "base/cidr.h"
#include "view/metrics.h"

#include <string.h>

bool scrape_is_allowed(const struct settings *s, const char *address)
{
    _cleanup_strv_ struct strv networks = STRV_INIT;
    strv_split(&networks, s->metrics_allow ? s->metrics_allow : "", " ,");
    for (size_t i = 0; i < networks.n; i++) {
        struct cidr network;
        if (settings_parse_network(networks.v[i], &network) && cidr_has(&network, address))
            return true;
    }
    return false;
}

static int add_own(struct call *c, const struct child_result *r, struct err *e)
{
    const char *text = buf_str(&r->out);
    buf_add(&c->text, text, metrics_cut_end(text, r->out.len));
    if (c->api->add_metrics)
        c->api->add_metrics(&c->text, c->api->metrics_arg);
    metrics_print_end(&c->text);
    return 0;
}

int serve_metrics(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    strv_add(&argv, "metrics");
    return call_pvesr(c, &argv, add_own, e);
}
