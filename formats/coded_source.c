/* coded_source.c -- a source of checkpoints whose linears one of coded.h's methods stores. */
#include <formats/coded.h>
#include <formats/source.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct state {
    const struct woq_coded_method *method;
    const struct woq_json *quant;
    struct woq_coded_linear *linears;    /* per item */
    const struct woq_st_tensor **floats; /* per item */
    size_t last;
};

/* "MODULE.SUFFIX": the length of MODULE, 0 if the name does not end so. */
static size_t module_bytes(const char *name, const char *suffix)
{
    const size_t n = strlen(name), tail = strlen(suffix);

    if (n <= tail + 1 || name[n - tail - 1] != '.' || strcmp(name + n - tail, suffix) != 0)
        return 0;
    return n - tail - 1;
}

static const struct woq_st_tensor *part_of(const struct woq_source *s, const char *name,
                                           size_t module, const char *suffix)
{
    struct woq_str full = { 0 };
    const struct woq_st_tensor *t = NULL;

    if (woq_str_addf(&full, "%.*s.%s", (int)module, name, suffix) == WOQ_OK)
        t = woq_st_find(&s->st, full.s);
    woq_str_release(&full);
    return t;
}

/* WOQ_ITEM: `t` holds the codes of a linear. */
static int look(struct woq_coded_linear *l, const struct woq_source *s,
                const struct woq_st_tensor *t, size_t module, struct woq_error *err)
{
    const struct state *p = s->priv;

    *l = (struct woq_coded_linear){ .method = p->method, .codes = t };
    for (size_t i = 0; p->method->parts[i]; i++)
        l->part[i] = part_of(s, t->name, module, p->method->parts[i]);
    return p->method->measure(l, p->quant, err);
}

static int add_linear(struct woq_source *s, const struct woq_coded_linear *l, size_t module,
                      struct woq_error *err)
{
    struct state *p = s->priv;
    struct woq_str name = { 0 };
    struct woq_item *item = NULL;

    if (woq_str_addf(&name, "%.*s.weight", (int)module, l->codes->name) == WOQ_OK)
        item = woq_source_add(s, name.s, err);
    woq_str_release(&name);
    if (!item)
        return woq_fail_nomem(err, 256);
    item->quantized = true;
    item->dtype = WOQ_U8;
    item->n_dims = 2;
    item->shape[0] = l->n_out;
    item->shape[1] = l->n_in;
    if (strcmp(l->dtype, "int") == 0)
        snprintf(item->stored, sizeof item->stored, "%s%d", p->method->format, l->bits);
    else
        snprintf(item->stored, sizeof item->stored, "%s", l->dtype);
    item->file_bytes = l->codes->bytes;
    for (size_t i = 0; p->method->parts[i]; i++)
        item->file_bytes += l->part[i] ? l->part[i]->bytes : 0;
    p->linears[s->n_items - 1] = *l;
    return WOQ_OK;
}

/* Does the tensor belong to a linear whose codes are there? */
static bool is_part(const struct woq_source *s, const struct woq_st_tensor *t)
{
    const struct woq_coded_method *m = ((const struct state *)s->priv)->method;

    for (size_t i = 0; m->parts[i]; i++) {
        const size_t module = module_bytes(t->name, m->parts[i]);
        if (module && part_of(s, t->name, module, m->codes))
            return true;
    }
    return false;
}

static int add(struct woq_source *s, const struct woq_st_tensor *t, struct woq_error *err)
{
    struct state *p = s->priv;
    const size_t module = module_bytes(t->name, p->method->codes);
    struct woq_coded_linear l;

    if (module) {
        const int rc = look(&l, s, t, module, err);
        if (rc != WOQ_OK)
            return rc == WOQ_ITEM ? add_linear(s, &l, module, err) : rc;
    } else if (is_part(s, t)) {
        return WOQ_OK;
    }
    if (!woq_source_add_st(s, t, err))
        return WOQ_ENOMEM;
    p->floats[s->n_items - 1] = t;
    return WOQ_OK;
}

static void drop_last(const struct woq_source *s)
{
    const struct state *p = s->priv;
    const struct woq_st_tensor *t = p->last == SIZE_MAX         ? NULL
                                    : p->linears[p->last].codes ? p->linears[p->last].codes
                                                                : p->floats[p->last];

    if (t)
        woq_source_done(s, t->data, t->bytes);
}

static int load(struct woq_source *s, size_t item, struct woq_frame *f, struct woq_error *err)
{
    struct state *p = s->priv;
    const struct woq_coded_linear *l = &p->linears[item];
    const struct woq_st_tensor *t = l->codes ? l->codes : p->floats[item];

    drop_last(s);
    p->last = item;
    woq_frame_begin(f, l->codes ? "QTEN" : "TENS");
    woq_json_set_str(woq_frame_edit(f), "name", s->items[item].name);
    woq_source_ahead(s, t->data, t->bytes);
    if (l->codes)
        return p->method->load(l, f, err);
    return woq_frame_add_lent(f, "data", t->dtype, t->n_dims, t->shape, t->data, err);
}

static void close_state(struct woq_source *s)
{
    struct state *p = s->priv;

    if (!p)
        return;
    free(p->linears);
    free(p->floats);
    free(p);
    s->priv = NULL;
}

int woq_coded_source_init(struct woq_source *s, const struct woq_coded_method *m,
                          const struct woq_json *quant, struct woq_error *err)
{
    struct state *p = calloc(1, sizeof *p);
    int rc = WOQ_OK;

    if (!p)
        return woq_fail_nomem(err, sizeof *p);
    s->format = m->format;
    s->priv = p;
    s->close = close_state;
    s->load = load;
    p->method = m;
    p->quant = quant;
    p->last = SIZE_MAX;
    p->linears = calloc(s->st.n_tensors + 1, sizeof *p->linears);
    p->floats = calloc(s->st.n_tensors + 1, sizeof *p->floats);
    if (!p->linears || !p->floats)
        return woq_fail_nomem(err, s->st.n_tensors * sizeof *p->linears);
    for (size_t i = 0; i < s->st.n_tensors && rc == WOQ_OK; i++)
        rc = add(s, &s->st.tensors[i], err);
    return rc;
}
