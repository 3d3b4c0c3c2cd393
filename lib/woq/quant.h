/* quant.h -- what a quantized weight is, and the plain quantizer (algorithms.md 1, 2 and 6.9).
 *
 * One formula decodes every QTEN (design.md 2):
 *     w[r][c] = (lut ? lut[code] : code - zero[r][g]) * scale[r][g] * (in_scale ? in_scale[c] : 1)
 * with g = g_idx ? g_idx[c] : c / group_size, zero = 2^(bits-1) where the array is absent.
 * group_dim 0 swaps the roles of r and c for groups: scale[g][c], g = g_idx ? g_idx[r] :
 * r / group_size. */
#ifndef WOQ_QUANT_H
#define WOQ_QUANT_H
#include <woq/format.h>
#include <woq/frame.h>
#include <woq/opt.h>

/* How a weight is to be quantized: options of a quantizer, overridden by the tensor's meta "quant".
 */
struct woq_scheme {
    int bits;           /* 1..8; 16 and more = leave alone */
    int64_t group_size; /* -1 = one group per row */
    int group_dim;      /* 1 = groups along in, 0 = along out */
    int64_t group_rows; /* rows that share their scales; 1, or -1 = all (group_dim 1) */
    bool sym, full_range;
    bool float_zero; /* asym: zero points need not be whole numbers */
    char dtype[16];  /* a name of format.h, or "float" = leave alone */
    char search[16]; /* "none"; "clip" one ratio per layer (1.6); "mse" best ratio per group */
    /* Scales are quantized themselves (algorithms.md 1.7), by `bits` in groups of `group_size`. */
    struct woq_double_quant {
        bool on;
        int bits;           /* 1..8 */
        int64_t group_size; /* -1 = all of the tensor (in GPTQ: of a column) */
        bool sym;           /* else: what is left of the mean (in GPTQ: with a zero point) */
        bool keep_codes;    /* codes are chosen by the exact scales, as INC and bitsandbytes do */
        char dtype[16];     /* "int", or "dynamic": the map of bitsandbytes */
    } dq;
    char scale_dtype[16]; /* "f32", or "f16" = round scales to f16 before codes are chosen */
};
void woq_scheme_init(struct woq_scheme *s); /* 4 bits, group 32, dim 1, sym, int, no search, f32 */
/* Overrides from a meta object {"bits":..,"group_size":..,"sym":..,...}; unknown key = error. Keys
 * are those of the struct, or INC's and AutoRound's names for them (use_sym, use_full_range,
 * use_mse_search, data_type, weight_dtype; dtype "int4" sets bits, "fp32" and the like mean
 * "float"; scheme "asym" or "W4A16"; group_size [rows, columns]). Only the fields named are
 * changed, and with a dtype what its format brings: bits, group size, sym. The combination is left
 * to woq_scheme_check. */
int woq_scheme_from_json(struct woq_scheme *s, const struct woq_json *quant, struct woq_error *err);
/* Every field; NULL when out of memory. The caller frees. */
struct woq_json *woq_scheme_to_json(const struct woq_scheme *s);
/* Writes the fields that `from` names into `quant` under their own names, checked as above. */
int woq_scheme_merge(struct woq_json *quant, const struct woq_json *from, struct woq_error *err);
/* Same from "key=value" text, or one of the words sym, asym, full_range, float_zero, float
 * (woq-scheme --set). */
int woq_scheme_set(struct woq_json *quant, const char *key_value, struct woq_error *err);
/* Ranges and combinations: bits, group_size, 1-bit full range ... WOQ_EUSAGE. */
int woq_scheme_check(const struct woq_scheme *s, struct woq_error *err);
bool woq_scheme_is_float(const struct woq_scheme *s);
/* Zero points are stored: asym, or 1-bit sym (whose codes 0, 1 have zero 0, not 2^(bits-1)). */
bool woq_scheme_has_zero(const struct woq_scheme *s);
/* Groups along the grouped dimension: ceil(n / group_size), 1 for -1 or group_size >= n. */
size_t woq_scheme_groups(const struct woq_scheme *s, size_t n);
/* Elements per group along a dimension of n: group_size, or n where that is -1 or more than n. */
size_t woq_scheme_group_elems(const struct woq_scheme *s, size_t n);

