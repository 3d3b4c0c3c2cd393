/* gguf_family.c -- see the header. */
#include <formats/gguf_family.h>

#include <formats/gguf_kv.h>
#include <formats/gguf_reader.h>
#include <formats/gguf_rope.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char hint[] = "use --format safetensors or gptq";

/* --- baichuan: the number of blocks decides how positions come in --- */

int woq_gguf_check_baichuan(const struct woq_config *c, struct woq_error *err)
{
    const bool alibi = woq_has(c, WOQ_T_ALIBI);

    if (c->n_layers == (alibi ? 40 : 32))
        return WOQ_OK;
    return woq_fail(err, WOQ_ETYPE, hint,
                    "llama.cpp has %s in a baichuan of %d blocks only: %zu blocks have no form in "
                    "GGUF",
                    alibi ? "ALiBi" : "rope", alibi ? 40 : 32, c->n_layers);
}

void woq_gguf_put_baichuan(struct woq_gguf_keys *k, const struct woq_config *c,
                           const struct woq_json *config)
{
    (void)c;
    (void)config;
    woq_gguf_kv_text(k, "baichuan", "tensor_data_layout", "Meta AI original pth");
}

void woq_gguf_get_baichuan(struct woq_gguf_reader *r, struct woq_json *config)
{
    const bool alibi = woq_gguf_size(r, "block_count", 0) == 40;

    /* What config.json says by its sizes is said by a key for models of other sizes. */
    if (alibi != (woq_gguf_size(r, "embedding_length", 0) == 5120))
        woq_json_set_str(config, "woq_position", alibi ? "alibi" : "rope");
}

/* --- cohere: norms of q and k are looked for by the number of blocks --- */

int woq_gguf_check_cohere(const struct woq_config *c, struct woq_error *err)
{
    if (woq_has(c, WOQ_T_QK_NORM) == (c->n_layers >= 64))
        return WOQ_OK;
    return woq_fail(err, WOQ_ETYPE, hint,
                    "llama.cpp has norms of q and k in a command-r of 64 blocks and more only: %zu "
                    "blocks %s have no form in GGUF",
                    c->n_layers, woq_has(c, WOQ_T_QK_NORM) ? "with them" : "without");
}

/* --- gemma: the scale of scores goes by the number of blocks --- */

static double gemma_scalar(bool second, uint64_t n_layers, double hidden, double heads,
                           double head_dim)
{
    return n_layers == (second ? 46 : 62) ? floor(hidden / heads) : head_dim;
}

int woq_gguf_check_gemma(const struct woq_config *c, struct woq_error *err)
{
    const bool second = c->arch->window_period == 2;
    const double want = gemma_scalar(second, c->n_layers, (double)c->hidden, (double)c->n_heads,
                                     (double)c->head_dim);
    const double have = 1 / ((double)c->attn_scale * (double)c->attn_scale);

    if (fabs(have / want - 1) > 1e-5)
        return woq_fail(err, WOQ_ETYPE, hint,
                        "query_pre_attn_scalar %g has no form in GGUF: llama.cpp takes %g", have,
                        want);
    if (second ? c->attn_softcap == 0 || c->final_softcap == 0 : c->attn_softcap != 0)
        return woq_fail(err, WOQ_ETYPE, hint, "a model %s softcaps has no form in GGUF's '%s'",
                        second ? "without" : "with", second ? "gemma2" : "gemma3");
    return WOQ_OK;
}

void woq_gguf_get_gemma(struct woq_gguf_reader *r, struct woq_json *config)
{
    const uint64_t hidden = woq_gguf_size(r, "embedding_length", 0);
    const uint64_t heads = woq_gguf_size(r, "attention.head_count", 0);
    const uint64_t dim =
        woq_gguf_size(r, "attention.key_length", hidden >= heads ? hidden / heads : 1);

    woq_json_set_num(config, "query_pre_attn_scalar",
                     gemma_scalar(!strcmp(r->name, "gemma2"), woq_gguf_size(r, "block_count", 0),
                                  (double)hidden, (double)heads, (double)dim));
}

