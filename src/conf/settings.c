#include "conf/settings.h"

#include "base/cidr.h"
#include "base/fs.h"
#include "base/num.h"
#include "conf/job.h"
#include "conf/warn.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_FILE "/etc/pvesr/pvesr.conf"
#define FILE_MAX (64 << 10)
#define POOL_PREFIX_MAX 64

static const struct key {
    const char *name, *preset; /* NULL: none, or computed */
    size_t offset;
} keys[] = {
    {"node", NULL, offsetof(struct settings, node)},
    {"cluster", "dir:/etc/pve", offsetof(struct settings, cluster)},
    {"state-dir", "/var/lib/pve-manager", offsetof(struct settings, state_dir)},
    {"log-dir", "/var/log/pve/replicate", offsetof(struct settings, log_dir)},
    {"lock-dir", "/var/lock/pve-manager", offsetof(struct settings, lock_dir)},
    {"run-dir", "/run/pvesr", offsetof(struct settings, run_dir)},
    {"storage-root", NULL, offsetof(struct settings, storage_root)},
    {"sendmail", "/usr/sbin/sendmail", offsetof(struct settings, sendmail)},
    {"mail-to", "root", offsetof(struct settings, mail_to)},
    {"pool-prefix", NULL, offsetof(struct settings, pool_prefix)},
    {"listen", NULL, offsetof(struct settings, listen)},
    {"panel-dir", "/usr/share/pvesr/panel", offsetof(struct settings, panel_dir)},
    {"metrics-allow", NULL, offsetof(struct settings, metrics_allow)},
    {"tls-cert", NULL, offsetof(struct settings, tls_cert)},
    {"tls-key", NULL, offsetof(struct settings, tls_key)},
};

static const struct number_key {
    const char *name;
    size_t offset;
    unsigned min, max, preset;
} number_keys[] = {
    {"history-days", offsetof(struct settings, history_days), 1, 3650, 30},
    {"max-workers", offsetof(struct settings, max_workers), 1, 256, 4},
    {"max-workers-per-target", offsetof(struct settings, max_per_target), 1, 256, 2},
    {"freeze-limit", offsetof(struct settings, freeze_limit), 1, 300, 30},
    {"hold-limit", offsetof(struct settings, hold_limit), 0, 300, 10},
    {"peer-limit", offsetof(struct settings, peer_limit), 1, 30 * 86400, 3600},
    {"large-blocks", offsetof(struct settings, large_blocks), 0, 1, 0},
};

static unsigned *number_slot(struct settings *s, const struct number_key *k)
{
    return (unsigned *)((char *)s + k->offset);
}

static char **slot(struct settings *s, const struct key *k)
{
    return (char **)((char *)s + k->offset);
}

static void preset(const char *file, struct settings *s)
{
    *s = (struct settings){.file = xstrdup(file)};
    for (size_t i = 0; i < ELEMENTS(number_keys); i++)
        *number_slot(s, &number_keys[i]) = number_keys[i].preset;
    for (size_t i = 0; i < ELEMENTS(keys); i++)
        if (keys[i].preset)
            *slot(s, &keys[i]) = xstrdup(keys[i].preset);
    char host[256] = "localhost";
    gethostname(host, sizeof host - 1);
    host[strcspn(host, ".")] = 0;
    s->node = xstrdup(host);
}

/* What ZFS and LVM both take at the start of a name. */
static bool is_pool_prefix(const char *s)
{
    return isalpha((unsigned char)*s) && strlen(s) <= POOL_PREFIX_MAX &&
           s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")] == 0;
}

/* 1: no such key. */
static int set_number(struct settings *s, const char *key, const char *value, struct err *e)
{
    for (size_t i = 0; i < ELEMENTS(number_keys); i++) {
        uint64_t n;
        const struct number_key *k = &number_keys[i];
        if (strcmp(key, k->name) != 0)
            continue;
        if (num_parse_u64(key, value, k->min, k->max, &n, e) < 0)
            return -1;
        *number_slot(s, k) = (unsigned)n;
        return 0;
    }
    return 1;
}

