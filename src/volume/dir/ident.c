#include "volume/dir/ident.h"

#include "base/proc.h"
#include "volume/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

/* Kernels give files times of the last timer tick, at most 10 ms old. A file whose ctime lies further back
 * than this gets another ctime with its next change. */
#define IDENT_SETTLE_NS 20000000

/* INODE SIZE MTIME CTIME */
static void print_stat(const struct stat *st, char ident[IDENT_MAX])
{
    snprintf(ident, IDENT_MAX, "%ju %jd %jd.%09ld %jd.%09ld", (uintmax_t)st->st_ino, (intmax_t)st->st_size,
             (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec, (intmax_t)st->st_ctim.tv_sec,
             st->st_ctim.tv_nsec);
}

/* The same, and the machine's start, if that can be told; earlier versions wrote none. */
static void print_ident(const struct stat *st, char ident[IDENT_MAX])
{
    char boot[PROC_BOOT_MAX];
    proc_boot(boot);
    print_stat(st, ident);
    size_t n = strlen(ident);
    if (boot[0])
        snprintf(ident + n, IDENT_MAX - n, " %s", boot);
    else
        ident[0] = 0;
}

/* Where the nth word begins, or the end. */
static const char *word(const char *ident, unsigned n)
{
    while (n-- > 0 && *(ident += strcspn(ident, " ")))
        ident++;
    return ident;
}

int ident_take(int fd, char ident[IDENT_MAX], struct err *e)
{
    struct stat st;
    ident[0] = 0;
    for (int i = 0; i < 3; i++) {
        struct timespec now;
        if (fstat(fd, &st) < 0)
            return err_sys(e, "cannot stat the live file");
        clock_gettime(CLOCK_REALTIME, &now);
        int64_t age =
            (now.tv_sec - st.st_ctim.tv_sec) * (int64_t)1000000000 + now.tv_nsec - st.st_ctim.tv_nsec;
        if (age < 0 || (st.st_ctim.tv_nsec == 0 && st.st_mtim.tv_nsec == 0))
            return 0;
        if (age > IDENT_SETTLE_NS) {
            print_ident(&st, ident);
            return 0;
        }
        struct timespec rest = {.tv_nsec = IDENT_SETTLE_NS - age + 1};
        nanosleep(&rest, NULL);
    }
    return 0;
}

bool ident_holds(int fd, const char *ident)
{
    struct stat st;
    char now[IDENT_MAX];
    if (!ident[0] || fstat(fd, &st) < 0)
        return false;
    print_ident(&st, now);
    return strcmp(now, ident) == 0;
}

bool ident_holds_linked(int fd, const char *ident)
{
    struct stat st;
    char now[IDENT_MAX];
    if (!ident[0] || fstat(fd, &st) < 0)
        return false;
    print_ident(&st, now);
    const char *boot = word(now, 4);
    return *boot && strncmp(now, ident, (size_t)(word(now, 3) - now)) == 0 &&
           strcmp(boot, word(ident, 4)) == 0;
}

uint64_t ident_hash(int fd)
{
    struct stat st;
    char now[IDENT_MAX];
    if (fstat(fd, &st) < 0)
        return 0;
    print_stat(&st, now);
    return XXH3_64bits(now, strlen(now)) | 1;
}

typedef bool holds_fn(int fd, const char *ident);

static bool not_changed(int fd, const char *ident)
{
    struct stat st;
    char now[IDENT_MAX];
    if (!ident[0] || fstat(fd, &st) < 0)
        return false;
    print_stat(&st, now);
    size_t n = strlen(now);
    return strncmp(now, ident, n) == 0 && (!ident[n] || ident[n] == ' ');
}

static bool ask(const struct dir *d, int map_fd, holds_fn *holds)
{
    _cleanup_close_ int live = -1;
    char ident[IDENT_MAX];
    struct err ignored;
    return mark_get(map_fd, "ident", ident, sizeof ident, &ignored) == 0 &&
           dir_file(d, d->file, O_RDONLY, &live, &ignored) == 0 && holds(live, ident);
}

bool ident_unchanged(const struct dir *d, int map_fd)
{
    return ask(d, map_fd, ident_holds);
}

bool ident_not_changed(const struct dir *d, int map_fd)
{
    return ask(d, map_fd, not_changed);
}

int ident_note(struct dir *d, int live, const char *map_name, struct err *e)
{
    _cleanup_close_ int map = -1;
    char ident[IDENT_MAX];
    int r = dir_file(d, map_name, O_RDWR, &map, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    return ident_take(live, ident, e) < 0 ? -1 : mark_set(map, "ident", ident, e);
}
