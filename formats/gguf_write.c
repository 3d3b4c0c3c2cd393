/* gguf_write.c -- `woq-pack --format gguf`: frames of a stream become tensors of a GGUF file, in
 * one pass. What a tensor's rows are and become is decided here; gguf_arch.c tells what may be
 * written, gguf_layout.c where it goes, gguf_keys.c makes the keys, gguf_types.c chooses types,
 * gguf_rows.c encodes, gguf_file.c lays the file out. */
#include <formats/sink.h>

#include <formats/ggml_grid.h>
#include <formats/gguf_arch.h>
#include <formats/gguf_file.h>
#include <formats/gguf_importance.h>
#include <formats/gguf_keys.h>
#include <formats/gguf_layout.h>
#include <formats/gguf_rope.h>
#include <formats/gguf_rows.h>
#include <formats/gguf_types.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <woq/kernels.h>

struct gguf {
    struct woq_gguf_types types;
    struct woq_gguf_keys keys;
    struct woq_gguf_file file;
    struct woq_gguf_writer writer;
    struct woq_gguf_importance importance;
    struct woq_buf rows, floats, turned; /* order of rows; values that are to be transposed */
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
    struct woq_gguf_part parts[WOQ_GGUF_PARTS];
    uint64_t n = woq_gguf_header_bytes(p->keys.text.len);
    struct woq_place place = { 0 };
    const char *name;

