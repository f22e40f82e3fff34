/* What is printed for people, of which parts come from storages, peers and files: each line clean
 * (base/text.h), whatever is in it. */
#pragma once

#include <stdio.h>

void put_line(FILE *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Each line of a text, indented by so many blanks. */
void put_lines(FILE *to, unsigned indent, const char *text);
