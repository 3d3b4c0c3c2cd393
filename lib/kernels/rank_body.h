/* rank_body.h -- c -= a u as a chain of rank-one updates, once per ISA file that includes it.
 *
 * Each element of c takes its subtractions one after another in the order of k, each a fused
 * multiply-add, so the result does not depend on tiles, vectors or threads. The including file
 * says WOQ_VEC_BYTES, and WOQ_FNMA_f32 and _f64 (c, a, p): c - a p of generic vectors c, p and a
 * scalar a, rounded once. Accumulators are variables of their own, because an array of them would
 * live in memory. */
#ifndef WOQ_FNMA_f32
#error "define WOQ_VEC_BYTES, WOQ_RANK_NAME, WOQ_FNMA_f32 and WOQ_FNMA_f64 first"
#endif
#include <math.h>
#include <stddef.h>
#include <string.h>

#define RANK_CAT2(a, b) a##_##b
#define RANK_CAT(a, b) RANK_CAT2(a, b)

#define RANK_DO2(X) X(0) X(1)
#define RANK_DO4(X) RANK_DO2(X) X(2) X(3)
#define RANK_DO8(X) RANK_DO4(X) X(4) X(5) X(6) X(7)
#if WOQ_VEC_BYTES == 64 /* 32 registers: 16 accumulators */
#define RANK_ROWS 8
#define RANK_DO(X) RANK_DO8(X)
#else
#define RANK_ROWS 4
#define RANK_DO(X) RANK_DO4(X)
#endif
enum {
    RANK_SLAB = 128, /* rows of u that are packed at a time: 16 KiB at most */
    RANK_CHUNK = 128 /* rows of c that they serve */
};

typedef float vec_f32 __attribute__((vector_size(WOQ_VEC_BYTES)));
typedef double vec_f64 __attribute__((vector_size(WOQ_VEC_BYTES)));

static inline vec_f32 fnma_f32(vec_f32 c, float a, vec_f32 p)
{
    return WOQ_FNMA_f32(c, a, p);
}

static inline vec_f64 fnma_f64(vec_f64 c, double a, vec_f64 p)
{
    return WOQ_FNMA_f64(c, a, p);
}

#define RANK_FNMA(c, a, p) _Generic((c), vec_f32 : fnma_f32, vec_f64 : fnma_f64)(c, a, p)
#define RANK_FNMA1(c, a, u) _Generic((c), float : fmaf, double : fma)(-(a), u, c)

