/* What thin_delta prints, well-formed and hostile. */
#include "volume/lvm/thinmap.h"

#include "base/buf.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define K64 65536ull

static struct err err;

/* As text: "KIND BEGIN-END " in chunks, all of them up to the last. */
static void print(struct thinmap *m, char *out, size_t room)
{
    static const char *const names[] = {
        [THIN_SAME] = "same", [THIN_LEFT] = "left", [THIN_RIGHT] = "right", [THIN_DIFFERENT] = "diff"};
    uint64_t chunk = thinmap_chunk(m), end;
    size_t n = 0;
    out[0] = 0;
    for (uint64_t pos = 0; pos < UINT64_MAX && n < room; pos = end) {
        enum thin_kind kind = thinmap_at(m, pos, &end);
        if (kind != THIN_NONE)
            n += (size_t)snprintf(out + n, room - n, "%s %llu-%llu ", names[kind],
                                  (unsigned long long)(pos / chunk), (unsigned long long)(end / chunk));
    }
}

static int feed(struct thinmap *m, const char *text, size_t step)
{
    size_t n = strlen(text);
    for (size_t at = 0; at < n; at += step)
        if (thinmap_feed(m, text + at, n - at < step ? n - at : step, &err) < 0)
            return -1;
    return thinmap_finish(m, &err);
}

#define HEAD                                                                                                 \
    "<superblock uuid=\"\" time=\"1\" transaction=\"2\" data_block_size=\"128\" nr_data_blocks=\"0\">\n"
#define DIFF HEAD "  <diff left=\"1\" right=\"2\">\n"
#define TAIL "  </diff>\n</superblock>\n"
#define REGION(kind, begin, length) "    <" kind " begin=\"" begin "\" length=\"" length "\"/>\n"

static const struct {
    const char *text;
    uint64_t same_from; /* chunks */
    const char *map;    /* NULL: refused */
} cases[] = {
    {DIFF TAIL, 0, ""},
    {DIFF REGION("same", "0", "3") TAIL, 0, "same 0-3 "},
    {DIFF REGION("same", "0", "3") TAIL, 3, ""},
    {DIFF REGION("same", "0", "3") TAIL, 2, "same 0-3 "},
    {DIFF REGION("different", "0", "3") REGION("same", "3", "4") REGION("left_only", "7", "1")
         REGION("right_only", "9", "2") TAIL,
     5, "diff 0-3 same 3-7 left 7-8 right 9-11 "},
    {DIFF REGION("different", "0", "3") REGION("different", "3", "1") TAIL, 0, "diff 0-4 "},
    {DIFF REGION("right_only", "5", "0") TAIL, 0, ""},
    /* hostile */
    {"", 0, NULL},
    {"<superblock data_block_size=\"128\">", 0, NULL},
    {HEAD "</superblock>", 0, NULL},
    {DIFF, 0, NULL},
    {DIFF TAIL "<diff/>", 0, NULL},
    {"no XML", 0, NULL},
    {"<diff data_block_size=\"128\"><diff/></diff>", 0, NULL},
    {"<superblock><diff/></superblock>", 0, NULL},
    {"<superblock data_block_size=\"0\"><diff/></superblock>", 0, NULL},
    {"<superblock data_block_size=\"1\"><diff/></superblock>", 0, NULL},
    {"<superblock data_block_size=\"129\"><diff/></superblock>", 0, NULL},
    {"<superblock data_block_size=\"99999999999999999999\"><diff/></superblock>", 0, NULL},
    {"<superblock data_block_size=\"-128\"><diff/></superblock>", 0, NULL},
    {HEAD "<device dev_id=\"1\"/></superblock>", 0, NULL},
    {HEAD "<diff/><diff/></superblock>", 0, NULL},
    {DIFF REGION("gone", "0", "1") TAIL, 0, NULL},
    {DIFF REGION("same", "5", "3") REGION("different", "7", "1") TAIL, 0, NULL},
    {DIFF REGION("same", "5", "3") REGION("same", "0", "1") TAIL, 0, NULL},
    {DIFF REGION("different", "0", "-1") TAIL, 0, NULL},
    {DIFF REGION("different", "0", "9223372036854775807") TAIL, 0, NULL},
    {DIFF REGION("different", "140737488355327", "2") TAIL, 0, NULL},
    {DIFF REGION("different", "9223372036854775807", "1") TAIL, 0, NULL},
    {DIFF "<different begin=\"0\"/>" TAIL, 0, NULL},
    {DIFF "<different length=\"1\"/>" TAIL, 0, NULL},
    {DIFF "<different begin=\"0x1\" length=\"1\"/>" TAIL, 0, NULL},
    {DIFF "<same begin=\"0\" length=\"1\"><same begin=\"0\" length=\"1\"/></same>" TAIL, 0, NULL},
    {"<!DOCTYPE a [<!ENTITY b \"bbbbbbbb\"><!ENTITY c \"&b;&b;&b;\">]>" DIFF "&c;" TAIL, 0, NULL},
    {"<!DOCTYPE a SYSTEM \"/etc/passwd\">" DIFF TAIL, 0, NULL},
};

