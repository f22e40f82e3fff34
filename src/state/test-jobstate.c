#include "state/testdir.h"

#include "base/proc.h"
#include "base/testbrief.h"
#include "state/jobstate.h"

#include <inttypes.h>
#include <unistd.h>

static const char file[] = "pve-replication-state.json";

static void assert_ok(int rc, const struct err *e)
{
    if (rc != 0)
        fail_msg("%s", e->text);
}

static void assert_file(const char *dir, const char *expected)
{
    _cleanup_free_ char *text = get(dir, file);
    assert_string_equal(text, expected);
}

static const struct job job_a = {.id = "100-0", .guest = 100, .target = (char *)"a"};

static void test_missing_is_default(void **state)
{
    static const char *const texts[] = {NULL,
                                        "",
                                        "\n",
                                        "{}",
                                        "{\"100\":{}}",
                                        "{\"100\":{\"local/b\":{}}}",
                                        "{\"100\":{\"local/a\":7}}",
                                        "{\"100\":[]}"};
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        struct err e;
        struct job_state s;
        if (texts[i])
            put(*state, file, texts[i]);
        assert_ok(job_state_load(*state, 100, "a", &s, &e), &e);
        assert_false(s.exists);
        assert_true(s.duration < 0);
        assert_true(!s.error && !s.last_try && !s.last_sync && !s.pid && !s.storages.n && !s.fail_count);
        job_state_release(&s);
    }
}

static void check_written_by_proxmox(const struct job_state *s)
{
    assert_true(s->exists);
    assert_int_equal(s->last_sync, 1700000000);
    assert_int_equal(s->last_try, 1700000900);
    assert_int_equal(s->last_iteration, 1700000901);
    assert_int_equal(s->fail_count, 2);
    assert_string_equal(s->error, "no \xc3\xa4nswer from \"pve2\""); /* one line of it */
    assert_true(s->duration == 3.125);
    assert_int_equal(s->storages.n, 2);
    assert_string_equal(s->storages.v[1], "zfs2");
    assert_string_equal(s->last_node, "pve1");
}

static void test_reads_what_proxmox_writes(void **state)
{
    put(*state, file,
        "{\"100\":{\"local/"
        "pve2\":{\"last_sync\":1700000000,\"last_try\":\"1700000900\",\"last_iteration\":1700000901,"
        "\"fail_count\":2,\"error\":\"no \\u00e4nswer\\nfrom \\\"pve2\\\"\",\"duration\":3.125,"
        "\"storeid_list\":[\"zfs1\",\"zfs2\"],\"last_node\":\"pve1\",\"future\":1.50}}}");
    struct err e;
    struct job_state s;
    assert_ok(job_state_load(*state, 100, "pve2", &s, &e), &e);
    check_written_by_proxmox(&s);
    assert_ok(job_state_store(*state, 100, "pve2", &s, &e), &e);
    job_state_release(&s);
    assert_ok(job_state_load(*state, 100, "pve2", &s, &e), &e);
    check_written_by_proxmox(&s);
    job_state_release(&s);
    assert_file(*state,
                "{\"100\":{\"local/pve2\":{\"future\":1.50,\"last_sync\":1700000000,\"last_try\":1700000900,"
                "\"last_iteration\":1700000901,\"fail_count\":2,\"duration\":3.125,"
                "\"error\":\"no \xc3\xa4nswer from \\\"pve2\\\"\",\"storeid_list\":[\"zfs1\",\"zfs2\"],"
                "\"last_node\":\"pve1\"}}}");
}

static void test_other_entries_stay_byte_for_byte(void **state)
{
    struct err e;
    struct job_state s = {.last_try = 5, .duration = -1};
    put(*state, file,
        "{\"note\":[1.50,1e3],\"99\":{\"local/"
        "x\":{\"n\":0.10000000000000000001,\"big\":123456789012345678901234}},\n"
        " \"100\" : {\"local/b\":{\"k\": \"\\u0041 b\"}, \"other\":true}}\n");
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    assert_file(*state,
                "{\"note\":[1.50,1e3],\"99\":{\"local/x\":{\"n\":0.10000000000000000001,"
                "\"big\":123456789012345678901234}},"
                "\"100\":{\"local/b\":{\"k\":\"\\u0041 b\"},\"other\":true,"
                "\"local/a\":{\"last_sync\":0,\"last_try\":5,\"last_iteration\":0,\"fail_count\":0}}}");
    assert_ok(job_state_remove(*state, 100, "a", &e), &e);
    assert_ok(job_state_renew(*state, 100, "a", &s, &e), &e); /* is not made again */
    assert_file(*state, "{\"note\":[1.50,1e3],\"99\":{\"local/x\":{\"n\":0.10000000000000000001,"
                        "\"big\":123456789012345678901234}},"
                        "\"100\":{\"local/b\":{\"k\":\"\\u0041 b\"},\"other\":true}}");
}

