/* packed_source.c -- a source of checkpoints whose linears are packed (formats.md 4): whatever the
 * layout, codes, scales, zero points and group indices go to the stream as they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packed.h"
#include "source.h"
#include <woq/quant.h>

struct state {
    struct woq_packed_config config;
    struct woq_packed_linear *linears; /* per item */
    const struct woq_st_tensor **floats;
    struct woq_buf aligned, fields;
    size_t last;
};

/* "MODULE.SUFFIX": the length of MODULE, 0 if the name does not end so. */
static size_t module_bytes(const char *name, const char *suffix)
{
    const size_t n = strlen(name), tail = suffix ? strlen(suffix) : 0;

    if (!tail || n <= tail + 1 || name[n - tail - 1] != '.' || strcmp(name + n - tail, suffix) != 0)
        return 0;
    return n - tail - 1;
}

static const struct woq_st_tensor *part_of(const struct woq_source *s, const char *name,
                                           size_t module, const char *suffix)
{
    struct woq_str full = { 0 };
    const struct woq_st_tensor *t = NULL;

    if (suffix && woq_str_addf(&full, "%.*s.%s", (int)module, name, suffix) == WOQ_OK)
        t = woq_st_find(&s->st, full.s);
    woq_str_release(&full);
    return t;
}

static int add_linear(struct woq_source *s, const struct woq_packed_layout *layout,
                      const struct woq_st_tensor *codes, size_t module, struct woq_error *err)
{
    struct state *p = s->priv;
    struct woq_packed_linear l = { .layout = layout };
    struct woq_str name = { 0 };
    struct woq_item *item = NULL;
    uint64_t bytes = 0;
    int rc;

    for (size_t i = 0; i < WOQ_N_PARTS; i++) {
        l.part[i] = part_of(s, codes->name, module, layout->suffix[i]);
        bytes += l.part[i] ? l.part[i]->bytes : 0;
    }
    rc = woq_packed_measure(&l, &p->config, err);
    if (rc)
        return rc;
    if (woq_str_addf(&name, "%.*s.weight", (int)module, codes->name) == WOQ_OK)
        item = woq_source_add(s, name.s, err);
    woq_str_release(&name);
    if (!item)
        return woq_fail_nomem(err, 256);
    item->quantized = true;
    item->dtype = WOQ_U8;
    item->n_dims = 2;
    item->shape[0] = l.n_out;
    item->shape[1] = l.n_in;
    snprintf(item->stored, sizeof item->stored, "%s%d", layout->name, l.bits);
    item->file_bytes = bytes;
    p->linears[s->n_items - 1] = l;
    if (layout == &woq_layout_inc)
        s->format = "inc"; /* its configuration cannot be told from GPTQ's */
    return WOQ_OK;
}

static int add_float(struct woq_source *s, const struct woq_st_tensor *t, struct woq_error *err)
{
    struct state *p = s->priv;

    if (!woq_source_add_st(s, t, err))
        return WOQ_ENOMEM;
    p->floats[s->n_items - 1] = t;
    return WOQ_OK;
}

/* Is `t` the codes of a linear in this layout? Several layouts may share the name: then the type
 * of the words tells, and among names that floats have too, scales beside it. */
static bool is_codes(const struct woq_source *s, const struct woq_packed_layout *l,
                     const struct woq_st_tensor *t, size_t module)
{
    if (!module)
        return false;
    if (l->suffix[WOQ_PART_FACTOR])
        return part_of(s, t->name, module, l->suffix[WOQ_PART_FACTOR]) != NULL;
    return !l->bytes || (t->dtype == woq_packed_word(l) &&
                         part_of(s, t->name, module, l->suffix[WOQ_PART_SCALES]));
}

/* A bias of nothing but zeros. */
static bool is_null(const struct woq_st_tensor *t)
{
    size_t n = t->bytes;

    while (n && t->data[n - 1] == 0)
        n--;
    return n == 0;
}

