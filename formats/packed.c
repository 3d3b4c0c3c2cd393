/* packed.c -- the table of layouts. */
#include <formats/packed.h>

#include <stdio.h>
#include <string.h>
#include <woq/format.h>

#define WIDTH(b) (1u << (b))
#define WIDTHS_2_TO_8 (0x1fcu)
#define WIDTHS_1_TO_8 (0x1feu)

/* clang-format off */
#define KIND(...)                                                                                  \
    .kind = { .measure = woq_packed_measure, .load = woq_packed_load, .suffix = { __VA_ARGS__ } }
#define GPTQ_LIKE                                                                                  \
    KIND("qweight", "scales", "qzeros", "g_idx"), .codes = { false, true },                        \
    .zeros = { true, false }, .always_zeros = true, .multiple_in = 32, .multiple_out = 32
#define GPTQ(said) GPTQ_LIKE, .name = "GPTQ", .form = said, .g_idx = WOQ_G_IDX_ALWAYS
#define GPTQ_DENSE                                                                                 \
    .order = WOQ_FIELDS_DENSE, .widths = WIDTH(2) | WIDTH(3) | WIDTH(4) | WIDTH(8)
#define AUTO_ROUND                                                                                 \
    GPTQ_LIKE, .name = "AutoRound", .order = WOQ_FIELDS_DENSE, .widths = WIDTHS_2_TO_8

const struct woq_packed_layout woq_layout_gptq_v1 = { GPTQ("gptq"), GPTQ_DENSE, .minus_one = true };
const struct woq_packed_layout woq_layout_gptq_v2 = { GPTQ("gptq_v2"), GPTQ_DENSE };
const struct woq_packed_layout woq_layout_gptq_p = {
    GPTQ("gptq_p"), .order = WOQ_FIELDS_PLANAR, .widths = WIDTHS_2_TO_8
};
const struct woq_packed_layout woq_layout_round_v1 = { AUTO_ROUND, .minus_one = true };
const struct woq_packed_layout woq_layout_round_v2 = { AUTO_ROUND };
const struct woq_packed_layout woq_layout_round_g_idx = { AUTO_ROUND, .g_idx = WOQ_G_IDX_ALWAYS };

/* Neural Compressor: GPTQ's tensors, but words of whole fields where that differs (3, 5, 6, 7 bits). */
const struct woq_packed_layout woq_layout_inc = {
    .name = "INC", .codes = { false, true }, .zeros = { true, false }, .order = WOQ_FIELDS_WHOLE,
    .always_zeros = true, .minus_one = true,
    KIND("qweight", "scales", "qzeros", "g_idx", NULL, "scale_bf16_to_fp8"),
    .kind.format = "inc", .kind.mark = WOQ_PART_FACTOR, .kind.null_bias = "bias",
    .g_idx = WOQ_G_IDX_PERMUTED, .widths = WIDTHS_2_TO_8, .multiple_in = 1, .multiple_out = 1
};

#define AWQ                                                                                        \
    KIND("qweight", "scales", "qzeros"), .codes = { true, false }, .zeros = { true, false },       \
    .order = WOQ_FIELDS_AWQ, .always_zeros = true, .multiple_in = 1, .whole_groups = true
const struct woq_packed_layout woq_layout_awq = {
    AWQ, .name = "AWQ", .widths = WIDTH(4), .multiple_out = 8
};
/* From 0.16 on it has these widths there too. */
const struct woq_packed_layout woq_layout_round_awq = {
    AWQ, .name = "AutoRound", .widths = WIDTH(4) | WIDTH(5) | WIDTH(6) | WIDTH(7), .multiple_out = 32
};

const struct woq_packed_layout woq_layout_awq_gemv = {
    .name = "AWQ", KIND("qweight", "scales", "qzeros"), .order = WOQ_FIELDS_DENSE,
    .scales_by_row = true, .always_zeros = true, .padded = true, .widths = WIDTH(4),
    .multiple_in = 32, .multiple_out = 8, .whole_groups = true
};

#define CT_ACTIVATIONS                                                                             \
    [WOQ_N_PARTS] = "input_scale", "input_zero_point", "output_scale", "output_zero_point"

/* Releases before 2026 filled words with whole fields. */
const struct woq_packed_layout woq_layout_ct_packed = {
    .name = "CT", .form = "pack-quantized", KIND("weight_packed", "weight_scale", "weight_zero_point", "weight_g_idx",
                       "weight_shape", CT_ACTIVATIONS), .codes = { false, false }, .zeros = { true, true },
    .order = WOQ_FIELDS_DENSE, .or_whole = true, .scales_by_row = true, .widths = WIDTHS_1_TO_8, .multiple_in = 1, .multiple_out = 1,
    .whole_groups = true
};
const struct woq_packed_layout woq_layout_ct_bytes = {
    .name = "CT", .form = "int-quantized", KIND("weight", "weight_scale", "weight_zero_point", "weight_g_idx", CT_ACTIVATIONS),
    .codes = { false, false }, .zeros = { false, false },
    .order = WOQ_FIELDS_WHOLE, .bytes = true, .scales_by_row = true, .widths = WIDTHS_1_TO_8, .multiple_in = 1, .multiple_out = 1,
    .whole_groups = true
};

/* Codes of a codebook (ct_float.c). */
#define CT_FLOAT(format, codes)                                                                    \
    .name = "CT", .form = format, .codes_stored = codes, .scales_by_row = true,                    \
    .order = WOQ_FIELDS_WHOLE, .multiple_out = 1, .whole_groups = true,                            \
    .kind = { .measure = woq_ct_float_measure, .load = woq_ct_float_load,                          \
              .suffix = { codes[0] == 'U' ? "weight_packed" : "weight", "weight_scale",            \
                          CT_ACTIVATIONS, "input_global_scale" } }
