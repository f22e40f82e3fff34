/* Streams of zvols, made by hand, well-formed and hostile. */
#include "volume/zfs/ranges.h"

#include "base/buf.h"
#include "base/testbrief.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 8192ull
#define SIZE (64 * BLOCK)
#define DATA 0xda
static struct err err;

/* Streams are told as records apart by spaces: a letter and numbers, those of the data in blocks.
 *     B begin without a base   b with one       O object            E end
 *     W object,offset,length   Z the same, zeros                    F object,offset,length (-1: without an
 * end) D first,count objects are freed           S spill   X object embedded   R object by reference   ?
 * unknown
 */
static void add_payload(struct buf *b, uint64_t n, char byte)
{
    for (; n; n--)
        buf_addc(b, byte);
}

static void put(unsigned char *record, size_t at, uint64_t n, size_t width)
{
    memcpy(record + at, &n, width);
}

static void add_record(struct buf *b, const char *text)
{
    static const char letters[] = "BODWFERSX";
    unsigned char record[312] = {0};
    long long n[3] = {0};
    sscanf(text + 1, "%lld,%lld,%lld", &n[0], &n[1], &n[2]);
    char letter = *text == 'b' ? 'B' : *text == 'Z' ? 'W' : *text;
    const char *type = strchr(letters, letter);
    uint64_t offset = (uint64_t)n[1] * BLOCK, length = n[2] < 0 ? UINT64_MAX : (uint64_t)n[2] * BLOCK;
    put(record, 0, type ? (uint64_t)(type - letters) : 99, 4);
    put(record, 8, letter == 'B' ? 0x2F5bacbac : (uint64_t)n[0], 8);
    if (letter == 'B') {
        put(record, 4, 24, 4);
        put(record, 32, 3, 4);
        put(record, 48, *text == 'b' ? 77 : 0, 8);
    } else if (letter == 'O') {
        put(record, 28, 5, 4);
    } else if (letter == 'D') {
        put(record, 16, (uint64_t)n[1], 8);
    } else if (letter == 'W') {
        put(record, 24, offset, 8);
        put(record, 32, length, 8);
    } else if (letter == 'F') {
        put(record, 16, offset, 8);
        put(record, 24, length, 8);
    } else if (letter == 'S') {
        put(record, 16, 512, 8);
    } else if (letter == 'X') {
        put(record, 52, 9, 4);
    }
    buf_add(b, record, sizeof record);
    uint64_t payload = letter == 'B'   ? 24
                       : letter == 'O' ? 8
                       : letter == 'W' ? length
                       : letter == 'S' ? 512
                       : letter == 'X' ? 16
                                       : 0;
    add_payload(b, payload, *text == 'W' ? (char)DATA : 0);
}

static void add_records(struct buf *b, const char *text)
{
    for (; *text; text += strspn(text, " ")) {
        add_record(b, text);
        text += strcspn(text, " ");
    }
}

struct source {
    struct buf b;
    size_t at, step;
};

static ssize_t read_some(void *arg, void *data, size_t room, struct err *e)
{
    struct source *s = arg;
    size_t n = s->b.len - s->at;
    if (n > room)
        n = room;
    if (n > s->step)
        n = s->step;
    if (n)
        memcpy(data, s->b.data + s->at, n);
    s->at += n;
    return (ssize_t)n;
}

/* "data 1-3 zero 4-9 " in blocks; every byte of data must be DATA. -1 refused. */
static int print(struct zfsranges *r, char *out, size_t room)
{
    size_t n = 0;
    struct extent x;
    int is;
    out[0] = 0;
    while ((is = zfsranges_next(r, &x, &err)) > 0) {
        if (is == 2)
            continue;
        n += (size_t)snprintf(out + n, room - n, "%s %g-%g ", x.kind == EXTENT_DATA ? "data" : "zero",
                              (double)x.offset / BLOCK, (double)(x.offset + x.length) / BLOCK);
        const unsigned char *data = zfsranges_data(r);
        for (uint64_t i = 0; x.kind == EXTENT_DATA && i < x.length; i++)
            assert_int_equal(data[i], DATA);
        assert_true(x.kind == EXTENT_ZERO || x.length <= EXTENT_DATA_MAX);
    }
    return is;
}

