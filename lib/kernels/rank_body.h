/* rank_body.h -- c -= a u as a chain of rank-one updates, once per ISA file that includes it.
 *
 * Each element of c takes its subtractions one after another in the order of k, each product
 * rounded by itself, so the result does not depend on tiles, vectors or threads. The vectors are
 * the compiler's generic ones: the width is the including file's WOQ_VEC_BYTES. */
#ifndef WOQ_VEC_BYTES
#error "define WOQ_VEC_BYTES and WOQ_RANK_NAME first"
#endif
#include <stddef.h>
#include <string.h>

#define RANK_CAT2(a, b) a##_##b
#define RANK_CAT(a, b) RANK_CAT2(a, b)

#define RANK_SUB(type, tag)                                                                        \
    typedef type RANK_CAT(vec, tag) __attribute__((vector_size(WOQ_VEC_BYTES)));                   \
                                                                                                   \
    /* 4 rows x 2 vectors in registers over the whole depth. */                                    \
    static void RANK_CAT(tile, tag)(type * c, size_t ldc, const type *a, size_t lda,               \
                                    const type *u, size_t ldu, size_t depth)                       \
    {                                                                                              \
        enum { LANES = WOQ_VEC_BYTES / sizeof(type) };                                             \
        RANK_CAT(vec, tag) acc[4][2], v[2];                                                        \
                                                                                                   \
        for (size_t r = 0; r < 4; r++)                                                             \
            memcpy(acc[r], c + r * ldc, sizeof acc[r]);                                            \
        for (size_t k = 0; k < depth; k++) {                                                       \
            memcpy(v, u + k * ldu, sizeof v);                                                      \
            for (size_t r = 0; r < 4; r++) {                                                       \
                const type x = a[r * lda + k];                                                     \
                                                                                                   \
                acc[r][0] -= x * v[0];                                                             \
                acc[r][1] -= x * v[1];                                                             \
            }                                                                                      \
        }                                                                                          \
        for (size_t r = 0; r < 4; r++)                                                             \
            memcpy(c + r * ldc, acc[r], sizeof acc[r]);                                            \
    }                                                                                              \
                                                                                                   \
    /* What no whole tile covers. */                                                               \
    static void RANK_CAT(rest, tag)(type * c, size_t ldc, const type *a, size_t lda,               \
                                    const type *u, size_t ldu, size_t rows, size_t cols,           \
                                    size_t depth)                                                  \
    {                                                                                              \
        for (size_t r = 0; r < rows; r++)                                                          \
            for (size_t k = 0; k < depth; k++)                                                     \
                for (size_t j = 0; j < cols; j++)                                                  \
                    c[r * ldc + j] -= a[r * lda + k] * u[k * ldu + j];                             \
    }                                                                                              \
                                                                                                   \
    static void RANK_CAT(WOQ_RANK_NAME, tag)(type * c, size_t ldc, const type *a, size_t lda,      \
                                             const type *u, size_t ldu, size_t rows, size_t cols,  \
                                             size_t depth)                                         \
    {                                                                                              \
        enum { WIDTH = 2 * WOQ_VEC_BYTES / sizeof(type) };                                         \
        const size_t full_r = rows & ~(size_t)3, full_c = cols - cols % WIDTH;                     \
                                                                                                   \
        for (size_t j = 0; j < full_c; j += WIDTH)                                                 \
            for (size_t r = 0; r < full_r; r += 4)                                                 \
                RANK_CAT(tile, tag)(c + r * ldc + j, ldc, a + r * lda, lda, u + j, ldu, depth);    \
        RANK_CAT(rest, tag)                                                                        \
        (c + full_c, ldc, a, lda, u + full_c, ldu, full_r, cols - full_c, depth);                  \
        RANK_CAT(rest, tag)                                                                        \
        (c + full_r * ldc, ldc, a + full_r * lda, lda, u, ldu, rows - full_r, cols, depth);        \
    }

RANK_SUB(float, f32)
RANK_SUB(double, f64)
