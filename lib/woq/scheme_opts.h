/* scheme_opts.h -- the options that every quantizer has: rows for its table, and what they mean.
 *
 *     static struct woq_scheme_opts scheme = WOQ_SCHEME_OPTS_INIT;
 *     static const struct woq_opt opts[] = { WOQ_SCHEME_ROWS(scheme), ..., { WOQ_OPT_END } };
 *     check():   rc = woq_scheme_opts_apply(&defaults, &scheme, err);
 *
 * A quantizer leaves out of its table what it cannot do, and has its own rows for the rest. */
#ifndef WOQ_SCHEME_OPTS_H
#define WOQ_SCHEME_OPTS_H
#include <woq/format.h>
#include <woq/quant.h>

struct woq_scheme_opts {
    long bits, group_size, group_dim, group_rows;
    bool bits_given, group_given;
    bool sym, asym, full_range, float_zero;
    const char *dtype, *scale_dtype;
    struct {
        bool on, sym, keep_codes, given; /* given: any of the others was */
        long bits, group_size;
        const char *dtype;
    } dq;
};

#define WOQ_SCHEME_OPTS_INIT                                                                       \
    {                                                                                              \
        .bits = 4, .group_size = 32, .group_dim = 1, .group_rows = 1, .dtype = "int",              \
        .scale_dtype = "f32", .dq = {                                                              \
            .bits = 8,                                                                             \
            .group_size = 256,                                                                     \
            .dtype = "int"                                                                         \
        }                                                                                          \
    }

/* clang-format off */
#define WOQ_SCHEME_ROWS(o)                                                                         \
    { WOQ_OPT_INT, 'b', "bits", "N", &(o).bits, false,                                             \
      "bits per code; other dtypes than int have their own", .lo = 1, .hi = 8,                     \
      .given = &(o).bits_given },                                                                  \
    { WOQ_OPT_INT, 'g', "group-size", "N", &(o).group_size, false,                                 \
      "weights that share a scale; -1 = a whole row; mxfp4 and mxfp8 have 32, nvfp4 16, fp8 rows", \
      .lo = -1, .hi = 2147483648.0, .given = &(o).group_given },                                   \
    { WOQ_OPT_ENUM, 0, "dtype", "FORMAT", &(o).dtype, false,                                       \
      "number format of codes: integers, or the values of a codebook", WOQ_FORMAT_NAMES },         \
    { WOQ_OPT_FLAG, 0, "sym", NULL, &(o).sym, false,                                               \
      "symmetric codes, no zero point (the default)" },                                            \
    { WOQ_OPT_FLAG, 0, "asym", NULL, &(o).asym, false, "asymmetric codes with a zero point" },     \
    { WOQ_OPT_FLAG, 0, "full-range", NULL, &(o).full_range, false,                                 \
      "symmetric: give the largest weight the code -2^(bits-1); scales may be negative" },         \
    { WOQ_OPT_FLAG, 0, "float-zero", NULL, &(o).float_zero, false,                                 \
      "asymmetric: zero points between whole numbers too, for GGUF and HQQ" },                     \
    { WOQ_OPT_ENUM, 0, "scale-dtype", "DTYPE", &(o).scale_dtype, false,                            \
      "f16: round scales before codes are chosen, as formats with f16 scales will store them",     \
      "f32|f16" },                                                                                 \
    { WOQ_OPT_FLAG, 0, "double-quant", NULL, &(o).dq.on, false, "quantize the scales, too" },      \
    { WOQ_OPT_INT, 0, "double-quant-bits", "N", &(o).dq.bits, false, "bits per scale",             \
      .lo = 1, .hi = 8, .given = &(o).dq.given },                                                  \
    { WOQ_OPT_INT, 0, "double-quant-group-size", "N", &(o).dq.group_size, false,                   \
      "scales that share a scale of theirs; -1 = all", .lo = -1, .hi = 2147483648.0,               \
      .given = &(o).dq.given },                                                                    \
    { WOQ_OPT_FLAG, 0, "double-quant-sym", NULL, &(o).dq.sym, false,                               \
      "scales by symmetric codes, their mean not taken out", .given = &(o).dq.given }
/* Double quantization that follows the choice of codes. */
#define WOQ_DOUBLE_QUANT_ROWS(o)                                                                   \
    { WOQ_OPT_ENUM, 0, "double-quant-dtype", "TYPE", &(o).dq.dtype, false,                         \
      "integers, or the 8-bit dynamic map of bitsandbytes", "int|dynamic",                         \
      .given = &(o).dq.given },                                                                    \
    { WOQ_OPT_FLAG, 0, "double-quant-keep-codes", NULL, &(o).dq.keep_codes, false,                 \
      "choose codes by the exact scales, as other tools do; else by the quantized ones",           \
      .given = &(o).dq.given }
/* clang-format on */

/* Sets what the options say in `s`, which has been initialised; checks the combination. */
int woq_scheme_opts_apply(struct woq_scheme *s, const struct woq_scheme_opts *o,
                          struct woq_error *err);

#endif
