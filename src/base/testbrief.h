/* PVESR_TEST_BRIEF: what runs under valgrind is not asked for amounts, which would take minutes there. The
 * other builds play them all. */
#pragma once

#include <stdbool.h>
#include <stdlib.h>

static inline bool test_is_brief(void)
{
    return getenv("PVESR_TEST_BRIEF") != NULL;
}

/* Of so many rounds of the same, a tenth where it is to be brief. */
static inline int test_rounds(int many)
{
    return test_is_brief() ? (many + 9) / 10 : many;
}
