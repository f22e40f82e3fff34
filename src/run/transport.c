#include "run/transport.h"

#include "base/cidr.h"
#include "base/fs.h"
#include "base/modes.h"
#include "base/num.h"
#include "wire/ssh.h"

#include <string.h>

#define REMEMBERED_MAX 256

int transport_load(struct env *env, struct joblog *log, struct err *e)
{
    if (env_transport(env, e) < 0)
        return -1;
    for (size_t i = 0; i < env->transport_warnings.n; i++)
        joblog_add(log, "%s", env->transport_warnings.v[i]);
    if (env->transport.insecure)
        joblog_add(log, "datacenter.cfg allows insecure transmission: there is none, the link stays secure");
    return 0;
}

const char *transport_network(const struct env *env, const struct node *target)
{
    return strcmp(target->address, "local") == 0 ? NULL : env->transport.network;
}

void transport_log(struct joblog *log, const struct env *env, const struct member *target, double rate)
{
    const char *network = transport_network(env, &target->node);
    char limit[32];
    num_print_double(rate, limit);
    joblog_add(log, "using secure transmission%s%s, rate limit: %s%s", network ? " over " : "",
               network ? network : "", rate > 0 ? limit : "none", rate > 0 ? " MByte/s" : "");
}

char *transport_choose(const char *node, const char *network, const struct strv *addresses, struct err *e)
{
    struct cidr cidr;
    bool ok = cidr_parse(network, &cidr);
    for (size_t i = 0; i < addresses->n; i++)
        if (!ok || !cidr_has(&cidr, addresses->v[i])) {
            err_set(e, ERR_DATA, 0, "node '%s' named '%.64s' as its address in network '%s'", node,
                    addresses->v[i], network);
            return NULL;
        }
    if (addresses->n == 1)
        return xstrdup(addresses->v[0]);
    _cleanup_free_ char *list = strv_join(addresses, ", ");
    if (addresses->n == 0)
        err_set(e, ERR_CONFIG, 0,
                "failed to get ip for node '%s' in network '%s': it has none there; give it one or correct "
                "'network' in datacenter.cfg",
                node, network);
    else
        err_set(e, ERR_CONFIG, 0,
                "failed to get ip for node '%s' in network '%s': it has several there (%.200s); choose a "
                "narrower 'network' in datacenter.cfg",
                node, network, list);
    return NULL;
}

/* ---- what was asked before: one line "NETWORK ADDRESS" ---- */

static char *remembered_path(const struct link_target *t)
{
    _cleanup_free_ char *control = ssh_control_path(t);
    return control ? xasprintf("%s.address", control) : NULL;
}

char *transport_recall(const struct link_target *t, const char *network)
{
    _cleanup_free_ char *path = remembered_path(t);
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_strv_ struct strv words = STRV_INIT;
    struct cidr cidr;
    struct err ignored;
    if (!path || fs_read(path, REMEMBERED_MAX, &text, &ignored) != 0)
        return NULL;
    strv_split(&words, buf_str(&text), " \n");
    return words.n == 2 && strcmp(words.v[0], network) == 0 && cidr_parse(network, &cidr) &&
                   cidr_has(&cidr, words.v[1])
               ? xstrdup(words.v[1])
               : NULL;
}

void transport_remember(const struct link_target *t, const char *network, const char *address)
{
    _cleanup_free_ char *path = remembered_path(t);
    _cleanup_free_ char *line = xasprintf("%s %s\n", network, address);
    struct err ignored;
    if (path)
        fs_write_atomic(path, line, strlen(line), MODE_NOTE, &ignored);
}

void transport_forget(const struct link_target *t)
{
    _cleanup_free_ char *path = remembered_path(t);
    struct err ignored;
    if (path)
        fs_unlink(path, &ignored);
}
