/* inc.c -- Neural Compressor's own form (formats.md 4.e): quantized_weight.pt, a state dict, and
 * qconfig.json, which tells of each module. Integers lie as in its Hugging Face form; linears that
 * AWQ and TEQ scale are one module deeper, beside the factors of their inputs; nf4 and fp4 are
 * fields of 4 bits in codes of their own. */
#include <formats/coded.h>
#include <formats/packed_write.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What qconfig.json says of a module: {"('a.b', 'Linear')": {"rtn": {"bits": ..}}}. */
static const struct woq_json *config_of(const struct woq_linear *l,
                                        const struct woq_linear_told *told)
{
    const int module = (int)(strlen(l->codes->name) - strlen(l->kind->suffix[0]) - 1);
    struct woq_str key = { 0 };
    const struct woq_json *one = NULL;

    if (woq_str_addf(&key, "('%.*s', 'Linear')", module, l->codes->name) == WOQ_OK)
        one = woq_json_first(woq_json_get(told->quant, key.s));
    woq_str_release(&key);
    return one;
}

static const char *dtype_of(const struct woq_json *config)
{
    const char *dtype = woq_json_get_str(config, "dtype");

    return dtype ? dtype : "int";
}

/* --- scales of inputs --- */

static int measure_inputs(struct woq_linear *l, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[WOQ_PART_INPUTS];

    if (!t)
        return WOQ_OK;
    if (t->dtype != WOQ_F32 || t->n_dims != 1 || t->shape[0] != l->n_in)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' is no row of %zu F32", t->name, l->n_in);
    for (size_t c = 0; c < l->n_in; c++) {
        float x;
        memcpy(&x, t->data + 4 * c, 4);
        if (!isfinite(x))
            return woq_fail(err, WOQ_EDATA, NULL, "'%s' [%zu] is not finite", t->name, c);
    }
    return WOQ_OK;
}

static int load_row(struct woq_frame *f, const char *name, enum woq_dtype dtype,
                    const struct woq_st_tensor *t, size_t n, struct woq_error *err)
{
    const uint64_t shape = n;
    void *to;
    const int rc = t ? woq_frame_alloc(f, name, dtype, 1, &shape, &to, err) : WOQ_OK;

    if (t && rc == WOQ_OK)
        memcpy(to, t->data, 4 * n);
    return rc;
}

/* A kind of scaled linears where nothing is scaled: its names are those of a module. */
static bool is_module(const struct woq_linear *l)
{
    return l->kind->suffix[WOQ_PART_INPUTS] && !l->part[WOQ_PART_INPUTS];
}

/* --- integers --- */

static int measure(struct woq_linear *l, const struct woq_linear_told *told, struct woq_error *err)
{
    const struct woq_json *config = config_of(l, told);
    struct woq_linear_told one = *told;
    int rc;

    if (is_module(l))
        return WOQ_OK;
    if (!config)
        return woq_fail(err, WOQ_EDATA, "are these files of one checkpoint?",
                        "qconfig.json does not tell of '%s'", l->codes->name);
    if (strcmp(dtype_of(config), "int") != 0)
        return WOQ_OK;
    one.bits = (int)woq_json_get_int(config, "bits", 4);
    one.group_size = woq_json_get_int(config, "group_size", 32);
    one.sym = woq_json_get_bool(config, "use_sym", true);
    rc = woq_packed_measure(l, &one, err);
    if (rc != WOQ_ITEM)
        return rc;
    rc = measure_inputs(l, err);
    return rc ? rc : WOQ_ITEM;
}

static int load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                struct woq_error *err)
{
    const int rc = woq_packed_load(l, scratch, f, err);

    return rc ? rc : load_row(f, "in_scale", WOQ_F32, l->part[WOQ_PART_INPUTS], l->n_in, err);
}

/* clang-format off */
#define NAMES(p, ...)                                                                              \
    .mark = WOQ_PART_FACTOR, .null_bias = p "bias",                                                \
    .suffix = { p "qweight", p "scales", p "qzeros", p "g_idx", NULL, p "scale_bf16_to_fp8",       \
                __VA_ARGS__ }
