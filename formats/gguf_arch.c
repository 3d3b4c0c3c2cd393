/* gguf_arch.c -- see the header. What a row cannot say is in gguf_family.c. */
#include <formats/gguf_arch.h>

#include <formats/gguf_family.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

/* clang-format off */

#define SIZE(field) WOQ_GGUF_SIZE, offsetof(struct woq_config, field)
#define REAL(field) WOQ_GGUF_REAL, offsetof(struct woq_config, field)
#define INVERSE(field) WOQ_GGUF_INVERSE, offsetof(struct woq_config, field)
#define USED { "expert_used_count", "num_experts_per_tok", SIZE(n_used) }
#define END { NULL, NULL, WOQ_GGUF_SIZE, 0 }

static const struct woq_gguf_extra
clip[] = { { "attention.clamp_kqv", "clip_qkv", REAL(clip_qkv) }, END },
logit_scale[] = { { "logit_scale", "logit_scale", REAL(logit_mul), 1 }, END },
local_experts[] = { { "expert_count", "num_local_experts", SIZE(n_experts) }, USED, END },
olmo_experts[] = { { "expert_count", "num_experts", SIZE(n_experts) }, USED, END },
qwen_experts[] = { { "expert_count", "num_experts", SIZE(n_experts) }, USED,
    { "expert_feed_forward_length", "moe_intermediate_size", SIZE(expert_inter) },
    { "expert_shared_feed_forward_length", "shared_expert_intermediate_size", SIZE(shared_inter) },
    END },
oss_experts[] = { { "expert_count", "num_local_experts", SIZE(n_experts) }, USED,
    { "expert_feed_forward_length", "intermediate_size", SIZE(expert_inter) }, END },
softcaps[] = { { "attn_logit_softcapping", "attn_logit_softcapping", REAL(attn_softcap) },
    { "final_logit_softcapping", "final_logit_softcapping", REAL(final_softcap) }, END },
#define GRANITE                                                                                    \
    { "logit_scale", "logits_scaling", INVERSE(logit_mul) },                                       \
    { "embedding_scale", "embedding_multiplier", REAL(embed_mul) },                                \
    { "residual_scale", "residual_multiplier", REAL(resid_mul) },                                  \
    { "attention.scale", "attention_multiplier", REAL(attn_scale) }
granite[] = { GRANITE, END },
granitemoe[] = { GRANITE, { "expert_count", "num_local_experts", SIZE(n_experts) }, USED, END },
latent[] = { { "expert_count", "n_routed_experts", SIZE(n_experts) }, USED,
    { "expert_feed_forward_length", "moe_intermediate_size", SIZE(expert_inter) },
    { "attention.kv_lora_rank", "kv_lora_rank", SIZE(kv_lora) },
    { "expert_weights_scale", "routed_scaling_factor", REAL(router_scale), 1 },
    { "expert_group_count", "n_group", SIZE(expert_groups) },
    { "expert_group_used_count", "topk_group", SIZE(top_groups) }, END };

#define Q(quirk) WOQ_GGUF_##quirk
#define LLAMA Q(PERMUTED) | Q(WHOLE_ROPE)
#define ATTENTION_BIAS (WOQ_T_QKV_BIAS | WOQ_T_O_BIAS)

