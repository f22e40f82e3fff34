#include "wire/link.h"
#include "wire/ssh.h"

#include "base/mem.h"
#include "base/strv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/test-link.XXXXXX";

static const struct link_target local = {.node = "n2", .address = "local", .port = 22, .user = "root"};
static const struct link_target far = {
    .node = "pve2", .address = "10.0.0.2", .port = 22, .user = "root", .agent = "pvesr agent"};

static char *script(const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", text);
    fclose(f);
    chmod(path, 0755);
    return path;
}

static void test_quote(void **state)
{
    static const struct {
        const char *word, *quoted;
    } cases[] = {{"", "''"},
                 {"plain", "plain"},
                 {"/a/b-c_d.e:f=g,h@i%j+k", "/a/b-c_d.e:f=g,h@i%j+k"},
                 {"two words", "'two words'"},
                 {"don't", "'don'\\''t'"},
                 {"'", "''\\'''"},
                 {"$(rm -rf /)", "'$(rm -rf /)'"},
                 {"`x`", "'`x`'"},
                 {"~root", "'~root'"},
                 {"a\nb", "'a\nb'"},
                 {"\\", "'\\'"},
                 {"{\"local/pve1\":{}}", "'{\"local/pve1\":{}}'"},
                 {"caf\xc3\xa9", "'caf\xc3\xa9'"},
                 {"!x", "'!x'"},
                 {"#x", "'#x'"}};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        shell_quote(&b, cases[i].word);
        assert_string_equal(buf_str(&b), cases[i].quoted);
    }
}

static void test_targets(void **state)
{
    static const struct {
        const char *node, *address, *user, *known_hosts;
        uint16_t port;
        bool ok;
    } cases[] = {
        {"pve2", "10.0.0.2", "root", NULL, 22, true},
        {"pve-2.example", "host-2.example.org", "repl_user", "/etc/pve/nodes/pve2/ssh_known_hosts", 65535,
         true},
        {"pve2", "fe80::1%eth0", "root", NULL, 22, true},
        {"pve2", "-oProxyCommand=x", "root", NULL, 22, false},
        {"-F/x", "10.0.0.2", "root", NULL, 22, false},
        {"pve2", "10.0.0.2", "-l", NULL, 22, false},
        {"", "10.0.0.2", "root", NULL, 22, false},
        {"pve2", "", "root", NULL, 22, false},
        {"pve2", "10.0.0.2", "", NULL, 22, false},
        {"pve2", "10.0.0.2 -x", "root", NULL, 22, false},
        {"pve2", "a@b", "root", NULL, 22, false},
        {"pve2", "10.0.0.2", "ro@ot", NULL, 22, false},
        {"pve 2", "10.0.0.2", "root", NULL, 22, false},
        {"p\xc3\xa9", "10.0.0.2", "root", NULL, 22, false},
        {"%h", "10.0.0.2", "root", NULL, 22, false},
        {"pve2", "10.0.0.2", "root", NULL, 0, false},
        {"pve2", "10.0.0.2", "root", "relative", 22, false},
        {"pve2", "10.0.0.2", "root", "/a b", 22, false},
        {"pve2", "10.0.0.2", "root", "/a%h", 22, false},
        {"pve2", "10.0.0.2", "root", "/${HOME}", 22, false},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        struct link_target t = far;
        t.node = cases[i].node;
        t.address = cases[i].address;
        t.user = cases[i].user;
        t.known_hosts = cases[i].known_hosts;
        t.port = cases[i].port;
        if (ssh_check_target(&t, &e) != (cases[i].ok ? 0 : -1))
            fail_msg("case %zu: %s", i, e.text);
        assert_int_equal(e.kind, cases[i].ok ? ERR_NONE : ERR_CONFIG);
    }
}

static void test_ssh_words(void **state)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    struct link_target t = far;
    (void)state;
    t.known_hosts = "/etc/pve/nodes/pve2/ssh_known_hosts";
    t.port = 2222;
    ssh_options(&t, 10, &argv);
    ssh_destination(&t, &argv);
    _cleanup_free_ char *all = strv_join(&argv, " ");
    static const char *const parts[] = {
        "/usr/bin/ssh -e none -o BatchMode=yes -o HostKeyAlias=pve2 -o "
        "UserKnownHostsFile=/etc/pve/nodes/pve2/ssh_known_hosts -o "
        "GlobalKnownHostsFile=none -o ConnectTimeout=10 ",
        " -o ServerAliveInterval=10 -o ServerAliveCountMax=3 ",
        " -o RemoteCommand=none -o PermitLocalCommand=no ", " -p 2222 -o StdinNull=no ",
        " -o ForkAfterAuthentication=no -o SessionType=default root@10.0.0.2 --"};
    for (size_t i = 0; i < ELEMENTS(parts); i++)
        assert_non_null(strstr(all, parts[i]));
}

static void test_control_path(void **state)
{
    struct link_target t = far, u = far;
    char room[200];
    (void)state;
    assert_null(ssh_control_path(&t)); /* no run_dir */
    t.run_dir = u.run_dir = "/run/pvesr";
    u.port = 23;
    _cleanup_free_ char *a = ssh_control_path(&t), *b = ssh_control_path(&t), *c = ssh_control_path(&u);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_int_equal(strncmp(a, "/run/pvesr/ssh-", 15), 0);
    /* The longest that still fits. */
    memset(room, 'x', sizeof room);
    room[0] = '/';
    room[91 - 21] = 0;
    t.run_dir = room;
    assert_null(ssh_control_path(&t));
    room[90 - 21] = 0;
    _cleanup_free_ char *longest = ssh_control_path(&t);
    assert_int_equal(strlen(longest), 90);
    t.run_dir = "/with blank";
    assert_null(ssh_control_path(&t));
}

