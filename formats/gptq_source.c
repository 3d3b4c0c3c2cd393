/* gptq_source.c -- a source of GPTQ checkpoints (formats.md 4.a): 2, 3, 4 and 8 bits, checkpoint
 * formats gptq (v1: a stored zero point is one less, modulo 2^bits, per field) and gptq_v2, g_idx.
 * Widths and group sizes of each linear come from the shapes of its tensors, so that mixed ones
 * need no `dynamic`; the configuration must not contradict them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gptq_pack.h"
#include "source.h"
#include <woq/quant.h>

struct linear {
    const struct woq_st_tensor *qweight, *qzeros, *scales, *g_idx; /* NULL: a float tensor */
    int bits;
    size_t n_in, n_out, n_groups;
    int64_t group_size;
    bool permuted;
};

struct state {
    bool v1, sym;
    int64_t group_size;
    int64_t bits;           /* of every linear; 0: they may differ */
    struct linear *linears; /* per item */
    const struct woq_st_tensor **floats;
    struct woq_buf aligned;
    size_t last;
};

static bool ends_in(const char *name, const char *tail)
{
    const size_t n = strlen(name), t = strlen(tail);
    return n > t && !strcmp(name + n - t, tail);
}

/* "P.qweight" -> the tensor "P" + tail. */
static const struct woq_st_tensor *partner(const struct woq_source *s, const char *qweight,
                                           const char *tail)
{
    const int n = (int)(strlen(qweight) - strlen(".qweight"));
    struct woq_str name = { 0 };
    const struct woq_st_tensor *t = NULL;

    if (woq_str_addf(&name, "%.*s%s", n, qweight, tail) == WOQ_OK)
        t = woq_st_find(&s->st, name.s);
    woq_str_release(&name);
    return t;
}

static int read_config(struct woq_source *s, struct state *p, struct woq_error *err)
{
    const struct woq_json *q = woq_json_get(s->config, "quantization_config");
    const char *format = woq_json_get_str(q, "checkpoint_format");

    if (!format)
        format = woq_json_get_str(q, "format");
    p->v1 = !format || !strcmp(format, "gptq");
    p->sym = woq_json_get_bool(q, "sym", true);
    p->group_size = woq_json_get_int(q, "group_size", -1);
    p->bits = woq_json_get(q, "dynamic") ? 0 : woq_json_get_int(q, "bits", 0);
    if (!p->v1 && strcmp(format, "gptq_v2") != 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, "write it again as gptq or gptq_v2",
                        "config.json: checkpoint_format '%s' is not read, want gptq or gptq_v2",
                        format);
    if (p->group_size == 0 || p->group_size < -1)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: group_size %lld: want -1 or more than 0",
                        (long long)p->group_size);
    return WOQ_OK;
}

static int want_shape(const struct woq_st_tensor *t, const char *of, const char *what,
                      enum woq_dtype dtype, unsigned n_dims, uint64_t d0, uint64_t d1,
                      struct woq_error *err)
{
    if (!t)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has no tensor '%s' beside it", of, what);
    if (dtype && t->dtype != dtype)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' is %s, want %s", t->name, t->stored,
                        woq_dtype_name(dtype));
    if (t->n_dims != n_dims || t->shape[0] != d0 || (n_dims > 1 && t->shape[1] != d1))
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has shape [%llu,%llu], want [%llu,%llu]",
                        t->name, (unsigned long long)(t->n_dims ? t->shape[0] : 1),
                        (unsigned long long)(t->n_dims > 1 ? t->shape[1] : 1),
                        (unsigned long long)d0, (unsigned long long)(n_dims > 1 ? d1 : 1));
    return WOQ_OK;
}

