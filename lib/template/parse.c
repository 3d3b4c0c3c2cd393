/* parse.c -- statements of a template. */
#include "internal.h"

static struct tpl_node *block(struct tpl_parse *p, const char *const *ends);

static void want_end(struct tpl_parse *p)
{
    if (p->rc == WOQ_OK && p->t->type != TPL_T_BLOCK_END)
        tpl_parse_fail(p, WOQ_EDATA, "found %s, want the end of the tag", tpl_token_text(p->t));
    p->t += p->rc == WOQ_OK;
}

/* The statements up to {% END %}, which is taken too; the tag before it ends here. */
static struct tpl_node *body(struct tpl_parse *p, const char *end)
{
    const char *const ends[] = { end, NULL };
    struct tpl_node *n;

    want_end(p);
    n = block(p, ends);
    p->t += p->rc == WOQ_OK;
    want_end(p);
    return n;
}

/* if, elif: at the condition. */
static void stmt_if(struct tpl_parse *p, struct tpl_node *n)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };

    for (;;) {
        n->a = tpl_parse_tuple(p, false);
        want_end(p);
        n->b = block(p, ends);
        if (!tpl_skip_name(p, "elif"))
            break;
        n = n->c = tpl_node_new(p, TPL_IF);
        if (p->rc < 0)
            return;
    }
    if (tpl_skip_name(p, "else")) {
        n->c = body(p, "endif");
    } else {
        p->t += p->rc == WOQ_OK;
        want_end(p);
    }
}

static void stmt_for(struct tpl_parse *p, struct tpl_node *n)
{
    static const char *const ends[] = { "else", "endfor", NULL };
    struct tpl_node *test = NULL, *inner, *otherwise = NULL;

    n->a = tpl_parse_target(p, false);
    if (!tpl_skip_name(p, "in"))
        tpl_parse_fail(p, WOQ_EDATA, "found %s, want 'in'", tpl_token_text(p->t));
    n->b = tpl_parse_tuple(p, false);
    if (tpl_skip_name(p, "if"))
        test = tpl_parse_expr(p, true);
    if (tpl_at_name(p, "recursive"))
        tpl_parse_fail(p, WOQ_EUNSUPPORTED, "recursive loops are not supported");
    want_end(p);
    p->n_loops++;
    inner = block(p, ends);
    p->n_loops--;
    if (tpl_skip_name(p, "else")) {
        otherwise = body(p, "endfor");
    } else {
        p->t += p->rc == WOQ_OK;
        want_end(p);
    }
    tpl_node_push(p, n, inner);
    tpl_node_push(p, n, otherwise);
    tpl_node_push(p, n, test);
}

static void stmt_set(struct tpl_parse *p, struct tpl_node *n)
{
    n->a = tpl_parse_target(p, true);
    if (tpl_skip_op(p, '=')) {
        n->b = tpl_parse_tuple(p, true);
        want_end(p);
        return;
    }
    n->kind = TPL_CAPTURE;
    n->c = tpl_parse_filters(p, NULL, false);
    n->b = body(p, "endset");
}

static void stmt_filter(struct tpl_parse *p, struct tpl_node *n)
{
    n->c = tpl_parse_filters(p, NULL, true);
    n->b = body(p, "endfilter");
}

/* NAME=EXPR, ... ; in a macro's signature the value may be absent. */
static void names(struct tpl_parse *p, struct tpl_node *n, bool optional)
{
    while (p->rc == WOQ_OK && p->t->type == TPL_T_NAME) {
        struct tpl_node *item = tpl_node_new(p, TPL_KWARG);

        if (p->rc < 0)
            return;
        item->name = tpl_want_name(p);
        if (tpl_skip_op(p, '='))
            item->a = tpl_parse_expr(p, true);
        else if (!optional)
            tpl_want_op(p, '=');
        else if (n->n && n->list[n->n - 1]->a)
            tpl_parse_fail(p, WOQ_EDATA, "a parameter without a default behind one with a default");
        tpl_node_push(p, n, item);
        if (!tpl_skip_op(p, ','))
            return;
    }
}

/* Loops outside cannot be left from inside a macro or a generation block. */
static struct tpl_node *closed_body(struct tpl_parse *p, const char *end)
{
    const unsigned n_loops = p->n_loops;
    struct tpl_node *n;

