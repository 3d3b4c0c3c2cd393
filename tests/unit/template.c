/* template.c -- templates against what Jinja2 makes of them (tests/golden/chat/make.py), and what
 * the engine refuses, in which words. */
#include "golden.h"

#include <lib/template/internal.h>
#include <woq/template.h>

#define GOLDEN "tests/golden/chat/"

static int render(const char *text, size_t bytes, const char *vars, size_t n, const char *date,
                  struct woq_str *out, struct woq_error *err)
{
    struct woq_template *t = NULL;
    int rc = woq_template_open(&t, text, bytes, err);

    if (rc == WOQ_OK)
        rc = woq_template_render(t, vars, n, date, out, err);
    woq_template_close(t);
    return rc;
}

/* Whether `want` ({"text":..} or {"error":true}) is what came out. */
static void check(const char *what, size_t i, int rc, const struct woq_str *out,
                  const struct woq_error *err, const struct woq_json *want)
{
    const char *text = woq_json_get_str(want, "text");

    if (text ? rc < 0 : rc == WOQ_OK)
        fail_msg("%s, case %zu: %s; the original: %s", what, i, rc < 0 ? err->what : out->s,
                 text ? text : woq_json_get_str(want, "says"));
    if (text && (strlen(text) != out->len || memcmp(text, out->s ? out->s : "", out->len) != 0))
        fail_msg("%s, case %zu: '%s', want '%s'", what, i, out->s, text);
    if (rc < 0 && !err->what[0])
        fail_msg("%s, case %zu: an error without a message", what, i);
}

static void expressions(void **state)
{
    struct woq_json *golden = read_json(GOLDEN "expressions.json");
    char *vars = woq_json_print(woq_json_get(golden, "vars"), false);
    size_t i = 0;

    (void)state;
    woq_json_each(c, woq_json_get(golden, "cases"))
    {
        const char *text = woq_json_get_str(c, "template");
        struct woq_error err = { 0 };
        struct woq_str out = { 0 };
        const int rc = render(text, strlen(text), vars, strlen(vars),
                              woq_json_get_str(golden, "date"), &out, &err);

        check(text, i++, rc, &out, &err, c);
        woq_str_release(&out);
    }
    assert_true(i > 190);
    free(vars);
    woq_json_free(golden);
}

/* conversations.json has a conversation a line: the text counts, as 1.0 is no int. */
static void conversations(void **state)
{
    struct woq_json *golden = read_json(GOLDEN "rendered.json");
    size_t bytes, n = 0;
    char *lines = read_text(GOLDEN "conversations.json", &bytes), path[256];

    (void)state;
    woq_json_each(cases, woq_json_get(golden, "templates"))
    {
        const char *name = woq_json_key(cases), *line = lines;
        char *text;
        size_t i = 0;

        (void)snprintf(path, sizeof path, GOLDEN "templates/%s.jinja", name);
        text = read_text(path, &bytes);
        woq_json_each(want, cases)
        {
            struct woq_error err = { 0 };
            struct woq_str out = { 0 };
            size_t len;
            int rc;

            line = strchr(line, '\n') + 1;
            len = strcspn(line, "\n");
            len -= line[len - 1] == ',';
            rc = render(text, bytes, line, len, woq_json_get_str(golden, "date"), &out, &err);
            check(name, i++, rc, &out, &err, want);
            woq_str_release(&out);
            n++;
        }
        free(text);
    }
    assert_true(n >= 9 * 18);
    free(lines);
    woq_json_free(golden);
}

/* What is not rendered as Jinja2 would, and what hostile templates do, with a part of the message.
 */
static void refusals(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "a\n{% include 'x' %}", "line 2, column 4: the statement 'include' is not supported" },
        { "{% extends 'x' %}", "'extends'" },
        { "{% for x in [] recursive %}{% endfor %}", "recursive loops" },
        { "{{ f(*a) }}", "arguments with *" },
        { "{{\n  1 | wordcount }}", "line 2, column 7: the filter 'wordcount'" },
        { "{{ 1 is escaped }}", "the test 'escaped'" },
        { "{{ lipsum() }}", "the function 'lipsum'" },
        { "{{ {}.items() }}", "type dict_view as text" },
        { "{{ range(3) }}", "type range as text" },
        { "{{ [1] | map('string') }}", "type generator as text" },
        { "{{ 'a'.center(9) }}", "'center' of str" },
        { "{{ ''.__class__ }}", "'__class__'" },
        { "{{ 'x'['__len__'] }}", "'__len__'" },
        { "{{ '\xc3\x9f' | upper }}", "U+00DF" },
        { "{{ 9223372036854775807 + 1 }}", "beyond 64 bits" },
        { "{{ 9223372036854775808 }}", "beyond 64 bits" },
        { "{{ 2 ** 64 }}", "beyond 64 bits" },
        { "{{ '%5d' % 1 }}", "a format with %5" },
        { "{{ '{:>5}'.format(1) }}", "the field {:>5}" },
        { "{{ 0x1f }}", "numbers with a base" },
        { "{{ '\\N{BULLET}' }}", "an escape" },
        { "{{ strftime_now('%Q') }}", "today's date" },
        { "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested more than" },
        { "{% set ns = namespace(a=[]) %}{% for i in range(300) %}{% set ns.a = [ns.a] %}"
          "{% endfor %}",
          "nested more than 200" },
        { "{% set ns = namespace(a='x' * 1000) %}{% for i in range(40) %}"
          "{% set ns.a = ns.a + ns.a %}{% endfor %}",
          "bytes of values" },
        { "{{ [0] * 9999999999 }}", "bytes of values" },
        { "\xff", "UTF-8" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct woq_error err = { 0 };
        struct woq_str out = { 0 };
        const int rc = render(cases[i].text, strlen(cases[i].text), "{}", 2, NULL, &out, &err);

        if (rc == WOQ_OK || !strstr(err.what, cases[i].says))
            fail_msg("%s: '%s', want '%s'", cases[i].text, rc < 0 ? err.what : out.s,
                     cases[i].says);
        assert_int_equal(out.len, 0);
        woq_str_release(&out);
    }
}