/* Our own keys are written only when they say something: without them the entry is exactly Proxmox VE's. */
static void test_own_keys(void **state)
{
    struct err e;
    struct job_state s = {.duration = -1}, back;
    strv_adds(&s.first_copies, "__replicate_100-0_7__", "__replicate_100-0_8__", NULL);
    strv_add(&s.kept_aside, "diverged_100-0_7 of st:vm-100-disk-0");
    strv_add(&s.notes, "a note");
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    job_state_release(&s);
    assert_ok(job_state_load(*state, 100, "a", &back, &e), &e);
    assert_int_equal(back.first_copies.n, 2);
    assert_string_equal(back.first_copies.v[1], "__replicate_100-0_8__");
    assert_int_equal(back.kept_aside.n, 1);
    assert_string_equal(back.kept_aside.v[0], "diverged_100-0_7 of st:vm-100-disk-0");
    strv_release(&back.first_copies);
    assert_int_equal(back.notes.n, 1);
    assert_string_equal(back.notes.v[0], "a note");
    strv_release(&back.notes);
    strv_release(&s.notes);
    strv_release(&back.kept_aside);
    assert_ok(job_state_store(*state, 100, "a", &back, &e), &e);
    job_state_release(&back);
    assert_file(
        *state,
        "{\"100\":{\"local/a\":{\"last_sync\":0,\"last_try\":0,\"last_iteration\":0,\"fail_count\":0}}}");
}

/* A process that is gone, of one entry of many kinds: only who names it may take it away. */
static void store_lost(const char *dir, int64_t fails)
{
    struct err e;
    struct job_state s = {
        .duration = -1, .last_try = 7, .fail_count = fails, .pid = INT32_MAX, .ptime = 5, .exists = true};
    assert_ok(job_state_store(dir, 100, "a", &s, &e), &e);
}

static void assert_state(const char *dir, pid_t lost, int64_t fails, const char *error)
{
    struct err e;
    struct job_state s;
    assert_ok(job_state_load(dir, 100, "a", &s, &e), &e);
    assert_int_equal(s.pid, 0);
    assert_int_equal(s.lost, lost);
    assert_int_equal(s.fail_count, fails);
    if (error ? !s.error || !strstr(s.error, error) : s.error != NULL)
        fail_msg("'%s'", s.error ? s.error : "none");
    job_state_release(&s);
}

static int gone(const char *dir, pid_t pid, const char *how, struct err *e)
{
    const struct job_loss loss = {.pid = pid, .how = how};
    return job_state_lose(dir, 100, "a", &loss, e);
}

/* Killed before it recorded that it began: known by its start. */
static void test_lost_without_a_trace(void **state)
{
    struct err e;
    struct job_state s;
    struct job_loss loss = {.pid = 4711, .how = "killed", .job = "100-0", .node = "here", .since = 5000};
    for (int i = 0; i < 3; i++) { /* that try is recorded; and another job in its place has no part of it */
        loss.job = i < 2 ? "100-0" : "100-1";
        assert_ok(job_state_lose(*state, 100, "a", &loss, &e), &e);
        assert_state(*state, 0, 1, "killed");
    }
    assert_ok(job_state_load(*state, 100, "a", &s, &e), &e);
    assert_true(strcmp(s.job, "100-1") == 0 && strcmp(s.last_node, "here") == 0 && s.last_try == 5000);
    job_state_release(&s);
    store_lost(*state, 1); /* another's run, later, is not its matter */
    loss.since = 1;
    assert_ok(job_state_lose(*state, 100, "a", &loss, &e), &e);
    assert_state(*state, INT32_MAX, 1, NULL);
}

