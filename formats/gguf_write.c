/* gguf_write.c -- GGUF v3 in one pass. The header with all tensor infos stands before the data; its
 * length follows from config.json, so the data goes to its place at once. Only if other tensors
 * come than config.json says the data is moved when all are known. */
#include <formats/sink.h>

#include <formats/ggml_encode.h>
#include <formats/ggml_grid.h>
#include <formats/gguf.h>
#include <formats/gguf_keys.h>
#include <formats/gguf_types.h>
#include <formats/imatrix.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/side.h>
#include <woq/threads.h>

#define ALIGN 32u
#define CHUNK_BYTES ((size_t)16 << 20)

struct info {
    char name[64];
    unsigned n_dims;
    uint64_t ne[2]; /* innermost first */
    const struct woq_ggml_type *type;
    uint64_t offset, bytes;
};

struct gguf {
    struct woq_gguf_types types;
    struct woq_gguf_keys keys;
    struct info *infos;
    size_t n_infos, cap_infos;
    uint64_t data_start; /* as predicted */
    struct woq_outfile file;
    struct woq_buf out[2], rows; /* one chunk is written while the next is made */
    unsigned turn;
    struct woq_imatrix imatrix;
    size_t n_important; /* matrices that had an entry there */
    struct woq_buf importance;
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
    if (rc == WOQ_OK && s->opts.imatrix)
        rc = woq_imatrix_open(&p->imatrix, s->opts.imatrix, err);
    return rc == WOQ_OK ? woq_outfile_open(&p->file, &s->out, NULL, err) : rc;
}

static uint64_t info_bytes(const char *name, unsigned n_dims)
{
    return 8 + strlen(name) + 4 + 8 * n_dims + 4 + 8;
}

/* Header bytes if exactly the tensors of the architecture come. */
static uint64_t predict(const struct woq_sink *s, const struct gguf *p)
{
    const struct woq_config *c = &s->shape;
    uint64_t n = 24 + p->keys.text.len;
    struct woq_place place = { 0 };
    uint64_t shape[2];
    unsigned n_dims;
    char name[64];

    if (c->rope_scaling == WOQ_ROPE_LLAMA3)
        n += info_bytes("rope_freqs.weight", 1);
    while (woq_config_next(c, &place)) {
        woq_config_shape(c, &place, &n_dims, shape);
        if (woq_config_gguf_name(c, &place, name, sizeof name) == WOQ_OK)
            n += info_bytes(name, n_dims);
    }
    return n;
}

static struct info *new_info(struct gguf *p, const char *name, struct woq_error *err)
{
    struct info *i;

    if (p->n_infos == p->cap_infos) {
        const size_t cap = p->cap_infos ? 2 * p->cap_infos : 256;
        i = realloc(p->infos, cap * sizeof *i);
        if (!i) {
            woq_fail_nomem(err, cap * sizeof *i);
            return NULL;
        }
        p->infos = i;
        p->cap_infos = cap;
    }
    i = memset(&p->infos[p->n_infos++], 0, sizeof *i);
    snprintf(i->name, sizeof i->name, "%s", name);
    i->offset = p->file.at - p->data_start;
    return i;
}

/* Ends a tensor: pads, and fills its info. */
static int end_tensor(struct woq_sink *s, struct info *i, struct woq_error *err)
{
    struct gguf *p = s->priv;
    const uint64_t n = i->ne[0] * (i->n_dims > 1 ? i->ne[1] : 1);

    i->bytes = p->file.at - p->data_start - i->offset;
    s->report.n_weights += n;
    s->report.tensor_bytes += i->bytes;
    if (i->type->block_elems > 1) {
        s->report.n_quantized += n;
        s->report.quantized_bytes += i->bytes;
    }
    return woq_outfile_zeros(&p->file, woq_align(i->bytes, ALIGN) - i->bytes, err);
}

