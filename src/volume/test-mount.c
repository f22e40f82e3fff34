#include "volume/test-mount.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

extern char **environ;

int test_run(const char *const argv[])
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid;
    int r = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    int status = 0;
    if (r != 0 || waitpid(pid, &status, 0) != pid)
        return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* In a mount namespace of our own, mounts and loop devices go with the process, however it ends. */
static void leave_namespace(void)
{
    static bool left;
    if (!left && unshare(CLONE_NEWNS) == 0)
        left = mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static const char *make_image(struct test_mount *m, const char *const mkfs[], char image[80])
{
    snprintf(image, 80, "%s/image", m->dir);
    int fd = open(image, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, 512 << 20) < 0)
        return "no room for an image";
    close(fd);
    const char *argv[16];
    int n = 0;
    for (; mkfs[n] && n < 14; n++)
        argv[n] = mkfs[n];
    argv[n++] = image;
    argv[n] = NULL;
    int status = test_run(argv);
    return status == 127 ? "its mkfs is not installed" : status ? "its mkfs failed" : NULL;
}

const char *test_mount(struct test_mount *m, const char *const mkfs[], const char *options)
{
    memset(m, 0, sizeof *m);
    if (geteuid() != 0)
        return "mounting needs root";
    leave_namespace();
    /* in memory where there is enough: flushing to a real disk is what most of the time would go to */
    struct statvfs fs;
    bool memory = statvfs("/dev/shm", &fs) == 0 && fs.f_bavail >= (2ull << 30) / fs.f_bsize;
    strcpy(m->dir, memory ? "/dev/shm/pvesr-test-XXXXXX" : "/var/tmp/pvesr-test-XXXXXX");
    if (!mkdtemp(m->dir)) {
        m->dir[0] = 0;
        return "no temporary directory";
    }
    snprintf(m->path, sizeof m->path, "%s/mnt", m->dir);
    mkdir(m->path, 0700);
    char image[80] = "tmpfs";
    const char *why = mkfs ? make_image(m, mkfs, image) : NULL;
    if (!why) {
        char o[128];
        snprintf(o, sizeof o, "%s%s", mkfs ? "loop," : "size=256M,", options ? options : "noatime");
        if (mkfs ? test_run((const char *const[]){"mount", "-o", o, image, m->path, NULL})
                 : test_run((const char *const[]){"mount", "-t", "tmpfs", "-o", o, image, m->path, NULL}))
            why = "it cannot be mounted here";
        else if (setxattr(m->path, "user.test", "", 0, 0) < 0)
            why = "it keeps no extended attributes of users on this kernel";
        unlink(image); /* the loop device holds it */
    }
    if (why) {
        umount2(m->path, MNT_DETACH);
        rmdir(m->path);
        m->path[0] = 0;
        test_unmount(m);
    }
    return why;
}

void test_unmount(struct test_mount *m)
{
    if (m->path[0]) {
        if (umount(m->path) < 0 && umount2(m->path, MNT_DETACH) < 0)
            fprintf(stderr, "cannot unmount %s: %s\n", m->path, strerror(errno));
        rmdir(m->path);
    }
    if (m->dir[0]) {
        char image[80];
        snprintf(image, sizeof image, "%s/image", m->dir);
        unlink(image);
        rmdir(m->dir);
    }
    memset(m, 0, sizeof *m);
}