/* A tile: RANK_ROWS rows x 2 vectors. */
#define RANK_VARS(r) v##r##p, v##r##q,
#define RANK_LOAD(r)                                                                               \
    memcpy(&v##r##p, c + r * ldc, sizeof v##r##p);                                                 \
    memcpy(&v##r##q, c + r * ldc + LANES, sizeof v##r##q);
#define RANK_STEP(r)                                                                               \
    v##r##p = RANK_FNMA(v##r##p, a[r * lda + k], p);                                               \
    v##r##q = RANK_FNMA(v##r##q, a[r * lda + k], q);
#define RANK_STORE(r)                                                                              \
    memcpy(c + r * ldc, &v##r##p, sizeof v##r##p);                                                 \
    memcpy(c + r * ldc + LANES, &v##r##q, sizeof v##r##q);

/* A line: one row x 8, 4 or 2 vectors. */
#define RANK_LINE_VARS(i) w##i,
#define RANK_LINE_LOAD(i) memcpy(&w##i, c + i * LANES, sizeof w##i);
#define RANK_LINE_STEP(i)                                                                          \
    memcpy(&p, u + k * ldu + i * LANES, sizeof p);                                                 \
    w##i = RANK_FNMA(w##i, a[k], p);
#define RANK_LINE_STORE(i) memcpy(c + i * LANES, &w##i, sizeof w##i);
#define RANK_LINE(type, tag, name, DO)                                                             \
    static void RANK_CAT(name, tag)(type * c, const type *a, const type *u, size_t ldu,            \
                                    size_t depth)                                                  \
    {                                                                                              \
        enum { LANES = RANK_CAT(LANES, tag) };                                                     \
        RANK_CAT(vec, tag) DO(RANK_LINE_VARS) p;                                                   \
                                                                                                   \
        DO(RANK_LINE_LOAD)                                                                         \
        for (size_t k = 0; k < depth; k++) {                                                       \
            DO(RANK_LINE_STEP)                                                                     \
        }                                                                                          \
        DO(RANK_LINE_STORE)                                                                        \
    }

#define RANK_SUB(type, tag)                                                                        \
    enum { RANK_CAT(LANES, tag) = WOQ_VEC_BYTES / sizeof(type) };                                  \
                                                                                                   \
    static void RANK_CAT(tile, tag)(type * c, size_t ldc, const type *a, size_t lda,               \
                                    const type *u, size_t ldu, size_t depth)                       \
    {                                                                                              \
        enum { LANES = RANK_CAT(LANES, tag) };                                                     \
        RANK_CAT(vec, tag) RANK_DO(RANK_VARS) p, q;                                                \
                                                                                                   \
        RANK_DO(RANK_LOAD)                                                                         \
        for (size_t k = 0; k < depth; k++) {                                                       \
            memcpy(&p, u + k * ldu, sizeof p);                                                     \
            memcpy(&q, u + k * ldu + LANES, sizeof q);                                             \
            RANK_DO(RANK_STEP)                                                                     \
        }                                                                                          \
        RANK_DO(RANK_STORE)                                                                        \
    }                                                                                              \
                                                                                                   \
    RANK_LINE(type, tag, line8, RANK_DO8)                                                          \
    RANK_LINE(type, tag, line4, RANK_DO4)                                                          \
    RANK_LINE(type, tag, line2, RANK_DO2)                                                          \
                                                                                                   \
    /* What no tile and no line covers. */                                                         \
    static void RANK_CAT(rest, tag)(type * c, size_t ldc, const type *a, size_t lda,               \
                                    const type *u, size_t ldu, size_t rows, size_t cols,           \
                                    size_t depth)                                                  \
    {                                                                                              \
        for (size_t r = 0; cols && r < rows; r++)                                                  \
            for (size_t k = 0; k < depth; k++)                                                     \
                for (size_t j = 0; j < cols; j++)                                                  \
                    c[r * ldc + j] = RANK_FNMA1(c[r * ldc + j], a[r * lda + k], u[k * ldu + j]);   \
    }                                                                                              \
                                                                                                   \
    /* Whole tiles. Rows of u are a power of two apart more often than not, and would push each    \
     * other out of the cache: a strip of one tile's columns is packed, and serves RANK_CHUNK      \
     * rows, whose part of a stays near. What the next tile needs is on its way during this one.   \
     */                                                                                            \
    static void RANK_CAT(strip, tag)(type * c, size_t ldc, const type *a, size_t lda,              \
                                     const type *u, size_t ldu, size_t rows, size_t depth)         \
    {                                                                                              \
        enum { WIDTH = 2 * RANK_CAT(LANES, tag) };                                                 \
        type packed[RANK_SLAB * WIDTH] __attribute__((aligned(64)));                               \
                                                                                                   \
        for (size_t k0 = 0; k0 < depth; k0 += RANK_SLAB) {                                         \
            const size_t n = depth - k0 < RANK_SLAB ? depth - k0 : RANK_SLAB;                      \
                                                                                                   \
            for (size_t k = 0; k < n; k++) {                                                       \
                __builtin_prefetch(u + (k0 + k) * ldu + WIDTH);                                    \
                memcpy(packed + k * WIDTH, u + (k0 + k) * ldu, WIDTH * sizeof *u);                 \
            }                                                                                      \
            for (size_t r = 0; r < rows; r += RANK_ROWS) {                                         \
                for (size_t i = r + RANK_ROWS; i < rows && i < r + 2 * RANK_ROWS; i++) {           \
                    __builtin_prefetch(c + i * ldc, 1);                                            \
                    __builtin_prefetch(c + i * ldc + WIDTH - 1, 1);                                \
                }                                                                                  \
                RANK_CAT(tile, tag)(c + r * ldc, ldc, a + r * lda + k0, lda, packed, WIDTH, n);    \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    /* One row: lines of 8, 4 and 2 vectors, and the rest. */                                      \
    static void RANK_CAT(row, tag)(type * c, const type *a, const type *u, size_t ldu,             \
                                   size_t cols, size_t depth)                                      \
    {                                                                                              \
        enum { LANES = RANK_CAT(LANES, tag) };                                                     \
        size_t j = 0;                                                                              \
                                                                                                   \
        for (; cols - j >= 8 * LANES; j += 8 * LANES)                                              \
            RANK_CAT(line8, tag)(c + j, a, u + j, ldu, depth);                                     \
        for (; cols - j >= 4 * LANES; j += 4 * LANES)                                              \
            RANK_CAT(line4, tag)(c + j, a, u + j, ldu, depth);                                     \
        for (; cols - j >= 2 * LANES; j += 2 * LANES)                                              \
            RANK_CAT(line2, tag)(c + j, a, u + j, ldu, depth);                                     \
        RANK_CAT(rest, tag)(c + j, 0, a, 0, u + j, ldu, 1, cols - j, depth);                       \
    }                                                                                              \
                                                                                                   \
    static void RANK_CAT(WOQ_RANK_NAME, tag)(type * c, size_t ldc, const type *a, size_t lda,      \
                                             const type *u, size_t ldu, size_t rows, size_t cols,  \
                                             size_t depth)                                         \
    {                                                                                              \
        enum { WIDTH = 2 * RANK_CAT(LANES, tag) };                                                 \
        const size_t tiled = rows - rows % RANK_ROWS, full = cols - cols % WIDTH;                  \
                                                                                                   \
        for (size_t r = 0; r < tiled; r += RANK_CHUNK)                                             \
            for (size_t j = 0; j < full; j += WIDTH)                                               \
                RANK_CAT(strip, tag)                                                               \
        (c + r * ldc + j, ldc, a + r * lda, lda, u + j, ldu,                                       \
         tiled - r < RANK_CHUNK ? tiled - r : RANK_CHUNK, depth);                                  \
        RANK_CAT(rest, tag)(c + full, ldc, a, lda, u + full, ldu, tiled, cols - full, depth);      \
        for (size_t r = tiled; r < rows; r++)                                                      \
            RANK_CAT(row, tag)(c + r * ldc, a + r * lda, u, ldu, cols, depth);                     \
    }

RANK_SUB(float, f32)
RANK_SUB(double, f64)
