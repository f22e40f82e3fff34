/* Whether a file has room of its own for all that can be written to it, so that its guest gets no error of
 * writing when the file system is full. Where files share blocks, room for what was never written only: what
 * a snapshot has, too, needs new room when it is written again. */
#pragma once

#include "base/err.h"

#include <stdbool.h>

/* Is every byte of it allocated, written or not? */
bool room_is_full(int fd);
/* Allocate what is not; nothing that is read changes. ERR_FULL: there is less than that; then nothing is
 * allocated. Durable. `path` is for messages. */
int room_fill(int fd, const char *path, struct err *e);
/* Could that be? As room_fill, without doing it. */
int room_check(int fd, const char *path, struct err *e);
