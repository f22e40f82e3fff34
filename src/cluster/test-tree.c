#include "cluster/testtree.h"

#include "cluster/tree_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/wait.h>

static void test_write_read_remove(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    _cleanup_buf_ struct buf text = BUF_INIT;
    assert_int_equal(tree_read(tt->tree, "nodes/pve1/lxc/100.conf", &text, &e), 1);
    assert_int_equal(tree_remove(tt->tree, "nodes/pve1/lxc/100.conf", &e), 1);
    assert_int_equal(tree_write(tt->tree, "nodes/pve1/lxc/100.conf", "a\n", 2, &e), 0);
    assert_int_equal(tree_write(tt->tree, "nodes/pve1/lxc/100.conf", "bc\n", 3, &e), 0);
    assert_int_equal(tree_read(tt->tree, "nodes/pve1/lxc/100.conf", &text, &e), 0);
    assert_string_equal(buf_str(&text), "bc\n");
    assert_int_equal(tree_write(tt->tree, "empty", NULL, 0, &e), 0);
    assert_int_equal(tree_read(tt->tree, "empty", &text, &e), 0);
    assert_int_equal(text.len, 0);

    _cleanup_strv_ struct strv names = STRV_INIT;
    assert_int_equal(tree_list(tt->tree, "nodes/pve1/lxc", &names, &e), 0);
    assert_int_equal(names.n, 1); /* and no temporary file */
    assert_string_equal(names.v[0], "100.conf");
    assert_int_equal(tree_list(tt->tree, "nodes/pve2/lxc", &names, &e), 1);

    assert_int_equal(tree_remove(tt->tree, "nodes/pve1/lxc/100.conf", &e), 0);
    assert_int_equal(tree_remove(tt->tree, "nodes/pve1/lxc/100.conf", &e), 1);
}

static void test_private_files_are_private(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    struct stat st;
    _cleanup_free_ char *key = xasprintf("%s/priv/key", tt->root);
    assert_int_equal(tree_write(tt->tree, "priv/key", "k", 1, &e), 0);
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_rename_moves_and_never_replaces(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    static const char from[] = "nodes/pve1/qemu-server/100.conf", to[] = "nodes/pve2/qemu-server/100.conf";
    assert_int_equal(tree_rename(tt->tree, from, to, &e), -1);
    assert_int_equal(e.code, ENOENT);
    put(tt, from, "one");
    assert_int_equal(tree_rename(tt->tree, from, to, &e), 0); /* the target's directory is made */
    _cleanup_free_ char *moved = get(tt, to);
    assert_string_equal(moved, "one");
    assert_null(get(tt, from));

    put(tt, from, "other");
    assert_int_equal(tree_rename(tt->tree, from, to, &e), -1);
    assert_int_equal(e.code, EEXIST);
    _cleanup_free_ char *source = get(tt, from);
    _cleanup_free_ char *target = get(tt, to);
    assert_string_equal(source, "other");
    assert_string_equal(target, "one");
}

static void test_rename_by_looking(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    _cleanup_close_ int root = tree_files_open_root(tt->tree, &e);
    assert_true(root >= 0);
    put(tt, "a", "one");
    put(tt, "b", "two");
    assert_int_equal(symlinkat("nowhere", root, "link"), 0);
    static const char *const taken[] = {"b", "link"};
    for (size_t i = 0; i < ELEMENTS(taken); i++) {
        assert_int_equal(tree_files_look_and_rename(root, "a", root, taken[i]), -1);
        assert_int_equal(errno, EEXIST);
    }
    assert_int_equal(tree_files_look_and_rename(root, "a", root, "c"), 0);
    _cleanup_free_ char *b = get(tt, "b");
    _cleanup_free_ char *c = get(tt, "c");
    assert_string_equal(b, "two");
    assert_string_equal(c, "one");
}

static void test_paths_stay_inside(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    static const char *const bad[] = {"",      "/etc/passwd", "../x", "a/../../x", "a/..",   ".",
                                      "a/./b", "a//b",        "a/",   "a\nb",      "a/\x7f", ".."};
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_strv_ struct strv names = STRV_INIT;
    put(tt, "good", "x");
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        assert_int_equal(tree_read(tt->tree, bad[i], &text, &e), -1);
        assert_int_equal(e.kind, ERR_USAGE);
        assert_int_equal(tree_write(tt->tree, bad[i], "x", 1, &e), -1);
        assert_int_equal(tree_remove(tt->tree, bad[i], &e), -1);
        assert_int_equal(tree_rename(tt->tree, "good", bad[i], &e), -1);
        assert_int_equal(tree_rename(tt->tree, bad[i], "better", &e), -1);
        assert_int_equal(tree_list(tt->tree, bad[i], &names, &e), -1);
        assert_null(tree_lock(tt->tree, bad[i], &e));
    }
}

