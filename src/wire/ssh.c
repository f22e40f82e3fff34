#include "wire/ssh.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/modes.h"
#include "base/proc.h"
#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <xxhash.h>

#define SSH "/usr/bin/ssh"
/* ssh makes the socket under a temporary name, 17 bytes longer, and sun_path holds 108 with the end. */
#define CONTROL_PATH_MAX 90
#define CONNECT_SECONDS 10
#define MASTER_SECONDS 13 /* the wait for another run's attempt included */
#define PERSIST_SECONDS "600"
/* Fastest first, measured, where AES is among the processor's own instructions; '^': before the defaults,
 * which stay as the fallback. Else the defaults, which begin with ChaCha20. */
#define CIPHERS_OF_AES                                                                                       \
    "^aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,chacha20-poly1305@openssh.com"

void shell_quote(struct buf *b, const char *word)
{
    static const char plain[] = "%+,-./:=@_";
    size_t n = 0;
    while (word[n] && (isalnum((unsigned char)word[n]) || strchr(plain, word[n])))
        n++;
    if (n > 0 && !word[n]) {
        buf_adds(b, word);
        return;
    }
    buf_addc(b, '\'');
    for (; *word; word++)
        if (*word == '\'')
            buf_adds(b, "'\\''");
        else
            buf_addc(b, *word);
    buf_addc(b, '\'');
}

static bool made_of(const char *text, const char *others)
{
    size_t n = strlen(text);
    if (n == 0 || n > 255 || text[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!(isalnum((unsigned char)text[i]) && (unsigned char)text[i] < 128) && !strchr(others, text[i]))
            return false;
    return true;
}

int ssh_check_target(const struct link_target *t, struct err *e)
{
    if (!made_of(t->node, "-."))
        return err_set(e, ERR_CONFIG, 0, "'%s' cannot be the name of a node", t->node);
    if (!made_of(t->address, "-._:%"))
        return err_set(e, ERR_CONFIG, 0, "node '%s': '%s' cannot be an address: correct it in nodes.cfg",
                       t->node, t->address);
    if (!made_of(t->user, "-._"))
        return err_set(e, ERR_CONFIG, 0, "node '%s': '%s' cannot be a user: correct it in nodes.cfg", t->node,
                       t->user);
    if (t->port == 0)
        return err_set(e, ERR_CONFIG, 0, "node '%s': 0 cannot be a port: correct it in nodes.cfg", t->node);
    /* ssh expands % and ${} in file names and splits them at blanks. */
    if (t->known_hosts && (t->known_hosts[0] != '/' || !made_of(t->known_hosts, "/-._+@=,:")))
        return err_set(e, ERR_CONFIG, 0, "node '%s': ssh cannot take '%s' as the file of known hosts",
                       t->node, t->known_hosts);
    return 0;
}

static bool has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_cpu_supports("aes");
#elif defined(__aarch64__)
    return getauxval(AT_HWCAP) & HWCAP_AES;
#else
    return false;
#endif
}

void ssh_options(const struct link_target *t, int connect_seconds, struct strv *argv)
{
    strv_adds(argv, SSH, "-e", "none", "-o", "BatchMode=yes", "-o", NULL);
    strv_addf(argv, "HostKeyAlias=%s", t->node);
    if (t->known_hosts) {
        strv_add(argv, "-o");
        strv_addf(argv, "UserKnownHostsFile=%s", t->known_hosts);
        strv_adds(argv, "-o", "GlobalKnownHostsFile=none", NULL);
    }
    strv_add(argv, "-o");
    strv_addf(argv, "ConnectTimeout=%d", connect_seconds);
    if (has_aes())
        strv_adds(argv, "-o", "Ciphers=" CIPHERS_OF_AES, NULL);
    /* What ssh_config(5) may set for all hosts, and what would keep the agent's words from it or put others
     * before them, counts for other connections. */
    strv_adds(argv, "-o", "RemoteCommand=none", "-o", "PermitLocalCommand=no", "-o", "LogLevel=INFO", NULL);
    strv_adds(argv, "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3", "-o", "Compression=no",
              "-o", "IPQoS=throughput", "-o", "ClearAllForwardings=yes", "-a", "-x", "-T", "-p", NULL);
    strv_addf(argv, "%u", t->port);
}

