/* core.c -- errors, JSON, options, threads, sizes: the small rooms of lib. */
#include <woq/filter.h>
#include <woq/threads.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_json(void **state)
{
    const char *text =
        "{\"a\":NaN,\"b\":-Infinity,\"c\":\"N\\\"aN\",\"d\":[1,2.5,true,null],\"c\":\"z\"} \n";
    struct woq_json *j = NULL;
    struct woq_error err = { 0 };
    uint64_t u;

    (void)state;
    assert_int_equal(woq_json_parse(&j, text, strlen(text), &err), WOQ_OK);
    assert_string_equal(woq_json_get_str(j, "c"), "z");
    assert_int_equal(woq_json_type(woq_json_get(j, "b")), WOQ_JNULL);
    assert_int_equal(woq_json_len(woq_json_get(j, "d")), 4);
    assert_true(woq_json_u64(woq_json_first(woq_json_get(j, "d")), &u) && u == 1);
    assert_false(woq_json_u64(woq_json_next(woq_json_first(woq_json_get(j, "d"))), &u));
    assert_true(woq_json_get_int(j, "nothing", -7) == -7);
    woq_json_free(j);
    assert_int_equal(woq_json_parse(&j, "{\"a\":\"x\\u0000y\"}", 16, &err), WOQ_EDATA);
    assert_int_equal(woq_json_parse(&j, "{} x", 4, &err), WOQ_EDATA);
    assert_int_equal(woq_json_parse(&j, "", 0, &err), WOQ_EDATA);
    assert_int_equal(woq_json_parse(&j, "[1,2", 4, &err), WOQ_EDATA);
}

static void test_errors(void **state)
{
    struct woq_error err = { 0 };

    (void)state;
    assert_int_equal(woq_fail(&err, WOQ_EDATA, "try %s", "bad \033[31m %d", 3), WOQ_EDATA);
    assert_string_equal(err.what, "bad ?[31m 3");
    assert_string_equal(err.hint, "try %s");
    woq_error_at(&err, "here");
    woq_error_at(&err, "there");
    assert_string_equal(err.where, "here");
    assert_int_equal(woq_exit_status(WOQ_EUSAGE), 2);
    assert_int_equal(woq_exit_status(WOQ_ETRUNC), 3);
    assert_int_equal(woq_exit_status(WOQ_EUPSTREAM), 3);
    assert_int_equal(woq_exit_status(WOQ_EDATA), 1);
    assert_int_equal(woq_exit_status(WOQ_ITEM), 0);
}

static void test_sizes(void **state)
{
    uint64_t n = 0;
    size_t s;

    (void)state;
    assert_int_equal(woq_parse_size("1.5K", &n, NULL), WOQ_OK);
    assert_true(n == 1536);
    assert_int_equal(woq_parse_size("2GiB", &n, NULL), WOQ_OK);
    assert_true(n == (uint64_t)2 << 30);
    assert_int_equal(woq_parse_size("-1", &n, NULL), WOQ_EUSAGE);
    assert_int_equal(woq_parse_size("1e30", &n, NULL), WOQ_EUSAGE);
    assert_int_equal(woq_parse_size("K", &n, NULL), WOQ_EUSAGE);
    assert_false(woq_mul_size(SIZE_MAX, 2, &s));
    assert_false(woq_add_size(SIZE_MAX, 1, &s));
}

static long o_int = 4;
static bool o_flag;
static double o_f = 0.5;
static const char *o_enum = "a";
static struct woq_list o_list;
static const struct woq_opt table[] = {
    { WOQ_OPT_INT, 'b', "bits", "N", &o_int, false, "bits", .lo = 1, .hi = 8 },
    { WOQ_OPT_FLAG, 's', "sym", NULL, &o_flag, false, "symmetric" },
    { WOQ_OPT_F64, 0, "damp", "X", &o_f, false, "damping", .local = true },
    { WOQ_OPT_ENUM, 0, "kind", "K", &o_enum, false, "kind", .choices = "a|bc" },
    { WOQ_OPT_LIST, 'r', "rule", "R", &o_list, true, "rule" },
    { WOQ_OPT_END },
};

static int parse(char **argv, int argc, int *n, bool *seen, struct woq_error *err)
{
    const struct woq_opt *tables[] = { table };

    return woq_opt_parse(tables, 1, argc, argv, n, seen, err);
}

