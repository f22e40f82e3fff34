#include "base/lock.h"
#include "base/mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char home[64], path[128];

static int enter(void **state)
{
    snprintf(home, sizeof home, "/tmp/pvesr-test-lock-XXXXXX");
    if (!mkdtemp(home))
        return -1;
    snprintf(path, sizeof path, "%s/sub/dir/lock", home);
    return 0;
}

static int leave(void **state)
{
    unlink(path);
    for (char *slash; strlen(path) > strlen(home) && (slash = strrchr(path, '/'));) {
        *slash = 0;
        rmdir(path);
    }
    return 0;
}

/* What another process gets: 0 the lock, or the error's kind. It lets the lock go at once. */
static int other_process(bool exclusive)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        /* A child of this program would find the parent's lock in its memory: ask under another spelling. */
        char spelling[160];
        snprintf(spelling, sizeof spelling, "%s/./sub/dir/lock", home);
        struct lock *l = lock_take(spelling, exclusive, 0, false, &e);
        bool expected_text = l || strstr(e.text, "' - got timeout");
        _exit(expected_text ? (l ? 0 : (int)e.kind) : 99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

static void test_excludes(void **state)
{
    static const struct {
        bool ours, theirs;
        int want;
    } cases[] = {{true, true, ERR_BUSY}, {true, false, ERR_BUSY}, {false, true, ERR_BUSY}, {false, false, 0}};
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        struct lock *l = lock_take(path, cases[i].ours, 1, false, &e);
        assert_non_null(l);
        assert_int_equal(other_process(cases[i].theirs), cases[i].want);
        lock_free(l);
        assert_int_equal(other_process(true), 0);
    }
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_nests(void **state)
{
    struct err e = {0};
    struct lock *outer = lock_take(path, true, 1, false, &e);
    struct lock *inner = lock_take(path, true, 1, false, &e);
    assert_non_null(outer);
    assert_non_null(inner);
    lock_free(inner);
    assert_int_equal(other_process(true), ERR_BUSY);
    lock_free(outer);
    assert_int_equal(other_process(true), 0);
    lock_free(NULL);
}

/* The holder lets go when its pipe is closed, which happens after we started to wait at the latest. */
static void test_waits(void **state)
{
    int held[2], go[2];
    char byte;
    assert_int_equal(pipe(held) | pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        struct lock *l = lock_take(path, true, 1, false, &e);
        close(go[1]);
        if (!l || write(held[1], "x", 1) != 1 || read(go[0], &byte, 1) != 0)
            _exit(1);
        lock_free(l);
        _exit(0);
    }
    assert_int_equal(read(held[0], &byte, 1), 1);
    struct err e = {0};
    assert_null(lock_take(path, true, 0.01, false, &e));
    assert_int_equal(e.kind, ERR_BUSY);
    _cleanup_free_ char *holder = xasprintf("got timeout (held by process %d, test-lock", (int)pid);
    _cleanup_free_ char *remedy = xasprintf("which is stopped: 'kill -CONT %d' lets it go on)", (int)pid);
    assert_non_null(strstr(e.text, holder));
    assert_null(strstr(e.text, remedy));
    kill(pid, SIGSTOP);
    assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
    assert_null(lock_take(path, true, 0.01, false, &e));
    assert_non_null(strstr(e.text, remedy));
    kill(pid, SIGCONT);
    close(go[1]);
    struct lock *l = lock_take(path, true, 60, false, &e);
    assert_non_null(l);
    lock_free(l);
    close(go[0]);
    close(held[0]);
    close(held[1]);
    waitpid(pid, NULL, 0);
}

/* A process takes it, starts a program that holds it too, and is gone. */
static void leave_to_a_program(int pipe_end)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        struct lock *l = lock_take(path, true, 1, false, &e);
        pid_t heir = l && dup2(lock_fd(l), 0) == 0 ? fork() : -1;
        if (heir == 0) {
            dup2(pipe_end, 1);
            execlp("sleep", "sleep", "3600", (char *)NULL);
        }
        _exit(write(pipe_end, &heir, sizeof heir) == sizeof heir ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_is_left_to_programs(void **state)
{
    int said[2];
    pid_t heir;
    char byte;
    struct err e = {0};
    assert_int_equal(pipe(said), 0);
    leave_to_a_program(said[1]);
    close(said[1]);
    assert_int_equal(read(said[0], &heir, sizeof heir), sizeof heir);
    assert_null(lock_take(path, true, 0.01, false, &e));
    _cleanup_free_ char *holder = xasprintf("got timeout (held by process %d, ", (int)heir);
    assert_non_null(strstr(e.text, holder));
    kill(heir, SIGKILL);
    assert_int_equal(read(said[0], &byte, 1), 0); /* it is gone */
    struct lock *l = lock_take(path, true, 60, false, &e);
    assert_non_null(l);
    lock_free(l);
    close(said[0]);
}

/* A child takes it over once its parent, which has it still, lets it go. */
static void test_is_inherited(void **state)
{
    int said[2], go[2];
    char byte;
    struct err e = {0};
    assert_int_equal(pipe(said) | pipe(go), 0);
    struct lock *l = lock_take(path, true, 1, false, &e);
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        bool early = lock_inherit(l, 0.01, &e) == 0;
        bool told = write(said[1], "x", 1) == 1;
        bool taken = lock_inherit(l, 60, &e) == 0 && write(said[1], "x", 1) == 1;
        _exit(!early && told && taken && read(go[0], &byte, 1) == 0 ? 0 : 1);
    }
    assert_int_equal(read(said[0], &byte, 1), 1);
    lock_free(l);
    assert_int_equal(read(said[0], &byte, 1), 1);
    assert_int_equal(other_process(true), ERR_BUSY);
    close(go[1]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(other_process(true), 0);
    for (int i = 0; i < 2; i++)
        close(said[i]);
    close(go[0]);
}

static void test_does_not_follow_a_symlink(void **state)
{
    struct err e = {0};
    struct lock *l = lock_take(path, true, 1, false, &e);
    lock_free(l);
    unlink(path);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_null(lock_take(path, true, 1, false, &e));
    assert_non_null(strstr(e.text, path));
}

/* Whoever made the file could hold it for ever; but only where others than root make files. */
static void test_files_of_others(void **state)
{
    static const struct {
        mode_t folder;
        bool refused;
    } cases[] = {{0755, false}, {01777, true}, {0775, true}, {0700, false}};
    struct err e = {0};
    if (geteuid() != 0)
        skip();
    lock_free(lock_take(path, true, 1, false, &e));
    _cleanup_free_ char *folder = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        assert_int_equal(chown(path, 65534, 65534), 0);
        assert_int_equal(chmod(folder, cases[i].folder), 0);
        struct lock *l = lock_take(path, true, 1, false, &e);
        assert_int_equal(l == NULL, cases[i].refused);
        assert_true(l || strstr(e.text, "it belongs to user 65534"));
        lock_free(l);
        assert_int_equal(chown(path, 0, 0), 0);
        l = lock_take(path, true, 1, false, &e);
        assert_non_null(l);
        lock_free(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_excludes, enter, leave),
        cmocka_unit_test_setup_teardown(test_nests, enter, leave),
        cmocka_unit_test_setup_teardown(test_waits, enter, leave),
        cmocka_unit_test_setup_teardown(test_is_left_to_programs, enter, leave),
        cmocka_unit_test_setup_teardown(test_is_inherited, enter, leave),
        cmocka_unit_test_setup_teardown(test_does_not_follow_a_symlink, enter, leave),
        cmocka_unit_test_setup_teardown(test_files_of_others, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