static int put_rope_freqs(struct woq_sink *s, struct woq_error *err)
{
    struct gguf *p = s->priv;
    const size_t n = s->shape.n_rot / 2;
    float *x = woq_buf_need(&p->rows, n * sizeof *x, err);
    struct info *i = x ? new_info(p, "rope_freqs.weight", err) : NULL;
    int rc;

    if (!i)
        return WOQ_ENOMEM;
    i->n_dims = 1;
    i->ne[0] = n;
    i->type = woq_ggml_type(WOQ_GGML_F32);
    woq_gguf_rope_freqs(x, &s->shape);
    rc = woq_outfile_add(&p->file, x, n * sizeof *x, err);
    return rc == WOQ_OK ? end_tensor(s, i, err) : rc;
}

static int gguf_model(struct woq_sink *s, const struct woq_frame *modl, struct woq_error *err)
{
    struct gguf *p = s->priv;
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
        rc = woq_gguf_keys_imatrix(&p->keys, s->opts.imatrix, p->imatrix.dataset,
                                   p->imatrix.n_entries, woq_imatrix_chunks(&p->imatrix), err);
    if (rc)
        return rc;
    p->data_start = woq_align(predict(s, p), ALIGN);
    p->file.at = p->data_start;
    return s->shape.rope_scaling == WOQ_ROPE_LLAMA3 ? put_rope_freqs(s, err) : WOQ_OK;
}

/* --- rows of a tensor, in the order of the file --- */

struct rows_job {
    uint8_t *dst;
    size_t row_bytes, row0, row1, n_cols;
    size_t head_rows; /* rows per head where rope pairs neighbours, else 0 */
    const struct woq_ggml_type *type;
    const struct woq_qview *q; /* or: */
    const uint8_t *raw;        /* rows as they are to lie in the file; or: */
    const uint8_t *src;
    enum woq_dtype dtype;
    const float *importance; /* [n_cols] or NULL */
    float *tmp;              /* n_cols per thread */
    size_t item_rows;
    atomic_bool bad;
};

/* GGUF row h*hd + 2j + t is HF row h*hd + t*(hd/2) + j (formats.md 3.5, 1). */
static size_t hf_row(size_t row, size_t head_rows)
{
    size_t i;

    if (!head_rows)
        return row;
    i = row % head_rows;
    return row - i + i % 2 * (head_rows / 2) + i / 2;
}

static void rows_item(void *ctx, size_t item, int thread)
{
    struct rows_job *j = ctx;
    const size_t a = j->row0 + item * j->item_rows;
    const size_t b = a + j->item_rows < j->row1 ? a + j->item_rows : j->row1;
    const size_t width = j->q ? 0 : woq_dtype_bytes(j->dtype) * j->n_cols;
    float *tmp = j->tmp + (size_t)thread * j->n_cols;

    for (size_t r = a; r < b; r++) {
        uint8_t *dst = j->dst + (r - j->row0) * j->row_bytes;
        const size_t from = hf_row(r, j->head_rows);
        const float *x = tmp;
        bool ok = true;
        if (j->raw) {
            memcpy(dst, j->raw + from * j->row_bytes, j->row_bytes);
        } else if (j->q) {
            ok = woq_ggml_encode_codes(dst, j->type, j->q, from);
        } else {
            if (j->dtype == WOQ_F32)
                x = (const float *)(const void *)(j->src + from * width);
            else
                woq_to_f32(tmp, j->src + from * width, j->dtype, j->n_cols);
            ok = woq_ggml_encode(dst, j->type, x, j->importance, j->n_cols);
        }
        if (!ok)
            j->bad = true;
    }
}

