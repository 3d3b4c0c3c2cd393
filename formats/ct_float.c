/* ct_float.c -- see the header. Scales are bytes of e4m3, E8M0 or e5m3 (which is only read) beside
 * a codebook of e2m1 or e4m3; nvfp4 divides all of them by one number. FP8 with float scales is
 * measured and loaded by coded_fp8.c. */
#include <formats/coded.h>
#include <formats/ct_float.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct woq_packed_layout *const layouts[] = {
    &woq_layout_ct_nvfp4, &woq_layout_ct_mxfp4, &woq_layout_ct_mxfp8, &woq_layout_ct_fp8
};
#define N_LAYOUTS (sizeof layouts / sizeof *layouts)

const struct woq_packed_layout *woq_ct_float_layout(const char *codebook)
{
    for (size_t i = 0; i < N_LAYOUTS; i++)
        if (strcmp(layouts[i]->codebook, codebook) == 0)
            return layouts[i];
    return NULL;
}

static const struct woq_format *format_of(const struct woq_packed_layout *l)
{
    return woq_format_find(l->codebook, l->kind.suffix[0][6] ? 4 : 8); /* weight_packed */
}

/* --- reading --- */

static int fail_dims(const struct woq_st_tensor *t, const char *want, struct woq_error *err)
{
    return woq_fail(err, WOQ_EDATA, NULL, "'%s' has shape [%llu,%llu], want %s", t->name,
                    (unsigned long long)(t->n_dims ? t->shape[0] : 1),
                    (unsigned long long)(t->n_dims > 1 ? t->shape[1] : 1), want);
}

static int read_global(struct woq_linear *l, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[WOQ_PART_GLOBAL];

    if (!t)
        return WOQ_OK;
    if (t->dtype != WOQ_F32 || t->bytes != sizeof l->factor)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' is %s of %zu bytes, want one F32", t->name,
                        t->stored, t->bytes);
    memcpy(&l->factor, t->data, sizeof l->factor);
    return l->factor > 0 && isfinite(l->factor)
               ? WOQ_OK
               : woq_fail(err, WOQ_EDATA, NULL, "'%s' is %g, want a finite number above 0", t->name,
                          (double)l->factor);
}

/* Bytes that are no number in the type of the scales. */
static int check_scales(const struct woq_linear *l, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[WOQ_PART_SCALES];
    const float *value = l->layout->scale_values();

    for (size_t i = 0; i < t->bytes; i++)
        if (isnan(value[t->data[i]]))
            return woq_fail(err, WOQ_EDATA, NULL, "scale %zu of '%s' is NaN", i, t->name);
    return WOQ_OK;
}

int woq_ct_float_measure(struct woq_linear *l, const struct woq_linear_told *told,
                         struct woq_error *err)
{
    const struct woq_packed_layout *layout = (const struct woq_packed_layout *)l->kind;
    const struct woq_format *format = format_of(layout);
    const struct woq_st_tensor *codes = l->codes, *scales = l->part[WOQ_PART_SCALES];
    int rc;

    (void)told;
    if (!scales || strcmp(codes->stored, layout->codes_stored) != 0 ||
        strcmp(scales->stored, layout->scales_stored) != 0)
        return WOQ_OK;
    l->layout = layout;
    l->bits = format->bits;
    l->group_size = format->group;
    if (codes->n_dims != 2 || !codes->shape[0] || !codes->shape[1] ||
        codes->shape[1] > UINT32_MAX || codes->shape[0] > UINT32_MAX)
        return fail_dims(codes, "a matrix", err);
    l->n_out = (size_t)codes->shape[0];
    l->n_in = (size_t)codes->shape[1] * (size_t)(8 / l->bits);
    l->n_groups = l->n_in / (size_t)format->group;
    if (l->n_in % (size_t)format->group || scales->n_dims != 2 || scales->shape[0] != l->n_out ||
        scales->shape[1] != l->n_groups)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "'%s' has shape [%llu,%llu]: %s has a scale for each %d of %zu inputs",
                        scales->name, (unsigned long long)(scales->n_dims ? scales->shape[0] : 1),
                        (unsigned long long)(scales->n_dims > 1 ? scales->shape[1] : 1),
                        layout->codebook, format->group, l->n_in);
    memcpy(l->stored, layout->codebook, strlen(layout->codebook) + 1);
    rc = read_global(l, err);
    if (rc == WOQ_OK)
        rc = check_scales(l, err);
    return rc ? rc : WOQ_ITEM;
}