#define INC                                                                                        \
    .name = "INC", .order = WOQ_FIELDS_WHOLE, .g_idx = WOQ_G_IDX_PERMUTED, .multiple_in = 1,       \
    .multiple_out = 1
#define INTEGERS                                                                                   \
    INC, .codes = { false, true }, .zeros = { true, false }, .always_zeros = true,                 \
    .minus_one = true, .widths = 0x1fc
#define SCALED [WOQ_PART_INPUTS] = "input_scale"
const struct woq_packed_layout woq_layout_inc_own = {
    INTEGERS, .kind = { .measure = measure, .load = load, NAMES("", NULL) }
};
const struct woq_packed_layout woq_layout_inc_scaled = {
    INTEGERS, .kind = { .measure = measure, .load = load, NAMES("linear.", SCALED) }
};
/* clang-format on */

/* --- nf4 and fp4 --- */

/* The codes of nf4's fields, and the fields of its codes: 7 stands for -1 and 0 for 0. Those of the
 * others are what they are here. */
static uint8_t swapped(unsigned field, bool nf4)
{
    return (uint8_t)(nf4 && field % 7 == 0 && field < 8 ? 7 - field : field);
}

/* The values of a codebook; the package does not divide those of fp4 by 12. */
static void values_of(float lut[16], const struct woq_format *format)
{
    static const float fp4[8] = { 0, 0.0625f, 8, 12, 4, 6, 2, 3 };

    woq_format_lut(lut, format);
    for (size_t i = 0; i < 16 && strcmp(format->name, "fp4") == 0; i++)
        lut[i] = i < 8 ? fp4[i] : -fp4[i - 8];
}

/* Do so many inputs make the words and the groups of the file? */
static bool inputs_fit(struct woq_linear *l, size_t n_in, int64_t size)
{
    l->n_in = n_in;
    l->group = size > 0 && (uint64_t)size < n_in ? (size_t)size : n_in;
    l->group_size = size > 0 ? size : -1;
    return n_in && woq_ceil_div(n_in, 8) == l->codes->shape[1] &&
           woq_ceil_div(n_in, l->group) == l->n_groups;
}

static int measure_sizes(struct woq_linear *l, int64_t size, struct woq_error *err)
{
    const struct woq_st_tensor *codes = l->codes, *scales = l->part[WOQ_PART_SCALES];

    if (!scales || codes->dtype != WOQ_I32 || !woq_word_in("F32 F16 BF16", scales->stored) ||
        codes->n_dims != 2 || scales->n_dims != 2 || codes->shape[0] != scales->shape[0] ||
        !codes->shape[0] || !codes->shape[1] || codes->shape[1] > UINT32_MAX / 8 ||
        !scales->shape[1] || scales->shape[1] > codes->shape[1] * 8)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "'%s': want I32 [out, in/8] and float scales [out, groups]", codes->name);
    l->n_out = (size_t)codes->shape[0];
    l->n_groups = (size_t)scales->shape[1];
    if (inputs_fit(l, l->model_in, size) ||
        inputs_fit(l, size > 0 ? l->n_groups * (size_t)size : 0, size) ||
        inputs_fit(l, (size_t)codes->shape[1] * 8, size))
        return WOQ_OK;
    return woq_fail(err, WOQ_EDATA, NULL, "'%s' has %zu groups of %zu for %zu inputs", scales->name,
                    l->n_groups, l->group, l->n_in);
}

static int measure_float(struct woq_linear *l, const struct woq_linear_told *told,
                         struct woq_error *err)
{
    const struct woq_json *config = config_of(l, told);
    const struct woq_format *format = woq_format_find(dtype_of(config), 4);
    int rc;

