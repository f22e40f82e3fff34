#include "volume/uses.h"

#include "base/mem.h"
#include "base/strv.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A process, as a folder in /proc. */
struct folder {
    int proc;
    char pid[16];
    bool own;
};
struct entry {
    char path[64];
};

typedef int on_folder(const struct folder *f, void *arg);

static struct entry entry_of(const struct folder *f, const char *name)
{
    struct entry x;
    snprintf(x.path, sizeof x.path, "%s/%s", f->pid, name);
    return x;
}

static void name_process(const struct folder *f, char ret[USES_PROCESS_MAX])
{
    char comm[17] = "";
    _cleanup_close_ int fd = openat(f->proc, entry_of(f, "comm").path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, comm, sizeof comm - 1);
    comm[n > 0 ? n : 0] = 0;
    comm[strcspn(comm, "\n")] = 0;
    for (char *c = comm; *c; c++) /* it is what the process says */
        if (!isprint((unsigned char)*c) || *c == '\'')
            *c = '?';
    snprintf(ret, USES_PROCESS_MAX, "process %s (%s)", f->pid, *comm ? comm : "?");
}

static int open_list(int at, const char *name, DIR **ret)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *ret = fd < 0 ? NULL : fdopendir(fd);
    if (!*ret && fd >= 0)
        close(fd);
    return *ret ? dirfd(*ret) : -1;
}

static int each_process(on_folder *each, void *arg, const struct tick *tick, struct err *e)
{
    char own[16] = "";
    DIR *list;
    int r = 0, proc = open_list(AT_FDCWD, "/proc", &list);
    if (proc < 0 || readlinkat(proc, "self", own, sizeof own - 1) <= 0)
        r = err_sys(e, "cannot ask who uses a volume: '/proc' is not mounted");
    for (const struct dirent *x; r == 0 && (x = readdir(list));) {
        struct folder f = {.proc = proc, .own = strcmp(x->d_name, own) == 0};
        if (!isdigit((unsigned char)x->d_name[0]) || strlen(x->d_name) >= sizeof f.pid)
            continue;
        strcpy(f.pid, x->d_name);
        r = each(&f, arg);
        tick_now(tick);
    }
    if (list)
        closedir(list);
    return r;
}

/* ---- what a process holds ---- */

struct walk {
    int (*each)(const struct use *u, void *arg);
    void *arg;
    char *process;
};

/* The link's own mode says how the file was opened. */
static int look_at(const struct walk *w, const struct folder *f, int at, const char *name, bool place)
{
    struct statx st;
    struct stat link;
    if (statx(at, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_INO, &st) < 0 ||
        fstatat(at, name, &link, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    struct use u = {.file = &st, .writes = !place && link.st_mode & S_IWUSR};
    int r = w->each(&u, w->arg);
    if (r != 0)
        name_process(f, w->process);
    return r;
}

static int look_at_all(const struct walk *w, const struct folder *f, const char *folder)
{
    DIR *list;
    int fd = open_list(f->proc, entry_of(f, folder).path, &list), r = 0;
    if (fd < 0)
        return 0;
    for (const struct dirent *x; r == 0 && (x = readdir(list));)
        if (x->d_name[0] != '.')
            r = look_at(w, f, fd, x->d_name, false);
    closedir(list);
    return r;
}

static int look_at_open(const struct folder *f, void *arg)
{
    static const char *const places[] = {"root", "cwd", "exe"};
    int r = 0;
    if (f->own)
        return 0;
    for (size_t i = 0; r == 0 && i < ELEMENTS(places); i++)
        r = look_at(arg, f, f->proc, entry_of(f, places[i]).path, true);
    return r == 0 ? look_at_all(arg, f, "fd") : r;
}

static int look_at_mapped(const struct folder *f, void *arg)
{
    return f->own ? 0 : look_at_all(arg, f, "map_files");
}

/* There is far more mapped than open. */
int uses_each(int (*each)(const struct use *u, void *arg), void *arg, char process[USES_PROCESS_MAX],
              const struct tick *tick, struct err *e)
{
    struct walk w = {each, arg, process};
    int r = each_process(look_at_open, &w, tick, e);
    return r == 0 ? each_process(look_at_mapped, &w, tick, e) : r;
}

/* ---- what is mounted ---- */

struct mount_walk {
    use_mount_each *each;
    void *arg;
    uint64_t *seen; /* namespaces */
    size_t n;
};

static int look_at_mounts(const struct mount_walk *w, const struct folder *f, const char *process)
{
    int fd = openat(f->proc, entry_of(f, "mountinfo").path, O_RDONLY | O_CLOEXEC), r = 0;
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    char *line = NULL;
    size_t room = 0;
    if (!file) {
        cleanup_closep(&fd);
        return 0;
    }
    struct mountinfo m;
    while (r == 0 && getline(&line, &room, file) > 0)
        r = mountinfo_parse(line, &m) ? w->each(&m, process, w->arg) : 0;
    free(line);
    fclose(file);
    return r;
}

/* A namespace comes up once, by the first process that is in it. */
static bool is_new(struct mount_walk *w, const struct folder *f)
{
    struct stat st;
    if (fstatat(f->proc, entry_of(f, "ns/mnt").path, &st, 0) < 0)
        return false;
    for (size_t i = 0; i < w->n; i++)
        if (w->seen[i] == st.st_ino)
            return false;
    w->seen = xgrow(w->seen, w->n, sizeof *w->seen);
    w->seen[w->n++] = st.st_ino;
    return true;
}

static int look_at_namespace(const struct folder *f, void *arg)
{
    char process[USES_PROCESS_MAX];
    if (!is_new(arg, f))
        return 0;
    name_process(f, process);
    return look_at_mounts(arg, f, process);
}

int uses_each_mount(use_mount_each *each, void *arg, const struct tick *tick, struct err *e)
{
    struct mount_walk w = {.each = each, .arg = arg};
    _cleanup_close_ int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct folder self = {.proc = proc, .pid = "self"};
    int r = proc < 0 || !is_new(&w, &self) ? 0 : look_at_mounts(&w, &self, "");
    if (r == 0)
        r = each_process(look_at_namespace, &w, tick, e);
    free(w.seen);
    return r;
}
