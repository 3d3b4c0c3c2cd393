/* gguf_write.c -- `woq-pack --format gguf`: frames of a stream become tensors of a GGUF file, in
 * one pass. What a tensor's rows are and become is decided here; gguf_keys.c makes the keys,
 * gguf_types.c chooses types, gguf_rows.c encodes, gguf_file.c lays the file out. */
#include <formats/sink.h>

#include <formats/ggml_grid.h>
#include <formats/gguf_file.h>
#include <formats/gguf_importance.h>
#include <formats/gguf_keys.h>
#include <formats/gguf_rows.h>
#include <formats/gguf_types.h>
#include <stdlib.h>
#include <string.h>

struct gguf {
    struct woq_gguf_types types;
    struct woq_gguf_keys keys;
    struct woq_gguf_file file;
    struct woq_gguf_writer writer;
    struct woq_gguf_importance importance;
};

static int gguf_open(struct woq_sink *s, struct woq_error *err)
{
    struct gguf *p = calloc(1, sizeof *p);
    int rc;

    s->priv = p;
    if (!p)
        return woq_fail_nomem(err, sizeof *p);
    rc = woq_gguf_types_init(&p->types, s->opts.type, s->opts.embed_type, s->opts.head_type,
                             &s->opts.tensor_types, s->opts.pure, err);
    if (rc == WOQ_OK)
        rc = woq_gguf_importance_open(&p->importance, s->opts.imatrix, err);
    return rc == WOQ_OK ? woq_outfile_open(&p->file.out, &s->out, NULL, err) : rc;
}

/* Header bytes if exactly the tensors of the architecture come. */
static uint64_t predict(const struct woq_sink *s, const struct gguf *p)
{
    const struct woq_config *c = &s->shape;
    uint64_t n = woq_gguf_header_bytes(p->keys.text.len);
    struct woq_place place = { 0 };
    uint64_t shape[2];
    unsigned n_dims;
    char name[64];

    if (c->rope_scaling == WOQ_ROPE_LLAMA3)
        n += woq_gguf_info_bytes("rope_freqs.weight", 1);
    while (woq_config_next(c, &place)) {
        woq_config_shape(c, &place, &n_dims, shape);
        if (woq_config_gguf_name(c, &place, name, sizeof name) == WOQ_OK)
            n += woq_gguf_info_bytes(name, n_dims);
    }
    return n;
}

/* A new tensor, counted in the report. */
static const struct woq_gguf_info *begin_tensor(struct woq_sink *s, const char *name,
                                                unsigned n_dims, const uint64_t *ne,
                                                const struct woq_ggml_type *type,
                                                struct woq_error *err)
{
    struct gguf *p = s->priv;
    const struct woq_gguf_info *i = woq_gguf_file_add(&p->file, name, n_dims, ne, type, err);

    if (!i)
        return NULL;
    s->report.n_weights += woq_gguf_info_elems(i);
    s->report.tensor_bytes += i->bytes;
    if (type->block_elems > 1) {
        s->report.n_quantized += woq_gguf_info_elems(i);
        s->report.quantized_bytes += i->bytes;
    }
    return i;
}

static int put_rope_freqs(struct woq_sink *s, struct woq_error *err)
{
    struct gguf *p = s->priv;
    const uint64_t n = s->shape.n_rot / 2;
    const struct woq_gguf_info *i =
        begin_tensor(s, "rope_freqs.weight", 1, &n, woq_ggml_type(WOQ_GGML_F32), err);
    float *x = i ? woq_buf_need(&p->importance.buf, n * sizeof *x, err) : NULL;

    if (!x)
        return err->status;
    woq_gguf_rope_freqs(x, &s->shape);
    return woq_outfile_write_at(&p->file.out, x, i->bytes, p->file.data_start + i->offset, err);
}

static int gguf_model(struct woq_sink *s, const struct woq_frame *modl, struct woq_error *err)
{
    struct gguf *p = s->priv;
    const struct woq_imatrix *m = &p->importance.imatrix;
    const char *name = woq_json_get_str(s->head, "model");
    int rc;

    if (!s->shape.arch) /* say why */
        return woq_config_init(&s->shape, s->config, err);
    if (!s->shape.arch->gguf_arch)
        return woq_fail(err, WOQ_EUNSUPPORTED, "use --format safetensors or gptq",
                        "GGUF files of architecture '%s' are not written",
                        s->shape.arch->model_type);
    if (s->shape.arch->gguf_permuted && s->shape.n_rot != s->shape.head_dim)
        return woq_fail(err, WOQ_ETYPE, "use --format safetensors or gptq",
                        "rope over %zu of %zu head dimensions has no form in GGUF's '%s'",
                        s->shape.n_rot, s->shape.head_dim, s->shape.arch->gguf_arch);
    rc = woq_gguf_keys_init(&p->keys, &s->shape, s->config, modl, name ? name : "model", err);
    if (rc == WOQ_OK && s->opts.imatrix)
        rc = woq_gguf_keys_imatrix(&p->keys, s->opts.imatrix, m->dataset, m->n_entries,
                                   woq_imatrix_chunks(m), err);
    if (rc)
        return rc;
    woq_gguf_file_predict(&p->file, predict(s, p));
    return s->shape.rope_scaling == WOQ_ROPE_LLAMA3 ? put_rope_freqs(s, err) : WOQ_OK;
}

