/* The dir driver: linked clones of a template, on the node to which that is replicated. They are qcow2 files
 * of other guests, whose backing file is the template's; nothing but their headers tells of them. */
#include "volume/dir/dir.h"

#include "base/fs.h"
#include "base/mem.h"
#include "volume/file/delta.h"
#include "volume/file/image.h"
#include "volume/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPLATE "base-"

typedef int visit(const struct dir *d, int at, const char *name, struct err *e);

/* Until one is not 0. at: a directory; what has gone since it was listed is nothing. */
static int each_entry(const struct dir *d, int at, visit *fn, struct err *e)
{
    int r = 0, fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    bool failed = !list;
    for (const struct dirent *x; list && r == 0 && (x = fs_next_entry(list, &failed));)
        if (x->d_name[0] != '.')
            r = fn(d, at, x->d_name, e);
    if (failed)
        r = err_sys(e, "cannot look for linked clones of '%s'", d->file);
    if (list)
        closedir(list);
    else if (fd >= 0)
        close(fd);
    return r;
}

static int is_clone(const struct dir *d, int at, const char *name, struct err *e)
{
    char backing[IMAGE_NAME_MAX + 1];
    struct stat st;
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return 0;
    _cleanup_close_ int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, "cannot open '%s'", name);
    int r = image_backing(fd, name, backing, e);
    if (r <= 0 || !strstr(backing, d->file))
        return r < 0 ? -1 : 0;
    err_set(e, ERR_CONFIG, 0,
            "linked clones stand on '%s', such as '%s': remove them, or make full clones of them", d->file,
            name);
    return 1;
}

static int has_clone(const struct dir *d, int at, const char *guest, struct err *e)
{
    _cleanup_close_ int fd = openat(at, guest, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? 0 : each_entry(d, fd, is_clone, e);
}

/* 1, and who: there is one. */
static int find(const struct dir *d, struct err *e)
{
    if (strncmp(d->file, TEMPLATE, strlen(TEMPLATE)) != 0)
        return 0;
    _cleanup_close_ int images =
        fs_open_beneath(d->root, root_images(d->store), O_RDONLY | O_DIRECTORY, 0, e);
    return images < 0 ? -1 : each_entry(d, images, has_clone, e);
}

int dir_check_clones(const struct dir *d, struct err *e)
{
    return find(d, e) == 0 ? 0 : -1;
}

int dir_check_clones_of(const struct dir *d, int live, const char *by, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct err problem = {0};
    int found = find(d, &problem);
    int r = found > 0 ? dir_file(d, by, O_RDONLY, &fd, e) : 0;
    if (found > 0 && r == 0)
        r = filedelta_same(live, fd, store_tick(d->store), e);
    if (found >= 0 && r <= 0)
        return r;
    *e = problem;
    return -1;
}
