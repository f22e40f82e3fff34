#include "conf/section.h"
#include "base/testbrief.h"
#include "conf/testdump.h"
#include "conf/warn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define TEXT(s) s, sizeof s - 1

static const struct {
    const char *what, *text;
    size_t len;
    const char *sections, *warned; /* lines of the warnings */
} readings[] = {
    {"nothing", TEXT(""), "", ""},
    {"one", TEXT("local: 100-0\n\ttarget pve2\n\n"), "local:100-0{target=pve2}", ""},
    {"no end", TEXT("local: 100-0\n\ttarget pve2"), "local:100-0{target=pve2}", ""},
    {"header only", TEXT("local: 100-0"), "local:100-0{}", ""},
    {"blanks of the header", TEXT("LoCal:100-0 \t\n  target\t pve2  \n\n"), "local:100-0{target=pve2}", ""},
    {"carriage returns", TEXT("local: 1-0\r\n\ttarget a\r\n\r\nlocal: 2-0\r\n\ttarget b\r\n"),
     "local:1-0{target=a}local:2-0{target=b}", ""},
    {"bare", TEXT("local: 1\n\tdisable\n\tx 0\n"), "local:1{disable x=0}", ""},
    {"blanks inside a value", TEXT("a: 1\n\tcomment a  b\tc\n"), "a:1{comment=a  b\tc}", ""},
    {"comments", TEXT("# a\n  # b\na: 1\n#c\n\t# d e\n\tx 1\n\n#"), "a:1{x=1}", ""},
    {"section ends at an empty line only", TEXT("a: 1\n\tx 1\nb: 2\n\ty 2\n\n"), "a:1{x=1 y=2}", "3"},
    {"blanks do not end it", TEXT("a: 1\n\tx 1\n \t\n\ty 2\n"), "a:1{x=1 y=2}", "3"},
    {"twice", TEXT("a: 1\n\tx 1\n\tx 2\n\tx\n"), "a:1{x=1}", "3 4"},
    {"not indented", TEXT("a: 1\nx 1\n\ty 2\n"), "a:1{y=2}", "2"},
    {"outside", TEXT("x 1\n\ty 2\n \n\na: 1\n\n\tz 3\n"), "a:1{}", "1 2 7"},
    {"no header", TEXT("a 1\n: 1\na:\na: 1 2\n a: 1\n"), "", "1 2 3 4 5"},
    {"zero bytes", TEXT("a: 1\n\tx 1\0002\n\ty\0 2\nb\0: 1\n\n\0\nb: 1\0001\n"), "a:1{}", "2 3 4 6 7"},
    {"sections of the same name", TEXT("a: 1\n\tx 1\n\na: 1\n\tx 2\n\n"), "a:1{x=1}a:1{x=2}", ""},
    {"byte order mark",
     TEXT("\xef\xbb\xbf"
          "a: 1\n\tx 1\n"),
     "a:1{x=1}", ""},
    {"byte order mark, further down",
     TEXT("a: 1\n\n\xef\xbb\xbf"
          "b: 1\n"),
     "a:1{}", "3"},
    {"value with '#'", TEXT("a: 1\n\tx #1\n"), "a:1{x=#1}", ""},
};

static void reads(void **state)
{
    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++) {
        struct section_file f;
        _cleanup_buf_ struct buf dump = BUF_INIT, lines = BUF_INIT, printed = BUF_INIT;
        section_parse("x.cfg", readings[i].text, readings[i].len, &f);
        dump_sections(&f, &dump);
        dump_lines(&f.warnings, &lines);
        section_print(&f, &printed);
        section_file_release(&f);
        if (strcmp(buf_str(&dump), readings[i].sections) || strcmp(buf_str(&lines), readings[i].warned))
            fail_msg("%s: %s, warned %s", readings[i].what, buf_str(&dump), buf_str(&lines));
        if (printed.len != readings[i].len || memcmp(buf_str(&printed), readings[i].text, printed.len) != 0)
            fail_msg("%s: printed '%s'", readings[i].what, buf_str(&printed));
    }
}

static void warns_with_file_line_and_text(void **state)
{
    struct section_file f;
    static const char text[] = "a: 1\n\tx 1\nb:\t2\n";
    section_parse("x.cfg", text, sizeof text - 1, &f);
    assert_int_equal(f.warnings.n, 1);
    assert_string_equal(f.warnings.v[0],
                        "x.cfg:3: the header is ignored, it needs an empty line before it: 'b: 2'");
    section_file_release(&f);
}

