/* gptq_write.c -- see the header. With checkpoint_format auto, zero points go out as v1, the form
 * that most loaders know. The first zero point of 0, which v1 cannot hold so that all readers
 * agree, switches to v2, and so does the first tensor of 3 bits: GPTQModel up to 5.7 turns v1 into
 * v2 with constants that add 4 to fields of 3 bits (utils/model.py). The few words written before
 * are put right at the end. */
#include <formats/gptq_write.h>

#include <formats/ggml_encode.h>
#include <formats/gptq_pack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int woq_gptq_writer_init(struct woq_gptq_writer *w, const char *checkpoint_format,
                         struct woq_error *err)
{
    memset(w, 0, sizeof *w);
    w->v1 = true;
    if (!checkpoint_format || !strcmp(checkpoint_format, "auto"))
        return WOQ_OK;
    if (strcmp(checkpoint_format, "gptq") != 0 && strcmp(checkpoint_format, "gptq_v2") != 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--checkpoint-format %s: want auto, gptq or gptq_v2",
                        checkpoint_format);
    w->v1 = !strcmp(checkpoint_format, "gptq");
    w->want = w->v1 ? WOQ_GPTQ_V1 : WOQ_GPTQ_V2;
    return WOQ_OK;
}

static struct woq_gptq_module *new_module(struct woq_gptq_writer *w, const char *weight, long block,
                                          struct woq_error *err)
{
    const size_t n = strlen(weight), tail = strlen(".weight");
    struct woq_gptq_module *m;

    if (n <= tail || strcmp(weight + n - tail, ".weight") != 0) {
        woq_fail(err, WOQ_ETYPE, NULL, "a GPTQ linear is named 'MODULE.weight', found '%s'",
                 weight);
        return NULL;
    }
    if (w->n_modules == w->cap_modules) {
        const size_t cap = w->cap_modules ? 2 * w->cap_modules : 256;
        m = realloc(w->modules, cap * sizeof *m);
        if (!m) {
            woq_fail_nomem(err, cap * sizeof *m);
            return NULL;
        }
        w->modules = m;
        w->cap_modules = cap;
    }
    m = memset(&w->modules[w->n_modules], 0, sizeof *m);
    m->name = strndup(weight, n - tail);
    m->block = block;
    if (!m->name) {
        woq_fail_nomem(err, n);
        return NULL;
    }
    w->n_modules++;
    return m;
}

int woq_gptq_keep_float(struct woq_gptq_writer *w, const char *name, long block,
                        struct woq_error *err)
{
    return new_module(w, name, block, err) ? WOQ_OK : err ? err->status : WOQ_ENOMEM;
}

static int check_form(const struct woq_qview *q, struct woq_error *err)
{
    if (q->lut || q->in_scale || q->group_dim != 1)
        return woq_fail(err, WOQ_ETYPE, "put 'woq-dequant' before this, or quantize without it",
                        "%s has no form in GPTQ",
                        q->lut        ? "a codebook"
                        : q->in_scale ? "a scale per input"
                                      : "group_dim 0");
    if (!woq_gptq_bits_ok(q->bits))
        return woq_fail(err, WOQ_ETYPE, "quantize with --bits 2, 3, 4 or 8",
                        "%d bits: GPTQ holds 2, 3, 4 and 8", q->bits);
    if (q->n_cols % 32 || q->n_rows % 32 || !q->n_cols || !q->n_rows)
        return woq_fail(err, WOQ_ETYPE,
                        "leave it alone: woq-scheme --set 'NAME dtype=float' before the quantizer",
                        "%zu outputs and %zu inputs: GPTQ wants multiples of 32", q->n_rows,
                        q->n_cols);
    return WOQ_OK;
}

static bool g_idx_is_trivial(const struct woq_qview *q)
{
    for (size_t c = 0; q->g_idx && c < q->n_cols; c++)
        if ((size_t)q->g_idx[c] != c / q->group_elems)
            return false;
    return true;
}

