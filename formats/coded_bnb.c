/* coded_bnb.c -- bitsandbytes: nf4 and fp4 over the flattened weight, with absmax that may be
 * quantized itself, and LLM.int8 by rows (formats.md 4.f). */
#include <formats/coded.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum part { CODES, ABSMAX, MAP, NESTED_ABSMAX, NESTED_MAP, STATE_NF4, STATE_FP4, SCB, FORMAT };

/* --- reading --- */
static int bad_state(const struct woq_linear *l, const char *what, struct woq_error *err)
{
    return woq_fail(err, WOQ_EDATA, NULL, "quant_state of '%s': %s", l->codes->name, what);
}

static int read_shape(struct woq_linear *l, const struct woq_json *state, struct woq_error *err)
{
    const struct woq_json *shape = woq_json_get(state, "shape");
    uint64_t dim[2] = { 0 }, n;

    if (woq_json_len(shape) != 2 || !woq_json_u64(woq_json_first(shape), &dim[0]) ||
        !woq_json_u64(woq_json_next(woq_json_first(shape)), &dim[1]) || !dim[0] || !dim[1] ||
        dim[0] > UINT32_MAX || dim[1] > UINT32_MAX)
        return bad_state(l, "shape is no pair of sizes", err);
    n = dim[0] * dim[1];
    if (l->codes->bytes != woq_ceil_div(n, 2))
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has %zu bytes, %llu x %llu codes take %llu",
                        l->codes->name, l->codes->bytes, (unsigned long long)dim[0],
                        (unsigned long long)dim[1], (unsigned long long)woq_ceil_div(n, 2));
    l->n_out = (size_t)dim[0];
    l->n_in = (size_t)dim[1];
    return WOQ_OK;
}

static int read_state(struct woq_linear *l, const struct woq_json *state, struct woq_error *err)
{
    const char *dtype = woq_json_get_str(state, "dtype");
    const int64_t block = woq_json_get_int(state, "blocksize", 0);
    const int64_t nested = woq_json_get_int(state, "nested_blocksize", 0);
    const double offset = woq_json_get_num(state, "nested_offset", 0);
    uint64_t n_blocks;
    int rc = read_shape(l, state, err);

    if (rc)
        return rc;
    if (block < 1 || block > 1 << 20 || nested < 0 || nested > 1 << 20)
        return bad_state(l, "blocksize is out of range", err);
    if (!isfinite(offset) || fabs(offset) > 3e38)
        return bad_state(l, "nested_offset is no number", err);
    if (dtype && strlen(dtype) < sizeof l->compute_dtype)
        memcpy(l->compute_dtype, dtype, strlen(dtype) + 1);
    l->group = (size_t)block;
    l->nested_group = (size_t)nested;
    l->nested_offset = (float)offset;
    n_blocks = woq_ceil_div((uint64_t)l->n_out * l->n_in, (uint64_t)block);
    if ((rc = woq_coded_want(l, MAP, "F32", 16, err)) ||
        (rc = woq_coded_want(l, ABSMAX, nested ? "U8" : "F32 F16 BF16", n_blocks, err)))
        return rc;
    if (!nested)
        return WOQ_OK;
    rc = woq_coded_want(l, NESTED_MAP, "F32", 256, err);
    return rc ? rc
              : woq_coded_want(l, NESTED_ABSMAX, "F32", woq_ceil_div(n_blocks, (uint64_t)nested),
                               err);
}

static int measure_int8(struct woq_linear *l, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->codes, *form = l->part[FORMAT];
    int rc;

    if (strcmp(t->stored, "I8") != 0)
        return WOQ_OK;
    if (t->n_dims != 2 || t->shape[0] == 0 || t->shape[1] == 0)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' is no matrix", t->name);
    if (form && (form->bytes != 1 || form->data[0] != 0))
        return woq_fail(err, WOQ_EUNSUPPORTED, "load and save it with a newer bitsandbytes",
                        "'%s': want 0, rows one after another", form->name);
    l->n_out = (size_t)t->shape[0];
    l->n_in = (size_t)t->shape[1];
    rc = woq_coded_want(l, SCB, "F32", l->n_out, err);
    l->bits = 8;
    memcpy(l->dtype, "int", sizeof "int");
    return rc ? rc : woq_coded_item(l, "bnb");
}

