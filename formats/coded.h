/* coded.h -- linears that are stored neither as floats nor packed in words (packed.h):
 * bitsandbytes, HQQ, FP8. One row for each quant_method; codes, scales and zero points go to the
 * stream as they are, and back. */
#ifndef WOQ_FORMATS_CODED_H
#define WOQ_FORMATS_CODED_H
#include <formats/safetensors.h>
#include <formats/safetensors_write.h>
#include <formats/sink.h>
#include <woq/quant.h>

struct woq_source; /* source.h */

enum { WOQ_CODED_PARTS = 20 };

/* A linear of a file, measured: every tensor has the shape that load will rely on. */
struct woq_coded_linear {
    const struct woq_coded_method *method; /* NULL: a float tensor */
    const struct woq_st_tensor *codes, *part[WOQ_CODED_PARTS];
    size_t n_out, n_in;
    /* What `measure` found out: what counts depends on the method. */
    char dtype[16]; /* of the scheme */
    int bits;
    size_t group;      /* values in the order of the weight that share a scale */
    size_t group_rows; /* rows of a block */
    size_t nested_group;
    float nested_offset;
    bool by_column;         /* groups are whole columns */
    char compute_dtype[16]; /* "float16" */
};

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

struct woq_coded_method {
    const char *quant_method;
    const char *format; /* woq-pack's name for it */
    const char *codes;  /* "MODULE.codes" holds the codes; the other tensors are MODULE.parts[i] */
    const char *const *parts;
    /* WOQ_ITEM: a linear, measured; WOQ_OK: a float tensor. */
    int (*measure)(struct woq_coded_linear *l, const struct woq_json *quant, struct woq_error *err);
    int (*load)(const struct woq_coded_linear *l, struct woq_frame *f, struct woq_error *err);
    int (*put)(struct woq_coded_writer *w, const struct woq_frame *f, const struct woq_qview *q,
               struct woq_error *err);
    /* The object for config.json's quantization_config, without its list of float modules. */
    int (*config)(const struct woq_coded_writer *w, struct woq_json *c);
    const char *floats_key; /* of that list */
    /* What the tensors of a linear will take, without what is the same for all. */
    uint64_t (*bytes)(const struct woq_scheme *s, uint64_t rows, uint64_t cols);
};
extern const struct woq_coded_method woq_coded_bnb, woq_coded_hqq, woq_coded_fp8;

/* By quant_method, or by woq-pack's format; NULL if there is none. */
const struct woq_coded_method *woq_coded_by_method(const char *quant_method);
const struct woq_coded_method *woq_coded_by_format(const char *format);

int woq_coded_source_init(struct woq_source *s, const struct woq_coded_method *m,
                          const struct woq_json *quant, struct woq_error *err);

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

/* Fails unless the tensor is there, has n elements of one of the types ("F32 F16"). */
int woq_coded_want(const struct woq_coded_linear *l, size_t part, const char *stored, uint64_t n,
                   struct woq_error *err);
/* A tensor as f32, whatever its alignment; dst has room. */
int woq_coded_floats(float *dst, const struct woq_st_tensor *t, struct woq_error *err);
/* The arrays of a QTEN of n_out x n_in in groups of `group` inputs. */
int woq_coded_begin(struct woq_frame *f, const struct woq_coded_linear *l, size_t n_groups,
                    struct woq_qarrays *a, struct woq_error *err);
/* Each group of `width` inputs of each row gets the value of the run of l->group that it lies in.
 */
void woq_coded_spread(float *scale, const float *value, const struct woq_coded_linear *l,
                      size_t width);
/* "quant" from s, and how the file computes. */
int woq_coded_meta(struct woq_frame *f, const struct woq_coded_linear *l,
                   const struct woq_scheme *s, struct woq_error *err);
/* Writes MODULE.suffix; stored: another spelling of the type, or NULL. Counts the bytes. */
int woq_coded_tensor(struct woq_coded_writer *w, const char *suffix, const char *stored,
                     enum woq_dtype dtype, unsigned n_dims, const uint64_t *shape, const void *data,
                     struct woq_error *err);
/* Refuses what no method here has: permuted groups, a scale per input. */
int woq_coded_check(const struct woq_qview *q, const char *format, struct woq_error *err);

#endif
