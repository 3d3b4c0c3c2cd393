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
    struct woq_scheme scheme; /* int, group_dim 1 */
    enum woq_order order;
    bool static_groups; /* ranges from the weights before any feedback */
    size_t block_size;  /* columns between lazy updates of the rest */
    enum woq_gptq_search search;
    double percdamp; /* damping, a share of the mean diagonal; 0.01 */
};
void woq_gptq_opts_init(struct woq_gptq_opts *o); /* 4 bits, group 32, block 128, DIAG */

struct woq_gptq_report {
    double loss; /* sum of (w - q)^2 / U_cc^2 / 2, algorithms.md 3.4 */
};

/* w [rows][n] (unchanged) -> codes [rows][n] in the original column order, scale and zero
 * [rows][groups], g_idx [n] (needed, and not NULL, only for WOQ_ORDER_ACT without static_groups;
 * zero always written). */
int woq_gptq(uint8_t *codes, float *scale, float *zero, int32_t *g_idx, const float *w,
             size_t n_rows, const struct woq_factor *f, const struct woq_gptq_opts *o,
             struct woq_gptq_report *report, struct woq_error *err);

/* The factor of the group in hand, made from a `hess` frame once for all its linears. Zeroed =
 * none. */
struct woq_gptq_group {
    struct woq_factor factor;
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
int woq_gptq_frame(struct woq_frame *out, const struct woq_frame *weight,
                   const struct woq_gptq_group *g, const struct woq_gptq_opts *o,
                   struct woq_buf *buf, struct woq_gptq_report *report, struct woq_error *err);

#endif
