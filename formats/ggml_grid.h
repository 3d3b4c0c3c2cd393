/* ggml_grid.h -- quantized codes as GGML blocks, without quantizing anew. */
#ifndef WOQ_FORMATS_GGML_GRID_H
#define WOQ_FORMATS_GGML_GRID_H
#include <formats/ggml_types.h>
#include <woq/quant.h>

/* The type that holds the grid of q exactly but for the rounding of its scales to f16, in groups of
 * a multiple of 32 columns: symmetric codes (zero point 2^(bits-1) everywhere) of 4, 5 and 8 bits
 * are Q4_0, Q5_0 and Q8_0, other codes of 4 and 5 bits Q4_1 and Q5_1, mxfp4 is MXFP4. Fails with
 * WOQ_ETYPE and what does not fit. */
int woq_ggml_grid(const struct woq_qview *q, const struct woq_ggml_type **type,
                  struct woq_error *err);
/* Row r of q as blocks of that type. False if a scale is not finite. */
bool woq_ggml_encode_codes(void *restrict dst, const struct woq_ggml_type *type,
                           const struct woq_qview *q, size_t row);

/* Scales as f16 that loaders can divide by: below 6e-8 they become 6e-8 with their sign (formats.md
 * 9, point 4). False if one is not finite or beyond 65504. */
bool woq_scales_to_f16(uint16_t *restrict dst, const float *restrict src, size_t n);

#endif