static const struct woq_gguf_arch table[] = {
    { "mixtral", "llama", .quirks = LLAMA | Q(ROPE_FREQS), .mark = "expert_count",
      .extras = local_experts },
    { "mistral", "llama", .quirks = LLAMA | Q(ROPE_FREQS), .mark = "attention.sliding_window" },
    { "llama", "llama", .quirks = LLAMA | Q(ROPE_FREQS), .has = ATTENTION_BIAS | WOQ_T_MLP_BIAS },
    { "qwen2", "qwen2", .quirks = Q(NARROW) | Q(WHOLE_ROPE) },
    { "qwen2_moe", "qwen2moe", .quirks = Q(NARROW) | Q(WHOLE_ROPE) | Q(OWN_HEAD),
      .has = WOQ_T_QKV_BIAS, .extras = qwen_experts, .check = woq_gguf_check_shared,
      .get = woq_gguf_get_experts },
    { "qwen3", "qwen3", .quirks = Q(WHOLE_ROPE) },
    { "qwen3_moe", "qwen3moe", .quirks = Q(WHOLE_ROPE), .needs = WOQ_T_NORM_TOPK,
      .extras = qwen_experts, .get = woq_gguf_get_experts },
    { "gpt2", "gpt2" },
    { "gpt_bigcode", "starcoder", .get = woq_gguf_get_bigcode },
    { "gpt_neox", "gptneox", .quirks = Q(NARROW) | Q(OWN_HEAD), .has = WOQ_T_PARALLEL,
      .needs = ATTENTION_BIAS, .put = woq_gguf_put_parallel },
    { "bloom", "bloom" },
    { "mpt", "mpt", .put = woq_gguf_put_mpt, .get = woq_gguf_get_mpt },
    { "falcon", "falcon", .quirks = Q(NARROW) | Q(WHOLE_ROPE), .has = WOQ_T_ONE_NORM,
      .needs = WOQ_T_PARALLEL,
      .names = { { WOQ_ROLE_ATTN_NORM, "blk.{l}.attn_norm|blk.{l}.attn_norm_2" },
                 { WOQ_ROLE_MLP_NORM, "blk.{l}.ffn_norm|blk.{l}.attn_norm" } },
      .put = woq_gguf_put_falcon, .get = woq_gguf_get_falcon },
    { "baichuan", "baichuan",
      .quirks = LLAMA | Q(SPLIT_QKV) | Q(NARROW) | Q(OWN_HEAD),
      .has = WOQ_T_ALIBI | WOQ_T_HEAD_ROWNORM, .check = woq_gguf_check_baichuan,
      .put = woq_gguf_put_baichuan, .get = woq_gguf_get_baichuan },
    { "glm", "chatglm", .quirks = Q(NARROW), .has = WOQ_T_QKV_BIAS,
      .mark = "blk.0.attn_q.weight" },
    { "chatglm", "chatglm", .quirks = Q(NARROW), .has = WOQ_T_QKV_BIAS,
      .get = woq_gguf_get_chatglm },
    { "glm4", "glm4", .has = WOQ_T_QKV_BIAS },
    { "phi", "phi2", .quirks = Q(NARROW) | Q(OWN_HEAD) },
    { "phi3", "phi3", .quirks = Q(NARROW) | Q(ROPE_FACTORS) },
    { "gemma", "gemma", .quirks = Q(TIED) },
    { "gemma2", "gemma2", .quirks = Q(TIED) | Q(SOME_WINDOWS) | Q(WINDOW) | Q(ANY_SCALE),
      .extras = softcaps, .check = woq_gguf_check_gemma, .get = woq_gguf_get_gemma },
    { "gemma3_text", "gemma3", .quirks = Q(SOME_WINDOWS) | Q(ANY_SCALE),
      .extras = &softcaps[1], .check = woq_gguf_check_gemma, .get = woq_gguf_get_gemma },
    { "stablelm", "stablelm", .quirks = Q(NARROW) | Q(OWN_HEAD),
      .has = WOQ_T_QKV_BIAS | WOQ_T_QK_NORM | WOQ_T_PARALLEL | WOQ_T_ONE_NORM,
      .put = woq_gguf_put_parallel },
    { "starcoder2", "starcoder2", .quirks = Q(NARROW), .needs = ATTENTION_BIAS | WOQ_T_MLP_BIAS },
    { "granite", "granite", .quirks = LLAMA | Q(ROPE_FREQS) | Q(ANY_SCALE),
      .has = ATTENTION_BIAS | WOQ_T_MLP_BIAS, .extras = granite, .get = woq_gguf_get_granite },
    { "granitemoe", "granitemoe", .quirks = LLAMA | Q(ROPE_FREQS) | Q(ANY_SCALE),
      .has = ATTENTION_BIAS, .extras = granitemoe, .get = woq_gguf_get_granite },
    { "olmo", "olmo", .quirks = LLAMA | Q(NARROW), .extras = clip },
    { "olmo3", "olmo2", .quirks = Q(NARROW) | Q(WHOLE_ROPE) | Q(OWN_HEAD) | Q(SOME_WINDOWS),
      .mark = "attention.sliding_window" },
    { "olmo2", "olmo2", .quirks = Q(NARROW) | Q(WHOLE_ROPE) | Q(OWN_HEAD) },
    { "olmoe", "olmoe", .quirks = Q(NARROW) | Q(WHOLE_ROPE) | Q(OWN_HEAD),
      .extras = olmo_experts, .check = woq_gguf_check_olmoe },
    { "cohere", "command-r", .quirks = Q(NARROW) | Q(TIED), .has = WOQ_T_QK_NORM,
      .extras = logit_scale, .check = woq_gguf_check_cohere },
    { "cohere2", "cohere2", .quirks = Q(NARROW) | Q(TIED) | Q(SOME_WINDOWS) | Q(WINDOW),
      .extras = logit_scale },
    { "smollm3", "smollm3", .quirks = LLAMA, .check = woq_gguf_check_smollm3 },
    { "gpt_oss", "gpt-oss",
      .quirks = Q(WHOLE_ROPE) | Q(OWN_HEAD) | Q(SOME_WINDOWS) | Q(WINDOW) | Q(NO_TRUNCATE),
      .names = { { WOQ_ROLE_MLP_NORM, "blk.{l}.post_attention_norm" } }, .extras = oss_experts },
    { "deepseek_v3", "deepseek2", .quirks = Q(LATENT) | Q(DENSE_FIRST) | Q(ANY_SCALE),
      .has = WOQ_T_NORM_TOPK, .needs = WOQ_T_PAIRED, .mark = "expert_gating_func",
      .mark_value = 2, .extras = latent, .check = woq_gguf_check_latent,
      .put = woq_gguf_put_latent, .get = woq_gguf_get_latent },
    { "deepseek_v2", "deepseek2", .quirks = Q(LATENT) | Q(DENSE_FIRST) | Q(ANY_SCALE),
      .extras = latent, .check = woq_gguf_check_latent,
      .put = woq_gguf_put_latent, .get = woq_gguf_get_latent },
    { "phimoe", NULL, .why = "llama.cpp's graph of that name is another one: RMS norms, and a "
                             "router that picks by softmax" },
};
/* clang-format on */

