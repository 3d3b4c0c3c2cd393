/* gguf_importance.c -- see the header. */
#include <formats/gguf_importance.h>

#include <string.h>
#include <woq/side.h>

int woq_gguf_importance_open(struct woq_gguf_importance *p, const char *path, struct woq_error *err)
{
    p->path = path;
    return path ? woq_imatrix_open(&p->imatrix, path, err) : WOQ_OK;
}

int woq_gguf_importance_of(struct woq_gguf_importance *p, const struct woq_sink *s,
                           const struct woq_frame *f, const char *gguf_name, size_t index,
                           size_t n_mats, size_t n_cols, const float **out, struct woq_error *err)
{
    bool is_sum;
    const struct woq_imatrix_entry *e = woq_imatrix_get(&p->imatrix, gguf_name);
    const struct woq_importance *imp = p->path ? NULL : woq_sink_importance(s, f, &is_sum);
    const float *from = e ? e->mean_sq + index * n_cols : imp ? imp->diag : NULL;
    double sum = 0;
    float *w;

    *out = NULL;
    if (imp && imp->n != n_cols)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "the statistics before it have %zu inputs, the matrix %zu", imp->n, n_cols);
    if (e && e->n * e->n_mats != n_cols * n_mats)
        return woq_fail(err, WOQ_EDATA, "was it measured on this model?",
                        "%s has %zu values for it, the matrix %zu columns", p->path,
                        e->n * e->n_mats, n_cols * n_mats);
    for (size_t i = 0; from && i < n_cols; i++)
        sum += (double)from[i];
    if (!from || !(sum > 0))
        return WOQ_OK;
    if (!(w = woq_buf_need(&p->buf, n_cols * sizeof *w, err)))
        return WOQ_ENOMEM;
    for (size_t i = 0; i < n_cols; i++) {
        w[i] = (float)((double)from[i] / sum * (double)n_cols);
        w[i] = w[i] > 1e-6f ? w[i] : 1e-6f;
    }
    p->n_important++;
    *out = w;
    return WOQ_OK;
}

int woq_gguf_importance_check(const struct woq_gguf_importance *p, struct woq_error *err)
{
    if (p->path && !p->n_important)
        return woq_fail(err, WOQ_EDATA, "was it measured on this model?",
                        "%s: no entry names a float matrix of the stream", p->path);
    return WOQ_OK;
}

void woq_gguf_importance_release(struct woq_gguf_importance *p)
{
    woq_imatrix_release(&p->imatrix);
    woq_buf_release(&p->buf);
    memset(p, 0, sizeof *p);
}
