#include "volume/stream/sendstream.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#define MAGIC "btrfs-stream" /* with its NUL */
#define HEADER SEND_HEADER
_Static_assert(HEADER == sizeof MAGIC + 4, "the magic and a version");
#define COMMAND_HEADER 10
/* The kernel makes commands of up to 64 KiB in version 1. */
#define COMMAND_MAX (256u << 10)

static const char *const names[SEND_COMMANDS] = {
    [SEND_SUBVOL] = "subvol",
    [SEND_SNAPSHOT] = "snapshot",
    [SEND_MKFILE] = "mkfile",
    [SEND_MKDIR] = "mkdir",
    [SEND_MKNOD] = "mknod",
    [SEND_MKFIFO] = "mkfifo",
    [SEND_MKSOCK] = "mksock",
    [SEND_SYMLINK] = "symlink",
    [SEND_RENAME] = "rename",
    [SEND_LINK] = "link",
    [SEND_UNLINK] = "unlink",
    [SEND_RMDIR] = "rmdir",
    [SEND_SET_XATTR] = "set_xattr",
    [SEND_REMOVE_XATTR] = "remove_xattr",
    [SEND_WRITE] = "write",
    [SEND_CLONE] = "clone",
    [SEND_TRUNCATE] = "truncate",
    [SEND_CHMOD] = "chmod",
    [SEND_CHOWN] = "chown",
    [SEND_UTIMES] = "utimes",
    [SEND_END] = "end",
    [SEND_UPDATE_EXTENT] = "update_extent",
    [SEND_FALLOCATE] = "fallocate",
    [SEND_FILEATTR] = "fileattr",
};

const char *send_command_name(enum send_command c)
{
    return c > 0 && c < SEND_COMMANDS ? names[c] : "unknown";
}

static uint16_t le16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return le16toh(v);
}

static uint32_t le32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

/* CRC-32C, reflected, starting from 0 and not inverted at the end, eight bytes a step. */
static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
    static uint32_t table[8][256];
    if (!table[0][1]) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int bit = 0; bit < 8; bit++)
                c = (c >> 1) ^ (c & 1 ? 0x82f63b78u : 0);
            table[0][i] = c;
        }
        for (uint32_t i = 0; i < 256; i++)
            for (int k = 1; k < 8; k++)
                table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xff];
    }
    for (; n >= 8; p += 8, n -= 8) {
        uint32_t a = crc ^ le32(p), b = le32(p + 4);
        crc = table[7][a & 0xff] ^ table[6][a >> 8 & 0xff] ^ table[5][a >> 16 & 0xff] ^ table[4][a >> 24] ^
              table[3][b & 0xff] ^ table[2][b >> 8 & 0xff] ^ table[1][b >> 16 & 0xff] ^ table[0][b >> 24];
    }
    for (; n > 0; p++, n--)
        crc = (crc >> 8) ^ table[0][(crc ^ *p) & 0xff];
    return crc;
}

static void add_attr(struct buf *out, enum send_attr type, const void *data, size_t n)
{
    uint16_t head[2] = {htole16((uint16_t)type), htole16((uint16_t)n)};
    buf_add(out, head, sizeof head);
    buf_add(out, data, n);
}

void send_add_fileattr(struct buf *out, uint64_t ino, uint64_t flags, const char *path)
{
    _cleanup_buf_ struct buf attrs = BUF_INIT;
    uint64_t ino_le = htole64(ino), flags_le = htole64(flags);
    add_attr(&attrs, ATTR_INO, &ino_le, sizeof ino_le);
    add_attr(&attrs, ATTR_FILEATTR, &flags_le, sizeof flags_le);
    if (path)
        add_attr(&attrs, ATTR_PATH, path, strlen(path));
    uint8_t head[COMMAND_HEADER] = {0};
    uint32_t len = htole32((uint32_t)attrs.len);
    uint16_t command = htole16(SEND_FILEATTR);
    memcpy(head, &len, sizeof len);
    memcpy(head + 4, &command, sizeof command);
    uint32_t crc = htole32(crc32c(crc32c(0, head, sizeof head), (const uint8_t *)attrs.data, attrs.len));
    memcpy(head + 6, &crc, sizeof crc);
    buf_add(out, head, sizeof head);
    buf_add(out, attrs.data, attrs.len);
}

static int missing(const struct send_record *r, enum send_attr a, struct err *e)
{
    return err_set(e, ERR_DATA, 0, "the btrfs stream's command '%s' has no usable attribute %d",
                   send_command_name(r->command), (int)a);
}