static void test_lost(void **state)
{
    struct err e;
    struct job_state s;
    store_lost(*state, 0);
    assert_state(*state, INT32_MAX, 0, NULL);
    /* what others change of the entry leaves it */
    assert_ok(job_state_schedule_now(*state, &job_a, &e), &e);
    assert_state(*state, INT32_MAX, 0, NULL);
    assert_ok(gone(*state, 4711, "no", &e), &e);
    assert_state(*state, INT32_MAX, 0, NULL);
    assert_ok(gone(*state, INT32_MAX, "killed", &e), &e);
    assert_state(*state, 0, 1, "killed");
    assert_ok(gone(*state, INT32_MAX, "killed", &e), &e);
    assert_state(*state, 0, 1, "killed");
    store_lost(*state, 1);
    assert_ok(gone(*state, INT32_MAX, NULL, &e), &e);
    assert_state(*state, 0, 1, NULL);
    store_lost(*state, 1);
    assert_ok(job_state_load(*state, 100, "a", &s, &e), &e);
    job_state_count_lost(&s);
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    job_state_release(&s);
    assert_state(*state, 0, 2, "left no word");
    store_lost(*state, 2);
    assert_ok(job_state_schedule_now(*state, &job_a, &e), &e); /* nobody knows when it began */
    assert_ok(job_state_load(*state, 100, "a", &s, &e), &e);
    job_state_count_lost(&s);
    assert_string_equal(s.error, "the last run left no word: it was killed, or the node went down");
    job_state_release(&s);
    assert_ok(job_state_remove(*state, 100, "a", &e), &e);
    assert_ok(gone(*state, INT32_MAX, "killed", &e), &e);
    assert_ok(job_state_load(*state, 100, "a", &s, &e), &e);
    assert_false(s.exists);
}

static void test_postponed(void **state)
{
    struct err e;
    struct job_state s;
    for (int i = 1; i <= 3; i++) {
        assert_ok(job_state_postpone(*state, 100, "a", i < 3 ? "x" : "in use\nby y", &e), &e);
        assert_ok(job_state_load(*state, 100, "a", &s, &e), &e);
        assert_int_equal(s.postponements, i);
        assert_int_equal(s.last_try + s.fail_count, 0);
        assert_string_equal(s.postponed, i < 3 ? "x" : "in use by y");
        job_state_release(&s);
    }
    /* while one is under way none is put off */
    s = (struct job_state){.duration = -1, .pid = getpid(), .ptime = proc_start_time(getpid())};
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    assert_ok(job_state_postpone(*state, 100, "a", "x", &e), &e);
    assert_ok(job_state_load(*state, 100, "a", &s, &e), &e);
    assert_null(s.postponed);
    assert_int_equal(s.pid, getpid());
    job_state_release(&s);
}

static void test_remove(void **state)
{
    struct err e;
    assert_ok(job_state_remove(*state, 100, "a", &e), &e); /* no file, and none is made */
    assert_file(*state, "");
    put(*state, file, "{\"100\":{\"local/a\":{},\"local/b\":{}}}");
    assert_ok(job_state_remove(*state, 100, "c", &e), &e);
    assert_file(*state, "{\"100\":{\"local/a\":{},\"local/b\":{}}}");
    assert_ok(job_state_remove(*state, 100, "a", &e), &e);
    assert_file(*state, "{\"100\":{\"local/b\":{}}}");
    assert_ok(job_state_remove(*state, 100, "b", &e), &e);
    assert_file(*state, "{}");
}

static void test_mode_and_directory(void **state)
{
    struct err e;
    struct job_state s = {.duration = -1};
    _cleanup_free_ char *dir = xasprintf("%s/var/lib", (char *)*state);
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, file);
    struct stat st;
    assert_ok(job_state_store(dir, 100, "a", &s, &e), &e);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
}

static void test_error_text_is_trimmed_and_bounded(void **state)
{
    struct err e;
    char longest[5000];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    longest[2047] = '\xc3'; /* the cut goes through this character */
    longest[2048] = '\xa4';
    const struct {
        const char *error;
        size_t len;
        const char *read;
    } cases[] = {
        {"failed\n", 6, "failed"},
        {"a\nb\r\n\n", 3, "a b"},
        {"bad \xff byte", 0, "bad \xef\xbf\xbd byte"},
        {"", 0, ""},
        {longest, 2047, NULL},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct job_state s = {.error = (char *)cases[i].error, .duration = -1}, back;
        assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
        assert_ok(job_state_load(*state, 100, "a", &back, &e), &e);
        if (cases[i].read)
            assert_string_equal(back.error, cases[i].read);
        if (cases[i].len)
            assert_int_equal(strlen(back.error), cases[i].len);
        job_state_release(&back);
    }
}

/* As much as a target can make us record: the longest error that its texts make, and all that is kept aside.
 */
