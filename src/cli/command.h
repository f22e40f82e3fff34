/* The one table of the program's commands. Everything that knows commands by name reads it and that of the
 * parameters (conf/parameter.h): the argument parser, the usage lines, the help, bash completion, the test
 * that compares the manual page.
 *
 * A new command is one row in commands.c and one function; a new option one row in conf/parameter.c and its
 * number in the command's row.
 */
#pragma once

#include "base/err.h"
#include "conf/parameter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of the program; 1: any other failure. */
enum { EXIT_USAGE = 255, EXIT_BUSY = 75 };

struct args;
struct env;

/* The parts of the list of commands. */
enum command_group {
    GROUP_NONE, /* not in the list */
    GROUP_JOBS,
    GROUP_RUNNING,
    GROUP_LOOKING,
    GROUP_RESTORING,
    GROUP_REPAIR,
    GROUP_INTERNAL,
    GROUPS
};

#define COMMAND_POSITIONALS 3
#define COMMAND_OPTIONS 12

struct command {
    const char *name;
    enum command_group group;
    enum parameter_id positionals[COMMAND_POSITIONALS];
    bool repeats; /* the last positional may come any number of times, or not at all */
    enum parameter_id options[COMMAND_OPTIONS];
    const char *help;   /* one sentence for the list of commands, on one line of it */
    const char *detail; /* what `help COMMAND` says beyond it, or NULL */
    /* Rules between parameters; the sentence is "PARAMETER: reason". NULL: none. */
    int (*check)(const struct args *a, struct err *e);
    /* env is open, unless `without_env`; it is then NULL. Positive results are exit statuses. */
    int (*run)(struct env *env, const struct args *a, struct err *e);
    bool without_env;
    bool raw;    /* every word is a positional, whatever it looks like */
    bool ours;   /* as in struct parameter */
    bool hidden; /* not in any list, no abbreviation, no group */
};

extern const struct command commands[];
extern const size_t n_commands;

/* By its name or an abbreviation that is unique: among the commands of Proxmox VE, or else among all. */
const struct command *command_find(const char *text);
size_t command_positionals(const struct command *c);
/* The option of a command by name or unique abbreviation. P_NONE when there is none; *ambiguous when there
 * are several. */
enum parameter_id command_option(const struct command *c, const char *name, size_t len, bool *ambiguous);
/* The i-th option of a command, --config being the last; P_NONE behind it. */
enum parameter_id command_option_at(const struct command *c, size_t i);
