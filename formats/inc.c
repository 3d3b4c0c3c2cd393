/* inc.c -- Neural Compressor's own form (formats.md 4.e): quantized_weight.pt, a state dict, and
 * qconfig.json, which tells of each module. Integers lie as in its Hugging Face form; linears that
 * AWQ and TEQ scale are one module deeper, beside the factors of their inputs; nf4 and fp4 are
 * fields of 4 bits in codes of their own. */
#include <formats/coded.h>
#include <formats/packed.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { INPUT_SCALE = WOQ_N_PARTS };

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

/* --- integers --- */

static int read_input_scale(struct woq_linear *l, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[INPUT_SCALE];

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

static int measure(struct woq_linear *l, const struct woq_linear_told *told, struct woq_error *err)
{
    const struct woq_json *config = config_of(l, told);
    struct woq_linear_told one = *told;
    int rc;

    if (l->kind->suffix[INPUT_SCALE] && !l->part[INPUT_SCALE])
        return WOQ_OK; /* a module of that name */
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
    rc = read_input_scale(l, err);
    return rc ? rc : WOQ_ITEM;
}

static int load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                struct woq_error *err)
{
    const uint64_t n_in = l->n_in;
    int rc = woq_packed_load(l, scratch, f, err);
    void *to;

    if (rc || !l->part[INPUT_SCALE])
        return rc;
    if ((rc = woq_frame_alloc(f, "in_scale", WOQ_F32, 1, &n_in, &to, err)))
        return rc;
    memcpy(to, l->part[INPUT_SCALE]->data, 4 * l->n_in);
    return WOQ_OK;
}

/* clang-format off */
#define INC                                                                                        \
    .name = "INC", .codes = { false, true }, .zeros = { true, false }, .order = WOQ_FIELDS_WHOLE,  \
    .always_zeros = true, .minus_one = true, .widths = 0x1fc, .multiple_in = 1, .multiple_out = 1
#define KIND(p, ...)                                                                               \
    .kind = { .measure = measure, .load = load, .mark = WOQ_PART_FACTOR, .null_bias = p "bias",    \
              .suffix = { p "qweight", p "scales", p "qzeros", p "g_idx", NULL,                    \
                          p "scale_bf16_to_fp8", __VA_ARGS__ } }
const struct woq_packed_layout woq_layout_inc_own = { INC, KIND("", NULL) };
const struct woq_packed_layout woq_layout_inc_scaled = {
    INC, KIND("linear.", [INPUT_SCALE] = "input_scale")
};
/* clang-format on */

/* --- nf4 and fp4 --- */

/* The codes of nf4's fields: 7 stands for -1 and 0 for 0. Those of fp4 are what they are here. */
static uint8_t code_of(unsigned field, bool nf4)
{
    return (uint8_t)(nf4 && field % 7 == 0 && field < 8 ? 7 - field : field);
}

static int measure_float(struct woq_linear *l, const struct woq_linear_told *told,
                         struct woq_error *err)
{
    const struct woq_json *config = config_of(l, told);
    const struct woq_format *format = woq_format_find(dtype_of(config), 4);
    const struct woq_st_tensor *codes = l->codes, *scales = l->part[WOQ_PART_SCALES];
    const int64_t size = woq_json_get_int(config, "group_size", 32);

    if (!format || !format->values)
        return woq_fail(err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
                        "qconfig.json: '%s' has dtype '%s', want int, nf4, fp4 or fp4_e2m1",
                        codes->name, dtype_of(config));
    if (!scales || codes->dtype != WOQ_I32 || scales->dtype != WOQ_F32 || codes->n_dims != 2 ||
        scales->n_dims != 2 || codes->shape[0] != scales->shape[0] || !codes->shape[0] ||
        !codes->shape[1] || codes->shape[1] > UINT32_MAX / 8 || !scales->shape[1] ||
        scales->shape[1] > codes->shape[1] * 8)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "'%s': want I32 [out, in/8] and scales in F32 [out, groups]", codes->name);
    l->n_out = (size_t)codes->shape[0];
    l->n_in = (size_t)codes->shape[1] * 8; /* or less: words may be filled in part */
    l->n_groups = (size_t)scales->shape[1];
    l->group = size > 0 && (uint64_t)size < l->n_in ? (size_t)size : l->n_in;
    if (l->n_in % l->group && l->n_groups * l->group <= l->n_in)
        l->n_in = l->n_groups * l->group;
    if (woq_ceil_div(l->n_in, l->group) != l->n_groups ||
        woq_ceil_div(l->n_in, 8) != codes->shape[1])
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has %zu groups of %zu for %zu inputs",
                        scales->name, l->n_groups, l->group, l->n_in);
    if (l->part[WOQ_PART_G_IDX] || l->part[WOQ_PART_ZEROS])
        return woq_fail(err, WOQ_EUNSUPPORTED, "quantize it without act_order",
                        "'%s' has groups that are permuted, or zero points: not read for %s",
                        codes->name, format->name);
    l->bits = 4;
    snprintf(l->dtype, sizeof l->dtype, "%s", format->name);
    return woq_coded_item(l, "inc");
}

static int load_float(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                      struct woq_error *err)
{
    static const float fp4[8] = { 0, 0.0625f, 8, 12, 4, 6, 2, 3 };
    const bool nf4 = strcmp(l->dtype, "nf4") == 0, bnb = strcmp(l->dtype, "fp4") == 0;
    const size_t row_bytes = (size_t)l->codes->shape[1] * 4;
    const uint64_t sixteen = 16;
    struct woq_qarrays a;
    struct woq_scheme s;
    void *lut;
    int rc;

    (void)scratch;
    if ((rc = woq_coded_begin(f, l, l->n_groups, &a, err)) ||
        (rc = woq_frame_alloc(f, "lut", WOQ_F32, 1, &sixteen, &lut, err)) ||
        (rc = woq_coded_floats(a.scale, l->part[WOQ_PART_SCALES], err)))
        return rc;
    woq_format_lut(lut, woq_format_find(l->dtype, 4));
    for (size_t i = 0; i < 16 && bnb; i++) /* the package does not divide these by 12 */
        ((float *)lut)[i] = i < 8 ? fp4[i] : -fp4[i - 8];
    for (size_t r = 0; r < l->n_out; r++)
        for (size_t c = 0; c < l->n_in; c++) {
            const uint8_t byte = l->codes->data[r * row_bytes + c / 2];
            a.codes[r * l->n_in + c] = code_of(byte >> c % 2 * 4 & 15U, nf4);
        }
    woq_scheme_init(&s);
    memcpy(s.dtype, l->dtype, sizeof s.dtype);
    s.group_size = l->group == l->n_in ? -1 : (int64_t)l->group;
    return woq_coded_meta(f, l, &s, err);
}

const struct woq_linear_kind woq_inc_float_kind = {
    .suffix = { "qweight", "scales", "qzeros", "g_idx", NULL, "scale_bf16_to_fp8" },
    .mark = WOQ_PART_FACTOR,
    .measure = measure_float,
    .load = load_float
};
