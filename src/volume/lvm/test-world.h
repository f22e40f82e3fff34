/* Two volume groups of the tests' own, each with a thin pool, on loop devices: for the world of the lvmthin
 * driver. They need device mapper, and are made only where PVESR_TEST_LVM=1 says that they may. */
#pragma once

#include <stdint.h>

#define LVMWORLD_POOL "data"
#define LVMWORLD_UNIT 65536u /* sizes of volumes are multiples of it */

struct lvmworld {
    char image[2][64], loop[2][32], vg[2][48];
};

/* NULL, or why they cannot be here. */
const char *lvmworld_open(struct lvmworld *w);
/* Empty pools. NULL, or what went wrong. */
const char *lvmworld_reset(struct lvmworld *w);
void lvmworld_close(struct lvmworld *w);

/* A thin LV, active; its path in a static buffer. */
const char *lvmworld_create(const char *vg, const char *lv, uint64_t size);
/* Activate it; its path in a static buffer. */
const char *lvmworld_live(const char *vg, const char *lv);
int lvmworld_resize(const char *vg, const char *lv, uint64_t size);
/* The first LV of the group with a name like that, in a static buffer, or NULL. */
const char *lvmworld_find(const char *vg, const char *prefix);
