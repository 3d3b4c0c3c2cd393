/* nested.c -- scales and zero points that are codes themselves: NAME_codes and what they decode
 * with, beside the values in NAME (woq-stream(5)). */
#include "quant_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct woq_array *part(const struct woq_frame *f, const char *name, const char *what)
{
    char text[64];

    snprintf(text, sizeof text, "%s_%s", name, what);
    return woq_frame_array(f, text);
}

static int optional(const struct woq_frame *f, const char *name, const char *what,
                    enum woq_dtype dtype, unsigned n_dims, uint64_t dim0, uint64_t dim1,
                    const void **data, struct woq_error *err)
{
    char text[64];

    snprintf(text, sizeof text, "%s_%s", name, what);
    return woq_optional_array(f, text, dtype, n_dims, dim0, dim1, data, err);
}

/* How values share NAME_scale: its dimensions tell which way groups run. */
static int read_groups(struct woq_nested *n, const struct woq_array *scale,
                       const struct woq_frame *f, const char *name, struct woq_error *err)
{
    const struct woq_json *quant = woq_json_get(f->meta, "quant");
    const int64_t size = woq_json_get_int(quant, "double_quant_group_size", -1);
    const size_t all = n->n_rows * n->n_cols;

    n->by_column = scale->n_dims == 2;
    n->group = n->by_column ? n->n_rows : all;
    if (size >= 1 && (uint64_t)size < n->group && scale->shape[0] != 1)
        n->group = (size_t)size;
    if (scale->n_dims < 1 || scale->n_dims > 2)
        return woq_fail(err, WOQ_EDATA, NULL, "array '%s_scale' of '%s' has %u dimensions", name,
                        woq_frame_name(f), scale->n_dims);
    return WOQ_OK;
}

static int read_scale(struct woq_nested *n, const struct woq_frame *f, const char *name,
                      struct woq_error *err)
{
    const struct woq_array *scale = part(f, name, "scale");
    const void *s = NULL, *z = NULL;
    uint64_t count;
    unsigned dims;
    int rc;

    if (!scale)
        return WOQ_OK;
    if ((rc = read_groups(n, scale, f, name, err)))
        return rc;
    dims = scale->n_dims;
    count = n->by_column ? (n->n_rows + n->group - 1) / n->group
                         : (n->n_rows * n->n_cols + n->group - 1) / n->group;
    if ((rc = optional(f, name, "scale", WOQ_F32, dims, count, n->n_cols, &s, err)) ||
        (rc = optional(f, name, "zero", WOQ_F32, dims, count, n->n_cols, &z, err)))
        return rc;
    n->scale = s;
    n->zero = z;
    return WOQ_OK;
}

static int check_codes(const struct woq_nested *n, const struct woq_frame *f, const char *name,
                       struct woq_error *err)
{
    for (size_t i = 0; n->bits < 8 && i < n->n_rows * n->n_cols; i++)
        if (n->codes[i] >> n->bits)
            return woq_fail(err, WOQ_EDATA, NULL,
                            "%s_codes [%zu] of '%s' is %d, want less than 2^%d", name, i,
                            woq_frame_name(f), n->codes[i], n->bits);
    return WOQ_OK;
}

int woq_nested_init(struct woq_nested *n, const struct woq_frame *f, const char *name,
                    size_t n_rows, size_t n_cols, struct woq_error *err)
{
    const struct woq_json *quant = woq_json_get(f->meta, "quant");
    const void *codes = NULL, *lut = NULL, *div = NULL, *offset = NULL;
    struct woq_nested v = { .div = 1, .n_rows = n_rows, .n_cols = n_cols, .bits = 8 };
    int rc = optional(f, name, "codes", WOQ_U8, 2, n_rows, n_cols, &codes, err);

    memset(n, 0, sizeof *n);
    if (rc || !codes)
        return rc;
    v.group = n_rows * n_cols;
    if ((rc = optional(f, name, "lut", WOQ_F32, 1, 256, 1, &lut, err)) ||
        (rc = optional(f, name, "div", WOQ_F32, 1, 1, 1, &div, err)) ||
        (rc = optional(f, name, "offset", WOQ_F32, 1, 1, 1, &offset, err)) ||
        (rc = read_scale(&v, f, name, err)))
        return rc;
    if (!lut)
        v.bits = (int)woq_json_get_int(quant, "double_quant_bits", 8);
    if (v.bits < 1 || v.bits > 8)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s': quant.double_quant_bits is %d, want 1..8",
                        woq_frame_name(f), v.bits);
    v.codes = codes;
    v.lut = lut;
    v.div = div ? *(const float *)div : 1.0f;
    v.offset = offset ? *(const float *)offset : 0.0f;
    if ((rc = check_codes(&v, f, name, err)))
        return rc;
    *n = v;
    return WOQ_OK;
}

