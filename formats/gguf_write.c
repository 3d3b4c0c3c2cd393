/* gguf_write.c -- `woq-pack --format gguf`: frames of a stream become tensors of a GGUF file, in
 * one pass. gguf_arch.c tells what may be written, gguf_layout.c where it goes, gguf_fill.c what
 * its rows become, by types that gguf_types.c chooses; gguf_keys.c makes the keys, gguf_rows.c
 * encodes, gguf_file.c lays the file out. */
#include <formats/sink.h>

#include <formats/gguf_arch.h>
#include <formats/gguf_file.h>
#include <formats/gguf_fill.h>
#include <formats/gguf_keys.h>
#include <formats/gguf_rope.h>
#include <stdlib.h>
#include <string.h>

struct gguf {
    struct woq_gguf_keys keys;
    struct woq_gguf_filler fill;
    struct woq_gguf_writer writer;
    struct woq_gguf_file file;
};

static int gguf_open(struct woq_sink *s, struct woq_error *err)
{
    struct gguf *p = calloc(1, sizeof *p);
    int rc;

    s->priv = p;
    if (!p)
        return woq_fail_nomem(err, sizeof *p);
    rc = woq_gguf_types_init(&p->fill.types, s->opts.type, s->opts.embed_type, s->opts.head_type,
                             &s->opts.tensor_types, s->opts.pure, err);
    if (rc == WOQ_OK)
        rc = woq_gguf_importance_open(&p->fill.importance, s->opts.imatrix, err);
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
        const size_t n_parts = place.index ? 0 : woq_gguf_parts(c, 0, &place, parts);

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
    float *x = woq_buf_need(&p->fill.floats, (n + 1) * sizeof *x, err);
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
    const struct woq_imatrix *m = &p->fill.importance.imatrix;
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

/* The tensor that others have begun to fill, or NULL. */
static const struct woq_gguf_info *begun(const struct gguf *p, const char *name)
{
    for (size_t i = p->file.n_infos; i-- > 0;)
        if (!strcmp(p->file.infos[i].name, name))
            return &p->file.infos[i];
    return NULL;
}

static int put_part(struct woq_sink *s, const struct woq_gguf_input *in, size_t k,
                    const struct woq_gguf_part *part, struct woq_error *err)
{
    struct gguf *p = s->priv;
    const struct woq_gguf_info *i = in->place.index ? begun(p, part->name) : NULL;
    struct woq_gguf_rows rows;
    size_t n_rows, row_bytes;
    const int rc = woq_gguf_fill(&p->fill, s, in, k, part, i, &rows, &n_rows, err);

    if (rc < 0)
        return rc;
    if (i && i->type != rows.type)
        return woq_fail(err, WOQ_ETYPE, "quantize all experts by one scheme",
                        "it is %s, but others of '%s' are %s: GGUF has one type for all",
                        rows.type->name, part->name, i->type->name);
    if (!i && !(i = begin_tensor(s, part->name, part->n_dims, part->ne, rows.type, err)))
        return err->status;
    (void)woq_ggml_row_bytes(rows.type, rows.n_cols, &row_bytes);
    return woq_gguf_put_rows(&p->writer, &p->file.out,
                             p->file.data_start + i->offset + part->row0 * row_bytes, &rows, n_rows,
                             err);
}

static int gguf_tensor(struct woq_sink *s, const struct woq_frame *f, enum woq_role role,
                       struct woq_error *err)
{
    struct woq_gguf_part parts[WOQ_GGUF_PARTS];
    const size_t n_tokens = ((struct gguf *)s->priv)->keys.n_tokens;
    struct woq_gguf_input in;
    size_t n;
    int rc;

    if (woq_name_is_ignorable(woq_frame_name(f))) /* formats.md 3.5, 7 */
        return WOQ_OK;
    if (role == WOQ_ROLE_NONE)
        return woq_fail(err, WOQ_ETYPE, "use --format safetensors or gptq",
                        "GGUF has no name for this tensor in architecture '%s'",
                        woq_gguf_arch_of(s->shape.arch)->name);
    if ((rc = woq_gguf_input_init(&in, s, f, err)) < 0)
        return rc;
    if (role == WOQ_ROLE_EMBED && n_tokens && in.n_rows != n_tokens)
        return woq_fail(err, WOQ_EDATA, "the tokenizer and the weights do not belong together",
                        "%zu rows, but the tokenizer has %zu tokens", in.n_rows, n_tokens);
    if (!(n = woq_gguf_parts(&s->shape, 0, &in.place, parts)))
        return woq_fail(err, WOQ_ETYPE, NULL, "the GGUF name is longer than 63 bytes");
    for (size_t k = 0; k < n && rc == WOQ_OK; k++)
        rc = put_part(s, &in, k, &parts[k], err);
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
    const uint32_t type = woq_gguf_file_type(&p->fill.types, most_common(&p->file));
    int rc = woq_gguf_importance_check(&p->fill.importance, err);

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
    woq_gguf_filler_release(&p->fill);
    woq_gguf_writer_release(&p->writer);
    free(p);
    s->priv = NULL;
}

const struct woq_sink_ops woq_gguf_sink = { .is_folder = false,
                                            .open = gguf_open,
                                            .model = gguf_model,
                                            .tensor = gguf_tensor,
                                            .finish = gguf_finish,
                                            .release = gguf_release };
