/* The stream of `btrfs send`, version 1: a header, then commands of typed attributes, each with a CRC-32C.
 * Ours has one more, of version 2, before all others (volume/btrfs/flags.h). Source: the page "Send stream
 * format" of the btrfs documentation (btrfs.readthedocs.io/en/latest/dev/). */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum send_command {
    SEND_SUBVOL = 1,
    SEND_SNAPSHOT,
    SEND_MKFILE,
    SEND_MKDIR,
    SEND_MKNOD,
    SEND_MKFIFO,
    SEND_MKSOCK,
    SEND_SYMLINK,
    SEND_RENAME,
    SEND_LINK,
    SEND_UNLINK,
    SEND_RMDIR,
    SEND_SET_XATTR,
    SEND_REMOVE_XATTR,
    SEND_WRITE,
    SEND_CLONE,
    SEND_TRUNCATE,
    SEND_CHMOD,
    SEND_CHOWN,
    SEND_UTIMES,
    SEND_END,
    SEND_UPDATE_EXTENT,
    SEND_FALLOCATE, /* of version 2, as the next */
    SEND_FILEATTR,
    SEND_COMMANDS
};

enum send_attr {
    ATTR_UUID = 1,
    ATTR_CTRANSID,
    ATTR_INO,
    ATTR_SIZE,
    ATTR_MODE,
    ATTR_UID,
    ATTR_GID,
    ATTR_RDEV,
    ATTR_CTIME,
    ATTR_MTIME,
    ATTR_ATIME,
    ATTR_OTIME,
    ATTR_XATTR_NAME,
    ATTR_XATTR_DATA,
    ATTR_PATH,
    ATTR_PATH_TO,
    ATTR_PATH_LINK,
    ATTR_FILE_OFFSET,
    ATTR_DATA,
    ATTR_CLONE_UUID,
    ATTR_CLONE_CTRANSID,
    ATTR_CLONE_PATH,
    ATTR_CLONE_OFFSET,
    ATTR_CLONE_LEN,
    ATTR_FALLOCATE_MODE,
    ATTR_FILEATTR,
    SEND_ATTRS
};

struct send_record {
    enum send_command command;
    struct {
        const uint8_t *data; /* NULL: not there */
        size_t n;
    } attr[SEND_ATTRS]; /* into the reader's buffer */
};

#define SEND_HEADER 17 /* bytes before the first command */
/* Add a FILEATTR command: the inode's number, its flags (BTRFS_INODE_…), its path unless NULL. */
void send_add_fileattr(struct buf *out, uint64_t ino, uint64_t flags, const char *path);

const char *send_command_name(enum send_command c);
/* Attributes, checked: one that is missing, of another size, or (texts) holds a NUL is ERR_DATA. */
int send_number(const struct send_record *r, enum send_attr a, uint64_t *ret, struct err *e);
int send_text(const struct send_record *r, enum send_attr a, size_t cap, char *ret, struct err *e);
/* As 32 hex digits. */
int send_uuid(const struct send_record *r, enum send_attr a, char ret[33], struct err *e);

/* Takes the stream in pieces of any size. Starts as zeroes, released by sendreader_release. */
struct sendreader {
    struct buf buf;
    bool begun; /* the header was right */
    bool ended; /* the end command has come: the stream is whole */
};
void sendreader_release(struct sendreader *s);
/* Calls `each` for every whole command, END included; a negative result of it ends with -1, a positive one is
 * returned at once. Bytes after the end are ERR_DATA. */
int sendreader_feed(struct sendreader *s, const void *data, size_t n,
                    int (*each)(const struct send_record *r, void *arg, struct err *e), void *arg,
                    struct err *e);
