/* What several nodes say to be at risk (rows of `pvesr at-risk --output-format json`), in one order. */
#pragma once

#include <jansson.h>
#include <stddef.h>

struct risks { /* starts with zeroes */
    struct risks_row *v;
    size_t n;
};
void risks_release(struct risks *r);

/* The rows of one node, as it gave them: those of a guest lie side by side. Anything but an array adds
 * nothing. */
void risks_add(struct risks *r, const json_t *rows);
/* An array of all of them, that guest first which has most to lose; new. */
json_t *risks_by_pain(struct risks *r);
