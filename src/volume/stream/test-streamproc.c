/* What a program that gives or takes a stream gets from the context of the volume. */
#include "volume/stream/streamproc.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* It holds the lock as its stdout: cat shows so by writing there. */
static void test_lock(void **state)
{
    _cleanup_close_ int lock = memfd_create("lock", MFD_CLOEXEC);
    const struct volume_context context = {.lock_fd = lock};
    struct streamproc s;
    struct err e = {0};
    char *argv[] = {(char *)"cat", NULL}, text[8] = "";
    if (streamproc_start(&s, argv, false, &context, &e) < 0 || streamproc_write(&s, "held", 4, &e) < 0 ||
        streamproc_end(&s, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(pread(lock, text, sizeof text - 1, 0), 4);
    assert_string_equal(text, "held");
    streamproc_stop(&s);
}

static void end_it(void *s)
{
    kill(((struct streamproc *)s)->proc.pid, SIGTERM);
}

/* It gives nothing, and ends when the tick comes. */
static void test_tick(void **state)
{
    struct streamproc s;
    struct err e = {0};
    char *argv[] = {(char *)"tail", (char *)"-f", (char *)"/dev/null", NULL}, byte;
    const struct volume_context context = {.tick = {end_it, &s}};
    if (streamproc_start(&s, argv, true, &context, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(streamproc_read(&s, &byte, 1, &e), -1);
    assert_non_null(strstr(e.text, "tail: exit status 143"));
    streamproc_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lock), cmocka_unit_test(test_tick)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
