/* eval.c -- expressions of a template to values. */
#include "internal.h"

/* ------------------------------------------------------------------ attributes, subscripts */
bool tpl_is_defined(struct tpl_run *r, struct tpl_val v)
{
    if (v.type == TPL_UNDEFINED)
        tpl_fail(r, WOQ_EDATA, NULL, "%s", v.s ? v.s : "an undefined value is used");
    return v.type != TPL_UNDEFINED;
}

static struct tpl_val index_of(struct tpl_run *r, struct tpl_val v, int64_t i)
{
    const size_t n = tpl_len(r, v);
    size_t at;

    if (i < 0)
        i += (int64_t)n;
    if (i < 0 || (uint64_t)i >= n)
        return tpl_missing(r, "%s has no element %lld", tpl_type_name(v), (long long)i);
    if (v.type != TPL_STRING)
        return v.seq->v[i];
    at = tpl_text_at(v, (size_t)i);
    v.s += at;
    v.len -= at;
    v.len = tpl_text_at(v, 1);
    return v;
}

/* v[key] as Python has it; false where it raises. */
static bool item(struct tpl_run *r, struct tpl_val v, struct tpl_val key, struct tpl_val *out)
{
    const struct tpl_val *found;

    if (v.type == TPL_DICT) {
        found = key.type == TPL_STRING || tpl_is_number(key) || key.type == TPL_NONE ||
                        key.type == TPL_TUPLE
                    ? tpl_dict_get(r, v.dict, key)
                    : NULL;
        if (found)
            *out = *found;
        return found != NULL;
    }
    if (key.type != TPL_INT && key.type != TPL_BOOL)
        return false;
    if (v.type != TPL_STRING && v.type != TPL_LIST && v.type != TPL_TUPLE && v.type != TPL_RANGE)
        return false;
    *out = index_of(r, v, key.type == TPL_INT ? key.i : key.b);
    return out->type != TPL_UNDEFINED;
}

/* What is no item: of a namespace and of a loop, or a method. */
static bool attribute(struct tpl_run *r, struct tpl_val v, struct tpl_val name, struct tpl_val *out)
{
    const struct tpl_val *found;

    if (v.type == TPL_NAMESPACE) {
        if ((found = tpl_dict_get(r, v.dict, name)))
            *out = *found;
        return found != NULL;
    }
    if (v.type == TPL_LOOP)
        return tpl_loop_attr(r, v.loop, name, out);
    return tpl_method_find(r, v, name, out);
}

/* a.name looks for attributes first, a['name'] for items. */
struct tpl_val tpl_attr(struct tpl_run *r, struct tpl_val v, struct tpl_val name, bool dot)
{
    struct tpl_val out = tpl_undefined;

    if (!tpl_is_defined(r, v))
        return out;
    if (name.type == TPL_STRING && name.len > 1 && !memcmp(name.s, "__", 2))
        tpl_unsupported(r, "the attribute '%.*s'", (int)(name.len < 60 ? name.len : 60), name.s);
    if (r->rc < 0 || (dot && attribute(r, v, name, &out)) || item(r, v, name, &out) ||
        (!dot && name.type == TPL_STRING && attribute(r, v, name, &out)))
        return out;
    if (name.type != TPL_STRING)
        return tpl_missing(r, "%s has no such element", tpl_type_name(v));
    return tpl_missing(r, "%s has no attribute '%.*s'", tpl_type_name(v),
                       (int)(name.len < 60 ? name.len : 60), name.s);
}

/* Python's slice: bounds that are cut to [0, n], or [-1, n-1] for a negative step. */
static int64_t bound(struct tpl_val v, int64_t n, int64_t otherwise, bool back)
{
    const int64_t low = back ? -1 : 0, high = back ? n - 1 : n;
    int64_t i;

    if (v.type == TPL_NONE)
        return otherwise;
    i = v.type == TPL_BOOL ? v.b : v.i;
    if (i < 0)
        i = i < -n ? low : i + n;
    return i < low ? low : i > high ? high : i;
}

