/* What names may look like, wherever they come from: a configuration, the wire, a directory. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define VOLUME_FILE_MAX 128

/* The guest whose volume this is by its name, 0 when it is not the name of a guest's image. With folders it
 * has to be one of
 *     100/vm-100-disk-0.raw
 *     base-9-disk-0/vm-100-disk-0
 *     9/base-9-disk-0.raw/100/vm-100-disk-0.qcow2
 * where a folder's number is that of the image in it; the images are vm-, base-, subvol-, basevol-. */
uint32_t volume_name_owner(const char *name);

/* Of these, what a driver may be asked for: `[<id>/]KIND-<id>-REST`, KIND one of vm, base, subvol, basevol,
 * REST letters, digits and `_ . + -`. The two ids must be the same. Of a linked clone `BASE/KIND-<id>-REST`,
 * BASE the name of its template's volume: KIND base or basevol. *vmid and *file (the part behind the slash,
 * within name) may be NULL. */
bool volume_name_valid(const char *name, uint32_t *vmid, const char **file);
/* Is a valid name that of a linked clone? */
bool volume_name_linked(const char *name);

/* The snapshot of a template's volume on which its linked clones stand (BEHAVIOUR.md#snapshot-names). */
#define TEMPLATE_SNAPSHOT "__base__"

/* What a storage may hold: 1 to 63 letters, digits and `_ . : -`, the first a letter, a digit or `_`. */
bool snapshot_name_valid(const char *name);
/* Of these, what a run can name to a peer, as can a guest's configuration: no `.` and no `:`, the first no
 * digit. */
bool snapshot_name_portable(const char *name);

/* 32 hex digits, small ones. */
bool snapshot_id_valid(const char *id);

/* "" is fine; printable without blanks, below 32 bytes, not "-". */
bool owner_name_valid(const char *owner);
