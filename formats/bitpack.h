/* bitpack.h -- matrices of small fields as checkpoints pack them (formats.md 4), without files or
 * frames.
 *
 * A matrix is lines of fields of `bits` width. Each line is a string of little-endian words; the
 * order says where field i of a line is. Lines follow one another, or word 0 of all lines comes
 * first, then word 1 (GPTQ's "packed along the rows"). Outside of a file fields are one per byte.
 */
#ifndef WOQ_FORMATS_BITPACK_H
#define WOQ_FORMATS_BITPACK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum woq_field_order {
    WOQ_FIELDS_DENSE, /* field i at bit i * bits of the line; words of 32 bits */
    WOQ_FIELDS_WHOLE, /* as many to a word as fit; bits that are left over are 0 */
    WOQ_FIELDS_AWQ,   /* dense, but each eight in the order 0 2 4 6 1 3 5 7 */
    /* 32 fields fill `bits` words by planes, that of the lowest 4 bits first, then of 2, then of 1
     * (7 = 4 + 2 + 1); in a plane fields lie densely. 1, 2, 4 and 8 bits: as WOQ_FIELDS_DENSE. */
    WOQ_FIELDS_PLANAR,
};

struct woq_bitmat {
    enum woq_field_order order;
    int bits;      /* 1..8 */
    int word_bits; /* 32; with WOQ_FIELDS_WHOLE also 8, 16, 64 */
    size_t n_lines, n_fields;
    bool words_first; /* [words][lines] in the file, else [lines][words] */
};

/* Words of a line; the last one is filled with zero bits. */
size_t woq_bitmat_words(const struct woq_bitmat *m);
size_t woq_bitmat_bytes(const struct woq_bitmat *m);

/* The same fields make the same words: sizes are equal. */
bool woq_bitmat_alike(const struct woq_bitmat *a, const struct woq_bitmat *b);

/* Field f of line l is fields[l * line_step + f * field_step], below 2^bits. `words` is aligned as
 * its words are; in parallel over lines. */
void woq_bitmat_pack(void *restrict words, const struct woq_bitmat *m,
                     const uint8_t *restrict fields, size_t line_step, size_t field_step);
void woq_bitmat_unpack(uint8_t *restrict fields, size_t line_step, size_t field_step,
                       const struct woq_bitmat *m, const void *restrict words);

#endif
