#include "state/statefile.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/modes.h"
#include "base/num.h"
#include "base/refusal.h"
#include "state/jobstate.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOCK_NAME "pve-replication-state.lck"

enum { FILE_CAP = 16 << 20, LOCK_SECONDS = 10, ROOM_LEAST = 16 << 10, PROBE_SECONDS = 10 };

static int check(struct state_file *f, const char *guest, struct err *e)
{
    size_t bad;
    if (strspn(buf_str(&f->text), " \t\r\n") == f->text.len) {
        f->root = (struct json_span){"{}", 2};
        return 0;
    }
    if (json_check_for(f->text.data, f->text.len, guest, &f->root, &f->guest, &bad) == 0 &&
        json_is_object(f->root))
        return 0;
    if (json_is_object(f->root))
        return err_set(e, ERR_DATA, 0,
                       "invalid json data in '%s', byte %zu; move the file away, the next runs go on from "
                       "what the storages hold",
                       f->path, bad);
    return err_set(e, ERR_DATA, 0,
                   "invalid json data in '%s': not an object; move the file away, the next runs go on from "
                   "what the storages hold",
                   f->path);
}

static int read_text(struct state_file *f, struct err *e)
{
    struct err why = {0};
    int r = fs_read(f->path, FILE_CAP, &f->text, &why);
    if (r < 0 && why.kind == ERR_DATA)
        return err_set(e, ERR_DATA, 0,
                       "%s; move the file away, the next runs go on from what the storages hold", why.text);
    if (r < 0)
        *e = why;
    return r;
}

/* What is not there yet is made; a symlink to nowhere would read as if no job had ever run. */
static int check_folder(const char *dir, struct err *e)
{
    struct stat st;
    if (stat(dir, &st) == 0 ? S_ISDIR(st.st_mode) : lstat(dir, &st) < 0)
        return 0;
    return err_set(
        e, ERR_CONFIG, 0,
        "'%s', which 'state-dir' in pvesr.conf names, is no folder, or a symlink to none: put it right", dir);
}

static int check_lock_file(const char *dir, struct err *e)
{
    struct stat st;
    _cleanup_free_ char *path = xasprintf("%s/" LOCK_NAME, dir);
    return lstat(path, &st) < 0 || S_ISREG(st.st_mode)
               ? 0
               : err_set(e, ERR_SYSTEM, 0,
                         "nothing can be recorded in '%s': '%s' is no regular file: remove it", dir,
                         LOCK_NAME);
}

/* Read-only, immutable, or its disk fails. Who may not write there can be another than who asks: EACCES says
 * nothing. */
static int check_access(const char *path)
{
    struct stat st;
    bool open = faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0 && stat(path, &st) == 0;
    int code = open ? 0 : errno;
    return code == EROFS || code == EPERM || code == EIO ? code : 0;
}

static int check_room(const char *dir)
{
    struct statvfs fs;
    return statvfs(dir, &fs) == 0 &&
                   (fs.f_bfree * fs.f_frsize < ROOM_LEAST || (fs.f_files && fs.f_ffree == 0))
               ? ENOSPC
               : 0;
}

/* The way of each record, under another name. */
static int write_probe(const char *dir, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/pve-replication-state.probe", dir);
    _cleanup_free_ char *text = xcalloc(1, ROOM_LEAST);
    int r = fs_write_atomic(path, text, ROOM_LEAST, MODE_STATE, e);
    unlink(path);
    return r < 0 ? err_wrap(e, "nothing can be recorded in '%s'", dir) : 0;
}

/* Whoever asks does so for each job that is overdue: what was found counts for a while. */
static int try_writing(const char *dir, struct err *e)
{
    static struct err found;
    static double at;
    static char *of;
    if (geteuid() != 0 || !fs_exists(dir))
        return 0;
    if (!of || strcmp(of, dir) != 0 || clock_mono() - at > PROBE_SECONDS) {
        free(of);
        of = xstrdup(dir);
        found = (struct err){0};
        write_probe(dir, &found);
        at = clock_mono();
    }
    *e = found;
    return found.kind == ERR_NONE ? 0 : -1;
}

int job_states_recordable(const char *dir, struct err *e)
{
    _cleanup_free_ char *file = xasprintf("%s/pve-replication-state.json", dir),
                        *lock = xasprintf("%s/" LOCK_NAME, dir);
    const char *const paths[] = {dir, file, lock};
    if (check_folder(dir, e) < 0 || check_lock_file(dir, e) < 0)
        return -1;
    int code = 0;
    size_t at = 0;
    for (size_t i = 0; i < ELEMENTS(paths) && !code; i++)
        code = check_access(paths[at = i]);
    if (!code)
        code = check_room(paths[at = 0]);
    if (!code)
        return try_writing(dir, e);
    err_set(e, code == ENOSPC ? ERR_FULL : ERR_SYSTEM, code, "nothing can be recorded in '%s'", dir);
    refusal_explain(e, paths[at]);
    return -1;
}