static struct tpl_val slice(struct tpl_run *r, struct tpl_val v, const struct tpl_val part[3])
{
    const int64_t n = (int64_t)tpl_len(r, v);
    const int64_t step = part[2].type == TPL_NONE   ? 1
                         : part[2].type == TPL_BOOL ? part[2].b
                                                    : part[2].i;
    const bool back = step < 0;
    const int64_t from = bound(part[0], n, back ? n - 1 : 0, back);
    const int64_t to = bound(part[1], n, back ? -1 : n, back);
    const uint64_t width = back ? -(uint64_t)step : (uint64_t)step;
    const size_t count = back        ? from > to ? ((uint64_t)(from - to) - 1) / width + 1 : 0
                         : to > from ? ((uint64_t)(to - from) - 1) / width + 1
                                     : 0;
    const struct tpl_seq *items;
    struct tpl_val list;

    if (v.type == TPL_STRING && step == 1) {
        const size_t a = tpl_text_at(v, (size_t)from);
        const struct tpl_val rest = { .type = TPL_STRING, .s = v.s + a, .len = v.len - a };

        v.len = tpl_text_at(rest, count);
        v.s = rest.s;
        return v;
    }
    list = tpl_seq_new(r, v.type == TPL_STRING ? TPL_LIST : v.type, count);
    items = tpl_items(r, v);
    for (size_t i = 0; r->rc == WOQ_OK && i < count; i++)
        tpl_seq_set(r, list, i, items->v[from + (int64_t)i * step]);
    if (v.type == TPL_STRING)
        return tpl_filter(r, "join", list, &(struct tpl_args){ 0 });
    return list;
}

static struct tpl_val eval_slice(struct tpl_run *r, const struct tpl_node *n)
{
    const struct tpl_val v = tpl_eval(r, n->a);
    struct tpl_val part[3];

    for (size_t i = 0; i < 3; i++) {
        part[i] = n->list[i] ? tpl_eval(r, n->list[i]) : tpl_none;
        r->at = n;
        if (r->rc == WOQ_OK && part[i].type != TPL_NONE && part[i].type != TPL_INT &&
            part[i].type != TPL_BOOL)
            tpl_fail(r, WOQ_EDATA, NULL, "a slice with a bound of type %s", tpl_type_name(part[i]));
    }
    if (r->rc == WOQ_OK && part[2].type == TPL_INT && !part[2].i)
        tpl_fail(r, WOQ_EDATA, NULL, "a slice with step 0");
    if (r->rc < 0 || !tpl_is_defined(r, v))
        return tpl_undefined;
    if (v.type != TPL_STRING && v.type != TPL_LIST && v.type != TPL_TUPLE && v.type != TPL_RANGE) {
        tpl_fail(r, WOQ_EDATA, NULL, "a value of type %s can't be sliced", tpl_type_name(v));
        return tpl_undefined;
    }
    return slice(r, v, part);
}

/* ------------------------------------------------------------------ operators */
static struct tpl_val eval_unary(struct tpl_run *r, const struct tpl_node *n)
{
    const struct tpl_val v = tpl_eval(r, n->a);

    r->at = n;
    if (r->rc < 0 || !tpl_is_defined(r, v))
        return tpl_undefined;
    if (!tpl_is_number(v))
        tpl_fail(r, WOQ_EDATA, NULL, "'%c' before a value of type %s", n->op, tpl_type_name(v));
    if (v.type == TPL_FLOAT)
        return tpl_float(n->op == '-' ? -v.f : v.f);
    return tpl_binary(r, n->op, tpl_int(0), v);
}

/* ------------------------------------------------------------------ comparisons */
bool tpl_contains(struct tpl_run *r, struct tpl_val v, struct tpl_val x)
{
    const struct tpl_seq *items;
    bool found = false;

    if (v.type == TPL_STRING) {
        if (x.type != TPL_STRING)
            tpl_fail(r, WOQ_EDATA, NULL, "'in' a string with a value of type %s", tpl_type_name(x));
        return tpl_step(r, 1 + v.len / 64) && x.type == TPL_STRING && tpl_find(v, 0, x) != SIZE_MAX;
    }
    if (v.type == TPL_DICT)
        return tpl_dict_get(r, v.dict, x) != NULL;
    items = tpl_items(r, v);
    for (size_t i = 0; !found && r->rc == WOQ_OK && i < items->n; i++)
        found = tpl_equal(r, items->v[i], x);
    return found;
}

