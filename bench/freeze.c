/* For how long a guest is frozen while a file of many extents is cloned: at once, and with the clone made
 * ahead. bench-freeze DIR [EXTENTS [WRITES]] */
#include "base/clock.h"
#include "base/mem.h"
#include "volume/file/ahead.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BLOCK 4096

static int file(const char *dir, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
    unlink(path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        perror(path), exit(1);
    return fd;
}

static void put(int fd, off_t block, const char *data)
{
    if (pwrite(fd, data, BLOCK, block * BLOCK) != BLOCK)
        perror("write"), exit(1);
}

int main(int argc, char **argv)
{
    long extents = argc > 2 ? atol(argv[2]) : 500000, writes = argc > 3 ? atol(argv[3]) : 2000;
    struct err e;
    char data[BLOCK];
    memset(data, 7, sizeof data);
    if (argc < 2)
        return fprintf(stderr, "usage: bench-freeze DIR [EXTENTS [WRITES]]\n"), 2;
    int live = file(argv[1], "live"), whole = file(argv[1], "whole"), copy = file(argv[1], "copy");
    if (ftruncate(live, extents * 2 * BLOCK) < 0)
        perror("truncate"), exit(1);
    for (long i = 0; i < extents; i++)
        put(live, i * 2, data);
    fsync(live);
    double at = clock_mono();
    if (ioctl(whole, FICLONE, live) < 0)
        perror("FICLONE"), exit(1);
    printf("%ld extents: frozen %.3f s at once\n", extents, clock_mono() - at);
    at = clock_mono();
    if (ahead_clone(copy, live, NULL, &e) < 0)
        return fprintf(stderr, "%s\n", e.text), 1;
    printf("ahead, while the guest runs: %.3f s\n", clock_mono() - at);
    memset(data, 9, sizeof data);
    for (long i = 0; i < writes; i++)
        put(live, random() % extents * 2, data);
    fsync(live);
    uint64_t ranges;
    at = clock_mono();
    int r = ahead_finish(copy, live, &ranges, &e);
    printf("%ld writes later: frozen %.3f s (%llu ranges%s)\n", writes, clock_mono() - at,
           (unsigned long long)ranges, r == 0 ? "" : ", in vain");
    return r != 0;
}
