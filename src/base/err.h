/* An error is a value: what kind of failure, the errno if the kernel said one, and a sentence.
 *
 * Every function that can fail takes `struct err *e` as its last parameter and returns 0 on success and -1 on
 * failure, or a pointer and NULL. On failure *e is filled; on success it is not touched. Positive results are
 * documented outcomes that the caller must handle. The sentence names the thing, the value and, where there
 * is one, the remedy. It gains context on the way up:
 *
 *     if (tree_read(t, "replication.cfg", &text, e) < 0)
 *         return err_wrap(e, "cannot load the jobs");
 *
 * gives "cannot load the jobs: …". Libraries print nothing; the program prints the sentence once.
 * A sentence is one line without control
 * characters (base/text.h), whatever was put into it. There is nothing to free. e must not be NULL: a caller
 * that ignores failures still has a struct err.
 */
#pragma once

#include <stdarg.h>

/* The kind drives the exit status, whether a run is tried again, and the HTTP status. */
enum err_kind {
    ERR_NONE = 0,
    ERR_USAGE,   /* the caller's parameters are wrong */
    ERR_CONFIG,  /* a configuration says something impossible; trying again is no use until it changes */
    ERR_BUSY,    /* a lock or resource is taken; try again soon, it is no failure of the job */
    ERR_NETWORK, /* the peer cannot be reached, went silent or the line was cut */
    ERR_GONE,    /* a thing that must exist does not: no such job, guest, volume, snapshot */
    ERR_FULL,    /* no space, quota or thin pool left */
    ERR_DATA,    /* bytes are not what they must be: damaged frame, digest mismatch, no common base */
    ERR_SYSTEM,  /* the kernel or a program refused, for any other reason */
};

#define ERR_TEXT_MAX 2048

struct err {
    enum err_kind kind;
    int code;                /* errno value, or 0 */
    char text[ERR_TEXT_MAX]; /* no trailing newline; cut at the end when too long */
};

/* Fill *e and return -1. When code is not 0, ": " and its text are appended; to EACCES and EPERM, where the
 * user is not root, that this is why. ENOSPC, EDQUOT turn ERR_SYSTEM into ERR_FULL; ENOENT does not become
 * ERR_GONE by itself. */
int err_set(struct err *e, enum err_kind kind, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* ERR_SYSTEM with the current errno. */
int err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Put "context: " before the sentence unless that says so already, keep kind and code, return -1. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Take "context: " from the beginning of the sentence, if it is there: before a context that says the same in
 * other words. -1. */
int err_unwrap(struct err *e, const char *context);

/* "usage", "config", …; for journals and JSON. err_kind_parse gives ERR_SYSTEM for an unknown name. */
const char *err_kind_name(enum err_kind kind);
enum err_kind err_kind_parse(const char *name);
