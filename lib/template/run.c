/* run.c -- statements of a template, and the names that they set.
 *
 * Scopes as Jinja2 has them: a loop's turn, a macro, `with` and captured text have their own, what
 * is set in it ends with it; an `if` has none. */
#include "internal.h"

#include <stdio.h>

struct tpl_name {
    const char *name;
    struct tpl_val v;
    struct tpl_name *next;
};

void tpl_name_set(struct tpl_run *r, const char *name, struct tpl_val v)
{
    struct tpl_name *n = r->scope->names;

    while (n && strcmp(n->name, name) != 0)
        n = n->next;
    if (!n && (n = tpl_alloc(r, 1, sizeof *n))) {
        n->name = name;
        n->next = r->scope->names;
        r->scope->names = n;
    }
    if (n)
        n->v = v;
}

const struct tpl_val *tpl_name_get(const struct tpl_run *r, const char *name)
{
    for (const struct tpl_scope *s = r->scope; s; s = s->up)
        for (const struct tpl_name *n = s->names; n; n = n->next)
            if (!strcmp(n->name, name))
                return &n->v;
    return NULL;
}

/* A scope inside r->scope; the caller sets r->scope back. It may outlive the statement, in a macro
 * that was defined in it. */
static bool enter(struct tpl_run *r)
{
    struct tpl_scope *s = tpl_alloc(r, 1, sizeof *s);

    if (!s)
        return false;
    s->up = r->scope;
    r->scope = s;
    return true;
}

/* Runs a block into a string of its own. */
static struct tpl_val capture(struct tpl_run *r, const struct tpl_node *block)
{
    struct woq_str text = { 0 }, *const out = r->out;

    r->out = &text;
    tpl_exec(r, block);
    r->out = out;
    return tpl_text_of(r, &text);
}

/* ------------------------------------------------------------------ set */
static void assign(struct tpl_run *r, const struct tpl_node *target, struct tpl_val v)
{
    const struct tpl_seq *items;
    const struct tpl_val *ns;

    if (r->rc < 0)
        return;
    if (target->kind == TPL_NAME) {
        tpl_name_set(r, target->name, v);
        return;
    }
    r->at = target;
    if (target->kind == TPL_ATTR) {
        ns = tpl_name_get(r, target->a->name);
        if (!ns || ns->type != TPL_NAMESPACE)
            tpl_fail(r, WOQ_EDATA, NULL, "'%s' is not a namespace: its attributes can't be set",
                     target->a->name);
        else
            tpl_dict_set(r, *ns, tpl_text(target->name, strlen(target->name)), v);
        return;
    }
    if (!tpl_is_defined(r, v))
        return;
    items = tpl_items(r, v);
    if (r->rc == WOQ_OK && items->n != target->n)
        tpl_fail(r, WOQ_EDATA, NULL, "%zu values for %zu names", items->n, target->n);
    for (size_t i = 0; r->rc == WOQ_OK && i < target->n; i++)
        assign(r, target->list[i], items->v[i]);
}

static void exec_capture(struct tpl_run *r, const struct tpl_node *n)
{
    struct tpl_scope *const scope = r->scope;
    struct tpl_val v = tpl_undefined;

    if (enter(r))
        v = capture(r, n->b);
    r->scope = scope;
    if (r->rc == WOQ_OK && n->c)
        v = tpl_filters(r, n->c, v);
    if (n->kind == TPL_CAPTURE)
        assign(r, n->a, v);
    else if (r->rc == WOQ_OK)
        tpl_print(r, r->out, v);
}

static void exec_with(struct tpl_run *r, const struct tpl_node *n)
{
    struct tpl_scope *const scope = r->scope;
    struct tpl_val *v = tpl_alloc(r, n->n, sizeof *v);

    for (size_t i = 0; r->rc == WOQ_OK && i < n->n; i++)
        v[i] = tpl_eval(r, n->list[i]->a);
    if (r->rc < 0 || !enter(r))
        return;
    for (size_t i = 0; i < n->n; i++)
        tpl_name_set(r, n->list[i]->name, v[i]);
    tpl_exec(r, n->b);
    r->scope = scope;
}