/* --- tensors --- */

static int name_tensor(const struct woq_sink *s, const struct woq_frame *f, enum woq_role role,
                       char name[64], struct woq_error *err)
{
    struct woq_place place;

    if (role == WOQ_ROLE_NONE)
        return woq_fail(err, WOQ_ETYPE, "use --format safetensors or gptq",
                        "GGUF has no name for this tensor in architecture '%s'",
                        s->shape.arch->gguf_arch);
    woq_arch_place(s->shape.arch, woq_frame_name(f), &place);
    if (woq_config_gguf_name(&s->shape, &place, name, 64) != WOQ_OK)
        return woq_fail(err, WOQ_ETYPE, NULL, "the GGUF name is longer than 63 bytes");
    return WOQ_OK;
}

static int check_rows(const struct woq_sink *s, enum woq_role role, size_t n_rows,
                      struct woq_error *err)
{
    const struct gguf *p = s->priv;

    if (role == WOQ_ROLE_EMBED && p->keys.n_tokens && n_rows != p->keys.n_tokens)
        return woq_fail(err, WOQ_EDATA, "the tokenizer and the weights do not belong together",
                        "%zu rows, but the tokenizer has %zu tokens", n_rows, p->keys.n_tokens);
    return WOQ_OK;
}

/* Rows per head if this tensor's rows are permuted. */
static int head_rows_of(const struct woq_sink *s, enum woq_role role, size_t n_rows, size_t *out,
                        struct woq_error *err)
{
    const size_t heads = role == WOQ_ROLE_Q   ? s->shape.n_heads
                         : role == WOQ_ROLE_K ? s->shape.n_kv_heads
                                              : 0;

    *out = 0;
    if (!heads || !s->shape.arch->gguf_permuted)
        return WOQ_OK;
    if (n_rows % heads || n_rows / heads % 2)
        return woq_fail(err, WOQ_EDATA, NULL, "%zu rows do not fit %zu heads of even size", n_rows,
                        heads);
    *out = n_rows / heads;
    return WOQ_OK;
}

/* Rotary tables and masks of old checkpoints: computed, not stored (formats.md 3.5, 7). */
static bool is_dropped(const char *name)
{
    static const char *const tails[] = { ".rotary_emb.inv_freq", ".attention.bias",
                                         ".attention.masked_bias", ".attn.bias" };

    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        const size_t n = strlen(name), t = strlen(tails[i]);
        if (n >= t && !strcmp(name + n - t, tails[i]))
            return true;
    }
    return false;
}

/* The bytes of a tensor that came from a GGUF file; NULL if it has none, or not for its shape. */
static const struct woq_array *raw_of(const struct woq_frame *f, const struct woq_tensor *t,
                                      const struct woq_ggml_type **type)
{
    const struct woq_array *raw = woq_frame_array(f, "raw");
    const char *format = woq_json_get_str(f->meta, "raw_format");
    size_t bytes;

    *type = raw && format ? woq_ggml_type_by_name(format) : NULL;
    if (*type && (*type)->decode && woq_ggml_row_bytes(*type, t->n_cols, &bytes) &&
        woq_mul_size(bytes, t->n_rows, &bytes) && bytes == raw->bytes)
        return raw;
    *type = NULL;
    return NULL;
}

/* The type of a float matrix, and its bytes where it has them in that type. */
static void choose_type(struct woq_sink *s, const struct woq_frame *f, const struct woq_tensor *t,
                        const char *gguf_name, struct woq_gguf_rows *j)
{
    const struct gguf *p = s->priv;
    const struct woq_ggml_type *raw_type;
    const struct woq_array *raw = raw_of(f, t, &raw_type);
    struct woq_gguf_matrix m = { .name = t->name,
                                 .gguf_name = gguf_name,
                                 .n_cols = t->n_cols,
                                 .has_importance = j->importance != NULL,
                                 .raw = raw_type };
    struct woq_place place;
    bool fell_back;

    woq_arch_place(s->shape.arch, t->name, &place);
    m.role = place.role;
    m.block = place.block;
    j->type = woq_gguf_type_of(&p->types, &s->shape, &m, &fell_back);
    s->report.n_fell_back += fell_back;
    if (raw && j->type == raw_type)
        j->raw = raw->data;
}

