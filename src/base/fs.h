/* Files: whole reads with a cap, atomic durable writes, and paths that cannot be led elsewhere. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/tick.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Read a whole regular file into *ret (cleared first). 1 when it does not exist (*ret is then empty), 0 when
 * read. More than `cap` bytes is ERR_DATA. */
int fs_read(const char *path, size_t cap, struct buf *ret, struct err *e);
/* The same of a file that is open; `what` names it in sentences. */
int fs_read_fd(int fd, const char *what, size_t cap, struct buf *ret, struct err *e);

/* Replace the file: remove what others that are gone left (fs_sweep), write PATH.tmp.PID beside it, fsync,
 * rename, fsync the directory. A failure leaves the old file as it was and no temporary file (only when the
 * last step, the directory's fsync, fails, the new contents are there but may be lost with the power). A
 * symlink at `path` is replaced, not followed. */
int fs_write_atomic(const char *path, const void *data, size_t len, mode_t mode, struct err *e);
/* The same to `name` in a directory that is open; `what` names the file in sentences. The umask holds: a file
 * system with modes of its own (pmxcfs) is not asked for others. */
int fs_write_atomic_at(int dirfd, const char *name, const char *what, const void *data, size_t len,
                       mode_t mode, struct err *e);

/* Remove what processes that are gone left of writing `name` (NULL: anything) in this directory. One of
 * another node is taken for gone: where several write, the caller has them locked out. look: remove nothing.
 * True: there was something. */
bool fs_sweep(int dirfd, const char *name, bool look);

/* Take from an open file what its mode allows beyond `mode` (base/modes.h). Where that is not ours to change,
 * or the file system has modes of its own, it stays. */
void fs_restrict(int fd, mode_t mode);

/* Like mkdir -p; an existing directory is fine. */
int fs_mkdir_p(const char *path, mode_t mode, struct err *e);

/* fsync the directory itself, so that names created, renamed or removed in it are durable. */
int fs_sync_dir(const char *path, struct err *e);
/* The same of a directory that is open and has what `what` names in it. */
int fs_sync_dir_fd(int fd, const char *what, struct err *e);

/* Remove one file; 1 when it was not there. */
int fs_unlink(const char *path, struct err *e);

bool fs_exists(const char *path);
/* 1: there is something of this name, a symlink too; 0: there is not. -1: nobody can tell. */
int fs_look_at(int dirfd, const char *name, struct err *e);
/* The next entry; NULL at the end, and then *failed says whether that is one (errno says why). */
const struct dirent *fs_next_entry(DIR *dir, bool *failed);

/* openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS: `name` is relative to dirfd and
 * no component of it may be a symlink or lead out of it; give no "..". flags get O_CLOEXEC. The fd, or -1;
 * ELOOP and EXDEV become ERR_DATA with a sentence that says the path is a symlink. Where openat2 is missing
 * or forbidden, the same is done component by component. */
int fs_open_beneath(int dirfd, const char *name, int flags, mode_t mode, struct err *e);

/* Write the file's dirty pages out and wait for it, as far as that goes; the device is not flushed, so this
 * makes nothing durable. `tick` (may be NULL) is called now and then. */
void fs_write_back(int fd, const struct tick *tick);

/* Write all n bytes at offset / read exactly n bytes (a short file is ERR_DATA). */
int fs_pwrite_all(int fd, const void *data, size_t n, uint64_t offset, const char *what, struct err *e);
int fs_pread_all(int fd, void *data, size_t n, uint64_t offset, const char *what, struct err *e);
int fs_write_all(int fd, const void *data, size_t n, const char *what, struct err *e);