int settings_parse_listen(const char *text, char **address, uint16_t *port, struct err *e)
{
    const char *colon = strrchr(text, ':');
    bool six = *text == '[' && colon && colon > text + 1 && colon[-1] == ']';
    _cleanup_free_ char *host = !colon ? NULL
                                : six  ? xstrndup(text + 1, (size_t)(colon - text) - 2)
                                       : xstrndup(text, (size_t)(colon - text));
    unsigned char ip[sizeof(struct in6_addr)];
    uint64_t n;
    if (!host || inet_pton(six ? AF_INET6 : AF_INET, host, ip) != 1)
        return err_set(e, ERR_CONFIG, 0,
                       "listen: '%s' is not an IP address and a port, as 10.0.0.1:8006 or [::]:8006", text);
    if (num_parse_u64("listen", colon + 1, 1, 65535, &n, e) < 0)
        return -1;
    *address = take_ptr(host);
    *port = (uint16_t)n;
    return 0;
}

static int check_listen(const char *text, struct err *e)
{
    _cleanup_free_ char *address = NULL;
    uint16_t port;
    return settings_parse_listen(text, &address, &port, e);
}

bool settings_parse_network(const char *text, struct cidr *ret)
{
    _cleanup_free_ char *one = xasprintf("%s/%d", text, strchr(text, ':') ? 128 : 32);
    return cidr_parse(strchr(text, '/') ? text : one, ret);
}

static int check_networks(const char *key, const char *text, struct err *e)
{
    _cleanup_strv_ struct strv all = STRV_INIT;
    struct cidr ignored;
    strv_split(&all, text, " ,");
    for (size_t i = 0; i < all.n; i++)
        if (!settings_parse_network(all.v[i], &ignored))
            return err_set(e, ERR_CONFIG, 0,
                           "%s: '%s' is neither an IP address nor a network, as 10.0.0.0/8 or fd00::/8", key,
                           all.v[i]);
    return 0;
}

static int set_api(struct settings *s, const char *value, struct err *e)
{
    if (num_parse_bool("api", value, &s->api, e) < 0)
        return err_set(e, ERR_CONFIG, 0, "api: '%s' is neither on nor off", value);
    return 0;
}

static int set(struct settings *s, const char *key, const char *value, struct err *e)
{
    int r = strcmp(key, "api") == 0 ? set_api(s, value, e) : set_number(s, key, value, e);
    if (r <= 0)
        return r;
    if (strcmp(key, "listen") == 0 && check_listen(value, e) < 0)
        return -1;
    if (strcmp(key, "metrics-allow") == 0 && check_networks(key, value, e) < 0)
        return -1;
    for (size_t i = 0; i < ELEMENTS(keys); i++) {
        if (strcmp(key, keys[i].name) != 0)
            continue;
        bool path = strstr(key, "-dir") || strncmp(key, "tls-", 4) == 0 || strcmp(key, "storage-root") == 0 ||
                    strcmp(key, "sendmail") == 0;
        if (!*value || (path && *value != '/'))
            return err_set(e, ERR_CONFIG, 0, "%s: '%s' is not %s", key, value,
                           path ? "an absolute path" : "a value");
        if (strcmp(key, "pool-prefix") == 0 && !is_pool_prefix(value))
            return err_set(
                e, ERR_CONFIG, 0,
                "%s: '%s' cannot begin a pool's name: a letter, then letters, digits and '_.-', at "
                "most %d together",
                key, value, POOL_PREFIX_MAX);
        free(*slot(s, &keys[i]));
        *slot(s, &keys[i]) = xstrdup(value);
        return 0;
    }
    return err_set(e, ERR_CONFIG, 0, "unknown key '%s', see pvesr.conf(5)", key);
}

