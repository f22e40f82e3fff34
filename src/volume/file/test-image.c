/* What the beginning of a qcow2 says of other files. */
#include "volume/file/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void put(uint8_t *at, uint64_t value, size_t bytes)
{
    while (bytes--) {
        at[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

struct image {
    uint8_t head[4096];
};

static struct image make(uint32_t version, uint64_t backing, uint32_t length, uint64_t incompatible)
{
    struct image i = {{'Q', 'F', 'I', 0xfb}};
    put(i.head + 4, version, 4);
    put(i.head + 8, backing, 8);
    put(i.head + 16, length, 4);
    put(i.head + 72, incompatible, 8);
    put(i.head + 100, 104, 4);
    return i;
}

static void test_cases(void **state)
{
    (void)state;
    static const struct {
        uint32_t version;
        uint64_t backing;
        uint32_t length;
        uint64_t incompatible;
        size_t n;
        enum image_part part;
        const char *name;
    } cases[] = {
        {3, 0, 0, 0, 4096, IMAGE_ALONE, ""},
        {2, 0, 0, 4, 4096, IMAGE_ALONE, ""}, /* not a field of version 2 */
        {3, 0, 0, 1, 4096, IMAGE_ALONE, ""}, /* dirty, which is its own affair */
        {3, 1024, 11, 0, 4096, IMAGE_BACKING, "/etc/shadow"},
        {2, 1024, 11, 0, 4096, IMAGE_BACKING, "/etc/shadow"},
        {1, 1024, 11, 0, 4096, IMAGE_BACKING, "/etc/shadow"},
        {9, 1024, 4, 0, 4096, IMAGE_BACKING, "/etc"},
        {3, 1024, 0, 0, 4096, IMAGE_BACKING, ""},
        {3, 1024, 11, 0, 1028, IMAGE_BACKING, "/etc"}, /* the file ends in the name */
        {3, 1ull << 63, 11, 0, 4096, IMAGE_BACKING, ""},
        {3, UINT64_MAX, UINT32_MAX, 0, 4096, IMAGE_BACKING, ""},
        {3, 0, 0, 4, 4096, IMAGE_DATA, "/dev/sda"},
        {3, 0, 0, 4, 120, IMAGE_DATA, ""},
        {3, 1024, 11, 0, 19, IMAGE_ALONE, ""}, /* shorter than any header */
        {3, 0, 0, 4, 79, IMAGE_ALONE, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct image x = make(cases[i].version, cases[i].backing, cases[i].length, cases[i].incompatible);
        char name[IMAGE_NAME_MAX + 1];
        memcpy(x.head + 1024, "/etc/shadow", 11);
        put(x.head + 104, 0x6803f857, 4); /* feature names, 5 bytes */
        put(x.head + 108, 5, 4);
        put(x.head + 120, 0x44415441, 4);
        put(x.head + 124, 8, 4);
        memcpy(x.head + 128, "/dev/sda", 8);
        if (image_refers(x.head, cases[i].n, name) != cases[i].part || strcmp(name, cases[i].name) != 0)
            fail_msg("case %zu: '%s'", i, name);
    }
}

static void test_names(void **state)
{
    (void)state;
    struct image x = make(3, 1024, 3000, 0);
    char name[IMAGE_NAME_MAX + 1];
    memset(x.head + 1024, '\n', 3000);
    assert_int_equal(image_refers(x.head, sizeof x.head, name), IMAGE_BACKING);
    assert_int_equal(strspn(name, "?"), IMAGE_NAME_MAX);
    assert_int_equal(strlen(name), IMAGE_NAME_MAX);
    x.head[0] = 'q';
    assert_int_equal(image_refers(x.head, sizeof x.head, name), IMAGE_ALONE);
}

/* A file is looked into by its name. */
static void test_files(void **state)
{
    (void)state;
    struct image x = make(3, 1024, 11, 0);
    struct err e;
    memcpy(x.head + 1024, "/etc/shadow", 11);
    int fd = memfd_create("image", 0);
    assert_true(fd >= 0);
    assert_int_equal(image_check(fd, "vm-100-disk-0.qcow2", &e), 0);
    assert_int_equal(write(fd, x.head, sizeof x.head), sizeof x.head);
    assert_int_equal(image_check(fd, "vm-100-disk-0.raw", &e), 0);
    assert_int_equal(image_check(fd, "vm-100-disk-0.qcow2", &e), -1);
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_non_null(strstr(e.text, "'/etc/shadow'"));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
