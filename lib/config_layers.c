/* config_layers.c -- what differs from block to block: sliding windows and experts (models.md 3.3,
 * 3.5). */
#include "arch_internal.h"

#include <string.h>

/* layer_types: one of two strings per block; wins over the row's pattern. */
static int read_layer_types(struct woq_config *c, const struct woq_json *types,
                            struct woq_error *err)
{
    size_t block = 0;

    if (woq_json_type(types) != WOQ_JARRAY || woq_json_len(types) != c->n_layers)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: 'layer_types' has %zu entries, want num_hidden_layers %zu",
                        woq_json_len(types), c->n_layers);
    woq_json_each(item, types)
    {
        const char *name = woq_json_str(item);

        if (name && !strcmp(name, "sliding_attention"))
            woq_bits_set(c->window_blocks, block);
        else if (!name || strcmp(name, "full_attention") != 0)
            return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                            "config.json: layer_types[%zu] is '%.100s', want sliding_attention or "
                            "full_attention",
                            block, name ? name : "(not a string)");
        block++;
    }
    return WOQ_OK;
}

/* Which blocks have the window, by the pattern of the row. */
static int read_pattern(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    static const char *const keys[] = { "sliding_window_pattern", "_sliding_window_pattern" };
    const struct woq_json *v = woq_config_get(j, keys);
    uint64_t period = (uint64_t)c->arch->window_period, first = 28;
    int rc;

    if (c->arch->windows == WOQ_WINDOWS_PERIOD && woq_json_type(v) != WOQ_JNULL &&
        (rc = woq_config_u64(v, keys[0], 1, WOQ_MAX_BLOCKS, &period, err)) < 0)
        return rc;
    v = woq_json_get(j, "max_window_layers");
    if (c->arch->windows == WOQ_WINDOWS_FROM && woq_json_type(v) != WOQ_JNULL &&
        (rc = woq_config_u64(v, "max_window_layers", 0, WOQ_MAX_POSITIONS, &first, err)) < 0)
        return rc;
    for (size_t l = 0; l < c->n_layers; l++)
        if (c->arch->windows == WOQ_WINDOWS_ALL ||
            (c->arch->windows == WOQ_WINDOWS_FROM && l >= first) ||
            (c->arch->windows == WOQ_WINDOWS_PERIOD && (l + 1) % period))
            woq_bits_set(c->window_blocks, l);
    return WOQ_OK;
}

int woq_config_read_windows(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const char *key = c->arch->window_key ? c->arch->window_key : "sliding_window";
    const struct woq_json *v = woq_json_get(j, key), *types = woq_json_get(j, "layer_types");
    uint64_t window = (uint64_t)c->arch->default_window;
    bool use = true;
    int rc;

    if (c->arch->windows == WOQ_WINDOWS_NONE)
        return WOQ_OK;
    if (c->arch->window_gated &&
        (rc = woq_config_flag(j, "use_sliding_window", false, &use, err)) < 0)
        return rc;
    /* null is not absence: it means full attention. */
    if (v && woq_json_type(v) == WOQ_JNULL)
        window = 0;
    else if (v && (rc = woq_config_u64(v, key, 1, WOQ_MAX_POSITIONS, &window, err)) < 0)
        return rc;
    if (use)
        c->window = (size_t)window;
    /* Kinds of blocks may decide rope too, so they are read without a window. */
    if (!c->window && !woq_has(c, WOQ_T_FULL_NO_ROPE) && !woq_has(c, WOQ_T_LOCAL_ROPE))
        return WOQ_OK;
    return woq_json_type(types) != WOQ_JNULL ? read_layer_types(c, types, err)
                                             : read_pattern(c, j, err);
}

/* mlp_only_layers, decoder_sparse_step. */
static int read_dense(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    size_t every;
    uint64_t block;
    int rc = woq_config_maybe(j, "decoder_sparse_step", WOQ_MAX_BLOCKS, 1, &every, err);

    if (rc < 0)
        return rc;
    for (size_t l = 0; l < c->n_layers; l++)
        if ((l + 1) % every)
            woq_bits_set(c->dense_blocks, l);
    woq_json_each(item, woq_json_get(j, "mlp_only_layers"))
    {
        if ((rc = woq_config_u64(item, "mlp_only_layers", 0, WOQ_MAX_BLOCKS - 1, &block, err)) < 0)
            return rc;
        woq_bits_set(c->dense_blocks, (size_t)block);
    }
    return WOQ_OK;
}

static int read_router(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    double jitter = 0;
    int rc;

    if ((rc = woq_config_need(j, "num_experts_per_tok", c->n_experts, &c->n_used, err)) < 0)
        return rc;
    if (c->arch->router != WOQ_ROUTER_SPARSE)
        return WOQ_OK;
    if (c->n_used != 2)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "config.json: %zu experts per token, this router picks 2", c->n_used);
    rc = woq_config_real(j, "router_jitter_noise", -1, 1, 0.01, &jitter, err);
    c->router_jitter = (float)jitter;
    return rc;
}

int woq_config_read_experts(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    static const char *const keys[] = { "num_experts", "num_local_experts", "n_routed_experts" };
    const char *key = NULL;
    int rc;

    if (c->arch->router == WOQ_ROUTER_NONE)
        return WOQ_OK;
    for (size_t i = 0; i < 3 && !key; i++)
        if (woq_json_type(woq_json_get(j, keys[i])) != WOQ_JNULL)
            key = keys[i];
    if (!key && c->qkv == WOQ_QKV_MLA)
        return WOQ_OK;
    if (!key)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json lacks 'num_experts'");
    if ((rc = woq_config_need(j, key, WOQ_MAX_EXPERTS, &c->n_experts, err)) < 0 ||
        (rc = read_router(c, j, err)) < 0 ||
        (rc = woq_config_maybe(j, "moe_intermediate_size", WOQ_MAX_WIDTH, c->inter,
                               &c->expert_inter, err)) < 0 ||
        (rc = woq_config_maybe(j, "shared_expert_intermediate_size", WOQ_MAX_WIDTH, 0,
                               &c->shared_inter, err)) < 0)
        return rc;
    if (!woq_has(c, WOQ_T_SHARED_GATE))
        c->shared_inter = 0;
    return read_dense(c, j, err);
}
