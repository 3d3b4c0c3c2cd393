/* coded.c -- the table of methods, and what they share. */
#include <formats/coded.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITES(name) woq_##name##_put, woq_##name##_config, woq_##name##_bytes
static const struct woq_coded_method methods[] = {
    { "bnb", "bitsandbytes", "llm_int8_skip_modules", WRITES(bnb) },
    { "hqq", "hqq", "skip_modules", WRITES(hqq) },
    { "fp8", "fp8", "modules_to_not_convert", WRITES(fp8) },
};
#define N_METHODS (sizeof methods / sizeof *methods)

const struct woq_coded_method *woq_coded_by_format(const char *name)
{
    for (size_t i = 0; name && i < N_METHODS; i++)
        if (strcmp(methods[i].format, name) == 0)
            return &methods[i];
    return NULL;
}

int woq_coded_item(struct woq_linear *l, const char *method)
{
    if (strcmp(l->dtype, "int") == 0)
        snprintf(l->stored, sizeof l->stored, "%s%d", method, l->bits);
    else
        memcpy(l->stored, l->dtype, sizeof l->stored);
    return WOQ_ITEM;
}

int woq_coded_want(const struct woq_linear *l, size_t part, const char *stored, uint64_t n,
                   struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[part];
    uint64_t has = 1;

    if (!t)
        return woq_fail(err, WOQ_EDATA, "the checkpoint is not complete", "'%s' has no tensor '%s'",
                        l->codes->name, l->kind->suffix[part]);
    for (unsigned d = 0; d < t->n_dims; d++)
        has *= t->shape[d]; /* checked against the bytes when the file was opened */
    if (!woq_word_in(stored, t->stored))
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "'%s' is %s, want %s", t->name, t->stored,
                        stored);
    if (has != n)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has %llu elements, want %llu", t->name,
                        (unsigned long long)has, (unsigned long long)n);
    return WOQ_OK;
}

int woq_coded_floats(float *dst, const struct woq_st_tensor *t, struct woq_error *err)
{
    const size_t width = woq_dtype_bytes(t->dtype), n = width ? t->bytes / width : 0;
    void *copy = woq_alloc(t->bytes + 1, err);

    if (!copy)
        return WOQ_ENOMEM;
    memcpy(copy, t->data, t->bytes);
    woq_to_f32(dst, copy, t->dtype, n);
    free(copy);
    return WOQ_OK;
}

int woq_coded_begin(struct woq_frame *f, const struct woq_linear *l, size_t n_groups,
                    struct woq_qarrays *a, struct woq_error *err)
{
    const uint64_t shape[2] = { l->n_out, l->n_in };
    const uint64_t groups[2] = { l->by_column ? n_groups : l->n_out,
                                 l->by_column ? l->n_in : n_groups };
    void *codes, *scale;
    int rc;

    memset(a, 0, sizeof *a);
    if ((rc = woq_frame_alloc(f, "codes", WOQ_U8, 2, shape, &codes, err)) ||
        (rc = woq_frame_alloc(f, "scale", WOQ_F32, 2, groups, &scale, err)))
        return rc;
    a->codes = codes;
    a->scale = scale;
    a->n_scales = (size_t)(groups[0] * groups[1]);
    return WOQ_OK;
}