void woq_nested_decode(float *dst, const struct woq_nested *n)
{
    const float mid = (float)(1 << n->bits >> 1);

    for (size_t r = 0, i = 0; r < n->n_rows; r++)
        for (size_t c = 0; c < n->n_cols; c++, i++) {
            const size_t s = n->by_column ? r / n->group * n->n_cols + c : i / n->group;
            const float x =
                n->lut ? n->lut[n->codes[i]] : (float)n->codes[i] - (n->zero ? n->zero[s] : mid);
            dst[i] = (n->scale ? x * n->scale[s] : x) / n->div + n->offset;
        }
}

/* The code itself, or the nearest whose value has the sign of x: a scale may not vanish. */
static int keep_sign(const float *table, int code, int top, float step, float offset, float x)
{
    while (x != 0.0f && x * (table[code] * step + offset) <= 0.0f &&
           (x > 0.0f ? code < top : code > 0))
        code += x > 0.0f ? 1 : -1;
    return code;
}

static float range_step(const float *value, size_t n, size_t stride, int bits, bool affine,
                        float offset, float *zero)
{
    const float top = (float)((1 << bits) - 1), mid = (float)(1 << bits >> 1);
    float lo = 0, hi = 0, step;

    for (size_t i = 0; i < n; i++) {
        const float x = value[i * stride] - offset;
        lo = x < lo ? x : lo;
        hi = x > hi ? x : hi;
    }
    step = affine ? (hi - lo) / top : fmaxf(-lo, hi) / (bits == 1 ? 1 : mid - 1);
    step = step > 0.0f ? step : 1.0f;
    *zero = affine ? rintf(-lo / step) : bits == 1 ? 0.0f : mid;
    return step;
}

float woq_nested_run(float *value, uint8_t *codes, size_t n, size_t stride, int bits, bool affine,
                     float offset, float *zero)
{
    const float step = range_step(value, n, stride, bits, affine, offset, zero);
    const int top = (1 << bits) - 1;
    float table[256] = { 0 };

    for (int i = 0; i <= top; i++)
        table[i] = (float)i - *zero;
    for (size_t i = 0; i < n; i++) {
        float *x = &value[i * stride];
        const float near = rintf((*x - offset) / step) + *zero;
        int code = near < 0.0f ? 0 : near > (float)top ? top : (int)near;

        code = keep_sign(table, code, top, step, offset, *x);
        codes[i * stride] = (uint8_t)code;
        *x = table[code] * step + offset;
    }
    return step;
}

static float dynamic_run(float *value, uint8_t *codes, size_t n, float offset)
{
    const float *lut = woq_dynamic_lut();
    float most = 0;

    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(value[i] - offset));
    for (size_t i = 0; i < n; i++) {
        const float x = most > 0.0f ? (value[i] - offset) / most : 0.0f;
        const int code = keep_sign(lut, woq_dynamic_code(x), 255, most, offset, value[i]);

        codes[i] = (uint8_t)code;
        value[i] = lut[code] * most + offset;
    }
    return most;
}

void woq_qten_double_quant(const struct woq_qarrays *a, const struct woq_scheme *s)
{
    const struct woq_double_quant *d = &s->dq;
    const size_t n = a->n_scales;
    const size_t group =
        d->group_size < 1 || (uint64_t)d->group_size > n ? n : (size_t)d->group_size;
    double sum = 0;
    float offset = 0, zero = 0;

    for (size_t i = 0; i < n && !d->sym; i++)
        sum += (double)a->scale[i];
    if (a->scale_offset)
        *a->scale_offset = offset = (float)(sum / (double)n);
    for (size_t at = 0, run = 0; at < n; at += group, run++) {
        const size_t len = n - at < group ? n - at : group;

        a->scale_scale[run] = a->scale_lut
                                  ? dynamic_run(a->scale + at, a->scale_codes + at, len, offset)
                                  : woq_nested_run(a->scale + at, a->scale_codes + at, len, 1,
                                                   d->bits, false, offset, &zero);
        if (a->scale_zero)
            a->scale_zero[run] = zero;
    }
}
