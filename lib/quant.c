/* quant.c -- the QTEN frame: made, checked, decoded. */
#include "quant_internal.h"
#include <woq/kernels.h>
#include <woq/threads.h>

#include <math.h>
#include <string.h>

enum {
    ITEM_ELEMS = 1 << 16, /* elements of a parallel item */
    CHUNK = 512,          /* columns whose parameters are gathered at a time */
};

int woq_optional_array(const struct woq_frame *f, const char *name, enum woq_dtype dtype,
                       unsigned n_dims, uint64_t dim0, uint64_t dim1, const void **data,
                       struct woq_error *err)
{
    const struct woq_array *a;
    int rc;

    *data = NULL;
    if (!woq_frame_array(f, name))
        return WOQ_OK;
    rc = woq_frame_want(f, name, dtype, n_dims, &a, err);
    if (rc)
        return rc;
    if (a->shape[0] != dim0 || (n_dims > 1 && a->shape[1] != dim1))
        return woq_fail(err, WOQ_EDATA, NULL, "array '%s' of '%s' is %llu x %llu, want %llu x %llu",
                        name, woq_frame_name(f), (unsigned long long)a->shape[0],
                        (unsigned long long)(n_dims > 1 ? a->shape[1] : 1),
                        (unsigned long long)dim0, (unsigned long long)(n_dims > 1 ? dim1 : 1));
    *data = a->data;
    return WOQ_OK;
}

static int required(const struct woq_frame *f, const char *name, enum woq_dtype dtype,
                    uint64_t dim0, uint64_t dim1, const void **data, struct woq_error *err)
{
    const struct woq_array *a;
    const int rc = woq_frame_want(f, name, dtype, 2, &a, err);

    return rc ? rc : woq_optional_array(f, name, dtype, 2, dim0, dim1, data, err);
}

/* bits, group_size and group_dim; other keys belong to the method that made the codes. */
static int read_meta(struct woq_qview *q, struct woq_scheme *s, const struct woq_frame *f,
                     struct woq_error *err)
{
    const struct woq_json *quant = woq_json_get(f->meta, "quant");
    const char *name = woq_frame_name(f);

    if (!woq_frame_is(f, "QTEN"))
        return woq_fail(err, WOQ_ETYPE, "put a quantizer, such as woq-rtn, before this filter",
                        "frame '%s' is %s, want QTEN", name, f->type);
    woq_scheme_init(s);
    s->group_size = woq_json_get_int(quant, "group_size", 0);
    s->bits = (int)woq_json_get_int(quant, "bits", 0);
    s->group_dim = (int)woq_json_get_int(quant, "group_dim", 1);
    if (s->bits < 1 || s->bits > 8)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s': quant.bits is %d, want 1..8", name, s->bits);
    if (s->group_size != -1 && s->group_size < 1)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s': quant.group_size is %lld, want -1 or 1..",
                        name, (long long)s->group_size);
    if (s->group_dim != 0 && s->group_dim != 1)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s': quant.group_dim is %d, want 0 or 1", name,
                        s->group_dim);
    q->bits = s->bits;
    q->group_dim = s->group_dim;
    q->group_rows = woq_json_get_int(quant, "group_rows", 1);
    return WOQ_OK;
}

/* Codes are below 2^bits exactly when no code has a bit at or above `bits`: an or of all tells. */
static uint8_t or_of(const uint8_t *p, size_t n)
{
    uint64_t word, all[4] = { 0 };
    uint8_t rest = 0;
    size_t i = 0;

    for (; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 4; j++) {
            memcpy(&word, p + i + 8 * j, sizeof word);
            all[j] |= word;
        }
    for (; i < n; i++)
        rest |= p[i];
    word = all[0] | all[1] | all[2] | all[3];
    for (size_t j = 0; j < 8; j++)
        rest |= (uint8_t)(word >> 8 * j);
    return rest;
}