static int put_rows(struct gguf *p, struct rows_job *j, size_t n_rows, struct woq_error *err)
{
    size_t step;
    int rc = WOQ_OK;

    if (!woq_ggml_row_bytes(j->type, j->n_cols, &j->row_bytes))
        return woq_fail(err, WOQ_EDATA, NULL, "%zu columns are no whole blocks of %s", j->n_cols,
                        j->type->name);
    step = CHUNK_BYTES / (j->row_bytes ? j->row_bytes : 1);
    step = step ? step : 1;
    step = step < n_rows ? step : n_rows;
    j->item_rows = 1 + 16384 / (j->n_cols + 1);
    j->tmp = woq_buf_need(&p->rows, (size_t)woq_threads() * j->n_cols * sizeof(float), err);
    if (!j->tmp)
        return WOQ_ENOMEM;
    for (j->row0 = 0; j->row0 < n_rows && rc == WOQ_OK; j->row0 = j->row1) {
        p->turn ^= 1;
        if (!(j->dst = woq_buf_need(&p->out[p->turn], step * j->row_bytes, err)))
            return WOQ_ENOMEM;
        j->row1 = n_rows - j->row0 < step ? n_rows : j->row0 + step;
        woq_parallel((j->row1 - j->row0 + j->item_rows - 1) / j->item_rows, rows_item, j);
        rc = j->bad
                 ? woq_fail(err, WOQ_EDATA, "look at it with woq-cat --stats",
                            "a value or scale is not finite in %s", j->type->name)
                 : woq_outfile_add_later(&p->file, j->dst, (j->row1 - j->row0) * j->row_bytes, err);
    }
    return rc;
}

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

/* Importance of the columns of a matrix, from the file, else from the stream; NULL if there is
 * none. Scaled to a mean of 1, and never 0: where nothing came in on a column it still has to
 * decode. */
static int find_importance(struct woq_sink *s, const struct woq_frame *f, const char *gguf_name,
                           size_t n_cols, const float **out, struct woq_error *err)
{
    bool is_sum;
    struct gguf *p = s->priv;
    const struct woq_imatrix_entry *e = woq_imatrix_get(&p->imatrix, gguf_name);
    const struct woq_importance *imp = s->opts.imatrix ? NULL : woq_sink_importance(s, f, &is_sum);
    const float *from = e ? e->mean_sq : imp ? imp->diag : NULL;
    double sum = 0;
    float *w;

    *out = NULL;
    if (imp && imp->n != n_cols)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "the statistics before it have %zu inputs, the matrix %zu", imp->n, n_cols);
    if (e && e->n * e->n_mats != n_cols)
        return woq_fail(err, WOQ_EDATA, "was it measured on this model?",
                        "%s has %zu values for it, the matrix %zu columns", s->opts.imatrix,
                        e->n * e->n_mats, n_cols);
    for (size_t i = 0; from && i < n_cols; i++)
        sum += (double)from[i];
    if (!from || !(sum > 0))
        return WOQ_OK;
    if (!(w = woq_buf_need(&p->importance, n_cols * sizeof *w, err)))
        return WOQ_ENOMEM;
    for (size_t i = 0; i < n_cols; i++) {
        w[i] = (float)((double)from[i] / sum * (double)n_cols);
        w[i] = w[i] > 1e-6f ? w[i] : 1e-6f;
    }
    p->n_important++;
    *out = w;
    return WOQ_OK;
}

/* The type of a float matrix, and its bytes where it has them in that type. */
static void choose_type(struct woq_sink *s, const struct woq_frame *f, const struct woq_tensor *t,
                        const char *gguf_name, struct rows_job *j)
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
                    struct rows_job *j, struct woq_qview *q, size_t *n_rows, bool *matrix,
                    struct woq_error *err)
{
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
    rc = find_importance(s, f, gguf_name, t.n_cols, &j->importance, err);
    choose_type(s, f, &t, gguf_name, j);
    return rc;
}

static int gguf_tensor(struct woq_sink *s, const struct woq_frame *f, enum woq_role role,
                       struct woq_error *err)
{
    struct gguf *p = s->priv;
    struct rows_job j = { 0 };
    struct woq_qview q;
    struct info *i;
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
    i = new_info(p, name, err);
    if (!i)
        return WOQ_ENOMEM;
    i->n_dims = matrix ? 2 : 1;
    i->ne[0] = matrix ? j.n_cols : n_rows;
    i->ne[1] = n_rows;
    i->type = j.type;
    rc = put_rows(p, &j, n_rows, err);
    return rc == WOQ_OK ? end_tensor(s, i, err) : rc;
}