const struct woq_packed_layout woq_layout_ct_nvfp4 = {
    CT_FLOAT("nvfp4-pack-quantized", "U8"), .codebook = "nvfp4", .kind.mark = WOQ_PART_GLOBAL,
    .kind.suffix[WOQ_PART_GLOBAL] = "weight_global_scale",
    .scales_stored = "F8_E4M3", .scale_values = woq_e4m3_lut, .widths = WIDTH(4), .multiple_in = 16
};
/* AutoRound's, which is only read: types are those of mxfp4, the configuration tells. */
const struct woq_packed_layout woq_layout_ct_e5m3 = {
    CT_FLOAT("nvfp4-e5m3-pack-quantized", "U8"), .codebook = "nvfp4",
    .scales_stored = "U8", .scale_values = woq_ue5m3_lut, .widths = WIDTH(4), .multiple_in = 16
};
const struct woq_packed_layout woq_layout_ct_mxfp4 = {
    CT_FLOAT("mxfp4-pack-quantized", "U8"), .codebook = "mxfp4",
    .scales_stored = "U8", .scale_values = woq_e8m0_lut, .widths = WIDTH(4), .multiple_in = 32
};
const struct woq_packed_layout woq_layout_ct_mxfp8 = {
    CT_FLOAT("mxfp8-quantized", "F8_E4M3"), .codebook = "mxfp8",
    .scales_stored = "U8", .scale_values = woq_e8m0_lut, .widths = WIDTH(8), .multiple_in = 32
};
/* Read as FP8 of other checkpoints is (coded_fp8.c). */
const struct woq_packed_layout woq_layout_ct_fp8 = {
    CT_FLOAT("float-quantized", "F8_E4M3"), .codebook = "fp8_e4m3",
    .widths = WIDTH(8), .multiple_in = 1
};
/* clang-format on */

const char *woq_packed_widths(const struct woq_packed_layout *l, char buf[32])
{
    unsigned left = l->widths;
    size_t n = 0;

    buf[0] = 0;
    for (int b = 1; b <= 8 && n < 32; b++) {
        if (!(left >> b & 1))
            continue;
        left &= ~WIDTH(b);
        n += (size_t)snprintf(buf + n, 32 - n, "%s%d", n == 0 ? "" : left ? ", " : " and ", b);
    }
    return buf;
}

static struct woq_packed_matrix matrix(const struct woq_packed_layout *l,
                                       struct woq_packed_place place, enum woq_field_order order,
                                       int bits, size_t n_out, size_t n_other)
{
    const bool out = place.along_out;
    struct woq_packed_matrix p = { .m = { .order = order,
                                          .bits = l->bytes ? 8 : bits,
                                          .word_bits = l->bytes || l->codebook ? 8 : 32,
                                          .n_lines = out ? n_other : n_out,
                                          .n_fields = out ? n_out : n_other,
                                          .words_first = place.words_first } };
    const uint64_t words = woq_bitmat_words(&p.m);

    p.line_step = out ? 1 : n_other;
    p.field_step = out ? n_other : 1;
    p.shape[0] = place.words_first ? words : p.m.n_lines;
    p.shape[1] = place.words_first ? p.m.n_lines : words;
    return p;
}

struct woq_packed_matrix woq_packed_codes(const struct woq_packed_layout *l,
                                          enum woq_field_order order, int bits, size_t n_out,
                                          size_t n_in)
{
    return matrix(l, l->codes, order, bits, n_out, n_in);
}

struct woq_packed_matrix woq_packed_zeros(const struct woq_packed_layout *l,
                                          enum woq_field_order order, int bits, size_t n_out,
                                          size_t n_groups)
{
    return matrix(l, l->zeros, order, bits, n_out, n_groups);
}

size_t woq_packed_stored(const struct woq_packed_layout *l, size_t n_in, size_t n_groups)
{
    const size_t group = n_groups ? n_in / n_groups : 0;
    const size_t words = group >= 128 ? 1 : group >= 64 ? 2 : 4;

    return l->padded ? (size_t)(woq_ceil_div(woq_ceil_div(n_groups, 8), words) * words * 8)
                     : n_groups;
}

enum woq_dtype woq_packed_word(const struct woq_packed_layout *l)
{
    return l->bytes ? WOQ_I8 : WOQ_I32;
}

uint64_t woq_packed_bytes(const struct woq_packed_layout *l, int bits, size_t n_out, size_t n_in,
                          size_t n_groups, size_t scale_bytes, bool has_zeros)
{
    const size_t stored = woq_packed_stored(l, n_in, n_groups);
    const struct woq_packed_matrix codes = woq_packed_codes(l, l->order, bits, n_out, n_in);
    const struct woq_packed_matrix zeros = woq_packed_zeros(l, l->order, bits, n_out, stored);
    const char *const *suffix = l->kind.suffix;
    uint64_t bytes =
        woq_bitmat_bytes(&codes.m) + n_out * stored * (l->scales_stored ? 1 : scale_bytes);

    if (l->always_zeros || (suffix[WOQ_PART_ZEROS] && has_zeros))
        bytes += woq_bitmat_bytes(&zeros.m);
    if (l->g_idx == WOQ_G_IDX_ALWAYS)
        bytes += 4 * n_in;
    return bytes + (suffix[WOQ_PART_SHAPE] ? 16 : 0) + (suffix[WOQ_PART_FACTOR] ? 2 : 0) +
           (suffix[WOQ_PART_GLOBAL] ? 4 : 0) + (suffix[WOQ_PART_INPUTS] ? 4 * n_in : 0);
}