size_t woq_gguf_arch_count(void)
{
    return sizeof table / sizeof table[0];
}

const struct woq_gguf_arch *woq_gguf_arch_at(size_t i)
{
    return i < woq_gguf_arch_count() ? &table[i] : NULL;
}

static const struct woq_gguf_arch *row_of(const struct woq_arch *a)
{
    for (size_t i = 0; a && i < woq_gguf_arch_count(); i++)
        if (!strcmp(table[i].model_type, a->model_type))
            return &table[i];
    return NULL;
}

const struct woq_gguf_arch *woq_gguf_arch_of(const struct woq_arch *a)
{
    const struct woq_gguf_arch *row = row_of(a);

    return row && row->name ? row : NULL;
}

/* --- what a graph cannot do --- */

static const char hint[] = "use --format safetensors or gptq";

static const struct {
    uint64_t trait;
    const char *name;
} traits[] = {
    { WOQ_T_QKV_BIAS, "biases of q, k and v" },
    { WOQ_T_O_BIAS, "a bias of o" },
    { WOQ_T_MLP_BIAS, "biases of the MLP" },
    { WOQ_T_HEAD_BIAS, "a bias of the head" },
    { WOQ_T_NORM_BIAS, "biases of norms" },
    { WOQ_T_NORM_FREE, "norms without weights" },
    { WOQ_T_PARALLEL, "attention and MLP side by side" },
    { WOQ_T_ONE_NORM, "one norm for attention and MLP" },
    { WOQ_T_NORM_AFTER, "norms behind the sum" },
    { WOQ_T_NORM_RESIDUAL, "sums that begin at the norm" },
    { WOQ_T_NO_FINAL_NORM, "a head without a norm" },
    { WOQ_T_ALIBI, "ALiBi" },
    { WOQ_T_PAIRED, "rope over neighbours" },
    { WOQ_T_HEAD_ROWNORM, "a head of normalised rows" },
    { WOQ_T_SCALE_BY_LAYER, "scores scaled by layer" },
    { WOQ_T_NORM_TOPK, "weights of experts that add up to 1" },
    { WOQ_T_NO_SCALE, "scores that are not scaled" },
    { WOQ_T_QK_NORM, "norms of q and k" },
};

static int check_traits(const struct woq_config *c, const struct woq_gguf_arch *row,
                        struct woq_error *err)
{
    const uint64_t extra = c->traits & ~(c->arch->traits | row->has | row->needs);
    const uint64_t missing = row->needs & ~c->traits;

    for (size_t i = 0; i < sizeof traits / sizeof traits[0]; i++)
        if ((extra | missing) & traits[i].trait)
            return woq_fail(err, WOQ_ETYPE, hint, "%s%s: this has no form in GGUF's '%s'",
                            missing & traits[i].trait ? "a model without " : "", traits[i].name,
                            row->name);
    if (extra || missing)
        return woq_fail(err, WOQ_ETYPE, hint, "this config.json has no form in GGUF's '%s'",
                        row->name);
    if (c->act != c->arch->act)
        return woq_fail(err, WOQ_ETYPE, hint,
                        "this activation of config.json has no form in GGUF's '%s'", row->name);
    return WOQ_OK;
}

static int check_heads(const struct woq_config *c, const struct woq_gguf_arch *row,
                       struct woq_error *err)
{
    const float scale = 1.0f / sqrtf((float)c->head_dim);