static int check_codes(const struct woq_qview *q, const char *name, struct woq_error *err)
{
    for (size_t r = 0; q->bits < 8 && r < q->n_rows; r++) {
        const uint8_t *row = q->codes + r * q->n_cols;
        if (or_of(row, q->n_cols) >> q->bits == 0)
            continue;
        for (size_t c = 0; c < q->n_cols; c++)
            if (row[c] >> q->bits)
                return woq_fail(err, WOQ_EDATA, NULL,
                                "code [%zu][%zu] of '%s' is %d, want less than 2^%d", r, c, name,
                                row[c], q->bits);
    }
    return WOQ_OK;
}

static int check_g_idx(const struct woq_qview *q, size_t n, const char *name, struct woq_error *err)
{
    for (size_t i = 0; q->g_idx && i < n; i++)
        if (q->g_idx[i] < 0 || (size_t)q->g_idx[i] >= q->n_groups)
            return woq_fail(err, WOQ_EDATA, NULL, "g_idx [%zu] of '%s' is %ld, want 0..%zu", i,
                            name, (long)q->g_idx[i], q->n_groups - 1);
    return WOQ_OK;
}

int woq_qview_init(struct woq_qview *q, const struct woq_frame *f, struct woq_error *err)
{
    const struct woq_array *codes = NULL;
    const char *name = woq_frame_name(f);
    const void *scale = NULL, *zero = NULL, *g_idx = NULL, *lut = NULL, *in_scale = NULL;
    struct woq_qview v = { 0 };
    struct woq_scheme s;
    size_t along, dim0, dim1;
    int rc = read_meta(&v, &s, f, err);

    if (rc || (rc = woq_frame_want(f, "codes", WOQ_U8, 2, &codes, err)))
        return rc;
    v.n_rows = (size_t)codes->shape[0];
    v.n_cols = (size_t)codes->shape[1];
    if (v.n_rows == 0 || v.n_cols == 0)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' is %zu x %zu: no weight is empty", name,
                        v.n_rows, v.n_cols);
    along = v.group_dim ? v.n_cols : v.n_rows;
    v.group_elems = woq_scheme_group_elems(&s, along);
    v.n_groups = woq_scheme_groups(&s, along);
    dim0 = v.group_dim ? v.n_rows : v.n_groups;
    dim1 = v.group_dim ? v.n_groups : v.n_cols;
    if ((rc = required(f, "scale", WOQ_F32, dim0, dim1, &scale, err)) ||
        (rc = woq_optional_array(f, "zero", WOQ_F32, 2, dim0, dim1, &zero, err)) ||
        (rc = woq_optional_array(f, "g_idx", WOQ_I32, 1, along, 1, &g_idx, err)) ||
        (rc = woq_optional_array(f, "lut", WOQ_F32, 1, (uint64_t)1 << v.bits, 1, &lut, err)) ||
        (rc = woq_optional_array(f, "in_scale", WOQ_F32, 1, v.n_cols, 1, &in_scale, err)))
        return rc;
    v.sym = !zero;
    v.codes = codes->data;
    v.scale = scale;
    v.zero = zero;
    v.g_idx = g_idx;
    v.lut = lut;
    v.in_scale = in_scale;
    if ((rc = check_g_idx(&v, along, name, err)) || (rc = check_codes(&v, name, err)) ||
        (rc = woq_nested_init(&v.scale_codes, f, "scale", dim0, dim1, err)) ||
        (zero && (rc = woq_nested_init(&v.zero_codes, f, "zero", dim0, dim1, err))))
        return rc;
    *q = v;
    return WOQ_OK;
}

/* Column c's group parameters as one per column, for what the group kernels can't walk. */
static void spread(float *out, const struct woq_qview *q, const float *from, size_t row, size_t c0,
                   size_t n)
{
    if (q->group_dim == 0) {
        const size_t g = q->g_idx ? (size_t)q->g_idx[row] : row / q->group_elems;
        memcpy(out, from + g * q->n_cols + c0, n * sizeof *out);
        return;
    }
    from += row * q->n_groups;
    for (size_t i = 0; i < n; i++)
        out[i] = from[q->g_idx ? (size_t)q->g_idx[c0 + i] : (c0 + i) / q->group_elems];
}

