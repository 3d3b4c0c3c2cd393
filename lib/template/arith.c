/* arith.c -- operators of two operands, with Python's int (64 bits of it), float, str and
 * list. */
#include "internal.h"

#include <math.h>
static struct tpl_val overflow(struct tpl_run *r)
{
    tpl_fail(r, WOQ_EUNSUPPORTED, NULL, "a number beyond 64 bits");
    return tpl_none;
}

static struct tpl_val power(struct tpl_run *r, int64_t x, int64_t y)
{
    int64_t p = 1;

    if (y < 0)
        return x ? tpl_float(pow((double)x, (double)y)) : tpl_float((double)INFINITY);
    if (x == 0 || x == 1 || x == -1)
        return tpl_int(y == 0 ? 1 : x == -1 && y % 2 == 0 ? 1 : x);
    for (; y > 0; y--)
        if (__builtin_mul_overflow(p, x, &p))
            return overflow(r);
    return tpl_int(p);
}

static struct tpl_val ints(struct tpl_run *r, int op, int64_t x, int64_t y)
{
    int64_t out = 0;
    bool bad = false;

    if ((op == '/' || op == '%' || op == TPL_OP2('/', '/')) && y == 0) {
        tpl_fail(r, WOQ_EDATA, NULL, "a division by zero");
        return tpl_none;
    }
    if ((op == '%' || op == TPL_OP2('/', '/')) && y == -1)
        return op == '%' ? tpl_int(0) : ints(r, '-', 0, x);
    switch (op) {
    case '+':
        bad = __builtin_add_overflow(x, y, &out);
        break;
    case '-':
        bad = __builtin_sub_overflow(x, y, &out);
        break;
    case '*':
        bad = __builtin_mul_overflow(x, y, &out);
        break;
    case '/':
        return tpl_float((double)x / (double)y);
    case '%':
        out = x % y + (x % y && (x < 0) != (y < 0) ? y : 0);
        break;
    case TPL_OP2('/', '/'):
        out = x / y - (x % y && (x < 0) != (y < 0));
        break;
    default:
        return power(r, x, y);
    }
    return bad ? overflow(r) : tpl_int(out);
}

/* The floor of a quotient that is whole but for rounding; a zero has the sign of x / y. */
static double whole_part(double quotient, double sign)
{
    const double whole = floor(quotient);

    return quotient == 0 ? copysign(0, sign) : quotient - whole > 0.5 ? whole + 1 : whole;
}

static struct tpl_val floats(struct tpl_run *r, int op, double x, double y)
{
    double m;

    if ((op == '/' || op == '%' || op == TPL_OP2('/', '/')) && y == 0) {
        tpl_fail(r, WOQ_EDATA, NULL, "a division by zero");
        return tpl_none;
    }
    switch (op) {
    case '+':
        return tpl_float(x + y);
    case '-':
        return tpl_float(x - y);
    case '*':
        return tpl_float(x * y);
    case '/':
        return tpl_float(x / y);
    case '%':
    case TPL_OP2('/', '/'):
        m = fmod(x, y);
        if (m != 0 && (m < 0) != (y < 0))
            m += y;
        else if (m == 0)
            m = copysign(0, y);
        return tpl_float(op == '%' ? m : whole_part((x - m) / y, x / y));
    default:
        if (x < 0 && floor(y) < y)
            tpl_unsupported(r, "complex numbers");
        return tpl_float(pow(x, y));
    }
}

static struct tpl_val join_lists(struct tpl_run *r, struct tpl_val a, struct tpl_val b)
{
    const size_t n = a.seq->n;
    const struct tpl_val list = tpl_seq_new(r, a.type, n + b.seq->n);

    for (size_t i = 0; r->rc == WOQ_OK && i < list.seq->n; i++)
        tpl_seq_set(r, list, i, i < n ? a.seq->v[i] : b.seq->v[i - n]);
    return list;
}

static struct tpl_val repeat(struct tpl_run *r, struct tpl_val v, struct tpl_val count)
{
    const size_t n = count.type == TPL_BOOL ? count.b : count.i > 0 ? (size_t)count.i : 0;
    struct woq_str out = { 0 };
    struct tpl_val list;
    size_t all;

    if (v.type == TPL_STRING) {
        for (size_t i = 0; v.len && tpl_step(r, 1) && i < n; i++)
            tpl_add(r, &out, v.s, v.len);
        return tpl_text_of(r, &out);
    }
    if (!woq_mul_size(v.seq->n, n, &all))
        all = SIZE_MAX / 64;
    list = tpl_seq_new(r, v.type, all);
    for (size_t i = 0; r->rc == WOQ_OK && i < list.seq->n; i++)
        tpl_seq_set(r, list, i, v.seq->v[i % v.seq->n]);
    return list;
}

static bool repeats(struct tpl_val v, struct tpl_val n)
{
    return (v.type == TPL_STRING || v.type == TPL_LIST || v.type == TPL_TUPLE) &&
           (n.type == TPL_INT || n.type == TPL_BOOL);
}

static int64_t integer(struct tpl_val v)
{
    return v.type == TPL_BOOL ? v.b : v.i;
}

static bool is_markup(struct tpl_val v)
{
    return v.type == TPL_STRING && v.safe;
}

static struct tpl_val join_texts(struct tpl_run *r, struct tpl_val a, struct tpl_val b)
{
    struct woq_str out = { 0 };

    tpl_add(r, &out, a.s, a.len);
    tpl_add(r, &out, b.s, b.len);
    return tpl_text_of(r, &out);
}

/* What is not Markup is escaped on its way into it. */
static struct tpl_val join_markup(struct tpl_run *r, struct tpl_val a, struct tpl_val b)
{
    struct tpl_val v = join_texts(r, tpl_escape(r, a), tpl_escape(r, b));

    v.safe = true;
    return v;
}

struct tpl_val tpl_binary(struct tpl_run *r, int op, struct tpl_val a, struct tpl_val b)
{
    char text[3];

    if (!tpl_is_defined(r, a) || !tpl_is_defined(r, b))
        return tpl_undefined;
    if (is_markup(a) || is_markup(b)) {
        if (op == '+' && a.type == TPL_STRING && b.type == TPL_STRING)
            return join_markup(r, a, b);
        tpl_unsupported(r, "'%s' with the result of 'safe'", tpl_op_text(op, text));
        return tpl_undefined;
    }
    if (tpl_is_number(a) && tpl_is_number(b))
        return a.type == TPL_FLOAT || b.type == TPL_FLOAT
                   ? floats(r, op, tpl_number(a), tpl_number(b))
                   : ints(r, op, integer(a), integer(b));
    if (op == '+' && a.type == TPL_STRING && b.type == TPL_STRING)
        return join_texts(r, a, b);
    if (op == '+' && a.type == b.type && (a.type == TPL_LIST || a.type == TPL_TUPLE))
        return join_lists(r, a, b);
    if (op == '*' && (repeats(a, b) || repeats(b, a)))
        return repeats(a, b) ? repeat(r, a, b) : repeat(r, b, a);
    if (op == '%' && a.type == TPL_STRING)
        return tpl_percent(r, a,
                           &(struct tpl_args){ .v = b.type == TPL_TUPLE ? b.seq->v : &b,
                                               .n = b.type == TPL_TUPLE ? b.seq->n : 1 });
    tpl_fail(r, WOQ_EDATA, NULL, "'%s' between %s and %s", tpl_op_text(op, text), tpl_type_name(a),
             tpl_type_name(b));
    return tpl_undefined;
}