/* [rows][groups] -> [groups][rows] in f16. */
static bool pack_scales(uint16_t *dst, const struct woq_qview *q)
{
    float run[256];
    bool ok = true;

    for (size_t g = 0; g < q->n_groups; g++)
        for (size_t r = 0; r < q->n_rows; r += 256) {
            const size_t n = q->n_rows - r < 256 ? q->n_rows - r : 256;
            for (size_t k = 0; k < n; k++)
                run[k] = q->scale[(r + k) * q->n_groups + g];
            ok = woq_scales_to_f16(dst + g * q->n_rows + r, run, n) && ok;
        }
    return ok;
}

static int pack_zeros(struct woq_gptq_writer *w, const struct woq_qview *q, struct woq_error *err)
{
    const float *zero = q->zero;
    size_t n_null, bad = 0;

    for (int pass = 0; pass < 2; pass++) {
        if (!woq_gptq_pack_zeros(w->zeros.data, zero, q->n_rows, q->n_groups, q->bits, w->v1,
                                 &n_null, &bad))
            return woq_fail(err, WOQ_ETYPE, "quantize with integer zero points (woq-rtn --asym)",
                            "zero point %g of row %zu, group %zu: GPTQ holds integers in 0..%d",
                            (double)zero[bad], bad / q->n_groups, bad % q->n_groups,
                            (1 << q->bits) - 1);
        if (n_null == 0 || !w->v1)
            break;
        if (w->want == WOQ_GPTQ_V1)
            return woq_fail(err, WOQ_ETYPE, "use --checkpoint-format gptq_v2 or auto",
                            "%zu zero points are 0: readers of checkpoint format gptq do not agree "
                            "on them",
                            n_null);
        w->v1 = false;
    }
    return WOQ_OK;
}

static int need_buffers(struct woq_gptq_writer *w, const struct woq_qview *q, struct woq_error *err)
{
    const size_t bits = (size_t)q->bits;
    size_t groups;

    if (!woq_mul_size(q->n_groups, q->n_rows, &groups) || !woq_mul_size(groups, 4, &groups))
        return woq_fail(err, WOQ_EDATA, NULL, "too many groups");
    if (!woq_buf_need(&w->words, q->n_cols * q->n_rows / 8 * bits, err) ||
        !woq_buf_need(&w->zeros, q->n_groups * q->n_rows / 8 * bits, err) ||
        !woq_buf_need(&w->scales, q->n_groups * q->n_rows * 2, err) ||
        !woq_buf_need(&w->g_idx, q->n_cols * 4, err))
        return WOQ_ENOMEM;
    return WOQ_OK;
}

static int put_one(struct woq_st_writer *st, const struct woq_gptq_module *m, const char *what,
                   enum woq_dtype dtype, uint64_t d0, uint64_t d1, const void *data,
                   struct woq_sink_report *r, struct woq_error *err)
{
    const uint64_t shape[2] = { d0, d1 };
    const uint64_t bytes = d0 * (d1 ? d1 : 1) * woq_dtype_bytes(dtype);
    struct woq_str name = { 0 };
    int rc = woq_str_addf(&name, "%s.%s", m->name, what);

    rc = rc == WOQ_OK ? woq_st_put(st, name.s, dtype, d1 ? 2 : 1, shape, data, err)
                      : woq_fail_nomem(err, 256);
    woq_str_release(&name);
    r->tensor_bytes += bytes;
    r->quantized_bytes += bytes;
    return rc;
}

static int put_all(struct woq_gptq_writer *w, struct woq_st_writer *st,
                   const struct woq_gptq_module *m, const struct woq_qview *q,
                   struct woq_sink_report *r, struct woq_error *err)
{
    const size_t bits = (size_t)q->bits;
    const uint64_t all = q->n_cols * 4 + q->n_cols * q->n_rows / 8 * bits +
                         q->n_groups * q->n_rows / 8 * bits + q->n_groups * q->n_rows * 2;
    int rc = woq_st_room(st, all, err);