static void dequant_spread(float *dst, const struct woq_qview *q, size_t row, size_t c0, size_t n)
{
    const uint8_t *codes = q->codes + row * q->n_cols + c0;
    float scale[CHUNK], zero[CHUNK];

    spread(scale, q, q->scale, row, c0, n);
    if (q->lut) {
        woq_kernels()->lut_cols_f32(dst, codes, n, scale, q->lut, (size_t)1 << q->bits);
        return;
    }
    if (q->zero)
        spread(zero, q, q->zero, row, c0, n);
    woq_kernels()->dequant_cols_u8(dst, codes, n, scale, q->zero ? zero : NULL,
                                   (float)(1 << q->bits >> 1));
}

void woq_dequant_rows(float *dst, const struct woq_qview *q, size_t row0, size_t row1)
{
    const struct woq_kernels *k = woq_kernels();

    for (size_t row = row0; row < row1; row++, dst += q->n_cols) {
        if (q->group_dim && q->lut && !q->g_idx)
            k->lut_groups_f32(dst, q->codes + row * q->n_cols, q->n_cols, q->group_elems,
                              q->scale + row * q->n_groups, q->lut, (size_t)1 << q->bits);
        else if (q->group_dim && !q->g_idx)
            k->dequant_groups_u8(dst, q->codes + row * q->n_cols, q->n_cols, q->group_elems,
                                 q->scale + row * q->n_groups,
                                 q->zero ? q->zero + row * q->n_groups : NULL,
                                 (float)(1 << q->bits >> 1));
        else
            for (size_t c = 0; c < q->n_cols; c += CHUNK)
                dequant_spread(dst + c, q, row, c, q->n_cols - c < CHUNK ? q->n_cols - c : CHUNK);
        if (q->in_scale)
            for (size_t c = 0; c < q->n_cols; c++)
                dst[c] *= q->in_scale[c];
    }
}

struct dequant_job {
    float *dst;
    const struct woq_qview *q;
    size_t item_rows;
};

static void dequant_item(void *ctx, size_t item, int thread)
{
    const struct dequant_job *j = ctx;
    const size_t row0 = item * j->item_rows, left = j->q->n_rows - row0;

    (void)thread;
    woq_dequant_rows(j->dst + row0 * j->q->n_cols, j->q, row0,
                     left < j->item_rows ? j->q->n_rows : row0 + j->item_rows);
}

static int dequant_frame(const struct woq_frame *f, size_t *n_rows, size_t *n_cols,
                         const float **data, struct woq_buf *buf, struct woq_error *err)
{
    struct woq_qview q = { 0 };
    struct dequant_job j = { .q = &q };
    size_t bytes;
    const int rc = woq_qview_init(&q, f, err);

    if (rc)
        return rc;
    if (!woq_mul_size(q.n_rows, q.n_cols, &bytes) || !woq_mul_size(bytes, sizeof(float), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    j.dst = woq_buf_need(buf, bytes, err);
    if (!j.dst)
        return WOQ_ENOMEM;
    j.item_rows = q.n_cols >= ITEM_ELEMS ? 1 : ITEM_ELEMS / (q.n_cols ? q.n_cols : 1);
    woq_parallel((q.n_rows + j.item_rows - 1) / j.item_rows, dequant_item, &j);
    *n_rows = q.n_rows;
    *n_cols = q.n_cols;
    *data = j.dst;
    return WOQ_OK;
}

int woq_weight_f32(const struct woq_frame *f, size_t *n_rows, size_t *n_cols, const float **data,
                   struct woq_buf *buf, struct woq_error *err)
{
    struct woq_tensor t;
    int rc;

    if (woq_frame_is(f, "QTEN"))
        return dequant_frame(f, n_rows, n_cols, data, buf, err);
    rc = woq_frame_f32(f, &t, data, buf, err);
    if (rc)
        return rc;
    *n_rows = t.n_rows;
    *n_cols = t.n_cols;
    return WOQ_OK;
}
