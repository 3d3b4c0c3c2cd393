/* packed.h -- linears whose codes lie packed in words (formats.md 4): what the formats have in
 * common, so that one reader and one writer serve all of them.
 *
 * A layout is one row of a table: how the tensors of a linear are called, along which dimension
 * fields are packed, in which order, and what is stored for a zero point. Which layout a file has
 * is told by its configuration (linear_method.c). */
#ifndef WOQ_FORMATS_PACKED_H
#define WOQ_FORMATS_PACKED_H
#include <formats/linear.h>

/* Tensors of one linear, in the order of its kind's suffixes. */
enum woq_packed_part {
    WOQ_PART_CODES,
    WOQ_PART_SCALES,
    WOQ_PART_ZEROS,
    WOQ_PART_G_IDX,
    WOQ_PART_SHAPE,  /* I64 [2] = out, in */
    WOQ_PART_FACTOR, /* one number that multiplies all scales, unless it is 0 or less */
    WOQ_PART_GLOBAL, /* one number that all scales are divided by */
    WOQ_PART_INPUTS, /* F32 [in]: what inputs are multiplied by */
    WOQ_N_PARTS      /* behind them: tensors that are no weights */
};

struct woq_packed_place {
    bool along_out;   /* neighbouring outputs share a word, else inputs (of zero points: groups) */
    bool words_first; /* that dimension comes first in the file */
};

enum woq_packed_g_idx { WOQ_G_IDX_NEVER, WOQ_G_IDX_ALWAYS, WOQ_G_IDX_PERMUTED };

struct woq_packed_layout {
    struct woq_linear_kind kind;
    const char *name; /* in messages: "GPTQ" */
    struct woq_packed_place codes, zeros;
    enum woq_field_order order;
    const char *form;     /* what the configuration calls it, of compressed-tensors and GPTQ */
    const char *codebook; /* a name of format.h; NULL: codes are integers. Then: */
    const char *codes_stored, *scales_stored; /* how a file spells their types; NULL: floats */
    const float *(*scale_values)(void);       /* of the bytes of scales, [256] */
    bool or_whole;      /* some writers fill words with whole fields instead: shapes tell */
    bool bytes;         /* codes and zero points are I8, signed, whatever their width */
    bool minus_one;     /* a zero point z is stored as (z - 1) mod 2^bits */
    bool scales_by_row; /* [out][groups], else [groups][out] */
    bool always_zeros;  /* symmetric ones too */
    bool padded;        /* groups are filled up with zeros, see woq_packed_stored */
    enum woq_packed_g_idx g_idx;        /* when it is written */
    unsigned widths;                    /* bit b is set: b bits have a form */
    unsigned multiple_in, multiple_out; /* sizes that can be written */
    bool whole_groups;                  /* in is a multiple of the group size */
};

extern const struct woq_packed_layout woq_layout_gptq_v1, woq_layout_gptq_v2, woq_layout_gptq_p,
    woq_layout_awq, woq_layout_awq_gemv, woq_layout_round_v1, woq_layout_round_v2,
    woq_layout_round_awq, woq_layout_round_g_idx, woq_layout_ct_packed, woq_layout_ct_bytes,
    woq_layout_ct_nvfp4, woq_layout_ct_e5m3, woq_layout_ct_mxfp4, woq_layout_ct_mxfp8,
    woq_layout_ct_fp8, woq_layout_inc, woq_layout_inc_own, woq_layout_inc_scaled,
    woq_layout_inc_float, woq_layout_inc_float_scaled;

static inline bool woq_packed_width_ok(const struct woq_packed_layout *l, int bits)
{
    return bits > 0 && bits <= 8 && (l->widths >> bits & 1);
}
/* "2, 3, 4 and 8" into buf. */
const char *woq_packed_widths(const struct woq_packed_layout *l, char buf[32]);

/* A packed matrix: dims in the file, and how its fields step in codes[out][in] or
 * zero[out][groups].
 */
struct woq_packed_matrix {
    struct woq_bitmat m;
    size_t line_step, field_step;
    uint64_t shape[2];
};
struct woq_packed_matrix woq_packed_codes(const struct woq_packed_layout *l,
                                          enum woq_field_order order, int bits, size_t n_out,
                                          size_t n_in);
struct woq_packed_matrix woq_packed_zeros(const struct woq_packed_layout *l,
                                          enum woq_field_order order, int bits, size_t n_out,
                                          size_t n_groups);
/* Groups of a row as a file stores them: as they are, or in AWQ's gemv up to whole words, of which
 * there are more the smaller the groups are. */
size_t woq_packed_stored(const struct woq_packed_layout *l, size_t n_in, size_t n_groups);
/* Type of their words. */
enum woq_dtype woq_packed_word(const struct woq_packed_layout *l);

/* Bytes of the tensors of a linear, scales of `scale_bytes` each where they are floats. */
uint64_t woq_packed_bytes(const struct woq_packed_layout *l, int bits, size_t n_out, size_t n_in,
                          size_t n_groups, size_t scale_bytes, bool has_zeros);

/* The same of a codebook's codes (ct_float.c). */
int woq_ct_float_measure(struct woq_linear *l, const struct woq_linear_told *told,
                         struct woq_error *err);
int woq_ct_float_load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                      struct woq_error *err);
/* For woq_linear_kind: of a linear whose kind is that of a layout. */
int woq_packed_measure(struct woq_linear *l, const struct woq_linear_told *told,
                       struct woq_error *err);
/* That the indices of g_idx, if it is there, are below n_groups, and whether they are permuted; it
 * has n_in of them. */
int woq_packed_g_idx(struct woq_linear *l, struct woq_error *err);
int woq_packed_load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                    struct woq_error *err);

#endif
