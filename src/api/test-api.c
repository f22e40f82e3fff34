/* Paths, forms, the table and checked requests, as values. */
#include "api/attempts.h"
#include "api/often.h"
#include "api/request.h"
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void print_form(const struct form *f, struct buf *out)
{
    for (size_t i = 0; i < f->name.n; i++)
        buf_addf(out, "%s%s=%s", i ? "|" : "", f->name.v[i], f->value.v[i]);
    for (size_t i = 0; i < f->again.n; i++)
        buf_addf(out, "|again %s", f->again.v[i]);
}

static void test_forms(void **state)
{
    static const struct {
        const char *text, *want; /* NULL: refused */
    } rows[] = {
        {"", ""},
        {"a=1", "a=1"},
        {"a=1&b=two%20words&c=x+y", "a=1|b=two words|c=x y"},
        {"a", "a="},
        {"&&a=1&", "a=1"},
        {"a=b=c", "a=b=c"},
        {"a=%C3%A4", "a=ä"},
        {"a=1&a=1", "a=1"},
        {"a=1&a=2&b=3&a=1", "a=1\n2\n1|b=3|again a|again a"},
        {"a=%", NULL},
        {"a=%4", NULL},
        {"a=%zz", NULL},
        {"a=%00", NULL},
        {"a=%1b", NULL},
        {"a=%c3", NULL},
        {"a=%7f", NULL},
        {"=1", NULL},
        {"a=1%0a2", "a=1\n2"},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        struct form f = {0};
        struct err e = {0};
        _cleanup_buf_ struct buf out = BUF_INIT;
        int r = form_parse(&f, rows[i].text, strlen(rows[i].text), &e);
        print_form(&f, &out);
        if (rows[i].want && (r != 0 || strcmp(buf_str(&out), rows[i].want) != 0))
            fail_msg("'%s' became '%s' %s", rows[i].text, buf_str(&out), e.text);
        if (!rows[i].want && (r == 0 || e.kind != ERR_USAGE))
            fail_msg("'%s' was taken: '%s'", rows[i].text, buf_str(&out));
        form_release(&f);
    }
}

static void test_json(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"{}", ""},
        {"{\"a\":1,\"b\":\"x\",\"c\":true,\"d\":false,\"e\":1.5,\"f\":null}", "a=1|b=x|c=1|d=0|e=1.5"},
        {"{\"a\":[\"x\",\"y\"]}", "a=x,y"},
        {"{\"a\":[[1]]}", NULL},
        {"{\"a\":{}}", NULL},
        {"[]", NULL},
        {"", NULL},
        {"{\"a\":1,\"a\":1}", NULL},
        {"{\"a\":\"\\u001b\"}", NULL},
        {"{\"\":1}", NULL},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        struct form f = {0};
        struct err e = {0};
        _cleanup_buf_ struct buf out = BUF_INIT;
        int r = form_parse_json(&f, rows[i].text, strlen(rows[i].text), &e);
        print_form(&f, &out);
        assert_int_equal(r, rows[i].want ? 0 : -1);
        if (rows[i].want)
            assert_string_equal(buf_str(&out), rows[i].want);
        form_release(&f);
    }
}

static void test_amounts(void **state)
{
    struct form f = {0};
    struct err e = {0};
    _cleanup_buf_ struct buf many = BUF_INIT, name = BUF_INIT;
    for (int i = 0; i <= FORM_FIELDS_MAX; i++)
        buf_addf(&many, "a%d=1&", i);
    assert_int_equal(form_parse(&f, many.data, many.len, &e), -1);
    form_release(&f);
    buf_clear(&many);
    for (int i = 0; i <= FORM_FIELDS_MAX; i++)
        buf_addf(&many, "a=%d&", i);
    assert_int_equal(form_parse(&f, many.data, many.len, &e), -1);
    form_release(&f);
    for (int i = 0; i <= FORM_NAME_MAX; i++)
        buf_addc(&name, 'a');
    assert_int_equal(form_parse(&f, name.data, name.len, &e), -1);
    form_release(&f);
}

static void test_paths(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"/", ""},         {"/a/b", "a b"},
        {"/a/b/", "a b"},  {"/100%2d0", "100-0"},
        {"", NULL},        {"a", NULL},
        {"//a", NULL},     {"/a//b", NULL},
        {"/./a", NULL},    {"/a/..", NULL},
        {"/%2e%2e", NULL}, {"/a%2fb", NULL},
        {"/a%00", NULL},   {"/%", NULL},
        {"/a+b", "a+b"},   {"/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", NULL},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        _cleanup_strv_ struct strv got = STRV_INIT;
        struct err e = {0};
        int r = path_split(rows[i].text, strlen(rows[i].text), &got, &e);
        _cleanup_free_ char *joined = strv_join(&got, " ");
        if ((r == 0) != (rows[i].want != NULL) || (r == 0 && strcmp(joined, rows[i].want) != 0))
            fail_msg("'%s' became '%s'", rows[i].text, joined);
    }
}