    if (is_module(l))
        return WOQ_OK;
    if (!format || !woq_inc_layout(format->name))
        return woq_fail(err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
                        "qconfig.json: '%s' has dtype '%s', want int, nf4, fp4 or fp4_e2m1",
                        l->codes->name, dtype_of(config));
    if (l->part[WOQ_PART_ZEROS])
        return woq_fail(err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
                        "'%s' has zero points: not read for %s", l->codes->name, format->name);
    l->bits = 4;
    if ((rc = measure_sizes(l, woq_json_get_int(config, "group_size", 32), err)) ||
        (rc = measure_inputs(l, err)))
        return rc;
    if (l->part[WOQ_PART_G_IDX] && ((rc = woq_coded_want(l, WOQ_PART_G_IDX, "I32", l->n_in, err)) ||
                                    (rc = woq_packed_g_idx(l, err))))
        return rc;
    snprintf(l->dtype, sizeof l->dtype, "%s", format->name);
    return woq_coded_item(l, "inc");
}

static int load_float(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                      struct woq_error *err)
{
    const size_t row_bytes = (size_t)l->codes->shape[1] * 4;
    const bool nf4 = strcmp(l->dtype, "nf4") == 0;
    const struct woq_st_tensor *g_idx = l->permuted ? l->part[WOQ_PART_G_IDX] : NULL;
    const uint64_t sixteen = 16;
    struct woq_qarrays a;
    struct woq_scheme s;
    void *lut;
    int rc;

    (void)scratch;
    if ((rc = woq_coded_begin(f, l, l->n_groups, &a, err)) ||
        (rc = woq_frame_alloc(f, "lut", WOQ_F32, 1, &sixteen, &lut, err)) ||
        (rc = woq_coded_floats(a.scale, l->part[WOQ_PART_SCALES], err)) ||
        (rc = load_row(f, "g_idx", WOQ_I32, g_idx, l->n_in, err)) ||
        (rc = load_row(f, "in_scale", WOQ_F32, l->part[WOQ_PART_INPUTS], l->n_in, err)))
        return rc;
    values_of(lut, woq_format_find(l->dtype, 4));
    for (size_t r = 0; r < l->n_out; r++)
        for (size_t c = 0; c < l->n_in; c++) {
            const uint8_t byte = l->codes->data[r * row_bytes + c / 2];
            a.codes[r * l->n_in + c] = swapped(byte >> c % 2 * 4 & 15U, nf4);
        }
    woq_scheme_init(&s);
    memcpy(s.dtype, l->dtype, sizeof s.dtype);
    s.group_size = l->group_size;
    return woq_coded_meta(f, l, &s, err);
}

/* clang-format off */
#define CODEBOOK INC, .scales_by_row = true, .widths = 1 << 4
const struct woq_packed_layout woq_layout_inc_float = {
    CODEBOOK, .kind = { .measure = measure_float, .load = load_float, NAMES("", NULL) }
};
const struct woq_packed_layout woq_layout_inc_float_scaled = {
    CODEBOOK, .kind = { .measure = measure_float, .load = load_float, NAMES("linear.", SCALED) }
};
/* clang-format on */

static const char *const codebooks[] = { "nf4", "fp4", "fp4_e2m1" };
#define N_CODEBOOKS (sizeof codebooks / sizeof *codebooks)

const struct woq_packed_layout *woq_inc_layout(const char *codebook)
{
    for (size_t i = 0; i < N_CODEBOOKS; i++)
        if (strcmp(codebooks[i], codebook) == 0)
            return &woq_layout_inc_float;
    return NULL;
}

/* Which one it is, and what the package multiplies its values by, so that scales are divided by it.
 */
static const char *codebook_of(const struct woq_qview *q, float *factor)
{
    for (size_t i = 0; i < N_CODEBOOKS; i++) {
        const struct woq_format *format = woq_format_find(codebooks[i], 4);
        float lut[16];
        bool same = q->bits == 4;

        values_of(lut, format);
        *factor = 1;
        for (size_t k = 0; k < 16 && same; k++)
            same = lut[k] == q->lut[k];
        if (same)
            return codebooks[i];
        *factor = 12;
        if (woq_format_has_lut(format, q->lut, q->bits)) /* fp4, as bitsandbytes has it */
            return codebooks[i];
    }
    return NULL;
}

