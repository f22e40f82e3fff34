/* Regular expressions that somebody else has written. The C library's compiler takes memory and time without
 * bound, or overflows the stack, for some that are short: of these nothing reaches it. Pure. */
#pragma once

#define PATTERN_MAX 256    /* bytes */
#define PATTERN_GROUPS 16  /* "(" in all */
#define PATTERN_REPEATED 2 /* of these, behind groups */
#define PATTERN_REPEATS 8  /* "*", "+" and "?" in all: what they cost multiplies */

/* Is there a match of `pattern` anywhere in value? 1, 0; -1: it is not understood, *wrong says why. It is
 * POSIX's extended syntax with \d, \w and \s, but without "{", "(?", back-references, anchors but at its very
 * ends and repetitions of repetitions. NULL as value: nothing matches. */
int pattern_matches(const char *pattern, const char *value, const char **wrong);