static void fill_with_texts(struct job_state *s)
{
    char text[1025];
    memset(text, '"', sizeof text); /* two bytes each in the file */
    text[sizeof text - 1] = 0;
    *s = (struct job_state){.duration = 1.000001, .last_sync = 1700000000, .last_try = 1700000000};
    s->error = xasprintf("%s%s%s", text, text, text);
    for (int i = 0; i < 64; i++)
        strv_add(&s->kept_aside, text);
    strv_add(&s->kept_aside, "diverged_100-0_1700000000 of zfs:vm-100-disk-0");
    _cleanup_buf_ struct buf ranges = BUF_INIT;
    for (int i = 0; i < 256; i++)
        buf_addf(&ranges, "%s%" PRIu64 "+65536", i ? "," : "", (UINT64_C(1) << 40) + (uint64_t)i * 131072);
    for (int i = 0; i < 2; i++)
        strv_addf(&s->damaged, "%032d %s zfs:vm-100-disk-%d", i, buf_str(&ranges), i);
    strv_addf(&s->damaged, "%032d - zfs:vm-100-disk-2", 2);
}

/* 10,000 jobs to a target that says as much as it can: there is room for all, and for the others. */
static void test_texts_leave_room(void **state)
{
    struct err e;
    struct job_state s, back;
    _cleanup_buf_ struct buf one = BUF_INIT, all = BUF_INIT;
    _cleanup_free_ char *path = xasprintf("%s/%s", (char *)*state, file);
    fill_with_texts(&s);
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    assert_ok(job_state_load(*state, 100, "a", &back, &e), &e);
    assert_string_equal(back.kept_aside.v[back.kept_aside.n - 1], s.kept_aside.v[s.kept_aside.n - 1]);
    assert_int_equal(back.damaged.n, 3);
    assert_string_equal(back.damaged.v[1],
                        "00000000000000000000000000000001 1099511627776+33488896 zfs:vm-100-disk-1");
    assert_string_equal(back.damaged.v[2], s.damaged.v[2]);
    job_state_release(&back);
    assert_int_equal(fs_read(path, 16 << 20, &one, &e), 0);
    const char *object = strchr(one.data + 1, '{');
    size_t len = one.len - 1 - (size_t)(object - one.data), n = 0;
    for (; all.len < 8 << 20; n++)
        buf_addf(&all, "%c\"%zu\":%.*s", n ? ',' : '{', 1000 + n, (int)len, object);
    buf_addc(&all, '}');
    assert_ok(fs_write_atomic(path, all.data, all.len, 0644, &e), &e);
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    assert_int_equal(fs_read(path, 16 << 20, &one, &e), 0);
    size_t more = one.len - all.len;
    if (all.len + (10000 - n) * more > 16 << 20)
        fail_msg("%zu jobs take %zu bytes, each further one %zu", n, all.len, more);
    job_state_release(&s);
}

static void test_process(void **state)
{
    uint64_t mine = proc_start_time(getpid());
    const struct {
        const char *format;
        uint64_t ptime;
        bool alive;
    } cases[] = {
        {"{\"100\":{\"local/a\":{\"pid\":%d,\"ptime\":\"%" PRIu64 "\"}}}", mine, true},
        {"{\"100\":{\"local/a\":{\"pid\":%d,\"ptime\":%" PRIu64 "}}}", mine, true},
        {"{\"100\":{\"local/a\":{\"pid\":\"%d\",\"ptime\":%" PRIu64 "}}}", mine, true},
        {"{\"100\":{\"local/a\":{\"pid\":%d,\"ptime\":\"%" PRIu64 "\"}}}", mine + 1, false},
        {"{\"100\":{\"local/a\":{\"pid\":-%d,\"ptime\":%" PRIu64 "}}}", mine, false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e;
        struct job_state s;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        _cleanup_free_ char *text = xasprintf(cases[i].format, (int)getpid(), cases[i].ptime);
#pragma GCC diagnostic pop
        put(*state, file, text);
        assert_ok(job_state_load(*state, 100, "a", &s, &e), &e);
        assert_int_equal(s.pid, cases[i].alive ? getpid() : 0);
        job_state_release(&s);
    }
    struct err e;
    struct job_state s = {.pid = 12, .ptime = 345, .duration = -1};
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    _cleanup_free_ char *text = get(*state, file);
    assert_non_null(strstr(text, "\"pid\":12,\"ptime\":\"345\""));
}

static bool keep_none(uint32_t guest, const char *target, void *arg)
{
    return false;
}

static void test_garbage_is_refused_and_kept(void **state)
{
    static const char *const texts[] = {"garbage",
                                        "{\"100\":{\"local/a\":{}}",
                                        "[]",
                                        "7",
                                        "{\"100\":{}}{}",
                                        "\177ELF",
                                        "{\"100\":{\"local/a\":{\"error\":\"\xff\"}}}"};
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        struct err e;
        struct job_state s = {.duration = -1};
        char *json;
        put(*state, file, texts[i]);
        e.kind = ERR_NONE;
        assert_int_equal(job_state_load(*state, 100, "a", &s, &e), -1);
        assert_int_equal(e.kind, ERR_DATA);
        assert_non_null(strstr(e.text, *state));
        assert_null(job_states_load(*state, &e));
        assert_int_equal(job_state_store(*state, 100, "a", &s, &e), -1);
        assert_int_equal(job_state_remove(*state, 100, "a", &e), -1);
        assert_int_equal(job_state_schedule_now(*state, &job_a, &e), -1);
        assert_int_equal(job_state_set_guest(*state, 100, "{}", &e), -1);
        assert_int_equal(job_state_get_guest(*state, 100, "a", "b", &json, &e), -1);
        assert_int_equal(job_states_purge(*state, keep_none, NULL, &e), -1);
        assert_file(*state, texts[i]);
    }
}

