/* A replica on the wire: what a target tells is what the source takes, but for what no run can name or use.
 */
#include "run/message.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/testbrief.h"
#include "run/snapshot.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *name;
    unsigned flags;
    bool told;
} told[] = {
    {"__replicate_100-0_1700000000__", SNAPSHOT_READABLE | SNAPSHOT_RECEIVED, true},
    {"__base__", SNAPSHOT_READABLE, true},
    {"before-upgrade", SNAPSHOT_READABLE, true},
    {"diverged_100-0_1700000000", SNAPSHOT_READABLE, true},
    {"diverged_100-0_1600000000", SNAPSHOT_READABLE | SNAPSHOT_APART, false},
    {"autosnap_2026-01-01_00:00:00_daily", SNAPSHOT_READABLE, false},
    {"2026.01.01", SNAPSHOT_READABLE, false},
};

static void test_replica(void **state)
{
    (void)state;
    struct replica r = {.info = {.exists = true, .stream = true, .many = true, .size = 4096, .available = 7},
                        .written = true,
                        .owner = "100-0"},
                   got = {0};
    struct err e = {0};
    memset(r.base_id, 'a', SNAPSHOT_ID_LEN);
    for (size_t i = 0; i < ELEMENTS(told); i++) {
        struct snapshot s = {.seq = i + 1, .created = 1700000000, .flags = told[i].flags};
        s.damaged = i ? 0 : 1700000001;
        strcpy(s.name, told[i].name);
        memset(s.id, 'a' + (int)i % 6, SNAPSHOT_ID_LEN);
        snapshots_add(&r.snapshots, &s);
    }
    json_t *o = message_replica(&r);
    if (message_replica_parse(o, &got, &e) < 0)
        fail_msg("%s", e.text);
    assert_true(got.info.exists && got.info.stream && got.info.many && got.written && !got.info.encrypts);
    assert_true(got.info.size == 4096 && got.info.available == 7);
    assert_string_equal(got.owner, "100-0");
    assert_string_equal(got.base_id, r.base_id);
    for (size_t i = 0, k = 0; i < ELEMENTS(told); i++) {
        const struct snapshot *s = k < got.snapshots.n ? &got.snapshots.v[k] : NULL;
        bool there = s && strcmp(s->name, told[i].name) == 0;
        if (there != told[i].told)
            fail_msg("'%s' was %stold", told[i].name, there ? "" : "not ");
        k += there;
        assert_true(!there || s->damaged == (i ? 0 : 1700000001));
        assert_true(!there || (s->seq == i + 1 && s->flags == told[i].flags && s->created == 1700000000));
    }
    json_decref(o);
    replica_release(&r);
    replica_release(&got);
}

/* What is noted at a restore point may be anything that somebody wrote there. */
static void test_damaged(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int want;
    } cases[] = {{"1", 0},   {"253402300799", 0}, {"253402300800", -1}, {"9223372036854775807", -1},
                 {"0", -1},  {"-1", -1},          {"true", -1},         {"\"1\"", -1},
                 {"1.5", -1}};
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        struct snapshot s;
        _cleanup_free_ char *text =
            xasprintf("{\"name\":\"a1\",\"id\":\"%032d\",\"created\":5,\"seq\":1,\"size\":1,"
                      "\"received\":true,\"readable\":true,\"damaged\":%s}",
                      7, cases[i].value);
        json_t *o = json_loads(text, 0, NULL);
        assert_non_null(o);
        if (message_snapshot_parse(o, &s, &e) != cases[i].want)
            fail_msg("%s: %s", cases[i].value, e.text);
        assert_true(cases[i].want < 0 || s.damaged > 0);
        json_decref(o);
    }
}

/* ---- what a message may take ---- */

/* `head`, `n` times the piece, `tail`, as a frame's payload. */
static size_t repeated(struct buf *b, const char *head, const char *piece, size_t n, const char *tail)
{
    buf_clear(b);
    buf_adds(b, head);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(b, ',');
        buf_adds(b, piece);
    }
    buf_adds(b, tail);
    return b->len;
}

/* Bytes that the message takes; -1: it is refused, and then nothing is taken. */
static long held(const struct buf *text)
{
    struct err e = {0};
    struct frame f = {.type = FRAME_CALL, .payload = (uint8_t *)text->data, .len = text->len};
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    json_t *o = message_parse(&f, &e);
    long taken = (long)(mallinfo2().uordblks + mallinfo2().hblkhd - before);
    if (!o) {
        assert_true(taken < 65536);
        assert_non_null(strstr(e.text, "would take more than 64 MiB"));
    }
    json_decref(o);
    return o ? taken : -1;
}