static const struct {
    const char *what, *stream;
    uint64_t from;
    const char *ranges; /* NULL: refused */
} cases[] = {
    {"nothing", "b O1 E", 0, ""},
    {"blocks that follow each other", "b O1 W1,1,1 W1,2,2 E", 0, "data 1-4 "},
    {"blocks apart", "b O1 W1,1,1 W1,3,1 E", 0, "data 1-2 data 3-4 "},
    {"a block of zeros", "b O1 W1,1,1 Z1,2,1 W1,3,1 E", 0, "data 1-2 zero 2-3 data 3-4 "},
    {"the same of a full stream", "B O1 W1,1,1 Z1,2,1 W1,3,1 E", 0, "data 1-2 data 3-4 "},
    {"a hole", "b O1 W1,0,1 F1,1,4 W1,9,1 E", 0, "data 0-1 zero 1-5 data 9-10 "},
    {"a hole up to the end", "b O1 W1,0,1 F1,60,4 E", 0, "data 0-1 zero 60-64 "},
    {"a hole beyond the end", "b O1 F1,60,900 E", 0, "zero 60-64 "},
    {"a hole behind blocks, without an end", "b O1 W1,0,1 F1,60,-1 E", 0, "data 0-1 zero 60-64 "},
    {"where the last block ends", "b O1 F1,50,-1 W1,3,1 E", 0, "data 3-4 "},
    {"the same, resized", "b O1 F1,50,-1 W1,3,1 O2 W2,0,1 E", 0, "data 3-4 zero 50-64 "},
    {"the same, the size embedded", "b O1 F1,50,-1 O2 X2 E", 0, "zero 50-64 "},
    {"holes of a full stream", "B O1 F1,50,-1 F1,1,3 O2 W2,0,1 E", 0, ""},
    {"what is about other objects", "b D3,9 O1 W1,3,1 S2 F2,0,9 E", 0, "data 3-4 "},
    {"blocks beyond the end", "b O1 W1,63,4 E", 0, "data 63-64 "},
    {"gone on within a block", "b O1 W1,0,1 W1,1,1 E", BLOCK / 2, "data 0.5-2 "},
    {"gone on within a hole", "b O1 W1,0,1 F1,1,4 W1,9,1 E", 3 * BLOCK, "zero 3-5 data 9-10 "},
    {"gone on behind all", "b O1 W1,0,1 F1,1,-1 E", SIZE, ""},
    /* hostile */
    {"it does not begin", "O1 W1,0,1 E", 0, NULL},
    {"it begins twice", "b b E", 0, NULL},
    {"no end", "b O1 W1,1,1", 0, NULL},
    {"nothing at all", "", 0, NULL},
    {"something behind the end", "b O1 E E", 0, NULL},
    {"backwards", "b O1 W1,3,1 W1,2,1 E", 0, NULL},
    {"twice the same", "b O1 W1,3,1 W1,3,1 E", 0, NULL},
    {"a hole backwards", "b O1 W1,3,1 F1,2,1 E", 0, NULL},
    {"a block behind the last", "b O1 F1,50,-1 W1,51,1 E", 0, NULL},
    {"an empty block", "b O1 W1,3,0 E", 0, NULL},
    {"an empty hole", "b O1 F1,3,0 E", 0, NULL},
    {"a block too long", "b O1 W1,3,2049 E", 0, NULL},
    {"an embedded block", "b O1 X1 E", 0, NULL},
    {"a block by reference", "b O1 R1 E", 0, NULL},
    {"an unknown record", "b O1 ? E", 0, NULL},
    {"the data freed", "b D0,2 E", 0, NULL},
    {"all objects freed", "b D1,-1 E", 0, NULL},
};

static struct zfsranges *ranges_of(struct source *s, const char *stream, uint64_t size, bool full,
                                   uint64_t from)
{
    add_records(&s->b, stream);
    err = (struct err){0};
    return zfsranges_new(size, full, from, read_some, s);
}

static void test_cases(void **state)
{
    static const size_t steps[] = {1, 7, 1 << 20};
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        for (size_t k = test_is_brief(); k < ELEMENTS(steps); k++) {
            char ranges[256];
            struct source s = {.b = BUF_INIT, .step = steps[k]};
            _cleanup_(zfsranges_freep) struct zfsranges *r =
                ranges_of(&s, cases[i].stream, SIZE, cases[i].stream[0] == 'B', cases[i].from);
            int is = print(r, ranges, sizeof ranges);
            buf_release(&s.b);
            if ((is < 0) != !cases[i].ranges)
                fail_msg("%s: %s", cases[i].what, is < 0 ? err.text : "was not refused");
            if (is < 0)
                assert_int_equal(err.kind, ERR_DATA);
            else if (strcmp(ranges, cases[i].ranges) != 0)
                fail_msg("%s: %s instead of %s", cases[i].what, ranges, cases[i].ranges);
        }
    }
}

/* A full stream for a delta would hide what became zeros. */
static void test_wrong_base(void **state)
{
    for (int full = 0; full < 2; full++) {
        struct source s = {.b = BUF_INIT, .step = 1 << 20};
        struct extent x;
        _cleanup_(zfsranges_freep) struct zfsranges *r =
            ranges_of(&s, full ? "b O1 E" : "B O1 E", SIZE, full, 0);
        assert_int_equal(zfsranges_next(r, &x, &err), -1);
        assert_int_equal(err.kind, ERR_DATA);
        buf_release(&s.b);
    }
}

/* More than one range holds; each stays within the limit, and nothing is lost at the seams. */
static void test_long(void **state)
{
    struct source s = {.b = BUF_INIT, .step = 1 << 16};
    char ranges[256], block[32];
    add_records(&s.b, "B O1");
    for (int i = 0; i < 300; i++) {
        snprintf(block, sizeof block, "W1,%d,1", i);
        add_record(&s.b, block);
    }
    _cleanup_(zfsranges_freep) struct zfsranges *r = ranges_of(&s, "E", 300 * BLOCK, true, 0);
    assert_int_equal(print(r, ranges, sizeof ranges), 0);
    assert_string_equal(ranges, "data 0-128 data 128-256 data 256-300 ");
    buf_release(&s.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_wrong_base),
                                       cmocka_unit_test(test_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