static void test_names_cannot_break_the_file(void **state)
{
    static const char *const names[] = {"", "a\"b", "a b", "a/b", "\xc3\xa4", "a\n"};
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        struct err e;
        struct job_state s = {.duration = -1};
        assert_int_equal(job_state_store(*state, 100, names[i], &s, &e), -1);
        assert_int_equal(e.kind, ERR_USAGE);
    }
}

static void test_set_guest(void **state)
{
    static const struct {
        const char *json, *after; /* after NULL: refused */
    } cases[] = {
        {"{\"local/pve1\": {\"last_sync\": 5}}",
         "{\"100\":{\"local/pve1\":{\"last_sync\":5}},\"200\":{\"local/x\":{}}}"},
        {"{}", "{\"200\":{\"local/x\":{}}}"},
        {"[]", NULL},
        {"null", NULL},
        {"", NULL},
        {"{\"local/a\":5}", NULL},
        {"{\"local/a\":{}", NULL},
        {"{} {}", NULL},
    };
    static const char before[] = "{\"100\":{\"local/a\":{\"last_sync\":1}},\"200\":{\"local/x\":{}}}";
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e;
        put(*state, file, before);
        int rc = job_state_set_guest(*state, 100, cases[i].json, &e);
        assert_int_equal(rc, cases[i].after ? 0 : -1);
        if (rc < 0)
            assert_int_equal(e.kind, ERR_USAGE);
        assert_file(*state, cases[i].after ? cases[i].after : before);
    }
}

static void test_get_guest_turns_the_direction(void **state)
{
    static const struct {
        const char *file, *json;
    } cases[] = {
        {"{}", "{}"},
        {"{\"100\":{}}", "{}"},
        {"{\"100\":{\"local/pve2\":{\"last_sync\":5}}}", "{\"local/pve1\":{\"last_sync\":5}}"},
        {"{\"100\":{\"local/pve2\":{\"a\": 1.50},\"local/pve3\":{\"b\":2}}}",
         "{\"local/pve3\":{\"b\":2},\"local/pve1\":{\"a\":1.50}}"},
        {"{\"100\":{\"local/pve3\":{}}}", "{\"local/pve3\":{}}"},
        {"{\"100\":{\"local/pve1\":{\"old\":1},\"local/pve2\":{\"new\":1}}}", "{\"local/pve1\":{\"new\":1}}"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e;
        char *json;
        put(*state, file, cases[i].file);
        assert_ok(job_state_get_guest(*state, 100, "pve2", "pve1", &json, &e), &e);
        assert_string_equal(json, cases[i].json);
        free(json);
    }
}

static void test_all_states(void **state)
{
    put(*state, file,
        "{\"300\":{\"local/b\":{\"last_sync\":3}},\"x\":{\"local/a\":{}},\"100\":{\"local/"
        "bb\":{\"last_sync\":2},"
        "\"local/b\":{\"last_sync\":1},\"remote/z\":{\"last_sync\":9},\"local/c\":5},"
        "\"300\":{\"local/b\":{\"last_sync\":4}}}");
    static const struct {
        uint32_t guest;
        const char *target;
        bool exists;
        int64_t last_sync;
    } cases[] = {
        {100, "b", true, 1},  {100, "bb", true, 2}, {300, "b", true, 4},
        {100, "a", false, 0}, {100, "c", false, 0}, {99, "b", false, 0},
        {301, "b", false, 0}, {200, "b", false, 0}, {100, "", false, 0},
    };
    struct err e;
    struct job_states *all = job_states_load(*state, &e);
    assert_non_null(all);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct job_state s, single;
        job_states_get(all, cases[i].guest, cases[i].target, &s);
        assert_int_equal(s.exists, cases[i].exists);
        assert_int_equal(s.last_sync, cases[i].last_sync);
        if (*cases[i].target) { /* both ways to ask agree */
            assert_ok(job_state_load(*state, cases[i].guest, cases[i].target, &single, &e), &e);
            assert_int_equal(single.last_sync, s.last_sync);
            job_state_release(&single);
        }
        job_state_release(&s);
    }
    job_states_free(all);
    job_states_free(NULL);
}

