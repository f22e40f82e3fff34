/* The places (struct volume_place) of volumes that are files or subvolumes. */
#pragma once

#include "volume/volume.h"

/* Of `name` in the directory `dir`, or where that is not there yet (-1), in `below` under `root`. */
int place_of_file(int dir, int root, const char *below, const char *name, struct volume_place *ret,
                  struct err *e);

/* What volume_made tells of the file `name` in `dir` (-1: not there): inode, and time of birth where there is
 * one. */
int made_of_file(int dir, const char *name, char ret[VOLUME_SIGN_MAX + 1], struct err *e);

/* Signs (volume_sign) of volumes beside which a file can be made; `dir` -1: not there. */
#define SIGN_TAG "@sign-"
/* `temporary`: how the names of the volume's temporaries begin, which volume_tidy removes. */
int sign_put(int dir, const char *temporary, char ret[VOLUME_SIGN_MAX + 1], struct err *e);
int sign_seen(int dir, const char *sign, struct err *e);
void sign_end(int dir, const char *sign);

/* The keeper (volume_keeper) of the volume `name` in `dir`, in an attribute of that directory. */
int keeper_get(int dir, const char *name, char ret[VOLUME_KEEPER_MAX + 1], struct err *e);
int keeper_set(int dir, const char *name, const char *node, struct err *e);
/* `path`: of `dir`. */
char *keeper_remedy(const char *path, const char *name);
void keeper_end(int dir, const char *name);