/* Widths and sizes from the shapes of qweight [in*b/32][out] and qzeros [groups][out*b/32]. */
static int measure(struct linear *l, struct woq_error *err)
{
    const struct woq_st_tensor *w = l->qweight, *z = l->qzeros;
    uint64_t bits;
    int rc;

    if (w->dtype != WOQ_I32 || w->n_dims != 2 || !z || z->n_dims != 2 || !w->shape[1])
        return woq_fail(err, WOQ_EDATA, NULL,
                        "'%s': want I32 [in*bits/32,out], and qzeros beside it", w->name);
    bits = z->shape[1] <= w->shape[1] ? z->shape[1] * 32 / w->shape[1] : 0;
    if (bits > 8 || !woq_gptq_bits_ok((int)bits) || z->shape[1] * 32 != bits * w->shape[1] ||
        w->shape[1] % 32 || w->shape[0] % (bits == 3 ? 3 : bits) || !w->shape[0])
        return woq_fail(err, WOQ_EUNSUPPORTED, "2, 3, 4 and 8 bits, sizes in multiples of 32",
                        "'%s' is [%llu,%llu] and its qzeros [%llu,%llu]: not a layout that is read",
                        w->name, (unsigned long long)w->shape[0], (unsigned long long)w->shape[1],
                        (unsigned long long)z->shape[0], (unsigned long long)z->shape[1]);
    l->bits = (int)bits;
    l->n_out = (size_t)w->shape[1];
    l->n_in = (size_t)w->shape[0] / bits * 32;
    l->n_groups = (size_t)z->shape[0];
    if (!l->n_groups || l->n_groups > l->n_in)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has %zu groups of %zu inputs", z->name,
                        l->n_groups, l->n_in);
    rc = want_shape(z, w->name, "qzeros", WOQ_I32, 2, l->n_groups, l->n_out / 32 * bits, err);
    if (rc == WOQ_OK)
        rc = want_shape(l->scales, w->name, "scales", WOQ_NO_DTYPE, 2, l->n_groups, l->n_out, err);
    if (rc == WOQ_OK && l->scales && !woq_dtype_is_float(l->scales->dtype))
        rc = woq_fail(err, WOQ_EDATA, NULL, "'%s' is %s, want a float type", l->scales->name,
                      l->scales->stored);
    if (rc == WOQ_OK && l->g_idx)
        rc = want_shape(l->g_idx, w->name, "g_idx", WOQ_I32, 1, l->n_in, 1, err);
    return rc;
}

static int32_t g_idx_at(const struct linear *l, size_t c)
{
    int32_t g;
    memcpy(&g, l->g_idx->data + 4 * c, 4);
    return g;
}

static bool groups_fit(const struct linear *l, int64_t group_size)
{
    const uint64_t g =
        group_size < 0 || (uint64_t)group_size > l->n_in ? l->n_in : (uint64_t)group_size;
    return g && (l->n_in + g - 1) / g == l->n_groups;
}

/* The group size that the configuration says, else the first run of g_idx, else the even one. */
static int find_groups(const struct state *p, struct linear *l, struct woq_error *err)
{
    int64_t run = 0;

    l->group_size = p->group_size;
    while (l->g_idx && (size_t)run < l->n_in && g_idx_at(l, (size_t)run) == g_idx_at(l, 0))
        run++;
    if (!groups_fit(l, l->group_size) && l->g_idx)
        l->group_size = run;
    if (!groups_fit(l, l->group_size) && l->n_groups && l->n_in % l->n_groups == 0)
        l->group_size = (int64_t)(l->n_in / l->n_groups);
    if (!groups_fit(l, l->group_size))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "'%s' has %zu groups, but %zu inputs in groups of %lld make another number",
                        l->qzeros->name, l->n_groups, l->n_in, (long long)p->group_size);
    const size_t step = l->group_size < 0 ? l->n_in : (size_t)l->group_size;
    for (size_t c = 0; l->g_idx && c < l->n_in; c++) {
        const int32_t g = g_idx_at(l, c);
        if (g < 0 || (size_t)g >= l->n_groups)
            return woq_fail(err, WOQ_EDATA, NULL, "'%s' %zu is %d, want 0..%zu", l->g_idx->name, c,
                            g, l->n_groups - 1);
        l->permuted = l->permuted || (size_t)g != c / step;
    }
    return WOQ_OK;
}