static int measure(struct woq_linear *l, const struct woq_linear_told *told, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[STATE_NF4] ? l->part[STATE_NF4] : l->part[STATE_FP4];
    struct woq_json *state = NULL;
    int rc;

    (void)told;
    if (!t)
        return measure_int8(l, err);
    memcpy(l->dtype, t == l->part[STATE_NF4] ? "nf4" : "fp4", sizeof "nf4");
    l->bits = 4;
    rc = woq_json_parse(&state, (const char *)t->data, t->bytes, err);
    if (rc)
        return woq_error_at(err, "%s", t->name);
    rc = read_state(l, state, err);
    woq_json_free(state);
    return rc ? rc : woq_coded_item(l, "bnb");
}

static int add(struct woq_frame *f, const char *name, enum woq_dtype dtype, unsigned n_dims,
               const uint64_t *shape, const struct woq_st_tensor *t, struct woq_error *err)
{
    void *to;
    const int rc = woq_frame_alloc(f, name, dtype, n_dims, shape, &to, err);

    if (rc == WOQ_OK)
        memcpy(to, t->data, t->bytes);
    return rc;
}

/* The arrays of the nested form, as they lie in the file: one code for each group. */
static int load_nested(const struct woq_linear *l, struct woq_frame *f, size_t n_groups,
                       struct woq_error *err)
{
    const uint64_t groups[2] = { l->n_out, n_groups }, table = 256, one = 1;
    const uint64_t runs = l->part[NESTED_ABSMAX]->bytes / 4;
    void *offset;
    int rc;

    if ((rc = add(f, "scale_codes", WOQ_U8, 2, groups, l->part[ABSMAX], err)) ||
        (rc = add(f, "scale_lut", WOQ_F32, 1, &table, l->part[NESTED_MAP], err)) ||
        (rc = add(f, "scale_scale", WOQ_F32, 1, &runs, l->part[NESTED_ABSMAX], err)) ||
        (rc = woq_frame_alloc(f, "scale_offset", WOQ_F32, 1, &one, &offset, err)))
        return rc;
    *(float *)offset = l->nested_offset;
    return WOQ_OK;
}

/* absmax of every block, however it is stored. */
static int block_scales(float *absmax, const struct woq_linear *l, size_t n_blocks,
                        struct woq_error *err)
{
    struct woq_nested n = { .div = 1, .offset = l->nested_offset, .bits = 8, .n_rows = 1 };
    float lut[256], *steps;
    int rc;

    if (!l->nested_group)
        return woq_coded_floats(absmax, l->part[ABSMAX], err);
    steps = woq_alloc(l->part[NESTED_ABSMAX]->bytes, err);
    if (!steps)
        return WOQ_ENOMEM;
    memcpy(steps, l->part[NESTED_ABSMAX]->data, l->part[NESTED_ABSMAX]->bytes);
    rc = woq_coded_floats(lut, l->part[NESTED_MAP], err);
    n.codes = l->part[ABSMAX]->data;
    n.lut = lut;
    n.scale = steps;
    n.n_cols = n_blocks;
    n.group = l->nested_group;
    if (rc == WOQ_OK)
        woq_nested_decode(absmax, &n);
    free(steps);
    return rc;
}

static int load_scales(const struct woq_linear *l, struct woq_frame *f, size_t width, float *scale,
                       struct woq_error *err)
{
    const size_t n_blocks = (size_t)woq_ceil_div((uint64_t)l->n_out * l->n_in, l->group);
    float *absmax = woq_alloc(n_blocks * sizeof *absmax, err);
    int rc = absmax ? block_scales(absmax, l, n_blocks, err) : WOQ_ENOMEM;

    if (rc == WOQ_OK)
        woq_coded_spread(scale, absmax, l, width);
    free(absmax);
    /* where a block is no group of a row, its code would stand for several */
    return rc == WOQ_OK && l->nested_group && width == l->group
               ? load_nested(l, f, l->n_in / width, err)
               : rc;
}

