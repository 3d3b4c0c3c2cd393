/* hessian.h -- second moments of a layer's inputs and their factor (algorithms.md 3.2, 3.3).
 *
 * H is the plain sum of x x^T over tokens, f32 [n][n], both triangles; its scale cancels in GPTQ.
 * Everything after H is computed here with a fixed order of operations (no BLAS), so the
 * factor, and with it every code, has the same bits on any ISA, any host and any number of threads.
 */
#ifndef WOQ_HESSIAN_H
#define WOQ_HESSIAN_H
#include <stdbool.h>
#include <stdint.h>
#include <woq/util.h>

/* h [n][n] += x^T x over x [n_tokens][n] (BLAS, in tiles that do not depend on threads). */
void woq_hessian_add(float *h, size_t n, const float *x, size_t n_tokens);
/* Mirrors the upper triangle, which is what woq_hessian_add fills, into the lower. */
void woq_hessian_mirror(float *h, size_t n);
/* Finite, square-symmetric to 1e-3 of the larger diagonal, no negative diagonal; names the first
 * entry that is not. */
int woq_hessian_check(const float *h, size_t n, struct woq_error *err);

enum woq_order {
    WOQ_ORDER_NONE,
    WOQ_ORDER_ACT, /* columns by descending diagonal */
    WOQ_ORDER_GAR, /* groups by their largest diagonal, columns inside a group by theirs */
};

/* P^T H P + damping = L^T D L, L unit lower triangular, D diagonal, for one group of linears. */
struct woq_factor {
    size_t n, ld;   /* ld: row stride of l */
    float *l;       /* [n][ld]; what lies above the diagonal means nothing */
    float *pivot;   /* [n]: D, what is left of H's diagonal with the columns behind free */
    uint32_t *perm; /* [n]: new position -> old column */
    float *diag;    /* [n]: diagonal of H in old order, 1 for dead columns */
    uint8_t *dead;  /* [n]: old column never saw an input */
    size_t n_dead;
    const float
        *h; /* [n][n]: H as it came, both triangles, in old order; borrowed, NULL unless set */
    const float *d;   /* [n][n]: sum of (x_float - x) x^T, the same; for woq_gptq_target */
    double percdamp;  /* the share of the mean diagonal that was added in the end */
    bool in_f64;      /* f32 did not suffice */
    bool no_feedback; /* every attempt failed: L and D are 1, GPTQ becomes rounding to nearest */
};
/* Permutes, damps and factors, in f32. Where a pivot is too small for that, in f64; where the
 * matrix is not positive definite even so, the damping grows (x 10 up to 1, algorithms.md 3.11) and
 * the value that served is reported. group_size counts for GAR only. */
int woq_factor_init(struct woq_factor *f, const float *h, size_t n, enum woq_order order,
                    size_t group_size, double percdamp, struct woq_error *err);
void woq_factor_release(struct woq_factor *f);

/* x [n][lanes], 16 lanes or a multiple: columns c of [from, to) in order. Each takes
 * x[c] -= sum over k in [from, c) of L[c][k] x[k]; then column(ctx, c), if it is not NULL, may
 * replace x[c] by what the later ones are to take. Rows [to, end) take their part of all. One
 * thread; the bits do not depend on how the columns are cut into calls. */
void woq_factor_walk(const struct woq_factor *f, float *x, size_t lanes, size_t from, size_t to,
                     size_t end, void (*column)(void *ctx, size_t c), void *ctx);

#endif