    if (rc == WOQ_OK)
        rc = put_one(st, m, "g_idx", WOQ_I32, q->n_cols, 0, w->g_idx.data, r, err);
    if (rc == WOQ_OK)
        rc = put_one(st, m, "qweight", WOQ_I32, q->n_cols / 32 * bits, q->n_rows, w->words.data, r,
                     err);
    if (rc == WOQ_OK)
        rc = put_one(st, m, "qzeros", WOQ_I32, q->n_groups, q->n_rows / 32 * bits, w->zeros.data, r,
                     err);
    if (rc == WOQ_OK)
        rc = put_one(st, m, "scales", WOQ_F16, q->n_groups, q->n_rows, w->scales.data, r, err);
    return rc;
}

int woq_gptq_put(struct woq_gptq_writer *w, struct woq_st_writer *st, const struct woq_frame *f,
                 struct woq_sink_report *r, struct woq_error *err)
{
    const struct woq_json *quant = woq_json_get(f->meta, "quant");
    struct woq_gptq_module *m;
    struct woq_qview q = { 0 };
    int32_t *g_idx;
    int rc = woq_qview_init(&q, f, err);

    if (rc == WOQ_OK)
        rc = check_form(&q, err);
    if (rc == WOQ_OK)
        rc = need_buffers(w, &q, err);
    if (q.bits == 3 && w->want == WOQ_GPTQ_AUTO)
        w->v1 = false;
    if (rc == WOQ_OK)
        rc = pack_zeros(w, &q, err);
    if (rc)
        return rc;
    if (!pack_scales(w->scales.data, &q))
        return woq_fail(err, WOQ_ETYPE, NULL, "a scale is not finite in F16 (at most 65504)");
    woq_gptq_pack_weight(w->words.data, q.codes, q.n_rows, q.n_cols, q.bits);
    g_idx = w->g_idx.data;
    for (size_t c = 0; c < q.n_cols; c++)
        g_idx[c] = q.g_idx ? q.g_idx[c] : (int32_t)(c / q.group_elems);
    m = new_module(w, woq_frame_name(f), (long)woq_json_get_int(f->meta, "block", -1), err);
    if (!m)
        return err ? err->status : WOQ_ENOMEM;
    m->bits = q.bits;
    m->group_size = woq_json_get_int(quant, "group_size", (int64_t)q.group_elems);
    if (m->group_size <= 0)
        m->group_size = -1;
    m->sym = woq_json_get_bool(quant, "sym", q.zero == NULL);
    m->v1_zeros = w->v1;
    m->qzeros_entry = st->n_entries + 2;
    w->desc_act = w->desc_act || !g_idx_is_trivial(&q);
    w->lm_head = w->lm_head || !strcmp(m->name, "lm_head");
    w->n_quantized++;
    r->n_quantized += (uint64_t)q.n_rows * q.n_cols;
    r->n_weights += (uint64_t)q.n_rows * q.n_cols;
    return put_all(w, st, m, &q, r, err);
}

static void edit_zeros(void *ctx, void *data, size_t bytes)
{
    const struct woq_gptq_module *m = ctx;
    woq_gptq_zeros_to_v2(data, bytes / 4, m->bits);
}

int woq_gptq_settle(struct woq_gptq_writer *w, struct woq_st_writer *st, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0; i < w->n_modules && !w->v1 && rc == WOQ_OK; i++)
        if (w->modules[i].bits && w->modules[i].v1_zeros)
            rc = woq_st_edit(st, w->modules[i].qzeros_entry, edit_zeros, &w->modules[i], err);
    return rc;
}

void woq_gptq_writer_release(struct woq_gptq_writer *w)
{
    for (size_t i = 0; i < w->n_modules; i++)
        free(w->modules[i].name);
    free(w->modules);
    woq_buf_release(&w->words);
    woq_buf_release(&w->zeros);
    woq_buf_release(&w->scales);
    woq_buf_release(&w->g_idx);
    memset(w, 0, sizeof *w);
}