static int add_linear(struct woq_source *s, const struct woq_st_tensor *t, struct woq_error *err)
{
    struct state *p = s->priv;
    struct linear l = { .qweight = t,
                        .qzeros = partner(s, t->name, ".qzeros"),
                        .scales = partner(s, t->name, ".scales"),
                        .g_idx = partner(s, t->name, ".g_idx") };
    struct woq_str name = { 0 };
    struct woq_item *item = NULL;
    int rc = measure(&l, err);

    if (rc == WOQ_OK && p->bits && l.bits != p->bits)
        rc = woq_fail(err, WOQ_EDATA, NULL, "'%s' has %d bits by its shape, config.json says %lld",
                      t->name, l.bits, (long long)p->bits);
    if (rc == WOQ_OK)
        rc = find_groups(p, &l, err);
    if (rc || !l.qzeros || !l.scales) /* measure() has said so */
        return rc;
    if (woq_str_addf(&name, "%.*s.weight", (int)(strlen(t->name) - strlen(".qweight")), t->name) ==
        WOQ_OK)
        item = woq_source_add(s, name.s, err);
    woq_str_release(&name);
    if (!item)
        return woq_fail_nomem(err, 256);
    item->quantized = true;
    item->dtype = WOQ_U8;
    item->n_dims = 2;
    item->shape[0] = l.n_out;
    item->shape[1] = l.n_in;
    snprintf(item->stored, sizeof item->stored, "GPTQ%d", l.bits);
    item->file_bytes =
        t->bytes + l.qzeros->bytes + l.scales->bytes + (l.g_idx ? l.g_idx->bytes : 0);
    p->linears[s->n_items - 1] = l;
    return WOQ_OK;
}

static int add_float(struct woq_source *s, const struct woq_st_tensor *t, struct woq_error *err)
{
    static const char *const parts[] = { ".qzeros", ".scales", ".g_idx" };
    struct state *p = s->priv;

    for (size_t i = 0; i < 3; i++) {
        const size_t n = strlen(t->name), tail = strlen(parts[i]);
        struct woq_str q = { 0 };
        bool owned = false;
        if (!ends_in(t->name, parts[i]))
            continue;
        if (woq_str_addf(&q, "%.*s.qweight", (int)(n - tail), t->name) == WOQ_OK)
            owned = woq_st_find(&s->st, q.s) != NULL;
        woq_str_release(&q);
        if (owned)
            return WOQ_OK;
    }
    if (!woq_source_add_st(s, t, err))
        return WOQ_ENOMEM;
    p->floats[s->n_items - 1] = t;
    return WOQ_OK;
}

/* 32-bit words of a tensor, copied where the file does not align them. */
static const uint32_t *words(struct state *p, const struct woq_st_tensor *t, struct woq_error *err)
{
    void *copy;

    if ((uintptr_t)t->data % 4 == 0)
        return (const uint32_t *)(const void *)t->data;
    copy = woq_buf_need(&p->aligned, t->bytes, err);
    return copy ? memcpy(copy, t->data, t->bytes) : NULL;
}

/* scales [groups][out] in their dtype -> [out][groups] in f32. */
static int load_scales(struct state *p, float *scale, const struct linear *l, struct woq_error *err)
{
    const size_t width = woq_dtype_bytes(l->scales->dtype);
    float *row = woq_buf_need(&p->aligned, l->n_out * sizeof *row, err);

    if (!row)
        return WOQ_ENOMEM;
    for (size_t g = 0; g < l->n_groups; g++) {
        woq_to_f32(row, l->scales->data + g * l->n_out * width, l->scales->dtype, l->n_out);
        for (size_t o = 0; o < l->n_out; o++)
            scale[o * l->n_groups + g] = row[o];
    }
    return WOQ_OK;
}

/* A symmetric checkpoint has one zero point throughout: the array is then left out. */
static int load_zeros(struct state *p, struct woq_frame *f, const struct linear *l, bool *sym,
                      struct woq_error *err)
{
    const uint64_t shape[2] = { l->n_out, l->n_groups };
    const size_t n = l->n_out * l->n_groups;
    const uint32_t *q = words(p, l->qzeros, err);
    void *zero;
    int rc;

