#include "cli/help.h"

#include "base/strv.h"
#include "cli/commands.h"
#include "cli/lines.h"
#include "cli/nearest.h"

#include <stdio.h>
#include <string.h>

#define WIDTH 78

void help_usage_line(const struct command *c, struct buf *out)
{
    size_t n = command_positionals(c);
    buf_addf(out, "pvesr %s", c->name);
    for (size_t i = 0; i < n; i++) {
        bool repeats = c->repeats && i + 1 == n;
        buf_addf(out, repeats ? " [<%s> ...]" : " <%s>", parameters[c->positionals[i]].name);
    }
    buf_adds(out, " [OPTIONS]\n");
}

static void list_group(enum command_group group, struct buf *out)
{
    static const char *const titles[GROUPS] = {
        [GROUP_JOBS] = "Jobs",       [GROUP_RUNNING] = "Running",
        [GROUP_LOOKING] = "Looking", [GROUP_RESTORING] = "Restoring",
        [GROUP_REPAIR] = "Repair",   [GROUP_INTERNAL] = "Internal, called by other nodes and Proxmox VE",
    };
    buf_addf(out, "\n%s:\n", titles[group]);
    for (size_t i = 0; i < n_commands; i++)
        if (commands[i].group == group)
            buf_addf(out, "  %-18s  %s\n", commands[i].name, commands[i].help);
}

void help_usage(struct buf *out)
{
    buf_adds(out, "USAGE: pvesr <COMMAND> [ARGS] [OPTIONS]\n");
    for (enum command_group group = GROUP_NONE + 1; group < GROUPS; group++)
        list_group(group, out);
    buf_adds(out, "\n'pvesr help COMMAND' explains a command, 'pvesr help --verbose' all of them.\n");
}

void help_type(const struct parameter *d, struct buf *out)
{
    static const char *const names[] = {
        [TYPE_TEXT] = "string",     [TYPE_INTEGER] = "integer", [TYPE_NUMBER] = "number",
        [TYPE_BOOLEAN] = "boolean", [TYPE_LIST] = "list",
    };
    if (d->type == TYPE_CHOICE) {
        _cleanup_strv_ struct strv choices = STRV_INIT;
        strv_split(&choices, d->choices, "|");
        _cleanup_free_ char *all = strv_join(&choices, " | ");
        buf_addf(out, "<%s>", all);
        return;
    }
    buf_addf(out, "<%s>", names[d->type]);
    if (d->type == TYPE_INTEGER || d->type == TYPE_NUMBER)
        buf_addf(out, " (%lld - %lld)", (long long)d->min, (long long)d->max);
}

/* Words filled into lines of WIDTH columns, each after `indent` blanks. */
static void fill(const char *text, unsigned indent, struct buf *out)
{
    size_t column = 0;
    _cleanup_strv_ struct strv words = STRV_INIT;
    strv_split(&words, text, " ");
    for (size_t i = 0; i < words.n; i++) {
        size_t len = strlen(words.v[i]);
        if (column && column + 1 + len > WIDTH) {
            buf_addc(out, '\n');
            column = 0;
        }
        buf_addf(out, "%*s%s", column ? 1 : (int)indent, "", words.v[i]);
        column += (column ? 1 : indent) + len;
    }
    buf_addc(out, '\n');
}

static void describe(const struct parameter *d, const char *before, const char *after, struct buf *out)
{
    buf_addf(out, "\n  %s%s%s ", before, d->name, after);
    help_type(d, out);
    if (d->fallback)
        buf_addf(out, " (default: %s)", d->fallback);
    buf_addc(out, '\n');
    fill(d->help, 8, out);
}

void help_command(const struct command *c, struct buf *out)
{
    enum parameter_id id;
    buf_adds(out, "USAGE: ");
    help_usage_line(c, out);
    buf_addc(out, '\n');
    fill(c->help, 2, out);
    if (c->detail)
        fill(c->detail, 2, out);
    for (size_t i = 0; i < command_positionals(c); i++)
        describe(&parameters[c->positionals[i]], "<", ">", out);
    for (size_t i = 0; (id = command_option_at(c, i)) != P_NONE; i++)
        describe(&parameters[id], "--", "", out);
}

int cmd_help(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    const struct strv *words = &a->value[P_COMMAND].list;
    if (words->n) {
        const struct command *c = command_find(words->v[0]);
        if (!c) {
            nearest_complaint(words->v[0], &out);
            put_lines(stderr, 0, buf_str(&out));
            return EXIT_USAGE;
        }
        help_command(c, &out);
    } else if (a->value[P_VERBOSE].flag) {
        for (size_t i = 0; i < n_commands; i++)
            if (!commands[i].hidden) {
                help_command(&commands[i], &out);
                buf_addc(&out, '\n');
            }
    } else {
        help_usage(&out);
    }
    fputs(buf_str(&out), stdout);
    return 0;
}
