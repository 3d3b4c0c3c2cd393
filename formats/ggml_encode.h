/* ggml_encode.h -- float rows and quantized codes to GGML blocks (formats.md 3.3), byte for byte
 * what the reference quantizers of ggml write. */
#ifndef WOQ_FORMATS_GGML_ENCODE_H
#define WOQ_FORMATS_GGML_ENCODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <woq/quant.h>

/* Types that can be written, by their number in a GGUF file. */
enum woq_ggml_out {
    WOQ_GGML_OUT_F32 = 0,
    WOQ_GGML_OUT_F16 = 1,
    WOQ_GGML_OUT_Q4_0 = 2,
    WOQ_GGML_OUT_Q4_1 = 3,
    WOQ_GGML_OUT_Q8_0 = 8,
};

/* "f32" "f16" "q8_0" "q4_0" "q4_1" -> type, -1 if unknown; and back, in capitals. */
int woq_ggml_out_from_name(const char *name);
const char *woq_ggml_out_name(enum woq_ggml_out type);
/* Elements per block (1 or 32), bytes of n_elem elements (whole blocks). */
size_t woq_ggml_out_block(enum woq_ggml_out type);
size_t woq_ggml_out_bytes(enum woq_ggml_out type, size_t n_elem);

/* One row of n_elem elements (whole blocks). Returns false if a value or a block's scale is not
 * finite in the type: dst is then not to be used. */
bool woq_ggml_encode(void *restrict dst, enum woq_ggml_out type, const float *restrict src,
                     size_t n_elem);

/* The type that holds the grid of q exactly but for the rounding of its scales to f16: 4-bit codes
 * with zero point 8 are Q4_0, other 4-bit codes Q4_1, 8-bit codes with zero point 128 Q8_0, in
 * groups of a multiple of 32 columns. Fails with WOQ_ETYPE and what does not fit. */
int woq_ggml_grid(const struct woq_qview *q, enum woq_ggml_out *type, struct woq_error *err);
/* Row r of q as blocks of that type. False if a scale is not finite. */
bool woq_ggml_encode_codes(void *restrict dst, enum woq_ggml_out type, const struct woq_qview *q,
                           size_t row);

/* Scales as f16 that loaders can divide by: below 6e-8 they become 6e-8 with their sign (formats.md
 * 9, point 4). False if one is not finite or beyond 65504. */
bool woq_scales_to_f16(uint16_t *restrict dst, const float *restrict src, size_t n);

#endif
