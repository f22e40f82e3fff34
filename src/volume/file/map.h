/* Where a file's data lies, as a walk over regions in ascending order. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum region_kind {
    REGION_ZERO,   /* a hole, allocated but never written, or behind the end: reads as zeros */
    REGION_PLACED, /* at a known place on the device */
    REGION_UNSURE, /* data, at a place that says nothing about its content */
};

struct region {
    uint64_t start, end; /* end is UINT64_MAX for the last one */
    enum region_kind kind;
    uint64_t place; /* REGION_PLACED: of `start`, on the device or inside `pack` */
    uint64_t pack;  /* 0, or the compressed extent that holds it */
};

#define FILEMAP_BATCH 512

struct filemap;

/* fd is borrowed. places: false when they mean nothing (two different devices), everything is then UNSURE. */
struct filemap *filemap_new(int fd, bool places);
void filemap_free(struct filemap *m);
/* The region that holds pos; pos must not be below the one of the call before. */
int filemap_at(struct filemap *m, uint64_t pos, struct region *ret, struct err *e);
/* How many times the kernel was asked, a measure of the work done. */
uint64_t filemap_asked(const struct filemap *m);
/* Can places of the two files be compared: one mount, one device of it? */
bool filemap_comparable(int a_fd, int b_fd);
