#include "volume/lvm/dm.h"

#include "base/debug.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/dm-ioctl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

union request {
    struct dm_ioctl head;
    char room[8192];
};

/* -1 with errno. */
static int call(unsigned long what, const char *device, union request *r)
{
    const char *slash = strrchr(device, '/'), *name = slash ? slash + 1 : device;
    _cleanup_close_ int fd = open("/dev/" DM_DIR "/" DM_CONTROL_NODE, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (strlen(name) >= sizeof r->head.name) {
        errno = ENXIO;
        return -1;
    }
    r->head.version[0] = DM_VERSION_MAJOR;
    r->head.data_size = sizeof *r;
    r->head.data_start = sizeof r->head;
    strcpy(r->head.name, name);
    return ioctl(fd, what, r);
}

/* The text behind the target's head, NULL where the kernel says something else. */
static const char *text_of(union request *r, struct dm_target_spec *spec)
{
    size_t at = r->head.data_start;
    if (r->head.flags & DM_BUFFER_FULL_FLAG || r->head.target_count != 1 || at > sizeof *r - sizeof *spec - 1)
        return NULL;
    memcpy(spec, r->room + at, sizeof *spec);
    spec->target_type[sizeof spec->target_type - 1] = 0;
    r->room[sizeof r->room - 1] = 0;
    return r->room + at + sizeof *spec;
}

int dm_status(const char *device, struct buf *ret, struct err *e)
{
    union request r = {0};
    struct dm_target_spec spec;
    if (call(DM_TABLE_STATUS, device, &r) < 0)
        return errno == ENXIO ? 1 : err_sys(e, "cannot ask for the status of '%s'", device);
    const char *text = text_of(&r, &spec);
    if (!text)
        return err_set(e, ERR_DATA, 0, "the status of '%s' is that of %u targets, not of one", device,
                       r.head.target_count);
    buf_addf(ret, "%" PRIu64 " %" PRIu64 " %s %s", (uint64_t)spec.sector_start, (uint64_t)spec.length,
             spec.target_type, text);
    return 0;
}

int dm_message(const char *device, const char *text, struct err *e)
{
    char *told[] = {(char *)"dmsetup", (char *)"message", (char *)device, (char *)"0", (char *)text, NULL};
    union request r = {0};
    char *to = r.room + sizeof r.head + offsetof(struct dm_target_msg, message); /* behind the sector, 0 */
    size_t n = strlen(text);
    debug_command(told);
    if (n >= (size_t)(r.room + sizeof r.room - to))
        return err_set(e, ERR_USAGE, 0, "a message of %zu bytes is too long for '%s'", n, device);
    memcpy(to, text, n + 1);
    if (call(DM_TARGET_MSG, device, &r) == 0)
        return 0;
    int code = errno;
    return err_set(e, code == EBUSY ? ERR_BUSY : ERR_SYSTEM, code, "'%s' refuses", device);
}
