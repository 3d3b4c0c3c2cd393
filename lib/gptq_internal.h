/* gptq_internal.h -- what gptq.c (the column loop), gptq_range.c (scales and zeros) and
 * gptq_refit.c (what comes after) share. */
#ifndef WOQ_GPTQ_INTERNAL_H
#define WOQ_GPTQ_INTERNAL_H
#include <woq/gptq.h>

#include <math.h>
#include <stdatomic.h>

/* One weight matrix in hand. */
struct woq_gptq_run {
    const struct woq_qarrays *out;
    uint8_t *codes;      /* [n_rows][n] in the original column order */
    float *scale, *zero; /* [n_rows][n_groups] */
    size_t tile_rows;    /* rows that go through the columns together */
    const float *w;      /* [n_rows][n] */
    size_t n_rows, n, group, n_groups;
    bool early; /* ranges come from the weights before any feedback */
    struct woq_grid grid;
    const float *lut; /* of a codebook, or NULL */
    const struct woq_factor *f;
    const struct woq_gptq_opts *o;
    const float *weight; /* [n] diagonal of H, in permuted order, for the search */
    double *loss;        /* [n_rows] */
    char *memory;        /* of the column loop, a part for each thread */
    atomic_int failed;   /* a tile of the refit had no memory */
};

/* The code of x, and the value that it decodes to. */
static inline float woq_gptq_code(const struct woq_gptq_run *r, float x, float scale, float zero,
                                  uint8_t *code)
{
    const struct woq_levels *levels = r->grid.levels;
    const float whole = rintf(zero); /* as kernels.h quant_u8 has it */
    float q;

    if (levels) {
        const unsigned at = woq_level_of(levels, x / (scale != 0 ? scale : INFINITY));

        *code = (uint8_t)levels->code[at];
        return levels->value[at] * scale;
    }
    q = rintf(x / scale + (zero - whole)) + whole;
    q = q < 0 ? 0 : q > r->grid.maxq ? r->grid.maxq : q;
    *code = (uint8_t)q;
    return (q - zero) * scale;
}

/* The value that a code decodes to, before the scale. */
static inline float woq_gptq_value(const struct woq_gptq_run *r, uint8_t code, float zero)
{
    return r->lut ? r->lut[code] : (float)code - zero;
}

/* Do groups lie in the order of the columns as they are processed (then there is a g_idx)? */
static inline bool woq_gptq_groups_move(const struct woq_gptq_run *r)
{
    return r->o->order == WOQ_ORDER_ACT && !r->o->static_groups;
}

/* scale and zero [rows] of one group of each row from its n weights x [n][lanes], by o->search with
 * the importance weight [n]; rows up to a multiple of 16 within lanes may be read and written. row:
 * n floats of scratch. */
void woq_gptq_ranges(const struct woq_gptq_run *r, float *scale, float *zero, const float *x,
                     const float *weight, size_t n, size_t rows, size_t lanes, float *row);
/* Sweeps over what the column loop made of all rows; see struct woq_gptq_opts.refit. Sets
 * report->error and report->refit_error. */
int woq_gptq_refit(struct woq_gptq_run *r, struct woq_gptq_report *report, struct woq_error *err);

#endif
