/* expr.c -- expressions of a template: Jinja2's grammar by recursive descent. */
#include "internal.h"

/* ------------------------------------------------------------------ nodes */
static struct tpl_node *constant(struct tpl_parse *p, struct tpl_val v)
{
    struct tpl_node *n = tpl_node_new(p, TPL_CONST);

    if (p->rc == WOQ_OK)
        n->value = v;
    return n;
}

/* A node of `kind` over a, at a's place in the text. */
static struct tpl_node *over(struct tpl_parse *p, enum tpl_kind kind, int op, struct tpl_node *a,
                             struct tpl_node *b)
{
    struct tpl_node *n = tpl_node_new(p, kind);

    if (p->rc == WOQ_OK && a) {
        n->line = a->line;
        n->col = a->col;
        n->op = op;
        n->a = a;
        n->b = b;
    }
    return n;
}

/* Refuses what is nested too deeply; each true is followed by a p->depth--. */
static bool deeper(struct tpl_parse *p)
{
    if (p->rc == WOQ_OK && p->depth >= TPL_MAX_PARSED)
        tpl_parse_fail(p, WOQ_EDATA, "nested more than %d deep", TPL_MAX_PARSED);
    if (p->rc < 0)
        return false;
    p->depth++;
    return true;
}

/* ------------------------------------------------------------------ primary */
static struct tpl_node *strings(struct tpl_parse *p)
{
    size_t n = 0, at = 0;
    const struct tpl_token *end = p->t;
    struct tpl_node *node = tpl_node_new(p, TPL_CONST);
    char *s;

    for (; end->type == TPL_T_STRING; end++)
        n += end->len;
    s = woq_arena_alloc(p->arena, n + 1, p->err);
    if (!s || p->rc < 0) {
        p->rc = p->rc < 0 ? p->rc : WOQ_ENOMEM;
        return node;
    }
    for (; p->t < end; p->t++) {
        memcpy(s + at, p->t->s, p->t->len);
        at += p->t->len;
    }
    s[n] = 0;
    node->value = tpl_text(s, n);
    return node;
}

static const struct {
    const char *name;
    struct tpl_val v;
} words[] = {
    { "true", { .type = TPL_BOOL, .b = true } },
    { "True", { .type = TPL_BOOL, .b = true } },
    { "false", { .type = TPL_BOOL, .b = false } },
    { "False", { .type = TPL_BOOL } },
    { "none", { .type = TPL_NONE } },
    { "None", { .type = TPL_NONE } },
};

/* The constant that a name stands for, or NULL. */
static const struct tpl_val *is_word(const struct tpl_parse *p)
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (tpl_at_name(p, words[i].name))
            return &words[i].v;
    return NULL;
}

static struct tpl_node *name(struct tpl_parse *p)
{
    const struct tpl_val *word = is_word(p);
    struct tpl_node *n = word ? constant(p, *word) : tpl_node_new(p, TPL_NAME);

    if (p->rc == WOQ_OK && !word)
        n->name = p->t->s;
    p->t += p->rc == WOQ_OK;
    return n;
}

static struct tpl_node *list(struct tpl_parse *p)
{
    struct tpl_node *n = tpl_node_new(p, TPL_LIST_OF);

    tpl_want_op(p, '[');
    while (p->rc == WOQ_OK && !tpl_at_op(p, ']')) {
        if (n->n)
            tpl_want_op(p, ',');
        if (!tpl_at_op(p, ']'))
            tpl_node_push(p, n, tpl_parse_expr(p, true));
    }
    tpl_want_op(p, ']');
    return n;
}

static struct tpl_node *dict(struct tpl_parse *p)
{
    struct tpl_node *n = tpl_node_new(p, TPL_DICT_OF);

    tpl_want_op(p, '{');
    while (p->rc == WOQ_OK && !tpl_at_op(p, '}')) {
        if (n->n)
            tpl_want_op(p, ',');
        if (tpl_at_op(p, '}'))
            break;
        tpl_node_push(p, n, tpl_parse_expr(p, true));
        tpl_want_op(p, ':');
        tpl_node_push(p, n, tpl_parse_expr(p, true));
    }
    tpl_want_op(p, '}');
    return n;
}

static struct tpl_node *primary(struct tpl_parse *p)
{
    struct tpl_node *n = NULL;

