/* Bash completion: `complete -C 'pvesr bashcomplete' pvesr` makes bash call us with the line in $COMP_LINE
 * and the cursor in $COMP_POINT; one candidate a line goes to stdout. */
#include "cli/commands.h"

#include "cli/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct completion {
    const struct command *command;
    struct strv words;          /* finished words behind the command's name */
    const char *current;        /* the word at the cursor, maybe empty */
    enum parameter_id value_of; /* the option whose value is next, or P_NONE */
    size_t positional;          /* how many positionals are there */
    const char *config;         /* of --config, or NULL */
    bool used[P_COUNT];
};

static void offer(const struct completion *c, const char *prefix, const char *word)
{
    _cleanup_free_ char *full = xasprintf("%s%s", prefix, word);
    if (strncmp(full, c->current, strlen(c->current)) == 0)
        puts(full);
}

/* Walk the finished words as the argument parser would. */
static void understand(struct completion *c)
{
    for (size_t i = 0; i < c->words.n; i++) {
        const char *word = c->words.v[i], *name = word + strspn(word, "-");
        bool ambiguous;
        if (c->value_of) {
            if (c->value_of == P_CONFIG)
                c->config = word;
            c->value_of = P_NONE;
        } else if (name == word) {
            c->positional++;
        } else {
            enum parameter_id id = command_option(c->command, name, strcspn(name, "="), &ambiguous);
            c->used[id] = true;
            if (!strchr(name, '=') && parameters[id].type != TYPE_BOOLEAN)
                c->value_of = id;
        }
    }
}

/* A cluster that cannot be read offers nothing. */
static void offer_from_cluster(const struct completion *c, enum parameter_id id)
{
    struct env env;
    struct err e = {0};
    if (env_open(&env, c->config, &e) < 0)
        return;
    _cleanup_(jobs_release) struct jobs jobs = {0};
    if ((id == P_ID || id == P_JOBS) && jobs_load(env.tree, &jobs, &e) == 0)
        for (size_t i = 0; i < jobs.n; i++)
            offer(c, "", jobs.v[i].id);
    if ((id == P_TARGET || id == P_SOURCE) && env_members(&env, &e) == 0)
        for (size_t i = 0; i < env.members.n; i++)
            offer(c, "", env.members.v[i].node.name);
    if ((id == P_GUEST || id == P_VMID) && env_guests(&env, &e) == 0)
        for (size_t i = 0; i < env.guests.n; i++) {
            _cleanup_free_ char *guest = xasprintf("%u", env.guests.v[i].id);
            offer(c, "", guest);
        }
    env_release(&env);
}

static void offer_commands(const struct completion *c)
{
    for (size_t i = 0; i < n_commands; i++)
        if (!commands[i].hidden)
            offer(c, "", commands[i].name);
}

static void offer_values(const struct completion *c, enum parameter_id id)
{
    if (parameters[id].type == TYPE_CHOICE) {
        _cleanup_strv_ struct strv choices = STRV_INIT;
        strv_split(&choices, parameters[id].choices, "|");
        for (size_t i = 0; i < choices.n; i++)
            offer(c, "", choices.v[i]);
    } else if (id == P_COMMAND) {
        offer_commands(c);
    } else {
        offer_from_cluster(c, id);
    }
}

static void offer_options(const struct completion *c)
{
    enum parameter_id id;
    for (size_t i = 0; (id = command_option_at(c->command, i)) != P_NONE; i++)
        if (!c->used[id] || parameters[id].type == TYPE_LIST)
            offer(c, "--", parameters[id].name);
}

static void complete(struct completion *c)
{
    understand(c);
    size_t places = command_positionals(c->command);
    if (c->value_of) {
        offer_values(c, c->value_of);
    } else if (c->current[0] == '-') {
        offer_options(c);
    } else if (c->positional < places || c->command->repeats) {
        size_t i = c->positional < places ? c->positional : places - 1;
        offer_values(c, c->command->positionals[i]);
    } else {
        offer_options(c);
    }
}

/* Split as a shell would as far as quotes and backslashes go. True when the line ends within its last word,
 * which is then the one to complete. */
static bool split_line(const char *line, size_t len, struct strv *words)
{
    _cleanup_buf_ struct buf word = BUF_INIT;
    bool in_word = false;
    char quote = 0;
    for (size_t i = 0; i < len; i++) {
        char c = line[i];
        if (quote ? c == quote : c == '"' || c == '\'') {
            quote = quote ? 0 : c;
            in_word = true;
        } else if (!quote && (c == ' ' || c == '\t')) {
            if (in_word)
                strv_add(words, buf_str(&word));
            buf_clear(&word);
            in_word = false;
        } else {
            if (c == '\\' && quote != '\'' && i + 1 < len)
                c = line[++i];
            buf_addc(&word, c);
            in_word = true;
        }
    }
    if (in_word)
        strv_add(words, buf_str(&word));
    return in_word;
}

int cmd_bashcomplete(struct env *env, const struct args *a, struct err *e)
{
    const char *line = getenv("COMP_LINE"), *point = getenv("COMP_POINT");
    if (!line)
        return err_set(e, ERR_USAGE, 0,
                       "bashcomplete is called by bash: complete -C 'pvesr bashcomplete' pvesr");
    size_t len = strlen(line), cursor = point ? strtoul(point, NULL, 10) : len;
    struct completion c = {.current = ""};
    _cleanup_strv_ struct strv words = STRV_INIT;
    bool open = split_line(line, cursor < len ? cursor : len, &words);
    size_t finished = words.n - open, name = 1;
    if (open)
        c.current = words.v[words.n - 1];
    if (finished > 2 && strcmp(words.v[1], "--config") == 0) {
        c.config = words.v[2];
        name = 3;
    }
    if (finished <= name) {
        offer_commands(&c);
        return 0;
    }
    c.command = command_find(words.v[name]);
    for (size_t i = name + 1; i < finished; i++)
        strv_add(&c.words, words.v[i]);
    if (c.command)
        complete(&c);
    strv_release(&c.words);
    return 0;
}