static void test_symlinks_are_not_followed(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    char outside[] = "/tmp/pvesr-outside-XXXXXX";
    assert_non_null(mkdtemp(outside));
    _cleanup_free_ char *secret = xasprintf("%s/secret", outside);
    assert_int_equal(fs_write_atomic(secret, "s", 1, 0644, &e), 0);
    _cleanup_free_ char *dir_link = xasprintf("%s/nodes", tt->root);
    _cleanup_free_ char *file_link = xasprintf("%s/link", tt->root);
    assert_int_equal(symlink(outside, dir_link), 0);
    assert_int_equal(symlink(secret, file_link), 0);

    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_strv_ struct strv names = STRV_INIT;
    assert_int_equal(tree_read(tt->tree, "nodes/secret", &text, &e), -1);
    assert_int_equal(e.kind, ERR_DATA);
    assert_non_null(strstr(e.text, "symlink"));
    assert_int_equal(tree_read(tt->tree, "link", &text, &e), -1);
    assert_int_equal(tree_write(tt->tree, "nodes/new", "x", 1, &e), -1);
    assert_int_equal(tree_write(tt->tree, "nodes/sub/new", "x", 1, &e), -1);
    assert_int_equal(tree_remove(tt->tree, "nodes/secret", &e), -1);
    assert_int_equal(tree_list(tt->tree, "nodes", &names, &e), -1);
    assert_int_equal(names.n, 0);
    assert_true(fs_exists(secret));

    /* written to, the link itself gives way; what it pointed at stays */
    assert_int_equal(tree_write(tt->tree, "link", "x", 1, &e), 0);
    assert_int_equal(fs_read(secret, 10, &text, &e), 0);
    assert_string_equal(buf_str(&text), "s");
    unlink(secret);
    rmdir(outside);
}

static void test_odd_files(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_free_ char *fifo = xasprintf("%s/fifo", tt->root);
    assert_int_equal(mkfifo(fifo, 0644), 0);
    assert_int_equal(tree_read(tt->tree, "fifo", &text, &e), -1); /* and does not wait for a writer */
    assert_int_equal(e.kind, ERR_DATA);
    put(tt, "dir/file", "x");
    assert_int_equal(tree_read(tt->tree, "dir", &text, &e), -1);
    assert_int_equal(tree_read(tt->tree, "dir/file/below", &text, &e), 1);

    size_t size = (1 << 20) + 1;
    _cleanup_free_ char *big = xcalloc(1, size);
    assert_int_equal(tree_write(tt->tree, "big", big, size, &e), -1);
    assert_int_equal(e.kind, ERR_FULL);
    assert_int_equal(tree_write(tt->tree, "big", big, size - 1, &e), 0);
    assert_int_equal(tree_read(tt->tree, "big", &text, &e), 0);
    _cleanup_free_ char *path = xasprintf("%s/big", tt->root);
    assert_int_equal(truncate(path, (off_t)size), 0);
    assert_int_equal(tree_read(tt->tree, "big", &text, &e), -1);
    assert_int_equal(e.kind, ERR_DATA);
}

static void test_specs(void **state)
{
    static const struct {
        const char *spec, *says;
    } bad[] = {
        {"etcd:http://127.0.0.1:2379", "etcd"},
        {"/etc/pve", "dir:PATH"},
        {"", "dir:PATH"},
        {"dir:", "absolute"},
        {"dir:relative", "absolute"},
        {"dir:/nowhere/at/all", "'cluster' in pvesr.conf"},
        {"dir:/dev/null", "not a directory"},
    };
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        struct err e = {0};
        assert_null(tree_open(bad[i].spec, &e));
        assert_int_equal(e.kind, ERR_CONFIG);
        if (!strstr(e.text, bad[i].says))
            fail_msg("'%s' gives: %s", bad[i].spec, e.text);
    }
    struct test_tree *tt = *state;
    struct err e;
    _cleanup_free_ char *spec = xasprintf("dir:%s//", tt->root);
    _cleanup_(tree_freep) struct tree *t = tree_open(spec, &e);
    assert_string_equal(tree_root(t), tt->root);
    assert_false(tree_is_pmxcfs(t));
}