/* --- latent attention: one head of latent vectors, from which those of all heads are made --- */

int woq_gguf_check_latent(const struct woq_config *c, struct woq_error *err)
{
    const bool softmax = c->arch->router == WOQ_ROUTER_SOFTMAX;

    if (!c->n_experts || !c->shared_inter)
        return woq_fail(err, WOQ_ETYPE, hint,
                        "a model without %s has no form in GGUF's 'deepseek2'",
                        c->n_experts ? "shared experts" : "experts");
    if (c->eps > 1.1e-5f)
        return woq_fail(err, WOQ_ETYPE, hint,
                        "rms_norm_eps %g has no form in GGUF's 'deepseek2': llama.cpp takes it for "
                        "the norms of latent vectors too, where it is 1e-6",
                        (double)c->eps);
    if (c->expert_groups > 1 && (softmax || c->top_groups >= c->expert_groups))
        return woq_fail(err, WOQ_ETYPE, hint,
                        "%zu of %zu groups of experts, chosen by %s: this has no form in GGUF's "
                        "'deepseek2'",
                        c->top_groups, c->expert_groups, softmax ? "their best" : "none");
    if (c->rope_scaling == WOQ_ROPE_YARN && fabs(c->rope_attn_factor - 1) > 1e-9)
        return woq_fail(err, WOQ_ETYPE, hint,
                        "yarn whose mscale is not mscale_all_dim has no form in GGUF's "
                        "'deepseek2'");
    return WOQ_OK;
}

void woq_gguf_put_latent(struct woq_gguf_keys *k, const struct woq_config *c,
                         const struct woq_json *config)
{
    const struct woq_json *s = woq_json_get(config, "rope_parameters");
    const bool sigmoid = c->arch->router == WOQ_ROUTER_SIGMOID;
    const char *a = "deepseek2";
    size_t dense = 0;

    s = s ? s : woq_json_get(config, "rope_scaling");
    while (dense < c->n_layers && !woq_config_has_experts(c, dense))
        dense++;
    woq_gguf_kv_u32(k, a, "attention.head_count_kv", 1);
    woq_gguf_kv_u32(k, a, "attention.key_length", c->kv_lora + c->n_rot);
    woq_gguf_kv_u32(k, a, "attention.value_length", c->kv_lora);
    woq_gguf_kv_u32(k, a, "attention.key_length_mla", c->head_dim);
    woq_gguf_kv_u32(k, a, "attention.value_length_mla", c->v_dim);
    woq_gguf_kv_u32(k, a, "attention.q_lora_rank", c->q_lora);
    woq_gguf_kv_u32(k, a, "leading_dense_block_count", dense);
    woq_gguf_kv_u32(k, a, "expert_shared_count", c->shared_inter / c->expert_inter);
    woq_gguf_kv_u32(k, a, "expert_gating_func", sigmoid ? 2 : 1);
    woq_gguf_kv_bool(k, a, "expert_weights_norm", woq_has(c, WOQ_T_NORM_TOPK));
    if (c->rope_scaling == WOQ_ROPE_YARN)
        woq_gguf_kv_f32(k, a, "rope.scaling.yarn_log_multiplier",
                        0.1 * woq_json_get_num(s, "mscale_all_dim", 0));
}

uint64_t woq_gguf_latent_size(struct woq_gguf_reader *r, const char *key)
{
    char mla[64];

    if (woq_gguf_tensor(r->g, "blk.0.attn_kv_b.weight"))
        return woq_gguf_size(r, key, 0);
    snprintf(mla, sizeof mla, "%s_mla", key);
    return woq_gguf_size(r, mla, 0);
}

