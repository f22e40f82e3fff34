/* What names may look like, wherever they come from: a configuration, the wire, a directory. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define VOLUME_FILE_MAX 128

/* `[<id>/]KIND-<id>-REST`, KIND one of vm, base, subvol, basevol, REST letters, digits and `_ . + -`. The two
 * ids must be the same. Of a linked clone `BASE/KIND-<id>-REST`, BASE the name of its template's volume: KIND
 * base or basevol. *vmid and *file (the part behind the slash, within name) may be NULL. */
bool volume_name_valid(const char *name, uint32_t *vmid, const char **file);
/* Is a valid name that of a linked clone? */
bool volume_name_linked(const char *name);

/* The snapshot of a template's volume on which its linked clones stand (BEHAVIOUR.md#snapshot-names). */
#define TEMPLATE_SNAPSHOT "__base__"

/* 1 to 63 letters, digits and `_ . : -`, the first a letter, a digit or `_`. */
bool snapshot_name_valid(const char *name);

/* "" is fine; printable without blanks, below 32 bytes, not "-". */
bool owner_name_valid(const char *owner);
