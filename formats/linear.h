/* linear.h -- the quantized linears of a checkpoint that lies in safetensors or PyTorch's files:
 * one source over all kinds of them. What a kind is (how its tensors are called, measured and
 * loaded) is told by packed.h for codes that lie packed in words, by coded.h for all others; which
 * kinds a checkpoint may have, by its quant_method (linear_method.c). */
#ifndef WOQ_FORMATS_LINEAR_H
#define WOQ_FORMATS_LINEAR_H
#include <formats/bitpack.h>
#include <formats/safetensors.h>
#include <woq/json.h>

enum { WOQ_LINEAR_PARTS = 44, WOQ_LINEAR_KINDS = 6 };

struct woq_linear;

/* What a configuration says about all linears; single ones differ in what their tensors tell. */
struct woq_linear_told {
    const struct woq_json *quant;
    const char *format;                                    /* woq-pack's name for it */
    const struct woq_linear_kind *kinds[WOQ_LINEAR_KINDS]; /* that may occur, the likeliest first */
    size_t n_kinds;
    int bits;           /* 0: they may differ */
    int64_t group_size; /* -1 = one group per row, 0 = not told */
    bool sym;           /* zero points are the middle ones, unless the file says otherwise */
    uint64_t block[2];  /* rows and columns of FP8's blocks; 0 = none */
};
/* By quantization_config.quant_method; an unknown one is an error that names those that are read.
 */
int woq_linear_told_read(struct woq_linear_told *told, const struct woq_json *quant,
                         struct woq_error *err);

struct woq_linear_kind {
    const char *suffix[WOQ_LINEAR_PARTS]; /* "MODULE.SUFFIX", of the codes first; NULL: none */
    const char *format;                   /* where the configuration cannot tell; NULL */
    size_t mark;                          /* a part that only this kind has; 0 */
    const char *null_bias; /* "MODULE.SUFFIX" of a bias whose zeros stand for none; NULL */
    /* WOQ_ITEM: a linear, and every tensor has the shape that load will rely on; WOQ_OK: a tensor
     * of another kind. `l` has its parts, NULL where the file has none. */
    int (*measure)(struct woq_linear *l, const struct woq_linear_told *told, struct woq_error *err);
    /* Into a QTEN that has its name. `scratch` is kept between calls. */
    int (*load)(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                struct woq_error *err);
};

/* A linear of a file, measured. */
struct woq_linear {
    const struct woq_linear_kind *kind; /* NULL: a float tensor */
    const struct woq_st_tensor *codes;  /* part[0], or the float tensor */
    const struct woq_st_tensor *part[WOQ_LINEAR_PARTS];
    size_t n_out, n_in;
    size_t model_in; /* inputs that the architecture gives it; 0 = not known */
    int bits;
    char stored[16]; /* for --list */
    /* What else `measure` found out: what counts depends on the kind. Packed in words: */
    const struct woq_packed_layout *layout;
    enum woq_field_order order;
    size_t n_groups, n_stored; /* groups of a row; what the file has for them */
    int64_t group_size;
    bool sym;
    bool one_scale; /* of the whole tensor */
    float factor;   /* of all scales; 0 = none */
    bool permuted;  /* g_idx is not c / group_size */
    /* Others: */
    char dtype[16];    /* of the scheme */
    size_t group;      /* values in the order of the weight that share a scale */
    size_t group_rows; /* rows of a block */
    size_t nested_group;
    float nested_offset;
    bool by_column;         /* groups run down the columns */
    char compute_dtype[16]; /* "float16" */
};

#endif
