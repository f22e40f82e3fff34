/* user.cfg as lines of fields; of what it says twice only the last counts. Of this folder alone. */
#pragma once

#include "base/lookup.h"
#include "base/strv.h"

#include <stdbool.h>
#include <stddef.h>

enum user_line_kind {
    USER_LINE_USER,
    USER_LINE_TOKEN,
    USER_LINE_GROUP,
    USER_LINE_POOL,
    USER_LINE_ROLE,
    USER_LINE_ACL
};

struct user_line {
    enum user_line_kind kind;
    unsigned number;  /* of the line in the file */
    const char *text; /* behind the kind's ':'; fields between ':', up to a zero byte */
};

struct user_lines {
    char *text; /* all of the file */
    struct user_line *lines;
    size_t n;
};

/* Lines of unknown kinds, and those that a later one says anew, are left out, with a warning. */
void user_lines_read(const char *text, size_t len, struct user_lines *ret, struct strv *warnings);
void user_lines_release(struct user_lines *l);

/* The i-th field, without the blanks around it: "" when there are fewer. malloc'ed. */
char *user_line_field(const struct user_line *l, size_t i);
/* The items of a field that is a list. */
void user_line_list(const struct user_line *l, size_t i, struct strv *ret);

#define USER_CFG "user.cfg"
