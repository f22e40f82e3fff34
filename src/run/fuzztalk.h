/* For fuzz targets: a conversation made of any bytes. Each byte but the operands of the one before chooses
 * what comes next: a message out of a table, with one of its fields changed, left out or cut; a frame of a
 * transfer, its end with the right digest or not; a bomb; a repetition. What is written has right digests and
 * lengths, so that it gets past the frames. */
#pragma once

#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/proc.h"
#include "wire/frame.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

struct line {
    enum frame_type type;
    const char *json;
};

struct talk {
    const uint8_t *p, *end;
    const struct line *lines;
    size_t n;
    struct channel *out;
    struct transfer_digest *digest;
    uint64_t bytes, frames;
    struct buf last; /* payload of the last message */
    enum frame_type last_type;
};

static inline unsigned talk_byte(struct talk *t)
{
    return t->p < t->end ? *t->p++ : 0;
}

static inline void talk_send(struct talk *t, enum frame_type type, const void *p, size_t n)
{
    struct err e = {0};
    frame_write(t->out, type, p, n, NULL, 0, n % 2, &e);
}

/* The value behind the nth colon of the text: its begin, and its end. */
static inline bool talk_value(const char *json, unsigned nth, size_t *from, size_t *to)
{
    const char *p = json;
    for (unsigned i = 0; i <= nth; i++, p++)
        if (!(p = strchr(p, ':')))
            return false;
    *from = (size_t)(p - json);
    int depth = 0;
    bool quoted = false;
    for (; *p; p++) {
        quoted ^= *p == '"';
        if (!quoted && depth == 0 && strchr(",}]", *p))
            break;
        depth += quoted ? 0 : (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
    }
    *to = (size_t)(p - json);
    return true;
}

static const char *const talk_values[] = {"-1",
                                          "0",
                                          "1",
                                          "18446744073709551615",
                                          "9223372036854775807",
                                          "1e300",
                                          "true",
                                          "false",
                                          "null",
                                          "\"\"",
                                          "[]",
                                          "{}",
                                          "\"../../x\"",
                                          "\"a\\nb\\u001b[2J\"",
                                          "\"\\u0000\"",
                                          "[[[[[[[[]]]]]]]]",
                                          "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
                                          "[\"st:100/vm-100-disk-0.raw\"]",
                                          "\"st:101/vm-101-disk-0.raw\"",
                                          "65536",
                                          "131072",
                                          "4096",
                                          "\"__replicate_100-0_5__\"",
                                          "\"100-1\"",
                                          "\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\""};

static inline void talk_message(struct talk *t, const struct line *l)
{
    size_t from, to;
    unsigned how = talk_byte(t), which = talk_byte(t);
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_adds(&b, l->json);
    if (how % 4 == 1 && talk_value(l->json, which % 24, &from, &to)) {
        b.len = from;
        buf_adds(&b, talk_values[how / 4 % ELEMENTS(talk_values)]);
        buf_adds(&b, l->json + to);
    } else if (how % 4 == 2) {
        b.len = which % (b.len + 1);
    } else if (how % 4 == 3) {
        b.data[which % b.len] = (char)(how / 4);
    }
    talk_send(t, l->type, b.data, b.len);
    buf_release(&t->last);
    t->last = b;
    t->last_type = l->type;
    b = (struct buf)BUF_INIT;
}

static inline void talk_data(struct talk *t)
{
    static const uint64_t offsets[] = {0, 4096, 65536, 131072, 131073, UINT64_MAX, 1ull << 62, 65537};
    static uint8_t data[65536 + 8];
    unsigned what = talk_byte(t), size = talk_byte(t);
    uint64_t offset = offsets[what % 8], length = (uint64_t)(size + 1) * 256;
    memset(data, (int)what, sizeof data);
    put_u64(data, offset);
    enum frame_type type = what & 8 ? FRAME_ZERO : what & 16 ? FRAME_FEED : FRAME_DATA;
    if (type == FRAME_ZERO)
        put_u64(data + 8, what & 32 ? UINT64_MAX : length);
    size_t n = type == FRAME_ZERO ? 16 : type == FRAME_FEED ? length : 8 + length;
    if (what & 64)
        n = size % 32;
    talk_send(t, type, data, n);
    if (type == FRAME_FEED)
        transfer_digest_add(t->digest, type, t->bytes, n, data);
    else if (n >= 8)
        transfer_digest_add(t->digest, type, offset, length, type == FRAME_ZERO ? NULL : data + 8);
    t->bytes += type == FRAME_FEED ? n : length;
    t->frames++;
}

static inline void talk_end(struct talk *t)
{
    uint8_t end[32];
    unsigned wrong = talk_byte(t);
    put_u64(end, t->bytes + (wrong & 1));
    put_u64(end + 8, t->frames + (wrong >> 1 & 1));
    transfer_digest_final(t->digest, end + 16);
    end[16] ^= wrong >> 2 & 1;
    talk_send(t, FRAME_END, end, wrong & 8 ? wrong % 32 : 32);
    transfer_digest_free(t->digest);
    t->digest = transfer_digest_new();
    t->bytes = t->frames = 0;
}

static inline void talk_bomb(struct talk *t)
{
    static const char *const pieces[] = {"{},", "[", "\"a\",", "{\"a\":", "\\u001b", "[\"a\",\"b\"],",
                                         "0,",  "x"};
    struct err e = {0};
    unsigned what = talk_byte(t);
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_adds(&b, what & 8 ? "{\"do\":\"open\",\"volumes\":[" : "{\"text\":\"x\",\"kept\":[");
    size_t most = what & 16 ? 512 << 10 : 16 << 10; /* of whole frames: test-agent-quota.c, test-peer.c */
    while (b.len < most)
        buf_adds(&b, pieces[what % 8]);
    buf_adds(&b, "0]}");
    frame_write(t->out, what & 32 ? FRAME_CALL : FRAME_REPLY, b.data, b.len, NULL, 0, true, &e);
}

static inline void talk_raw(struct talk *t)
{
    unsigned type = talk_byte(t), n = talk_byte(t);
    size_t left = (size_t)(t->end - t->p);
    n = n > left ? (unsigned)left : n;
    talk_send(t, (enum frame_type)(type % 13), t->p, n);
    t->p += n;
}

static inline void talk_step(struct talk *t)
{
    unsigned op = talk_byte(t);
    if (op < 192) {
        talk_message(t, &t->lines[op % t->n]);
    } else if (op < 224) {
        talk_data(t);
    } else if (op < 240) {
        talk_end(t);
    } else if (op < 243) {
        talk_bomb(t);
    } else if (op < 247) {
        talk_raw(t);
    } else if (op < 252) {
        for (unsigned i = talk_byte(t) % 8; t->last.len && i > 0; i--)
            talk_send(t, t->last_type, t->last.data, t->last.len);
    } else {
        talk_send(t, FRAME_ALIVE, NULL, 0);
    }
}

/* Into `to`, from its begin. The first byte says how much of it is cut off in the end. */
static inline void talk_write(int to, const struct line *lines, size_t n, const uint8_t *data, size_t size)
{
    static int nothing = -1;
    struct err e = {0};
    struct talk t = {.p = data, .end = data + size, .lines = lines, .n = n, .digest = transfer_digest_new()};
    unsigned cut = talk_byte(&t);
    if (nothing < 0)
        nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (ftruncate(to, 0) < 0 || lseek(to, 0, SEEK_SET) < 0)
        abort();
    t.out = channel_new(nothing, to, 10);
    if (!(cut & 1))
        talk_message(&t, &lines[0]);
    for (int i = 0; i < 64 && t.p < t.end; i++)
        talk_step(&t);
    channel_flush(t.out, &e);
    channel_free(t.out);
    transfer_digest_free(t.digest);
    buf_release(&t.last);
    off_t length = lseek(to, 0, SEEK_END);
    if (cut & 2 && length > cut && ftruncate(to, length - cut) < 0)
        abort();
    lseek(to, 0, SEEK_SET);
}

/* ---- the world around it ---- */

static char talk_dir[64];

static void talk_sweep(void)
{
    struct err e = {0};
    char *argv[] = {(char *)"rm", (char *)"-rf", talk_dir, NULL};
    proc_check(argv, NULL, NULL, &e);
}

static inline void talk_put(const char *name, const char *text, size_t n)
{
    struct err e = {0};
    _cleanup_free_ char *path = xasprintf("%s/%s", talk_dir, name);
    _cleanup_free_ char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    if (fs_mkdir_p(parent, 0755, &e) < 0 || fs_write_atomic(path, text, n, 0600, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        abort();
    }
}

/* A tree in which pve1 owns guest 100, whose disk has 128 KiB, and two nodes that have a storage each. */
static inline void talk_world(const char *agent)
{
    static char disk[131072];
    const char *top = getenv("PVESR_FUZZ_DIR");
    snprintf(talk_dir, sizeof talk_dir, "%s/pvesr-fuzz-XXXXXX", top ? top : "/tmp");
    if (!mkdtemp(talk_dir))
        abort();
    atexit(talk_sweep);
    memset(disk, 'a', sizeof disk);
    _cleanup_free_ char *nodes =
        xasprintf("node: pve1\n\taddress local\n\nnode: pve2\n\taddress local\n%s\n", agent);
    talk_put("tree/nodes.cfg", nodes, strlen(nodes));
    static const char *const files[][2] = {
        {"tree/storage.cfg", "dir: st\n\tpath /st\n\n"},
        {"tree/replication.cfg", "local: 100-0\n\ttarget pve2\n\tsource pve1\n\n"},
        {"tree/nodes/pve1/qemu-server/100.conf", "scsi0: st:100/vm-100-disk-0.raw\n"},
        {"tree/nodes/pve2/qemu-server/200.conf", "scsi0: st:200/vm-200-disk-0.raw\n"},
        {"tree/nodes/pve1/qemu-server/101.conf", "scsi0: st:101/vm-101-disk-0.raw\n"},
        {"pve2/st/images/200/vm-200-disk-0.raw", "of pve2"},
        {"pve2/st/images/101/vm-101-disk-0.raw", "of another guest"},
        {"pve2/outside", "outside of the storage"}};
    for (size_t i = 0; i < ELEMENTS(files); i++)
        talk_put(files[i][0], files[i][1], strlen(files[i][1]));
    talk_put("pve1/st/images/100/vm-100-disk-0.raw", disk, sizeof disk);
    for (int i = 1; i <= 2; i++) {
        _cleanup_free_ char *name = xasprintf("pve%d.conf", i);
        _cleanup_free_ char *conf = xasprintf(
            "node: pve%d\ncluster: dir:%s/tree\nstate-dir: %s/state\nlog-dir: %s/log\nlock-dir: %s/lock%d\n"
            "run-dir: %s/run\nstorage-root: %s/pve%d\npeer-limit: 5\n",
            i, talk_dir, talk_dir, talk_dir, talk_dir, i, talk_dir, talk_dir, i);
        talk_put(name, conf, strlen(conf));
    }
}

/* The folder's files whose names begin so go, but for one. */
static inline void talk_empty(const char *name, const char *prefix, const char *except)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", talk_dir, name);
    DIR *d = opendir(path);
    for (struct dirent *entry; d && (entry = readdir(d));)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && strcmp(entry->d_name, except) != 0)
            unlinkat(dirfd(d), entry->d_name, 0);
    if (d)
        closedir(d);
}

/* Of the contents of a file, 0 where there is none. */
static inline uint64_t talk_hash(const char *name)
{
    struct err e = {0};
    _cleanup_buf_ struct buf b = BUF_INIT;
    _cleanup_free_ char *path = xasprintf("%s/%s", talk_dir, name);
    return fs_read(path, 1 << 20, &b, &e) == 0 ? XXH3_64bits(b.data, b.len) | 1 : 0;
}