static bool keep_even(uint32_t guest, const char *target, void *arg)
{
    (*(int *)arg)++;
    return guest % 2 == 0 && strcmp(target, "gone") != 0;
}

static void test_purge(void **state)
{
    struct err e;
    int asked = 0;
    put(*state, file,
        "{\"note\":1,\"101\":{\"local/a\":{}},\"100\":{\"local/gone\":{},\"local/"
        "a\":{\"n\":1.0},\"odd\":2},\"102\":{}}");
    assert_ok(job_states_purge(*state, keep_even, &asked, &e), &e);
    assert_file(*state, "{\"note\":1,\"100\":{\"local/a\":{\"n\":1.0},\"odd\":2},\"102\":{}}");
    assert_true(asked >= 3);

    /* nothing to drop: the file is not touched */
    put(*state, file, "{ \"100\": {\"local/a\":{}} }");
    assert_ok(job_states_purge(*state, keep_even, &asked, &e), &e);
    assert_file(*state, "{ \"100\": {\"local/a\":{}} }");
}

/* The scheduler's bulk: 10,000 states load, and each is found. */
static void test_ten_thousand(void **state)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    const uint32_t many = (uint32_t)test_rounds(10000);
    for (uint32_t i = 0; i < many; i++)
        buf_addf(&text,
                 "%c\"%u\":{\"local/"
                 "pve%u\":{\"last_sync\":%u,\"last_try\":1700000000,\"last_iteration\":1700000000,"
                 "\"fail_count\":0,\"duration\":1.234567,\"storeid_list\":[\"local-zfs\"],\"last_node\":"
                 "\"pve1\"}}",
                 i ? ',' : '{', 100 + i * 7919 % 10007, 2 + i % 3, i);
    buf_addc(&text, '}');
    put(*state, file, text.data);
    struct err e;
    struct job_states *all = job_states_load(*state, &e);
    assert_non_null(all);
    for (uint32_t i = 0; i < many; i++) {
        struct job_state s;
        char target[8];
        snprintf(target, sizeof target, "pve%u", 2 + i % 3);
        job_states_get(all, 100 + i * 7919 % 10007, target, &s);
        assert_true(s.exists);
        assert_int_equal(s.last_sync, i);
        assert_true(s.duration == 1.234567);
        job_state_release(&s);
    }
    job_states_free(all);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        DIR_TEST(test_missing_is_default),
        DIR_TEST(test_reads_what_proxmox_writes),
        DIR_TEST(test_other_entries_stay_byte_for_byte),
        DIR_TEST(test_own_keys),
        DIR_TEST(test_lost),
        DIR_TEST(test_lost_without_a_trace),
        DIR_TEST(test_postponed),
        DIR_TEST(test_remove),
        DIR_TEST(test_mode_and_directory),
        DIR_TEST(test_error_text_is_trimmed_and_bounded),
        DIR_TEST(test_texts_leave_room),
        DIR_TEST(test_process),
        DIR_TEST(test_garbage_is_refused_and_kept),
        DIR_TEST(test_names_cannot_break_the_file),
        DIR_TEST(test_set_guest),
        DIR_TEST(test_get_guest_turns_the_direction),
        DIR_TEST(test_all_states),
        DIR_TEST(test_purge),
        DIR_TEST(test_ten_thousand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