static void echo(const struct link_target *t)
{
    struct link l;
    struct frame f;
    struct err e = {0};
    if (link_open(t, &l, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(frame_write(l.channel, FRAME_CALL, "{\"a\":1}", 7, NULL, 0, false, &e), 0);
    assert_int_equal(frame_read(l.channel, &f, &e), 0);
    assert_int_equal(f.len, 7);
    link_close(&l, &e);
    assert_int_equal(e.kind, ERR_NONE);
    assert_null(l.channel);
}

static void test_local(void **state)
{
    struct link_target t = local;
    (void)state;
    t.agent = "cat";
    echo(&t);
    _cleanup_free_ char *agent = script("agent", "[ \"$1 $2 $3\" = \"agent --config $0-conf\" ] && exec cat");
    _cleanup_free_ char *command = xasprintf(" %s \t agent", agent), *conf = xasprintf("%s-conf", agent);
    t.agent = command;
    t.config = conf;
    echo(&t);
}

/* `pvesr` that is not installed: this program, which answers as an agent (see main). */
static void test_local_self(void **state)
{
    struct link_target t = local;
    (void)state;
    if (access("/usr/bin/pvesr", X_OK) == 0 || access("/usr/sbin/pvesr", X_OK) == 0 ||
        access("/usr/local/bin/pvesr", X_OK) == 0 || access("/usr/local/sbin/pvesr", X_OK) == 0)
        skip();
    t.agent = "pvesr agent";
    t.config = "/etc/x y";
    echo(&t);
    struct err e = {0};
    char *const good[] = {(char *)"pvesr", (char *)"succeed", NULL};
    char *const bad[] = {(char *)"pvesr", (char *)"fail", NULL};
    assert_int_equal(link_command(&t, good, &e), 0);
    assert_int_equal(link_command(&t, bad, &e), -1);
    assert_non_null(strstr(e.text, "node 'n2': pvesr fail: "));
    assert_non_null(strstr(e.text, "exit status 7: it went wrong"));
}

static void collect(const char *line, void *arg)
{
    strv_add(arg, line);
}

static void test_last_words(void **state)
{
    _cleanup_free_ char *agent =
        script("failing", "echo one >&2; printf 'no \\033[31msuch\\001 cluster\\n' >&2");
    _cleanup_strv_ struct strv lines = STRV_INIT;
    struct link_target t = local;
    struct link l;
    struct frame f;
    struct err e = {0};
    (void)state;
    t.agent = agent;
    t.line = collect;
    t.line_arg = &lines;
    assert_int_equal(link_open(&t, &l, &e), 0);
    assert_int_equal(frame_read(l.channel, &f, &e), 1);
    err_set(&e, ERR_NETWORK, 0, "node 'n2' hung up");
    link_close(&l, &e);
    assert_string_equal(e.text, "node 'n2' hung up (no ?[31msuch? cluster)");
    assert_int_equal(lines.n, 2);
    assert_string_equal(lines.v[0], "one");
}

/* More on stderr than a pipe takes does not stop the conversation. */
static void test_chatty(void **state)
{
    _cleanup_free_ char *agent =
        script("chatty", "i=0; while [ $i -lt 3000 ]; do echo a line of some forty bytes, number $i >&2; "
                         "i=$((i+1)); done; exec cat");
    struct link_target t = local;
    (void)state;
    t.agent = agent;
    echo(&t);
}

static void test_agent_hangs(void **state)
{
    _cleanup_free_ char *agent = script("hanging", "exec sleep 1000");
    struct link_target t = local;
    struct link l;
    struct frame f;
    struct err e = {0};
    (void)state;
    t.agent = agent;
    assert_int_equal(link_open(&t, &l, &e), 0);
    channel_set_timeout(l.channel, 0.1);
    assert_int_equal(frame_read(l.channel, &f, &e), -1);
    assert_int_equal(e.kind, ERR_NETWORK);
    link_close(&l, &e);
    assert_non_null(strstr(e.text, "said nothing"));
}

static void test_cannot_start(void **state)
{
    static const struct {
        const char *agent;
        enum err_kind kind;
    } cases[] = {
        {"", ERR_CONFIG}, {" ", ERR_CONFIG}, {"-x", ERR_CONFIG}, {"/no/such/program agent", ERR_SYSTEM}};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct link_target t = local;
        struct link l;
        struct err e = {0};
        t.agent = cases[i].agent;
        assert_int_equal(link_open(&t, &l, &e), -1);
        assert_int_equal(e.kind, cases[i].kind);
    }
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const names[] = {"config", "agent", "failing", "chatty", "hanging"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

/* When the link starts this program as `pvesr`. */
static int play_pvesr(int argc, char *argv[])
{
    char buffer[4096];
    ssize_t n;
    if (argc != 4 || strcmp(argv[2], "--config") != 0 || strcmp(argv[3], "/etc/x y") != 0)
        return 9;
    if (strcmp(argv[1], "agent") != 0) {
        fprintf(stderr, "it went wrong\n");
        return strcmp(argv[1], "succeed") == 0 ? 0 : 7;
    }
    while ((n = read(0, buffer, sizeof buffer)) > 0)
        if (write(1, buffer, (size_t)n) != n)
            return 8;
    return 0;
}

int main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quote),       cmocka_unit_test(test_targets),
        cmocka_unit_test(test_ssh_words),   cmocka_unit_test(test_control_path),
        cmocka_unit_test(test_local),       cmocka_unit_test(test_local_self),
        cmocka_unit_test(test_last_words),  cmocka_unit_test(test_chatty),
        cmocka_unit_test(test_agent_hangs), cmocka_unit_test(test_cannot_start),
    };
    if (argc > 1)
        return play_pvesr(argc, argv);
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