int state_file_read(const char *state_dir, const char *guest, struct state_file *ret, struct err *e)
{
    struct state_file f = {.path = xasprintf("%s/pve-replication-state.json", state_dir)};
    if (check_folder(state_dir, e) < 0 || read_text(&f, e) < 0 || check(&f, guest, e) < 0) {
        state_file_release(&f);
        return -1;
    }
    *ret = f;
    return 0;
}

void state_file_release(struct state_file *f)
{
    free(f->path);
    buf_release(&f->text);
    *f = (struct state_file){0};
}

int state_file_write(const struct state_file *f, const struct buf *text, struct err *e)
{
    if (text->len > FILE_CAP)
        return err_set(e, ERR_FULL, 0, "cannot write '%s': it would be larger than %d bytes", f->path,
                       FILE_CAP);
    return fs_write_atomic(f->path, text->data, text->len, MODE_STATE, e);
}

struct lock *state_file_lock(const char *state_dir, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/" LOCK_NAME, state_dir);
    return lock_take(path, true, LOCK_SECONDS, false, e);
}

bool state_key_guest(struct json_span key, uint32_t *ret)
{
    char text[12];
    uint64_t id;
    struct err e;
    if (!key.len || key.len >= sizeof text || *key.p == '0')
        return false;
    memcpy(text, key.p, key.len);
    text[key.len] = 0;
    if (num_parse_u64("guest", text, 1, UINT32_MAX, &id, &e) < 0)
        return false;
    *ret = (uint32_t)id;
    return true;
}

struct json_span state_key_target(struct json_span key)
{
    enum { PREFIX = 6 }; /* "local/" */
    if (key.len <= PREFIX || memcmp(key.p, "local/", PREFIX) != 0)
        return (struct json_span){NULL, 0};
    return (struct json_span){key.p + PREFIX, key.len - PREFIX};
}

struct object_writer object_begin(struct buf *out)
{
    buf_addc(out, '{');
    return (struct object_writer){out, false};
}

static void separate(struct object_writer *w)
{
    if (w->any)
        buf_addc(w->out, ',');
    w->any = true;
}

void object_key(struct object_writer *w, const char *key)
{
    separate(w);
    json_add_string(w->out, key);
    buf_addc(w->out, ':');
}

void object_copy(struct object_writer *w, struct json_span key, struct json_span value)
{
    separate(w);
    buf_addc(w->out, '"');
    buf_add(w->out, key.p, key.len);
    buf_adds(w->out, "\":");
    json_add(w->out, value);
}

void object_copy_others(struct object_writer *w, struct json_span from, const char *except)
{
    struct json_iter it = json_iter(from);
    struct json_span key, value;
    while (json_next(&it, &key, &value))
        if (!except || !json_key_is(key, except))
            object_copy(w, key, value);
}

void object_end(struct object_writer *w)
{
    buf_addc(w->out, '}');
}

/* Of an object's inside: without the blanks and the comma at its ends. */
static struct json_span inside(const char *from, const char *end)
{
    static const char between[] = " \t\r\n,";
    while (from < end && strchr(between, *from))
        from++;
    while (from < end && strchr(between, end[-1]))
        end--;
    return (struct json_span){from, (size_t)(end - from)};
}

static void object_add(struct object_writer *w, struct json_span pairs)
{
    if (!pairs.len)
        return;
    separate(w);
    buf_add(w->out, pairs.p, pairs.len);
}

int state_file_write_guest(const struct state_file *f, const char *guest, const struct buf *object,
                           struct err *e)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    buf_reserve(&out, f->text.len + object->len + 32);
    struct object_writer w = object_begin(&out);
    const char *from = f->root.p + 1, *end = f->root.p + f->root.len - 1;
    if (f->guest.times > 1) {
        object_copy_others(&w, f->root, guest);
        from = end;
    }
    const char *at = f->guest.times == 1 ? f->guest.whole.p : end;
    object_add(&w, inside(from, at));
    if (object->len > 2) {
        object_key(&w, guest);
        buf_add(&out, object->data, object->len);
    }
    if (f->guest.times == 1)
        object_add(&w, inside(at + f->guest.whole.len, end));
    object_end(&w);
    return state_file_write(f, &out, e);
}
