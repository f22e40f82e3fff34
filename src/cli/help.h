/* Usage lines and help texts, made from the tables. */
#pragma once

#include "base/buf.h"
#include "cli/command.h"

/* "pvesr delete <id> [OPTIONS]" */
void help_usage_line(const struct command *c, struct buf *out);
/* "USAGE: pvesr <COMMAND> [ARGS] [OPTIONS]" and one line a command, by groups. Like all texts of help it fits
 * 80 columns. */
void help_usage(struct buf *out);
/* All of one command: usage, what it does, its parameters. */
void help_command(const struct command *c, struct buf *out);
/* "<integer> (1 - 100)", "<full | local>". */
void help_type(const struct parameter *d, struct buf *out);