    if (p->rc == WOQ_OK && p->t->type == TPL_T_NAME)
        return name(p);
    if (p->rc == WOQ_OK && p->t->type == TPL_T_STRING)
        return strings(p);
    if (p->rc == WOQ_OK && (p->t->type == TPL_T_INT || p->t->type == TPL_T_FLOAT)) {
        n = constant(p, p->t->type == TPL_T_INT ? tpl_int(p->t->i) : tpl_float(p->t->f));
        p->t++;
        return n;
    }
    if (tpl_at_op(p, '['))
        return list(p);
    if (tpl_at_op(p, '{'))
        return dict(p);
    if (tpl_skip_op(p, '(')) {
        if (tpl_at_op(p, ')'))
            n = tpl_node_new(p, TPL_TUPLE_OF);
        else
            n = tpl_parse_tuple(p, true);
        tpl_want_op(p, ')');
        return n;
    }
    tpl_unexpected(p, "an expression");
    return tpl_node_new(p, TPL_CONST);
}

/* ------------------------------------------------------------------ postfix */
/* (a, b, c=d) onto n's list. */
static void arguments(struct tpl_parse *p, struct tpl_node *n)
{
    bool named = false;

    tpl_want_op(p, '(');
    while (p->rc == WOQ_OK && !tpl_at_op(p, ')')) {
        struct tpl_node *item;

        if (n->n)
            tpl_want_op(p, ',');
        if (tpl_at_op(p, ')'))
            break;
        if (tpl_at_op(p, '*') || tpl_at_op(p, TPL_OP2('*', '*')))
            tpl_parse_fail(p, WOQ_EUNSUPPORTED, "arguments with * are not supported");
        if (p->rc == WOQ_OK && p->t->type == TPL_T_NAME && p->t[1].type == TPL_T_OP &&
            p->t[1].op == '=') {
            item = tpl_node_new(p, TPL_KWARG);
            item->name = p->t->s;
            p->t += 2;
            item->a = tpl_parse_expr(p, true);
            named = true;
        } else {
            if (named)
                tpl_parse_fail(p, WOQ_EDATA, "an argument without a name behind one with a name");
            item = tpl_parse_expr(p, true);
        }
        tpl_node_push(p, n, item);
    }
    tpl_want_op(p, ')');
}

static struct tpl_node *call(struct tpl_parse *p, struct tpl_node *a)
{
    struct tpl_node *n = over(p, TPL_CALL, 0, a, NULL);

    if (p->rc == WOQ_OK)
        arguments(p, n);
    return n;
}

/* a[b], a[b:c:d] */
static struct tpl_node *subscript(struct tpl_parse *p, struct tpl_node *a)
{
    struct tpl_node *part[3] = { NULL, NULL, NULL }, *n;
    size_t at = 0;

    tpl_want_op(p, '[');
    while (p->rc == WOQ_OK && !tpl_at_op(p, ']')) {
        if (tpl_skip_op(p, ':')) {
            if (++at < 3)
                continue;
            tpl_unexpected(p, "]");
            break;
        } else if (part[at]) {
            tpl_unexpected(p, tpl_at_op(p, ',') ? "] (no tuple as a subscript)" : "]");
        } else {
            part[at] = tpl_parse_expr(p, true);
        }
    }
    if (p->rc == WOQ_OK && !at && !part[0])
        tpl_unexpected(p, "a subscript");
    tpl_want_op(p, ']');
    if (!at)
        return over(p, TPL_ITEM, 0, a, part[0]);
    n = over(p, TPL_SLICE, 0, a, NULL);
    for (size_t i = 0; i < 3; i++)
        tpl_node_push(p, n, part[i]);
    return n;
}

static struct tpl_node *postfix(struct tpl_parse *p, struct tpl_node *n)
{
    while (p->rc == WOQ_OK) {
        if (tpl_skip_op(p, '.')) {
            if (p->t->type == TPL_T_INT) {
                n = over(p, TPL_ITEM, 0, n, constant(p, tpl_int(p->t->i)));
                p->t++;
            } else {
                n = over(p, TPL_ATTR, 0, n, NULL);
                if (p->rc == WOQ_OK)
                    n->name = tpl_want_name(p);
            }
        } else if (tpl_at_op(p, '[')) {
            n = subscript(p, n);
        } else if (tpl_at_op(p, '(')) {
            n = call(p, n);
        } else {
            break;
        }
    }
    return n;
}