size_t woq_coded_width(const struct woq_linear *l)
{
    size_t a = l->group, b = l->n_in;

    while (b) {
        const size_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

void woq_coded_spread(float *scale, const float *value, const struct woq_linear *l, size_t width)
{
    const size_t n_groups = l->n_in / width;

    for (size_t r = 0; r < l->n_out; r++)
        for (size_t g = 0; g < n_groups; g++)
            scale[r * n_groups + g] = value[(r * l->n_in + g * width) / l->group];
}

int woq_coded_meta(struct woq_frame *f, const struct woq_linear *l, const struct woq_scheme *s,
                   struct woq_error *err)
{
    struct woq_json *meta = woq_frame_edit(f);

    if (l->compute_dtype[0])
        woq_json_set_str(meta, "compute_dtype", l->compute_dtype);
    woq_json_set(meta, "quant", woq_scheme_to_json(s));
    return woq_json_get(meta, "quant") ? WOQ_OK : woq_fail_nomem(err, 1 << 10);
}

/* --- writing --- */
int woq_coded_writer_init(struct woq_coded_writer *w, const struct woq_coded_method *m,
                          enum woq_dtype dtype, struct woq_st_writer *st,
                          struct woq_sink_report *report, struct woq_error *err)
{
    (void)err;
    *w = (struct woq_coded_writer){ .method = m, .st = st, .report = report, .dtype = dtype };
    return WOQ_OK;
}

void woq_coded_writer_release(struct woq_coded_writer *w)
{
    for (size_t i = 0; i < w->n_floats; i++)
        free(w->floats[i]);
    free(w->floats);
    woq_buf_release(&w->bytes);
    woq_buf_release(&w->values);
    memset(w, 0, sizeof *w);
}

/* The module that a weight belongs to; the caller frees. */
static char *module_of(const char *name)
{
    const size_t n = strlen(name), tail = strlen(".weight");

    return n > tail && strcmp(name + n - tail, ".weight") == 0 ? strndup(name, n - tail) : NULL;
}

int woq_coded_keep_float(struct woq_coded_writer *w, const char *name, struct woq_error *err)
{
    char *module = module_of(name);

    if (!module)
        return WOQ_OK;
    if (w->n_floats == w->cap_floats) {
        const size_t cap = w->cap_floats ? 2 * w->cap_floats : 16;
        char **grown = realloc(w->floats, cap * sizeof *grown);
        if (!grown) {
            free(module);
            return woq_fail_nomem(err, cap * sizeof *grown);
        }
        w->floats = grown;
        w->cap_floats = cap;
    }
    w->floats[w->n_floats++] = module;
    return WOQ_OK;
}

int woq_coded_tensor(struct woq_coded_writer *w, const char *suffix, const char *stored,
                     enum woq_dtype dtype, unsigned n_dims, const uint64_t *shape, const void *data,
                     struct woq_error *err)
{
    struct woq_str name = { 0 };
    uint64_t bytes = woq_dtype_bytes(dtype);
    int rc = woq_str_addf(&name, "%s.%s", w->module, suffix);

    for (unsigned d = 0; d < n_dims; d++)
        bytes *= shape[d];
    if (rc != WOQ_OK)
        rc = woq_fail_nomem(err, 256);
    else
        rc = woq_st_put_as(w->st, name.s, stored, dtype, n_dims, shape, data, err);
    woq_str_release(&name);
    w->report->tensor_bytes += bytes;
    w->report->quantized_bytes += bytes;
    return rc;
}

int woq_coded_check(const struct woq_qview *q, const char *format, struct woq_error *err)
{
    if ((!q->g_idx || q->group_dim == 0) && !q->in_scale)
        return WOQ_OK;
    return woq_fail(err, WOQ_ETYPE, "put 'woq-dequant' before this, or quantize without it",
                    "%s has no form in %s",
                    q->in_scale ? "a scale per input" : "a permuted group index (act_order)",
                    format);
}

int woq_coded_put(struct woq_coded_writer *w, const struct woq_frame *f, struct woq_error *err)
{
    static const char *const torch[] = {
        [WOQ_F16] = "float16", [WOQ_BF16] = "bfloat16", [WOQ_F32] = "float32"
    };
    const char *told = woq_json_get_str(f->meta, "compute_dtype");
    char *module = module_of(woq_frame_name(f));
    struct woq_qview q;
    int rc = woq_qview_init(&q, f, err);

    w->compute_dtype = w->dtype ? torch[w->dtype] : told ? told : "float16";
    w->module = module;
    if (rc == WOQ_OK && !module)
        rc = woq_fail(err, WOQ_ETYPE, "rename it, or leave it alone",
                      "a quantized linear is named MODULE.weight");
    if (rc == WOQ_OK)
        rc = woq_coded_check(&q, w->method->format, err);
    if (rc == WOQ_OK)
        rc = w->method->put(w, f, &q, err);
    if (rc == WOQ_OK) {
        w->any = true;
        w->head = w->head || strcmp(module, "lm_head") == 0;
        w->report->n_weights += (uint64_t)q.n_rows * q.n_cols;
        w->report->n_quantized += (uint64_t)q.n_rows * q.n_cols;
    }
    free(module);
    w->module = NULL;
    return rc;
}

/* The head is among them unless it came quantized: where it is tied, no tensor tells. */
static int add_floats(const struct woq_coded_writer *w, struct woq_json *c)
{
    struct woq_json *list = woq_json_array();
    bool head = w->head;

    if (!list)
        return WOQ_ENOMEM;
    for (size_t i = 0; i < w->n_floats; i++) {
        woq_json_push(list, woq_json_of_str(w->floats[i]));
        head = head || strcmp(w->floats[i], "lm_head") == 0;
    }
    if (!head)
        woq_json_push(list, woq_json_of_str("lm_head"));
    woq_json_set(c, w->method->floats_key, list);
    return WOQ_OK;
}

struct woq_json *woq_coded_config(const struct woq_coded_writer *w, struct woq_error *err)
{
    struct woq_json *c;

    if (!w->any) {
        woq_fail(err, WOQ_ETYPE, "put a quantizer, such as woq-rtn, before woq-pack",
                 "%s holds quantized linears, there is none", w->method->format);
        return NULL;
    }
    c = woq_json_object();
    if (!c || (woq_json_set_str(c, "quant_method", w->method->quant_method), false) ||
        w->method->config(w, c) != WOQ_OK || add_floats(w, c) != WOQ_OK) {
        woq_json_free(c);
        woq_fail_nomem(err, 1 << 10);
        return NULL;
    }
    return c;
}
