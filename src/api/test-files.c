#include "api/files.h"
#include "state/testdir.h"

#include <unistd.h>

static void lay_out(const char *dir)
{
    _cleanup_free_ char *views = xasprintf("%s/views", dir), *outside = xasprintf("%s/views/link.js", dir);
    assert_int_equal(mkdir(views, 0755), 0);
    put(dir, "index.html", "<p>");
    put(dir, "panel.css", "");
    put(dir, "views/log.js", "log");
    put(dir, "views/.hidden.js", "hidden");
    put(dir, "README.md", "read me");
    put(dir, "real", "linked");
    assert_int_equal(symlink("../real", outside), 0);
}

static void test_finds(void **state)
{
    static const struct {
        const char *uri, *type, *text;
    } cases[] = {
        {"/", "text/html; charset=utf-8", "<p>"},
        {"/?a=/../x", "text/html; charset=utf-8", "<p>"},
        {"/index.html", "text/html; charset=utf-8", "<p>"},
        {"/panel.css", "text/css; charset=utf-8", ""},
        {"/views/log.js", "text/javascript; charset=utf-8", "log"},
        {"/views/link.js", "text/javascript; charset=utf-8", "linked"},
        {"/views", NULL, NULL},
        {"/views/", NULL, NULL},
        {"/views/../index.html", NULL, NULL},
        {"//index.html", NULL, NULL},
        {"/%69ndex.html", NULL, NULL},
        {"/../../etc/passwd", NULL, NULL},
        {"/views/.hidden.js", NULL, NULL},
        {"/README.md", NULL, NULL},
        {"/real", NULL, NULL},
        {"index.html", NULL, NULL},
        {"", NULL, NULL},
        {"/index.htm", NULL, NULL},
        {"/index.html/", NULL, NULL},
    };
    struct files f;
    struct err e;
    lay_out(*state);
    assert_int_equal(files_load(*state, &f, &e), 0);
    assert_int_equal(f.n, 4);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const struct file *got = files_find(&f, cases[i].uri);
        if (!got != !cases[i].type)
            fail_msg("%s: %s", cases[i].uri, got ? got->path : "none");
        if (!got)
            continue;
        assert_string_equal(got->type, cases[i].type);
        assert_int_equal(got->len, strlen(cases[i].text));
        assert_memory_equal(got->data, cases[i].text, got->len);
    }
    files_release(&f);
}

static void test_known(void **state)
{
    struct files f;
    struct err e;
    lay_out(*state);
    assert_int_equal(files_load(*state, &f, &e), 0);
    const struct file *one = files_find(&f, "/"), *other = files_find(&f, "/views/log.js");
    _cleanup_free_ char *list = xasprintf("W/\"x\", %s", one->etag);
    assert_true(file_is_known(one, one->etag));
    assert_true(file_is_known(one, list));
    assert_false(file_is_known(other, list));
    assert_false(file_is_known(one, NULL));
    files_release(&f);
}

static void test_folders(void **state)
{
    struct files f;
    struct err e;
    _cleanup_free_ char *gone = xasprintf("%s/gone", (char *)*state),
                        *big = xasprintf("%s/big.js", (char *)*state);
    assert_int_equal(files_load(gone, &f, &e), 0);
    assert_int_equal(f.n, 0);
    assert_null(files_find(&f, "/"));
    files_release(&f);
    put(*state, "big.js", "");
    assert_int_equal(truncate(big, FILE_BYTES_MAX + 1), 0);
    assert_int_equal(files_load(*state, &f, &e), -1);
    assert_non_null(strstr(e.text, "big.js"));
    assert_null(f.v);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        DIR_TEST(test_finds),
        DIR_TEST(test_known),
        DIR_TEST(test_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