static struct tpl_node *filter(struct tpl_parse *p, struct tpl_node *a)
{
    struct tpl_node *n = tpl_node_new(p, TPL_FILTER);

    if (p->rc < 0)
        return n;
    n->a = a;
    n->name = tpl_want_name(p);
    if (tpl_at_op(p, '('))
        arguments(p, n);
    return n;
}

struct tpl_node *tpl_parse_filters(struct tpl_parse *p, struct tpl_node *a, bool first)
{
    while (p->rc == WOQ_OK && (first || tpl_skip_op(p, '|'))) {
        a = filter(p, a);
        first = false;
    }
    return a;
}

/* May the token begin the one argument of a test that is written without parentheses? */
static bool begins_argument(const struct tpl_parse *p)
{
    switch (p->t->type) {
    case TPL_T_NAME:
        return !tpl_at_name(p, "else") && !tpl_at_name(p, "or") && !tpl_at_name(p, "and");
    case TPL_T_STRING:
    case TPL_T_INT:
    case TPL_T_FLOAT:
        return true;
    default:
        return tpl_at_op(p, '[') || tpl_at_op(p, '{');
    }
}

static struct tpl_node *test(struct tpl_parse *p, struct tpl_node *a)
{
    const bool not = tpl_skip_name(p, "not");
    struct tpl_node *n = tpl_node_new(p, TPL_TEST);

    if (p->rc < 0)
        return n;
    n->a = a;
    n->name = tpl_want_name(p);
    if (tpl_at_op(p, '(')) {
        arguments(p, n);
    } else if (p->rc == WOQ_OK && begins_argument(p)) {
        if (tpl_at_name(p, "is"))
            tpl_parse_fail(p, WOQ_EDATA, "tests can't be chained with 'is'");
        tpl_node_push(p, n, postfix(p, primary(p)));
    }
    return not ? over(p, TPL_NOT, 0, n, NULL) : n;
}

/* ------------------------------------------------------------------ operators */
static struct tpl_node *unary(struct tpl_parse *p, bool filters)
{
    struct tpl_node *n;

    if (!deeper(p))
        return tpl_node_new(p, TPL_CONST);
    if (tpl_at_op(p, '-') || tpl_at_op(p, '+')) {
        n = tpl_node_new(p, TPL_UNARY);
        n->op = p->t->op;
        p->t++;
        n->a = unary(p, false);
    } else {
        n = primary(p);
    }
    n = postfix(p, n);
    while (filters && p->rc == WOQ_OK) {
        if (tpl_at_op(p, '|'))
            n = tpl_parse_filters(p, n, false);
        else if (tpl_skip_name(p, "is"))
            n = test(p, n);
        else if (tpl_at_op(p, '('))
            n = call(p, n);
        else
            break;
    }
    p->depth--;
    return n;
}

/* Operators of two operands that bind from the left, weakest first. */
static const int levels[][5] = {
    { '+', '-' },
    { '~' },
    { '*', '/', TPL_OP2('/', '/'), '%' },
    { TPL_OP2('*', '*') },
};
#define N_LEVELS (sizeof levels / sizeof levels[0])

static int operator_of(const struct tpl_parse *p, size_t level)
{
    for (size_t i = 0; levels[level][i]; i++)
        if (tpl_at_op(p, levels[level][i]))
            return levels[level][i];
    return 0;
}

static struct tpl_node *binary(struct tpl_parse *p, size_t level)
{
    struct tpl_node *n = level == N_LEVELS ? unary(p, true) : binary(p, level + 1), *concat = NULL;
    int op;

    while (level < N_LEVELS && (op = operator_of(p, level))) {
        p->t++;
        if (op != '~') {
            struct tpl_node *b = binary(p, level + 1);

            n = over(p, TPL_BINARY, op, n, b);
            continue;
        }
        if (!concat) {
            concat = over(p, TPL_CONCAT, 0, n, NULL);
            tpl_node_push(p, concat, n);
        }
        tpl_node_push(p, concat, binary(p, level + 1));
        n = concat;
    }
    return n;
}

static int comparison(struct tpl_parse *p)
{
    static const int ops[] = { TPL_OP2('=', '='), TPL_OP2('!', '='), '<', TPL_OP2('<', '='), '>',
                               TPL_OP2('>', '=') };

    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (tpl_skip_op(p, ops[i]))
            return ops[i];
    if (tpl_skip_name(p, "in"))
        return TPL_OP_IN;
    if (tpl_at_name(p, "not") && p->t[1].type == TPL_T_NAME && !strcmp(p->t[1].s, "in")) {
        p->t += 2;
        return TPL_OP_NOT_IN;
    }
    return 0;
}