/* Runs in a child of its own user, or with its own mounts; the exit status says what happened. */
static int in_child(int (*body)(const struct test_tree *tt), const struct test_tree *tt)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(body(tt));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

enum { CHILD_OK = 0, CHILD_WRONG = 1, CHILD_CANNOT = 77 };

static int write_read_only(const struct test_tree *tt)
{
    struct err e;
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(tt->root, tt->root, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, tt->root, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
        return CHILD_CANNOT;
    bool clear = tree_write(tt->tree, "replication.cfg", "x", 1, &e) < 0 && strstr(e.text, "read-only");
    clear = clear && !tree_lock(tt->tree, "replication.cfg", &e) && strstr(e.text, "read-only");
    clear = clear && tree_read(tt->tree, "replication.cfg", &text, &e) == 0;
    return clear && strcmp(buf_str(&text), "old") == 0 ? CHILD_OK : CHILD_WRONG;
}

static void test_read_only_tree_says_so(void **state)
{
    struct test_tree *tt = *state;
    put(tt, "replication.cfg", "old");
    int rc = in_child(write_read_only, tt);
    if (rc == CHILD_CANNOT)
        skip();
    assert_int_equal(rc, CHILD_OK);
}

/* A child that takes the lock, tells so by a byte, and holds it until its stdin (the pipe) is closed. */
static pid_t hold_lock(const struct test_tree *tt, int *release)
{
    int told[2], wait[2];
    assert_int_equal(pipe2(told, O_CLOEXEC), 0);
    assert_int_equal(pipe2(wait, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        char c = 0;
        close(wait[1]);
        struct tree_lock *l = tree_lock(tt->tree, "replication.cfg", &e);
        if (!l || write(told[1], &c, 1) != 1 || read(wait[0], &c, 1) != 0)
            _exit(1);
        tree_unlock(l);
        _exit(0);
    }
    close(told[1]);
    close(wait[0]);
    char c;
    assert_int_equal(read(told[0], &c, 1), 1);
    close(told[0]);
    *release = wait[1];
    return pid;
}

static void test_lock_excludes_and_nests(void **state)
{
    struct test_tree *tt = *state;
    struct err e = {0};
    struct tree_lock *outer = tree_lock(tt->tree, "replication.cfg", &e);
    assert_non_null(outer);
    struct tree_lock *inner = tree_lock(tt->tree, "replication.cfg", &e);
    assert_non_null(inner);
    _cleanup_free_ char *file = xasprintf("%s/priv/lock/file-replication_cfg", tt->root);
    _cleanup_close_ int fd = open(file, O_RDWR | O_CLOEXEC);
    tree_unlock(inner);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1); /* the outer one still holds */
    tree_unlock(outer);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(flock(fd, LOCK_UN), 0);
    tree_unlock(NULL);

    int release;
    pid_t holder = hold_lock(tt, &release);
    void *held;
    static const char name[] = "file-replication_cfg";
    assert_int_equal(tree_dir_engine.lock(tt->tree, name, 0.1, &held, &e),
                     -1); /* not the 10 s of tree_lock */
    assert_int_equal(e.kind, ERR_BUSY);
    assert_non_null(strstr(e.text, "file-replication_cfg' - got timeout"));
    struct tree_lock *other = tree_lock(tt->tree, "storage.cfg", &e); /* another file, another lock */
    assert_non_null(other);
    tree_unlock(other);

    close(release);
    struct tree_lock *after = tree_lock(tt->tree, "replication.cfg", &e);
    assert_non_null(after);
    tree_unlock(after);
    int status;
    assert_int_equal(waitpid(holder, &status, 0), holder);
    assert_int_equal(status, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        DIR_TEST(test_write_read_remove),
        DIR_TEST(test_private_files_are_private),
        DIR_TEST(test_rename_moves_and_never_replaces),
        DIR_TEST(test_rename_by_looking),
        DIR_TEST(test_paths_stay_inside),
        DIR_TEST(test_symlinks_are_not_followed),
        DIR_TEST(test_odd_files),
        EMPTY_TEST(test_specs),
        DIR_TEST(test_read_only_tree_says_so),
        DIR_TEST(test_lock_excludes_and_nests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