void woq_gguf_get_latent(struct woq_gguf_reader *r, struct woq_json *config)
{
    const uint64_t rope = woq_gguf_size(r, "rope.dimension_count", 0);
    const uint64_t head = woq_gguf_latent_size(r, "attention.key_length");
    const uint64_t q_lora = woq_gguf_count(r, "attention.q_lora_rank");

    if (r->rc == WOQ_OK && head <= rope)
        r->rc = woq_fail(r->err, WOQ_EDATA, NULL,
                         "rope turns %llu of %llu dimensions of a key, want fewer",
                         (unsigned long long)rope, (unsigned long long)head);
    woq_json_set_num(config, "qk_rope_head_dim", (double)rope);
    woq_json_set_num(config, "head_dim", (double)rope);
    woq_json_set_num(config, "qk_nope_head_dim", head > rope ? (double)(head - rope) : 1);
    woq_json_set_num(config, "v_head_dim",
                     (double)woq_gguf_latent_size(r, "attention.value_length"));
    woq_json_set(config, "q_lora_rank",
                 q_lora ? woq_json_of_num((double)q_lora) : woq_json_of_null());
    woq_json_set_num(config, "num_key_value_heads",
                     (double)woq_gguf_size(r, "attention.head_count", 0));
    woq_json_set_num(config, "first_k_dense_replace",
                     (double)woq_gguf_count(r, "leading_dense_block_count"));
    woq_json_set_num(config, "n_shared_experts",
                     (double)woq_gguf_size(r, "expert_shared_count", 0));
    /* A file older than the key is run without groups, whatever config.json means without it. */
    if (!woq_gguf_find(r, "expert_group_count")) {
        woq_json_set_num(config, "n_group", 1);
        woq_json_set_num(config, "topk_group", 1);
    } else if (woq_gguf_count(r, "expert_group_count") > 1) {
        (void)woq_gguf_size(r, "expert_group_used_count", 0);
    }
    if (woq_gguf_count(r, "expert_gating_func") != 2)
        woq_json_set_str(config, "topk_method",
                         woq_gguf_count(r, "expert_group_count") > 1 ? "group_limited_greedy"
                                                                     : "greedy");
}

/* --- others --- */

int woq_gguf_check_olmoe(const struct woq_config *c, struct woq_error *err)
{
    if (c->n_kv_heads != c->n_heads || c->clip_qkv != 0)
        return woq_fail(err, WOQ_ETYPE, hint, "%s: this has no form in GGUF's 'olmoe'",
                        c->clip_qkv != 0 ? "clip_qkv" : "fewer key and value heads than heads");
    return WOQ_OK;
}

int woq_gguf_check_shared(const struct woq_config *c, struct woq_error *err)
{
    if (!c->shared_inter)
        return woq_fail(err, WOQ_ETYPE, hint,
                        "a model without a shared expert has no form in GGUF's 'qwen2moe'");
    return WOQ_OK;
}

/* Files older than the keys of experts' sizes: one expert of each token is a share of the whole. */
void woq_gguf_get_experts(struct woq_gguf_reader *r, struct woq_json *config)
{
    const uint64_t used = woq_gguf_size(r, "expert_used_count", 0);

    if (!woq_gguf_find(r, "expert_feed_forward_length")) {
        const uint64_t each = woq_gguf_size(r, "feed_forward_length", 0) / used;

        woq_json_set_num(config, "moe_intermediate_size", (double)each);
    }
    if (!strcmp(r->name, "qwen2moe") && !woq_gguf_find(r, "expert_shared_feed_forward_length"))
        woq_json_set_num(config, "shared_expert_intermediate_size",
                         (double)woq_gguf_size(r, "feed_forward_length", 0));
}

/* Scores are scaled as those of a llama where the file does not say. */
void woq_gguf_get_granite(struct woq_gguf_reader *r, struct woq_json *config)
{
    const uint64_t hidden = woq_gguf_size(r, "embedding_length", 0);
    const uint64_t heads = woq_gguf_size(r, "attention.head_count", 0);
    const uint64_t dim = woq_gguf_size(r, "attention.key_length", hidden / heads);

    if (!woq_gguf_find(r, "attention.scale"))
        woq_json_set_num(config, "attention_multiplier", woq_shortest(1 / sqrt((double)dim)));
}