static struct tpl_node *compare(struct tpl_parse *p)
{
    struct tpl_node *a = binary(p, 0), *n = NULL;
    int op;

    while (p->rc == WOQ_OK && (op = comparison(p))) {
        struct tpl_node *operand = tpl_node_new(p, TPL_OPERAND);

        n = n ? n : over(p, TPL_COMPARE, 0, a, NULL);
        operand->op = op;
        operand->a = binary(p, 0);
        tpl_node_push(p, n, operand);
    }
    return n ? n : a;
}

static struct tpl_node *negation(struct tpl_parse *p)
{
    struct tpl_node *n;

    if (!tpl_at_name(p, "not"))
        return compare(p);
    if (!deeper(p))
        return tpl_node_new(p, TPL_CONST);
    n = tpl_node_new(p, TPL_NOT);
    p->t++;
    n->a = negation(p);
    p->depth--;
    return n;
}

/* a and b and c; `or` over `and`. */
static struct tpl_node *logic(struct tpl_parse *p, bool is_or)
{
    struct tpl_node *n = is_or ? logic(p, false) : negation(p);

    while (tpl_skip_name(p, is_or ? "or" : "and")) {
        struct tpl_node *b = is_or ? logic(p, false) : negation(p);

        n = over(p, is_or ? TPL_OR : TPL_AND, 0, n, b);
    }
    return n;
}

struct tpl_node *tpl_parse_expr(struct tpl_parse *p, bool choice)
{
    struct tpl_node *n;

    if (!deeper(p))
        return tpl_node_new(p, TPL_CONST);
    n = logic(p, true);
    while (choice && tpl_skip_name(p, "if")) {
        n = over(p, TPL_CHOICE, 0, n, NULL);
        n->b = logic(p, true);
        n->c = tpl_skip_name(p, "else") ? tpl_parse_expr(p, true) : NULL;
    }
    p->depth--;
    return n;
}

/* An expression, or several with commas: a tuple. */
struct tpl_node *tpl_parse_tuple(struct tpl_parse *p, bool choice)
{
    struct tpl_node *n = tpl_parse_expr(p, choice), *tuple = NULL;

    while (tpl_skip_op(p, ',')) {
        if (!tuple) {
            tuple = over(p, TPL_TUPLE_OF, 0, n, NULL);
            tpl_node_push(p, tuple, n);
        }
        if (p->rc < 0 || tpl_at_op(p, ')') || p->t->type == TPL_T_PRINT_END ||
            p->t->type == TPL_T_BLOCK_END)
            break;
        tpl_node_push(p, tuple, tpl_parse_expr(p, choice));
    }
    return tuple ? tuple : n;
}

/* What can be assigned to: a name, names with commas (in parentheses or not), or ns.name. */
struct tpl_node *tpl_parse_target(struct tpl_parse *p, bool attributes)
{
    const bool parens = tpl_skip_op(p, '(');
    struct tpl_node *n = tpl_node_new(p, TPL_NAME), *tuple = NULL;

    if (p->rc == WOQ_OK && p->t->type == TPL_T_NAME && is_word(p))
        tpl_parse_fail(p, WOQ_EDATA, "'%s' can't be set", p->t->s);
    n->name = tpl_want_name(p);
    if (p->rc == WOQ_OK && !strcmp(n->name, "loop"))
        tpl_parse_fail(p, WOQ_EDATA, "'loop' can't be set");
    if (attributes && !parens && tpl_skip_op(p, '.')) {
        n = over(p, TPL_ATTR, 0, n, NULL);
        if (p->rc == WOQ_OK)
            n->name = tpl_want_name(p);
        return n;
    }
    while (tpl_skip_op(p, ',')) {
        if (!tuple) {
            tuple = over(p, TPL_TUPLE_OF, 0, n, NULL);
            tpl_node_push(p, tuple, n);
        }
        if (p->t->type != TPL_T_NAME || tpl_at_name(p, "in"))
            break;
        tpl_node_push(p, tuple, tpl_parse_target(p, false));
    }
    if (parens)
        tpl_want_op(p, ')');
    return tuple ? tuple : n;
}
