#include "cli/args.h"
#include "cli/help.h"
#include "cli/nearest.h"

#include "base/fs.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- names of commands ---- */

static void test_commands(void **arg)
{
    static const struct {
        const char *text, *found;
    } cases[] = {
        {"list", "list"},
        {"li", "list"},
        {"l", "list"},
        {"status", "status"},
        {"st", "status"},
        {"s", NULL},
        {"se", "set-state"},
        {"sc", "schedule-now"},
        {"update", "update"},
        {"d", NULL},
        {"de", "delete"},
        {"r", NULL},
        {"ru", "run"},
        {"p", "prepare-local-job"}, /* as on Proxmox VE, in spite of plan */
        {"pl", "plan"},
        {"h", "help"},
        {"hi", "history"},
        {"c", "create-local-job"},
        {"ca", "calendar"},
        {"a", NULL},
        {"at", "at-risk"},
        {"ag", "agent"},
        {"bashcomplete", "bashcomplete"},
        {"bash", NULL}, /* hidden: only in full */
        {"LIST", NULL},
        {"listing", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const struct command *c = command_find(cases[i].text);
        const char *found = c ? c->name : NULL;
        if ((found && cases[i].found) ? strcmp(found, cases[i].found) != 0 : found != cases[i].found)
            fail_msg("'%s' is %s", cases[i].text, found ? found : "nothing");
    }
}

/* ---- command lines that are understood ---- */

/* The values as "name=text" of all parameters given, lists as "name=[a b]", a boolean as 0 or 1. */
static void print_args(const struct args *a, struct buf *out)
{
    char number[32];
    for (size_t i = P_NONE + 1; i < P_COUNT; i++) {
        const struct value *v = &a->value[i];
        if (!v->given)
            continue;
        _cleanup_free_ char *list = strv_join(&v->list, " ");
        snprintf(number, sizeof number, "%g", v->number);
        buf_addf(out, "%s%s=", out->len ? " " : "", parameters[i].name);
        switch (parameters[i].type) {
        case TYPE_LIST:
            buf_addf(out, "[%s]", list);
            break;
        case TYPE_BOOLEAN:
            buf_adds(out, v->flag ? "1" : "0");
            break;
        case TYPE_INTEGER:
            buf_addf(out, "%lld", (long long)v->integer);
            break;
        case TYPE_NUMBER:
            buf_adds(out, number);
            break;
        default:
            buf_adds(out, v->text);
        }
    }
}

/* Parse a line of words between blanks ("~" stands for an empty word). 0 or -1 as args_parse. */
static int parse_line(const char *line, struct buf *result)
{
    struct args a;
    _cleanup_strv_ struct strv words = STRV_INIT;
    strv_split(&words, line, " ");
    for (size_t i = 0; i < words.n; i++)
        if (strcmp(words.v[i], "~") == 0)
            words.v[i][0] = 0;
    const struct command *c = command_find(words.v[0]);
    assert_non_null(c);
    int r = args_parse(c, words.v + 1, words.n - 1, &a, result);
    if (r == 0)
        print_args(&a, result);
    args_release(&a);
    return r;
}

static void test_understood(void **arg)
{
    static const struct {
        const char *line, *values;
    } cases[] = {
        {"list", ""},
        {"create-local-job 100-0 pve2", "id=100-0 target=pve2"},
        {"create-local-job 100-0 pve2 --rate 10", "id=100-0 target=pve2 rate=10"},
        {"create-local-job --rate 10 100-0 pve2", "id=100-0 target=pve2 rate=10"},
        {"create-local-job 100-0 --rate=10 pve2", "id=100-0 target=pve2 rate=10"},
        {"create-local-job 100-0 pve2 -rate 10", "id=100-0 target=pve2 rate=10"},
        {"create-local-job 100-0 pve2 -rate=10", "id=100-0 target=pve2 rate=10"},
        {"create-local-job 100-0 pve2 --ra 7", "id=100-0 target=pve2 rate=7"},
        {"create-local-job 100-0 pve2 --ra=1.5", "id=100-0 target=pve2 rate=1.5"},
        {"create-local-job 100-0 pve2 --rate 1e2", "id=100-0 target=pve2 rate=100"},
        {"create-local-job 100-0 pve2 --rate +3", "id=100-0 target=pve2 rate=3"},
        {"update 100-0 --rate 2 --rate 3", "id=100-0 rate=3"},
        {"update 100-0 --c x", NULL}, /* checked below: comment and nothing else */
        {"update 100-0 --comment ~", "id=100-0 comment="},
        {"update 100-0 --comment=", "id=100-0 comment="},
        {"update 100-0 --comment a=b", "id=100-0 comment=a=b"},
        {"update 100-0 --comment --rate", "id=100-0 comment=--rate"},
        {"update 100-0 --schedule */00", "id=100-0 schedule=*/00"},
        {"update 100-0 --disable", "id=100-0 disable=1"},
        {"update 100-0 --disable 0", "id=100-0 disable=0"},
        {"update 100-0 --disable=No", "id=100-0 disable=0"},
        {"update 100-0 --disable TRUE", "id=100-0 disable=1"},
        {"update --disable 100-0", "id=100-0 disable=1"},
        {"update --disable off 100-0", "id=100-0 disable=0"},
        {"update 100-0 --disable --rate 2", "id=100-0 disable=1 rate=2"},
        {"update 100-0 --remove_job local", "id=100-0 remove_job=local"},
        {"update 100-0 --delete rate,comment", "id=100-0 delete=[rate comment]"},
        {"update 100-0 --delete rate --delete comment;schedule", "id=100-0 delete=[rate comment schedule]"},
        {"update 100-0 --del rate", "id=100-0 delete=[rate]"},
        {"delete 100-0 --keep 1 --force 0", "id=100-0 keep=1 force=0"},
        {"delete 999999999-999999999", "id=999999999-999999999"},
        {"status --guest 100", "guest=100"},
        {"status --g 999999999", "guest=999999999"},
        {"status --output-format json", "output-format=json"},
        {"status --o json", "output-format=json"},
        {"list --config /tmp/x", "config=/tmp/x"},
        {"run --id 100-0 --verbose", "id=100-0 verbose=1"},
        {"run --mail", "mail=1"},
        {"run --id 100-0 --mail 0", "id=100-0 mail=0"},
        {"prepare-local-job 100-0 --scan a1,b2 st:vm-100-disk-0 st:vm-100-disk-1 --last_sync 5 "
         "--parent_snapname snap --force",
         "id=100-0 volid=[st:vm-100-disk-0 st:vm-100-disk-1] force=1 scan=[a1 b2] last_sync=5 "
         "parent_snapname=snap"},
        {"prepare-local-job 100-0 --last_sync 1 --force", "id=100-0 force=1 last_sync=1"},
        {"prepare-local-job 100-0 --force st:vm-100-disk-0", "id=100-0 volid=[st:vm-100-disk-0] force=1"},
        {"finalize-local-job 100-0 -- --odd --last_sync", "id=100-0 volid=[--odd --last_sync]"},
        {"set-state 100 {}", "vmid=100 state={}"},
        {"calendar mon..fri --after 0 --iterations 3", "expr=mon..fri after=0 iterations=3"},
        {"calendar daily --after -5", "expr=daily after=-5"},
        {"help list", "command=list"},
        {"bashcomplete pvesr --x list", "command=list"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_buf_ struct buf result = BUF_INIT;
        const char *expected = cases[i].values ? cases[i].values : "id=100-0 comment=x";
        if (parse_line(cases[i].line, &result) < 0 || strcmp(buf_str(&result), expected) != 0)
            fail_msg("'%s' gives: %s", cases[i].line, buf_str(&result));
    }
}

static void test_defaults(void **arg)
{
    struct args a;
    _cleanup_buf_ struct buf complaint = BUF_INIT;
    assert_int_equal(args_parse(command_find("history"), NULL, 0, &a, &complaint), 0);
    assert_int_equal(a.value[P_LIMIT].integer, 50);
    assert_false(a.value[P_LIMIT].given);
    assert_false(args_want_json(&a));
    assert_null(args_text(&a, P_ID));
    args_release(&a);
}

/* ---- command lines that are refused: how the complaint begins, or a part of it behind "..." ---- */

#define VERIFY "400 Parameter verification failed.\n"

static void test_refused(void **arg)
{
    static const struct {
        const char *line, *complaint;
    } cases[] = {
        {"read", "400 not enough arguments\n"},
        {"create-local-job 100-0", "400 not enough arguments\n"},
        {"set-state 100", "400 not enough arguments\n"},
        {"prepare-local-job", "400 not enough arguments\n"},
        {"list x", "400 too many arguments\n"},
        {"read 100-0 100-1", "400 too many arguments\n"},
        {"list --bogus", "Unknown option: bogus\n400 unable to parse option\n"},
        {"list --bogus=1 --rate 5", "Unknown option: bogus\nUnknown option: rate\n"},
        {"create-local-job 100-0 pve2 --target x", "Unknown option: target\n"},
        {"create-local-job 100-0 pve2 --s x", "Option s is ambiguous\n400 unable to parse option\n"},
        {"create-local-job 100-0 pve2 --rate", "Option rate requires an argument\n"},
        {"update 100-0 --disable maybe", "400 unable to parse boolean option 'disable': 'maybe'"},
        {"update 100-0 --disable=maybe", "400 unable to parse boolean option 'disable': 'maybe'"},
        {"update 100-0 --disable=", "400 unable to parse boolean option 'disable'"},
        {"read 99-0", VERIFY "id: invalid replication job id '99-0' (guest IDs < 100 are reserved)\n"},
        {"read 100", VERIFY "id: value does not match the regex pattern"},
        {"read 100-", VERIFY "id: value does not match the regex pattern"},
        {"read 0100-0", VERIFY "id: value does not match the regex pattern"},
        {"read 100-00", VERIFY "id: value does not match the regex pattern"},
        {"read 1000000000-0", VERIFY "id: value does not match the regex pattern"},
        {"read 100-0x", VERIFY "id: value does not match the regex pattern"},
        {"create-local-job 100-0 -p", "Unknown option: p\n"},
        {"create-local-job 100-0 pve_2", VERIFY "target: "},
        {"update 100-0 --rate 0.5", VERIFY "rate: value must have a minimum value of 1, not '0.5'\n"},
        {"update 100-0 --rate -5", VERIFY "rate: value must have a minimum value of 1, not '-5'\n"},
        {"update 100-0 --rate ten", VERIFY "rate: 'ten' is not a number\n"},
        {"update 100-0 --rate ~", VERIFY "rate: '' is not a number\n"},
        {"update 100-0 --schedule 61", VERIFY "schedule: invalid calendar event"},
        {"update 100-0 --schedule ~", VERIFY "schedule: invalid calendar event"},
        {"update 100-0 --remove_job some",
         VERIFY "remove_job: value 'some' does not have a value in the enumeration 'full, local'\n"},
        {"update 100-0 --source a_b", VERIFY "source: "},
        {"update 100-0 --delete target", VERIFY "delete: unable to delete required or fixed option 'target'"},
        {"update 100-0 --delete rate,color", VERIFY "delete: unknown option 'color'"},
        {"update 100-0 --rate 1 --delete rate", VERIFY "delete: cannot set and delete 'rate'"},
        {"update 100-x --rate 0", VERIFY "id: value does not match the regex pattern"},
        {"update 100-x --rate 0", "...\nrate: value must have a minimum value of 1, not '0'\n"},
        {"delete 100-0 --keep --force", VERIFY "keep: conflicts with 'force'"},
        {"status --guest 99", VERIFY "guest: value must have a minimum value of 100, not '99'\n"},
        {"status --guest 1000000000", VERIFY "guest: value must have a maximum value of 999999999"},
        {"status --guest 100x", VERIFY "guest: '100x' is not a whole number\n"},
        {"status --output-format xml", VERIFY "output-format: value 'xml' does not have a value"},
        {"run --id 100-0 --mail", VERIFY "mail: "},
        {"prepare-local-job 100-0 --scan a/b", VERIFY "scan: 'a/b' is not a storage id"},
        {"prepare-local-job 100-0 --last_sync -1", VERIFY "last_sync: value must have a minimum value of 0"},
        {"prepare-local-job 100-0 --parent_snapname 1x", VERIFY "parent_snapname: '1x' is not a snapshot"},
        {"set-state 99 {}", VERIFY "vmid: value must have a minimum value of 100"},
        {"calendar 25:61", VERIFY "expr: invalid calendar event"},
        {"calendar daily --iterations 0", VERIFY "iterations: value must have a minimum value of 1"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_buf_ struct buf result = BUF_INIT;
        const char *expected = cases[i].complaint;
        int r = parse_line(cases[i].line, &result);
        bool found = strncmp(expected, "...", 3) == 0
                         ? strstr(buf_str(&result), expected + 3) != NULL
                         : strncmp(buf_str(&result), expected, strlen(expected)) == 0;
        if (r == 0 || !found || result.data[result.len - 1] != '\n')
            fail_msg("'%s' gives: %s", cases[i].line, buf_str(&result));
    }
}

static void test_long_values(void **arg)
{
    static const struct {
        const char *line, *character;
        size_t fits;
    } cases[] = {
        {"update 100-0 --comment ", "a", 4096},
        {"update 100-0 --comment ", "ä", 4096},
        {"update 100-0 --comment ", "\xf0\x9f\x92\xbe", 4096},
        {"update 100-0 --digest ", "a", 64},
        {"prepare-local-job 100-0 --parent_snapname ", "a", 40},
        {"prepare-local-job 100-0 --scan ", "a", 4096},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        for (size_t over = 0; over < 2; over++) {
            _cleanup_buf_ struct buf line = BUF_INIT, result = BUF_INIT;
            buf_adds(&line, cases[i].line);
            for (size_t n = 0; n < cases[i].fits + over; n++)
                buf_adds(&line, cases[i].character);
            if (parse_line(buf_str(&line), &result) != (over ? -1 : 0))
                fail_msg("%s with %zu characters: %s", cases[i].line, cases[i].fits + over, buf_str(&result));
        }
}

/* ---- the tables themselves, and what is made from them ---- */

static void test_tables(void **arg)
{
    for (size_t i = P_NONE + 1; i < P_COUNT; i++) {
        assert_non_null(parameters[i].name);
        assert_non_null(parameters[i].help);
    }
    for (size_t i = 0; i < n_commands; i++) {
        const struct command *c = &commands[i];
        enum parameter_id id;
        assert_ptr_equal(command_find(c->name), c);
        assert_non_null(c->run);
        for (size_t k = 0; (id = command_option_at(c, k)) != P_NONE; k++) {
            bool ambiguous;
            const char *name = parameters[id].name;
            assert_int_equal(command_option(c, name, strlen(name), &ambiguous), id);
        }
        assert_int_equal(id, P_NONE);
    }
}

static void test_usage_lines(void **arg)
{
    static const struct {
        const char *command, *line;
    } cases[] = {
        {"list", "pvesr list [OPTIONS]\n"},
        {"create-local-job", "pvesr create-local-job <id> <target> [OPTIONS]\n"},
        {"prepare-local-job", "pvesr prepare-local-job <id> [<volid> ...] [OPTIONS]\n"},
        {"set-state", "pvesr set-state <vmid> <state> [OPTIONS]\n"},
        {"help", "pvesr help [<command> ...] [OPTIONS]\n"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_buf_ struct buf line = BUF_INIT;
        help_usage_line(command_find(cases[i].command), &line);
        assert_string_equal(buf_str(&line), cases[i].line);
    }
}

static void expect_width(const struct buf *text, const char *what)
{
    _cleanup_strv_ struct strv lines = STRV_INIT;
    strv_split(&lines, buf_str(text), "\n");
    for (size_t i = 0; i < lines.n; i++)
        if (strlen(lines.v[i]) > 79)
            fail_msg("%s has a line of %zu columns: %s", what, strlen(lines.v[i]), lines.v[i]);
}

static size_t count_lines(const struct buf *text, const char *begin)
{
    size_t n = 0;
    for (const char *at = buf_str(text); (at = strstr(at, begin)); at++)
        n++;
    return n;
}

/* Every command is in a group, has one line in the list, and all of it fits a terminal. */
static void test_help(void **arg)
{
    _cleanup_buf_ struct buf list = BUF_INIT;
    help_usage(&list);
    expect_width(&list, "the list");
    assert_int_equal(count_lines(&list, ":\n  "), GROUPS - 1);
    for (size_t i = 0; i < n_commands; i++) {
        const struct command *c = &commands[i];
        _cleanup_buf_ struct buf text = BUF_INIT;
        _cleanup_free_ char *begin = xasprintf("\n  %s ", c->name);
        if ((c->group == GROUP_NONE) != c->hidden)
            fail_msg("'%s' is %sin a group", c->name, c->hidden ? "" : "not ");
        if (count_lines(&list, begin) != !c->hidden)
            fail_msg("'%s' has %zu lines in the list", c->name, count_lines(&list, begin));
        help_command(c, &text);
        expect_width(&text, c->name);
    }
}

static void test_nearest(void **arg)
{
    static const struct {
        const char *text, *names;
    } cases[] = {
        {"staus", "status"},
        {"satus", "status"},
        {"sttaus", "status"},
        {"statusx", "status"},
        {"lsit", "list"},
        {"delte", "delete"},
        {"rum", "run"},
        {"shedule", "schedule-now"}, /* as an abbreviation */
        {"create-locl-job", "create-local-job"},
        {"restorepoint", "restore-points"},
        {"bashcomplet", ""}, /* hidden */
        {"s", "status schedule-now set-state settle"},
        {"re", "read restore-points"},
        {"d", "delete disable doctor"},
        {"frobnicate", ""},
        {"x", ""},
        {"", ""},
        {"a-word-that-is-longer-than-any-command-that-there-is", ""},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_strv_ struct strv names = STRV_INIT;
        nearest_commands(cases[i].text, &names);
        _cleanup_free_ char *got = strv_join(&names, " ");
        if (strcmp(got, cases[i].names) != 0)
            fail_msg("'%s' is near '%s'", cases[i].text, got);
    }
}

static void test_complaint(void **arg)
{
    static const struct {
        const char *text, *complaint;
    } cases[] = {
        {"staus", "ERROR: unknown command 'pvesr staus'\nDid you mean 'status'?"},
        {"d", "ERROR: unknown command 'pvesr d'\nDid you mean 'delete', 'disable' or 'doctor'?"},
        {"frobnicate", "ERROR: unknown command 'pvesr frobnicate'\nSee 'pvesr help'."},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_buf_ struct buf complaint = BUF_INIT;
        nearest_complaint(cases[i].text, &complaint);
        assert_string_equal(buf_str(&complaint), cases[i].complaint);
    }
}

static void expect_in_manual(const struct buf *manual, const char *fmt, const char *name)
{
    char wanted[128];
    snprintf(wanted, sizeof wanted, "%s%s%s", fmt, name, "*");
    if (!strstr(buf_str(manual), wanted))
        fail_msg("man/pvesr.1.scd lacks '%s'", wanted);
}

/* Every command has its paragraph "*name*", every option its "*--name*". */
static void test_manual(void **arg)
{
    const char *root = getenv("PVESR_SOURCE_ROOT");
    struct err e = {0};
    _cleanup_buf_ struct buf manual = BUF_INIT;
    _cleanup_free_ char *path = xasprintf("%s/man/pvesr.1.scd", root ? root : ".");
    if (fs_read(path, 1 << 20, &manual, &e) != 0)
        fail_msg("%s: %s", path, e.text);
    for (size_t i = 0; i < n_commands; i++) {
        enum parameter_id id;
        if (commands[i].hidden)
            continue;
        expect_in_manual(&manual, "\n*", commands[i].name);
        for (size_t k = 0; (id = command_option_at(&commands[i], k)) != P_NONE; k++)
            expect_in_manual(&manual, "*--", parameters[id].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),    cmocka_unit_test(test_understood),
        cmocka_unit_test(test_defaults),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_values), cmocka_unit_test(test_tables),
        cmocka_unit_test(test_usage_lines), cmocka_unit_test(test_help),
        cmocka_unit_test(test_nearest),     cmocka_unit_test(test_complaint),
        cmocka_unit_test(test_manual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