    if ((row->quirks & WOQ_GGUF_NARROW) && c->n_heads * c->head_dim != c->hidden)
        return woq_fail(err, WOQ_ETYPE, hint,
                        "%zu heads of %zu for a hidden size of %zu: this has no form in GGUF's "
                        "'%s'",
                        c->n_heads, c->head_dim, c->hidden, row->name);
    if ((row->quirks & WOQ_GGUF_WHOLE_ROPE) && c->n_rot && c->n_rot != c->head_dim)
        return woq_fail(err, WOQ_ETYPE, hint,
                        "rope over %zu of %zu head dimensions has no form in GGUF's '%s'", c->n_rot,
                        c->head_dim, row->name);
    if (!(row->quirks & WOQ_GGUF_ANY_SCALE) && fabsf(c->attn_scale - scale) > 1e-6f * scale)
        return woq_fail(err, WOQ_ETYPE, hint,
                        "attention scores times %g: this has no form in GGUF's '%s'",
                        (double)c->attn_scale, row->name);
    if ((row->quirks & WOQ_GGUF_TIED) && !c->tie)
        return woq_fail(err, WOQ_ETYPE, hint,
                        "a head that is not the embedding has no form in GGUF's '%s'", row->name);
    return WOQ_OK;
}

static int check_blocks(const struct woq_config *c, const struct woq_gguf_arch *row,
                        struct woq_error *err)
{
    size_t n = 0, dense = 0, first = c->n_layers;

    for (size_t b = 0; b < c->n_layers; b++) {
        n += woq_config_window(c, b) != 0;
        dense += c->n_experts && !woq_config_has_experts(c, b);
        if (first == c->n_layers && woq_config_has_experts(c, b))
            first = b;
    }
    if (n && n < c->n_layers && !(row->quirks & WOQ_GGUF_SOME_WINDOWS))
        return woq_fail(err, WOQ_ETYPE, hint,
                        "a sliding window in %zu of %zu blocks has no form in GGUF's '%s'", n,
                        c->n_layers, row->name);
    if (!c->window && (row->quirks & WOQ_GGUF_WINDOW))
        return woq_fail(err, WOQ_ETYPE, hint,
                        "a model without a sliding window has no form in GGUF's '%s'", row->name);
    if (dense && !((row->quirks & WOQ_GGUF_DENSE_FIRST) && first == dense))
        return woq_fail(err, WOQ_ETYPE, hint,
                        "%zu of %zu blocks without experts: this has no form in GGUF's '%s'", dense,
                        c->n_layers, row->name);
    return WOQ_OK;
}

static int check_rope(const struct woq_config *c, const struct woq_gguf_arch *row,
                      struct woq_error *err)
{
    const bool truncate = !(row->quirks & WOQ_GGUF_NO_TRUNCATE);
    bool ok = true;

    switch (c->rope_scaling) {
    case WOQ_ROPE_PLAIN:
    case WOQ_ROPE_LINEAR:
        break;
    case WOQ_ROPE_LLAMA3:
        ok = row->quirks & WOQ_GGUF_ROPE_FREQS;
        break;
    case WOQ_ROPE_LONG:
        ok = row->quirks & WOQ_GGUF_ROPE_FACTORS;
        break;
    case WOQ_ROPE_YARN: /* with what llama.cpp takes as given; not beside blocks of another theta */
        ok = c->rope_beta_fast == 32 && c->rope_beta_slow == 1 && c->rope_truncate == truncate &&
             c->rope_factor > 1 && c->rope_theta_local == c->rope_theta;
        break;
    case WOQ_ROPE_DYNAMIC:
        ok = false;
        break;
    }
    if (ok)
        return WOQ_OK;
    return woq_fail(err, WOQ_ETYPE, hint,
                    "this rope_scaling of config.json has no form in GGUF's '%s': want linear%s%s "
                    "or yarn with its defaults",
                    row->name, row->quirks & WOQ_GGUF_ROPE_FREQS ? ", llama3" : "",
                    row->quirks & WOQ_GGUF_ROPE_FACTORS ? ", longrope" : "");
}

int woq_gguf_arch_check(const struct woq_config *c, struct woq_error *err)
{
    const struct woq_gguf_arch *row = row_of(c->arch);
    int rc;

    if (!row || !row->name)
        return woq_fail(err, WOQ_EUNSUPPORTED, hint,
                        "GGUF files of architecture '%s' are not written: %s", c->arch->model_type,
                        row ? row->why : "llama.cpp has no graph of it");
    if ((rc = check_traits(c, row, err)) < 0 || (rc = check_heads(c, row, err)) < 0 ||
        (rc = check_blocks(c, row, err)) < 0 || (rc = check_rope(c, row, err)) < 0)
        return rc;
    return row->check ? row->check(c, err) : WOQ_OK;
}
