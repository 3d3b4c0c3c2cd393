/* estimate.c -- sizes of packed tensors by format (formats.md 3.2, 4a). */
#include <formats/coded.h>
#include <formats/ct_float.h>
#include <formats/estimate.h>
#include <formats/gguf_types.h>
#include <formats/packed_write.h>

#include <string.h>
#include <woq/arch.h>
#include <woq/quant.h>

enum { CHUNK_TOKENS = 4096 }; /* of activations on the wire, at most */

/* Rules as woq-scheme applies them: later ones win, key by key. */
static int scheme_of(struct woq_scheme *s, const struct woq_json *options,
                     const struct woq_list *rules, const char *name, struct woq_error *err)
{
    struct woq_json *quant = woq_json_copy(options);
    int rc = WOQ_OK;

    if (!quant)
        return woq_fail_nomem(err, 1 << 10);
    for (size_t i = 0; i < rules->n && !rc; i++) {
        char text[1024], *rest = NULL;

        if (strlen(rules->items[i]) >= sizeof text) {
            rc = woq_fail(err, WOQ_EUSAGE, NULL, "--rule: longer than %zu bytes", sizeof text - 1);
            break;
        }
        memcpy(text, rules->items[i], strlen(rules->items[i]) + 1);
        const char *glob = strtok_r(text, " ", &rest);
        if (!glob || !woq_name_match(name, glob))
            continue;
        for (char *kv = strtok_r(NULL, " ", &rest); kv && !rc; kv = strtok_r(NULL, " ", &rest))
            rc = woq_scheme_set(quant, kv, err);
    }
    woq_scheme_init(s);
    if (!rc)
        rc = woq_scheme_from_json(s, quant, err);
    woq_json_free(quant);
    return rc;
}

/* What a format makes of tensors. */
struct target {
    const char *format;
    bool gguf;
    enum woq_dtype dtype; /* of floats; WOQ_NO_DTYPE: as they are */
    const struct woq_coded_method *coded;
    const struct woq_packed_format *packed;
    struct woq_packed_writer writer; /* for its choices */
    struct woq_gguf_types types;
    struct woq_config config;
};

static int target_init(struct target *t, const struct woq_source *source,
                       const struct woq_sink_opts *out, struct woq_error *err)
{
    const char *dtype = out->dtype && strcmp(out->dtype, "auto") != 0 ? out->dtype : NULL;
    int rc = woq_config_init(&t->config, source->config, err);

    t->format = out->format ? out->format : "gptq";
    t->gguf = strcmp(t->format, "gguf") == 0;
    t->coded = woq_coded_by_format(t->format);
    t->packed = woq_packed_format(t->format);
    t->dtype = woq_dtype_from_name(dtype ? dtype : t->coded || t->packed ? "f16" : "keep");
    if (rc == WOQ_OK && t->packed)
        rc = woq_packed_writer_init(&t->writer, t->packed, out, err);
    if (rc == WOQ_OK && t->gguf)
        rc = woq_gguf_types_init(&t->types, out->type ? out->type : "auto", out->embed_type,
                                 out->head_type, &out->tensor_types, out->pure, err);
    return rc;
}

static void target_release(struct target *t)
{
    woq_packed_writer_release(&t->writer);
    woq_gguf_types_release(&t->types);
}

/* GGUF's blocks of 32: a scale in f16, a minimum where codes are asymmetric; or mxfp4's. */
static uint64_t gguf_codes(const struct woq_scheme *s, uint64_t n)
{
    return n / 32 *
           (strcmp(s->dtype, "mxfp4") == 0 ? 17 : 4 * (uint64_t)s->bits + (s->sym ? 2 : 4));
}

static uint64_t quantized_bytes(const struct target *t, const struct woq_scheme *s, uint64_t rows,
                                uint64_t cols)
{
    const struct woq_packed_layout *l = t->writer.layout, *of_codebook;
    size_t groups = woq_scheme_groups(s, (size_t)cols),
           scales = woq_dtype_bytes(t->writer.scale_dtype);

    if (t->gguf)
        return gguf_codes(s, rows * cols);
    if (t->coded)
        return t->coded->bytes(s, rows, cols);
    if (!t->packed) /* safetensors: floats again */
        return rows * cols * (t->dtype ? woq_dtype_bytes(t->dtype) : 4);
    of_codebook = t->writer.format->codebook ? t->writer.format->codebook(s->dtype) : NULL;
    if (of_codebook) {
        l = of_codebook;
        scales = t->writer.scale_said ? scales : 4;
    }
    if (s->group_rows != 1) /* blocks, as if their scales stood in a row of each */
        return woq_fp8_bytes(s, rows, cols);
    return woq_packed_bytes(l, s->bits, (size_t)rows, (size_t)cols, groups, scales, !s->sym);
}