    for (size_t i = 0; (name = woq_gguf_rope_tensor(c, i, NULL)); i++)
        n += woq_gguf_info_bytes(name, 1);
    while (woq_config_next(c, &place)) {
        const size_t n_parts = place.index ? 0 : woq_gguf_parts(c, &place, parts);

        for (size_t k = 0; k < n_parts; k++)
            n += woq_gguf_info_bytes(parts[k].name, parts[k].n_dims);
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

/* Divisors of rope. */
static int put_rope(struct woq_sink *s, struct woq_error *err)
{
    struct gguf *p = s->priv;
    const uint64_t n = s->shape.n_rot / 2;
    float *x = woq_buf_need(&p->floats, (n + 1) * sizeof *x, err);
    const char *name;
    int rc = x ? WOQ_OK : WOQ_ENOMEM;

    for (size_t i = 0; rc == WOQ_OK && (name = woq_gguf_rope_tensor(&s->shape, i, x)); i++) {
        const struct woq_gguf_info *info =
            begin_tensor(s, name, 1, &n, woq_ggml_type(WOQ_GGML_F32), err);

        rc = info ? woq_outfile_write_at(&p->file.out, x, info->bytes,
                                         p->file.data_start + info->offset, err)
                  : err->status;
    }
    return rc;
}

static int gguf_model(struct woq_sink *s, const struct woq_frame *modl, struct woq_error *err)
{
    struct gguf *p = s->priv;
    const struct woq_imatrix *m = &p->importance.imatrix;
    const char *name = woq_json_get_str(s->head, "model");
    int rc;

    if (!s->shape.arch) /* say why */
        return woq_config_init(&s->shape, s->config, err);
    if ((rc = woq_gguf_arch_check(&s->shape, err)) < 0)
        return rc;
    rc = woq_gguf_keys_init(&p->keys, &s->shape, s->config, modl, name ? name : "model", err);
    if (rc == WOQ_OK && s->opts.imatrix)
        rc = woq_gguf_keys_imatrix(&p->keys, s->opts.imatrix, m->dataset, m->n_entries,
                                   woq_imatrix_chunks(m), err);
    if (rc)
        return rc;
    if (s->shape.window && !(woq_gguf_arch_of(s->shape.arch)->quirks & WOQ_GGUF_SOME_WINDOWS))
        s->report.blind_window = s->shape.window;
    woq_gguf_file_predict(&p->file, predict(s, p));
    return put_rope(s, err);
}

/* --- what a frame is --- */

struct source {
    const struct woq_frame *f;
    struct woq_place place;
    size_t n_rows, n_cols; /* a vector is a column */
    bool is_q;
    struct woq_qview q; /* or: */
    struct woq_tensor t;
    const struct woq_ggml_type *grid; /* of the codes */
};

static int view(struct source *src, const struct woq_frame *f, struct woq_error *err)
{
    int rc;

    src->f = f;
    src->is_q = woq_frame_is(f, "QTEN");
    if (src->is_q) {
        if ((rc = woq_qview_init(&src->q, f, err)) < 0 ||
            (rc = woq_ggml_grid(&src->q, &src->grid, err)) < 0)
            return rc;
        src->n_rows = src->q.n_rows;
        src->n_cols = src->q.n_cols;
        return WOQ_OK;
    }
    if ((rc = woq_frame_view(f, &src->t, err)) < 0)
        return rc;
    if (src->t.n_dims < 1 || src->t.n_dims > 2 || !woq_dtype_is_float(src->t.dtype) ||
        !src->t.n_elem)
        return woq_fail(err, WOQ_ETYPE, NULL, "%u dimensions of %s: want 1 or 2 of a float type",
                        src->t.n_dims, woq_dtype_name(src->t.dtype));
    src->n_rows = src->t.n_dims == 2 ? src->t.n_rows : src->t.n_elem;
    src->n_cols = src->t.n_dims == 2 ? src->t.n_cols : 1;
    return WOQ_OK;
}

static int check_shape(const struct woq_sink *s, const struct source *src, struct woq_error *err)
{
    const struct gguf *p = s->priv;
    const enum woq_role role = src->place.role;
    uint64_t shape[2];
    unsigned n_dims;

    if (role == WOQ_ROLE_EMBED && p->keys.n_tokens && src->n_rows != p->keys.n_tokens)
        return woq_fail(err, WOQ_EDATA, "the tokenizer and the weights do not belong together",
                        "%zu rows, but the tokenizer has %zu tokens", src->n_rows,
                        p->keys.n_tokens);
    if (!woq_config_shape(&s->shape, &src->place, &n_dims, shape))
        return woq_fail(err, WOQ_ETYPE, "use --format safetensors or gptq",
                        "GGUF has no name for this tensor in architecture '%s'",
                        woq_gguf_arch_of(s->shape.arch)->name);
    if (src->n_rows != shape[0] || src->n_cols != shape[1])
        return woq_fail(err, WOQ_EDATA, "the stream and its config.json do not belong together",
                        "%zu rows of %zu, but config.json says %llu of %llu", src->n_rows,
                        src->n_cols, (unsigned long long)shape[0], (unsigned long long)shape[1]);
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

/* --- what its rows become --- */

static void add_one(float *row, size_t n)
{
    for (size_t i = 0; i < n; i++)
        row[i] += 1;
}

static void make_unit(float *row, size_t n)
{
    const struct woq_kernels *k = woq_kernels();

    k->scale_f32(row, n, 1 / fmaxf(sqrtf(k->dot_f32(row, row, n)), 1e-12f));
}

/* What a loader multiplies by as it is, and HF files have otherwise. */
static void (*change_of(const struct woq_config *c, const struct woq_place *p))(float *, size_t)
{
    if (c->norm == WOQ_NORM_RMS_1P && woq_role_is_norm(p->role) && !p->bias)
        return add_one;
    if (p->role == WOQ_ROLE_HEAD && woq_has(c, WOQ_T_HEAD_ROWNORM))
        return make_unit;
    return NULL;
}

/* Floats as they are, of a part whose rows are no columns of theirs. */
static int fill_floats(struct woq_sink *s, const struct source *src,
                       const struct woq_gguf_part *part, const struct woq_gguf_info *there,
                       struct woq_gguf_rows *r, struct woq_error *err)
{
    struct gguf *p = s->priv;
    const struct woq_ggml_type *raw_type;
    const struct woq_array *raw = raw_of(src->f, &src->t, &raw_type);
    struct woq_gguf_matrix m = { .name = src->t.name,
                                 .gguf_name = part->name,
                                 .role = src->place.role,
                                 .block = src->place.block,
                                 .n_cols = part->n_cols,
                                 .raw = raw_type };
    const bool expert = woq_role_is_expert(src->place.role);
    bool fell_back = false;
    int rc = WOQ_OK;

    r->src = src->t.data;
    r->dtype = src->t.dtype;
    r->type = woq_ggml_type(WOQ_GGML_F32);
    if (part->is_float || part->n_dims < 2)
        return WOQ_OK;
    if (src->place.role != WOQ_ROLE_KV_B)
        rc = woq_gguf_importance_of(&p->importance, s, src->f, part->name,
                                    expert ? src->place.index : 0, expert ? s->shape.n_experts : 1,
                                    part->n_cols, &r->importance, err);
    m.has_importance = r->importance != NULL;
    r->type = there ? there->type : woq_gguf_type_of(&p->types, &s->shape, &m, &fell_back);
    s->report.n_fell_back += fell_back;
    if (raw && r->type == raw_type && !r->change)
        r->raw = raw->data;
    return rc;
}

/* Which row comes where in a part; NULL: as they are. */
static int fill_order(struct woq_sink *s, const struct source *src, size_t part, size_t n_rows,
                      const uint32_t **out, struct woq_error *err)
{
    struct gguf *p = s->priv;
    uint32_t *from;

    *out = NULL;
    if (!woq_gguf_moves_rows(&s->shape, &src->place))
        return WOQ_OK;
    if (!(from = woq_buf_need(&p->rows, n_rows * sizeof *from, err)))
        return WOQ_ENOMEM;
    for (size_t row = 0; row < src->n_rows; row++) {
        size_t k, to;

        woq_gguf_row(&s->shape, &src->place, row, &k, &to);
        if (k == part)
            from[to] = (uint32_t)row;
    }
    *out = from;
    return WOQ_OK;
}

/* A part whose heads are transposed: its values, codes decoded, as rows of the file. */
static int turn(struct woq_sink *s, const struct source *src, const struct woq_gguf_part *part,
                struct woq_gguf_rows *r, struct woq_error *err)
{
    struct gguf *p = s->priv;
    const size_t per_head = part->n_rows / part->n_heads;
    struct woq_gguf_matrix m = { .name = woq_frame_name(src->f),
                                 .gguf_name = part->name,
                                 .role = src->place.role,
                                 .block = src->place.block,
                                 .n_cols = per_head };
    const float *x;
    size_t n_rows, n_cols;
    bool fell_back;
    float *y = woq_buf_need(&p->turned, part->n_rows * part->n_cols * sizeof *y, err);
    const int rc = y ? woq_weight_f32(src->f, &n_rows, &n_cols, &x, &p->floats, err) : WOQ_ENOMEM;

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < part->n_rows; i++) {
        const float *row = x + r->from[i] * n_cols;
        float *head = y + i / per_head * n_cols * per_head + i % per_head;

        for (size_t col = 0; col < n_cols; col++)
            head[col * per_head] = row[col];
    }
    *r = (struct woq_gguf_rows){ .src = (const uint8_t *)y, .dtype = WOQ_F32, .n_cols = per_head };
    r->type = woq_gguf_type_of(&p->types, &s->shape, &m, &fell_back);
    s->report.n_fell_back += fell_back;
    return WOQ_OK;
}

/* The tensor that others have begun to fill, or NULL. */
static const struct woq_gguf_info *begun(const struct gguf *p, const char *name)
{
    for (size_t i = p->file.n_infos; i-- > 0;)
        if (!strcmp(p->file.infos[i].name, name))
            return &p->file.infos[i];
    return NULL;
}

static int put_part(struct woq_sink *s, const struct source *src, size_t k,
                    const struct woq_gguf_part *part, struct woq_error *err)
{
    struct gguf *p = s->priv;
    const struct woq_gguf_info *i = src->place.index ? begun(p, part->name) : NULL;
    struct woq_gguf_rows r = { .n_cols = part->n_cols,
                               .type = src->grid,
                               .q = src->is_q ? &src->q : NULL,
                               .change = change_of(&s->shape, &src->place) };
    size_t n_rows = part->n_rows, row_bytes;
    int rc = fill_order(s, src, k, part->n_rows, &r.from, err);

    if (rc == WOQ_OK && part->n_heads) {
        rc = turn(s, src, part, &r, err);
        n_rows = part->n_heads * part->n_cols;
    } else if (rc == WOQ_OK && !src->is_q) {
        rc = fill_floats(s, src, part, i, &r, err);
    }
    if (rc < 0)
        return rc;
    if (src->is_q && r.change)
        return woq_fail(err, WOQ_ETYPE, "leave the head alone: woq-scheme --set 'lm_head ...'",
                        "codes of a head whose rows are to be normalised have no form in GGUF");
    if (i && i->type != r.type)
        return woq_fail(err, WOQ_ETYPE, "quantize all experts by one scheme",
                        "it is %s, but others of '%s' are %s: GGUF has one type for all",
                        r.type->name, part->name, i->type->name);
    if (!i && !(i = begin_tensor(s, part->name, part->n_dims, part->ne, r.type, err)))
        return err->status;
    (void)woq_ggml_row_bytes(r.type, r.n_cols, &row_bytes);
    return woq_gguf_put_rows(&p->writer, &p->file.out,
                             p->file.data_start + i->offset + part->row0 * row_bytes, &r, n_rows,
                             err);
}

static int gguf_tensor(struct woq_sink *s, const struct woq_frame *f, enum woq_role role,
                       struct woq_error *err)
{
    struct woq_gguf_part parts[WOQ_GGUF_PARTS];
    struct source src = { 0 };
    size_t n;
    int rc;

    if (is_dropped(woq_frame_name(f)))
        return WOQ_OK;
    if (role == WOQ_ROLE_NONE)
        return woq_fail(err, WOQ_ETYPE, "use --format safetensors or gptq",
                        "GGUF has no name for this tensor in architecture '%s'",
                        woq_gguf_arch_of(s->shape.arch)->name);
    woq_arch_place(s->shape.arch, woq_frame_name(f), &src.place);
    if ((rc = view(&src, f, err)) < 0 || (rc = check_shape(s, &src, err)) < 0)
        return rc;
    if (!(n = woq_gguf_parts(&s->shape, &src.place, parts)))
        return woq_fail(err, WOQ_ETYPE, NULL, "the GGUF name is longer than 63 bytes");
    for (size_t k = 0; k < n && rc == WOQ_OK; k++)
        rc = put_part(s, &src, k, &parts[k], err);
    return rc;
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
    woq_buf_release(&p->rows);
    woq_buf_release(&p->floats);
    woq_buf_release(&p->turned);
    free(p);
    s->priv = NULL;
}

const struct woq_sink_ops woq_gguf_sink = { .is_folder = false,
                                            .open = gguf_open,
                                            .model = gguf_model,
                                            .tensor = gguf_tensor,
                                            .finish = gguf_finish,
                                            .release = gguf_release };
