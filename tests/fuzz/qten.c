/* qten.c -- fuzz target: a quantized frame with any shapes and meta, checked and decoded; the meta
 * as a scheme for round to nearest of any bytes.
 *
 * Input: rows, columns, two dimensions of scale, flags (one byte each; 128: scales and zero points
 * are codes), the meta "quant" as JSON up
 * to a newline, then the bytes of the arrays (each begins with the first of them). */
#include <woq/quant.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { ZERO = 1, G_IDX = 2, LUT = 4, IN_SCALE = 8, NESTED = 128, MAX_BYTES = 256 * 256 * 4 };

struct arrays {
    uint64_t codes[2], scale[2], cols, lut;
    unsigned flags;
};

/* Zero points by an affine code, scales by a table where the rows are even, one for each column
 * where the columns are. */
static void build_nested(struct woq_frame *f, const struct arrays *a, const void *pool)
{
    const uint64_t one = 1, table = 256, runs[2] = { a->codes[0] / 2 + 1, a->scale[1] };
    struct woq_error err;

    (void)woq_frame_add(f, "zero_codes", WOQ_U8, 2, a->scale, pool, &err);
    (void)woq_frame_add(f, "zero_scale", WOQ_F32, 1, &one, pool, &err);
    (void)woq_frame_add(f, "zero_zero", WOQ_F32, 1, &one, pool, &err);
    (void)woq_frame_add(f, "scale_codes", WOQ_U8, 2, a->scale, pool, &err);
    (void)woq_frame_add(f, "scale_div", WOQ_F32, 1, &one, pool, &err);
    (void)woq_frame_add(f, "scale_offset", WOQ_F32, 1, &one, pool, &err);
    (void)woq_frame_add(f, "scale_scale", WOQ_F32, a->codes[1] % 2 ? 1 : 2, runs, pool, &err);
    if (a->codes[0] % 2 == 0)
        (void)woq_frame_add(f, "scale_lut", WOQ_F32, 1, &table, pool, &err);
}

static void build(struct woq_frame *f, const struct arrays *a, const struct woq_json *quant,
                  const void *pool)
{
    const bool along = woq_json_get_int(quant, "group_dim", 1) != 0;
    struct woq_error err;

    woq_frame_begin(f, "QTEN");
    woq_json_set_str(woq_frame_edit(f), "name", "w");
    woq_json_set(woq_frame_edit(f), "quant", woq_json_copy(quant));
    (void)woq_frame_add(f, "codes", WOQ_U8, 2, a->codes, pool, &err);
    (void)woq_frame_add(f, "scale", WOQ_F32, 2, a->scale, pool, &err);
    if (a->flags & ZERO)
        (void)woq_frame_add(f, "zero", WOQ_F32, 2, a->scale, pool, &err);
    if (a->flags & G_IDX)
        (void)woq_frame_add(f, "g_idx", WOQ_I32, 1, along ? &a->cols : &a->codes[0], pool, &err);
    if (a->flags & LUT)
        (void)woq_frame_add(f, "lut", WOQ_F32, 1, &a->lut, pool, &err);
    if (a->flags & IN_SCALE)
        (void)woq_frame_add(f, "in_scale", WOQ_F32, 1, &a->cols, pool, &err);
    if (a->flags & NESTED)
        build_nested(f, a, pool);
}

static void decode(const struct woq_frame *f)
{
    struct woq_buf buf = { 0 };
    struct woq_error err = { 0 };
    const float *w;
    size_t n_rows, n_cols;
    struct woq_qview q;

    (void)woq_weight_f32(f, &n_rows, &n_cols, &w, &buf, &err);
    if (woq_qview_init(&q, f, &err) == WOQ_OK) {
        float *values =
            calloc(q.n_rows * q.n_cols, sizeof *values); /* at least as many as groups */
        if (values && q.scale_codes.codes)
            woq_nested_decode(values, &q.scale_codes);
        if (values && q.zero_codes.codes)
            woq_nested_decode(values, &q.zero_codes);
        free(values);
        (void)woq_qten_bits(&q);
    }
    woq_buf_release(&buf);
}

static void quantize(const struct arrays *a, const struct woq_json *quant, const void *pool)
{
    struct woq_error err = { 0 };
    struct woq_scheme s;
    struct woq_frame like = { 0 }, out = { 0 };
    struct woq_qarrays q;

    woq_scheme_init(&s);
    woq_frame_begin(&like, "TENS");
    (void)woq_frame_add(&like, "data", WOQ_F32, 2, a->codes, pool, &err);
    if (woq_scheme_from_json(&s, quant, &err) == WOQ_OK && woq_scheme_check(&s, &err) == WOQ_OK &&
        !woq_scheme_is_float(&s) && woq_qten_begin(&out, &like, &s, false, &q, &err) == WOQ_OK &&
        woq_rtn(q.codes, q.scale, q.zero, pool, (size_t)a->codes[0], (size_t)a->codes[1], &s, NULL,
                &err) == WOQ_OK) {
        struct woq_qview view;
        if (s.dq.on)
            woq_qten_double_quant(&q, &s);
        woq_qten_finish(&q, &s, pool, (size_t)(a->codes[0] * a->codes[1]));
        if (woq_qview_init(&view, &out, &err) != WOQ_OK)
            abort(); /* what is written can be read */
    }
    woq_frame_release(&like);
    woq_frame_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const uint8_t *line = bytes > 5 ? memchr(data + 5, '\n', bytes - 5) : NULL;
    struct woq_json *quant = NULL;
    struct woq_frame f = { 0 };
    struct woq_error err = { 0 };
    struct arrays a;
    uint8_t *pool;

    if (!line ||
        woq_json_parse(&quant, (const char *)data + 5, (size_t)(line - data) - 5, &err) < 0)
        return 0;
    a = (struct arrays){ .codes = { data[0], data[1] },
                         .scale = { data[2], data[3] },
                         .cols = data[1],
                         .lut = (uint64_t)1 << (data[4] >> 4 & 7),
                         .flags = data[4] };
    pool = calloc(1, MAX_BYTES);
    if (pool) {
        const size_t rest = bytes - (size_t)(line + 1 - data);
        memcpy(pool, line + 1, rest < MAX_BYTES ? rest : MAX_BYTES);
        build(&f, &a, quant, pool);
        decode(&f);
        quantize(&a, quant, pool);
    }
    free(pool);
    woq_frame_release(&f);
    woq_json_free(quant);
    return 0;
}
