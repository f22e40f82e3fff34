/* What a stage begins as, on every driver of the extents family. As the target's live volume (STAGE_OF_LIVE),
 * whatever that holds: what differs is written, and it is what the source has, cut anywhere. */
#include "volume/file/stage.h"
#include "volume/test-world.h"

#include "base/fs.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static struct world w;
static struct snapshot first, second;
static unsigned resumed;

static int close_world(void **state)
{
    world_close(&w);
    return 0;
}

/* The target's live volume is another, here and there. */
static void spoil(uint64_t size)
{
    unsigned char piece[9000];
    int fd = open(live_path(&w, &w.dst_store), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < 12; i++) {
        size_t n = 1 + rnd(sizeof piece);
        for (size_t k = 0; k < n; k++)
            piece[k] = (unsigned char)rnd(256);
        /* the first at the begin, so that whatever is cut goes on behind it */
        ok(fs_pwrite_all(fd, piece, n, i ? rnd((unsigned)(size - n)) : 0, "live", &err));
    }
    assert_int_equal(fsync(fd), 0);
    close(fd);
}

static bool is_zero(const unsigned char *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

/* One block after the other, as the sender does. false: it stopped before `end`. */
static bool send_from(struct stage *s, uint64_t from, uint64_t end)
{
    for (uint64_t at = from - from % DIGEST_BLOCK; at < w.image.size && at < end; at += DIGEST_BLOCK) {
        size_t n = block_length(w.image.size, at);
        const unsigned char *data = w.image.data + at;
        struct digest here, there;
        struct err bad = {0};
        digest_of(data, n, &here);
        ok(stage_digests(s, at, 1, &there, &bad, &err));
        assert_int_equal(bad.kind, ERR_NONE);
        if (digest_same(&here, &there))
            continue;
        ok(is_zero(data, n) ? stage_zero(s, at, n, &err) : stage_write(s, at, data, n, &err));
        ok(stage_checkpoint(s, at + n, &err));
    }
    return end >= w.image.size;
}

static struct stage_want of_live(void)
{
    return (struct stage_want){.snapshot = second.name,
                               .id = second.id,
                               .created = second.created,
                               .base_id = STAGE_OF_LIVE,
                               .size = second.size,
                               .resume = true,
                               .owner = "100-0"};
}

static void stage_it(unsigned cuts)
{
    struct stage_want want = of_live();
    uint64_t before = filestage_checkpoint_bytes;
    filestage_checkpoint_bytes = 1;
    for (bool whole = false; !whole; world_reopen(&w)) {
        uint64_t offset;
        struct stage *s = stage_open(w.dst, &want, &offset, &err);
        if (!s)
            fail_msg("stage_open: %s", err.text);
        resumed += offset > 0;
        whole = send_from(s, offset, cuts ? offset + 1 + rnd(1 << 20) : UINT64_MAX);
        cuts -= cuts > 0;
        if (whole)
            ok(stage_seal(s, &err));
        stage_free(s);
    }
    filestage_checkpoint_bytes = before;
}

static void play(unsigned cuts)
{
    struct err bad = {0};
    struct digest d;
    uint64_t offset;
    world_create(&w, 4000001);
    world_snapshot(&w, "first", &first);
    world_replicate(&w, NULL, &first, 0);
    spoil(first.size);
    world_change(&w, 6);
    world_snapshot(&w, "second", &second);
    stage_it(cuts);
    struct stage_info info;
    ok(stage_info(w.dst, &info, &err));
    assert_true(info.exists && info.sealed);
    assert_string_equal(info.base_id, STAGE_OF_LIVE);
    struct stage_want want = of_live();
    struct stage *s = stage_open(w.dst, &want, &offset, &err);
    assert_non_null(s);
    assert_true(offset == second.size);
    refused(stage_digests(s, 0, 1, &d, &bad, &err), ERR_USAGE, "no blocks");
    stage_free(s);
    ok(volume_keep_aside(w.dst, "diverged_1", &err));
    ok(volume_commit(w.dst, second.id, COMMIT_ANEW, &err));
    expect_live(&w, &w.dst_store, &w.image);
    if (w.many)
        expect_snapshot(w.dst, second.id, &w.image);
    world_change(&w, 3);
    world_snapshot(&w, "third", &first);
    world_replicate(&w, &second, &first, 1);
    expect_live(&w, &w.dst_store, &w.image);
}

static void test_resync(void **state)
{
    world_seed("test_resync");
    for (unsigned i = 0; i < n_places; i++) {
        const char *why = world_open(&w, &places[i]);
        if (why) {
            print_message("SKIPPED %s: %s\n", places[i].name, why);
            continue;
        }
        for (unsigned cuts = 0; cuts < 6; cuts += 5) {
            print_message("  %s, cut %u times\n", places[i].name, cuts);
            world_reset(&w);
            play(cuts);
        }
        world_close(&w);
        assert_true(resumed > 0);
        resumed = 0;
    }
}

/* What was sent before may stand upon what is wrong: it is gone on with only where that is asked for. */
static void send_wrong(bool sealed)
{
    unsigned char wrong[8192];
    memset(wrong, 0xee, sizeof wrong);
    struct stage_want want = {.snapshot = second.name,
                              .id = second.id,
                              .created = second.created,
                              .base_id = first.id,
                              .size = second.size,
                              .owner = "100-0"};
    for (int again = 0; again < 2; again++) {
        uint64_t from;
        struct stage *s = stage_open(w.dst, &want, &from, &err);
        if (!s)
            fail_msg("stage_open: %s", err.text);
        assert_true(from == 0);
        if (!again) {
            ok(stage_write(s, 0, wrong, sizeof wrong, &err));
            ok(stage_checkpoint(s, sizeof wrong, &err));
        }
        if (!again && sealed)
            ok(stage_seal(s, &err));
        stage_free(s);
        world_reopen(&w);
    }
}

static void test_anew(void **state)
{
    world_seed("test_anew");
    for (unsigned i = 0; i < n_places; i++) {
        if (world_open(&w, &places[i]))
            continue;
        world_reset(&w);
        world_create(&w, 3000001);
        world_snapshot(&w, "first", &first);
        world_replicate(&w, NULL, &first, 0);
        world_change(&w, 5);
        world_snapshot(&w, "second", &second);
        filestage_checkpoint_bytes = 1;
        send_wrong(false);
        send_wrong(true);
        world_replicate(&w, &first, &second, 0);
        expect_live(&w, &w.dst_store, &w.image);
        world_close(&w);
    }
}

/* Without a live volume there is nothing to begin as. */
static void test_nothing(void **state)
{
    for (unsigned i = 0; i < n_places; i++) {
        if (world_open(&w, &places[i]))
            continue;
        world_reset(&w);
        world_create(&w, 70000);
        world_snapshot(&w, "first", &first);
        struct stage_want want = {
            .snapshot = first.name, .id = first.id, .base_id = STAGE_OF_LIVE, .size = first.size};
        uint64_t offset;
        refused(stage_open(w.dst, &want, &offset, &err) ? 0 : -1, ERR_GONE, "vm-100-disk-0");
        struct stage_info info;
        ok(stage_info(w.dst, &info, &err));
        assert_false(info.exists);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_resync, close_world),
        cmocka_unit_test_teardown(test_anew, close_world),
        cmocka_unit_test_teardown(test_nothing, close_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