/* --- the end --- */

/* The type of most weights. */
static const struct woq_ggml_type *most_common(const struct gguf *p)
{
    uint64_t n[64] = { 0 };
    uint32_t best = WOQ_GGML_F16;

    for (size_t i = 0; i < p->n_infos; i++)
        if (p->infos[i].n_dims == 2)
            n[p->infos[i].type->id % 64] += p->infos[i].ne[0] * p->infos[i].ne[1];
    for (uint32_t id = 0; id < 64; id++)
        best = n[id] > n[best] ? id : best;
    return woq_ggml_type(best);
}

static int add_u64(struct woq_str *h, uint64_t x)
{
    return woq_str_add(h, &x, 8);
}

static int add_info(struct woq_str *h, const struct info *i)
{
    const uint32_t n_dims = i->n_dims, type = i->type->id;
    int rc = add_u64(h, strlen(i->name));

    if (rc == WOQ_OK)
        rc = woq_str_add(h, i->name, strlen(i->name));
    if (rc == WOQ_OK)
        rc = woq_str_add(h, &n_dims, 4);
    if (rc == WOQ_OK)
        rc = woq_str_add(h, i->ne, 8 * n_dims);
    if (rc == WOQ_OK)
        rc = woq_str_add(h, &type, 4);
    return rc == WOQ_OK ? add_u64(h, i->offset) : rc;
}

static int make_header(const struct gguf *p, struct woq_str *h)
{
    static const char magic[8] = "GGUF\3\0\0";
    static const char zeros[ALIGN];
    int rc = woq_str_add(h, magic, 8);

    if (rc == WOQ_OK)
        rc = add_u64(h, p->n_infos);
    if (rc == WOQ_OK)
        rc = add_u64(h, p->keys.n);
    if (rc == WOQ_OK)
        rc = woq_str_add(h, p->keys.text.s, p->keys.text.len);
    for (size_t i = 0; i < p->n_infos && rc == WOQ_OK; i++)
        rc = add_info(h, &p->infos[i]);
    return rc == WOQ_OK ? woq_str_add(h, zeros, woq_align(h->len, ALIGN) - h->len) : rc;
}

static int gguf_finish(struct woq_sink *s, struct woq_error *err)
{
    struct gguf *p = s->priv;
    struct woq_str h = { 0 };
    const uint32_t type = woq_gguf_file_type(&p->types, most_common(p));
    int rc;

    if (s->opts.imatrix && !p->n_important)
        return woq_fail(err, WOQ_EDATA, "was it measured on this model?",
                        "%s: no entry names a float matrix of the stream", s->opts.imatrix);
    memcpy(p->keys.text.s + p->keys.file_type_at, &type, 4);
    rc = make_header(p, &h) == WOQ_OK ? WOQ_OK : woq_fail_nomem(err, h.len);
    if (rc == WOQ_OK)
        rc = woq_outfile_shift(&p->file, p->data_start, h.len, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_write_at(&p->file, h.s, h.len, 0, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_finish(&p->file, err);
    woq_str_release(&h);
    s->report.n_files = 1;
    s->report.n_tensors = p->n_infos;
    s->report.file_bytes = p->file.at;
    return rc;
}

static void gguf_release(struct woq_sink *s)
{
    struct gguf *p = s->priv;

    if (!p)
        return;
    woq_outfile_abort(&p->file);
    woq_gguf_keys_release(&p->keys);
    woq_gguf_types_release(&p->types);
    woq_buf_release(&p->out[0]);
    woq_buf_release(&p->out[1]);
    woq_buf_release(&p->rows);
    woq_buf_release(&p->importance);
    woq_imatrix_release(&p->imatrix);
    free(p->infos);
    free(p);
    s->priv = NULL;
}

const struct woq_sink_ops woq_gguf_sink = { .is_folder = false,
                                            .open = gguf_open,
                                            .model = gguf_model,
                                            .tensor = gguf_tensor,
                                            .finish = gguf_finish,
                                            .release = gguf_release };
