/* The text of the job state file; private to src/state. It is changed by copying: what a change does not
 * concern goes over byte for byte, so numbers, unknown keys and other writers' habits stay as they are. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/jsonspan.h"
#include "base/lock.h"

struct state_file {
    char *path;
    struct buf text;
    struct json_span root; /* an object; "{}" for a missing or empty file */
    struct json_pair guest;
};

/* guest: the key that `guest` is to be found for, or NULL. ERR_DATA with the path when it is not one JSON
 * object or larger than 16 MiB. */
int state_file_read(const char *state_dir, const char *guest, struct state_file *ret, struct err *e);
void state_file_release(struct state_file *f);
/* Replace the file; the caller holds the lock. */
int state_file_write(const struct state_file *f, const struct buf *text, struct err *e);
/* Write the file with the object of the guest that it was read for replaced by `object` ("{}" or nothing:
 * without the guest); all else as it is, byte for byte. */
int state_file_write_guest(const struct state_file *f, const char *guest, const struct buf *object,
                           struct err *e);
struct lock *state_file_lock(const char *state_dir, struct err *e);

/* "100" as a guest id; false for any other key. */
bool state_key_guest(struct json_span key, uint32_t *ret);
/* "local/pve2" → the span of "pve2"; p NULL for any other key. */
struct json_span state_key_target(struct json_span key);

/* An object being written: pairs with commas between them. */
struct object_writer {
    struct buf *out;
    bool any;
};
struct object_writer object_begin(struct buf *out);
/* Then append the value. */
void object_key(struct object_writer *w, const char *key);
void object_copy(struct object_writer *w, struct json_span key, struct json_span value);
/* All pairs of `from` but those with the key `except` (NULL: none). */
void object_copy_others(struct object_writer *w, struct json_span from, const char *except);
void object_end(struct object_writer *w);
