#include "volume/lvm/thinmeta.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define BLOCK 4096u
/* Neighbours were mostly written together, and are of one device. */
#define WINDOW (64u << 10)
#define WINDOWS 64u
#define MAGIC 27022010u
#define VERSION_MAX 2u
#define HEAD 32u
#define DEPTH_MAX 12
#define TIME_BITS 24
#define KNOWN_MAX (1u << 20)

struct known {
    uint64_t block; /* 0, where the superblock is: none */
    struct thin_mappings map;
};

struct thinmeta {
    int fd;
    const struct tick *tick;
    uint64_t mappings, details; /* roots */
    unsigned char *windows;
    uint64_t at[WINDOWS]; /* number of the window there, + 1 */
    struct known *known;
    size_t n, room; /* room: a power of two, at least twice n */
};

struct node {
    unsigned char block[BLOCK];
    bool leaf;
    uint32_t n, room, value;
};

static uint32_t get32(const unsigned char *p)
{
    uint32_t n;
    memcpy(&n, p, sizeof n);
    return le32toh(n);
}

static uint64_t get64(const unsigned char *p)
{
    uint64_t n;
    memcpy(&n, p, sizeof n);
    return le64toh(n);
}

static const unsigned char *key_at(const struct node *node, uint32_t i)
{
    return node->block + HEAD + 8 * (size_t)i;
}

static const unsigned char *value_at(const struct node *node, uint32_t i)
{
    return node->block + HEAD + 8 * (size_t)node->room + (size_t)node->value * i;
}

/* ---- blocks ---- */

static int refuse(uint64_t block, const char *what, struct err *e)
{
    return err_set(e, ERR_DATA, 0, "block %" PRIu64 " of a thin pool's metadata is not understood: %s", block,
                   what);
}

static int read_block(struct thinmeta *m, uint64_t nr, unsigned char ret[BLOCK], struct err *e)
{
    uint64_t window = nr / (WINDOW / BLOCK), from = nr % (WINDOW / BLOCK) * BLOCK;
    unsigned char *room = m->windows + window % WINDOWS * WINDOW;
    if (nr > INT64_MAX / WINDOW)
        return refuse(nr, "there is none", e);
    if (m->at[window % WINDOWS] != window + 1) {
        m->at[window % WINDOWS] = 0;
        tick_now(m->tick);
        ssize_t n = pread(m->fd, room, WINDOW, (off_t)(window * WINDOW));
        if (n < 0)
            return err_sys(e, "cannot read the metadata of a thin pool");
        if ((uint64_t)n < from + BLOCK)
            return refuse(nr, "there is none", e);
        if (n == WINDOW)
            m->at[window % WINDOWS] = window + 1;
    }
    memcpy(ret, room + from, BLOCK);
    return 0;
}

/* value: bytes of one in a leaf. */
static int read_node(struct thinmeta *m, uint64_t nr, uint32_t value, struct node *ret, struct err *e)
{
    const unsigned char *p = ret->block;
    if (read_block(m, nr, ret->block, e) < 0)
        return -1;
    uint32_t kind = get32(p + 4);
    ret->leaf = kind == 2;
    ret->n = get32(p + 16);
    ret->room = get32(p + 20);
    ret->value = get32(p + 24);
    if ((kind != 1 && kind != 2) || get64(p + 8) != nr)
        return refuse(nr, "it is no node", e);
    if (ret->value != (ret->leaf ? value : 8) || ret->n > ret->room ||
        ret->room > (BLOCK - HEAD) / (8 + ret->value))
        return refuse(nr, "what the node holds", e);
    return 0;
}

/* 1: none. `ret` gets the value's bytes. */
static int find(struct thinmeta *m, uint64_t root, uint64_t key, uint32_t value, unsigned char *ret,
                struct err *e)
{
    struct node node;
    for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
        uint32_t i = 0;
        if (read_node(m, root, value, &node, e) < 0)
            return -1;
        while (i < node.n && get64(key_at(&node, i)) <= key)
            i++;
        if (i-- == 0)
            return 1;
        if (node.leaf && get64(key_at(&node, i)) != key)
            return 1;
        if (node.leaf) {
            memcpy(ret, value_at(&node, i), value);
            return 0;
        }
        root = get64(value_at(&node, i));
    }
    return refuse(root, "the tree is too deep", e);
}

/* ---- what was read already ---- */

static struct known *slot_of(const struct thinmeta *m, uint64_t block)
{
    size_t i = XXH3_64bits(&block, sizeof block) & (m->room - 1);
    while (m->known[i].block && m->known[i].block != block)
        i = (i + 1) & (m->room - 1);
    return &m->known[i];
}

