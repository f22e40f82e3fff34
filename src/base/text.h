/* Text that comes from elsewhere (a peer, a program, a file) and goes to a terminal, a log, a mail or a state
 * file: the one place that says what of it may be there. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Length of the UTF-8 character at p (shortest form, no surrogates), 0 when it is none. p < end. */
size_t text_utf8_len(const char *p, const char *end);

/* Make one line of it, in place, never longer: line ends and tabs become blanks, line ends at the end go;
 * what moves a terminal's cursor or turns the direction of writing (control characters of ASCII and of
 * Unicode, bidirectional marks, line separators), and what is no UTF-8, becomes '?'. */
void text_clean(char *text);
/* Would text_clean leave it as it is? */
bool text_is_clean(const char *text);
