/* Where a storage lies that is a directory: its path, which may have to be a mount point (is_mountpoint), and
 * in it the folder of a guest's images (content-dirs). */
#pragma once

#include "volume/volume.h"

#define IMAGES_FOLDER "images" /* where content-dirs names no other */

static inline const char *root_images(const struct volume_store *store)
{
    return store->images ? store->images : IMAGES_FOLDER;
}

/* Open the path. ERR_GONE when it, or what must be mounted, is not there. The descriptor, or -1. */
int root_open(const struct volume_store *store, struct err *e);
/* volume_guests: the folders in IMAGES. */
int root_guests(const struct volume_store *store, volume_guest_fn *tell, void *arg, struct err *e);
/* Open IMAGES/VMID in it; no symlink is followed. make: for a replica, durably, also what is above it; the
 * guest's folder is, or becomes, MODE_GUEST_FOLDER. 1: it is not there. */
int root_enter(int root, const struct volume_store *store, uint32_t vmid, bool make, int *fd, struct err *e);
