/* File systems of the tests' own, on loop devices. */
#pragma once

struct test_mount {
    char dir[64];  /* holds the image; removed with it */
    char path[80]; /* where it is mounted; "" when it is not */
};

/* Make and mount one: `mkfs` is an argument vector without the image at its end (NULL: a tmpfs), `options`
 * are mount options or NULL. NULL when it is mounted, else why not: the test is then skipped with that
 * reason. */
const char *test_mount(struct test_mount *m, const char *const mkfs[], const char *options);
/* Unmount and remove; fine when nothing was mounted. */
void test_unmount(struct test_mount *m);
/* Run a program to its end; its exit status, 127 when it cannot be started. Its output is dropped. */
int test_run(const char *const argv[]);
