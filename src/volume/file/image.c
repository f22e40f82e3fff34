#include "volume/file/image.h"

#include "base/fs.h"
#include "base/mem.h"

#include <string.h>
#include <sys/stat.h>

#define SUFFIX ".qcow2"
/* Offsets of the header's fields. */
#define VERSION 4
#define BACKING_OFFSET 8
#define BACKING_SIZE 16
#define INCOMPATIBLE 72
#define HEADER_LENGTH 100
#define V2_LENGTH 72
#define V3_LENGTH 104
#define DATA_FILE_BIT 4u
#define DATA_FILE_NAME 0x44415441u

static const uint8_t magic[4] = {'Q', 'F', 'I', 0xfb};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t be64(const uint8_t *p)
{
    return (uint64_t)be32(p) << 32 | be32(p + 4);
}

static void take_name(const uint8_t *head, size_t n, uint64_t at, uint64_t length,
                      char name[IMAGE_NAME_MAX + 1])
{
    if (at >= n)
        return;
    if (length > n - at)
        length = n - at;
    if (length > IMAGE_NAME_MAX)
        length = IMAGE_NAME_MAX;
    for (size_t i = 0; i < length; i++)
        name[i] = (char)(head[at + i] >= ' ' && head[at + i] <= '~' ? head[at + i] : '?');
    name[length] = 0;
}

/* The header is followed by extensions: type, length, so many bytes rounded up to 8; type 0 is the end. */
static void find_data_name(const uint8_t *head, size_t n, uint32_t version, char name[IMAGE_NAME_MAX + 1])
{
    uint64_t at = version < 3 || n < V3_LENGTH ? V2_LENGTH : be32(head + HEADER_LENGTH);
    while (at + 8 <= n && be32(head + at)) {
        uint32_t type = be32(head + at), length = be32(head + at + 4);
        if (type == DATA_FILE_NAME) {
            take_name(head, n, at + 8, length, name);
            return;
        }
        at += 8 + ((uint64_t)length + 7) / 8 * 8;
    }
}

enum image_part image_refers(const uint8_t *head, size_t n, char name[IMAGE_NAME_MAX + 1])
{
    name[0] = 0;
    if (n < BACKING_SIZE + 4 || memcmp(head, magic, sizeof magic) != 0)
        return IMAGE_ALONE;
    if (be64(head + BACKING_OFFSET)) {
        take_name(head, n, be64(head + BACKING_OFFSET), be32(head + BACKING_SIZE), name);
        return IMAGE_BACKING;
    }
    uint32_t version = be32(head + VERSION);
    if (version < 3 || n < INCOMPATIBLE + 8 || !(be64(head + INCOMPATIBLE) & DATA_FILE_BIT))
        return IMAGE_ALONE;
    find_data_name(head, n, version, name);
    return IMAGE_DATA;
}

/* Of a qcow2 by its name; other files refer to none. -1 on errors. */
static int refers(int fd, const char *file, char name[IMAGE_NAME_MAX + 1], struct err *e)
{
    struct stat st;
    size_t k = strlen(file);
    if (k < strlen(SUFFIX) || strcmp(file + k - strlen(SUFFIX), SUFFIX) != 0)
        return IMAGE_ALONE;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot stat '%s'", file);
    size_t n = st.st_size < IMAGE_HEAD ? (size_t)st.st_size : IMAGE_HEAD;
    _cleanup_free_ char *what = xasprintf("'%s'", file);
    _cleanup_free_ uint8_t *head = xmalloc(IMAGE_HEAD);
    if (fs_pread_all(fd, head, n, 0, what, e) < 0)
        return -1;
    return (int)image_refers(head, n, name);
}

int image_backing(int fd, const char *file, char backing[IMAGE_NAME_MAX + 1], struct err *e)
{
    int part = refers(fd, file, backing, e);
    return part < 0 ? -1 : part == IMAGE_BACKING;
}

int image_check(int fd, const char *file, struct err *e)
{
    char name[IMAGE_NAME_MAX + 1];
    int part = refers(fd, file, name, e);
    if (part < 0 || part == IMAGE_ALONE)
        return part < 0 ? -1 : 0;
    return err_set(
        e, ERR_CONFIG, 0,
        "'%s' has %s, '%s', without which it cannot be opened, and which is not replicated: make one "
        "image of both (%s)",
        file, part == IMAGE_BACKING ? "a backing file" : "an external data file", name,
        part == IMAGE_BACKING ? "qemu-img rebase -b ''" : "qemu-img convert -O qcow2");
}