static void remember(struct thinmeta *m, uint64_t block, const struct thin_mappings *map)
{
    if (m->n >= KNOWN_MAX)
        return;
    if (m->n * 2 >= m->room) {
        struct known *old = m->known;
        size_t room = m->room;
        m->room = room ? room * 2 : 1024;
        m->known = xcalloc(m->room, sizeof *m->known);
        for (size_t i = 0; i < room; i++)
            if (old[i].block)
                *slot_of(m, old[i].block) = old[i];
        free(old);
    }
    *slot_of(m, block) = (struct known){block, *map};
    m->n++;
}

static bool is_known(const struct thinmeta *m, uint64_t block, struct thin_mappings *ret)
{
    const struct known *k = m->room ? slot_of(m, block) : NULL;
    if (!k || !k->block)
        return false;
    *ret = k->map;
    return true;
}

/* ---- mappings ---- */

static void add(struct thin_mappings *to, const struct thin_mappings *part)
{
    to->n += part->n;
    to->sum[0] += part->sum[0];
    to->sum[1] += part->sum[1];
    if (part->newest > to->newest)
        to->newest = part->newest;
}

static struct thin_mappings mapping_of(const unsigned char *key, const unsigned char *value)
{
    unsigned char both[16];
    memcpy(both, key, 8);
    memcpy(both + 8, value, 8);
    XXH128_hash_t h = XXH3_128bits(both, sizeof both);
    return (struct thin_mappings){1, {h.low64, h.high64}, get64(value) & ((1u << TIME_BITS) - 1)};
}

static int sum_up(struct thinmeta *m, uint64_t nr, unsigned depth, struct thin_mappings *ret, struct err *e)
{
    struct node node;
    struct thin_mappings sum = {0};
    if (is_known(m, nr, ret))
        return 0;
    if (depth == DEPTH_MAX)
        return refuse(nr, "the tree is too deep", e);
    if (read_node(m, nr, 8, &node, e) < 0)
        return -1;
    for (uint32_t i = 0; i < node.n; i++) {
        struct thin_mappings part;
        if (node.leaf)
            part = mapping_of(key_at(&node, i), value_at(&node, i));
        else if (sum_up(m, get64(value_at(&node, i)), depth + 1, &part, e) < 0)
            return -1;
        add(&sum, &part);
    }
    remember(m, nr, &sum);
    *ret = sum;
    return 0;
}

int thinmeta_device(struct thinmeta *m, uint64_t id, struct thin_device *ret, struct err *e)
{
    unsigned char root[8], details[24];
    int r = find(m, m->mappings, id, sizeof root, root, e);
    if (r == 0)
        r = find(m, m->details, id, sizeof details, details, e);
    if (r == 0 && get64(details) > THINMETA_MAPPED_MAX)
        r = err_set(e, ERR_FULL, 0, "it maps %" PRIu64 " chunks, and no more than %u are read for that",
                    get64(details), THINMETA_MAPPED_MAX);
    if (r != 0 || sum_up(m, get64(root), 0, &ret->map, e) < 0)
        return r > 0 ? 1 : -1;
    ret->made = get32(details + 16);
    ret->snapshotted = get32(details + 20);
    return 0;
}

/* ---- the whole ---- */

static int read_super(struct thinmeta *m, uint64_t block, unsigned char ret[BLOCK], struct err *e)
{
    if (read_block(m, block, ret, e) < 0)
        return -1;
    if (get64(ret + 32) != MAGIC)
        return refuse(block, "it is no superblock", e);
    if (get32(ret + 40) > VERSION_MAX || get32(ret + 360))
        return refuse(block, "it is of a version that is not known", e);
    return 0;
}

static int read_roots(struct thinmeta *m, struct err *e)
{
    unsigned char super[BLOCK];
    if (read_super(m, 0, super, e) < 0)
        return -1;
    uint64_t held = get64(super + 56);
    if (!held)
        return refuse(0, "there is no metadata snapshot", e);
    if (read_super(m, held, super, e) < 0)
        return -1;
    m->mappings = get64(super + 320);
    m->details = get64(super + 328);
    return 0;
}

struct thinmeta *thinmeta_open(int fd, const struct tick *tick, struct err *e)
{
    _cleanup_(thinmeta_freep) struct thinmeta *m = xcalloc(1, sizeof *m);
    void *windows;
    if (posix_memalign(&windows, BLOCK, (size_t)WINDOWS * WINDOW) != 0)
        abort();
    m->windows = windows;
    m->fd = fd;
    m->tick = tick;
    return read_roots(m, e) < 0 ? NULL : take_ptr(m);
}

void thinmeta_free(struct thinmeta *m)
{
    if (!m)
        return;
    free(m->windows);
    free(m->known);
    free(m);
}
