#include "run/source/peer-hint.h"

#include "base/mem.h"

#include <ctype.h>
#include <string.h>

#define NOISE_MAX 160
#define INSTALL "install pvesr on that node, or name its agent in nodes.cfg"
#define PING "does that node run, and can this one ping its address?"

static const struct {
    const char *said, *hint;
} hints[] = {
    {"unknown command 'pvesr agent'",
     "that node has only Proxmox VE's own pvesr: install this one there, too"},
    {"command not found", INSTALL},
    {": not found", INSTALL},
    {"account is currently not available", "the user there has no shell: name another one in nodes.cfg"},
    {"Connection refused", "does sshd run there? Else correct address and port in nodes.cfg"},
    {"Connection timed out", PING},
    {"No route to host", PING},
    {"Network is unreachable", PING},
    {"Could not resolve hostname", "correct its address in nodes.cfg, or name the host in /etc/hosts"},
    {"ad configuration option", "correct the file of this node that ssh names, see ssh_config(5)"},
    {"Permission denied (",
     "that node does not accept this node's key: see authorized_keys of the user there"},
};

static char *known_hosts_hint(const struct link_target *t)
{
    return xasprintf("the key of the machine at %s is looked for under the name '%s' in %s: put the "
                     "machine's new key there if it "
                     "was installed anew, else find out who answers at that address",
                     t->address, t->node,
                     t->known_hosts ? t->known_hosts : "~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts");
}

void peer_hint(const struct link_target *t, struct err *e)
{
    _cleanup_free_ char *said = xstrdup(e->text);
    _cleanup_free_ char *keys = strstr(said, "Host key verification failed") ? known_hosts_hint(t) : NULL;
    const char *hint = keys;
    for (size_t i = 0; !hint && i < ELEMENTS(hints); i++)
        if (strstr(said, hints[i].said))
            hint = hints[i].hint;
    if (hint)
        err_set(e, e->kind, 0, "%.*s: %s", (int)strlen(said) - (said[strlen(said) - 1] == '.'), said, hint);
}

static bool is_words(const char *text)
{
    size_t letters = 0;
    for (const char *p = text; *p; p++)
        letters += isalpha((unsigned char)*p) || *p == ' ';
    return letters * 2 > strlen(text);
}

void peer_hint_noise(const struct link *l, struct err *e)
{
    char noise[NOISE_MAX + 1];
    if (e->kind != ERR_DATA && e->kind != ERR_NETWORK)
        return;
    channel_noise(l->channel, noise, sizeof noise);
    if (is_words(noise))
        err_set(e, ERR_CONFIG, 0,
                "before the agent's first word comes '%s': a file that the shell there reads at its start "
                "prints it; let it do so only in interactive shells",
                noise);
}