static void test_cases(void **state)
{
    static const size_t steps[] = {1, 7, 65536};
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        for (size_t k = 0; k < ELEMENTS(steps); k++) {
            char map[256];
            _cleanup_(thinmap_freep) struct thinmap *m = thinmap_new(cases[i].same_from * K64);
            err = (struct err){0};
            int r = feed(m, cases[i].text, steps[k]);
            if ((r < 0) != !cases[i].map)
                fail_msg("case %zu: %s", i, r < 0 ? err.text : "was not refused");
            if (r < 0) {
                assert_int_equal(err.kind, ERR_DATA);
                continue;
            }
            print(m, map, sizeof map);
            assert_string_equal(map, cases[i].map);
            assert_int_equal(thinmap_empty(m), !cases[i].map[0]);
        }
    }
}

/* Too many regions become fewer; what differs is never lost. */
static void test_joined(void **state)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_(thinmap_freep) struct thinmap *m = thinmap_new(0);
    thinmap_regions_max = 10;
    buf_adds(&text, DIFF);
    for (unsigned i = 0; i < 1000; i++)
        buf_addf(&text, "<%s begin=\"%u\" length=\"1\"/>", i % 3 ? "different" : "right_only", 10 * i);
    buf_adds(&text, TAIL);
    if (feed(m, buf_str(&text), 4096) < 0)
        fail_msg("%s", err.text);
    unsigned regions = 0;
    uint64_t end;
    for (unsigned i = 0; i < 1000; i++)
        if (thinmap_at(m, 10 * i * K64, &end) == THIN_NONE)
            fail_msg("chunk %u is lost", 10 * i);
    thinmap_free(m);
    m = thinmap_new(0);
    feed(m, buf_str(&text), 4096);
    for (uint64_t pos = 0; pos < UINT64_MAX; pos = end)
        regions += thinmap_at(m, pos, &end) != THIN_NONE;
    assert_true(regions <= 10);
    thinmap_regions_max = 2u << 20;
}

/* What both have lies between what the older one alone has, and is left out of the map: joined, the whole
 * must not be taken for gone. */
static void test_joined_around_same(void **state)
{
    static const char *const kinds[] = {"left_only", "right_only", "different"};
    for (size_t k = 0; k < ELEMENTS(kinds); k++) {
        _cleanup_buf_ struct buf text = BUF_INIT;
        _cleanup_(thinmap_freep) struct thinmap *m = thinmap_new(4000 * K64);
        uint64_t end;
        thinmap_regions_max = 10;
        buf_adds(&text, DIFF);
        for (unsigned i = 0; i < 100; i++)
            buf_addf(&text, "<%s begin=\"%u\" length=\"1\"/><same begin=\"%u\" length=\"1\"/>", kinds[k],
                     2 * i, 2 * i + 1);
        buf_adds(&text, TAIL);
        if (feed(m, buf_str(&text), 4096) < 0)
            fail_msg("%s", err.text);
        assert_true(thinmap_coarse(m));
        for (unsigned i = 0; i < 100; i++) {
            enum thin_kind kind = thinmap_at(m, (2 * i + 1) * K64, &end);
            if (kind != THIN_DIFFERENT && kind != THIN_NONE)
                fail_msg("%s: chunk %u, which both have, is said to be %d", kinds[k], 2 * i + 1, kind);
        }
    }
    thinmap_regions_max = 2u << 20;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_joined),
        cmocka_unit_test(test_joined_around_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
