/* A plain directory that plays pmxcfs as far as one can; see tree_pmxcfs.c for what that leaves out. */
#include "cluster/testtree.h"

#include "cluster/guests.h"
#include "cluster/members.h"
#include "cluster/tree_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/wait.h>

static void test_recognised_by_its_members(void **state)
{
    static const struct {
        const char *members;
        bool pmxcfs;
    } cases[] = {
        {"{\"nodename\":\"pve1\",\"version\":1}", true},
        {MEMBERS_TWO, true},
        {"{\"nodename\":\"\"}", false},
        {"{\"nodename\":7}", false},
        {"{}", false},
        {"[\"nodename\"]", false},
        {"{\"nodename\":\"pve1\"", false},
        {"", false},
    };
    struct test_tree *tt = *state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        put(tt, ".members", cases[i].members);
        open_test_tree(tt);
        assert_int_equal(tree_is_pmxcfs(tt->tree), cases[i].pmxcfs);
        tree_free(take_ptr(tt->tree));
    }
}

static void test_members(void **state)
{
    static const struct {
        const char *json;
        bool quorate;
        const char *cluster;
        const char *expected; /* name=address+|- … */
    } cases[] = {
        {MEMBERS_TWO, true, "c", "pve1=10.0.0.1+ pve2=10.0.0.2- "},
        {"{\"nodename\":\"pve1\",\"version\":1}", true, NULL, "pve1=local+ "},
        {"{\"nodename\":\"a\",\"cluster\":{\"quorate\":0},\"nodelist\":{\"a\":{\"online\":1,\"ip\":\"fd00::"
         "1\"}}}",
         false, NULL, "a=fd00::1+ "},
        {"{\"nodename\":\"a\",\"cluster\":{},\"nodelist\":{\"a\":{}}}", false, NULL, "a=a- "},
        {"{\"nodename\":\"a\",\"cluster\":{\"quorate\":1},\"nodelist\":{\"a\":{\"ip\":\"-oProxyCommand=x\"},"
         "\"b c\":{\"ip\":\"10.0.0.3\"},\"-x\":{}}}",
         true, NULL, "a=a- "},
    };
    struct test_tree *tt = *state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e;
        struct members m;
        put(tt, ".members", cases[i].json);
        if (members_load(tt->tree, &m, &e) < 0)
            fail_msg("%s", e.text);
        _cleanup_buf_ struct buf seen = BUF_INIT;
        for (size_t k = 0; k < m.n; k++)
            buf_addf(&seen, "%s=%s%c ", m.v[k].node.name, m.v[k].node.address, m.v[k].online ? '+' : '-');
        assert_string_equal(buf_str(&seen), cases[i].expected);
        assert_int_equal(m.quorate, cases[i].quorate);
        assert_string_equal(m.cluster ? m.cluster : "none", cases[i].cluster ? cases[i].cluster : "none");
        assert_null(members_find(&m, "nobody"));
        members_release(&m);
    }
}

static void test_guests(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    struct guest_list g;
    assert_int_equal(guests_load(tt->tree, &g, &e), -1); /* no .vmlist: not an empty cluster */
    assert_int_equal(e.kind, ERR_DATA);

    put(tt, ".vmlist", "{\"version\":1}");
    assert_int_equal(guests_load(tt->tree, &g, &e), 0);
    assert_int_equal(g.n, 0);
    guests_release(&g);

    put(tt, ".vmlist",
        "{\"version\":5,\"ids\":{\"200\":{\"node\":\"pve2\",\"type\":\"lxc\",\"version\":3},"
        "\"100\":{\"node\":\"pve1\",\"type\":\"qemu\",\"version\":2},\"99\":{\"node\":\"pve1\",\"type\":"
        "\"qemu\"},"
        "\"300\":{\"node\":\"../x\",\"type\":\"qemu\"},\"400\":{\"node\":\"pve1\",\"type\":\"openvz\"},"
        "\"500\":7}}");
    assert_int_equal(guests_load(tt->tree, &g, &e), 0);
    assert_int_equal(g.n, 2);
    assert_int_equal(g.v[0].id, 100);
    _cleanup_free_ char *path = guest_config_path(guests_find(&g, 200));
    assert_string_equal(path, "nodes/pve2/lxc/200.conf");
    assert_null(guests_find(&g, 300));
    guests_release(&g);

    put(tt, ".vmlist", "{\"ids\":");
    assert_int_equal(guests_load(tt->tree, &g, &e), -1);
}