/* 0: it says nothing; 1: *key and *value are in it; it is taken apart. */
static int split_line(char *line, char **key, char **value, struct err *e)
{
    *key = line + strspn(line, " \t");
    size_t n = strlen(*key);
    while (n && isspace((unsigned char)(*key)[n - 1]))
        (*key)[--n] = 0;
    if (!**key || **key == '#')
        return 0;
    char *colon = strchr(*key, ':');
    if (!colon)
        return err_set(e, ERR_CONFIG, 0, "'%s' is not 'key: value'", *key);
    *colon = 0;
    *value = colon + 1 + strspn(colon + 1, " \t");
    return 1;
}

static int parse_lines(const char *file, char *text, struct settings *s, struct err *e)
{
    _cleanup_strv_ struct strv seen = STRV_INIT;
    unsigned number = 0;
    for (char *line = text; line && *line;) {
        char *next = strchr(line, '\n'), *key = NULL, *value = NULL;
        if (next)
            *next++ = 0;
        number++;
        int r = split_line(line, &key, &value, e);
        if (r < 0 || (r > 0 && set(s, key, value, e) < 0)) {
            e->kind = ERR_CONFIG;
            return err_wrap(e, "%s:%u", file, number);
        }
        if (r > 0 && strv_has(&seen, key))
            warn_at(&s->warnings, file, number, "'%s' is there twice, the last one counts", key);
        if (r > 0)
            strv_add(&seen, key);
        line = next;
    }
    return 0;
}

static int check_whole(const char *file, const struct settings *s, struct err *e)
{
    if (!s->tls_cert != !s->tls_key)
        return err_set(e, ERR_CONFIG, 0, "%s: tls-cert and tls-key belong together: set both or neither",
                       file);
    if (node_name_check(s->node, e) < 0) {
        e->kind = ERR_CONFIG;
        return err_wrap(e, "%s: node", file);
    }
    return 0;
}

/* What a crash makes of a file that was just written. */
static void look_for_damage(const char *file, const char *text, size_t len, struct strv *warnings)
{
    if (strlen(text) < len)
        strv_addf(
            warnings,
            "%s has zero bytes behind its first %zu bytes, and nothing counts from there on: was it damaged "
            "by a crash? Write it anew",
            file, strlen(text));
    else if (text[len - 1] != '\n')
        strv_addf(warnings, "%s ends in the midst of a line: it was cut off, or lacks a line feed at its end",
                  file);
}

int settings_parse(const char *file, const char *text, size_t len, struct settings *ret, struct err *e)
{
    preset(file, ret);
    _cleanup_free_ char *copy = xstrdup(text);
    if (len)
        look_for_damage(file, text, len, &ret->warnings);
    if (parse_lines(file, copy, ret, e) == 0 && check_whole(file, ret, e) == 0)
        return 0;
    settings_release(ret);
    return -1;
}

/* Agents and runs are given the path and may work in another directory. */
static char *absolute(const char *file)
{
    _cleanup_free_ char *here = *file == '/' ? NULL : getcwd(NULL, 0);
    return here ? xasprintf("%s/%s", here, file) : xstrdup(file);
}

int settings_load(const char *option, struct settings *ret, struct err *e)
{
    const char *env = getenv("PVESR_CONFIG");
    _cleanup_free_ char *file = absolute(option ? option : env && *env ? env : DEFAULT_FILE);
    _cleanup_buf_ struct buf text = BUF_INIT;
    int r = fs_read(file, FILE_MAX, &text, e);
    if (r < 0)
        return -1;
    if (r > 0 && option)
        return err_set(e, ERR_CONFIG, 0, "the settings file '%s' does not exist", option);
    if (settings_parse(file, buf_str(&text), text.len, ret, e) < 0)
        return -1;
    if (r == 0 && !text.len)
        strv_addf(&ret->warnings,
                  "%s is empty, so all defaults count: if it had settings, write it anew, else remove it",
                  file);
    return 0;
}

void settings_release(struct settings *s)
{
    for (size_t i = 0; i < ELEMENTS(keys); i++)
        free(*slot(s, &keys[i]));
    free(s->file);
    strv_release(&s->warnings);
    *s = (struct settings){0};
}
