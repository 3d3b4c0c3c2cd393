/* coded_fp8.c -- FP8 as DeepSeek's and transformers' checkpoints have it: one byte for each weight,
 * multiplied by weight_scale_inv of its block, row or tensor (formats.md 4.h). */
#include <formats/coded.h>

#include <stdlib.h>
#include <string.h>

enum part { CODES, SCALE_INV, SCALE, ZERO };
/* The scale of activations is not the weights' business. */

/* What the scales' number tells: one for the tensor, one for each row, or blocks. */
static int read_blocks(struct woq_linear *l, const struct woq_linear_told *told,
                       const struct woq_st_tensor *scale, struct woq_error *err)
{
    const size_t width = woq_dtype_bytes(scale->dtype), n = width ? scale->bytes / width : 0;
    const uint64_t *block = told->block;

    l->group = l->n_in;
    if (n == 1) {
        l->group_rows = l->n_out;
    } else if (n == l->n_out && scale->shape[0] == n) {
        l->group_rows = 1;
    } else if (block[0] && block[1] && scale->n_dims == 2 && block[0] <= UINT32_MAX &&
               block[1] <= UINT32_MAX &&
               scale->shape[0] == woq_ceil_div(l->n_out, (size_t)block[0]) &&
               scale->shape[1] == woq_ceil_div(l->n_in, (size_t)block[1])) {
        l->group_rows = (size_t)block[0];
        l->group = (size_t)block[1] < l->n_in ? (size_t)block[1] : l->n_in;
    } else {
        return woq_fail(err, WOQ_EDATA, "look at the size of blocks in config.json",
                        "'%s' has %zu scales for %zu x %zu weights", scale->name, n, l->n_out,
                        l->n_in);
    }
    return WOQ_OK;
}

static int measure(struct woq_linear *l, const struct woq_linear_told *told, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->codes, *scale = l->part[SCALE_INV];
    const bool e4m3 = strcmp(t->stored, "F8_E4M3") == 0;
    int rc;

    if (!e4m3 && strcmp(t->stored, "F8_E5M2") != 0)
        return WOQ_OK;
    if (!scale)
        scale = l->part[SCALE];
    if (!scale || t->n_dims != 2 || t->shape[0] == 0 || t->shape[1] == 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "'%s' is %s without a matrix of scales",
                        t->name, t->stored);
    if (l->part[ZERO])
        return woq_fail(err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
                        "'%s' is subtracted from codes of %s, which have no zero points",
                        l->part[ZERO]->name, t->stored);
    if (scale->dtype != WOQ_F32 && scale->dtype != WOQ_BF16 && scale->dtype != WOQ_F16)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "'%s' is %s, want F32 BF16 F16", scale->name,
                        scale->stored);
    l->n_out = (size_t)t->shape[0];
    l->n_in = (size_t)t->shape[1];
    l->bits = 8;
    memcpy(l->dtype, e4m3 ? "fp8_e4m3" : "fp8_e5m2", sizeof "fp8_e4m3");
    rc = read_blocks(l, told, scale, err);
    return rc ? rc : woq_coded_item(l, "fp8");
}

static int load_scales(const struct woq_linear *l, float *scale, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[SCALE_INV] ? l->part[SCALE_INV] : l->part[SCALE];
    const size_t n_groups = woq_ceil_div(l->n_in, l->group);
    float *value = woq_alloc(t->bytes * 2 + 4, err);
    const int rc = value ? woq_coded_floats(value, t, err) : WOQ_ENOMEM;

    for (size_t r = 0; r < l->n_out && rc == WOQ_OK; r++)
        memcpy(scale + r * n_groups, value + r / l->group_rows * n_groups,
               n_groups * sizeof *scale);
    free(value);
    return rc;
}

static int load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                struct woq_error *err)
{
    const uint64_t table = 256;
    struct woq_scheme s;
    struct woq_qarrays a;
    void *lut;
    int rc;

    (void)scratch;
    if ((rc = woq_coded_begin(f, l, woq_ceil_div(l->n_in, l->group), &a, err)) ||
        (rc = woq_frame_alloc(f, "lut", WOQ_F32, 1, &table, &lut, err)) ||
        (rc = load_scales(l, a.scale, err)))
        return rc;
    woq_format_lut(lut, woq_format_find(l->dtype, 8));
    memcpy(a.codes, l->codes->data, l->codes->bytes);
    woq_scheme_init(&s);
    memcpy(s.dtype, l->dtype, sizeof s.dtype);
    s.bits = 8;
    s.group_size = l->group == l->n_in ? -1 : (int64_t)l->group;
    s.group_rows = l->group_rows >= l->n_out && l->group == l->n_in ? -1 : (int64_t)l->group_rows;
    return woq_coded_meta(f, l, &s, err);
}

const struct woq_linear_kind woq_fp8_kind = { .suffix = { "weight", "weight_scale_inv",
                                                          "weight_scale", "weight_zp",
                                                          "input_scale", "activation_scale" },
                                              .measure = measure,
                                              .load = load };

/* --- writing --- */
static const char *spelling_of(const struct woq_qview *q)
{
    static const char *const names[][2] = { { "fp8_e4m3", "F8_E4M3" }, { "fp8_e5m2", "F8_E5M2" } };

    for (size_t i = 0; i < 2; i++)
        if (woq_format_has_lut(woq_format_find(names[i][0], 8), q->lut, q->bits))
            return names[i][1];
    return NULL;
}