/* ------------------------------------------------------------------ for */
/* The items for which the loop's condition holds. */
static const struct tpl_seq *chosen(struct tpl_run *r, const struct tpl_node *n,
                                    const struct tpl_seq *items)
{
    struct tpl_scope *const scope = r->scope;
    const struct tpl_val list = tpl_seq_new(r, TPL_LIST, items->n);
    size_t n_kept = 0;

    for (size_t i = 0; r->rc == WOQ_OK && i < items->n && enter(r); i++) {
        assign(r, n->a, items->v[i]);
        if (tpl_truth(tpl_eval(r, n->list[2])))
            tpl_seq_set(r, list, n_kept++, items->v[i]);
        r->scope = scope;
    }
    r->scope = scope;
    if (r->rc == WOQ_OK)
        list.seq->n = n_kept;
    return list.seq;
}

static void exec_for(struct tpl_run *r, const struct tpl_node *n)
{
    struct tpl_scope *const scope = r->scope;
    const struct tpl_val v = tpl_eval(r, n->b);
    const struct tpl_seq *items;
    struct tpl_loop *loop = tpl_alloc(r, 1, sizeof *loop);
    bool on = true, ended = false;

    r->at = n;
    if (r->rc < 0)
        return;
    items = tpl_items(r, v);
    if (n->list[2] && r->rc == WOQ_OK)
        items = chosen(r, n, items);
    *loop = (struct tpl_loop){ .items = items, .changed = tpl_undefined };
    for (; on && r->rc == WOQ_OK && loop->at < items->n && enter(r); loop->at++) {
        tpl_name_set(r, "loop", (struct tpl_val){ .type = TPL_LOOP, .loop = loop });
        assign(r, n->a, items->v[loop->at]);
        tpl_exec(r, n->list[0]);
        on = r->jump != TPL_BREAK;
        ended |= !r->jump;
        r->jump = 0;
        r->scope = scope;
    }
    r->scope = scope;
    /* Jinja2 looks whether a turn came to its end: one that breaks or continues does not. */
    if (r->rc == WOQ_OK && !ended && n->list[1] && enter(r))
        tpl_exec(r, n->list[1]);
    r->scope = scope;
}

/* ------------------------------------------------------------------ macros, arguments */
bool tpl_bind(struct tpl_run *r, struct tpl_params *out, const char *names, const char *what,
              const struct tpl_args *args)
{
    size_t i = 0, used = 0;

    *out = (struct tpl_params){ 0 };
    for (const char *p = names; *p && i < TPL_MAX_PARAMS; i++) {
        const size_t len = strcspn(p, "=,");
        const bool optional = p[len] == '=';

        if (i < args->n) {
            out->v[i] = args->v[i];
            out->has[i] = true;
        }
        for (size_t k = 0; k < args->n_named; k++)
            if (args->named[k].key.len == len && !memcmp(args->named[k].key.s, p, len)) {
                if (out->has[i])
                    tpl_fail(r, WOQ_EDATA, NULL, "%s: '%.*s' is given twice", what, (int)len, p);
                out->v[i] = args->named[k].value;
                out->has[i] = true;
                used++;
            }
        if (!out->has[i] && !optional)
            tpl_fail(r, WOQ_EDATA, NULL, "%s: '%.*s' is missing", what, (int)len, p);
        p += len + optional;
        p += *p == ',';
    }
    if (args->n > i || used < args->n_named)
        tpl_fail(r, WOQ_EDATA, NULL, "%s: too many arguments, or one of an unknown name", what);
    return r->rc == WOQ_OK;
}

