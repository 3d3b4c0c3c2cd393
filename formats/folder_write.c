/* folder_write.c -- checkpoints as folders: safetensors with float weights, or packed ones. Side
 * files are copied byte for byte; config.json too, unless the dtype or the quantization it tells
 * changed.
 */
#include <formats/coded.h>
#include <formats/folder_layout.h>
#include <formats/packed_write.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/chat.h>
#include <woq/threads.h>

/* Elements that are converted at once: bounds the memory, whatever the tensor. */
#define CHUNK_ELEMS ((size_t)4 << 20)
enum { ITEM_ELEMS = 1 << 16, RUN_ELEMS = 2048 };

struct folder {
    const struct woq_packed_format *packed; /* one of the two, or floats */
    const struct woq_coded_method *coded;
    enum woq_dtype dtype; /* WOQ_NO_DTYPE: keep */
    bool dequantized;     /* some QTEN was written as floats */
    struct woq_st_writer st;
    struct woq_packed_writer packer;
    struct woq_layout layout;
    struct woq_coded_writer coder;
    struct woq_buf out, rows;
    char *config_text;
    size_t config_bytes;
    size_t n_side;
    uint64_t side_bytes;
};

static int folder_open(struct woq_sink *s, struct woq_error *err)
{
    struct folder *p = calloc(1, sizeof *p);
    const char *dtype = s->opts.dtype;
    uint64_t frames = 0;

    s->priv = p;
    if (!p)
        return woq_fail_nomem(err, sizeof *p);
    p->packed = woq_packed_format(s->opts.format);
    p->coded = woq_coded_by_format(s->opts.format);
    if (!dtype || !strcmp(dtype, "auto"))
        dtype = p->packed || p->coded ? "f16" : "keep";
    p->dtype = woq_dtype_from_name(dtype);
    if (!woq_json_u64(woq_json_get(woq_json_get(s->head, "total"), "frames"), &frames))
        frames = 500;
    woq_st_writer_init(&p->st, &s->out, s->opts.shard_bytes,
                       p->packed || p->coded ? 4 * frames : frames);
    if (p->coded && s->opts.checkpoint_format && strcmp(s->opts.checkpoint_format, "auto") != 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--checkpoint-format %s: --format %s has auto",
                        s->opts.checkpoint_format, s->opts.format);
    if (p->coded)
        return woq_coded_writer_init(&p->coder, p->coded, p->dtype, &p->st, &s->report, err);
    if (!p->packed)
        return WOQ_OK;
    const int rc = woq_packed_writer_init(&p->packer, p->packed, &s->opts, err);
    p->packed = p->packer.format; /* or what its choice was */
    if (rc == WOQ_OK && p->packed->torch)
        woq_st_writer_torch(&p->st, p->packed->torch);
    return rc;
}

/* --- side files --- */

static int write_file(struct woq_sink *s, const char *name, const void *data, size_t bytes,
                      struct woq_error *err)
{
    struct folder *p = s->priv;
    struct woq_outfile f = { 0 };
    int rc = woq_outfile_open(&f, &s->out, name, err);

