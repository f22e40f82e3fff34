#include "volume/lvm/thinmeta.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <endian.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS 64
#define HELD 3
#define TOP 4
#define DETAILS 5
#define DEVICE 7 /* the id of a device whose tree is at ROOT */
#define ROOT 10

static unsigned char image[BLOCKS][BLOCK];
static struct err err;

static void put32(unsigned char *p, uint32_t n)
{
    n = htole32(n);
    memcpy(p, &n, sizeof n);
}

static void put64(unsigned char *p, uint64_t n)
{
    n = htole64(n);
    memcpy(p, &n, sizeof n);
}

static void put_node(uint64_t at, bool leaf, uint32_t value)
{
    unsigned char *p = image[at];
    memset(p, 0, BLOCK);
    put32(p + 4, leaf ? 2 : 1);
    put64(p + 8, at);
    put32(p + 20, (BLOCK - 32) / (8 + value) / 3 * 3);
    put32(p + 24, value);
}

/* Behind what it has; where its value is. */
static unsigned char *put_entry(uint64_t at, uint64_t key)
{
    unsigned char *p = image[at];
    uint32_t n, room, value;
    memcpy(&n, p + 16, sizeof n);
    memcpy(&room, p + 20, sizeof room);
    memcpy(&value, p + 24, sizeof value);
    n = le32toh(n);
    put32(p + 16, n + 1);
    put64(p + 32 + 8 * (size_t)n, key);
    return p + 32 + 8 * (size_t)le32toh(room) + (size_t)le32toh(value) * n;
}

static void put_mapping(uint64_t at, uint64_t chunk, uint64_t data, uint32_t time)
{
    put64(put_entry(at, chunk), data << 24 | time);
}

static void put_device(uint64_t id, uint64_t root, uint64_t mapped, uint32_t made, uint32_t snapshotted)
{
    put64(put_entry(TOP, id), root);
    unsigned char *p = put_entry(DETAILS, id);
    put64(p, mapped);
    put32(p + 16, made);
    put32(p + 20, snapshotted);
}

static void put_super(uint64_t at)
{
    put64(image[at] + 32, 27022010);
    put32(image[at] + 40, 2);
    put64(image[at] + 56, HELD);
    put64(image[at] + 320, TOP);
    put64(image[at] + 328, DETAILS);
}

/* Of one device, with nothing mapped. */
static void begin(void)
{
    memset(image, 0, sizeof image);
    put_super(0);
    put_super(HELD);
    put_node(TOP, true, 8);
    put_node(DETAILS, true, 24);
    put_node(ROOT, true, 8);
}

static bool same(const struct thin_device *a, const struct thin_device *b)
{
    return a->map.n == b->map.n && memcmp(a->map.sum, b->map.sum, sizeof a->map.sum) == 0;
}

static int look_at(uint64_t id, struct thin_device *ret)
{
    int fd = memfd_create("metadata", MFD_CLOEXEC);
    assert_int_equal(write(fd, image, sizeof image), sizeof image);
    struct thinmeta *m = thinmeta_open(fd, NULL, &err);
    int r = m ? thinmeta_device(m, id, ret, &err) : -1;
    if (r == 0) {
        struct thin_device again;
        assert_int_equal(thinmeta_device(m, id, &again, &err), 0);
        assert_true(same(&again, ret));
    }
    thinmeta_free(m);
    close(fd);
    return r;
}

static struct thin_device must(uint64_t id)
{
    struct thin_device d;
    if (look_at(id, &d) != 0)
        fail_msg("%s", err.text);
    return d;
}

static void test_device(void **state)
{
    struct thin_device d;
    begin();
    put_mapping(ROOT, 0, 900, 3);
    put_mapping(ROOT, 5, 17, 6);
    put_mapping(ROOT, 1ull << 40, 18, 4);
    put_device(3, 0, 0, 0, 0);
    put_device(DEVICE, ROOT, 3, 5, 8);
    d = must(DEVICE);
    assert_int_equal(d.map.n, 3);
    assert_int_equal(d.map.newest, 6);
    assert_int_equal(d.made, 5);
    assert_int_equal(d.snapshotted, 8);
    assert_int_equal(look_at(1, &d), 1);
    assert_int_equal(look_at(4, &d), 1);
    assert_int_equal(look_at(8, &d), 1);
}

/* The same mappings in one leaf, and in three below two inner nodes, of which one is another device's, too.
 */
