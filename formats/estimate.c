/* estimate.c -- sizes of packed tensors by format (formats.md 3.2, 4a). */
#include <formats/coded.h>
#include <formats/estimate.h>
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

static uint64_t packed_bytes(const char *format, const struct woq_scheme *s, uint64_t rows,
                             uint64_t cols)
{
    const uint64_t n = rows * cols, bits = (uint64_t)s->bits;
    const uint64_t groups = woq_scheme_groups(s, (size_t)cols);

    if (strcmp(format, "gguf") == 0) /* per 32 weights: f16 scale, f16 minimum where asymmetric */
        return n / 32 * (4 * bits + (s->sym ? 2 : 4));
    const struct woq_coded_method *coded = woq_coded_by_format(format);
    if (coded)
        return coded->bytes(s, rows, cols);
    const struct woq_packed_format *packed = woq_packed_format(format);
    return packed ? woq_packed_bytes(packed->layout, s->bits, (size_t)rows, (size_t)cols,
                                     (size_t)groups, 2)
                  : n * 2;
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
                      const char *format, struct woq_error *err)
{
    const struct woq_arch *arch = woq_arch_find(source->config, err);
    uint64_t block_bytes[WOQ_MAX_BLOCKS] = { 0 };

    memset(e, 0, sizeof *e);
    if (!arch)
        return WOQ_EUNSUPPORTED;
    for (size_t i = 0; i < source->n_items; i++) {
        const struct woq_item *item = &source->items[i];
        struct woq_scheme s;
        uint64_t n = 1;
        struct woq_place p;
        int rc;

        for (unsigned d = 0; d < item->n_dims; d++)
            n *= item->shape[d];
        e->n_weights += n;
        e->source_bytes += item->file_bytes;
        if ((rc = scheme_of(&s, options, rules, item->name, err)) < 0)
            return rc;
        woq_arch_place(arch, item->name, &p);
        add_shape(e, block_bytes, item, n, p.role, p.block);
        if (!woq_role_is_linear(p.role) || p.bias || item->n_dims != 2 || woq_scheme_is_float(&s)) {
            /* woq-pack keeps what a GGUF file has in blocks */
            const bool kept = strcmp(format, "gguf") == 0 && strcmp(source->format, "gguf") == 0 &&
                              item->stream_bytes;
            e->bytes += kept ? item->file_bytes : n * 2;
            continue;
        }
        const uint64_t bytes = packed_bytes(format, &s, item->shape[0], item->shape[1]);
        e->n_quantized += n;
        e->quantized_bytes += bytes;
        e->bytes += bytes;
    }
    return WOQ_OK;
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
        return (24 + (run->refit ? 4U : 0U) + (run->both ? 8U : 0U)) * n * n +
               e->linear_f32_bytes / 4 * (run->both ? 13U : 9U) +
               run->n_threads * ((run->refit ? 280U : 40U) * n + 64 * run->block_size) +
               program_bytes;
    return strncmp(program, "woq-", 4) == 0 ? 2 * e->largest_f32_bytes + program_bytes : 0;
}
