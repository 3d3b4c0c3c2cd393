/* linear_source.c -- see linear.h: codes make a linear, its other tensors come with them, the rest
 * is floats. */
#include <formats/linear.h>
#include <formats/source.h>
#include <woq/arch.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct state {
    struct woq_linear_told told;
    struct woq_config model;    /* arch NULL: not known */
    struct woq_linear *linears; /* per item */
    struct woq_buf scratch[2];
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

/* Inputs of "MODULE.weight" by config.json, 0 if that does not tell. */
static size_t model_inputs(const struct woq_config *c, const char *name, size_t module)
{
    struct woq_str weight = { 0 };
    struct woq_place place;
    uint64_t shape[2] = { 0, 0 };
    unsigned n_dims = 0;

    if (c->arch && woq_str_addf(&weight, "%.*s.weight", (int)module, name) == WOQ_OK &&
        woq_arch_place(c->arch, weight.s, &place) &&
        (place.block < 0 || (size_t)place.block < c->n_layers))
        woq_config_shape(c, &place, &n_dims, shape);
    woq_str_release(&weight);
    return n_dims == 2 ? (size_t)shape[1] : 0;
}

/* WOQ_ITEM: `t` holds the codes of a linear of this kind. */
static int look(struct woq_linear *l, const struct woq_source *s, const struct woq_linear_kind *k,
                const struct woq_st_tensor *t, size_t module, struct woq_error *err)
{
    const struct state *p = s->priv;

    *l = (struct woq_linear){ .kind = k, .codes = t };
    for (size_t i = 0; i < WOQ_LINEAR_PARTS; i++)
        if (k->suffix[i])
            l->part[i] = part_of(s, t->name, module, k->suffix[i]);
    if (k->mark && !l->part[k->mark])
        return WOQ_OK;
    l->model_in = model_inputs(&p->model, t->name, module);
    return k->measure(l, &p->told, err);
}

static int add_linear(struct woq_source *s, const struct woq_linear *l, size_t module,
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
    snprintf(item->stored, sizeof item->stored, "%s", l->stored);
    for (size_t i = 0; i < WOQ_LINEAR_PARTS; i++)
        item->file_bytes += l->part[i] ? l->part[i]->bytes : 0;
    p->linears[s->n_items - 1] = *l;
    if (l->kind->format)
        s->format = l->kind->format;
    return WOQ_OK;
}

/* A bias of nothing but zeros. */
static bool is_null(const struct woq_st_tensor *t)
{
    size_t n = t->bytes;

    while (n && t->data[n - 1] == 0)
        n--;
    return n == 0;
}

/* The length of its module if `t` is a bias that such a kind always has. */
static size_t is_bias(const struct woq_source *s, const struct woq_linear_kind *k,
                      const struct woq_st_tensor *t)
{
    const size_t module = k->null_bias ? module_bytes(t->name, k->null_bias) : 0;

    return module && part_of(s, t->name, module, k->suffix[k->mark]) ? module : 0;
}

/* A bias of zeros is none; another one is called as that of a float linear. */
static int add_bias(struct woq_source *s, const struct woq_st_tensor *t, size_t module,
                    struct woq_error *err)
{
    struct state *p = s->priv;
    struct woq_str name = { 0 };

    if (is_null(t))
        return WOQ_OK;
    if (!woq_source_add_st(s, t, err))
        return WOQ_ENOMEM;
    p->linears[s->n_items - 1].codes = t;
    if (woq_str_addf(&name, "%.*s.bias", (int)module, t->name) < 0)
        return woq_fail_nomem(err, module);
    free(s->items[s->n_items - 1].name);
    s->items[s->n_items - 1].name = name.s; /* malloc'ed, changes hands */
    return WOQ_OK;
}

/* Does `t` belong to a linear whose codes are there, as another of its tensors? */
static bool is_part(const struct woq_source *s, const struct woq_linear_kind *k,
                    const struct woq_st_tensor *t)
{
    for (size_t i = 1; i < WOQ_LINEAR_PARTS; i++) {
        const size_t module = k->suffix[i] ? module_bytes(t->name, k->suffix[i]) : 0;
        if (module && part_of(s, t->name, module, k->suffix[0]))
            return true;
    }
    return false;
}