/* WOQ_ITEM and its scheme if a quantizer is to take this frame: a linear weight of a block, or any
 * weight whose meta has a scheme of its own, which overrides `defaults` field by field; and its
 * name matches one of the globs (NULL or none = all). WOQ_OK if it passes. */
int woq_scheme_choose(struct woq_scheme *s, const struct woq_frame *f,
                      const struct woq_scheme *defaults, const struct woq_list *match,
                      struct woq_error *err);

/* Scales or zero points that are codes themselves (double quantization, MXFP4, NVFP4), beside the
 * values they decode to:
 *     (lut ? lut[code] : code - zero[s]) * scale[s] / div + offset,
 * with s = i / group for value i in row-major order (groups cross rows), or, by_column, one s for
 * `group` rows of each column. */
struct woq_nested {
    const uint8_t *codes; /* [n_rows][n_cols]; NULL = the values are plain, nothing else is set */
    const float *lut;     /* [256], or NULL */
    const float *scale;   /* one for each s, or NULL = 1 */
    const float *zero;    /* one for each s, or NULL = 2^(bits-1) */
    float div, offset;    /* 1 and 0 where the arrays are absent */
    int bits;
    size_t n_rows, n_cols, group;
    bool by_column;
};
/* All values, [n_rows][n_cols]. */
void woq_nested_decode(float *dst, const struct woq_nested *n);
/* Quantizes n values `stride` apart less `offset` in place, each keeping its sign; returns the
 * step, and the zero point that is subtracted from codes. affine: integers from a range that holds
 * 0 (1.4), else symmetric (1.3). */
float woq_nested_run(float *value, uint8_t *codes, size_t n, size_t stride, int bits, bool affine,
                     float offset, float *zero);

/* A view of a QTEN frame; validated, so that decoding cannot run out of any array. */
struct woq_qview {
    size_t n_rows, n_cols, n_groups;
    size_t group_elems; /* columns (rows for group_dim 0) per group */
    int bits, group_dim;
    bool sym;              /* zero absent */
    const uint8_t *codes;  /* [rows][cols] */
    const float *scale;    /* [rows][groups], or [groups][cols] for group_dim 0 */
    const float *zero;     /* same shape, or NULL */
    const int32_t *g_idx;  /* [cols], or [rows] for group_dim 0, or NULL */
    const float *lut;      /* [2^bits], or NULL */
    const float *in_scale; /* [cols], or NULL */
    int64_t group_rows;    /* rows that share their scales, as the scheme says; 1 as a rule */
    struct woq_nested scale_codes, zero_codes; /* what `scale` and `zero` decode from, or none */
};
/* From a frame: checks shapes, group indices and that every code is below 2^bits. The view points
 * into the frame. */
int woq_qview_init(struct woq_qview *q, const struct woq_frame *f, struct woq_error *err);
/* Rows [row0, row1) as f32 into dst (dense, n_cols apart). */
void woq_dequant_rows(float *dst, const struct woq_qview *q, size_t row0, size_t row1);
/* TENS or QTEN weight as f32 [rows][cols], in parallel: a pointer into the frame or into buf. */
int woq_weight_f32(const struct woq_frame *f, size_t *n_rows, size_t *n_cols, const float **data,
                   struct woq_buf *buf, struct woq_error *err);

