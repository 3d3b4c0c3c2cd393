/* test.c -- the tests behind `is`, and in select() and its like. */
#include "internal.h"

typedef bool test_fn(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p);

static bool is_iterable(struct tpl_val v)
{
    return v.type == TPL_UNDEFINED || v.type == TPL_STRING || v.type == TPL_DICT ||
           v.type == TPL_LOOP || tpl_is_seq(v);
}

static bool t_iterable(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    (void)r;
    (void)p;
    return is_iterable(v);
}

static bool t_sequence(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    (void)r;
    (void)p;
    return is_iterable(v) && v.type != TPL_VIEW && v.type != TPL_GENERATOR && v.type != TPL_LOOP;
}

static bool t_callable(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    (void)r;
    (void)p;
    return v.type == TPL_UNDEFINED || v.type == TPL_MACRO || v.type == TPL_FUNCTION ||
           v.type == TPL_METHOD || v.type == TPL_LOOP;
}

static bool t_true(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    (void)r;
    (void)p;
    return v.type == TPL_BOOL && v.b;
}

static bool t_false(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    (void)r;
    (void)p;
    return v.type == TPL_BOOL && !v.b;
}

static bool t_sameas(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    const struct tpl_val o = p->v[0];

    if (v.type != TPL_NONE && v.type != TPL_BOOL && o.type != TPL_NONE && o.type != TPL_BOOL)
        tpl_unsupported(r, "the test 'sameas' of values that are neither none nor boolean");
    return v.type == o.type && (v.type == TPL_NONE || v.b == o.b);
}

/* v % x == y */
static bool modulo(struct tpl_run *r, struct tpl_val v, struct tpl_val x, int64_t y)
{
    const struct tpl_val m = tpl_binary(r, '%', v, x);

    return r->rc == WOQ_OK && tpl_equal(r, m, tpl_int(y));
}

static bool t_odd(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    (void)p;
    return modulo(r, v, tpl_int(2), 1);
}

static bool t_even(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    (void)p;
    return modulo(r, v, tpl_int(2), 0);
}

static bool t_divisibleby(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    return modulo(r, v, p->v[0], 0);
}

/* islower(), isupper(): some letter has a case, and none the other. */
static bool one_case(struct tpl_run *r, struct tpl_val v, enum tpl_case to, enum tpl_case other)
{
    const struct tpl_val s = tpl_str(r, v);

    return r->rc == WOQ_OK && tpl_equal(r, s, tpl_case_of(r, s, to)) &&
           !tpl_equal(r, s, tpl_case_of(r, s, other));
}

static bool t_lower(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    (void)p;
    return one_case(r, v, TPL_LOWER, TPL_UPPER);
}

static bool t_upper(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    (void)p;
    return one_case(r, v, TPL_UPPER, TPL_LOWER);
}

static bool t_in(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    return tpl_contains(r, p->v[0], v);
}

static bool t_eq(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    return tpl_equal(r, v, p->v[0]);
}

static bool t_ne(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    return !tpl_equal(r, v, p->v[0]);
}

static int order(struct tpl_run *r, struct tpl_val a, struct tpl_val b, const char *op)
{
    return tpl_is_defined(r, a) && tpl_is_defined(r, b) ? tpl_order(r, a, b, op) : 0;
}

static bool t_gt(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    return order(r, v, p->v[0], ">") > 0;
}

static bool t_ge(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    return order(r, v, p->v[0], ">=") >= 0;
}

static bool t_lt(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    return order(r, v, p->v[0], "<") < 0;
}

static bool t_le(struct tpl_run *r, struct tpl_val v, const struct tpl_params *p)
{
    return order(r, v, p->v[0], "<=") <= 0;
}

/* A function, or the types for which the answer is yes, one bit each. */
#define OF(type) (1u << (type))
static const struct {
    const char *name;
    unsigned types;
    test_fn *fn;
    const char *params;
} tests[] = {
    { "defined", ~OF(TPL_UNDEFINED), NULL, "" },
    { "undefined", OF(TPL_UNDEFINED), NULL, "" },
    { "none", OF(TPL_NONE), NULL, "" },
    { "string", OF(TPL_STRING), NULL, "" },
    { "mapping", OF(TPL_DICT), NULL, "" },
    { "number", OF(TPL_BOOL) | OF(TPL_INT) | OF(TPL_FLOAT), NULL, "" },
    { "integer", OF(TPL_INT), NULL, "" },
    { "float", OF(TPL_FLOAT), NULL, "" },
    { "boolean", OF(TPL_BOOL), NULL, "" },
    { "iterable", 0, t_iterable, "" },
    { "sequence", 0, t_sequence, "" },
    { "callable", 0, t_callable, "" },
    { "true", 0, t_true, "" },
    { "false", 0, t_false, "" },
    { "sameas", 0, t_sameas, "other" },
    { "odd", 0, t_odd, "" },
    { "even", 0, t_even, "" },
    { "divisibleby", 0, t_divisibleby, "num" },
    { "lower", 0, t_lower, "" },
    { "upper", 0, t_upper, "" },
    { "in", 0, t_in, "seq" },
    { "eq", 0, t_eq, "b" },
    { "equalto", 0, t_eq, "b" },
    { "==", 0, t_eq, "b" },
    { "ne", 0, t_ne, "b" },
    { "!=", 0, t_ne, "b" },
    { "gt", 0, t_gt, "b" },
    { "greaterthan", 0, t_gt, "b" },
    { ">", 0, t_gt, "b" },
    { "ge", 0, t_ge, "b" },
    { ">=", 0, t_ge, "b" },
    { "lt", 0, t_lt, "b" },
    { "lessthan", 0, t_lt, "b" },
    { "<", 0, t_lt, "b" },
    { "le", 0, t_le, "b" },
    { "<=", 0, t_le, "b" },
};
#define N_TESTS (sizeof tests / sizeof tests[0])

bool tpl_test(struct tpl_run *r, const char *name, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;
    size_t i = 0;

    while (i < N_TESTS && strcmp(name, tests[i].name) != 0)
        i++;
    if (i == N_TESTS) {
        tpl_unsupported(r, "the test '%.60s'", name);
        return false;
    }
    if (!tpl_bind(r, &p, tests[i].params, name, args))
        return false;
    return tests[i].fn ? tests[i].fn(r, v, &p) : (tests[i].types >> v.type & 1) != 0;
}
