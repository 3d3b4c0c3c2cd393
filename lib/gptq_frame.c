/* gptq_frame.c -- GPTQ on frames: a group's Hessian becomes a factor once, weights become QTEN. */
#include <woq/gptq.h>
#include <woq/kernels.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Is the factor in hand that of this weight's group? */
static bool serves(const struct woq_gptq_group *g, const struct woq_frame *weight, size_t n,
                   int64_t group_size, const struct woq_gptq_opts *o)
{
    const char *group = woq_json_get_str(weight->meta, "group");
    const bool same = g->block == woq_json_get_int(weight->meta, "block", -1) && group &&
                      strcmp(group, g->group) == 0;

    return g->factor.n == n && n && (same || strcmp(g->of, woq_frame_name(weight)) == 0) &&
           (o->order != WOQ_ORDER_GAR || group_size == g->group_size);
}

int woq_gptq_group_need(struct woq_gptq_group *g, const struct woq_frame *hess,
                        const struct woq_frame *weight, size_t n, int64_t group_size,
                        const struct woq_gptq_opts *o, struct woq_error *err)
{
    const struct woq_array *h = NULL;
    const char *of, *group;
    int rc;

    if (!hess)
        return serves(g, weight, n, group_size, o) ? WOQ_ITEM : WOQ_OK;
    if ((rc = woq_frame_want(hess, "h", WOQ_F32, 2, &h, err)))
        return rc;
    if (h->shape[0] != n || h->shape[1] != n)
        return woq_fail(err, WOQ_EDATA, "use the Hessians of this model",
                        "the Hessian is %llu x %llu, the weight has %zu inputs",
                        (unsigned long long)h->shape[0], (unsigned long long)h->shape[1], n);
    woq_factor_release(&g->factor);
    if ((rc = woq_hessian_check(h->data, n, err)) ||
        (rc = woq_factor_init(&g->factor, h->data, n, o->order,
                              group_size < 0 ? n : (size_t)group_size, o->percdamp, err)))
        return rc;
    of = woq_json_get_str(hess->meta, "of");
    group = woq_json_get_str(hess->meta, "group");
    snprintf(g->of, sizeof g->of, "%s", of ? of : "");
    snprintf(g->group, sizeof g->group, "%s", group ? group : "");
    g->block = woq_json_get_int(hess->meta, "block", -1);
    g->group_size = group_size;
    return WOQ_ITEM;
}

void woq_gptq_group_release(struct woq_gptq_group *g)
{
    woq_factor_release(&g->factor);
}

int woq_gptq_frame(struct woq_frame *out, const struct woq_frame *weight,
                   const struct woq_gptq_group *g, const struct woq_gptq_opts *o,
                   struct woq_buf *buf, struct woq_gptq_report *report, struct woq_error *err)
{
    const struct woq_scheme *s = &o->scheme;
    struct woq_tensor t;
    const float *data;
    uint8_t *codes;
    float *scale, *zero;
    void *spare = NULL, *g_idx = NULL;
    uint64_t cols;
    size_t n_groups;
    int rc = woq_qten_begin(out, weight, s, &codes, &scale, &zero, err);

    if (rc || (rc = woq_frame_f32(weight, &t, &data, buf, err)))
        return rc;
    cols = t.n_cols;
    n_groups = woq_scheme_groups(s, t.n_cols);
    if (o->order == WOQ_ORDER_ACT && !o->static_groups && n_groups > 1 &&
        (rc = woq_frame_alloc(out, "g_idx", WOQ_I32, 1, &cols, &g_idx, err)))
        return rc;
    if (!zero && !(zero = spare = malloc(t.n_rows * n_groups * sizeof *zero)))
        return woq_fail_nomem(err, t.n_rows);
    if (!woq_kernels()->all_finite_f32(data, t.n_elem))
        rc = woq_fail(err, WOQ_EDATA, "the checkpoint is broken", "a weight is NaN or infinite");
    else
        rc = woq_gptq(codes, scale, zero, g_idx, data, t.n_rows, &g->factor, o, report, err);
    free(spare);
    return rc;
}