static void test_options(void **state)
{
    const struct woq_opt *tables[] = { table };
    char a[][16] = { "prog", "-sb3", "in", "--kind=bc", "-r", "x y", "--damp", "0.1", "--", "-q" };
    char *argv[10];
    struct woq_error err = { 0 };
    struct woq_str rec = { 0 };
    bool seen[8] = { false };
    int n;

    (void)state;
    for (int i = 0; i < 10; i++)
        argv[i] = a[i];
    assert_int_equal(parse(argv, 10, &n, seen, &err), WOQ_OK);
    assert_int_equal(n, 2);
    assert_string_equal(argv[0], "in");
    assert_string_equal(argv[1], "-q");
    assert_true(o_flag && o_int == 3 && o_list.n == 1);
    woq_opt_record(tables, 1, seen, &rec);
    assert_string_equal(rec.s, "--bits 3 --sym --kind bc --rule 'x y'");
    woq_str_release(&rec);
    free(o_list.items);
    o_list.items = NULL;
    o_list.n = 0;
}

static void test_option_errors(void **state)
{
    static const struct {
        const char *args[3], *what;
    } bad[] = {
        { { "--bits=9" }, "--bits 9: want 1 to 8" },
        { { "--bits", "x" }, "--bits 'x': want an integer" },
        { { "--kind", "b" }, "--kind 'b': want one of a|bc" },
        { { "--sym=1" }, "--sym takes no value" },
        { { "--damp", "nan" }, "--damp 'nan': want a finite number" },
        { { "--bit", "3" }, "unknown option --bit" },
        { { "-x" }, "unknown option -x" },
        { { "--rule" }, "--rule wants R" },
        { { "-s" }, "--rule R is required" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[3][32] = { "prog" }, *argv[3] = { text[0], text[1], text[2] };
        struct woq_error err = { 0 };
        int argc = 1, n;

        for (; argc < 3 && bad[i].args[argc - 1]; argc++)
            snprintf(text[argc], 32, "%s", bad[i].args[argc - 1]);
        assert_int_equal(parse(argv, argc, &n, NULL, &err), WOQ_EUSAGE);
        assert_string_equal(err.what, bad[i].what);
    }
}

struct sum {
    unsigned hits[1000];
};

static void hit(void *ctx, size_t item, int thread)
{
    struct sum *s = ctx;

    (void)thread;
    s->hits[item]++;
}

static void test_threads(void **state)
{
    static struct sum s;

    (void)state;
    woq_threads_set(4);
    for (int turn = 0; turn < 50; turn++)
        woq_parallel(1000, hit, &s);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(s.hits[i], 50);
}

static void test_frames(void **state)
{
    struct woq_frame f = { 0 }, g = { 0 };
    const uint64_t shape[2] = { 2, 3 }, huge[2] = { UINT64_MAX / 2, 4 };
    float data[6] = { 1, 2, 3, 4, 5, 6 };
    const struct woq_array *a;
    struct woq_error err = { 0 };
    struct woq_tensor t;

    (void)state;
    woq_frame_begin(&f, "TENS");
    woq_json_set_str(woq_frame_edit(&f), "name", "w");
    assert_int_equal(woq_frame_add(&f, "data", WOQ_F32, 2, huge, data, &err), WOQ_EDATA);
    assert_int_equal(woq_frame_add(&f, "data", WOQ_F32, 2, shape, data, &err), WOQ_OK);
    assert_int_equal(woq_frame_view(&f, &t, &err), WOQ_OK);
    assert_true(t.n_rows == 2 && t.n_cols == 3 && t.n_elem == 6);
    assert_int_equal(woq_frame_want(&f, "data", WOQ_F16, 0, &a, &err), WOQ_ETYPE);
    assert_int_equal(woq_frame_want(&f, "scale", WOQ_F32, 0, &a, &err), WOQ_EDATA);
    woq_frame_move(&g, &f);
    assert_string_equal(woq_frame_name(&g), "w");
    assert_null(f.meta);
    woq_frame_del(&g, "data");
    assert_null(woq_frame_array(&g, "data"));
    woq_frame_release(&g);
    woq_frame_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),          cmocka_unit_test(test_errors),
        cmocka_unit_test(test_sizes),         cmocka_unit_test(test_options),
        cmocka_unit_test(test_option_errors), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_frames),
    };

    return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
