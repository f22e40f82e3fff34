/* libFuzzer: the reader of frames against any bytes. An input that starts with 'r' is read as it is.
 * Otherwise the rest is taken as pieces (header without digest, payload) whose digests are put right, so that
 * the fuzzer gets past them. */
#include "wire/frame.h"

#include "base/buf.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add_with_digests(struct buf *b, const uint8_t *p, size_t left)
{
    while (left >= 8) {
        size_t n = get_u32(p);
        if (n > left - 8)
            n = left - 8;
        uint8_t digest[8];
        put_u64(digest, XXH3_64bits(p, 8 + n));
        buf_add(b, p, 8);
        buf_add(b, digest, 8);
        buf_add(b, p + 8, n);
        p += 8 + n;
        left -= 8 + n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int in = -1, out = -1;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct frame f;
    struct err e;
    if (size == 0)
        return 0;
    if (in < 0) {
        in = memfd_create("fuzz", MFD_CLOEXEC);
        out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    }
    if (data[0] == 'r')
        buf_add(&b, data + 1, size - 1);
    else
        add_with_digests(&b, data + 1, size - 1);
    if (in < 0 || out < 0 || ftruncate(in, 0) < 0 || pwrite(in, b.data, b.len, 0) != (ssize_t)b.len ||
        lseek(in, 0, SEEK_SET) < 0)
        abort();
    struct channel *c = channel_new(in, out, 1);
    static volatile uint64_t sum __attribute__((unused)); /* so that the payload is really read */
    while (frame_read(c, &f, &e) == 0) {
        if (f.len > FRAME_MAX || f.type == FRAME_ALIVE)
            abort();
        for (size_t i = 0; i < f.len; i++)
            sum += f.payload[i];
    }
    channel_free(c);
    return 0;
}
