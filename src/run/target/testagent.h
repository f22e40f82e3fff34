/* An agent to talk to: a tree of configuration, and the process that serves one conversation. */
#pragma once

#include "run/target/agent.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/proc.h"
#include "run/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define DISK "st:100/vm-100-disk-0.raw"
#define OPEN "{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[\"" DISK "\"],\"scan\":[\"st\"]}"
#define LOOK "{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[\"" DISK "\"],\"scan\":[],\"look\":true}"
#define DIGEST(id, offset, blocks)                                                                           \
    "{\"do\":\"digest\",\"volume\":\"" DISK "\",\"id\":\"" id "\",\"offset\":" offset ",\"blocks\":" blocks  \
    "}"
#define MARK(id, damaged)                                                                                    \
    "{\"do\":\"mark\",\"volume\":\"" DISK "\",\"id\":\"" id "\",\"damaged\":" damaged "}"
#define STAGE                                                                                                \
    "{\"do\":\"stage\",\"volume\":\"" DISK "\",\"snapshot\":\"__replicate_100-0_5__\",\"id\":\"" ID_A        \
    "\",\"created\":5,"                                                                                      \
    "\"base\":\"\",\"size\":65536,\"replace\":false,\"resume\":false}"

static char dir[64];
static struct agent_options options; /* of the agents to come; no patience */

static inline void put(const char *name, const char *text)
{
    struct err e = {0};
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
    _cleanup_free_ char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    assert_int_equal(fs_mkdir_p(parent, 0755, &e), 0);
    assert_int_equal(fs_write_atomic(path, text, strlen(text), 0644, &e), 0);
}

static inline int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/pvesr-agent-XXXXXX");
    assert_non_null(mkdtemp(dir));
    put("tree/storage.cfg", "dir: st\n\tpath /st\n\n");
    put("tree/nodes.cfg", "node: pve1\n\taddress local\n\nnode: pve2\n\taddress local\n\n");
    put("tree/nodes/pve1/qemu-server/100.conf", "scsi0: " DISK "\n");
    put("tree/nodes/pve2/qemu-server/200.conf", "scsi0: st:200/vm-200-disk-0.raw\n");
    put("tree/nodes/pve3/qemu-server/300.conf", "scsi0: st:300/vm-300-disk-0.raw\n");
    put("tree/nodes/pve1/qemu-server/500.conf", "scsi0: st:500/vm-500-disk-0.raw\n");
    put("tree/nodes/pve3/qemu-server/500.conf", "scsi0: st:500/vm-500-disk-0.raw\n");
    put("pve2/st/keep", "");
    _cleanup_free_ char *conf =
        xasprintf("node: pve2\ncluster: dir:%s/tree\nstate-dir: %s/state\nlog-dir: %s/log\n"
                  "lock-dir: %s/lock\nrun-dir: %s/run\nstorage-root: %s/pve2\n",
                  dir, dir, dir, dir, dir, dir);
    put("pvesr.conf", conf);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    struct err e = {0};
    char *argv[] = {(char *)"rm", (char *)"-rf", dir, NULL};
    return proc_check(argv, NULL, NULL, &e);
}

static inline pid_t start_agent(int *fd)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct env env;
        struct err e = {0};
        _cleanup_free_ char *conf = xasprintf("%s/pvesr.conf", dir);
        close(pair[0]);
        if (env_open(&env, conf, &e) < 0)
            _exit(9);
        int r = agent_serve(&env, pair[1], pair[1], &options, &e);
        env_release(&env);
        _exit(r < 0);
    }
    close(pair[1]);
    *fd = pair[0];
    return pid;
}

static inline void send_text(struct channel *c, enum frame_type type, const char *text)
{
    struct err e = {0};
    if (frame_write(c, type, text, strlen(text), NULL, 0, false, &e) == 0)
        channel_flush(c, &e);
}

static inline void greet(struct channel *c)
{
    struct err e = {0};
    send_text(c, FRAME_HELLO, "{\"pvesr\":1,\"version\":\"x\",\"node\":\"pve1\"}");
    json_t *o = message_receive(c, FRAME_HELLO, "agent", &e);
    assert_non_null(o);
    json_decref(o);
}

static inline json_t *ask(struct channel *c, const char *call, struct err *e)
{
    send_text(c, FRAME_CALL, call);
    return message_receive(c, FRAME_REPLY, "agent", e);
}

static inline void ask_ok(struct channel *c, const char *call)
{
    struct err e = {0};
    json_t *o = ask(c, call, &e);
    if (!o)
        fail_msg("%s", e.text);
    json_decref(o);
}

static inline void hang_up(struct channel *c, int fd, pid_t pid, int want)
{
    int status;
    channel_free(c);
    shutdown(fd, SHUT_RDWR); /* an agent that was started later has it open, too */
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == want);
}
