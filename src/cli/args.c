#include "cli/args.h"

#include "base/num.h"

#include <stdio.h>
#include <string.h>

struct positional {
    char *text;
    enum parameter_id after_flag; /* the boolean written without value right before this word, or P_NONE */
};

struct parser {
    const struct command *command;
    char *const *argv;
    size_t n, at;
    struct args *args;
    struct buf *complaint;
    struct buf lists[P_COUNT]; /* texts of repeated lists, joined */
    struct positional *words;
    size_t n_words;
    bool bad_option;
    enum parameter_id last_flag;
};

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1];
}

static bool is_boolean_word(const char *word)
{
    struct err ignored = {0};
    bool flag;
    return num_parse_bool("", word, &flag, &ignored) == 0;
}

/* ---- words to texts ---- */

static void give(struct parser *p, enum parameter_id id, const char *text)
{
    struct value *v = &p->args->value[id];
    v->given = true;
    if (parameters[id].type == TYPE_LIST) {
        if (p->lists[id].len)
            buf_addc(&p->lists[id], ',');
        buf_adds(&p->lists[id], text);
        text = buf_str(&p->lists[id]);
    }
    v->text = text;
}

static void take_option(struct parser *p, const char *word)
{
    const char *name = word + 1 + (word[1] == '-');
    size_t len = strcspn(name, "=");
    const char *text = name[len] ? name + len + 1 : NULL;
    bool ambiguous = false;
    enum parameter_id id = command_option(p->command, name, len, &ambiguous);
    const char *next = p->at < p->n ? p->argv[p->at] : NULL;
    if (id == P_NONE) {
        buf_addf(p->complaint, ambiguous ? "Option %.*s is ambiguous\n" : "Unknown option: %.*s\n", (int)len,
                 name);
        p->bad_option = true;
    } else if (text) {
        give(p, id, text);
    } else if (parameters[id].type == TYPE_BOOLEAN) {
        if (next && is_boolean_word(next)) {
            give(p, id, next);
            p->at++;
        } else {
            give(p, id, "1");
            p->last_flag = id;
        }
    } else if (next) {
        give(p, id, next);
        p->at++;
    } else {
        buf_addf(p->complaint, "Option %s requires an argument\n", parameters[id].name);
        p->bad_option = true;
    }
}

static void take_words(struct parser *p)
{
    bool options = !p->command->raw;
    while (p->at < p->n) {
        char *word = p->argv[p->at++];
        enum parameter_id after = p->last_flag;
        p->last_flag = P_NONE;
        if (options && strcmp(word, "--") == 0)
            options = false;
        else if (options && is_option(word))
            take_option(p, word);
        else
            p->words[p->n_words++] = (struct positional){word, after};
    }
}

static int refuse_flag(struct parser *p, enum parameter_id id, const char *text)
{
    buf_addf(p->complaint,
             "400 unable to parse boolean option '%s': '%s' is none of 1, on, yes, true, 0, off, no, false\n",
             parameters[id].name, text);
    return -1;
}

/* A word too many behind a bare boolean was probably meant as its value. */
static int refuse_surplus(struct parser *p)
{
    for (size_t i = 0; i < p->n_words; i++)
        if (p->words[i].after_flag)
            return refuse_flag(p, p->words[i].after_flag, p->words[i].text);
    buf_adds(p->complaint, "400 too many arguments\n");
    return -1;
}

static int place_words(struct parser *p)
{
    const struct command *c = p->command;
    size_t places = command_positionals(c), needed = c->repeats ? places - 1 : places;
    if (p->n_words < needed) {
        buf_adds(p->complaint, "400 not enough arguments\n");
        return -1;
    }
    if (p->n_words > places && !c->repeats)
        return refuse_surplus(p);
    for (size_t i = 0; i < p->n_words; i++) {
        enum parameter_id id = c->positionals[i < places ? i : places - 1];
        struct value *v = &p->args->value[id];
        v->given = true;
        v->text = p->words[i].text;
        if (c->repeats && i >= needed)
            strv_add(&v->list, p->words[i].text);
    }
    return 0;
}

/* ---- texts to values ---- */

static void complain(struct parser *p, bool *any, const struct err *e)
{
    if (!*any)
        buf_adds(p->complaint, "400 Parameter verification failed.\n");
    *any = true;
    buf_addf(p->complaint, "%s\n", e->text);
}

static int parse_values(struct parser *p)
{
    bool any = false;
    for (enum parameter_id id = P_NONE + 1; id < P_COUNT; id++) {
        struct value *v = &p->args->value[id];
        struct err e = {0};
        if (!v->text && !(v->text = parameters[id].fallback))
            continue;
        if (parameter_parse(&parameters[id], v, &e) == 0)
            continue;
        if (parameters[id].type == TYPE_BOOLEAN)
            return refuse_flag(p, id, v->text);
        complain(p, &any, &e);
    }
    struct err e = {0};
    if (!any && p->command->check && p->command->check(p->args, &e) < 0)
        complain(p, &any, &e);
    return any ? -1 : 0;
}

static int parse(struct parser *p)
{
    take_words(p);
    if (p->bad_option) {
        buf_adds(p->complaint, "400 unable to parse option\n");
        return -1;
    }
    return place_words(p) < 0 || parse_values(p) < 0 ? -1 : 0;
}

int args_parse(const struct command *c, char *const *argv, size_t n, struct args *ret, struct buf *complaint)
{
    *ret = (struct args){.command = c};
    struct parser p = {.command = c, .argv = argv, .n = n, .args = ret, .complaint = complaint};
    p.words = xcalloc(n + 1, sizeof *p.words);
    int r = parse(&p);
    free(p.words);
    for (size_t i = 0; i < P_COUNT; i++) {
        if (p.lists[i].data) /* list items were copied */
            ret->value[i].text = "";
        buf_release(&p.lists[i]);
    }
    return r;
}

void args_release(struct args *a)
{
    for (size_t i = 0; i < P_COUNT; i++)
        strv_release(&a->value[i].list);
    *a = (struct args){0};
}

bool args_want_json(const struct args *a)
{
    const char *format = args_text(a, P_OUTPUT_FORMAT);
    return format && strcmp(format, "json") == 0;
}