/* What groups are quantized by: integers, or the levels of a codebook; and what a scale may be. */
struct woq_grid {
    const struct woq_scheme *s;
    const struct woq_format *format;
    const struct woq_levels *levels; /* NULL: integers 0..maxq around mid */
    float mid, maxq;
    float top;       /* of the levels */
    float scale_div; /* NVFP4: divides every scale of the tensor; else 1 */
    bool f16;        /* scales are values of f16 */
};
/* For a checked scheme; of w [n] NVFP4 takes the largest magnitude. `s` is kept. */
void woq_grid_init(struct woq_grid *g, const struct woq_scheme *s, const float *w, size_t n);
/* Scales as they will be stored, to nearest; free ones never to 0. */
void woq_grid_round(const struct woq_grid *g, float *scale, size_t n);
/* Zero points of 0..maxq as they will be stored: whole numbers, or with float_zero those of f16
 * where scales are. */
void woq_grid_round_zero(const struct woq_grid *g, float *zero, size_t n);
/* Ranges of n groups by 1.3 / 1.4 / 1.5 / 6.9 at a quantile: sets scale and zero (NULL = not
 * wanted) from the groups' minima and maxima. */
void woq_group_params(float *scale, float *zero, const float *min, const float *max, size_t n,
                      float quantile, const struct woq_grid *g);

/* Round-to-nearest of w [rows][cols] by `s`; importance (NULL or [cols], >= 0) weights the
 * searches. codes [rows][cols], scale/zero as in woq_qview; zero is written when not NULL (must not
 * be NULL where woq_scheme_has_zero). A weight that is NaN or infinite, or a scale that leaves its
 * type, is WOQ_EDATA with the element. Rows in parallel; bit-identical over threads and ISA. */
int woq_rtn(uint8_t *codes, float *scale, float *zero, const float *w, size_t n_rows, size_t n_cols,
            const struct woq_scheme *s, const float *importance, struct woq_error *err);
/* Codes alone, by scales and zeros as they are. */
int woq_rtn_codes(uint8_t *codes, float *scale, float *zero, const float *w, size_t n_rows,
                  size_t n_cols, const struct woq_scheme *s, struct woq_error *err);
/* The same from a TENS frame to its QTEN; buf holds the weight as f32 where it came in another
 * type. */
int woq_rtn_frame(struct woq_frame *out, const struct woq_frame *weight, const struct woq_scheme *s,
                  const float *importance, struct woq_buf *buf, struct woq_error *err);

/* The arrays of a QTEN that is being made. */
struct woq_qarrays {
    uint8_t *codes;
    float *scale, *zero;  /* zero NULL where the scheme has none */
    uint8_t *scale_codes; /* NULL where scales are plain */
    float *scale_div;     /* [1], NVFP4, or NULL */
    /* Double quantization, or NULL: see struct woq_nested. */
    float *scale_lut, *scale_scale, *scale_zero, *scale_offset;
    size_t n_scales;
    int32_t *g_idx; /* [cols] where a quantizer permutes groups, else NULL */
};
/* Begins `out` as the QTEN for the TENS frame `like`: copies its meta (name, role, block, group
 * ...), sets "quant" to the scheme; allocates the arrays, sets what the format fixes (lut,
 * scale_lut). by_column: double quantization runs down the columns of scales (GPTQ). Pointers into
 * `out` are returned; `like` may be released or put before `out`. */
int woq_qten_begin(struct woq_frame *out, const struct woq_frame *like, const struct woq_scheme *s,
                   bool by_column, struct woq_qarrays *a, struct woq_error *err);
/* Double quantization of all scales in place, groups across rows, for woq_qten_begin without
 * by_column. */
void woq_qten_double_quant(const struct woq_qarrays *a, const struct woq_scheme *s);
/* Fills scale_codes and scale_div from the scales that `s` gave for w [n]. */
void woq_qten_finish(const struct woq_qarrays *a, const struct woq_scheme *s, const float *w,
                     size_t n);
/* Bits that a QTEN takes in an ideal packed file: codes; scales of f16, or their codes and what
 * these decode with; zeros of as many bits as codes, of f16 where some are no integers. */
double woq_qten_bits(const struct woq_qview *q);

#endif