    if (rc == WOQ_OK)
        rc = woq_outfile_add(&f, data, bytes, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_finish(&f, err);
    woq_outfile_abort(&f);
    p->n_side++;
    p->side_bytes += bytes;
    return rc;
}

/* Names come from the stream: only plain ones, and none that we write ourselves. */
static bool is_ours(const char *name)
{
    const char *dot = strrchr(name, '.');

    return !strcmp(name, "config.json") || !strcmp(name, "quantize_config.json") ||
           !strcmp(name, "quant_config.json") || !strcmp(name, "quantization_config.json") ||
           !strcmp(name, "qconfig.json") || !strcmp(name, "quantized_weight.pt") ||
           !strcmp(name, "model.safetensors.index.json") ||
           (dot && (!strcmp(dot, ".safetensors") || !strcmp(dot, ".tmp")));
}

/* A name in the folder, or in that of chat templates. */
static bool is_plain(const char *name)
{
    static const char folder[] = WOQ_CHAT_FOLDER "/";
    const bool in = !strncmp(name, folder, sizeof folder - 1);
    const char *file = in ? name + sizeof folder - 1 : name, *dot = strrchr(file, '.');

    return *file && *file != '.' && !strpbrk(file, "/\\") &&
           (!in || (dot && !strcmp(dot, ".jinja")));
}

static int folder_model(struct woq_sink *s, const struct woq_frame *modl, struct woq_error *err)
{
    struct folder *p = s->priv;
    const struct woq_array *config = woq_frame_array(modl, "config.json");
    int rc = WOQ_OK;

    p->config_bytes = config->bytes;
    p->config_text = malloc(config->bytes + 1);
    if (!p->config_text)
        return woq_fail_nomem(err, config->bytes);
    memcpy(p->config_text, config->data, config->bytes);
    for (size_t i = 0; i < modl->n_arrays && rc == WOQ_OK; i++) {
        const struct woq_array *a = &modl->arrays[i];
        if (is_ours(a->name))
            continue;
        if (!is_plain(a->name))
            return woq_fail(err, WOQ_EDATA, "look at the MODL frame with woq-ls",
                            "side file '%s': want a plain file name", a->name);
        rc = write_file(s, a->name, a->data, a->bytes, err);
    }
    return rc;
}

/* --- float tensors --- */

struct cast {
    uint8_t *dst;
    const uint8_t *src;
    enum woq_dtype from, to;
    size_t n;
    atomic_bool bad; /* a value that is not finite in `to` */
};

static bool finite_bits(const void *x, enum woq_dtype d, size_t n)
{
    const uint16_t *h = x, mask = d == WOQ_F16 ? 0x7c00 : 0x7f80;
    const uint32_t *w = x;
    unsigned bad = 0;

    if (d == WOQ_F32)
        for (size_t i = 0; i < n; i++)
            bad |= (w[i] & 0x7f800000) == 0x7f800000;
    else if (d == WOQ_F16 || d == WOQ_BF16)
        for (size_t i = 0; i < n; i++)
            bad |= (h[i] & mask) == mask;
    return !bad;
}

static void cast_item(void *ctx, size_t item, int thread)
{
    struct cast *c = ctx;
    const size_t from = woq_dtype_bytes(c->from), to = woq_dtype_bytes(c->to);
    const size_t end = (item + 1) * ITEM_ELEMS < c->n ? (item + 1) * ITEM_ELEMS : c->n;
    float x[RUN_ELEMS];

    (void)thread;
    for (size_t i = item * ITEM_ELEMS; i < end; i += RUN_ELEMS) {
        const size_t n = end - i < RUN_ELEMS ? end - i : RUN_ELEMS;
        const void *at = c->src + i * from;
        if (c->from != c->to) {
            woq_to_f32(x, at, c->from, n);
            woq_from_f32(c->dst + i * to, c->to, x, n);
            at = c->dst + i * to;
        }
        if (!finite_bits(at, c->to, n))
            c->bad = true;
    }
}

/* A chunk in the dtype of the file: a pointer into src or into p->out. */
static int cast_chunk(struct folder *p, const void **out, const void *src, enum woq_dtype from,
                      enum woq_dtype to, size_t n, bool check, struct woq_error *err)
{
    struct cast c = { NULL, src, from, to, n, false };

    if (from != to) {
        c.dst = woq_buf_need(&p->out, n * woq_dtype_bytes(to), err);
        if (!c.dst)
            return WOQ_ENOMEM;
    }
    if (from != to || check)
        woq_parallel((n + ITEM_ELEMS - 1) / ITEM_ELEMS, cast_item, &c);
    if (c.bad)
        return woq_fail(err, WOQ_EDATA,
                        to == WOQ_F16 ? "look at it with woq-cat --stats; --dtype bf16 or f32 hold "
                                        "more than 65504"
                                      : "look at it with woq-cat --stats",
                        "a value is not finite in %s", woq_dtype_name(to));
    *out = from != to ? c.dst : src;
    return WOQ_OK;
}

/* A tensor that the folder keeps otherwise than the stream, whole in memory. */
static int put_whole(struct woq_sink *s, const struct woq_place *at, const char *name,
                     const void *data, enum woq_dtype from, enum woq_dtype to, unsigned n_dims,
                     const uint64_t *shape, struct woq_error *err)
{
    struct folder *p = s->priv;
    const size_t n = (size_t)shape[0] * (n_dims > 1 ? (size_t)shape[1] : 1);
    const void *bytes = NULL;
    int rc = n_dims == 1 || n_dims == 2
                 ? cast_chunk(p, &bytes, data, from, to, n, true, err)
                 : woq_fail(err, WOQ_EDATA, NULL, "%u dims, want 1 or 2", n_dims);

    if (rc == WOQ_OK)
        rc = woq_layout_put(&p->layout, &p->st, &s->shape, at, name, to, n_dims, shape, bytes, err);
    s->report.n_weights += n;
    s->report.tensor_bytes += n * woq_dtype_bytes(to);
    return rc;
}

static int put_float(struct woq_sink *s, const struct woq_frame *f, enum woq_role role,
                     struct woq_error *err)
{
    struct folder *p = s->priv;
    const struct woq_array *a;
    const void *bytes = NULL;
    struct woq_place at;
    enum woq_dtype to;
    size_t width;
    int rc = woq_frame_want(f, "data", WOQ_NO_DTYPE, 0, &a, err);

