/* gguf_fill.c -- see the header. */
#include <formats/gguf_fill.h>

#include <formats/ggml_grid.h>
#include <formats/gguf_arch.h>
#include <math.h>
#include <string.h>
#include <woq/kernels.h>

static int view(struct woq_gguf_input *in, const struct woq_frame *f, struct woq_error *err)
{
    int rc;

    in->f = f;
    in->is_q = woq_frame_is(f, "QTEN");
    if (in->is_q) {
        if ((rc = woq_qview_init(&in->q, f, err)) < 0 ||
            (rc = woq_ggml_grid(&in->q, &in->grid, err)) < 0)
            return rc;
        in->n_rows = in->q.n_rows;
        in->n_cols = in->q.n_cols;
        return WOQ_OK;
    }
    if ((rc = woq_frame_view(f, &in->t, err)) < 0)
        return rc;
    if (in->t.n_dims < 1 || in->t.n_dims > 2 || !woq_dtype_is_float(in->t.dtype) || !in->t.n_elem)
        return woq_fail(err, WOQ_ETYPE, NULL, "%u dimensions of %s: want 1 or 2 of a float type",
                        in->t.n_dims, woq_dtype_name(in->t.dtype));
    in->n_rows = in->t.n_dims == 2 ? in->t.n_rows : in->t.n_elem;
    in->n_cols = in->t.n_dims == 2 ? in->t.n_cols : 1;
    return WOQ_OK;
}

static int check_shape(const struct woq_sink *s, const struct woq_gguf_input *in,
                       struct woq_error *err)
{
    uint64_t shape[2];
    unsigned n_dims;

    if (!woq_config_shape(&s->shape, &in->place, &n_dims, shape))
        return woq_fail(err, WOQ_ETYPE, "use --format safetensors or gptq",
                        "GGUF has no name for this tensor in architecture '%s'",
                        woq_gguf_arch_of(s->shape.arch)->name);
    if (in->n_rows != shape[0] || in->n_cols != shape[1])
        return woq_fail(err, WOQ_EDATA, "the stream and its config.json do not belong together",
                        "%zu rows of %zu, but config.json says %llu of %llu", in->n_rows,
                        in->n_cols, (unsigned long long)shape[0], (unsigned long long)shape[1]);
    return WOQ_OK;
}