int send_number(const struct send_record *r, enum send_attr a, uint64_t *ret, struct err *e)
{
    if (!r->attr[a].data || r->attr[a].n != sizeof *ret)
        return missing(r, a, e);
    memcpy(ret, r->attr[a].data, sizeof *ret);
    *ret = le64toh(*ret);
    return 0;
}

int send_text(const struct send_record *r, enum send_attr a, size_t cap, char *ret, struct err *e)
{
    size_t n = r->attr[a].n;
    if (!r->attr[a].data || n >= cap || memchr(r->attr[a].data, 0, n))
        return missing(r, a, e);
    memcpy(ret, r->attr[a].data, n);
    ret[n] = 0;
    return 0;
}

int send_uuid(const struct send_record *r, enum send_attr a, char ret[33], struct err *e)
{
    if (!r->attr[a].data || r->attr[a].n != 16)
        return missing(r, a, e);
    for (int i = 0; i < 16; i++)
        snprintf(ret + (size_t)2 * (unsigned)i, 3, "%02x", r->attr[a].data[i]);
    return 0;
}

static int parse(const uint8_t *payload, size_t n, struct send_record *r, struct err *e)
{
    for (size_t at = 0; at < n;) {
        if (n - at < 4)
            return err_set(e, ERR_DATA, 0, "the btrfs stream has a broken attribute");
        unsigned type = le16(payload + at), len = le16(payload + at + 2);
        at += 4;
        if (type == 0 || type >= SEND_ATTRS || len > n - at)
            return err_set(e, ERR_DATA, 0, "the btrfs stream has an attribute of type %u and %u bytes", type,
                           len);
        r->attr[type].data = payload + at;
        r->attr[type].n = len;
        at += len;
    }
    return 0;
}

void sendreader_release(struct sendreader *s)
{
    buf_release(&s->buf);
    *s = (struct sendreader){0};
}

static int begin(struct sendreader *s, const uint8_t *p, struct err *e)
{
    if (memcmp(p, MAGIC, sizeof MAGIC) != 0)
        return err_set(e, ERR_DATA, 0, "this is no btrfs stream");
    if (le32(p + sizeof MAGIC) != 1)
        return err_set(e, ERR_DATA, 0, "a btrfs stream of version %u came, only version 1 is understood",
                       le32(p + sizeof MAGIC));
    s->begun = true;
    return 0;
}

/* The whole command at p, or 0 when more bytes are needed: its length in *used. */
static int take_command(struct sendreader *s, uint8_t *p, size_t n, size_t *used, struct send_record *r,
                        struct err *e)
{
    *used = 0;
    if (n == 0)
        return 0;
    if (s->ended)
        return err_set(e, ERR_DATA, 0, "the btrfs stream goes on after its end");
    if (n < COMMAND_HEADER)
        return 0;
    uint32_t len = le32(p), crc = le32(p + 6);
    unsigned command = le16(p + 4);
    if (len > COMMAND_MAX || command == 0 || command >= SEND_COMMANDS)
        return err_set(e, ERR_DATA, 0, "the btrfs stream has a command %u of %u bytes", command, len);
    if (n < COMMAND_HEADER + (size_t)len)
        return 0;
    memset(p + 6, 0, 4); /* the sum is made with its own field as zeros */
    if (crc32c(0, p, COMMAND_HEADER + len) != crc)
        return err_set(e, ERR_DATA, 0, "the btrfs stream is damaged: checksum of a '%s' command",
                       send_command_name((enum send_command)command));
    *r = (struct send_record){.command = (enum send_command)command};
    if (parse(p + COMMAND_HEADER, len, r, e) < 0)
        return -1;
    s->ended = command == SEND_END;
    *used = COMMAND_HEADER + len;
    return 1;
}

int sendreader_feed(struct sendreader *s, const void *data, size_t n,
                    int (*each)(const struct send_record *r, void *arg, struct err *e), void *arg,
                    struct err *e)
{
    size_t at = 0, used;
    int r = 0;
    buf_add(&s->buf, data, n);
    if (!s->begun) {
        if (s->buf.len < HEADER)
            return 0;
        if (begin(s, (const uint8_t *)s->buf.data, e) < 0)
            return -1;
        at = HEADER;
    }
    struct send_record record;
    while ((r = take_command(s, (uint8_t *)s->buf.data + at, s->buf.len - at, &used, &record, e)) == 1) {
        r = each(&record, arg, e);
        if (r != 0)
            return r;
        at += used;
    }
    if (r < 0)
        return -1;
    memmove(s->buf.data, s->buf.data + at, s->buf.len - at);
    s->buf.len -= at;
    return 0;
}