/* What a hostile file costs is bounded. */
static void bounds_warnings_and_properties(void **state)
{
    _cleanup_buf_ struct buf text = BUF_INIT, printed = BUF_INIT;
    struct section_file f;
    buf_adds(&text, "a: 1\n");
    for (int i = 0; i < 5000; i++)
        buf_addf(&text, "\tk%d 1\n", i);
    section_parse("x.cfg", text.data, text.len, &f);
    assert_int_equal(f.sections[0].n_props, SECTION_PROPERTIES_MAX);
    assert_int_equal(f.warnings.n, WARNINGS_MAX + 1);
    assert_string_equal(f.warnings.v[WARNINGS_MAX], "x.cfg: further warnings are left out");
    section_print(&f, &printed);
    assert_string_equal(buf_str(&printed), buf_str(&text));
    section_file_release(&f);
}

enum act { SET, BARE, UNSET, ADD, REMOVE };

static const struct {
    const char *what, *text;
    enum act act;
    const char *id, *key, *value, *expect;
} changes[] = {
    {"set", "a: 1\n\tx 1\n\n", SET, "1", "x", "2", "a: 1\n\tx 2\n\n"},
    {"set a new one", "A:1\n  x   1\n\n", SET, "1", "y", "2", "a: 1\n\tx 1\n\ty 2\n\n"},
    {"bare", "a: 1\n\tx 1\n\n", BARE, "1", "x", NULL, "a: 1\n\tx\n\n"},
    {"others stay as they are", "# t\nA:1\n  x   1\n\nb:2\n y 2\n\n#e", SET, "2", "y", "3",
     "# t\nA:1\n  x   1\n\nb: 2\n\ty 3\n\n#e"},
    {"comments stay where they are", "a: 1\n#c1\n\tx 1\n # c2\n\ty 1\n#c3\n\n", SET, "1", "x", "2",
     "a: 1\n#c1\n\tx 2\n # c2\n\ty 1\n#c3\n\n"},
    {"comments survive their property", "a: 1\n#c1\n\tx 1\n#c2\n\ty 1\n#c3\n", UNSET, "1", "x", NULL,
     "a: 1\n#c1\n#c2\n\ty 1\n#c3\n\n"},
    {"and the last one's", "a: 1\n#c1\n\tx 1\n#c2", UNSET, "1", "x", NULL, "a: 1\n#c1\n#c2\n\n"},
    {"a comment at the end", "a: 1\n#c", SET, "1", "x", "2", "a: 1\n\tx 2\n#c\n\n"},
    {"odd lines stay", "a: 1\n\tx 1\nb: 2\n \nodd\n\ty 1\n", SET, "1", "x", "2",
     "a: 1\n\tx 2\nb: 2\n \nodd\n\ty 1\n\n"},
    {"what had no effect gets none", "a: 1\n\tx 1\n\tx 2\n\n", UNSET, "1", "x", NULL, "a: 1\n\n"},
    {"unset what is not there", "A:1\n x 1", UNSET, "1", "y", NULL, "A:1\n x 1"},
    {"the last one of the same name", "a: 1\n\tx 1\n\na: 1\n\tx 2\n\n", SET, "1", "x", "3",
     "a: 1\n\tx 1\n\na: 1\n\tx 3\n\n"},
    {"add to nothing", "", ADD, "2", "x", "1", "a: 2\n\tx 1\n\n"},
    {"add behind a section", "a: 1\n\tx 1\n\n", ADD, "2", "x", "1", "a: 1\n\tx 1\n\na: 2\n\tx 1\n\n"},
    {"add behind an open section", "a: 1\n\tx 1", ADD, "2", "x", "1", "a: 1\n\tx 1\n\na: 2\n\tx 1\n\n"},
    {"add behind a comment", "a: 1\n\n# e", ADD, "2", "x", "1", "a: 1\n\n# e\na: 2\n\tx 1\n\n"},
    {"remove", "# a\na: 1\n\n# b\nA: 2\n\n# c\na: 3\n\n# d", REMOVE, "2", NULL, NULL,
     "# a\na: 1\n\n# b\n# c\na: 3\n\n# d"},
    {"remove the only one", "# a\na: 1\n\tx 1", REMOVE, "1", NULL, NULL, "# a\n"},
};

static void change(struct section_file *f, enum act act, const char *id, const char *key, const char *value)
{
    struct section *s = act == ADD ? section_add(f, "a", id) : section_find(f, "a", id);
    if (!s)
        s = section_find(f, "b", id);
    assert_non_null(s);
    if (act == REMOVE)
        section_remove(f, (size_t)(s - f->sections));
    else if (act == UNSET)
        section_unset(s, key);
    else
        section_set(s, key, value);
}