/* Does `t` belong to a packed linear, as another of its tensors or as one of its activations? */
static bool is_other_part(const struct woq_source *s, const struct woq_packed_layout *l,
                          const struct woq_st_tensor *t)
{
    const char *codes = l->suffix[WOQ_PART_CODES], *dot = strrchr(t->name, '.');
    bool is_part = dot && l->activations && woq_word_in(l->activations, dot + 1);

    if (dot && l->null_bias && !strcmp(dot, ".bias"))
        return is_null(t) &&
               part_of(s, t->name, (size_t)(dot - t->name), l->suffix[WOQ_PART_FACTOR]);

    for (size_t i = 1; i < WOQ_N_PARTS && dot; i++)
        is_part = is_part || (l->suffix[i] && !strcmp(l->suffix[i], dot + 1));
    return is_part && part_of(s, t->name, (size_t)(dot - t->name), codes);
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

/* Codes make a linear, its other tensors come with them, the rest is floats. */
static int add(struct woq_source *s, const struct woq_st_tensor *t, struct woq_error *err)
{
    const struct state *p = s->priv;

    for (size_t i = 0; i < p->config.n_layouts; i++) {
        const struct woq_packed_layout *l = p->config.layouts[i];
        const size_t module = module_bytes(t->name, l->suffix[WOQ_PART_CODES]);

        if (is_codes(s, l, t, module))
            return add_linear(s, l, t, module, err);
        if (is_other_part(s, l, t))
            return WOQ_OK;
    }
    if (woq_name_match(t->name, "*.act.scales"))
        return check_divisors(t, err);
    return add_float(s, t, err);
}

/* Words of a tensor, copied where the file does not align them. */
static const void *words(struct state *p, const struct woq_st_tensor *t, struct woq_error *err)
{
    void *copy;

    if ((uintptr_t)t->data % woq_dtype_bytes(t->dtype) == 0)
        return t->data;
    copy = woq_buf_need(&p->aligned, t->bytes, err);
    return copy ? memcpy(copy, t->data, t->bytes) : NULL;
}

/* Signed bytes as unsigned codes: false if one is not of `bits` bits. */
static bool from_bytes(uint8_t *x, size_t n, int bits)
{
    const int middle = 1 << (bits - 1);
    bool ok = true;

    for (size_t i = 0; i < n; i++) {
        const int v = (int)(x[i] ^ 0x80) - 128 + middle;
        ok = ok && v >= 0 && v < 2 * middle;
        x[i] = (uint8_t)v;
    }
    return ok;
}

static int fail_range(const struct woq_packed_linear *l, enum woq_packed_part part,
                      struct woq_error *err)
{
    return woq_fail(err, WOQ_EDATA, "is num_bits right in config.json?",
                    "'%s' has a value beyond %d bits", l->part[part]->name, l->bits);
}

static int load_codes(struct state *p, struct woq_frame *f, const struct woq_packed_linear *l,
                      struct woq_error *err)
{
    const struct woq_packed_matrix m =
        woq_packed_codes(l->layout, l->order, l->bits, l->n_out, l->n_in);
    const uint64_t shape[2] = { l->n_out, l->n_in };
    const void *q = words(p, l->part[WOQ_PART_CODES], err);
    void *codes;
    int rc;

    if (!q)
        return WOQ_ENOMEM;
    rc = woq_frame_alloc(f, "codes", WOQ_U8, 2, shape, &codes, err);
    if (rc)
        return rc;
    woq_bitmat_unpack(codes, m.line_step, m.field_step, &m.m, q);
    if (l->layout->bytes && !from_bytes(codes, l->n_out * l->n_in, l->bits))
        return fail_range(l, WOQ_PART_CODES, err);
    return WOQ_OK;
}

/* In their dtype -> [out][groups] in f32. */
static int load_scales(struct state *p, struct woq_frame *f, const struct woq_packed_linear *l,
                       struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[WOQ_PART_SCALES];
    const uint64_t shape[2] = { l->n_out, l->n_groups };
    const size_t n = l->n_out * l->n_groups;
    const void *q = words(p, t, err);
    float *from = woq_buf_need(&p->fields, n * sizeof *from, err), *scale;
    void *to;
    int rc;

    if (!q || !from)
        return WOQ_ENOMEM;
    rc = woq_frame_alloc(f, "scale", WOQ_F32, 2, shape, &to, err);
    if (rc)
        return rc;
    scale = to;
    woq_to_f32(from, q, t->dtype, l->one_scale ? 1 : n);
    for (size_t i = 0; i < n && l->factor > 0; i++)
        from[i] *= l->factor;
    for (size_t o = 0; o < l->n_out; o++)
        for (size_t g = 0; g < l->n_groups; g++)
            scale[o * l->n_groups + g] = from[l->one_scale               ? 0
                                              : l->layout->scales_by_row ? o * l->n_groups + g
                                                                         : g * l->n_out + o];
    return WOQ_OK;
}

/* As fields [out][groups], each the zero point itself. */
static int zero_fields(uint8_t *fields, const struct woq_packed_linear *l, const void *q,
                       struct woq_error *err)
{
    const struct woq_packed_matrix m =
        woq_packed_zeros(l->layout, l->order, l->bits, l->n_out, l->n_groups);
    const size_t n = l->n_out * l->n_groups;
    const int max = (1 << l->bits) - 1;

    if (l->one_scale)
        memset(fields, *(const uint8_t *)q, n);
    else
        woq_bitmat_unpack(fields, m.line_step, m.field_step, &m.m, q);
    if (l->layout->bytes && !from_bytes(fields, n, l->bits))
        return fail_range(l, WOQ_PART_ZEROS, err);
    for (size_t i = 0; i < n && l->layout->minus_one; i++)
        fields[i] = (uint8_t)((fields[i] + 1) & max);
    return WOQ_OK;
}

/* A symmetric checkpoint has one zero point throughout: the array is then left out. */
static int load_zeros(struct state *p, struct woq_frame *f, const struct woq_packed_linear *l,
                      bool *sym, struct woq_error *err)
{
    const uint64_t shape[2] = { l->n_out, l->n_groups };
    const size_t n = l->n_out * l->n_groups;
    const int middle = 1 << (l->bits - 1);
    const void *q = words(p, l->part[WOQ_PART_ZEROS], err);
    uint8_t *fields = woq_buf_need(&p->fields, n, err);
    void *zero;
    int rc;

    if (!q || !fields)
        return WOQ_ENOMEM;
    rc = zero_fields(fields, l, q, err);
    for (size_t i = 0; i < n && rc == WOQ_OK; i++)
        *sym = *sym && fields[i] == middle;
    if (rc || *sym)
        return rc;
    rc = woq_frame_alloc(f, "zero", WOQ_F32, 2, shape, &zero, err);
    for (size_t i = 0; i < n && rc == WOQ_OK; i++)
        ((float *)zero)[i] = fields[i];
    return rc;
}

static int load_linear(struct woq_source *s, const struct woq_packed_linear *l, struct woq_frame *f,
                       struct woq_error *err)
{
    struct state *p = s->priv;
    const struct woq_st_tensor *g_idx = l->part[WOQ_PART_G_IDX];
    const uint64_t n_in = l->n_in;
    struct woq_scheme scheme;
    bool sym = p->config.sym;
    void *to;
    int rc;

    woq_source_ahead(s, l->part[WOQ_PART_CODES]->data, l->part[WOQ_PART_CODES]->bytes);
    if ((rc = load_codes(p, f, l, err)) < 0 || (rc = load_scales(p, f, l, err)) < 0)
        return rc;
    if (l->part[WOQ_PART_ZEROS] && (rc = load_zeros(p, f, l, &sym, err)) < 0)
        return rc;
    if (l->permuted) {
        if ((rc = woq_frame_alloc(f, "g_idx", WOQ_I32, 1, &n_in, &to, err)) < 0)
            return rc;
        memcpy(to, g_idx->data, 4 * l->n_in);
    }
    woq_scheme_init(&scheme);
    scheme.bits = l->bits;
    scheme.group_size = l->group_size;
    scheme.sym = sym || !l->part[WOQ_PART_ZEROS];
    woq_json_set(woq_frame_edit(f), "quant", woq_scheme_to_json(&scheme));
    return WOQ_OK;
}

static void drop_last(const struct woq_source *s)
{
    const struct state *p = s->priv;
    const struct woq_packed_linear *l = p->last == SIZE_MAX ? NULL : &p->linears[p->last];
    const struct woq_st_tensor *t = !l          ? NULL
                                    : l->layout ? l->part[WOQ_PART_CODES]
                                                : p->floats[p->last];

    if (t)
        woq_source_done(s, t->data, t->bytes);
}

static int load(struct woq_source *s, size_t item, struct woq_frame *f, struct woq_error *err)
{
    struct state *p = s->priv;
    const struct woq_packed_linear *l = &p->linears[item];
    const struct woq_st_tensor *t = p->floats[item];

    drop_last(s);
    p->last = item;
    woq_frame_begin(f, l->layout ? "QTEN" : "TENS");
    woq_json_set_str(woq_frame_edit(f), "name", s->items[item].name);
    if (l->layout)
        return load_linear(s, l, f, err);
    woq_source_ahead(s, t->data, t->bytes);
    return woq_frame_add_lent(f, "data", t->dtype, t->n_dims, t->shape, t->data, err);
}

static void close_state(struct woq_source *s)
{
    struct state *p = s->priv;

    if (!p)
        return;
    woq_buf_release(&p->aligned);
    woq_buf_release(&p->fields);
    free(p->linears);
    free(p->floats);
    free(p);
    s->priv = NULL;
}

int woq_packed_source_init(struct woq_source *s, const struct woq_json *quant,
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
    p->floats = calloc(s->st.n_tensors + 1, sizeof *p->floats);
    if (!p->linears || !p->floats)
        return woq_fail_nomem(err, s->st.n_tensors * sizeof *p->linears);
    rc = woq_packed_config_read(&p->config, quant, err);
    if (rc == WOQ_OK)
        s->format = p->config.method->format;
    for (size_t i = 0; i < s->st.n_tensors && rc == WOQ_OK; i++)
        rc = add(s, &s->st.tensors[i], err);
    return rc;
}