/* The value of a macro's parameter i: by place, by name, its default, or undefined. */
static struct tpl_val parameter(struct tpl_run *r, const struct tpl_node *n, size_t i,
                                const struct tpl_args *args, size_t *used)
{
    const struct tpl_node *x = n->list[i];
    const struct tpl_val *v = i < args->n ? &args->v[i] : NULL;

    for (size_t k = 0; k < args->n_named; k++)
        if (tpl_text_is(args->named[k].key, x->name)) {
            if (v)
                tpl_fail(r, WOQ_EDATA, NULL, "macro '%s': '%s' is given twice", n->name, x->name);
            v = &args->named[k].value;
            ++*used;
        }
    if (v)
        return *v;
    return x->a ? tpl_eval(r, x->a) : tpl_missing(r, "parameter '%s' was not given", x->name);
}

struct tpl_val tpl_macro_call(struct tpl_run *r, const struct tpl_macro *m,
                              const struct tpl_args *args)
{
    const struct tpl_node *n = m->node;
    struct tpl_scope *const scope = r->scope;
    struct tpl_val v = tpl_undefined;
    size_t used = 0;

    r->scope = m->scope;
    if (args->n > n->n)
        tpl_fail(r, WOQ_EDATA, NULL, "macro '%s' takes %zu arguments, %zu are given", n->name, n->n,
                 args->n);
    if (r->rc == WOQ_OK && enter(r))
        for (size_t i = 0; r->rc == WOQ_OK && i < n->n; i++)
            tpl_name_set(r, n->list[i]->name, parameter(r, n, i, args, &used));
    if (used < args->n_named)
        tpl_fail(r, WOQ_EDATA, NULL, "macro '%s' has an argument of an unknown name", n->name);
    if (r->rc == WOQ_OK)
        v = capture(r, n->b);
    r->scope = scope;
    return v;
}

static void exec_define(struct tpl_run *r, const struct tpl_node *n)
{
    struct tpl_macro *m = tpl_alloc(r, 1, sizeof *m);

    if (!m)
        return;
    *m = (struct tpl_macro){ .node = n, .scope = r->scope };
    tpl_name_set(r, n->name, (struct tpl_val){ .type = TPL_MACRO, .macro = m });
}

/* ------------------------------------------------------------------ all */
static void exec_if(struct tpl_run *r, const struct tpl_node *n)
{
    const bool yes = tpl_truth(tpl_eval(r, n->a));

    if (r->rc == WOQ_OK && (yes || n->c))
        tpl_exec(r, yes ? n->b : n->c);
}

static void exec(struct tpl_run *r, const struct tpl_node *n)
{
    struct tpl_scope *const scope = r->scope;
    struct tpl_val v;

    switch (n->kind) {
    case TPL_TEXT:
        tpl_add(r, r->out, n->value.s, n->value.len);
        break;
    case TPL_PRINT:
        v = tpl_eval(r, n->a);
        if (r->rc == WOQ_OK)
            tpl_print(r, r->out, v);
        break;
    case TPL_BLOCK:
        for (size_t i = 0; i < n->n && r->rc == WOQ_OK && !r->jump; i++)
            tpl_exec(r, n->list[i]);
        break;
    case TPL_IF:
        exec_if(r, n);
        break;
    case TPL_FOR:
        exec_for(r, n);
        break;
    case TPL_SET:
        v = tpl_eval(r, n->b);
        assign(r, n->a, v);
        break;
    case TPL_CAPTURE:
    case TPL_FILTERED:
        exec_capture(r, n);
        break;
    case TPL_DEFINE:
        exec_define(r, n);
        break;
    case TPL_WITH:
        exec_with(r, n);
        break;
    case TPL_SCOPED:
        if (enter(r))
            tpl_exec(r, n->b);
        r->scope = scope;
        break;
    default:
        r->jump = (int)n->kind;
    }
}

void tpl_exec(struct tpl_run *r, const struct tpl_node *n)
{
    if (r->rc < 0 || !tpl_step(r, 1))
        return;
    r->at = n;
    if (r->depth >= TPL_MAX_DEPTH) {
        tpl_fail(r, WOQ_EDATA, NULL, "calls and expressions nested more than %d deep",
                 TPL_MAX_DEPTH);
        return;
    }
    r->depth++;
    exec(r, n);
    r->depth--;
}
