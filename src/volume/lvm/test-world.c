#include "volume/lvm/test-world.h"

#include "base/err.h"
#include "base/proc.h"
#include "volume/test-mount.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUN(...) test_run((const char *const[]){__VA_ARGS__, NULL})
#define IMAGE_BYTES (400ll << 20)

static const char *make_group(struct lvmworld *w, unsigned i)
{
    struct err e;
    _cleanup_buf_ struct buf out = BUF_INIT;
    snprintf(w->image[i], sizeof w->image[i], "/var/tmp/pvesr-lvm-%d-%u", (int)getpid(), i);
    snprintf(w->vg[i], sizeof w->vg[i], "pvesr-test-%d-%u", (int)getpid(), i);
    int fd = open(w->image[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int r = fd < 0 ? -1 : ftruncate(fd, IMAGE_BYTES);
    if (fd >= 0)
        close(fd);
    if (r < 0)
        return "no room for an image";
    char *argv[] = {"losetup", "-f", "--show", w->image[i], NULL};
    if (proc_check(argv, NULL, &out, &e) < 0)
        return "no loop device";
    snprintf(w->loop[i], sizeof w->loop[i], "%.*s", (int)strcspn(buf_str(&out), "\n"), buf_str(&out));
    return RUN("vgcreate", "-s", "64k", w->vg[i], w->loop[i]) ? "vgcreate failed" : NULL;
}

const char *lvmworld_open(struct lvmworld *w)
{
    const char *may = getenv("PVESR_TEST_LVM");
    memset(w, 0, sizeof *w);
    if (!may || strcmp(may, "1") != 0)
        return "volume groups are made only with PVESR_TEST_LVM=1";
    if (access("/dev/mapper/control", W_OK) < 0)
        return "there is no device mapper";
    if (RUN("lvm", "version") || RUN("thin_delta", "-V"))
        return "lvm2 or thin-provisioning-tools is not installed";
    const char *why = make_group(w, 0);
    if (!why)
        why = make_group(w, 1);
    if (why)
        lvmworld_close(w);
    return why;
}

/* Making a pool takes longer than emptying it. */
const char *lvmworld_reset(struct lvmworld *w)
{
    for (unsigned i = 0; i < 2; i++) {
        bool there = lvmworld_find(w->vg[i], LVMWORLD_POOL);
        if (there && RUN("lvremove", "-f", "-S", "pool_lv=" LVMWORLD_POOL, w->vg[i]))
            return "lvremove failed";
        if (!there && RUN("lvcreate", "-y", "-T", "-L", "300m", "--chunksize", "64k", "--poolmetadatasize",
                          "4m", "-n", LVMWORLD_POOL, w->vg[i]))
            return "lvcreate of a pool failed";
    }
    return NULL;
}

void lvmworld_close(struct lvmworld *w)
{
    for (unsigned i = 0; i < 2; i++) {
        if (w->vg[i][0])
            RUN("vgremove", "-f", w->vg[i]);
        if (w->loop[i][0])
            RUN("losetup", "-d", w->loop[i]);
        if (w->image[i][0])
            unlink(w->image[i]);
    }
    memset(w, 0, sizeof *w);
}

static const char *path_of(const char *vg, const char *lv)
{
    static char path[160];
    snprintf(path, sizeof path, "/dev/%s/%s", vg, lv);
    return path;
}

const char *lvmworld_create(const char *vg, const char *lv, uint64_t size)
{
    char text[32];
    snprintf(text, sizeof text, "%llub", (unsigned long long)size);
    return RUN("lvcreate", "-V", text, "-n", lv, "--thinpool", LVMWORLD_POOL, vg) ? NULL : path_of(vg, lv);
}

const char *lvmworld_live(const char *vg, const char *lv)
{
    const char *path = path_of(vg, lv);
    if (access(path, R_OK) < 0)
        RUN("lvchange", "-ay", path + strlen("/dev/"));
    return path;
}

int lvmworld_resize(const char *vg, const char *lv, uint64_t size)
{
    char text[32];
    snprintf(text, sizeof text, "%llub", (unsigned long long)size);
    return RUN("lvresize", "-f", "-y", "-L", text, path_of(vg, lv) + strlen("/dev/"));
}

const char *lvmworld_find(const char *vg, const char *prefix)
{
    static char found[160];
    struct err e;
    _cleanup_buf_ struct buf out = BUF_INIT;
    char *argv[] = {"lvs", "--noheadings", "-o", "lv_name", (char *)vg, NULL};
    if (proc_check(argv, NULL, &out, &e) < 0)
        return NULL;
    _cleanup_strv_ struct strv names = STRV_INIT;
    strv_split(&names, buf_str(&out), " \n");
    for (size_t i = 0; i < names.n; i++) {
        if (strncmp(names.v[i], prefix, strlen(prefix)) != 0)
            continue;
        snprintf(found, sizeof found, "%s", names.v[i]);
        return found;
    }
    return NULL;
}