static int load_int8(const struct woq_linear *l, struct woq_frame *f, struct woq_error *err)
{
    const uint64_t rows = l->n_out;
    struct woq_scheme s;
    struct woq_qarrays a;
    int rc = woq_coded_begin(f, l, 1, &a, err);

    if (rc || (rc = woq_coded_floats(a.scale, l->part[SCB], err)) ||
        (rc = add(f, "raw", WOQ_F32, 1, &rows, l->part[SCB], err)))
        return rc;
    for (size_t i = 0; i < l->n_out; i++)
        a.scale[i] /= 127.0f;
    for (size_t i = 0; i < l->n_out * l->n_in; i++)
        a.codes[i] = l->codes->data[i] ^ 0x80;
    woq_json_set_str(woq_frame_edit(f), "raw_format", "bnb.SCB");
    woq_scheme_init(&s);
    s.bits = 8;
    s.group_size = -1;
    return woq_coded_meta(f, l, &s, err);
}

static int load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                struct woq_error *err)
{
    const size_t width = woq_coded_width(l), n = l->n_out * l->n_in;
    const uint64_t sixteen = 16;
    struct woq_scheme s;
    struct woq_qarrays a;
    int rc;

    (void)scratch;
    if (l->bits == 8)
        return load_int8(l, f, err);
    if ((rc = woq_coded_begin(f, l, l->n_in / width, &a, err)) ||
        (rc = add(f, "lut", WOQ_F32, 1, &sixteen, l->part[MAP], err)) ||
        (rc = load_scales(l, f, width, a.scale, err)))
        return rc;
    for (size_t i = 0; i < n; i++)
        a.codes[i] = i % 2 ? l->codes->data[i / 2] & 15 : l->codes->data[i / 2] >> 4;
    woq_scheme_init(&s);
    memcpy(s.dtype, l->dtype, sizeof s.dtype);
    s.group_size = (int64_t)width;
    if (l->nested_group) {
        s.dq.on = s.dq.keep_codes = true;
        s.dq.group_size = (int64_t)l->nested_group;
        memcpy(s.dq.dtype, "dynamic", sizeof "dynamic");
    }
    return woq_coded_meta(f, l, &s, err);
}

const struct woq_linear_kind woq_bnb_kind = {
    .suffix = { "weight", "weight.absmax", "weight.quant_map", "weight.nested_absmax",
                "weight.nested_quant_map", "weight.quant_state.bitsandbytes__nf4",
                "weight.quant_state.bitsandbytes__fp4", "SCB", "weight_format" },
    .measure = measure,
    .load = load
};

/* --- writing --- */
static const char *codebook_of(const struct woq_qview *q)
{
    static const char *const names[] = { "nf4", "fp4" };

    for (size_t i = 0; i < 2; i++)
        if (woq_format_has_lut(woq_format_find(names[i], 4), q->lut, q->bits))
            return names[i];
    return NULL;
}

static bool is_nested(const struct woq_qview *q)
{
    const struct woq_nested *n = &q->scale_codes;

    return n->codes && n->lut && n->scale && !n->by_column && n->div == 1.0f;
}

/* The nested block as it was asked for, also where there are fewer scales. */
static int64_t nested_block(const struct woq_frame *f, const struct woq_qview *q)
{
    const int64_t told =
        woq_json_get_int(woq_json_get(f->meta, "quant"), "double_quant_group_size", -1);

    return told < 1 ? (int64_t)q->scale_codes.group : told;
}

static int put_state(struct woq_coded_writer *w, const struct woq_frame *f,
                     const struct woq_qview *q, const char *kind, struct woq_error *err)
{
    const struct woq_nested *n = &q->scale_codes;
    struct woq_str s = { 0 };
    char number[32];
    uint64_t bytes;
    int rc;

    woq_json_float_text(number, (double)n->offset);
    rc = woq_str_addf(&s,
                      "{\"quant_type\": \"%s\", \"blocksize\": %zu, \"dtype\": \"%s\", "
                      "\"shape\": [%zu, %zu]",
                      kind, q->group_elems, w->compute_dtype, q->n_rows, q->n_cols);
    if (rc == WOQ_OK && is_nested(q))
        rc = woq_str_addf(&s,
                          ", \"nested_blocksize\": %lld, \"nested_dtype\": \"float32\", "
                          "\"nested_offset\": %s",
                          (long long)nested_block(f, q), number);
    if (rc == WOQ_OK)
        rc = woq_str_addf(&s, "}");
    bytes = s.len;
    if (rc == WOQ_OK)
        rc = woq_coded_tensor(
            w, kind[0] == 'n' ? woq_bnb_kind.suffix[STATE_NF4] : woq_bnb_kind.suffix[STATE_FP4],
            NULL, WOQ_U8, 1, &bytes, s.s, err);
    else
        rc = woq_fail_nomem(err, 256);
    woq_str_release(&s);
    return rc;
}

