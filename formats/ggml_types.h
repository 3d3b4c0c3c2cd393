/* ggml_types.h -- the element and block types of GGUF files: sizes and decoding
 * (formats.md 3.2, 3.3).
 *
 * Types whose decoding needs codebook grids (IQ1, IQ2, IQ3) are in the table by name and size, with
 * decode NULL, so that a message can say what a tensor is. */
#ifndef WOQ_GGML_TYPES_H
#define WOQ_GGML_TYPES_H
#include <woq/dtype.h>
#include <woq/error.h>

enum woq_ggml_id { /* those that are spoken of by name */
                   WOQ_GGML_F32 = 0,
                   WOQ_GGML_F16 = 1,
                   WOQ_GGML_Q4_0 = 2,
                   WOQ_GGML_Q4_1 = 3,
                   WOQ_GGML_Q5_0 = 6,
                   WOQ_GGML_Q5_1 = 7,
                   WOQ_GGML_Q8_0 = 8,
                   WOQ_GGML_Q2_K = 10,
                   WOQ_GGML_Q3_K = 11,
                   WOQ_GGML_Q4_K = 12,
                   WOQ_GGML_Q5_K = 13,
                   WOQ_GGML_Q6_K = 14,
                   WOQ_GGML_IQ4_NL = 20,
                   WOQ_GGML_IQ4_XS = 23,
                   WOQ_GGML_BF16 = 30,
                   WOQ_GGML_TQ1_0 = 34,
                   WOQ_GGML_TQ2_0 = 35,
                   WOQ_GGML_MXFP4 = 39,
};

struct woq_ggml_type {
    const char *name; /* "Q4_1" */
    uint32_t id;
    unsigned block_elems, block_bytes;
    enum woq_dtype dtype; /* scalars that a stream carries as they are; else WOQ_NO_DTYPE */
    /* n_blocks blocks to f32; src is aligned to nothing. NULL for scalars and for what is not read.
     */
    void (*decode)(float *dst, const uint8_t *src, size_t n_blocks);
};

/* NULL for an id that no current file may have (removed or unknown). */
const struct woq_ggml_type *woq_ggml_type(uint32_t id);
const struct woq_ggml_type *woq_ggml_type_by_name(const char *name);

/* Bytes of a row of n_elem; false if n_elem is no multiple of the block, or on overflow. */
bool woq_ggml_row_bytes(const struct woq_ggml_type *type, uint64_t n_elem, size_t *bytes);

#endif
