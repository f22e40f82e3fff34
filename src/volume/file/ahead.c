#include "volume/file/ahead.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "volume/file/map.h"
#include "volume/file/share.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

CLEANUP_FUNC(filemap_free, struct filemap)

#define SLICE_MIN (1ull << 20)
#define SLICE_FIRST (16ull << 20)
#define SLICE_MAX (1ull << 30)
/* A slice stands in the way of who writes to the file: between these. */
#define SLICE_SECONDS_LOW 0.01
#define SLICE_SECONDS_HIGH 0.04
#define CLOCK_TICKS_MAX 100

bool ahead_worth(int from)
{
    struct fiemap map = {.fm_length = FIEMAP_MAX_OFFSET}; /* no room for extents: they are counted */
    return ioctl(from, FS_IOC_FIEMAP, &map) == 0 && map.fm_mapped_extents >= AHEAD_EXTENTS;
}

/* `end` may be behind the end of the file. */
static int clone_range(int to, int from, uint64_t start, uint64_t end, uint64_t size, struct err *e)
{
    return start < size ? share_range(to, from, start, end >= size ? 0 : end - start, e) : 0;
}

static int size_of(int fd, uint64_t *ret, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot stat the image");
    *ret = (uint64_t)st.st_size;
    return 0;
}

static int same_size(int to, uint64_t size, struct err *e)
{
    uint64_t has;
    if (size_of(to, &has, e) < 0)
        return -1;
    return has != size && ftruncate(to, (off_t)size) < 0 ? err_sys(e, "cannot set the size of the copy") : 0;
}

/* ---- the differences ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool is_same(const struct region *a, const struct region *b, uint64_t at)
{
    if (a->kind != b->kind || a->kind == REGION_UNSURE)
        return false;
    return a->kind == REGION_ZERO ||
           (a->pack == b->pack && a->place + (at - a->start) == b->place + (at - b->start));
}

/* Clone the ranges of `from` that `to` has not. */
static int catch_up(int to, int from, const struct tick *tick, uint64_t *ranges, struct err *e)
{
    uint64_t size = 0, at = 0, begun = 0;
    bool differs = false;
    if (size_of(from, &size, e) < 0 || same_size(to, size, e) < 0)
        return -1;
    bool places = filemap_comparable(from, to);
    _cleanup_(filemap_freep) struct filemap *theirs = filemap_new(from, places),
                                            *ours = filemap_new(to, places);
    while (at < size) {
        struct region a, b;
        if (filemap_at(theirs, at, &a, e) < 0 || filemap_at(ours, at, &b, e) < 0)
            return -1;
        bool same = is_same(&a, &b, at);
        if (same && differs && clone_range(to, from, begun, at, size, e) < 0)
            return -1;
        if (!same && !differs) {
            begun = at;
            *ranges += 1;
        }
        differs = !same;
        at = least(a.end, b.end);
        tick_now(tick);
    }
    return differs ? clone_range(to, from, begun, size, size, e) : 0;
}

int ahead_clone(int to, int from, const struct tick *tick, struct err *e)
{
    uint64_t size = 0, slice = SLICE_FIRST, ignored = 0;
    if (size_of(from, &size, e) < 0)
        return -1;
    for (uint64_t at = 0; at < size;) {
        double began = clock_mono();
        if (clone_range(to, from, at, at + slice, size, e) < 0)
            return -1;
        double took = clock_mono() - began;
        at += slice;
        if (took > SLICE_SECONDS_HIGH && slice > SLICE_MIN)
            slice /= 2;
        else if (took < SLICE_SECONDS_LOW && slice < SLICE_MAX)
            slice *= 2;
        tick_now(tick);
    }
    return catch_up(to, from, tick, &ignored, e);
}

/* ---- was it written to? ---- */

struct stamp {
    struct timespec changed;
    off_t size;
};

static int stamp(int fd, struct stamp *ret, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot stat the image");
    *ret = (struct stamp){st.st_ctim, st.st_size};
    return 0;
}

static bool later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* Times of files are those of the clock's last tick: what is written within the tick of the stamp has the
 * same. 1: that tick does not come, the clock was put back. */
static int await_tick(int fd, struct stamp *ret, struct err *e)
{
    for (int i = 0; i < CLOCK_TICKS_MAX; i++) {
        struct timespec now;
        if (stamp(fd, ret, e) < 0)
            return -1;
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        if (later(&now, &ret->changed))
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return 1;
}

/* Direct writes that were begun before are not under way any more when it returns. */
static int await_writes(int to, int from, struct err *e)
{
    uint64_t size = 0;
    if (size_of(from, &size, e) < 0 || same_size(to, size, e) < 0)
        return -1;
    return clone_range(to, from, 0, SLICE_MIN, size, e);
}

int ahead_finish(int to, int from, uint64_t *ranges, struct err *e)
{
    struct stamp before, after;
    uint64_t ignored;
    ranges = ranges ? ranges : &ignored;
    *ranges = 0;
    fs_write_back(from, NULL);
    int r = await_tick(from, &before, e);
    if (r != 0)
        return r;
    if (await_writes(to, from, e) < 0 || catch_up(to, from, NULL, ranges, e) < 0 ||
        stamp(from, &after, e) < 0)
        return -1;
    return memcmp(&before.changed, &after.changed, sizeof before.changed) != 0 || before.size != after.size;
}
