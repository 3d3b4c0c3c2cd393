/* qten.c -- the QTEN frame of a weight that is being quantized, and its size. */
#include <woq/quant.h>

#include <math.h>
#include <string.h>

static int copy_meta(struct woq_frame *out, const struct woq_frame *like,
                     const struct woq_scheme *s, struct woq_error *err)
{
    struct woq_json *meta = woq_frame_edit(out);

    woq_json_each(item, like->meta) if (strcmp(woq_json_key(item), "quant") != 0 &&
                                        strcmp(woq_json_key(item), "raw_format") != 0)
        woq_json_set(meta, woq_json_key(item), woq_json_copy(item));
    woq_json_set(meta, "quant", woq_scheme_to_json(s));
    return woq_json_get(meta, "quant") ? WOQ_OK : woq_fail_nomem(err, 1 << 10);
}

static int add_table(struct woq_frame *out, const char *name, uint64_t n, void **data,
                     struct woq_error *err)
{
    return woq_frame_alloc(out, name, WOQ_F32, 1, &n, data, err);
}

/* The codebook, and scales that are codes. */
static int add_format(struct woq_frame *out, const struct woq_format *f, const uint64_t *groups,
                      struct woq_qarrays *a, struct woq_error *err)
{
    const float *scale_lut = f->scale == WOQ_SCALE_E8M0 ? woq_e8m0_lut() : woq_e4m3_lut();
    void *lut = NULL, *codes = NULL, *table = NULL, *div = NULL;
    int rc = add_table(out, "lut", (uint64_t)1 << f->bits, &lut, err);

    if (rc)
        return rc;
    woq_format_lut(lut, f);
    if (f->scale == WOQ_SCALE_FREE)
        return WOQ_OK;
    if ((rc = woq_frame_alloc(out, "scale_codes", WOQ_U8, 2, groups, &codes, err)) ||
        (rc = add_table(out, "scale_lut", 256, &table, err)) ||
        (f->scale == WOQ_SCALE_E4M3 && (rc = add_table(out, "scale_div", 1, &div, err))))
        return rc;
    memcpy(table, scale_lut, 256 * sizeof *scale_lut);
    a->scale_codes = codes;
    a->scale_div = div;
    return WOQ_OK;
}

/* Scales that are quantized by the scheme: how many share a step, and what else they decode with.
 */
static int add_double_quant(struct woq_frame *out, const struct woq_scheme *s, bool by_column,
                            const uint64_t *groups, struct woq_qarrays *a, struct woq_error *err)
{
    const bool table = strcmp(s->dq.dtype, "dynamic") == 0;
    const uint64_t all = by_column ? groups[0] : groups[0] * groups[1];
    const uint64_t size =
        s->dq.group_size < 1 || (uint64_t)s->dq.group_size > all ? all : (uint64_t)s->dq.group_size;
    const uint64_t shape[2] = { (all + size - 1) / size, groups[1] };
    const unsigned dims = by_column ? 2 : 1;
    void *codes = NULL, *lut = NULL, *step = NULL, *zero = NULL, *offset = NULL;
    int rc;

    if (by_column && table)
        return woq_fail(err, WOQ_EUSAGE, "use woq-rtn",
                        "the dynamic map of double quantization is for rounding to nearest");
    if ((rc = woq_frame_alloc(out, "scale_codes", WOQ_U8, 2, groups, &codes, err)) ||
        (table && (rc = add_table(out, "scale_lut", 256, &lut, err))) ||
        (rc = woq_frame_alloc(out, "scale_scale", WOQ_F32, dims, shape, &step, err)) ||
        (((by_column && !s->dq.sym) || s->dq.bits == 1) &&
         (rc = woq_frame_alloc(out, "scale_zero", WOQ_F32, dims, shape, &zero, err))) ||
        (!by_column && !s->dq.sym && (rc = add_table(out, "scale_offset", 1, &offset, err))))
        return rc;
    if (table)
        memcpy(lut, woq_dynamic_lut(), 256 * sizeof(float));
    a->scale_codes = codes;
    a->scale_lut = lut;
    a->scale_scale = step;
    a->scale_zero = zero;
    a->scale_offset = offset;
    return WOQ_OK;
}

