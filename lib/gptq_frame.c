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

/* A matrix for what comes after the column loop: the frame is gone by then. */
static int keep(struct woq_buf *buf, const float **place, const struct woq_array *a,
                struct woq_error *err)
{
    float *copy = woq_buf_need(buf, a->bytes, err);

    if (!copy)
        return WOQ_ENOMEM;
    memcpy(copy, a->data, a->bytes);
    *place = copy;
    return WOQ_OK;
}

/* H and D where options or the frame call for them. */
static int keep_matrices(struct woq_gptq_group *g, const struct woq_frame *hess,
                         const struct woq_array *h, const struct woq_gptq_opts *o,
                         struct woq_error *err)
{
    const struct woq_array *d = NULL;
    const bool correct = woq_frame_array(hess, "d") && o->correct > 0;
    int rc = correct ? woq_frame_want(hess, "d", WOQ_F32, 2, &d, err) : WOQ_OK;

    if (rc == WOQ_OK && correct && (d->shape[0] != h->shape[0] || d->shape[1] != h->shape[1]))
        return woq_fail(err, WOQ_EDATA, "calibrate again", "array 'd' is %llu x %llu, 'h' is %llu",
                        (unsigned long long)d->shape[0], (unsigned long long)d->shape[1],
                        (unsigned long long)h->shape[0]);
    if (rc == WOQ_OK && correct && !woq_kernels()->all_finite_f32(d->data, d->n_elem))
        return woq_fail(err, WOQ_EDATA, "calibrate again", "array 'd' is not finite");
    if (rc == WOQ_OK && correct)
        rc = keep(&g->d, &g->factor.d, d, err);
    if (rc == WOQ_OK && (correct || o->refit))
        rc = keep(&g->h, &g->factor.h, h, err);
    return rc;
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
                              group_size < 0 ? n : (size_t)group_size, o->percdamp, err)) ||
        (rc = keep_matrices(g, hess, h, o, err)))
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
    woq_buf_release(&g->h);
    woq_buf_release(&g->d);
    woq_buf_release(&g->target);
    woq_buf_release(&g->drift);
    woq_frame_release(&g->other);
}

/* `data` [rows][n], which is `weight` or what it is to aim at, by the factor in hand. */
static int quantize(struct woq_frame *out, const struct woq_frame *weight, const float *data,
                    size_t n_rows, size_t n, const struct woq_factor *f,
                    const struct woq_gptq_opts *o, struct woq_gptq_report *report,
                    struct woq_error *err)
{
    const struct woq_scheme *s = &o->scheme;
    const size_t n_groups = woq_scheme_groups(s, n);
    const uint64_t cols = n;
    void *spare = NULL, *g_idx = NULL;
    struct woq_qarrays a;
    int rc = woq_scheme_check(s, err);

    if (rc == WOQ_OK)
        rc = woq_qten_begin(out, weight, s, true, &a, err);

    if (rc == WOQ_OK && o->order == WOQ_ORDER_ACT && !o->static_groups && n_groups > 1)
        rc = woq_frame_alloc(out, "g_idx", WOQ_I32, 1, &cols, &g_idx, err);
    a.g_idx = g_idx;
    if (rc == WOQ_OK && !a.zero && !(a.zero = spare = malloc(n_rows * n_groups * sizeof *a.zero)))
        rc = woq_fail_nomem(err, n_rows * n_groups * sizeof *a.zero);
    if (rc == WOQ_OK)
        rc = woq_gptq(&a, data, n_rows, f, o, report, err);
    if (rc == WOQ_OK)
        woq_qten_finish(&a, s, data, n_rows * n);
    free(spare);
    return rc;
}

static int target_error(double *error, const struct woq_frame *q, const float *data,
                        const float *wd, const struct woq_factor *f, struct woq_error *err)
{
    struct woq_qview view;
    const int rc = woq_qview_init(&view, q, err);

    return rc ? rc : woq_gptq_target_error(error, &view, data, wd, f, err);
}