/* A tensor that stays float. */
static uint64_t float_bytes(const struct target *t, const struct woq_source *source,
                            const struct woq_item *item, const struct woq_place *p, uint64_t n)
{
    struct woq_gguf_matrix m = { .name = item->name,
                                 .gguf_name = "",
                                 .role = p->role,
                                 .block = p->block,
                                 .n_cols = (size_t)(item->n_dims == 2 ? item->shape[1] : 0) };
    bool fell_back;

    if (!t->gguf) {
        const enum woq_dtype d = t->dtype ? t->dtype : item->dtype;
        return n * (woq_dtype_bytes(d) ? woq_dtype_bytes(d) : 2);
    }
    if (item->n_dims != 2)
        return n * 4; /* vectors are f32 */
    if (strcmp(source->format, "gguf") == 0) {
        m.raw = woq_ggml_type_by_name(item->stored);
        m.raw = m.raw && m.raw->decode ? m.raw : NULL;
    }
    const struct woq_ggml_type *type = woq_gguf_type_of(&t->types, &t->config, &m, &fell_back);
    return n / type->block_elems * type->block_bytes;
}

/* Shapes that decide the memory of stages. Tensors of a block need not stand together in the file,
 * so block_bytes [WOQ_MAX_BLOCKS] keeps a sum for each. */
static void add_shape(struct woq_estimate *e, uint64_t *block_bytes, const struct woq_item *item,
                      uint64_t n, enum woq_role role, long block)
{
    if (n * 4 > e->largest_f32_bytes)
        e->largest_f32_bytes = n * 4;
    if (role == WOQ_ROLE_EMBED && item->n_dims == 2)
        e->hidden = item->shape[1];
    if (block < 0 || block >= WOQ_MAX_BLOCKS)
        return;
    block_bytes[block] += n * 4;
    if (block_bytes[block] > e->block_f32_bytes)
        e->block_f32_bytes = block_bytes[block];
    if (item->n_dims == 2 && n * 4 > e->linear_f32_bytes)
        e->linear_f32_bytes = n * 4;
    if (item->n_dims == 2 && item->shape[1] > e->widest_inputs)
        e->widest_inputs = item->shape[1];
}

int woq_estimate_init(struct woq_estimate *e, const struct woq_source *source,
                      const struct woq_json *options, const struct woq_list *rules,
                      const struct woq_sink_opts *out, struct woq_error *err)
{
    uint64_t block_bytes[WOQ_MAX_BLOCKS] = { 0 };
    struct target t = { 0 };
    int rc = target_init(&t, source, out, err);

    memset(e, 0, sizeof *e);
    for (size_t i = 0; i < source->n_items && rc == WOQ_OK; i++) {
        const struct woq_item *item = &source->items[i];
        struct woq_scheme s;
        uint64_t n = 1;
        struct woq_place p;

        for (unsigned d = 0; d < item->n_dims; d++)
            n *= item->shape[d];
        e->n_weights += n;
        e->source_bytes += item->file_bytes;
        if ((rc = scheme_of(&s, options, rules, item->name, err)) < 0)
            break;
        woq_arch_place(t.config.arch, item->name, &p);
        add_shape(e, block_bytes, item, n, p.role, p.block);
        if (!woq_role_is_linear(p.role) || p.bias || item->n_dims != 2 || woq_scheme_is_float(&s)) {
            e->bytes += float_bytes(&t, source, item, &p, n);
            continue;
        }
        const uint64_t bytes = quantized_bytes(&t, &s, item->shape[0], item->shape[1]);
        e->n_quantized += n;
        e->quantized_bytes += bytes;
        e->bytes += bytes;
    }
    target_release(&t);
    return rc;
}

uint64_t woq_estimate_memory(const struct woq_estimate *e, const struct woq_estimate_run *run,
                             const char *program)
{
    const uint64_t program_bytes = (uint64_t)64 << 20, n = e->widest_inputs;
    const uint64_t two_blocks = 2 * e->block_f32_bytes;
    const uint64_t held = two_blocks > e->largest_f32_bytes ? two_blocks : e->largest_f32_bytes;

    if (strcmp(program, "woq-calib") == 0)
        return run->n_tokens * e->hidden * (run->both ? 8U : 4U) + held + ((uint64_t)200 << 20);
    if (strcmp(program, "woq-hessian") == 0) /* its sum, the same going out, a chunk coming in */
        return (run->both ? 16U : 8U) * n * n + CHUNK_TOKENS * n * 4 + e->linear_f32_bytes +
               program_bytes;
    if (strcmp(program, "woq-gptq") == 0)
        return (run->both ? 24U : 16U) * n * n + 2048 * n +
               e->linear_f32_bytes / 4 * (run->both ? 13U : 9U) + run->n_threads * 1700 * n +
               program_bytes;
    return strncmp(program, "woq-", 4) == 0 ? 2 * e->largest_f32_bytes + program_bytes : 0;
}