/* AWQ's divisors of an activation, which a forward of ours does not have: "P.act.scales". */
static int check_divisors(const struct woq_st_tensor *t, struct woq_error *err)
{
    const size_t n = t->dtype == WOQ_F16 ? t->bytes / 2 : 0;
    bool ones = n > 0;

    for (size_t i = 0; i < n; i++) /* 0x3c00 is 1 */
        ones = ones && t->data[2 * i] == 0x00 && t->data[2 * i + 1] == 0x3c;
    return ones ? WOQ_OK
                : woq_fail(err, WOQ_EDATA, "export the checkpoint with its scales folded",
                           "'%s' divides activations, want scales folded into the weights (ones)",
                           t->name);
}

static int add(struct woq_source *s, const struct woq_st_tensor *t, struct woq_error *err)
{
    struct state *p = s->priv;
    struct woq_linear l;

    for (size_t i = 0; i < p->told.n_kinds; i++) {
        const struct woq_linear_kind *k = p->told.kinds[i];
        const size_t module = module_bytes(t->name, k->suffix[0]);
        const int rc = module ? look(&l, s, k, t, module, err) : WOQ_OK;

        if (rc != WOQ_OK)
            return rc == WOQ_ITEM ? add_linear(s, &l, module, err) : rc;
        if (!module && is_part(s, k, t))
            return WOQ_OK;
        const size_t biased = is_bias(s, k, t);
        if (biased)
            return add_bias(s, t, biased, err);
    }
    if (woq_name_match(t->name, "*.act.scales"))
        return check_divisors(t, err);
    if (!woq_source_add_st(s, t, err))
        return WOQ_ENOMEM;
    p->linears[s->n_items - 1].codes = t;
    return WOQ_OK;
}

static int load(struct woq_source *s, size_t item, struct woq_frame *f, struct woq_error *err)
{
    struct state *p = s->priv;
    const struct woq_linear *l = &p->linears[item];
    const struct woq_st_tensor *t = l->codes;

    if (p->last != SIZE_MAX)
        woq_source_done(s, p->linears[p->last].codes->data, p->linears[p->last].codes->bytes);
    p->last = item;
    woq_frame_begin(f, l->kind ? "QTEN" : "TENS");
    woq_json_set_str(woq_frame_edit(f), "name", s->items[item].name);
    woq_source_ahead(s, t->data, t->bytes);
    if (l->kind)
        return l->kind->load(l, p->scratch, f, err);
    return woq_frame_add_lent(f, "data", t->dtype, t->n_dims, t->shape, t->data, err);
}

static void close_state(struct woq_source *s)
{
    struct state *p = s->priv;

    for (size_t i = 0; i < 2; i++)
        woq_buf_release(&p->scratch[i]);
    free(p->linears);
    free(p);
    s->priv = NULL;
}

int woq_linear_source_init(struct woq_source *s, const struct woq_json *quant,
                           struct woq_error *err)
{
    struct state *p = calloc(1, sizeof *p);
    int rc;

    if (!p)
        return woq_fail_nomem(err, sizeof *p);
    s->priv = p;
    s->close = close_state;
    s->load = load;
    p->last = SIZE_MAX;
    p->linears = calloc(s->st.n_tensors + 1, sizeof *p->linears);
    if (!p->linears)
        return woq_fail_nomem(err, s->st.n_tensors * sizeof *p->linears);
    if (woq_config_init(&p->model, s->config, NULL) != WOQ_OK)
        p->model.arch = NULL;
    rc = woq_linear_told_read(&p->told, quant, err);
    s->format = p->told.format;
    for (size_t i = 0; i < s->st.n_tensors && rc == WOQ_OK; i++)
        rc = add(s, &s->st.tensors[i], err);
    return rc;
}
