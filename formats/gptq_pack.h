/* gptq_pack.h -- the bit layout of GPTQ checkpoints (formats.md 4.a), without files or frames.
 *
 * Values of `bits` width lie in a little-endian bit string of 32-bit words: 2, 4 and 8 bits fill a
 * word exactly, 3 bits spread 32 values over 3 words. Weights are packed along the inputs and
 * stored transposed, zero points along the outputs. Codes are one per byte as in a QTEN frame. */
#ifndef WOQ_FORMATS_GPTQ_PACK_H
#define WOQ_FORMATS_GPTQ_PACK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool woq_gptq_bits_ok(int bits)
{
    return bits == 2 || bits == 3 || bits == 4 || bits == 8;
}

/* qweight [n_in * bits / 32][n_out] from codes [n_out][n_in], each below 2^bits. n_in is a multiple
 * of 32. In parallel over outputs. */
void woq_gptq_pack_weight(uint32_t *restrict qweight, const uint8_t *restrict codes, size_t n_out,
                          size_t n_in, int bits);
void woq_gptq_unpack_weight(uint8_t *restrict codes, const uint32_t *restrict qweight, size_t n_out,
                            size_t n_in, int bits);

/* qzeros [n_groups][n_out * bits / 32] from zero [n_out][n_groups], integers in 0..2^bits-1; NULL
 * stands for 2^(bits-1) throughout. n_out is a multiple of 32. v1 stores (zero - 1) mod 2^bits per
 * field, v2 the zero point itself. Returns false, and leaves qzeros undefined, if some zero point
 * is not an integer of that range: *bad is its index. *n_null counts zero points equal to 0, which
 * v1 cannot hold so that every reader agrees. */
bool woq_gptq_pack_zeros(uint32_t *restrict qzeros, const float *restrict zero, size_t n_out,
                         size_t n_groups, int bits, bool v1, size_t *n_null, size_t *bad);
/* The inverse; v1 fields are read as (field + 1) mod 2^bits, per field. */
void woq_gptq_unpack_zeros(float *restrict zero, const uint32_t *restrict qzeros, size_t n_out,
                           size_t n_groups, int bits, bool v1);
/* v1 words to v2 words in place; n_words is a multiple of `bits` where bits is 3. */
void woq_gptq_zeros_to_v2(uint32_t *qzeros, size_t n_words, int bits);

#endif