/* The bytes of scales, what they decode with, and their values. */
static int load_scales(const struct woq_linear *l, struct woq_frame *f, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[WOQ_PART_SCALES];
    const uint64_t groups[2] = { l->n_out, l->n_groups }, table = 256, one = 1;
    struct woq_nested n = { .div = 1, .bits = 8, .n_rows = l->n_out, .n_cols = l->n_groups };
    void *scale, *codes, *lut, *div;
    int rc;

    if ((rc = woq_frame_alloc(f, "scale", WOQ_F32, 2, groups, &scale, err)) ||
        (rc = woq_frame_alloc(f, "scale_codes", WOQ_U8, 2, groups, &codes, err)) ||
        (rc = woq_frame_alloc(f, "scale_lut", WOQ_F32, 1, &table, &lut, err)))
        return rc;
    memcpy(codes, t->data, t->bytes);
    memcpy(lut, l->layout->scale_values(), 256 * sizeof(float));
    if (l->part[WOQ_PART_GLOBAL]) {
        if ((rc = woq_frame_alloc(f, "scale_div", WOQ_F32, 1, &one, &div, err)))
            return rc;
        *(float *)div = n.div = l->factor;
    }
    n.codes = codes;
    n.lut = lut;
    n.group = l->n_out * l->n_groups;
    woq_nested_decode(scale, &n);
    return WOQ_OK;
}

int woq_ct_float_load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                      struct woq_error *err)
{
    const struct woq_packed_matrix m =
        woq_packed_codes(l->layout, l->layout->order, l->bits, l->n_out, l->n_in);
    const uint64_t shape[2] = { l->n_out, l->n_in }, table = (uint64_t)1 << l->bits;
    struct woq_scheme s;
    void *codes, *lut;
    int rc;

    (void)scratch;
    if ((rc = woq_frame_alloc(f, "codes", WOQ_U8, 2, shape, &codes, err)) ||
        (rc = woq_frame_alloc(f, "lut", WOQ_F32, 1, &table, &lut, err)) ||
        (rc = load_scales(l, f, err)))
        return rc;
    woq_bitmat_unpack(codes, m.line_step, m.field_step, &m.m, l->codes->data);
    woq_format_lut(lut, format_of(l->layout));
    woq_scheme_init(&s);
    s.bits = l->bits;
    s.group_size = l->group_size;
    snprintf(s.dtype, sizeof s.dtype, "%s", l->layout->codebook);
    woq_json_set(woq_frame_edit(f), "quant", woq_scheme_to_json(&s));
    return WOQ_OK;
}

int woq_mxfp4_load(const uint8_t *codes, const uint8_t *scales, size_t n_out, size_t n_in,
                   struct woq_frame *f, struct woq_error *err)
{
    const struct woq_st_tensor c = { .data = codes };
    const struct woq_st_tensor s = {
        .name = woq_frame_name(f), .stored = "U8", .data = scales, .bytes = n_out * n_in / 32
    };
    const struct woq_linear l = { .kind = &woq_layout_ct_mxfp4.kind,
                                  .layout = &woq_layout_ct_mxfp4,
                                  .codes = &c,
                                  .part = { [WOQ_PART_CODES] = &c, [WOQ_PART_SCALES] = &s },
                                  .n_out = n_out,
                                  .n_in = n_in,
                                  .n_groups = n_in / 32,
                                  .bits = 4,
                                  .group_size = 32 };
    const int rc = check_scales(&l, err);

    return rc ? rc : woq_ct_float_load(&l, NULL, f, err);
}

/* --- writing --- */

/* Bytes that are no number are none in both. */
static bool same_table(const float *a, const float *b)
{
    bool same = true;

    for (size_t i = 0; i < 256; i++)
        same = same && (a[i] == b[i] || (a[i] != a[i] && b[i] != b[i]));
    return same;
}

/* The byte of each scale, from its codes or where it is one of the table's values. */
static bool scale_bytes(uint8_t *to, const struct woq_qview *q, bool e4m3)
{
    const float *table = e4m3 ? woq_e4m3_lut() : woq_e8m0_lut();
    const struct woq_nested *n = &q->scale_codes;
    const size_t n_scales = q->n_rows * q->n_groups;

    if (n->codes && n->lut && !n->scale && n->offset == 0.0f && (e4m3 || n->div == 1.0f) &&
        same_table(n->lut, table)) {
        memcpy(to, n->codes, n_scales);
        return true;
    }
    for (size_t i = 0; i < n_scales; i++) {
        to[i] = e4m3 ? woq_e4m3_code(q->scale[i]) : woq_e8m0_code(q->scale[i]);
        if (table[to[i]] != q->scale[i])
            return false;
    }
    return true;
}

/* Which of the layouts holds it: by its codebook, its groups and what its scales are. */
static const struct woq_packed_layout *layout_of(const struct woq_qview *q, int64_t group_size,
                                                 uint8_t *scales)
{
    for (size_t i = 0; i < N_LAYOUTS; i++) {
        const struct woq_packed_layout *l = layouts[i];
        const struct woq_format *f = format_of(l);
        if (!woq_format_has_lut(f, q->lut, q->bits))
            continue;
        if (!l->scales_stored || (group_size == f->group && q->n_cols % (size_t)f->group == 0 &&
                                  scale_bytes(scales, q, l->scales_stored[0] == 'F')))
            return l;
    }
    return NULL;
}

