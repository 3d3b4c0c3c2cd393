/* template.c -- see template.h: a template from its text, and a rendering from end to end. */
#include "internal.h"

#include <woq/unicode.h>

#include <stdlib.h>

struct woq_template {
    struct woq_arena arena; /* text, tree and strings */
    const struct tpl_node *root;
};

/* The text with \n for \r\n and \r, without the last one, as Jinja2 reads a source. */
static const char *newlines(struct woq_arena *arena, const char *text, size_t *bytes,
                            struct woq_error *err)
{
    char *to = woq_arena_alloc(arena, *bytes + 1, err);
    size_t n = 0;

    for (size_t i = 0; to && i < *bytes; i++) {
        to[n++] = text[i] == '\r' ? '\n' : text[i];
        i += text[i] == '\r' && i + 1 < *bytes && text[i + 1] == '\n';
    }
    if (n && to[n - 1] == '\n')
        n--;
    if (to)
        to[n] = 0;
    *bytes = n;
    return to;
}

int woq_template_open(struct woq_template **out, const char *text, size_t bytes,
                      struct woq_error *err)
{
    struct woq_template *t = calloc(1, sizeof *t);
    struct tpl_tokens tokens = { 0 };
    struct tpl_parse p = { .err = err };

    if (!t)
        return woq_fail_nomem(err, sizeof *t);
    p.arena = &t->arena;
    if (woq_utf8_valid(text, bytes) < bytes)
        p.rc = woq_fail(err, WOQ_EDATA, NULL, "byte %zu of the template is not UTF-8",
                        woq_utf8_valid(text, bytes));
    else if (!(text = newlines(&t->arena, text, &bytes, err)))
        p.rc = WOQ_ENOMEM;
    else
        p.rc = tpl_lex(&tokens, text, bytes, &t->arena, err);
    p.t = tokens.t;
    if (p.rc == WOQ_OK)
        t->root = tpl_parse_template(&p);
    free(tokens.t);
    if (p.rc < 0)
        woq_template_close(t);
    else
        *out = t;
    return p.rc;
}

void woq_template_close(struct woq_template *t)
{
    if (t)
        woq_arena_release(&t->arena);
    free(t);
}

static void set_vars(struct tpl_run *r, const char *vars, size_t n)
{
    const struct tpl_val v = tpl_from_json(r, vars, n);

    if (r->rc == WOQ_OK && v.type != TPL_DICT)
        tpl_fail(r, WOQ_EDATA, NULL, "the variables of a template: want a JSON object");
    for (size_t i = 0; r->rc == WOQ_OK && i < v.dict->n; i++)
        tpl_name_set(r, v.dict->pairs[i].key.s, v.dict->pairs[i].value);
}

int tpl_render(const struct woq_template *t, const char *vars, size_t n, const char *date,
               struct tpl_limits limits, struct woq_str *out, struct woq_error *err)
{
    struct tpl_scope scope = { 0 };
    struct tpl_run r = { .scope = &scope, .limits = limits, .date = date, .err = err };
    struct woq_str text = { 0 };

    r.out = &text;
    set_vars(&r, vars, n);
    if (r.rc == WOQ_OK)
        tpl_exec(&r, t->root);
    if (r.rc == WOQ_OK && woq_str_add(out, text.s ? text.s : "", text.len) < 0)
        r.rc = woq_fail_nomem(err, text.len);
    woq_str_release(&text);
    woq_arena_release(&r.arena);
    return r.rc;
}

int woq_template_render(const struct woq_template *t, const char *vars, size_t n, const char *date,
                        struct woq_str *out, struct woq_error *err)
{
    const struct tpl_limits limits = { .steps = (size_t)1 << 26, .bytes = (size_t)1 << 29 };

    return tpl_render(t, vars, n, date, limits, out, err);
}