/* Parentheses and blocks beyond the limit, each in its own way. */
static void nesting(void **state)
{
    static const char *const opening[] = {
        "{{", "(", "[", "not ", "-", "1 if 1 else ", "{% if 1 %}"
    };

    (void)state;
    for (size_t i = 1; i < sizeof opening / sizeof opening[0]; i++) {
        struct woq_error err = { 0 };
        struct woq_str text = { 0 }, out = { 0 };

        if (opening[i][0] != '{')
            assert_int_equal(woq_str_add(&text, "{{ ", 3), WOQ_OK);
        for (int k = 0; k < 100000; k++)
            assert_int_equal(woq_str_add(&text, opening[i], strlen(opening[i])), WOQ_OK);
        assert_true(render(text.s, text.len, "{}", 2, NULL, &out, &err) < 0);
        woq_str_release(&text);
        woq_str_release(&out);
    }
}

static void steps(void **state)
{
    static const char text[] = "{% for a in range(1000) %}{{ a }}{% endfor %}";
    const struct tpl_limits limits = { .steps = 500, .bytes = 1 << 20 };
    struct woq_template *t = NULL;
    struct woq_error err = { 0 };
    struct woq_str out = { 0 };

    (void)state;
    assert_int_equal(woq_template_open(&t, text, sizeof text - 1, &err), WOQ_OK);
    assert_int_equal(tpl_render(t, "{}", 2, NULL, limits, &out, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "more than 500 steps"));
    assert_int_equal(woq_template_render(t, "{}", 2, NULL, &out, &err), WOQ_OK);
    woq_str_release(&out);
    woq_template_close(t);
}

static void variables(void **state)
{
    static const struct {
        const char *vars, *want; /* NULL: an error */
    } cases[] = {
        { "{\"x\":1}", "1" },
        { "{\"x\":1.0}", "1.0" },
        { "{\"y\":\"-1.5\\\"2\",\"x\":[1,-2,3.0,1e3,\"7\"]}", "[1, -2, 3.0, 1000.0, '7']" },
        { "{\"x\":1,\"x\":2}", "2" },
        { "{\"x\":9007199254740993}", "9007199254740993" },
        { "{\"x\":99999999999999999999}", NULL },
        { "{\"x\":NaN}", NULL },
        { "[1]", NULL },
        { "{\"x\":", NULL },
        { "{\"x\":\"\xff\"}", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct woq_error err = { 0 };
        struct woq_str out = { 0 };
        const int rc = render("{{ x }}", 7, cases[i].vars, strlen(cases[i].vars), NULL, &out, &err);

        if (!cases[i].want)
            assert_true(rc < 0 && err.what[0]);
        else
            assert_string_equal(rc < 0 ? err.what : out.s, cases[i].want);
        woq_str_release(&out);
    }
}

static void dates(void **state)
{
    static const struct {
        const char *date, *want;
    } cases[] = {
        { "2026-01-31", "Saturday 031 00:00:00" },
        { "2024-12-31 23:59", "Tuesday 366 23:59:00" },
        { "2000-02-29T01:02:03", "Tuesday 060 01:02:03" },
        { "26-01-31", NULL },
        { "2026-13-01", NULL },
        { "2026-01-31 x", NULL },
        { "", NULL },
    };
    static const char text[] = "{{ strftime_now('%A %j %H:%M:%S') }}";

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct woq_error err = { 0 };
        struct woq_str out = { 0 };
        const int rc = render(text, sizeof text - 1, "{}", 2, cases[i].date, &out, &err);

        if (!cases[i].want)
            assert_int_equal(rc, WOQ_EUSAGE);
        else
            assert_string_equal(rc < 0 ? err.what : out.s, cases[i].want);
        woq_str_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions), cmocka_unit_test(conversations), cmocka_unit_test(refusals),
        cmocka_unit_test(nesting),     cmocka_unit_test(variables),     cmocka_unit_test(steps),
        cmocka_unit_test(dates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