static void changes_only_what_is_asked(void **state)
{
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct section_file f;
        _cleanup_buf_ struct buf once = BUF_INIT, twice = BUF_INIT;
        section_parse("x.cfg", changes[i].text, strlen(changes[i].text), &f);
        change(&f, changes[i].act, changes[i].id, changes[i].key, changes[i].value);
        section_print(&f, &once);
        section_print(&f, &twice);
        section_file_release(&f);
        if (strcmp(buf_str(&once), changes[i].expect) != 0)
            fail_msg("%s: '%s'", changes[i].what, buf_str(&once));
        assert_string_equal(buf_str(&once), buf_str(&twice));
    }
}

/* ---- random files and changes ---- */

/* Each comment is unique, so that a lost or doubled one shows. */
static void random_line(struct buf *out, unsigned number)
{
    switch (rand() % 9) {
    case 0:
        buf_addf(out, "%s#<%u>\n", rand() % 2 ? "\t" : "", number);
        break;
    case 1:
        buf_adds(out, "\n");
        break;
    case 2:
        buf_addf(out, "%s: %d\n", rand() % 2 ? "a" : "other", rand() % 5);
        break;
    case 3:
        buf_addf(out, "odd <%u>\n", number);
        break;
    case 4:
        buf_addf(out, "\tbare%d\n", rand() % 3);
        break;
    default:
        buf_addf(out, "\tk%d v%d\n", rand() % 4, rand() % 3);
    }
}

static void random_text(struct buf *out)
{
    unsigned n = (unsigned)rand() % 30;
    for (unsigned i = 0; i < n; i++)
        random_line(out, i);
    if (out->len && rand() % 3 == 0)
        out->data[--out->len] = 0; /* no newline at the end */
}

/* Every mark "<n>" of `text` is once in `printed`. */
static void check_marks(const char *text, const char *printed)
{
    for (const char *s = text; (s = strchr(s, '<')); s++) {
        _cleanup_free_ char *mark = xstrndup(s, strcspn(s, ">") + 1);
        const char *at = strstr(printed, mark);
        if (!at || strstr(at + 1, mark))
            fail_msg("%s of '%s' is not once in '%s'", mark, text, printed);
    }
}

static void random_change(struct section_file *f)
{
    static const char *const keys[] = {"k0", "k1", "k2", "bare0", "new"};
    struct section *s = f->n ? &f->sections[(size_t)rand() % f->n] : section_add(f, "a", "9");
    const char *key = keys[rand() % 5];
    if (rand() % 3 == 0)
        section_unset(s, key);
    else
        section_set(s, key, rand() % 2 ? "new" : NULL);
    if (rand() % 4 == 0)
        section_set(section_add(f, "a", "8"), "k0", "v");
}

static void loses_nothing(void **state)
{
    const char *given = getenv("PVESR_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    print_message("PVESR_TEST_SEED=%u\n", seed);
    srand(seed);
    for (int round = 0; round < test_rounds(3000); round++) {
        _cleanup_buf_ struct buf text = BUF_INIT, same = BUF_INIT, printed = BUF_INIT, again = BUF_INIT,
                                 wanted = BUF_INIT, got = BUF_INIT;
        struct section_file f, g;
        random_text(&text);
        section_parse("x.cfg", buf_str(&text), text.len, &f);
        section_print(&f, &same);
        assert_string_equal(buf_str(&same), buf_str(&text));
        for (int i = rand() % 4; i >= 0; i--)
            random_change(&f);
        section_print(&f, &printed);
        check_marks(buf_str(&text), buf_str(&printed));
        section_parse("x.cfg", buf_str(&printed), printed.len, &g);
        dump_sections(&f, &wanted);
        dump_sections(&g, &got);
        if (strcmp(buf_str(&wanted), buf_str(&got)) != 0)
            fail_msg("'%s' became '%s': %s, not %s", buf_str(&text), buf_str(&printed), buf_str(&got),
                     buf_str(&wanted));
        section_print(&g, &again);
        assert_string_equal(buf_str(&again), buf_str(&printed));
        section_file_release(&f);
        section_file_release(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(warns_with_file_line_and_text),
        cmocka_unit_test(bounds_warnings_and_properties),
        cmocka_unit_test(changes_only_what_is_asked),
        cmocka_unit_test(loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
