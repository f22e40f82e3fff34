/* What a look at one volume says of another of its pool, and what it does not: on a pool of its own, where
 * the kernel has ZFS. That is made only where PVESR_TEST_ZFS=1 says that it may. */
#include "volume/test-mount.h"
#include "volume/zfs/zfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUN(...) test_run((const char *const[]){__VA_ARGS__, NULL})
#define POOL_BYTES (256ll << 20)
#define VOLUME "vm-100-disk-%d"

static struct err err;

static struct {
    char dir[64], image[80], pool[48];
    struct volume_context context;
    struct volume_store store;
    struct volume *v[2];
} w;

static void write_to(int i, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "/dev/zvol/%s/" VOLUME, w.pool, i);
    int fd = zfs_device_open(path, O_WRONLY, NULL, &err);
    if (fd < 0)
        fail_msg("%s", err.text);
    assert_int_equal(pwrite(fd, text, strlen(text), 0), strlen(text));
    assert_int_equal(fsync(fd), 0);
    close(fd);
}

/* A replica, as a run leaves it. */
static void make_replica(int i)
{
    char dataset[80], snapshot[96], name[64], at[96];
    snprintf(dataset, sizeof dataset, "%s/" VOLUME, w.pool, i);
    snprintf(snapshot, sizeof snapshot, "%s@s1", dataset);
    snprintf(name, sizeof name, "pvesr:name=@s1 " VOLUME, i);
    snprintf(at, sizeof at, "pvesr:at=%s", dataset);
    assert_int_equal(RUN("zfs", "create", "-s", "-V", "16M", dataset), 0);
    write_to(i, "what was received");
    assert_int_equal(RUN("zfs", "snapshot", "-o", name, "-o", "pvesr:received=1", snapshot), 0);
    assert_int_equal(RUN("zfs", "set", "pvesr:owner=100-0", at, dataset), 0);
}

static void open_both(void)
{
    for (int i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, VOLUME, i);
        w.v[i] = volume_open(&w.store, name, &err);
        if (!w.v[i])
            fail_msg("%s", err.text);
        volume_idle(w.v[i]);
    }
}

static int setup(void **state)
{
    snprintf(w.dir, sizeof w.dir, "/var/tmp/pvesr-view-XXXXXX");
    if (!mkdtemp(w.dir))
        return -1;
    snprintf(w.image, sizeof w.image, "%s/image", w.dir);
    snprintf(w.pool, sizeof w.pool, "pvesr-view-%d", (int)getpid());
    int fd = open(w.image, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, POOL_BYTES) < 0 || close(fd) < 0)
        return -1;
    if (RUN("zpool", "create", "-f", "-o", "cachefile=none", "-m", "none", w.pool, w.image))
        return -1;
    w.store = (struct volume_store){.id = "z", .type = "zfspool", .pool = w.pool, .context = &w.context};
    make_replica(0);
    make_replica(1);
    open_both();
    return 0;
}

static int teardown(void **state)
{
    for (int i = 0; i < 2; i++) {
        volume_free(w.v[i]);
        w.v[i] = NULL;
    }
    int busy = 1; /* who looks at new devices has one open for a moment */
    for (int i = 0; i < 1200 && busy; i++) {
        busy = RUN("zpool", "destroy", "-f", w.pool);
        if (busy)
            usleep(50000);
    }
    RUN("rm", "-rf", w.dir);
    return busy ? -1 : 0;
}

static void expect_written(int i, int want)
{
    char since[SNAPSHOT_NAME_MAX + 1] = "";
    err.text[0] = 0;
    int r = volume_written(w.v[i], since, &err);
    if (r != want)
        fail_msg("volume %d: written %d, not %d: %s", i, r, want, err.text);
}

/* The question before a volume is destroyed: the answer is never older than the last one. */
static void test_asked_anew(void **state)
{
    expect_written(0, 0);
    expect_written(1, 0);
    expect_written(0, 0); /* a look at the other one, which both of them had already */
    write_to(1, "the only copy");
    expect_written(1, 1);
    expect_written(0, 0);
}

/* In place of a receive: it waits for the pool, too. */
static void receive(int i)
{
    char dataset[80];
    snprintf(dataset, sizeof dataset, "%s/" VOLUME, w.pool, i);
    assert_int_equal(RUN("zfs", "set", "pvesr:test=1", dataset), 0);
    zfs_forget(zfs_of(w.v[i]));
    zfs_received(zfs_of(w.v[i]));
}

/* What was written up to a receive is seen, also of the one that was received first; and the answer after
 * that is never older than the last one. */
static void test_asked_behind_receive(void **state)
{
    struct snapshots all;
    expect_written(0, 0);
    expect_written(1, 0);
    write_to(0, "the only copy");
    receive(0);
    receive(1);
    assert_int_equal(volume_snapshots(w.v[1], &all, &err), 0);
    snapshots_release(&all);
    expect_written(0, 1);
    expect_written(1, 0);
    write_to(1, "written since");
    expect_written(1, 1);
}

/* Something was done in between, perhaps an unmount that wrote times: then it is asked anew. */
static void test_changed_behind_receive(void **state)
{
    expect_written(0, 0);
    receive(0);
    zfs_forget(zfs_of(w.v[0]));
    write_to(0, "the only copy");
    expect_written(0, 1);
}

/* A volume that is destroyed while others are asked after is none of theirs. */
static void destroy(int i)
{
    char dataset[80];
    snprintf(dataset, sizeof dataset, "%s/" VOLUME, w.pool, i);
    assert_int_equal(RUN("zfs", "destroy", "-r", dataset), 0);
}

static void test_gone_before_traits(void **state)
{
    char traits[VOLUME_TRAITS_MAX + 1];
    expect_written(0, 0);
    expect_written(1, 0);
    destroy(1);
    if (volume_traits(w.v[0], traits, &err) < 0)
        fail_msg("%s", err.text);
}

/* One that the first command of a look lists, and the second does not find. */
static void test_gone_within_look(void **state)
{
    struct zfs *z[] = {zfs_of(w.v[0]), zfs_of(w.v[1])};
    destroy(1);
    for (int i = 0; i < 2; i++) {
        zfs_forget(z[i]);
        strv_release(&z[i]->expected);
    }
    snprintf(z[1]->seen.live.name, sizeof z[1]->seen.live.name, "%s", z[1]->live);
    if (zfs_look(z, 2, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(z[0]->known);
    assert_string_equal(z[0]->seen.live.name, z[0]->live);
    assert_false(z[1]->known);
    assert_string_equal(z[1]->seen.live.name, "");
}

#define on_a_pool(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const char *may = getenv("PVESR_TEST_ZFS");
    bool can = may && strcmp(may, "1") == 0 && access("/dev/zfs", W_OK) == 0;
    if (!can) {
        print_message("SKIPPED: there is no ZFS, or PVESR_TEST_ZFS=1 does not say that a pool may be made\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {on_a_pool(test_asked_anew), on_a_pool(test_asked_behind_receive),
                                       on_a_pool(test_changed_behind_receive),
                                       on_a_pool(test_gone_before_traits), on_a_pool(test_gone_within_look)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