static int pack_floats(struct woq_packed_writer *w, const struct woq_packed_matrix *c,
                       const struct woq_qview *q, const char *codebook, struct woq_error *err)
{
    const size_t n = q->n_rows * q->n_cols;
    const bool nf4 = strcmp(codebook, "nf4") == 0;
    uint8_t *fields = woq_buf_need(&w->fields, n, err);
    void *codes = woq_buf_need(&w->codes, woq_bitmat_bytes(&c->m), err);

    if (!fields || !codes)
        return WOQ_ENOMEM;
    for (size_t i = 0; i < n; i++)
        fields[i] = swapped(q->codes[i], nf4);
    woq_bitmat_pack(codes, &c->m, fields, c->line_step, c->field_step);
    return WOQ_OK;
}

/* In f32, or what was asked for. */
static int pack_scales(struct woq_packed_writer *w, const struct woq_qview *q, float factor,
                       enum woq_dtype to, struct woq_error *err)
{
    const size_t n = q->n_rows * q->n_groups;
    float *x = woq_buf_need(&w->fields, n * sizeof *x, err);
    void *scales = woq_buf_need(&w->scales, n * sizeof *x, err);

    if (!x || !scales)
        return WOQ_ENOMEM;
    for (size_t i = 0; i < n; i++)
        x[i] = q->scale[i] / factor;
    woq_from_f32(scales, to, x, n);
    woq_to_f32(x, scales, to, n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]) || (x[i] == 0 && q->scale[i] != 0))
            return woq_fail(err, WOQ_ETYPE, "use --scale-dtype f32", "scale %zu does not fit in %s",
                            i, woq_dtype_name(to));
    return WOQ_OK;
}

int woq_inc_put(struct woq_packed_writer *w, struct woq_st_writer *st, const struct woq_frame *f,
                const struct woq_qview *q, struct woq_sink_report *r, struct woq_error *err)
{
    const struct woq_packed_layout *l =
        q->in_scale ? &woq_layout_inc_float_scaled : &woq_layout_inc_float;
    const int64_t said = woq_json_get_int(woq_json_get(f->meta, "quant"), "group_size", -1);
    const struct woq_packed_matrix c = woq_packed_codes(l, l->order, 4, q->n_rows, q->n_cols);
    const enum woq_dtype scales = w->scale_said ? w->scale_said : WOQ_F32;
    struct woq_packed_module *m = NULL;
    const uint16_t unused = 0;
    float factor;
    const char *codebook = codebook_of(q, &factor);
    int rc;

    if (!codebook || q->group_dim != 1)
        return woq_fail(
            err, WOQ_ETYPE,
            "quantize with --dtype nf4, fp4 or fp4_e2m1, or put 'woq-dequant' before this",
            "%s has no form in INC", codebook ? "group_dim 0" : "this codebook");
    if ((rc = pack_floats(w, &c, q, codebook, err)) ||
        (rc = pack_scales(w, q, factor, scales, err)) ||
        (rc = woq_packed_add_module(w, f, q, said > 0 ? said : -1, l, &m, err)))
        return rc;
    m->codebook = codebook;

    const struct woq_packed_tensor parts[] = {
        { WOQ_PART_INPUTS, NULL, WOQ_F32, 1, { q->n_cols }, q->in_scale },
        { WOQ_PART_FACTOR, NULL, WOQ_BF16, 1, { 1 }, &unused },
        { WOQ_PART_G_IDX, NULL, WOQ_I32, 1, { q->n_cols }, q->g_idx },
        { WOQ_PART_CODES, NULL, WOQ_I32, 2, { c.shape[0], c.shape[1] }, w->codes.data },
        { WOQ_PART_SCALES, NULL, scales, 2, { q->n_rows, q->n_groups }, w->scales.data },
    };
    return woq_packed_put_tensors(st, m, parts, sizeof parts / sizeof *parts, r, err);
}