/* However it is made, it takes no more than the quota, and one of four MiB that takes more is refused. */
static void test_bombs(void **state)
{
    (void)state;
    if (test_is_brief())
        skip();
    static const char *const pieces[] = {
        "{}",        "[]",  "0",          "1.5",  "\"\"",        "\"xxxxxxxxxxxxxxx\"",
        "{\"a\":0}", "[0]", "[[[[[]]]]]", "true", "[\"\",\"\"]", "{\"a\":{\"b\":[{}]}}"};
    _cleanup_buf_ struct buf text = BUF_INIT;
    for (size_t i = 0; i < ELEMENTS(pieces); i++) {
        long most = 0, refused = 0;
        for (size_t n = 65536; repeated(&text, "{\"x\":[", pieces[i], n, "]}") <= FRAME_MAX; n *= 2) {
            long taken = held(&text);
            refused += taken < 0;
            most = taken > most ? taken : most;
        }
        if (most > (long)MESSAGE_HOLD_MAX)
            fail_msg("%s: %ld bytes are held", pieces[i], most);
        bool heavy =
            strlen(pieces[i]) < 5 && pieces[i][0] != '"' && pieces[i][0] != 't' && pieces[i][0] != '1';
        assert_true(!heavy || refused);
    }
}

/* The largest answer of an honest node: as many snapshots as fit into a frame. */
static void test_honest_message_fits(void **state)
{
    (void)state;
    if (test_is_brief())
        skip();
    struct replica r = {.info = {.exists = true, .many = true}};
    struct snapshot s = {.seq = 1, .created = 1700000000};
    _cleanup_buf_ struct buf text = BUF_INIT;
    strcpy(s.name, "s1");
    memset(s.id, 'a', SNAPSHOT_ID_LEN);
    for (size_t i = 0; i < 512; i++)
        snapshots_add(&r.snapshots, &s);
    json_t *o = message_replica(&r);
    _cleanup_free_ char *one = json_dumps(o, JSON_COMPACT);
    for (size_t n = FRAME_MAX / strlen(one); n > 0; n--)
        buf_addf(&text, "%s%s", text.len ? "," : "{\"volumes\":[", one);
    buf_adds(&text, "]}");
    assert_true(text.len > FRAME_MAX - (128 << 10));
    assert_true(held(&text) >= 0); /* a sanitizer's malloc tells nothing */
    json_decref(o);
    replica_release(&r);
}

static void test_texts(void **state)
{
    (void)state;
    struct err e = {0};
    _cleanup_strv_ struct strv got = STRV_INIT;
    json_t *list = json_array();
    char longest[3 * MESSAGE_TEXT_MAX];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    json_array_append_new(list, json_string("kept\nOK\033[A"));
    json_array_append_new(list, json_string(longest));
    for (size_t i = 0; i < MESSAGE_TEXTS_MAX; i++)
        json_array_append_new(list, json_string("x"));
    json_t *o = json_pack("{s:o}", "texts", list);
    assert_int_equal(message_texts(o, "texts", &got, &e), 0);
    assert_int_equal(got.n, MESSAGE_TEXTS_MAX + 1);
    assert_string_equal(got.v[0], "kept OK?[A");
    assert_int_equal(strlen(got.v[1]), MESSAGE_TEXT_MAX);
    assert_string_equal(got.v[got.n - 1], "(and 2 more)");
    assert_int_equal(message_texts(o, "none", &got, &e), -1);
    json_array_insert_new(json_object_get(o, "texts"), 0, json_null());
    assert_int_equal(message_texts(o, "texts", &got, &e), -1);
    json_decref(o);
}

static void test_names_are_one_line(void **state)
{
    (void)state;
    static const char *const bad[] = {"a\nb", "\033[2J", "a\tb", "\xe2\x80\xae"};
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        struct err e = {0};
        const char *text;
        _cleanup_strv_ struct strv names = STRV_INIT;
        json_t *o = json_pack("{s:s, s:[s]}", "name", bad[i], "names", bad[i]);
        assert_int_equal(message_string(o, "name", 64, &text, &e), -1);
        assert_int_equal(message_volids(o, "names", &names, &e), -1);
        json_decref(o);
    }
}

/* What a target says of why it failed goes to logs, `status` and mails. */
static void test_error_is_one_line(void **state)
{
    (void)state;
    struct err e = {0};
    static const char text[] =
        "{\"kind\":\"data\",\"code\":0,\"text\":\"x\\n100-1  Yes  pve2  OK\\u001b[1A\"}";
    struct frame f = {.type = FRAME_ERROR, .payload = (uint8_t *)text, .len = sizeof text - 1};
    assert_int_equal(message_take_error(&f, "pve2", &e), -1);
    assert_string_equal(e.text, "pve2: x 100-1  Yes  pve2  OK?[1A");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_replica),
                                       cmocka_unit_test(test_damaged),
                                       cmocka_unit_test(test_bombs),
                                       cmocka_unit_test(test_honest_message_fits),
                                       cmocka_unit_test(test_texts),
                                       cmocka_unit_test(test_names_are_one_line),
                                       cmocka_unit_test(test_error_is_one_line)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
