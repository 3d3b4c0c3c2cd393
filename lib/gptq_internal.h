/* gptq_internal.h -- what gptq.c (the column loop) and gptq_refit.c (what comes after) share. */
#ifndef WOQ_GPTQ_INTERNAL_H
#define WOQ_GPTQ_INTERNAL_H
#include <woq/gptq.h>

#include <math.h>
#include <stdatomic.h>

/* One weight matrix in hand. */
struct woq_gptq_run {
    uint8_t *codes;      /* [n_rows][n] in the original column order */
    float *scale, *zero; /* [n_rows][n_groups] */
    const float *w;      /* [n_rows][n] */
    size_t n_rows, n, group, n_groups;
    float maxq, mid;
    bool f16; /* scales are to be values of f16 */
    const struct woq_factor *f;
    const struct woq_gptq_opts *o;
    const float *weight;     /* [n] diagonal of H, in permuted order, for the search */
    const uint32_t *inverse; /* [n] old column -> new position */
    double *loss;            /* [n_rows] */
    atomic_int failed;       /* a tile had no memory */
};

/* The code of x, and the value that it decodes to. */
static inline float woq_gptq_code(const struct woq_gptq_run *r, float x, float scale, float zero,
                                  uint8_t *code)
{
    float q = rintf(x / scale) + zero;

    q = q < 0 ? 0 : q > r->maxq ? r->maxq : q;
    *code = (uint8_t)q;
    return (q - zero) * scale;
}

/* Do groups lie in the order of the columns as they are processed (then there is a g_idx)? */
static inline bool woq_gptq_groups_move(const struct woq_gptq_run *r)
{
    return r->o->order == WOQ_ORDER_ACT && !r->o->static_groups;
}

/* A scale as it will be stored: rounded to f16 where the scheme says so, never to 0. */
float woq_gptq_scale(const struct woq_gptq_run *r, float scale);

/* Sweeps over what the column loop made of all rows; see struct woq_gptq_opts.refit. Sets
 * report->error and report->refit_error. */
int woq_gptq_refit(struct woq_gptq_run *r, struct woq_gptq_report *report, struct woq_error *err);

#endif