static void test_shape(void **state)
{
    begin();
    for (uint64_t i = 0; i < 30; i++)
        put_mapping(ROOT, i * 3, 1000 - i, (uint32_t)i);
    put_device(DEVICE, ROOT, 30, 1, 40);
    struct thin_device flat = must(DEVICE);
    begin();
    for (uint64_t k = 0; k < 3; k++) {
        put_node(20 + k, true, 8);
        for (uint64_t i = 10 * k; i < 10 * k + 10; i++)
            put_mapping(20 + k, i * 3, 1000 - i, (uint32_t)i);
    }
    put_node(ROOT, false, 8);
    put_node(30, false, 8);
    put64(put_entry(30, 0), 20);
    put64(put_entry(30, 30), 21);
    put64(put_entry(ROOT, 0), 30);
    put64(put_entry(ROOT, 60), 22);
    put_device(DEVICE, ROOT, 30, 1, 40);
    put_device(DEVICE + 1, 30, 20, 1, 40);
    struct thin_device deep = must(DEVICE), part = must(DEVICE + 1);
    assert_true(same(&flat, &deep));
    assert_int_equal(deep.map.newest, 29);
    assert_int_equal(part.map.newest, 19);
    assert_false(same(&flat, &part));
}

/* Whatever a write or a discard does to a mapping. */
static void test_changes(void **state)
{
    static const struct {
        uint64_t chunk, data;
        uint32_t time;
    } changes[] = {{5, 17, 7}, {5, 16, 6}, {6, 17, 6}, {5, 17, 5}};
    begin();
    put_mapping(ROOT, 0, 900, 3);
    put_mapping(ROOT, 5, 17, 6);
    put_device(DEVICE, ROOT, 2, 5, 8);
    struct thin_device was = must(DEVICE);
    for (size_t i = 0; i < ELEMENTS(changes); i++) {
        begin();
        put_mapping(ROOT, 0, 900, 3);
        put_mapping(ROOT, changes[i].chunk, changes[i].data, changes[i].time);
        put_device(DEVICE, ROOT, 2, 5, 8);
        struct thin_device is = must(DEVICE);
        assert_false(same(&was, &is));
    }
    begin();
    put_mapping(ROOT, 0, 900, 3);
    put_device(DEVICE, ROOT, 1, 5, 8);
    struct thin_device less = must(DEVICE);
    assert_false(same(&was, &less));
    begin();
    put_device(DEVICE, ROOT, 0, 5, 8);
    struct thin_device none = must(DEVICE);
    assert_int_equal(none.map.n, 0);
}

/* What is not what it must be is not understood; nothing is read that is not there. */
static void test_hostile(void **state)
{
    static const struct {
        unsigned block, at;
        uint32_t is;
    } cases[] = {
        {0, 32, 1},    {0, 56, 0},      {0, 56, BLOCKS}, {0, 60, UINT32_MAX},   {0, 360, 1},  {HELD, 32, 1},
        {HELD, 40, 3}, {HELD, 360, 1},  {HELD, 320, 0},  {HELD, 328, TOP},      {TOP, 4, 0},  {TOP, 8, 5},
        {TOP, 24, 24}, {TOP, 16, 4000}, {TOP, 20, 255},  {TOP, 20, UINT32_MAX}, {ROOT, 4, 3}, {ROOT, 8, 0},
        {ROOT, 24, 0}, {ROOT, 24, 16},  {ROOT, 16, 300}, {DETAILS, 24, 8},
    };
    struct thin_device d;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        begin();
        put_mapping(ROOT, 0, 900, 3);
        put_mapping(ROOT, 5, 17, 6);
        put_device(DEVICE, ROOT, 2, 5, 8);
        put32(image[cases[i].block] + cases[i].at, cases[i].is);
        if (look_at(DEVICE, &d) != -1 || err.kind != ERR_DATA)
            fail_msg("case %zu", i);
    }
}

static void test_endless(void **state)
{
    struct thin_device d;
    begin();
    put_node(ROOT, false, 8);
    put64(put_entry(ROOT, 0), ROOT);
    put_device(DEVICE, ROOT, 2, 5, 8);
    assert_int_equal(look_at(DEVICE, &d), -1);
    begin();
    put_node(TOP, false, 8);
    put64(put_entry(TOP, 0), TOP);
    assert_int_equal(look_at(DEVICE, &d), -1);
}

static void test_too_much(void **state)
{
    struct thin_device d;
    for (unsigned more = 0; more < 2; more++) {
        begin();
        put_mapping(ROOT, 0, 900, 3);
        put_device(DEVICE, ROOT, (uint64_t)THINMETA_MAPPED_MAX + more, 5, 8);
        assert_int_equal(look_at(DEVICE, &d), more ? -1 : 0);
    }
    assert_int_equal(err.kind, ERR_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device),  cmocka_unit_test(test_shape),   cmocka_unit_test(test_changes),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_endless), cmocka_unit_test(test_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