static void test_unmounted_is_not_empty(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    _cleanup_free_ char *members = xasprintf("%s/.members", tt->root);
    _cleanup_buf_ struct buf text = BUF_INIT;
    assert_int_equal(unlink(members), 0);
    assert_int_equal(tree_read(tt->tree, "replication.cfg", &text, &e), -1);
    assert_int_equal(e.kind, ERR_BUSY);
    assert_non_null(strstr(e.text, "not mounted"));
    assert_int_equal(tree_write(tt->tree, "replication.cfg", "x", 1, &e), -1);
    assert_null(tree_lock(tt->tree, "replication.cfg", &e));
}

static void test_write_and_rename(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    static const char from[] = "nodes/pve1/qemu-server/100.conf", to[] = "nodes/pve2/qemu-server/100.conf";
    assert_int_equal(tree_write(tt->tree, from, "one", 3, &e), 0);
    assert_int_equal(tree_rename(tt->tree, from, to, &e), 0);
    put(tt, from, "two");
    assert_int_equal(tree_rename(tt->tree, from, to, &e), -1);
    assert_int_equal(e.code, EEXIST);
}

static void test_lock_is_a_directory(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    _cleanup_free_ char *dir = xasprintf("%s/priv/lock/file-replication_cfg", tt->root);
    struct tree_lock *l = tree_lock(tt->tree, "replication.cfg", &e);
    struct stat st;
    assert_non_null(l);
    assert_int_equal(stat(dir, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    struct tree_lock *nested = tree_lock(tt->tree, "replication.cfg", &e);
    tree_unlock(nested);
    assert_true(fs_exists(dir));
    tree_unlock(l);
    assert_false(fs_exists(dir));
}

/* pmxcfs's part: when the lock's times are set to 0, remove it. Exits 0 when that was asked for. */
static pid_t expire_when_asked(const char *lock)
{
    int fd = inotify_init1(IN_CLOEXEC);
    assert_true(fd >= 0 && inotify_add_watch(fd, lock, IN_ATTRIB) >= 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct inotify_event event;
        struct stat st;
        bool asked = read(fd, &event, sizeof event) > 0 && stat(lock, &st) == 0 && st.st_mtime == 0;
        _exit(asked && rmdir(lock) == 0 ? 0 : 1);
    }
    close(fd);
    return pid;
}

static void test_expired_lock_is_asked_for(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    _cleanup_free_ char *dir = xasprintf("%s/priv/lock/file-replication_cfg", tt->root);
    assert_int_equal(fs_mkdir_p(dir, 0755, &e), 0);
    pid_t keeper = expire_when_asked(dir);
    struct tree_lock *l = tree_lock(tt->tree, "replication.cfg", &e);
    assert_non_null(l);
    int status;
    assert_int_equal(waitpid(keeper, &status, 0), keeper);
    assert_int_equal(status, 0);
    tree_unlock(l);
}

static void test_held_lock_times_out(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    _cleanup_free_ char *dir = xasprintf("%s/priv/lock/file-replication_cfg", tt->root);
    assert_int_equal(fs_mkdir_p(dir, 0755, &e), 0);
    void *held;
    static const char name[] = "file-replication_cfg";
    assert_int_equal(tree_pmxcfs_engine.lock(tt->tree, name, 0.1, &held, &e), -1);
    assert_int_equal(e.kind, ERR_BUSY);
    assert_int_equal(strncmp(e.text, "cfs-lock 'file-replication_cfg' error: ", 39), 0);
    assert_true(fs_exists(dir)); /* another's lock is left alone */
}

/* As root a plain directory refuses nothing: another user sees the EACCES that pmxcfs shows without quorum.
 */
static int change_as_nobody(const struct test_tree *tt, const char *says)
{
    struct err e;
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
        return 2;
    void *held;
    if (tree_pmxcfs_engine.lock(tt->tree, "file-replication_cfg", 0.1, &held, &e) == 0 ||
        !strstr(e.text, says) || strncmp(e.text, "cfs-lock 'file-replication_cfg' error: ", 39) != 0)
        return 3;
    if (tree_write(tt->tree, "replication.cfg", "x", 1, &e) == 0 || !strstr(e.text, says))
        return 4;
    return 0;
}

static void test_no_quorum(void **state)
{
    static const struct {
        const char *quorate, *says;
    } cases[] = {{"0", "no quorum!"}, {"1", "Permission denied"}};
    struct test_tree *tt = *state;
    struct err e;
    _cleanup_free_ char *locks = xasprintf("%s/priv/lock", tt->root);
    assert_int_equal(fs_mkdir_p(locks, 0755, &e), 0);
    assert_int_equal(chmod(locks, 0555), 0);
    assert_int_equal(chmod(tt->root, 0555), 0);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *json =
            xasprintf("{\"nodename\":\"a\",\"cluster\":{\"quorate\":%s},\"nodelist\":{}}", cases[i].quorate);
        chmod(tt->root, 0755);
        put(tt, ".members", json);
        chmod(tt->root, 0555);
        pid_t pid = fork();
        if (pid == 0)
            _exit(change_as_nobody(tt, cases[i].says));
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    chmod(tt->root, 0755);
    chmod(locks, 0755);
}

static const char quorate[] = "{\"nodename\":\"a\",\"cluster\":{\"quorate\":1},\"nodelist\":{}}",
                  minority[] = "{\"nodename\":\"a\",\"cluster\":{\"quorate\":0},\"nodelist\":{}}";

static void test_quorum_is_asked(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    put(tt, ".members", quorate);
    assert_int_equal(tree_check_quorum(tt->tree, &e), 0);
    put(tt, ".members", minority);
    assert_int_equal(tree_check_quorum(tt->tree, &e), -1);
    assert_int_equal(e.kind, ERR_BUSY);
    assert_non_null(strstr(e.text, "no quorum!"));
}

/* A lock that could not be had for another reason than that somebody holds it is waited for, too. */
static void test_lock_outlives_trouble(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    void *held;
    int ready[2];
    char byte;
    _cleanup_free_ char *dir = xasprintf("%s/priv", tt->root);
    _cleanup_free_ char *in_the_way = xasprintf("%s/priv/lock", tt->root);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(fs_mkdir_p(dir, 0755, &e), 0);
    int fd = open(in_the_way, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(tree_pmxcfs_engine.lock(tt->tree, "file-replication_cfg", 0.1, &held, &e), -1);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(read(ready[0], &byte, 1) == 1 && unlink(in_the_way) == 0 ? 0 : 1);
    }
    assert_int_equal(write(ready[1], "", 1), 1);
    assert_int_equal(tree_pmxcfs_engine.lock(tt->tree, "file-replication_cfg", 60, &held, &e), 0);
    tree_pmxcfs_engine.unlock(tt->tree, "file-replication_cfg", held);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(ready[0]);
    close(ready[1]);
}

/* Who slept for longer than pmxcfs keeps a lock writes nothing with it. */
static void test_expired_lock_writes_nothing(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    put(tt, ".members", quorate);
    put(tt, "replication.cfg", "theirs");
    struct tree_lock *lock = tree_lock(tt->tree, "replication.cfg", &e);
    assert_non_null(lock);
    assert_int_equal(tree_write(tt->tree, "a", "x", 1, &e), 0);
    ((struct pmxcfs_lock *)lock->held)->taken -= 120;
    assert_int_equal(tree_write(tt->tree, "replication.cfg", "ours", 4, &e), -1);
    assert_int_equal(e.kind, ERR_BUSY);
    assert_non_null(strstr(e.text, "stood still"));
    assert_int_equal(tree_remove(tt->tree, "replication.cfg", &e), -1);
    assert_int_equal(tree_rename(tt->tree, "replication.cfg", "b", &e), -1);
    tree_unlock(lock);
    _cleanup_buf_ struct buf text = BUF_INIT;
    assert_int_equal(tree_read(tt->tree, "replication.cfg", &text, &e), 0);
    assert_string_equal(buf_str(&text), "theirs");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        EMPTY_TEST(test_recognised_by_its_members),
        PMXCFS_TEST(test_members),
        PMXCFS_TEST(test_guests),
        PMXCFS_TEST(test_unmounted_is_not_empty),
        PMXCFS_TEST(test_write_and_rename),
        PMXCFS_TEST(test_lock_is_a_directory),
        PMXCFS_TEST(test_expired_lock_is_asked_for),
        PMXCFS_TEST(test_held_lock_times_out),
        PMXCFS_TEST(test_no_quorum),
        PMXCFS_TEST(test_quorum_is_asked),
        PMXCFS_TEST(test_lock_outlives_trouble),
        PMXCFS_TEST(test_expired_lock_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