int woq_qten_begin(struct woq_frame *out, const struct woq_frame *like, const struct woq_scheme *s,
                   bool by_column, struct woq_qarrays *a, struct woq_error *err)
{
    const struct woq_format *f = woq_format_find(s->dtype, s->bits);
    struct woq_tensor t;
    uint64_t shape[2], groups[2];
    void *c = NULL, *sc = NULL, *z = NULL;
    int rc = woq_frame_view(like, &t, err);

    if (rc)
        return rc;
    if (t.n_dims != 2 || t.n_elem == 0)
        return woq_fail(err, WOQ_ETYPE, NULL,
                        "'%s' has %u dimensions and %zu elements, want a matrix", t.name, t.n_dims,
                        t.n_elem);
    shape[0] = t.n_rows;
    shape[1] = t.n_cols;
    groups[0] = s->group_dim ? t.n_rows : woq_scheme_groups(s, t.n_rows);
    groups[1] = s->group_dim ? woq_scheme_groups(s, t.n_cols) : t.n_cols;
    memset(a, 0, sizeof *a);
    woq_frame_begin(out, "QTEN");
    if ((rc = copy_meta(out, like, s, err)) ||
        (rc = woq_frame_alloc(out, "codes", WOQ_U8, 2, shape, &c, err)) ||
        (rc = woq_frame_alloc(out, "scale", WOQ_F32, 2, groups, &sc, err)))
        return rc;
    if (woq_scheme_has_zero(s) && (rc = woq_frame_alloc(out, "zero", WOQ_F32, 2, groups, &z, err)))
        return rc;
    a->codes = c;
    a->scale = sc;
    a->zero = z;
    a->n_scales = (size_t)(groups[0] * groups[1]);
    rc = f && f->bits ? add_format(out, f, groups, a, err) : WOQ_OK;
    return rc == WOQ_OK && s->dq.on ? add_double_quant(out, s, by_column, groups, a, err) : rc;
}

void woq_qten_finish(const struct woq_qarrays *a, const struct woq_scheme *s, const float *w,
                     size_t n)
{
    struct woq_grid g;

    if (!a->scale_codes || s->dq.on)
        return;
    woq_grid_init(&g, s, w, n);
    if (a->scale_div)
        *a->scale_div = g.scale_div;
    for (size_t i = 0; i < a->n_scales; i++)
        a->scale_codes[i] =
            a->scale_div ? woq_e4m3_code(a->scale[i] * g.scale_div) : woq_e8m0_code(a->scale[i]);
}

/* Bits of n values that are codes, or `plain` bits each. */
static double nested_bits(const struct woq_nested *n, double count, double plain)
{
    size_t groups;

    if (!n->codes)
        return count * plain;
    groups = n->by_column ? (n->n_rows + n->group - 1) / n->group * n->n_cols
                          : (n->n_rows * n->n_cols + n->group - 1) / n->group;
    return count * n->bits + 32.0 * (double)groups * ((n->scale != NULL) + (n->zero != NULL)) +
           32.0 * ((n->div != 1.0f) + (n->offset != 0.0f));
}

static bool all_integers(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (x[i] != rintf(x[i]))
            return false;
    return true;
}

double woq_qten_bits(const struct woq_qview *q)
{
    const size_t n_groups = q->n_groups * (q->group_dim ? q->n_rows : q->n_cols);
    const size_t step = q->group_rows < 1 || (uint64_t)q->group_rows > q->n_rows
                            ? q->n_rows
                            : (size_t)q->group_rows;
    const size_t shared = q->group_dim ? q->n_groups * ((q->n_rows + step - 1) / step) : n_groups;
    double bits = (double)q->bits * (double)q->n_rows * (double)q->n_cols;

    bits += nested_bits(&q->scale_codes, (double)shared, 16.0);
    if (q->zero)
        bits += nested_bits(&q->zero_codes, (double)shared,
                            all_integers(q->zero, n_groups) ? q->bits : 16.0);
    if (q->g_idx)
        bits += 32.0 * (double)(q->group_dim ? q->n_cols : q->n_rows);
    if (q->in_scale)
        bits += 16.0 * (double)q->n_cols;
    return bits;
}
