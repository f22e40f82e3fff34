/* Does an image file refer to other files? Where the volume's name says what the format is, whoever opens it
 * goes by that: only a qcow2 is looked into, a raw disk may begin with whatever its guest writes there.
 *
 * Source: "Qcow2 Image File Format", docs/interop/qcow2.rst of QEMU. Version 1 has the same first fields. */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum image_part { IMAGE_ALONE, IMAGE_BACKING, IMAGE_DATA };

#define IMAGE_HEAD 65536 /* so many bytes of its beginning say it, also what the other file is called */
#define IMAGE_NAME_MAX 255

/* The first n bytes of a file, which may be anything. name: of the other file, printable, cut where it is too
 * long, "" where it is not to be found. */
enum image_part image_refers(const uint8_t *head, size_t n, char name[IMAGE_NAME_MAX + 1]);

/* 1: the file, called `name`, is a qcow2 by its name and has a backing file, which is called `backing`; 0: it
 * has none. */
int image_backing(int fd, const char *name, char backing[IMAGE_NAME_MAX + 1], struct err *e);

/* ERR_CONFIG when the file, called `name`, is a qcow2 by its name and needs another one. */
int image_check(int fd, const char *name, struct err *e);