    if (!q)
        return WOQ_ENOMEM;
    rc = woq_frame_alloc(f, "zero", WOQ_F32, 2, shape, &zero, err);
    if (rc)
        return rc;
    woq_gptq_unpack_zeros(zero, q, l->n_out, l->n_groups, l->bits, p->v1);
    *sym = p->sym;
    for (size_t i = 0; i < n && *sym; i++)
        *sym = ((const float *)zero)[i] == (float)(1 << (l->bits - 1));
    if (*sym)
        woq_frame_del(f, "zero");
    return WOQ_OK;
}

static int load_linear(struct woq_source *s, const struct linear *l, struct woq_frame *f,
                       struct woq_error *err)
{
    struct state *p = s->priv;
    const uint64_t shape[2] = { l->n_out, l->n_in }, groups[2] = { l->n_out, l->n_groups };
    struct woq_scheme scheme;
    const uint32_t *q;
    void *codes, *scale, *g_idx;
    bool sym = false;
    int rc;

    woq_source_ahead(s, l->qweight->data, l->qweight->bytes);
    if ((rc = woq_frame_alloc(f, "codes", WOQ_U8, 2, shape, &codes, err)) < 0 ||
        (rc = woq_frame_alloc(f, "scale", WOQ_F32, 2, groups, &scale, err)) < 0)
        return rc;
    q = words(p, l->qweight, err);
    if (!q)
        return WOQ_ENOMEM;
    woq_gptq_unpack_weight(codes, q, l->n_out, l->n_in, l->bits);
    if ((rc = load_scales(p, scale, l, err)) < 0 || (rc = load_zeros(p, f, l, &sym, err)) < 0)
        return rc;
    if (l->permuted) {
        if ((rc = woq_frame_alloc(f, "g_idx", WOQ_I32, 1, &shape[1], &g_idx, err)) < 0)
            return rc;
        memcpy(g_idx, l->g_idx->data, 4 * l->n_in);
    }
    woq_scheme_init(&scheme);
    scheme.bits = l->bits;
    scheme.group_size = l->group_size;
    scheme.sym = sym;
    woq_json_set(woq_frame_edit(f), "quant", woq_scheme_to_json(&scheme));
    return WOQ_OK;
}

static void drop_last(const struct woq_source *s)
{
    const struct state *p = s->priv;
    const struct linear *l = p->last == SIZE_MAX ? NULL : &p->linears[p->last];

    if (l && l->qweight)
        woq_source_done(s, l->qweight->data, l->qweight->bytes);
    else if (l)
        woq_source_done(s, p->floats[p->last]->data, p->floats[p->last]->bytes);
}

static int load(struct woq_source *s, size_t item, struct woq_frame *f, struct woq_error *err)
{
    struct state *p = s->priv;
    const struct linear *l = &p->linears[item];
    const struct woq_st_tensor *t = p->floats[item];

    drop_last(s);
    p->last = item;
    woq_frame_begin(f, l->qweight ? "QTEN" : "TENS");
    woq_json_set_str(woq_frame_edit(f), "name", s->items[item].name);
    if (l->qweight)
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
    free(p->linears);
    free(p->floats);
    free(p);
    s->priv = NULL;
}

int woq_gptq_source_init(struct woq_source *s, struct woq_error *err)
{
    struct state *p = calloc(1, sizeof *p);
    int rc;

    if (!p)
        return woq_fail_nomem(err, sizeof *p);
    s->priv = p;
    s->close = close_state;
    s->load = load;
    s->format = "gptq";
    p->last = SIZE_MAX;
    p->linears = calloc(s->st.n_tensors + 1, sizeof *p->linears);
    p->floats = calloc(s->st.n_tensors + 1, sizeof *p->floats);
    if (!p->linears || !p->floats)
        return woq_fail_nomem(err, s->st.n_tensors * sizeof *p->linears);
    rc = read_config(s, p, err);
    for (size_t i = 0; i < s->st.n_tensors && rc == WOQ_OK; i++)
        rc = ends_in(s->st.tensors[i].name, ".qweight") ? add_linear(s, &s->st.tensors[i], err)
                                                        : add_float(s, &s->st.tensors[i], err);
    return rc;
}
