/* coded.h -- linears that are stored neither as floats nor packed in words (packed.h):
 * bitsandbytes, HQQ, FP8, and AWQ for its fast kernels (read only). One row for each quant_method;
 * codes, scales and zero points go to the stream as they are, and back. */
#ifndef WOQ_FORMATS_CODED_H
#define WOQ_FORMATS_CODED_H
#include <formats/linear.h>
#include <formats/safetensors_write.h>
#include <formats/sink.h>
#include <woq/quant.h>

struct woq_coded_writer {
    const struct woq_coded_method *method;
    struct woq_st_writer *st;
    struct woq_sink_report *report;
    enum woq_dtype dtype;      /* of floats; WOQ_NO_DTYPE: as they come */
    const char *module;        /* of the linear in hand */
    const char *compute_dtype; /* of the linear in hand, as torch spells it */
    struct woq_buf bytes, values;
    char **floats; /* modules that stay float */
    size_t n_floats, cap_floats;
    /* What all linears must agree on, of the first one. */
    bool any, nested, head; /* head: lm_head is quantized */
    int bits;
    char kind[16];
    int64_t rows, cols;
};

/* What a method writes; a row of the table in coded.c. */
struct woq_coded_method {
    const char *format; /* woq-pack's name for it */
    const char *quant_method;
    const char *floats_key; /* of the list of modules that stay float */
    int (*put)(struct woq_coded_writer *w, const struct woq_frame *f, const struct woq_qview *q,
               struct woq_error *err);
    /* The object for config.json's quantization_config, without that list. */
    int (*config)(const struct woq_coded_writer *w, struct woq_json *c);
    /* What the tensors of a linear will take. */
    uint64_t (*bytes)(const struct woq_scheme *s, uint64_t rows, uint64_t cols);
};
/* NULL if there is none. */
const struct woq_coded_method *woq_coded_by_format(const char *format);

extern const struct woq_linear_kind woq_bnb_kind, woq_hqq_kind, woq_fp8_kind, woq_awq_fast_kind,
    woq_mx_int_kind;

/* One of each for the table: see struct woq_coded_method. */
#define WOQ_CODED_METHOD(name)                                                                     \
    int woq_##name##_put(struct woq_coded_writer *w, const struct woq_frame *f,                    \
                         const struct woq_qview *q, struct woq_error *err);                        \
    int woq_##name##_config(const struct woq_coded_writer *w, struct woq_json *c);                 \
    uint64_t woq_##name##_bytes(const struct woq_scheme *s, uint64_t rows, uint64_t cols)
WOQ_CODED_METHOD(bnb);
WOQ_CODED_METHOD(hqq);
WOQ_CODED_METHOD(fp8);

int woq_coded_writer_init(struct woq_coded_writer *w, const struct woq_coded_method *m,
                          enum woq_dtype dtype, struct woq_st_writer *st,
                          struct woq_sink_report *report, struct woq_error *err);
int woq_coded_put(struct woq_coded_writer *w, const struct woq_frame *f, struct woq_error *err);
/* Remembers a linear that stays float: loaders must be told. */
int woq_coded_keep_float(struct woq_coded_writer *w, const char *name, struct woq_error *err);
/* NULL and err on failure. */
struct woq_json *woq_coded_config(const struct woq_coded_writer *w, struct woq_error *err);
void woq_coded_writer_release(struct woq_coded_writer *w); /* accepts a zeroed struct */

/* --- for the methods --- */

/* The rectangles of a weight that share a scale in FP8: blocks, rows or the tensor. */
struct woq_fp8_blocks {
    int64_t rows, cols; /* as the scheme says: -1 = all */
    bool tensor;
    size_t step; /* rows of a block of this weight */
    uint64_t shape[2];
};
/* Refuses what `format` has no form for. */
int woq_fp8_blocks_init(struct woq_fp8_blocks *b, const struct woq_frame *f,
                        const struct woq_qview *q, const char *format, struct woq_error *err);
/* Their scales, [shape]. */
void woq_fp8_scales(float *x, const struct woq_fp8_blocks *b, const struct woq_qview *q);

/* WOQ_ITEM, with l->stored: the codebook, or of integers the method and the bits. */
int woq_coded_item(struct woq_linear *l, const char *method);
/* Fails unless the tensor is there, has n elements of one of the types ("F32 F16"). */
int woq_coded_want(const struct woq_linear *l, size_t part, const char *stored, uint64_t n,
                   struct woq_error *err);
/* A tensor as f32, whatever its alignment; dst has room. */
int woq_coded_floats(float *dst, const struct woq_st_tensor *t, struct woq_error *err);
/* The arrays of a QTEN of n_out x n_in, n_groups in a row, or by_column in a column. */
int woq_coded_begin(struct woq_frame *f, const struct woq_linear *l, size_t n_groups,
                    struct woq_qarrays *a, struct woq_error *err);
/* The largest group of inputs that neither a row nor a run of l->group cuts. */
size_t woq_coded_width(const struct woq_linear *l);
/* Each group of `width` inputs of each row gets the value of the run of l->group that it lies in.
 */
void woq_coded_spread(float *scale, const float *value, const struct woq_linear *l, size_t width);
/* "quant" from s, and how the file computes. */
int woq_coded_meta(struct woq_frame *f, const struct woq_linear *l, const struct woq_scheme *s,
                   struct woq_error *err);
/* Writes MODULE.suffix; stored: another spelling of the type, or NULL. Counts the bytes. */
int woq_coded_tensor(struct woq_coded_writer *w, const char *suffix, const char *stored,
                     enum woq_dtype dtype, unsigned n_dims, const uint64_t *shape, const void *data,
                     struct woq_error *err);
/* Refuses what no method here has: permuted groups of inputs, a scale per input. */
int woq_coded_check(const struct woq_qview *q, const char *format, struct woq_error *err);

#endif
