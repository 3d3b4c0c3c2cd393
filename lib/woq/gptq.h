/* gptq.h -- GPTQ (Frantar et al. 2022, arXiv:2210.17323v2) as algorithms.md 3.3-3.6 has it, with a
 * scale search weighted by the Hessian diagonal. Rows in parallel; bits do not depend on threads.
 */
#ifndef WOQ_GPTQ_H
#define WOQ_GPTQ_H
#include <woq/hessian.h>
#include <woq/quant.h>

enum woq_gptq_search {
    WOQ_GPTQ_MINMAX, /* plain ranges, algorithms.md 3.4 */
    WOQ_GPTQ_MSE,    /* sum |e|^2.4 over 80 shrinks, 3.6 */
    WOQ_GPTQ_DIAG,   /* sum h_jj e^2 over the same shrinks */
};

struct woq_gptq_opts {
    struct woq_scheme scheme; /* group_dim 1, group_rows 1 */
    enum woq_order order;
    bool static_groups; /* ranges from the weights before any feedback */
    size_t block_size;  /* columns between lazy updates of the rest */
    enum woq_gptq_search search;
    double percdamp; /* damping, a share of the mean diagonal; 0.01 */
    int refit;       /* sweeps after the column loop: least-squares scale and zero point of each
                      * group, then coordinate descent over its codes. Needs f->h. A row's error
                      * r H r, r = w - dequant, never grows. */
    double correct;  /* where f->d is there: the share of the correction toward the float path's
                      * output (0 = none); kept only where it comes nearer to it */
};
void woq_gptq_opts_init(struct woq_gptq_opts *o); /* 4 bits, group 32, block 128, DIAG */

struct woq_gptq_report {
    double loss;               /* sum of (w - q)^2 / U_cc^2 / 2, algorithms.md 3.4 */
    double error, refit_error; /* with refit: sum of r H r over rows, before and after */
    /* With f->d: distance from the float path's output, but for a constant, without and with the
     * correction; the lesser one was kept. */
    double plain_error, corrected_error;
    bool has_target, corrected;
    double seconds; /* for the note; 0 = not told */
};

/* w [rows][n] (unchanged) -> out: codes [rows][n] in the original column order, scale and zero
 * [rows][groups] (zero always written), g_idx [n] (needed, and not NULL, only for WOQ_ORDER_ACT
 * without static_groups), double quantization by column where the scheme has it. report not NULL.
 */
int woq_gptq(const struct woq_qarrays *out, const float *w, size_t n_rows,
             const struct woq_factor *f, const struct woq_gptq_opts *o,
             struct woq_gptq_report *report, struct woq_error *err);

/* wd [n_rows][n] = -w D with f->d: how the drift of the inputs moves the outputs. */
void woq_gptq_drift(float *wd, const float *w, size_t n_rows, const struct woq_factor *f);
/* target [n_rows][n] = w + alpha w D H^-1 with wd by woq_gptq_drift and the damped, factored H: the
 * real weights that bring the quantized path to the float path's output (see gptq_target.c). */
int woq_gptq_target(float *target, const float *w, const float *wd, size_t n_rows,
                    const struct woq_factor *f, double alpha, struct woq_error *err);
/* *error: sum over rows of r H r + 2 r (w D), r = w - dequant(q): how far the output is from the
 * float path's, but for what does not depend on q. Needs f->h, and wd by woq_gptq_drift. */
int woq_gptq_target_error(double *error, const struct woq_qview *q, const float *w, const float *wd,
                          const struct woq_factor *f, struct woq_error *err);

/* The factor of the group in hand, made from a `hess` frame once for all its linears. Zeroed =
 * none. */
struct woq_gptq_group {
    struct woq_factor factor;
    struct woq_buf h, d;    /* what factor.h and factor.d point to, where they are needed */
    struct woq_frame other; /* the second of two results */
    struct woq_buf target, drift;
    int64_t group_size; /* that the factor was made for; counts for WOQ_ORDER_GAR */
    int64_t block;
    char of[256], group[32]; /* of the hess frame */
};
/* Makes ready for a weight of n inputs: from `hess` where that is not NULL, else with the factor in
 * hand if it is that of the weight's group. WOQ_ITEM, or WOQ_OK if no Hessian describes the weight.
 */
int woq_gptq_group_need(struct woq_gptq_group *g, const struct woq_frame *hess,
                        const struct woq_frame *weight, size_t n, int64_t group_size,
                        const struct woq_gptq_opts *o, struct woq_error *err);
void woq_gptq_group_release(struct woq_gptq_group *g);
/* TENS `weight` -> QTEN `out` by the factor in hand, o->scheme and the rest of o. buf holds the
 * weight as f32. NaN or infinite weights are WOQ_EDATA. */
int woq_gptq_frame(struct woq_frame *out, const struct woq_frame *weight, struct woq_gptq_group *g,
                   const struct woq_gptq_opts *o, struct woq_buf *buf,
                   struct woq_gptq_report *report, struct woq_error *err);

/* What a person wants to know of a weight afterwards, as a note frame; travels before it. report
 * NULL: there was no Hessian, the weight was rounded to nearest. */
int woq_gptq_note(struct woq_frame *note, const struct woq_frame *weight,
                  const struct woq_gptq_report *report, const struct woq_gptq_group *g,
                  struct woq_error *err);

#endif