static const struct endpoint *find(enum api_method m, const char *path, bool *known, struct strv *values)
{
    _cleanup_strv_ struct strv parts = STRV_INIT;
    strv_split(&parts, path, "/");
    return endpoint_find(m, &parts, known, values);
}

static void test_table(void **state)
{
    bool known;
    _cleanup_strv_ struct strv values = STRV_INIT, none = STRV_INIT;
    const struct endpoint *ep = find(API_GET, "/nodes/pve1/replication/100-0/log", &known, &values);
    assert_non_null(ep);
    assert_string_equal(ep->path, "/nodes/{node}/replication/{id}/log");
    assert_int_equal(values.n, 2);
    assert_string_equal(values.v[1], "100-0");
    assert_null(find(API_PUT, "/version", &known, &none));
    assert_true(known);
    assert_null(find(API_GET, "/version/x", &known, &none));
    assert_false(known);
    assert_null(find(API_GET, "", &known, &none));
    assert_int_equal(none.n, 0);
}

/* What the code leans on. */
static void test_rows(void **state)
{
    for (size_t i = 0; i < n_endpoints; i++) {
        const struct endpoint *ep = &endpoints[i];
        size_t braces = 0, given = 0, has_node = 0, has_id = 0;
        for (const char *p = ep->path; *p; p++)
            braces += *p == '{';
        for (size_t k = 0; k < ENDPOINT_PATH_PARAMETERS && ep->in_path[k]; k++, given++) {
            _cleanup_free_ char *brace = xasprintf("{%s}", parameters[ep->in_path[k]].name);
            assert_non_null(strstr(ep->path, brace));
            has_node |= ep->in_path[k] == P_NODE;
            has_id |= ep->in_path[k] == P_ID || ep->in_path[k] == P_VMID; /* whose guest it is */
        }
        for (size_t k = 0; k < ENDPOINT_PARAMETERS && ep->parameters[k]; k++)
            has_id |= ep->parameters[k] == P_ID && k < ep->needed;
        assert_int_equal(braces, given);
        assert_true(ep->serve && ep->help && ep->returns);
        assert_true(!ep->on_node || has_node);
        assert_true((ep->guard != GUARD_NODE && !ep->or_on_node) || has_node);
        assert_true(ep->guard != GUARD_GUEST || (has_id && ep->may));
        /* whatever changes something asks for more than to be somebody */
        assert_true(ep->method == API_GET || ep->guard == GUARD_GUEST ||
                    ((ep->guard == GUARD_NODE || ep->guard == GUARD_ROOT) && ep->may) ||
                    strcmp(ep->path, "/access/ticket") == 0);
        for (size_t k = 0; k < i; k++)
            assert_true(ep->method != endpoints[k].method || strcmp(ep->path, endpoints[k].path) != 0);
    }
}

static char *check(enum api_method m, const char *path, const char *fields)
{
    struct request r;
    struct form form = {0};
    struct err e = {0};
    bool known;
    _cleanup_strv_ struct strv values = STRV_INIT;
    const struct endpoint *ep = find(m, path, &known, &values);
    assert_non_null(ep);
    assert_int_equal(form_parse(&form, fields, strlen(fields), &e), 0);
    request_check(&r, ep, &values, &form);
    char *text = r.errors ? json_dumps(r.errors, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    char *copy = xstrdup(text ? text : "");
    free(text);
    request_release(&r);
    return copy;
}

static void test_requests(void **state)
{
    static const struct {
        enum api_method method;
        const char *path, *fields, *want;
    } rows[] = {
        {API_GET, "/cluster/replication", "", ""},
        {API_GET, "/cluster/replication", "_dc=1796031000123", ""},
        {API_PUT, "/cluster/replication/100-0", "id=100-0&rate=1.5&delete=comment,schedule", ""},
        {API_PUT, "/cluster/replication/100-0", "id=100-1", "{\"id\":\"the path says otherwise\"}"},
        {API_PUT, "/cluster/replication/100-0", "target=pve2",
         "{\"target\":\"property is not defined in schema and the schema does not allow additional "
         "properties\"}"},
        {API_POST, "/cluster/replication", "id=100-0&type=local",
         "{\"target\":\"property is missing and it is not optional\"}"},
        {API_PUT, "/cluster/replication/100-0", "delete=rate&delete=comment&delete=rate", ""},
        {API_PUT, "/cluster/replication/100-0", "delete=rate&delete=nonsense&rate=1&rate=2",
         "{\"delete\":\"unknown option 'nonsense': comment, disable, keep, max-age, rate, remove_job, "
         "schedule, "
         "scrub-days, source and target-storage can be deleted\","
         "\"rate\":\"was sent twice, with different values\"}"},
        {API_GET, "/nodes/pve1/replication/100-0/log", "start=0&limit=0", ""},
        {API_GET, "/cluster/jobs/schedule-analyze", "schedule=daily&iterations=100", ""},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        _cleanup_free_ char *got = check(rows[i].method, rows[i].path, rows[i].fields);
        assert_string_equal(got, rows[i].want);
    }
    static const struct {
        const char *field, *value;
    } bad[] = {{"rate", "0"},        {"rate", "x"},    {"disable", "maybe"}, {"remove_job", "all"},
               {"comment", "a%0ab"}, {"source", "-x"}, {"delete", "target"}};
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        _cleanup_free_ char *fields = xasprintf("%s=%s", bad[i].field, bad[i].value);
        _cleanup_free_ char *got = check(API_PUT, "/cluster/replication/100-0", fields);
        _cleanup_free_ char *begin = xasprintf("{\"%s\":\"", bad[i].field);
        assert_int_equal(strncmp(got, begin, strlen(begin)), 0);
    }
}

