/* ggml_encode.h -- float rows to GGML types (formats.md 3.3).
 *
 * F32, F16, BF16, Q8_0, TQ1_0 and TQ2_0 are what ggml's reference quantizers write, byte for byte;
 * so are Q4_0, Q4_1, Q5_0 and Q5_1 without an importance. With one, and for MXFP4, IQ4_NL, IQ4_XS
 * and Q2_K to Q6_K always, the numbers of a block are searched for (ggml_search.h). */
#ifndef WOQ_FORMATS_GGML_ENCODE_H
#define WOQ_FORMATS_GGML_ENCODE_H
#include <formats/ggml_types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool woq_ggml_can_encode(const struct woq_ggml_type *type);

/* One row of n_elem elements (whole blocks). `importance`: n_elem weights > 0 of the squared
 * errors, or NULL. Returns false if a value or a block's scale is not finite in the type: dst is
 * then not to be used. */
bool woq_ggml_encode(void *restrict dst, const struct woq_ggml_type *type,
                     const float *restrict src, const float *importance, size_t n_elem);

/* Parts of blocks of 32 codes: 16 bytes of nibbles; 4 bytes of fifth bits, then the nibbles. */
void woq_ggml_put_nibbles(uint8_t *dst, const uint8_t *codes);
void woq_ggml_put_five_bits(uint8_t *dst, const uint8_t *codes);

#endif