static int put_absmax(struct woq_coded_writer *w, const struct woq_qview *q, struct woq_error *err)
{
    const struct woq_nested *n = &q->scale_codes;
    const uint64_t blocks = (uint64_t)q->n_rows * q->n_groups, table = 256;
    uint64_t runs;
    int rc;

    if (!is_nested(q))
        return woq_coded_tensor(w, woq_bnb_kind.suffix[ABSMAX], NULL, WOQ_F32, 1, &blocks, q->scale,
                                err);
    runs = woq_ceil_div(blocks, n->group);
    if ((rc = woq_coded_tensor(w, woq_bnb_kind.suffix[ABSMAX], NULL, WOQ_U8, 1, &blocks, n->codes,
                               err)) ||
        (rc = woq_coded_tensor(w, woq_bnb_kind.suffix[NESTED_ABSMAX], NULL, WOQ_F32, 1, &runs,
                               n->scale, err)))
        return rc;
    return woq_coded_tensor(w, woq_bnb_kind.suffix[NESTED_MAP], NULL, WOQ_F32, 1, &table, n->lut,
                            err);
}

static int put4(struct woq_coded_writer *w, const struct woq_frame *f, const struct woq_qview *q,
                const char *kind, struct woq_error *err)
{
    const size_t n = q->n_rows * q->n_cols, block = q->group_elems;
    const uint64_t shape[2] = { woq_ceil_div(n, 2), 1 }, sixteen = 16;
    uint8_t *bytes;
    int rc;

    if (q->group_dim != 1)
        return woq_fail(err, WOQ_ETYPE, NULL, "group_dim 0 has no form in bitsandbytes");
    if (q->n_cols % block || block < 32 || block > 4096 || block & (block - 1))
        return woq_fail(err, WOQ_ETYPE, "quantize with --group-size 64, or leave it alone",
                        "%zu inputs in groups of %zu: bitsandbytes has blocks of 32, 64 ... 4096",
                        q->n_cols, block);
    bytes = woq_buf_need(&w->bytes, (size_t)shape[0], err);
    if (!bytes)
        return WOQ_ENOMEM;
    for (size_t i = 0; i < n; i += 2)
        bytes[i / 2] = (uint8_t)(q->codes[i] << 4 | (i + 1 < n ? q->codes[i + 1] : 0));
    if ((rc = woq_coded_tensor(w, "weight", NULL, WOQ_U8, 2, shape, bytes, err)) ||
        (rc = put_absmax(w, q, err)) ||
        (rc = woq_coded_tensor(w, woq_bnb_kind.suffix[MAP], NULL, WOQ_F32, 1, &sixteen, q->lut,
                               err)))
        return rc;
    w->nested = w->nested || is_nested(q);
    return put_state(w, f, q, kind, err);
}

/* The row's largest magnitude: as it came, or the float that gives the scale when divided. */
static void row_maxima(float *scb, const struct woq_qview *q, const struct woq_array *raw)
{
    for (size_t i = 0; i < q->n_rows; i++) {
        const float x = q->scale[i] * 127.0f;
        const float near[] = { raw ? ((const float *)raw->data)[i] : x, x, nextafterf(x, 0),
                               nextafterf(x, INFINITY) };

        scb[i] = x;
        for (size_t k = 0; k < 4; k++)
            if (near[k] / 127.0f == q->scale[i]) {
                scb[i] = near[k];
                break;
            }
    }
}

static int put8(struct woq_coded_writer *w, const struct woq_frame *f, const struct woq_qview *q,
                struct woq_error *err)
{
    const char *form = woq_json_get_str(f->meta, "raw_format");
    const struct woq_array *raw =
        form && strcmp(form, "bnb.SCB") == 0 ? woq_frame_array(f, "raw") : NULL;
    const uint64_t shape[2] = { q->n_rows, q->n_cols }, zero[1] = { 0 };
    const size_t n = q->n_rows * q->n_cols;
    uint8_t *bytes = woq_buf_need(&w->bytes, n, err);
    float *scb = woq_buf_need(&w->values, q->n_rows * sizeof *scb, err);
    int rc;