    p->n_loops = 0;
    n = body(p, end);
    p->n_loops = n_loops;
    return n;
}

static void stmt_macro(struct tpl_parse *p, struct tpl_node *n)
{
    n->name = tpl_want_name(p);
    tpl_want_op(p, '(');
    names(p, n, true);
    tpl_want_op(p, ')');
    n->b = closed_body(p, "endmacro");
}

static void stmt_with(struct tpl_parse *p, struct tpl_node *n)
{
    names(p, n, false);
    n->b = body(p, "endwith");
}

static void stmt_generation(struct tpl_parse *p, struct tpl_node *n)
{
    n->b = closed_body(p, "endgeneration");
}

static void stmt_jump(struct tpl_parse *p, struct tpl_node *n)
{
    (void)n;
    if (!p->n_loops)
        tpl_parse_fail(p, WOQ_EDATA, "'break' and 'continue' stand in a loop");
    want_end(p);
}

static const struct {
    const char *name;
    enum tpl_kind kind;
    void (*parse)(struct tpl_parse *p, struct tpl_node *n);
} statements[] = {
    { "if", TPL_IF, stmt_if },
    { "for", TPL_FOR, stmt_for },
    { "set", TPL_SET, stmt_set },
    { "macro", TPL_DEFINE, stmt_macro },
    { "filter", TPL_FILTERED, stmt_filter },
    { "with", TPL_WITH, stmt_with },
    { "generation", TPL_SCOPED, stmt_generation },
    { "break", TPL_BREAK, stmt_jump },
    { "continue", TPL_CONTINUE, stmt_jump },
};

static struct tpl_node *statement(struct tpl_parse *p)
{
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        struct tpl_node *n;

        if (!tpl_at_name(p, statements[i].name))
            continue;
        n = tpl_node_new(p, statements[i].kind);
        p->t += p->rc == WOQ_OK;
        if (p->rc == WOQ_OK)
            statements[i].parse(p, n);
        return n;
    }
    tpl_parse_fail(p, WOQ_EUNSUPPORTED, "the statement '%s' is not supported here",
                   tpl_token_text(p->t));
    return tpl_node_new(p, TPL_BLOCK);
}

static struct tpl_node *leaf(struct tpl_parse *p)
{
    struct tpl_node *n;

    if (p->t->type == TPL_T_DATA) {
        n = tpl_node_new(p, TPL_TEXT);
        if (p->rc == WOQ_OK) {
            n->value = tpl_text(p->t->s, p->t->len);
            p->t++;
        }
        return n;
    }
    p->t++;
    n = tpl_node_new(p, TPL_PRINT);
    if (p->rc < 0)
        return n;
    n->a = tpl_parse_tuple(p, true);
    if (p->rc == WOQ_OK && p->t->type != TPL_T_PRINT_END)
        tpl_parse_fail(p, WOQ_EDATA, "found %s, want '}}'", tpl_token_text(p->t));
    p->t += p->rc == WOQ_OK;
    return n;
}

static bool at_end(const struct tpl_parse *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (tpl_at_name(p, *ends))
            return true;
    return false;
}

/* Statements up to {% and one of the names, on which it stops; NULL: to the end of the template. */
static struct tpl_node *block(struct tpl_parse *p, const char *const *ends)
{
    struct tpl_node *n = tpl_node_new(p, TPL_BLOCK);

    if (p->depth >= TPL_MAX_PARSED)
        tpl_parse_fail(p, WOQ_EDATA, "nested more than %d deep", TPL_MAX_PARSED);
    p->depth++;
    while (p->rc == WOQ_OK && p->t->type != TPL_T_EOF) {
        if (p->t->type != TPL_T_BLOCK_BEGIN) {
            tpl_node_push(p, n, leaf(p));
            continue;
        }
        p->t++;
        if (at_end(p, ends))
            break;
        tpl_node_push(p, n, statement(p));
    }
    if (p->rc == WOQ_OK && ends && p->t->type == TPL_T_EOF)
        tpl_parse_fail(p, WOQ_EDATA, "the template ends, '%s' is wanted", ends[0]);
    p->depth--;
    return n;
}

struct tpl_node *tpl_parse_template(struct tpl_parse *p)
{
    return block(p, NULL);
}
