/* A temporary directory for each test of this folder, and its files. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/fs.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int setup_dir(void **state)
{
    char *dir = xstrdup("/tmp/pvesr-state-XXXXXX");
    assert_non_null(mkdtemp(dir));
    *state = dir;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

static int remove_dir(void **state)
{
    nftw(*state, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

__attribute__((unused)) static void put(const char *dir, const char *name, const char *text)
{
    struct err e;
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
    assert_int_equal(fs_write_atomic(path, text, strlen(text), 0644, &e), 0);
}

/* "" for a missing file. */
__attribute__((unused)) static char *get(const char *dir, const char *name)
{
    struct err e;
    struct buf text = BUF_INIT;
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
    assert_true(fs_read(path, 64 << 20, &text, &e) >= 0);
    return buf_take(&text);
}

#define DIR_TEST(f) cmocka_unit_test_setup_teardown(f, setup_dir, remove_dir)