    if (rc)
        return rc;
    to = woq_dtype_is_float(a->dtype) && p->dtype ? p->dtype : a->dtype;
    width = woq_dtype_bytes(a->dtype);
    if (!p->packed && !p->coded && woq_layout_differs(&s->shape, woq_frame_name(f), &at))
        return put_whole(s, &at, woq_frame_name(f), a->data, a->dtype, to, a->n_dims, a->shape,
                         err);
    rc = woq_st_begin(&p->st, woq_frame_name(f), to, a->n_dims, a->shape, err);
    for (size_t i = 0; i < a->n_elem && rc == WOQ_OK; i += CHUNK_ELEMS) {
        const size_t n = a->n_elem - i < CHUNK_ELEMS ? a->n_elem - i : CHUNK_ELEMS;
        rc = cast_chunk(p, &bytes, (const uint8_t *)a->data + i * width, a->dtype, to, n,
                        role != WOQ_ROLE_NONE, err);
        if (rc == WOQ_OK)
            rc = woq_st_data(&p->st, bytes, n * woq_dtype_bytes(to), err);
    }
    s->report.n_weights += a->n_elem;
    s->report.tensor_bytes += a->n_elem * woq_dtype_bytes(to);
    if (rc == WOQ_OK && p->packed && a->n_dims == 2 && woq_role_is_linear(role))
        rc = woq_packed_keep_float(&p->packer, woq_frame_name(f),
                                   (long)woq_json_get_int(f->meta, "block", -1), err);
    if (rc == WOQ_OK && p->coded && a->n_dims == 2 &&
        (woq_role_is_linear(role) || role == WOQ_ROLE_HEAD))
        rc = woq_coded_keep_float(&p->coder, woq_frame_name(f), err);
    return rc;
}

/* --- quantized tensors as floats --- */

struct rows_job {
    float *dst;
    const struct woq_qview *q;
    size_t row0, row1;
};

enum { ITEM_ROWS = 16 };

static void rows_item(void *ctx, size_t item, int thread)
{
    const struct rows_job *j = ctx;
    const size_t a = j->row0 + item * ITEM_ROWS;
    const size_t b = a + ITEM_ROWS < j->row1 ? a + ITEM_ROWS : j->row1;

    (void)thread;
    woq_dequant_rows(j->dst + (a - j->row0) * j->q->n_cols, j->q, a, b);
}

static int put_dequantized(struct woq_sink *s, const struct woq_frame *f, struct woq_error *err)
{
    struct folder *p = s->priv;
    const enum woq_dtype to = p->dtype ? p->dtype : WOQ_F32;
    struct woq_qview q;
    struct rows_job j = { NULL, &q, 0, 0 };
    const void *bytes = NULL;
    struct woq_place at;
    size_t step;
    int rc = woq_qview_init(&q, f, err);

    if (rc)
        return rc;
    p->dequantized = true;
    if (woq_layout_differs(&s->shape, woq_frame_name(f), &at)) {
        const float *data;
        size_t rows, cols;

        rc = woq_weight_f32(f, &rows, &cols, &data, &p->rows, err);
        return rc ? rc
                  : put_whole(s, &at, woq_frame_name(f), data, WOQ_F32, to, 2,
                              (const uint64_t[]){ rows, cols }, err);
    }
    step = CHUNK_ELEMS / (q.n_cols ? q.n_cols : 1);
    step = step ? step : 1;
    step = step < q.n_rows ? step : q.n_rows;
    j.dst = woq_buf_need(&p->rows, step * q.n_cols * sizeof(float), err);
    if (!j.dst)
        return WOQ_ENOMEM;
    rc = woq_st_begin(&p->st, woq_frame_name(f), to, 2, (const uint64_t[]){ q.n_rows, q.n_cols },
                      err);
    for (j.row0 = 0; j.row0 < q.n_rows && rc == WOQ_OK; j.row0 = j.row1) {
        j.row1 = q.n_rows - j.row0 < step ? q.n_rows : j.row0 + step;
        const size_t n = (j.row1 - j.row0) * q.n_cols;
        woq_parallel((j.row1 - j.row0 + ITEM_ROWS - 1) / ITEM_ROWS, rows_item, &j);
        rc = cast_chunk(p, &bytes, j.dst, WOQ_F32, to, n, true, err);
        if (rc == WOQ_OK)
            rc = woq_st_data(&p->st, bytes, n * woq_dtype_bytes(to), err);
    }
    s->report.n_weights += (uint64_t)q.n_rows * q.n_cols;
    s->report.tensor_bytes += (uint64_t)q.n_rows * q.n_cols * woq_dtype_bytes(to);
    return rc;
}

static int folder_tensor(struct woq_sink *s, const struct woq_frame *f, enum woq_role role,
                         struct woq_error *err)
{
    struct folder *p = s->priv;

