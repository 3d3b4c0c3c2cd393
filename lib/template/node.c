/* node.c -- what the parsers of expressions and statements share: the current token, and
 * new nodes. */
#include "internal.h"

#include <stdio.h>

/* ------------------------------------------------------------------ tokens */
const char *tpl_op_text(int op, char text[3])
{
    if (op == TPL_OP_IN || op == TPL_OP_NOT_IN)
        return op == TPL_OP_IN ? "in" : "not in";
    (void)snprintf(text, 3, op > 255 ? "%c%c" : "%c", op > 255 ? op >> 8 : op, op & 255);
    return text;
}

const char *tpl_token_text(const struct tpl_token *t)
{
    static const char *const names[] = {
        "text",     "'{{'",     "the end of {{ }}", "'{%'",        "the end of {% %}",       NULL,
        "a string", "a number", "a number",         "an operator", "the end of the template"
    };

    return names[t->type] ? names[t->type] : t->s;
}

void tpl_parse_fail(struct tpl_parse *p, enum woq_status status, const char *fmt, ...)
{
    char what[512];
    va_list ap;

    if (p->rc < 0)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    p->rc = tpl_fail_at(p->err, status, NULL, p->t->line, p->t->col, what);
}

void tpl_unexpected(struct tpl_parse *p, const char *wanted)
{
    char op[3];

    tpl_parse_fail(p, WOQ_EDATA, "found %s, want %s",
                   p->t->type == TPL_T_OP ? tpl_op_text(p->t->op, op) : tpl_token_text(p->t),
                   wanted);
}

bool tpl_at_op(const struct tpl_parse *p, int op)
{
    return p->rc == WOQ_OK && p->t->type == TPL_T_OP && p->t->op == op;
}

bool tpl_at_name(const struct tpl_parse *p, const char *name)
{
    return p->rc == WOQ_OK && p->t->type == TPL_T_NAME && !strcmp(p->t->s, name);
}

bool tpl_skip_op(struct tpl_parse *p, int op)
{
    const bool at = tpl_at_op(p, op);

    p->t += at;
    return at;
}

bool tpl_skip_name(struct tpl_parse *p, const char *name)
{
    const bool at = tpl_at_name(p, name);

    p->t += at;
    return at;
}

void tpl_want_op(struct tpl_parse *p, int op)
{
    char text[3];

    if (!tpl_skip_op(p, op))
        tpl_unexpected(p, tpl_op_text(op, text));
}

const char *tpl_want_name(struct tpl_parse *p)
{
    if (p->rc == WOQ_OK && p->t->type == TPL_T_NAME)
        return (p->t++)->s;
    tpl_unexpected(p, "a name");
    return "";
}

/* ------------------------------------------------------------------ nodes */
struct tpl_node *tpl_node_new(struct tpl_parse *p, enum tpl_kind kind)
{
    struct tpl_node *n = p->rc < 0 ? NULL : woq_arena_alloc(p->arena, sizeof *n, p->err);

    if (!n) {
        p->rc = p->rc < 0 ? p->rc : WOQ_ENOMEM;
        return &p->none;
    }
    *n = (struct tpl_node){ .kind = kind, .line = p->t->line, .col = p->t->col };
    return n;
}

/* The list's memory doubles at each power of two; what is left behind stays in the arena. */
void tpl_node_push(struct tpl_parse *p, struct tpl_node *list, struct tpl_node *item)
{
    if (p->rc < 0)
        return;
    if (!(list->n & (list->n - 1))) {
        const size_t cap = list->n ? 2 * list->n : 1;
        struct tpl_node **grown = woq_arena_alloc(p->arena, cap * sizeof *grown, p->err);

        if (!grown) {
            p->rc = WOQ_ENOMEM;
            return;
        }
        if (list->n)
            memcpy(grown, list->list, list->n * sizeof *grown);
        list->list = grown;
    }
    list->list[list->n++] = item;
}