static bool compare(struct tpl_run *r, int op, struct tpl_val a, struct tpl_val b)
{
    char text[3];

    switch (op) {
    case TPL_OP_IN:
        return tpl_contains(r, b, a);
    case TPL_OP_NOT_IN:
        return !tpl_contains(r, b, a);
    case TPL_OP2('=', '='):
        return tpl_equal(r, a, b);
    case TPL_OP2('!', '='):
        return !tpl_equal(r, a, b);
    default:
        break;
    }
    if (!tpl_is_defined(r, a) || !tpl_is_defined(r, b))
        return false;
    {
        const int c = tpl_order(r, a, b, tpl_op_text(op, text));

        return op == '<' ? c < 0 : op == '>' ? c > 0 : op == TPL_OP2('<', '=') ? c <= 0 : c >= 0;
    }
}

static struct tpl_val eval_compare(struct tpl_run *r, const struct tpl_node *n)
{
    struct tpl_val a = tpl_eval(r, n->a);
    bool yes = true;

    for (size_t i = 0; yes && r->rc == WOQ_OK && i < n->n; i++) {
        const struct tpl_val b = tpl_eval(r, n->list[i]->a);

        r->at = n->list[i];
        yes = r->rc == WOQ_OK && compare(r, n->list[i]->op, a, b);
        a = b;
    }
    return tpl_bool(yes);
}

/* ------------------------------------------------------------------ calls */
/* The arguments of a call; the node is `at` again afterwards. */
static struct tpl_args arguments(struct tpl_run *r, const struct tpl_node *n)
{
    struct tpl_val *v = tpl_alloc(r, n->n, sizeof *v);
    struct tpl_pair *named = tpl_alloc(r, n->n, sizeof *named);
    struct tpl_args args = { .v = v, .named = named };

    for (size_t i = 0; r->rc == WOQ_OK && i < n->n; i++) {
        const struct tpl_node *x = n->list[i];

        if (x->kind == TPL_KWARG)
            named[args.n_named++] =
                (struct tpl_pair){ tpl_text(x->name, strlen(x->name)), tpl_eval(r, x->a) };
        else
            v[args.n++] = tpl_eval(r, x);
    }
    r->at = n;
    return args;
}

struct tpl_val tpl_call(struct tpl_run *r, struct tpl_val f, const struct tpl_args *args)
{
    if (r->rc < 0 || !tpl_is_defined(r, f))
        return tpl_undefined;
    switch (f.type) {
    case TPL_MACRO:
        return tpl_macro_call(r, f.macro, args);
    case TPL_FUNCTION:
        return tpl_function_call(r, f.function, args);
    case TPL_METHOD:
        return tpl_method_call(r, f.bound, args);
    default:
        tpl_fail(r, WOQ_EDATA, NULL, "a value of type %s can't be called", tpl_type_name(f));
        return tpl_undefined;
    }
}

static struct tpl_val eval_call(struct tpl_run *r, const struct tpl_node *n)
{
    const struct tpl_val f = tpl_eval(r, n->a);
    const struct tpl_args args = arguments(r, n);

    return tpl_call(r, f, &args);
}

static struct tpl_val filter_with(struct tpl_run *r, const struct tpl_node *n, struct tpl_val v)
{
    const struct tpl_args args = arguments(r, n);

    return r->rc < 0 ? tpl_undefined : tpl_filter(r, n->name, v, &args);
}

struct tpl_val tpl_filters(struct tpl_run *r, const struct tpl_node *n, struct tpl_val text)
{
    return filter_with(r, n, n->a ? tpl_filters(r, n->a, text) : text);
}

static struct tpl_val eval_test(struct tpl_run *r, const struct tpl_node *n)
{
    const struct tpl_val v = tpl_eval(r, n->a);
    const struct tpl_args args = arguments(r, n);

    return r->rc < 0 ? tpl_undefined : tpl_bool(tpl_test(r, n->name, v, &args));
}

/* ------------------------------------------------------------------ the rest */
static struct tpl_val eval_name(struct tpl_run *r, const struct tpl_node *n)
{
    const struct tpl_val *found = tpl_name_get(r, n->name);
    struct tpl_val v;

    if (found)
        return *found;
    return tpl_global(r, n->name, &v) ? v : tpl_missing(r, "'%.60s' is undefined", n->name);
}

static struct tpl_val eval_list(struct tpl_run *r, const struct tpl_node *n)
{
    const struct tpl_val v = tpl_seq_new(r, n->kind == TPL_LIST_OF ? TPL_LIST : TPL_TUPLE, n->n);