/* Again with the weights that aim at the float path's output; the better result goes to `out`. */
static int correct(struct woq_frame *out, const struct woq_frame *weight, const float *data,
                   const struct woq_tensor *t, struct woq_gptq_group *g,
                   const struct woq_gptq_opts *o, struct woq_gptq_report *report,
                   struct woq_error *err)
{
    const struct woq_factor *f = &g->factor;
    float *target = woq_buf_need(&g->target, t->n_elem * sizeof *target, err);
    float *wd = target ? woq_buf_need(&g->drift, t->n_elem * sizeof *wd, err) : NULL;
    struct woq_gptq_report plain = *report;
    struct woq_frame swap;
    int rc;

    if (!wd)
        return WOQ_ENOMEM;
    woq_gptq_drift(wd, data, t->n_rows, f);
    rc = woq_gptq_target(target, data, wd, t->n_rows, f, o->correct, err);
    if (rc == WOQ_OK)
        rc = quantize(&g->other, weight, target, t->n_rows, t->n_cols, f, o, report, err);
    if (rc == WOQ_OK)
        rc = target_error(&plain.plain_error, out, data, wd, f, err);
    if (rc == WOQ_OK)
        rc = target_error(&plain.corrected_error, &g->other, data, wd, f, err);
    if (rc)
        return rc;
    report->plain_error = plain.plain_error;
    report->corrected_error = plain.corrected_error;
    plain.has_target = report->has_target = true;
    report->corrected = plain.corrected_error < plain.plain_error;
    if (!report->corrected) {
        *report = plain;
        return WOQ_OK;
    }
    swap = *out;
    *out = g->other;
    g->other = swap;
    return WOQ_OK;
}

int woq_gptq_frame(struct woq_frame *out, const struct woq_frame *weight, struct woq_gptq_group *g,
                   const struct woq_gptq_opts *o, struct woq_buf *buf,
                   struct woq_gptq_report *report, struct woq_error *err)
{
    struct woq_tensor t;
    const float *data;
    int rc = woq_frame_f32(weight, &t, &data, buf, err);

    if (rc)
        return rc;
    if (!woq_kernels()->all_finite_f32(data, t.n_elem))
        return woq_fail(err, WOQ_EDATA, "the checkpoint is broken", "a weight is NaN or infinite");
    rc = quantize(out, weight, data, t.n_rows, t.n_cols, &g->factor, o, report, err);
    if (rc == WOQ_OK && g->factor.d && !g->factor.no_feedback)
        rc = correct(out, weight, data, &t, g, o, report, err);
    return rc;
}

int woq_gptq_note(struct woq_frame *note, const struct woq_frame *weight,
                  const struct woq_gptq_report *report, const struct woq_gptq_group *g,
                  struct woq_error *err)
{
    struct woq_json *meta;

    woq_frame_begin(note, "note");
    meta = woq_frame_edit(note);
    if (!meta)
        return woq_fail_nomem(err, 256);
    woq_json_set_str(meta, "prog", "woq-gptq");
    woq_json_set_str(meta, "of", woq_frame_name(weight));
    if (!report) {
        woq_json_set_str(meta, "fallback", "rtn");
        return WOQ_OK;
    }
    woq_json_set_num(meta, "loss", report->loss);
    if (report->error > 0) {
        woq_json_set_num(meta, "error", report->error);
        woq_json_set_num(meta, "refit_error", report->refit_error);
    }
    if (report->has_target) {
        woq_json_set_bool(meta, "corrected", report->corrected);
        woq_json_set_num(meta, "plain_error", report->plain_error);
        woq_json_set_num(meta, "corrected_error", report->corrected_error);
    }
    woq_json_set_num(meta, "percdamp", g->factor.percdamp);
    woq_json_set_num(meta, "dead", (double)g->factor.n_dead);
    if (g->factor.in_f64)
        woq_json_set_str(meta, "precision", "f64");
    if (report->seconds > 0)
        woq_json_set_num(meta, "seconds", report->seconds);
    if (g->factor.no_feedback)
        woq_json_set_str(meta, "fallback", "no feedback: never positive definite");
    return WOQ_OK;
}