    if (!bytes || !scb)
        return WOQ_ENOMEM;
    if (raw && (raw->dtype != WOQ_F32 || raw->n_elem != q->n_rows))
        return woq_fail(err, WOQ_EDATA, NULL, "array 'raw' is no row of SCB");
    for (size_t i = 0; i < n; i++)
        bytes[i] = q->codes[i] ^ 0x80;
    row_maxima(scb, q, raw);
    if ((rc = woq_coded_tensor(w, "weight", NULL, WOQ_I8, 2, shape, bytes, err)) ||
        (rc = woq_coded_tensor(w, woq_bnb_kind.suffix[SCB], NULL, WOQ_F32, 1, shape, scb, err)))
        return rc;
    return woq_coded_tensor(w, woq_bnb_kind.suffix[FORMAT], NULL, WOQ_U8, 0, shape, zero, err);
}

static bool is_plain_int8(const struct woq_qview *q)
{
    bool ok = !q->lut && q->bits == 8 && q->group_dim == 1 && q->n_groups == 1;

    for (size_t i = 0; ok && q->zero && i < q->n_rows; i++)
        ok = q->zero[i] == 128.0f;
    return ok;
}

int woq_bnb_put(struct woq_coded_writer *w, const struct woq_frame *f, const struct woq_qview *q,
                struct woq_error *err)
{
    const char *kind = codebook_of(q);

    if (!kind && is_plain_int8(q))
        kind = "int8";
    if (!kind)
        return woq_fail(err, WOQ_ETYPE,
                        "quantize with --dtype nf4 or fp4, or --bits 8 --sym --group-size -1",
                        "%s of %d bits: bitsandbytes holds nf4, fp4 and symmetric int8 by rows",
                        q->lut ? "a codebook" : "integers", q->bits);
    if (w->any && strcmp(w->kind, kind) != 0)
        return woq_fail(err, WOQ_ETYPE, "quantize all linears alike, or leave some alone",
                        "this linear is %s, others are %s: one configuration tells of all", kind,
                        w->kind);
    memcpy(w->kind, kind, strlen(kind) + 1);
    return kind[0] == 'i' ? put8(w, f, q, err) : put4(w, f, q, kind, err);
}

int woq_bnb_config(const struct woq_coded_writer *w, struct woq_json *c)
{
    const bool four = w->kind[0] != 'i';

    woq_json_set_bool(c, "load_in_4bit", four);
    woq_json_set_bool(c, "load_in_8bit", !four);
    woq_json_set_str(c, "bnb_4bit_quant_type", four ? w->kind : "fp4");
    woq_json_set_bool(c, "bnb_4bit_use_double_quant", w->nested);
    woq_json_set_str(c, "bnb_4bit_compute_dtype",
                     w->dtype == WOQ_BF16  ? "bfloat16"
                     : w->dtype == WOQ_F32 ? "float32"
                                           : "float16");
    woq_json_set_str(c, "bnb_4bit_quant_storage", "uint8");
    woq_json_set(c, "llm_int8_threshold", woq_json_of_float(6)); /* its type is checked */
    woq_json_set_bool(c, "llm_int8_has_fp16_weight", false);
    woq_json_set_bool(c, "llm_int8_enable_fp32_cpu_offload", false);
    return WOQ_OK;
}

uint64_t woq_bnb_bytes(const struct woq_scheme *s, uint64_t rows, uint64_t cols)
{
    const uint64_t groups = rows * woq_scheme_groups(s, (size_t)cols);
    const uint64_t codes = woq_ceil_div(rows * cols * (uint64_t)s->bits, 8);
    const uint64_t table = 16 * 4, nested_table = 256 * 4, state = 80, nested_state = 80;

    if (s->bits == 8)
        return codes + 4 * groups + 1;
    if (s->dq.on)
        return codes + groups + table + nested_table + state + nested_state +
               4 * (s->dq.group_size < 1 ? 1 : woq_ceil_div(groups, (uint64_t)s->dq.group_size));
    return codes + 4 * groups + table + state;
}