static int refuse(const struct woq_packed_writer *w, const struct woq_packed_layout *l,
                  const struct woq_qview *q, struct woq_error *err)
{
    static const char hint[] = "quantize with --dtype nvfp4, mxfp4, mxfp8 or fp8_e4m3, or put "
                               "'woq-dequant' before this";

    for (size_t i = 0; i < N_LAYOUTS && !l; i++)
        if (woq_format_has_lut(format_of(layouts[i]), q->lut, q->bits))
            return woq_fail(err, WOQ_ETYPE, hint, "scales or groups of %s that have no form in CT",
                            layouts[i]->codebook);
    if (!l)
        return woq_fail(err, WOQ_ETYPE, hint, "this codebook has no form in CT");
    return woq_fail(err, WOQ_ETYPE, "use --checkpoint-format auto",
                    "%s has no form in --checkpoint-format %s", l->codebook, w->form);
}

/* FP8: its scales as floats, and how many there are. */
static int put_fp8(struct woq_packed_writer *w, struct woq_packed_module *m,
                   const struct woq_frame *f, const struct woq_qview *q,
                   struct woq_packed_tensor *t, struct woq_error *err)
{
    struct woq_fp8_blocks b;
    const int rc = woq_fp8_blocks_init(&b, f, q, m->layout->form, err);
    const size_t n = rc ? 0 : (size_t)(b.shape[0] * b.shape[1]);
    float *x = woq_buf_need(&w->fields, n * sizeof *x + 1, err);
    void *to = woq_buf_need(&w->scales, n * sizeof *x + 1, err);

    if (rc || !x || !to)
        return rc ? rc : WOQ_ENOMEM;
    woq_fp8_scales(x, &b, q);
    t->dtype = w->scale_said ? w->scale_said : WOQ_F32; /* what it was asked for, else as it is */
    t->n_dims = b.tensor ? 1 : 2;
    memcpy(t->shape, b.shape, sizeof t->shape);
    t->data = to;
    m->group_rows = b.rows;
    woq_from_f32(to, t->dtype, x, n);
    woq_to_f32(x, to, t->dtype, n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]) || x[i] == 0)
            return woq_fail(err, WOQ_ETYPE, "use --scale-dtype f32", "scale %zu does not fit in %s",
                            i, woq_dtype_name(t->dtype));
    return WOQ_OK;
}

int woq_ct_float_put(struct woq_packed_writer *w, struct woq_st_writer *st,
                     const struct woq_frame *f, const struct woq_qview *q,
                     struct woq_sink_report *r, struct woq_error *err)
{
    const int64_t group_size = woq_json_get_int(woq_json_get(f->meta, "quant"), "group_size", -1);
    uint8_t *scales = woq_buf_need(&w->zeros, q->n_rows * q->n_groups, err);
    const struct woq_packed_layout *l = NULL;
    struct woq_packed_module *m = NULL;
    int rc;

    if (!scales)
        return WOQ_ENOMEM;
    if (q->group_dim != 1)
        return woq_fail(err, WOQ_ETYPE, "quantize without it", "group_dim 0 has no form in CT");
    l = layout_of(q, group_size, scales);
    if (!l || (strcmp(w->form, "auto") != 0 && l != w->layout))
        return refuse(w, l, q, err);
    if (q->g_idx || q->in_scale)
        return woq_fail(err, WOQ_ETYPE, "quantize without it", "%s has no form in %s",
                        q->g_idx ? "a permuted group index (act_order)" : "a scale per input",
                        l->form);
    rc = woq_packed_add_module(w, f, q, group_size, l, &m, err);
    if (rc)
        return rc;

    const struct woq_packed_matrix c = woq_packed_codes(l, l->order, q->bits, q->n_rows, q->n_cols);
    void *codes = woq_buf_need(&w->codes, woq_bitmat_bytes(&c.m), err);
    struct woq_packed_tensor parts[] = {
        { WOQ_PART_GLOBAL, NULL, WOQ_F32, 1, { 1 }, &q->scale_codes.div },
        { WOQ_PART_CODES, l->codes_stored, WOQ_U8, 2, { c.shape[0], c.shape[1] }, codes },
        { WOQ_PART_SCALES, l->scales_stored, WOQ_U8, 2, { q->n_rows, q->n_groups }, scales },
    };
    const float undivided = 1;

    if (!codes)
        return WOQ_ENOMEM;
    if (!q->scale_codes.codes)
        parts[0].data = &undivided;
    woq_bitmat_pack(codes, &c.m, q->codes, c.line_step, c.field_step);
    if (!l->scales_stored && (rc = put_fp8(w, m, f, q, &parts[2], err)))
        return rc;
    return woq_packed_put_tensors(st, m, parts, sizeof parts / sizeof *parts, r, err);
}