int woq_gguf_input_init(struct woq_gguf_input *in, const struct woq_sink *s,
                        const struct woq_frame *f, struct woq_error *err)
{
    int rc;

    memset(in, 0, sizeof *in);
    woq_arch_place(s->shape.arch, woq_frame_name(f), &in->place);
    rc = view(in, f, err);
    return rc == WOQ_OK ? check_shape(s, in, err) : rc;
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
static int fill_floats(struct woq_gguf_filler *p, struct woq_sink *s,
                       const struct woq_gguf_input *in, const struct woq_gguf_part *part,
                       const struct woq_gguf_info *there, struct woq_gguf_rows *r,
                       struct woq_error *err)
{
    const struct woq_ggml_type *raw_type;
    const struct woq_array *raw = raw_of(in->f, &in->t, &raw_type);
    struct woq_gguf_matrix m = { .name = in->t.name,
                                 .gguf_name = part->name,
                                 .role = in->place.role,
                                 .block = in->place.block,
                                 .n_cols = part->n_cols,
                                 .raw = raw_type };
    const bool expert = woq_role_is_expert(in->place.role);
    bool fell_back = false;
    int rc = WOQ_OK;

    r->src = in->t.data;
    r->dtype = in->t.dtype;
    r->type = woq_ggml_type(WOQ_GGML_F32);
    if (part->is_float || part->n_dims < 2)
        return WOQ_OK;
    if (in->place.role != WOQ_ROLE_KV_B)
        rc = woq_gguf_importance_of(&p->importance, s, in->f, part->name,
                                    expert ? in->place.index : 0, expert ? s->shape.n_experts : 1,
                                    part->n_cols, &r->importance, err);
    m.has_importance = r->importance != NULL;
    r->type = there ? there->type : woq_gguf_type_of(&p->types, &s->shape, &m, &fell_back);
    s->report.n_fell_back += fell_back;
    if (raw && r->type == raw_type && !r->change)
        r->raw = raw->data;
    return rc;
}

/* Which row comes where in a part; NULL: as they are. */
static int fill_order(struct woq_gguf_filler *p, const struct woq_sink *s,
                      const struct woq_gguf_input *in, size_t part, size_t n_rows,
                      const uint32_t **out, struct woq_error *err)
{
    uint32_t *from;

    *out = NULL;
    if (!woq_gguf_moves_rows(&s->shape, 0, &in->place))
        return WOQ_OK;
    if (!(from = woq_buf_need(&p->rows, n_rows * sizeof *from, err)))
        return WOQ_ENOMEM;
    for (size_t row = 0; row < in->n_rows; row++) {
        size_t k, to;

        woq_gguf_row(&s->shape, 0, &in->place, row, &k, &to);
        if (k == part)
            from[to] = (uint32_t)row;
    }
    *out = from;
    return WOQ_OK;
}

/* A part whose heads are transposed: its values, codes decoded, as rows of the file. */
static int turn(struct woq_gguf_filler *p, struct woq_sink *s, const struct woq_gguf_input *in,
                const struct woq_gguf_part *part, struct woq_gguf_rows *r, struct woq_error *err)
{
    const size_t per_head = part->n_rows / part->n_heads;
    struct woq_gguf_matrix m = { .name = woq_frame_name(in->f),
                                 .gguf_name = part->name,
                                 .role = in->place.role,
                                 .block = in->place.block,
                                 .n_cols = per_head };
    const float *x;
    size_t n_rows, n_cols;
    bool fell_back;
    float *y = woq_buf_need(&p->turned, part->n_rows * part->n_cols * sizeof *y, err);
    const int rc = y ? woq_weight_f32(in->f, &n_rows, &n_cols, &x, &p->floats, err) : WOQ_ENOMEM;

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < part->n_rows; i++) {
        const float *row = x + (r->from ? r->from[i] : i) * n_cols;
        float *head = y + i / per_head * n_cols * per_head + i % per_head;

        for (size_t col = 0; col < n_cols; col++)
            head[col * per_head] = row[col];
    }
    *r = (struct woq_gguf_rows){ .src = (const uint8_t *)y, .dtype = WOQ_F32, .n_cols = per_head };
    r->type = woq_gguf_type_of(&p->types, &s->shape, &m, &fell_back);
    s->report.n_fell_back += fell_back;
    return WOQ_OK;
}

int woq_gguf_fill(struct woq_gguf_filler *p, struct woq_sink *s, const struct woq_gguf_input *in,
                  size_t k, const struct woq_gguf_part *part, const struct woq_gguf_info *there,
                  struct woq_gguf_rows *rows, size_t *n_rows, struct woq_error *err)
{
    int rc;

    *rows = (struct woq_gguf_rows){ .n_cols = part->n_cols,
                                    .type = in->grid,
                                    .q = in->is_q ? &in->q : NULL,
                                    .change = change_of(&s->shape, &in->place) };
    *n_rows = part->n_rows;
    if (in->is_q && rows->change)
        return woq_fail(err, WOQ_ETYPE, "leave the head alone: woq-scheme --set 'lm_head ...'",
                        "codes of a head whose rows are to be normalised have no form in GGUF");
    if ((rc = fill_order(p, s, in, k, part->n_rows, &rows->from, err)) < 0)
        return rc;
    if (part->n_heads) {
        *n_rows = part->n_heads * part->n_cols;
        return turn(p, s, in, part, rows, err);
    }
    return in->is_q ? WOQ_OK : fill_floats(p, s, in, part, there, rows, err);
}

void woq_gguf_filler_release(struct woq_gguf_filler *p)
{
    woq_gguf_types_release(&p->types);
    woq_gguf_importance_release(&p->importance);
    woq_buf_release(&p->rows);
    woq_buf_release(&p->floats);
    woq_buf_release(&p->turned);
    memset(p, 0, sizeof *p);
}