    for (size_t i = 0; r->rc == WOQ_OK && i < n->n; i++)
        tpl_seq_set(r, v, i, tpl_eval(r, n->list[i]));
    return v;
}

static struct tpl_val eval_dict(struct tpl_run *r, const struct tpl_node *n)
{
    const struct tpl_val v = tpl_dict_new(r, TPL_DICT);

    for (size_t i = 0; r->rc == WOQ_OK && i + 1 < n->n; i += 2) {
        const struct tpl_val key = tpl_eval(r, n->list[i]), value = tpl_eval(r, n->list[i + 1]);

        r->at = n;
        if (r->rc == WOQ_OK)
            tpl_dict_set(r, v, key, value);
    }
    return v;
}

static struct tpl_val eval_concat(struct tpl_run *r, const struct tpl_node *n)
{
    struct woq_str out = { 0 };

    for (size_t i = 0; r->rc == WOQ_OK && i < n->n; i++) {
        const struct tpl_val v = tpl_eval(r, n->list[i]);

        r->at = n;
        if (r->rc == WOQ_OK)
            tpl_print(r, &out, v);
    }
    return tpl_text_of(r, &out);
}

static struct tpl_val eval_binary(struct tpl_run *r, const struct tpl_node *n)
{
    const struct tpl_val a = tpl_eval(r, n->a);
    const struct tpl_val b = r->rc < 0 ? tpl_undefined : tpl_eval(r, n->b);

    r->at = n;
    return r->rc < 0 ? tpl_undefined : tpl_binary(r, n->op, a, b);
}

static struct tpl_val eval_choice(struct tpl_run *r, const struct tpl_node *n)
{
    if (tpl_truth(tpl_eval(r, n->b)))
        return tpl_eval(r, n->a);
    return n->c ? tpl_eval(r, n->c) : tpl_missing(r, "a condition without 'else' was false");
}

static struct tpl_val eval_logic(struct tpl_run *r, const struct tpl_node *n)
{
    const struct tpl_val a = tpl_eval(r, n->a);

    if (n->kind == TPL_NOT)
        return tpl_bool(!tpl_truth(a));
    return r->rc < 0 || tpl_truth(a) == (n->kind == TPL_OR) ? a : tpl_eval(r, n->b);
}

static struct tpl_val eval_attr(struct tpl_run *r, const struct tpl_node *n)
{
    const bool dot = n->kind == TPL_ATTR;
    const struct tpl_val v = tpl_eval(r, n->a);
    const struct tpl_val name = dot ? tpl_text(n->name, strlen(n->name)) : tpl_eval(r, n->b);

    r->at = n;
    return r->rc < 0 ? tpl_undefined : tpl_attr(r, v, name, dot);
}

static struct tpl_val eval(struct tpl_run *r, const struct tpl_node *n)
{
    switch (n->kind) {
    case TPL_CONST:
        return n->value;
    case TPL_NAME:
        return eval_name(r, n);
    case TPL_LIST_OF:
    case TPL_TUPLE_OF:
        return eval_list(r, n);
    case TPL_DICT_OF:
        return eval_dict(r, n);
    case TPL_ATTR:
    case TPL_ITEM:
        return eval_attr(r, n);
    case TPL_SLICE:
        return eval_slice(r, n);
    case TPL_CALL:
        return eval_call(r, n);
    case TPL_FILTER: {
        const struct tpl_val v = tpl_eval(r, n->a);

        return filter_with(r, n, v);
    }
    case TPL_TEST:
        return eval_test(r, n);
    case TPL_UNARY:
        return eval_unary(r, n);
    case TPL_BINARY:
        return eval_binary(r, n);
    case TPL_CONCAT:
        return eval_concat(r, n);
    case TPL_COMPARE:
        return eval_compare(r, n);
    case TPL_CHOICE:
        return eval_choice(r, n);
    default:
        return eval_logic(r, n);
    }
}

struct tpl_val tpl_eval(struct tpl_run *r, const struct tpl_node *n)
{
    struct tpl_val v = tpl_undefined;

    if (r->rc < 0 || !tpl_step(r, 1))
        return v;
    r->at = n;
    if (r->depth >= TPL_MAX_DEPTH) {
        tpl_fail(r, WOQ_EDATA, NULL, "calls and expressions nested more than %d deep",
                 TPL_MAX_DEPTH);
        return v;
    }
    r->depth++;
    v = eval(r, n);
    r->depth--;
    r->at = n;
    return v;
}
