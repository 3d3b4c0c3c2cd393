/* imatrix_sink.c -- `stat` and `hess` frames of a stream as an importance matrix: an entry for each
 * weight that one of them describes. The weights themselves are left out. */
#include <formats/gguf_layout.h>
#include <formats/imatrix.h>
#include <formats/sink.h>
#include <stdlib.h>
#include <string.h>
#include <woq/side.h>

struct priv {
    struct woq_imatrix m;
    struct woq_outfile file;
};

static int imatrix_open(struct woq_sink *s, struct woq_error *err)
{
    struct priv *p = calloc(1, sizeof *p);

    s->priv = p;
    return p ? woq_outfile_open(&p->file, &s->out, NULL, err) : woq_fail_nomem(err, sizeof *p);
}

static int imatrix_model(struct woq_sink *s, const struct woq_frame *modl, struct woq_error *err)
{
    const char *name = woq_json_get_str(s->head, "model");
    struct priv *p = s->priv;

    (void)modl;
    if (!s->shape.arch) /* say why */
        return woq_config_init(&s->shape, s->config, err);
    p->m.dataset = strdup(name ? name : "model");
    return p->m.dataset ? WOQ_OK : woq_fail_nomem(err, 64);
}

static int imatrix_tensor(struct woq_sink *s, const struct woq_frame *f, enum woq_role role,
                          struct woq_error *err)
{
    bool is_sum;
    const struct woq_importance *imp = woq_sink_importance(s, f, &is_sum);
    struct woq_gguf_part parts[WOQ_GGUF_PARTS];
    struct priv *p = s->priv;
    struct woq_place place;
    size_t n_parts, n_mats;
    float *mean;
    int rc = WOQ_OK;

    if (!imp || !woq_arch_place(s->shape.arch, woq_frame_name(f), &place) || place.role != role ||
        place.bias)
        return WOQ_OK;
    if (!(n_parts = woq_gguf_parts(&s->shape, 0, &place, parts)))
        return woq_fail(err, WOQ_ETYPE, NULL, "it has no name in GGUF");
    if (!(mean = malloc((imp->n + 1) * sizeof *mean)))
        return woq_fail_nomem(err, imp->n * sizeof *mean);
    for (size_t i = 0; i < imp->n; i++)
        mean[i] = imp->diag[i] / (is_sum && imp->n_tokens ? (float)imp->n_tokens : 1.0f);
    n_mats = woq_role_is_expert(role) ? s->shape.n_experts : 1;
    /* Parts that are transposed have other inputs. */
    for (size_t k = 0; k < n_parts && rc == WOQ_OK && role != WOQ_ROLE_KV_B; k++)
        rc = woq_imatrix_put(&p->m, parts[k].name, mean, imp->n, n_mats > 1 ? place.index : 0,
                             n_mats, imp->n_tokens, err);
    free(mean);
    return rc;
}

static int imatrix_finish(struct woq_sink *s, struct woq_error *err)
{
    struct priv *p = s->priv;
    struct woq_str bytes = { 0 };
    int rc;

    if (!p->m.n_entries)
        return woq_fail(err, WOQ_EDATA, "put 'woq-calib --text FILE --emit stat' before this",
                        "the stream has no statistics of any weight");
    rc = strcmp(s->opts.format, "imatrix-dat") == 0 ? woq_imatrix_write_dat(&p->m, &bytes, err)
                                                    : woq_imatrix_write_gguf(&p->m, &bytes, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_add(&p->file, bytes.s, bytes.len, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_finish(&p->file, err);
    woq_str_release(&bytes);
    s->report.n_files = 1;
    s->report.n_tensors = p->m.n_entries;
    s->report.file_bytes = p->file.at;
    return rc;
}

static void imatrix_release(struct woq_sink *s)
{
    struct priv *p = s->priv;

    if (!p)
        return;
    woq_outfile_abort(&p->file);
    woq_imatrix_release(&p->m);
    free(p);
    s->priv = NULL;
}

const struct woq_sink_ops woq_imatrix_sink = { .is_folder = false,
                                               .open = imatrix_open,
                                               .model = imatrix_model,
                                               .tensor = imatrix_tensor,
                                               .finish = imatrix_finish,
                                               .release = imatrix_release };