int woq_gguf_check_smollm3(const struct woq_config *c, struct woq_error *err)
{
    for (size_t b = 0; b < c->n_layers; b++)
        if (woq_config_window(c, b) || woq_config_has_rope(c, b) != ((b + 1) % 4 != 0))
            return woq_fail(err, WOQ_ETYPE, hint, "%s: this has no form in GGUF's 'smollm3'",
                            woq_config_window(c, b) ? "a sliding window"
                                                    : "other blocks without rope than each 4th");
    return WOQ_OK;
}

void woq_gguf_put_parallel(struct woq_gguf_keys *k, const struct woq_config *c,
                           const struct woq_json *config)
{
    (void)config;
    woq_gguf_kv_bool(k, woq_gguf_arch_of(c->arch)->name, "use_parallel_residual",
                     woq_has(c, WOQ_T_PARALLEL));
}

void woq_gguf_get_bigcode(struct woq_gguf_reader *r, struct woq_json *config)
{
    const uint64_t heads = woq_gguf_size(r, "attention.head_count", 0);

    woq_json_set_bool(config, "multi_query",
                      woq_gguf_size(r, "attention.head_count_kv", heads) == 1);
}

void woq_gguf_put_mpt(struct woq_gguf_keys *k, const struct woq_config *c,
                      const struct woq_json *config)
{
    (void)config;
    woq_gguf_kv_f32(k, "mpt", "attention.max_alibi_bias", 8);
    if (c->clip_qkv != 0)
        woq_gguf_kv_f32(k, "mpt", "attention.clamp_kqv", (double)c->clip_qkv);
}

void woq_gguf_get_mpt(struct woq_gguf_reader *r, struct woq_json *config)
{
    const double clip = woq_gguf_num(r, "attention.clamp_kqv", 0);
    struct woq_json *attn = woq_json_object();

    if (r->rc == WOQ_OK && woq_gguf_num(r, "attention.max_alibi_bias", 0) != 8)
        r->rc =
            woq_fail(r->err, WOQ_EUNSUPPORTED, NULL, "key 'mpt.attention.max_alibi_bias' is not 8");
    woq_json_set_bool(attn, "alibi", true);
    if (clip > 0)
        woq_json_set_num(attn, "clip_qkv", woq_shortest(clip));
    woq_json_set(config, "attn_config", attn);
}

void woq_gguf_put_falcon(struct woq_gguf_keys *k, const struct woq_config *c,
                         const struct woq_json *config)
{
    (void)c;
    (void)config;
    woq_gguf_kv_text(k, "falcon", "tensor_data_layout", "jploski");
}

void woq_gguf_get_falcon(struct woq_gguf_reader *r, struct woq_json *config)
{
    const bool two = woq_gguf_tensor(r->g, "blk.0.attn_norm_2.weight") != NULL;
    const uint64_t kv =
        woq_gguf_size(r, "attention.head_count_kv", woq_gguf_size(r, "attention.head_count", 0));
    const bool is_new = two || kv > 1;

    woq_json_set_bool(config, "new_decoder_architecture", is_new);
    woq_json_set_bool(config, "multi_query", !is_new);
    woq_json_set_bool(config, "parallel_attn", true);
    woq_json_set_num(config, "num_kv_heads", (double)kv);
    if (is_new)
        woq_json_set_num(config, "num_ln_in_parallel_attn", two ? 2 : 1);
}

void woq_gguf_get_chatglm(struct woq_gguf_reader *r, struct woq_json *config)
{
    const uint64_t heads = woq_gguf_size(r, "attention.head_count", 0);

    woq_json_set_bool(config, "multi_query_attention", true);
    woq_json_set_num(config, "multi_query_group_num",
                     (double)woq_gguf_size(r, "attention.head_count_kv", heads));
    woq_json_set_num(config, "rope_ratio",
                     woq_shortest(woq_gguf_num(r, "rope.freq_base", 10000) / 10000));
}