static void test_attempts(void **state)
{
    struct attempts *a = attempts_new();
    for (int i = 0; i < ATTEMPTS_ADDRESS; i++) {
        assert_true(attempts_allow(a, "10.0.0.1", "one@pve", 1000));
        attempts_failed(a, "10.0.0.1", "one@pve", 1000);
    }
    assert_false(attempts_allow(a, "10.0.0.1", "one@pve", 1000));
    assert_false(attempts_allow(a, "10.0.0.1", "two@pve", 1000));
    assert_true(attempts_allow(a, "10.0.0.2", "one@pve", 1000));
    assert_true(attempts_allow(a, "10.0.0.1", "one@pve", 1001 + ATTEMPTS_SECONDS));
    for (int i = ATTEMPTS_ADDRESS; i < ATTEMPTS_USER; i++) {
        _cleanup_free_ char *address = xasprintf("10.0.1.%d", i);
        attempts_failed(a, address, "one@pve", 1000);
    }
    assert_false(attempts_allow(a, "10.0.0.2", "one@pve", 1000));
    attempts_succeeded(a, "10.0.0.1", "one@pve");
    assert_true(attempts_allow(a, "10.0.0.1", "one@pve", 1000));
    attempts_free(a);
}

/* Whoever has one address of IPv6 has 2^64. */
static void test_attempts_of_a_network(void **state)
{
    struct attempts *a = attempts_new();
    for (int i = 0; i < ATTEMPTS_ADDRESS; i++) {
        _cleanup_free_ char *address = xasprintf("2001:db8:0:1:%x::%x", i, i);
        _cleanup_free_ char *user = xasprintf("user%d@pve", i);
        assert_true(attempts_allow(a, address, user, 1000));
        attempts_failed(a, address, user, 1000);
    }
    assert_false(attempts_allow(a, "2001:db8:0:1::", "one@pve", 1000));
    assert_false(attempts_allow(a, "2001:db8:0:1:ffff:ffff:ffff:ffff", "one@pve", 1000));
    assert_true(attempts_allow(a, "2001:db8:0:2::", "one@pve", 1000));
    assert_true(attempts_allow(a, "2001:db8::1:0:0:1", "one@pve", 1000));
    attempts_succeeded(a, "2001:db8:0:1::77", "user3@pve");
    assert_true(attempts_allow(a, "2001:db8:0:1::", "one@pve", 1000));
    attempts_free(a);
}

static void test_often(void **state)
{
    struct often o = {0};
    unsigned held = 7;
    for (int i = 0; i < OFTEN_LINES; i++)
        assert_true(often_may(&o, 1000 + i, &held) && held == 0);
    for (int i = 0; i < 100; i++)
        assert_false(often_may(&o, 1000 + OFTEN_SECONDS - 1, &held) || held);
    assert_int_equal(often_over(&o, 1000 + OFTEN_SECONDS - 1), 0);
    assert_true(often_may(&o, 1000 + OFTEN_SECONDS, &held));
    assert_int_equal(held, 100);
    assert_true(often_may(&o, 1000 + OFTEN_SECONDS, &held) && held == 0);
    assert_int_equal(often_over(&o, 5000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_amounts),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_attempts),
        cmocka_unit_test(test_attempts_of_a_network),
        cmocka_unit_test(test_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