/* What the rows of a frame are and become; a vector is a column, since its rows may be permuted. */
static int fill_job(struct woq_sink *s, const struct woq_frame *f, const char *gguf_name,
                    struct woq_gguf_rows *j, struct woq_qview *q, size_t *n_rows, bool *matrix,
                    struct woq_error *err)
{
    struct gguf *p = s->priv;
    struct woq_tensor t;
    int rc;

    *matrix = true;
    if (woq_frame_is(f, "QTEN")) {
        if ((rc = woq_qview_init(q, f, err)) < 0 || (rc = woq_ggml_grid(q, &j->type, err)) < 0)
            return rc;
        j->q = q;
        j->n_cols = q->n_cols;
        *n_rows = q->n_rows;
        return WOQ_OK;
    }
    if ((rc = woq_frame_view(f, &t, err)) < 0)
        return rc;
    if (t.n_dims < 1 || t.n_dims > 2 || !woq_dtype_is_float(t.dtype) || !t.n_elem)
        return woq_fail(err, WOQ_ETYPE, NULL, "%u dimensions of %s: want 1 or 2 of a float type",
                        t.n_dims, woq_dtype_name(t.dtype));
    *matrix = t.n_dims == 2;
    *n_rows = *matrix ? t.n_rows : t.n_elem;
    j->n_cols = *matrix ? t.n_cols : 1;
    j->src = t.data;
    j->dtype = t.dtype;
    j->type = woq_ggml_type(WOQ_GGML_F32);
    if (!*matrix)
        return WOQ_OK;
    rc = woq_gguf_importance_of(&p->importance, s, f, gguf_name, t.n_cols, &j->importance, err);
    choose_type(s, f, &t, gguf_name, j);
    return rc;
}

static int gguf_tensor(struct woq_sink *s, const struct woq_frame *f, enum woq_role role,
                       struct woq_error *err)
{
    struct gguf *p = s->priv;
    struct woq_gguf_rows j = { 0 };
    const struct woq_gguf_info *i;
    struct woq_qview q;
    uint64_t ne[2];
    size_t n_rows = 0;
    bool matrix = true;
    char name[64];
    int rc;

    if (is_dropped(woq_frame_name(f)))
        return WOQ_OK;
    rc = name_tensor(s, f, role, name, err);
    if (rc == WOQ_OK)
        rc = fill_job(s, f, name, &j, &q, &n_rows, &matrix, err);
    if (rc == WOQ_OK)
        rc = check_rows(s, role, n_rows, err);
    if (rc == WOQ_OK)
        rc = head_rows_of(s, role, n_rows, &j.head_rows, err);
    if (rc)
        return rc;
    ne[0] = matrix ? j.n_cols : n_rows;
    ne[1] = n_rows;
    if (!(i = begin_tensor(s, name, matrix ? 2 : 1, ne, j.type, err)))
        return err->status;
    return woq_gguf_put_rows(&p->writer, &p->file.out, p->file.data_start + i->offset, &j, n_rows,
                             err);
}

/* --- the end --- */

/* The type of most weights. */
static const struct woq_ggml_type *most_common(const struct woq_gguf_file *f)
{
    uint64_t n[64] = { 0 };
    uint32_t best = WOQ_GGML_F16;

    for (size_t i = 0; i < f->n_infos; i++)
        if (f->infos[i].n_dims > 1)
            n[f->infos[i].type->id % 64] += woq_gguf_info_elems(&f->infos[i]);
    for (uint32_t id = 0; id < 64; id++)
        best = n[id] > n[best] ? id : best;
    return woq_ggml_type(best);
}

static int gguf_finish(struct woq_sink *s, struct woq_error *err)
{
    struct gguf *p = s->priv;
    const uint32_t type = woq_gguf_file_type(&p->types, most_common(&p->file));
    int rc = woq_gguf_importance_check(&p->importance, err);

    if (rc)
        return rc;
    memcpy(p->keys.text.s + p->keys.file_type_at, &type, 4);
    rc = woq_gguf_file_finish(&p->file, &p->keys.text, p->keys.n, err);
    s->report.n_files = 1;
    s->report.n_tensors = p->file.n_infos;
    s->report.file_bytes = p->file.out.at;
    return rc;
}

static void gguf_release(struct woq_sink *s)
{
    struct gguf *p = s->priv;

    if (!p)
        return;
    woq_gguf_file_release(&p->file);
    woq_gguf_keys_release(&p->keys);
    woq_gguf_types_release(&p->types);
    woq_gguf_writer_release(&p->writer);
    woq_gguf_importance_release(&p->importance);
    free(p);
    s->priv = NULL;
}

const struct woq_sink_ops woq_gguf_sink = { .is_folder = false,
                                            .open = gguf_open,
                                            .model = gguf_model,
                                            .tensor = gguf_tensor,
                                            .finish = gguf_finish,
                                            .release = gguf_release };