    if (!woq_frame_is(f, "QTEN"))
        return put_float(s, f, role, err);
    if (!p->packed && !p->coded)
        return put_dequantized(s, f, err);
    if (!woq_role_is_linear(role) && role != WOQ_ROLE_HEAD && role != WOQ_ROLE_NONE)
        return woq_fail(err, WOQ_ETYPE, "leave it alone in the scheme",
                        "%s holds linear layers, this is a quantized %s", s->opts.format,
                        woq_role_name(role));
    return p->coded ? woq_coded_put(&p->coder, f, err)
                    : woq_packed_put(&p->packer, &p->st, f, &s->report, err);
}

/* --- the end --- */

static const char *torch_name(enum woq_dtype d)
{
    return d == WOQ_F16 ? "float16" : d == WOQ_BF16 ? "bfloat16" : "float32";
}

static int write_json(struct woq_sink *s, const char *name, const struct woq_json *j,
                      struct woq_error *err)
{
    char *text = woq_json_print(j, true), *line;
    size_t n;
    int rc;

    if (!text)
        return woq_fail_nomem(err, 1 << 10);
    n = strlen(text);
    line = realloc(text, n + 2);
    if (!line) {
        free(text);
        return woq_fail_nomem(err, n);
    }
    memcpy(line + n, "\n", 2);
    rc = write_file(s, name, line, n + 1, err);
    free(line);
    return rc;
}

/* "torch_dtype" is what transformers 4 reads, "dtype" the name since then: the ones present change,
 * and one is always there. */
static void set_dtype(struct woq_json *config, const char *name)
{
    const bool has_new = woq_json_get(config, "dtype") != NULL;

    if (has_new)
        woq_json_set_str(config, "dtype", name);
    if (!has_new || woq_json_get(config, "torch_dtype"))
        woq_json_set_str(config, "torch_dtype", name);
}

static int write_config(struct woq_sink *s, struct woq_error *err)
{
    struct folder *p = s->priv;
    struct woq_json *c = NULL;
    const enum woq_dtype dtype = p->dtype ? p->dtype : p->dequantized ? WOQ_F32 : WOQ_NO_DTYPE;
    int rc = WOQ_OK;

    if (!p->packed && !p->coded && !dtype && !woq_json_get(s->config, "quantization_config"))
        return write_file(s, "config.json", p->config_text, p->config_bytes, err);
    woq_json_del(s->config, "quantization_config");
    if (p->packed) {
        c = p->packed->config(&p->packer, err);
        if (!c)
            return err ? err->status : WOQ_ETYPE;
        rc = p->packed->side_file ? write_json(s, p->packed->side_file, c, err) : WOQ_OK;
        if (p->packed->torch)
            woq_json_free(c);
        else
            woq_json_set(s->config, "quantization_config", c);
    }
    if (p->coded) {
        c = woq_coded_config(&p->coder, err);
        if (!c)
            return err ? err->status : WOQ_ETYPE;
        woq_json_set(s->config, "quantization_config", c);
    }
    if (dtype)
        set_dtype(s->config, torch_name(dtype));
    return rc == WOQ_OK ? write_json(s, "config.json", s->config, err) : rc;
}

static int folder_finish(struct woq_sink *s, struct woq_error *err)
{
    struct folder *p = s->priv;
    struct woq_sink_report *r = &s->report;
    int rc = woq_layout_finish(&p->layout, err);

    if (rc == WOQ_OK && p->packed)
        rc = woq_packed_name(&p->packer, &p->st, err);
    if (rc == WOQ_OK)
        rc = woq_st_seal(&p->st, err);
    if (rc == WOQ_OK && p->packed)
        rc = woq_packed_settle(&p->packer, &p->st, err);
    if (rc == WOQ_OK)
        rc = write_config(s, err);
    if (rc == WOQ_OK)
        rc = woq_st_finish(&p->st, err);
    r->n_tensors = p->st.n_entries;
    r->n_files = p->n_side + p->st.n_shards + (p->st.n_shards > 1);
    r->file_bytes = p->side_bytes + p->st.file_bytes;
    return rc;
}

static void folder_release(struct woq_sink *s)
{
    struct folder *p = s->priv;

    if (!p)
        return;
    woq_st_writer_release(&p->st);
    woq_packed_writer_release(&p->packer);
    woq_layout_release(&p->layout);
    woq_coded_writer_release(&p->coder);
    woq_buf_release(&p->out);
    woq_buf_release(&p->rows);
    free(p->config_text);
    free(p);
    s->priv = NULL;
}

const struct woq_sink_ops woq_folder_sink = { .is_folder = true,
                                              .open = folder_open,
                                              .model = folder_model,
                                              .tensor = folder_tensor,
                                              .finish = folder_finish,
                                              .release = folder_release };
