#include "run/source/peer-hint.h"

#include "base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define NOISE_MAX 160
#define INSTALL "install pvesr on that node, or name its agent in nodes.cfg"
#define PING "does that node run, and can this one ping its address?"
#define CLOSED "closed before a word was said"

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
    {"UNKNOWN port 65535", "the ProxyJump or ProxyCommand that ssh_config(5) of this node sets for that "
                           "address failed: correct or remove it"},
    {"Permission denied (",
     "that node does not accept this node's key: see authorized_keys of the user there"},
    {"another run is still trying", "the next run tries again"},
};

static char *known_hosts_hint(const struct link_target *t)
{
    return xasprintf("the key of the machine at %s is looked for under the name '%s' in %s: put the "
                     "machine's new key there if it "
                     "was installed anew, else find out who answers at that address",
                     t->address, t->node,
                     t->known_hosts ? t->known_hosts : "~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts");
}

/* To be copied: how this node calls that one. */
static char *by_hand(const struct link_target *t, const char *option, const char *command)
{
    return strcmp(t->address, "local") == 0
               ? xstrdup(command)
               : xasprintf("ssh %s-p %u %s@%s %s", option, t->port, t->user, t->address, command);
}

/* Where nothing that was said is known. */
static char *look_hint(const struct link_target *t, const char *said)
{
    bool closed = strstr(said, CLOSED);
    _cleanup_free_ char *call = closed ? by_hand(t, "", t->agent) : by_hand(t, "-v ", "true");
    if (closed)
        return xasprintf("what does '%s' on this node say? It is to wait for words of pvesr: see 'agent' in "
                         "nodes.cfg, and a command that sshd or the key there may be bound to",
                         call);
    return strncmp(said, "no connection to ", 17) == 0 ? xasprintf("'%s' on this node tells more", call)
                                                       : NULL;
}

void peer_hint(const struct link_target *t, struct err *e)
{
    _cleanup_free_ char *said = xstrdup(e->text);
    _cleanup_free_ char *own = strstr(said, "Host key verification failed") ? known_hosts_hint(t) : NULL;
    const char *hint = own;
    for (size_t i = 0; !hint && i < ELEMENTS(hints); i++)
        if (strstr(said, hints[i].said))
            hint = hints[i].hint;
    if (!hint && e->kind == ERR_NETWORK)
        hint = own = look_hint(t, said);
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

static void hint_silence(const struct link_target *t, struct err *e)
{
    _cleanup_free_ char *said = xstrdup(e->text);
    _cleanup_free_ char *call = by_hand(t, "", "true");
    char *reason = strstr(said, ": Connection timed out");
    if (reason)
        *reason = 0;
    if (strcmp(t->address, "local") == 0)
        err_set(e, ERR_NETWORK, 0, "%s: its agent was started, and stands still: see 'agent' in nodes.cfg",
                said);
    else
        err_set(
            e, ERR_NETWORK, 0,
            "%s, though it was connected: 'time %s' on this node tells whether that node answers, and how "
            "slowly; if it does at once, its agent stands still. The next run connects anew",
            said, call);
}

static void hint_noise(const struct link_target *t, const char *noise, struct err *e)
{
    _cleanup_free_ char *call = by_hand(t, "", t->agent);
    if (is_words(noise))
        err_set(
            e, ERR_CONFIG, 0,
            "before the agent's first word comes '%s': that is what a file prints that the shell there reads "
            "at "
            "its start (let it do so only in interactive shells), or what sshd, the key there or nodes.cfg "
            "has in the agent's place",
            noise);
    else if (*noise && e->kind == ERR_DATA)
        err_set(e, ERR_DATA, 0,
                "%s: what answers is no agent: what does '%s' on this node print? It is to wait in silence: "
                "see 'agent' in nodes.cfg, and what the shell there reads at its start",
                e->text, call);
}

void peer_hint_first(const struct link_target *t, const struct link *l, struct err *e)
{
    char noise[NOISE_MAX + 1];
    if (e->kind != ERR_DATA && e->kind != ERR_NETWORK)
        return;
    channel_noise(l->channel, noise, sizeof noise);
    if (e->code == ETIMEDOUT && !is_words(noise))
        hint_silence(t, e);
    else
        hint_noise(t, noise, e);
}
