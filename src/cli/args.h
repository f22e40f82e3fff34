/* The words of a command line, understood by the rules of the command's row (BEHAVIOUR.md#words): --name
 * value, --name=value, -name value, abbreviations, options and positionals in any order, booleans with an
 * optional value, repeated lists, `--` before words that are no options.
 */
#pragma once

#include "base/buf.h"
#include "base/strv.h"
#include "cli/command.h"

struct args {
    const struct command *command;
    struct value value[P_COUNT];
};

/* argv: n words after the command's name; borrowed by the result. 0, or -1 with the whole complaint for
 * stderr (several lines, "400 …"), without the usage line. Release in both cases. */
int args_parse(const struct command *c, char *const *argv, size_t n, struct args *ret, struct buf *complaint);
void args_release(struct args *a);

static inline const char *args_text(const struct args *a, enum parameter_id id)
{
    return a->value[id].text;
}
static inline bool args_given(const struct args *a, enum parameter_id id)
{
    return a->value[id].given;
}
/* --output-format json */
bool args_want_json(const struct args *a);