/* The scales of a block are equal in all its rows, or it is none. */
static bool rows_agree(const struct woq_qview *q, size_t rows)
{
    for (size_t r = 0; r < q->n_rows; r++)
        if (memcmp(q->scale + r * q->n_groups, q->scale + r / rows * rows * q->n_groups,
                   q->n_groups * sizeof *q->scale) != 0)
            return false;
    return true;
}

int woq_fp8_blocks_init(struct woq_fp8_blocks *b, const struct woq_frame *f,
                        const struct woq_qview *q, const char *format, struct woq_error *err)
{
    b->cols = woq_json_get_int(woq_json_get(f->meta, "quant"), "group_size", -1);
    b->rows = q->group_rows;
    b->tensor = b->rows == -1 && b->cols == -1;
    b->step = b->rows < 1 || (uint64_t)b->rows > q->n_rows ? q->n_rows : (size_t)b->rows;
    b->shape[0] = woq_ceil_div(q->n_rows, b->step);
    b->shape[1] = q->n_groups;
    if (q->group_dim != 1)
        return woq_fail(err, WOQ_ETYPE, NULL, "group_dim 0 has no form in %s", format);
    if (b->cols == -1 && b->rows > 1)
        return woq_fail(err, WOQ_ETYPE, "quantize with a --group-size, or without --group-rows",
                        "blocks of %lld whole rows: %s has blocks, rows and tensors",
                        (long long)b->rows, format);
    if (b->cols != -1 && b->rows < 2)
        return woq_fail(err, WOQ_ETYPE, "quantize with --group-rows 128, or --group-size -1",
                        "groups of %lld inputs in %s rows: %s has blocks, rows and tensors",
                        (long long)b->cols, b->rows == 1 ? "single" : "all", format);
    return rows_agree(q, b->step)
               ? WOQ_OK
               : woq_fail(err, WOQ_EDATA, NULL, "rows of one block have different scales");
}

void woq_fp8_scales(float *x, const struct woq_fp8_blocks *b, const struct woq_qview *q)
{
    for (size_t r = 0; r < q->n_rows; r += b->step)
        memcpy(x + r / b->step * q->n_groups, q->scale + r * q->n_groups, q->n_groups * sizeof *x);
}

int woq_fp8_put(struct woq_coded_writer *w, const struct woq_frame *f, const struct woq_qview *q,
                struct woq_error *err)
{
    const char *stored = spelling_of(q);
    const uint64_t shape[2] = { q->n_rows, q->n_cols };
    struct woq_fp8_blocks b;
    float *x;
    int rc;

    if (!stored)
        return woq_fail(err, WOQ_ETYPE, "quantize with --dtype fp8_e4m3 or fp8_e5m2",
                        "%s of %d bits has no form in fp8", q->lut ? "a codebook" : "a grid",
                        q->bits);
    if ((rc = woq_fp8_blocks_init(&b, f, q, "fp8", err)))
        return rc;
    if (w->any && (w->rows != b.rows || w->cols != b.cols))
        return woq_fail(err, WOQ_ETYPE, "quantize all linears alike, or leave some alone",
                        "blocks of %lld x %lld, others have %lld x %lld: one configuration tells "
                        "of all",
                        (long long)b.rows, (long long)b.cols, (long long)w->rows,
                        (long long)w->cols);
    w->rows = b.rows;
    w->cols = b.cols;
    memcpy(w->kind, stored, strlen(stored) + 1);
    if (!(x = woq_buf_need(&w->values, (size_t)(b.shape[0] * b.shape[1]) * sizeof *x, err)))
        return WOQ_ENOMEM;
    woq_fp8_scales(x, &b, q);
    rc = woq_coded_tensor(w, "weight", stored, WOQ_U8, 2, shape, q->codes, err);
    return rc ? rc
              : woq_coded_tensor(w, woq_fp8_kind.suffix[SCALE_INV], NULL, WOQ_F32, b.tensor ? 0 : 2,
                                 b.shape, x, err);
}

int woq_fp8_config(const struct woq_coded_writer *w, struct woq_json *c)
{
    struct woq_json *block = w->cols == -1 ? woq_json_of_null() : woq_json_array();

    if (!block)
        return WOQ_ENOMEM;
    if (w->cols != -1) {
        woq_json_push(block, woq_json_of_num((double)w->rows));
        woq_json_push(block, woq_json_of_num((double)w->cols));
    }
    woq_json_set_str(c, "activation_scheme", "dynamic");
    woq_json_set(c, "weight_block_size", block);
    woq_json_set_str(c, "fmt", strcmp(w->kind, "F8_E4M3") == 0 ? "e4m3" : "e5m2");
    return WOQ_OK;
}

uint64_t woq_fp8_bytes(const struct woq_scheme *s, uint64_t rows, uint64_t cols)
{
    const size_t step =
        s->group_rows < 1 || (uint64_t)s->group_rows > rows ? (size_t)rows : (size_t)s->group_rows;

    return rows * cols +
           4 * (uint64_t)woq_ceil_div((size_t)rows, step) * woq_scheme_groups(s, (size_t)cols);
}
