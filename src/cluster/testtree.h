/* A tree in a temporary directory for the tests of this folder: made anew for each test, removed after it. */
#pragma once

#include "base/buf.h"
#include "base/fs.h"
#include "cluster/tree.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MEMBERS_TWO                                                                                          \
    "{\"nodename\":\"pve1\",\"version\":4,\"cluster\":{\"name\":\"c\",\"version\":2,\"nodes\":2,"            \
    "\"quorate\":1},\"nodelist\":{\"pve1\":{\"id\":1,\"online\":1,\"ip\":\"10.0.0.1\"},"                     \
    "\"pve2\":{\"id\":2,\"online\":0,\"ip\":\"10.0.0.2\"}}}"

struct test_tree {
    char root[64];
    struct tree *tree;
};

/* A file of the tree, with its directories. */
__attribute__((unused)) static void put(const struct test_tree *tt, const char *path, const char *text)
{
    struct err e;
    _cleanup_free_ char *full = xasprintf("%s/%s", tt->root, path);
    _cleanup_free_ char *dir = xstrndup(full, (size_t)(strrchr(full, '/') - full));
    assert_int_equal(fs_mkdir_p(dir, 0755, &e), 0);
    assert_int_equal(fs_write_atomic(full, text, strlen(text), 0644, &e), 0);
}

__attribute__((unused)) static char *get(const struct test_tree *tt, const char *path)
{
    struct err e;
    struct buf text = BUF_INIT;
    _cleanup_free_ char *full = xasprintf("%s/%s", tt->root, path);
    return fs_read(full, 1 << 20, &text, &e) == 0 ? buf_take(&text) : NULL;
}

__attribute__((unused)) static void open_test_tree(struct test_tree *tt)
{
    struct err e;
    _cleanup_free_ char *spec = xasprintf("dir:%s", tt->root);
    tt->tree = tree_open(spec, &e);
    if (!tt->tree)
        fail_msg("%s", e.text);
}

__attribute__((unused)) static int setup_empty(void **state)
{
    struct test_tree *tt = xcalloc(1, sizeof *tt);
    snprintf(tt->root, sizeof tt->root, "/tmp/pvesr-tree-XXXXXX");
    assert_non_null(mkdtemp(tt->root));
    chmod(tt->root, 0755);
    *state = tt;
    return 0;
}

__attribute__((unused)) static int setup_dir(void **state)
{
    setup_empty(state);
    open_test_tree(*state);
    return 0;
}

__attribute__((unused)) static int setup_pmxcfs(void **state)
{
    setup_empty(state);
    put(*state, ".members", MEMBERS_TWO);
    open_test_tree(*state);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

__attribute__((unused)) static int teardown(void **state)
{
    struct test_tree *tt = *state;
    tree_free(tt->tree);
    nftw(tt->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(tt);
    return 0;
}

/* cmocka's macros, named after the kind of tree */
#define DIR_TEST(f) cmocka_unit_test_setup_teardown(f, setup_dir, teardown)
#define PMXCFS_TEST(f) cmocka_unit_test_setup_teardown(f, setup_pmxcfs, teardown)
#define EMPTY_TEST(f) cmocka_unit_test_setup_teardown(f, setup_empty, teardown)