void ssh_destination(const struct link_target *t, struct strv *argv)
{
    strv_adds(argv, "-o", "StdinNull=no", "-o", "ForkAfterAuthentication=no", "-o", "SessionType=default",
              NULL);
    strv_addf(argv, "%s@%s", t->user, t->address);
    strv_add(argv, "--");
}

/* ---- the shared master ---- */

char *ssh_control_path(const struct link_target *t)
{
    if (!t->run_dir || t->run_dir[0] != '/' || !made_of(t->run_dir, "/-._+@=,:"))
        return NULL;
    _cleanup_free_ char *what = xasprintf("%s@%s:%u,%s,%s", t->user, t->address, t->port, t->node,
                                          t->known_hosts ? t->known_hosts : "");
    char *path = xasprintf("%s/ssh-%016llx", t->run_dir, (unsigned long long)XXH3_64bits(what, strlen(what)));
    if (strlen(path) > CONTROL_PATH_MAX) {
        free(path);
        return NULL;
    }
    return path;
}

static bool listens(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    return fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
}

static void last_line(const struct buf *text, char *out, size_t room)
{
    const char *end = buf_str(text) + text->len;
    while (end > buf_str(text) && isspace((unsigned char)end[-1]))
        end--;
    const char *begin = end;
    while (begin > buf_str(text) && begin[-1] != '\n' && begin[-1] != '\r')
        begin--;
    snprintf(out, room, "%.*s", (int)(end - begin), begin);
    text_clean(out);
}

static int start_master(const struct link_target *t, const char *control, double seconds, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    int connect_seconds = seconds < CONNECT_SECONDS ? (int)seconds : CONNECT_SECONDS;
    ssh_options(t, connect_seconds > 1 ? connect_seconds : 1, &argv);
    strv_adds(&argv, "-M", "-N", "-f", "-o", "ControlMaster=yes", "-o", "ControlPersist=" PERSIST_SECONDS,
              "-o", NULL);
    strv_addf(&argv, "ControlPath=%s", control);
    strv_addf(&argv, "%s@%s", t->user, t->address);

    struct proc_options o = {.seconds = seconds, .new_session = true};
    struct proc_result r = {0};
    int result = proc_run(argv.v, &o, &r, e);
    if (result < 0) {
        e->kind = ERR_NETWORK;
    } else if (r.status != 0) {
        char line[512];
        last_line(&r.err, line, sizeof line);
        result = err_set(e, ERR_NETWORK, 0, "%s", line[0] ? line : "ssh failed and did not say why");
    }
    proc_result_release(&r);
    return result < 0 ? err_wrap(e, "no connection to %s@%s port %u", t->user, t->address, t->port) : 0;
}

int ssh_master(const struct link_target *t, const char *control, struct err *e)
{
    if (listens(control))
        return 0;
    double deadline = clock_mono() + MASTER_SECONDS;
    _cleanup_free_ char *lock_path = xasprintf("%s.lock", control);
    if (fs_mkdir_p(t->run_dir, MODE_FOLDER, e) < 0)
        return -1;
    _cleanup_(lock_freep) struct lock *lock = lock_take(lock_path, true, MASTER_SECONDS - 3, false, e);
    if (!lock)
        return e->kind == ERR_BUSY
                   ? err_set(e, ERR_NETWORK, 0, "no connection to %s@%s port %u: another run is still trying",
                             t->user, t->address, t->port)
                   : -1;
    if (listens(control))
        return 0;
    if (fs_unlink(control, e) < 0) /* left by a master that was killed; ssh would not replace it */
        return -1;
    return start_master(t, control, deadline - clock_mono(), e);
}
