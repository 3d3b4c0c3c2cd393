/* config_refine.c -- what does not fit a column of the table: keys of one family each (models.md
 * 3.1, 3.3, 3.4). */
#include "arch_internal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include <woq/dtype.h>

/* A factor with a default, as float. */
static int factor(const struct woq_json *j, const char *key, double otherwise, float *out,
                  struct woq_error *err)
{
    double x;
    const int rc = woq_config_real(j, key, 0, 1e9, otherwise, &x, err);

    *out = (float)x;
    return rc;
}

/* A soft cap; null or absent takes the default, 0 is none. */
static int softcap(const struct woq_json *j, const char *key, double otherwise, float *out,
                   struct woq_error *err)
{
    const struct woq_json *v = woq_json_get(j, key);

    *out = v ? 0 : (float)otherwise;
    return woq_json_type(v) == WOQ_JNULL ? WOQ_OK : factor(j, key, 0, out, err);
}

/* rotary_dim of 64 is the class default; null has no meaning that the library runs either. */
int woq_refine_codegen(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const struct woq_json *v = woq_json_get(j, "rotary_dim");
    uint64_t n = 64;
    int rc = WOQ_OK;

    if (v && (rc = woq_config_u64(v, "rotary_dim", 2, c->head_dim, &n, err)) < 0)
        return rc;
    c->n_rot = (size_t)n;
    if (c->qkv == WOQ_QKV_MP4 && c->n_heads % 4)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: n_head %zu is no multiple of 4",
                        c->n_heads);
    return rc;
}

int woq_refine_bigcode(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    bool one = true;
    const int rc = woq_config_flag(j, "multi_query", true, &one, err);

    c->n_kv_heads = one ? 1 : c->n_heads;
    return rc;
}

/* attention_types: [[["global", "local"], 12]] names the kinds of blocks, n times over. */
int woq_refine_gpt_neo(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const struct woq_json *types = woq_json_get(j, "attention_types");
    size_t block = 0;
    int rc = woq_config_maybe(j, "window_size", WOQ_MAX_POSITIONS, 256, &c->window, err);

    if (rc < 0)
        return rc;
    if (woq_json_type(types) == WOQ_JNULL) {
        for (; block < c->n_layers; block++)
            if (block % 2)
                woq_bits_set(c->window_blocks, block);
        return WOQ_OK;
    }
    woq_json_each(item, types)
    {
        const struct woq_json *kinds = woq_json_first(item);
        uint64_t times = 0;

        if (!woq_json_u64(kinds ? woq_json_next(kinds) : NULL, &times) || times > c->n_layers)
            break;
        for (uint64_t i = 0; i < times; i++)
            woq_json_each(kind, kinds)
            {
                const char *name = woq_json_str(kind);

                if (name && !strcmp(name, "local") && block < c->n_layers)
                    woq_bits_set(c->window_blocks, block);
                block++;
            }
    }
    if (block == c->n_layers)
        return WOQ_OK;
    return woq_fail(err, WOQ_EDATA, NULL,
                    "config.json: 'attention_types' names %zu blocks, want num_layers %zu", block,
                    c->n_layers);
}

int woq_refine_opt(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    return woq_config_maybe(j, "word_embed_proj_dim", c->hidden, c->hidden, &c->embed_dim, err);
}

/* Keys that the library ignores (no_bias, logit_scale, alibi ...) are ignored here too. */
int woq_refine_mpt(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const struct woq_json *attn = woq_json_get(j, "attn_config");
    int rc = WOQ_OK;

    if (woq_json_type(woq_json_get(attn, "clip_qkv")) != WOQ_JNULL)
        rc = factor(attn, "clip_qkv", 1, &c->clip_qkv, err);
    if (rc == WOQ_OK && woq_json_type(woq_json_get(attn, "softmax_scale")) != WOQ_JNULL)
        rc = factor(attn, "softmax_scale", 1, &c->attn_scale, err);
    return rc;
}

/* Old and new decoder: which norms there are, and how many kv heads. */
int woq_refine_falcon(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const char *key = woq_json_get(j, "num_kv_heads") ? "num_kv_heads" : "n_head_kv";
    bool new_decoder, parallel, one;
    size_t n_norms;
    int rc;

    if ((rc = woq_config_flag(j, "new_decoder_architecture", woq_json_get(j, "n_head_kv") != NULL,
                              &new_decoder, err)) < 0 ||
        (rc = woq_config_flag(j, "parallel_attn", true, &parallel, err)) < 0 ||
        (rc = woq_config_flag(j, "multi_query", true, &one, err)) < 0 ||
        (rc = woq_config_maybe(j, "num_ln_in_parallel_attn", 2, 2, &n_norms, err)) < 0)
        return rc;
    c->n_kv_heads = one ? 1 : c->n_heads;
    if (new_decoder &&
        (rc = woq_config_maybe(j, key, WOQ_MAX_HEADS, c->n_heads, &c->n_kv_heads, err)) < 0)
        return rc;
    if (new_decoder && !parallel)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "config.json: new_decoder_architecture without parallel_attn");
    c->second_names = new_decoder && n_norms == 2;
    if (parallel)
        c->traits |= WOQ_T_PARALLEL | (c->second_names ? 0 : WOQ_T_ONE_NORM);
    return WOQ_OK;
}

/* Neither ALiBi nor the normalised head has a key (models.md 3.4, 3.6); woq_position and
 * woq_head_rownorm say it for models of other sizes. */
int woq_refine_baichuan(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const char *position = woq_json_get_str(j, "woq_position");
    bool alibi = c->hidden == 5120 || (woq_json_get(j, "model_max_length") &&
                                       !woq_json_get(j, "max_position_embeddings"));
    bool rownorm;
    const int rc = woq_config_flag(j, "woq_head_rownorm", c->vocab == 125696, &rownorm, err);

    woq_json_each(item, woq_json_get(j, "architectures"))
    {
        if (woq_json_str(item) && !strcmp(woq_json_str(item), "BaiChuanForCausalLM"))
            alibi = false;
    }
    if (position)
        alibi = !strcmp(position, "alibi");
    if (alibi)
        c->traits |= WOQ_T_ALIBI;
    if (rownorm)
        c->traits |= WOQ_T_HEAD_ROWNORM;
    return rc;
}

/* rope_ratio means another thing in the code of the second generation (models.md 5.3), and only the
 * name in its config.json tells the two apart: chatglm2-6b-32k has the keys of chatglm3-6b-32k. */
static bool is_chatglm2(const struct woq_json *j)
{
    static const char generation[] = "chatglm2";

    for (const char *s = woq_json_get_str(j, "_name_or_path"); s && *s; s++)
        if (!strncasecmp(s, generation, sizeof generation - 1))
            return true;
    return false;
}

int woq_refine_chatglm(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    double ratio;
    bool grouped;
    int rc;

    if ((rc = woq_config_flag(j, "multi_query_attention", false, &grouped, err)) < 0 ||
        (rc = woq_config_real(j, "rope_ratio", 0, 1e9, 1, &ratio, err)) < 0)
        return rc;
    c->qkv = grouped ? WOQ_QKV_CAT : WOQ_QKV_GROUP;
    if (grouped && (rc = woq_config_maybe(j, "multi_query_group_num", WOQ_MAX_HEADS, 1,
                                          &c->n_kv_heads, err)) < 0)
        return rc;
    if (woq_has(c, WOQ_T_NORM_BIAS))
        c->norm = WOQ_NORM_LN;
    c->rope_theta = 10000;
    if (!is_chatglm2(j)) {
        c->rope_theta *= ratio;
    } else if (ratio != 1) { /* positions are divided by it */
        c->rope_scaling = WOQ_ROPE_LINEAR;
        c->rope_factor = ratio;
    }
    return WOQ_OK;
}

/* sqrt(hidden), first rounded to the type that the model was made in. */
int woq_refine_gemma(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    static const char *const dtypes[] = { "torch_dtype", "dtype" };
    const char *dtype = woq_json_str(woq_config_get(j, dtypes));
    const bool first = !strcmp(c->arch->model_type, "gemma");
    const bool second = !strcmp(c->arch->model_type, "gemma2");
    double query;
    int rc;

    c->embed_mul = sqrtf((float)c->hidden);
    if (dtype && !strcmp(dtype, "bfloat16")) {
        uint16_t narrow;

        woq_from_f32(&narrow, WOQ_BF16, &c->embed_mul, 1);
        woq_to_f32(&c->embed_mul, &narrow, WOQ_BF16, 1);
    }
    if (first) {
        /* Files of the first release say "gelu" and mean the tanh form (models.md 6.6). */
        if (c->act == WOQ_ACT_GELU_ERF)
            c->act = WOQ_ACT_GELU_TANH;
        return WOQ_OK;
    }
    if ((rc = woq_config_real(j, "query_pre_attn_scalar", 0, 1e9, 256, &query, err)) < 0)
        return rc;
    c->attn_scale = (float)(1 / sqrt(query));
    if ((rc = softcap(j, "attn_logit_softcapping", second ? 50 : 0, &c->attn_softcap, err)) < 0)
        return rc;
    return softcap(j, "final_logit_softcapping", second ? 30 : 0, &c->final_softcap, err);
}

int woq_refine_granite(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    float scaling;
    int rc;

    if ((rc = factor(j, "embedding_multiplier", 1, &c->embed_mul, err)) < 0 ||
        (rc = factor(j, "attention_multiplier", 1, &c->attn_scale, err)) < 0 ||
        (rc = factor(j, "residual_multiplier", 1, &c->resid_mul, err)) < 0 ||
        (rc = factor(j, "logits_scaling", 1, &scaling, err)) < 0)
        return rc;
    c->logit_mul = 1 / scaling;
    return WOQ_OK;
}

int woq_refine_cohere(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    return factor(j, "logit_scale", 0.0625, &c->logit_mul, err);
}

/* no_rope_layers: 1 means that the block has rope. */
int woq_refine_smollm3(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const struct woq_json *list = woq_json_get(j, "no_rope_layers");
    size_t every, block = 0;
    uint64_t rope, window = 0;
    bool use;
    int rc;

    if ((rc = woq_config_maybe(j, "no_rope_layer_interval", WOQ_MAX_BLOCKS, 4, &every, err)) < 0 ||
        (rc = woq_config_flag(j, "use_sliding_window", false, &use, err)) < 0)
        return rc;
    if (woq_json_type(list) == WOQ_JNULL)
        for (size_t l = every - 1; l < c->n_layers; l += every)
            woq_bits_set(c->no_rope_blocks, l);
    woq_json_each(item, list)
    {
        if ((rc = woq_config_u64(item, "no_rope_layers", 0, 1, &rope, err)) < 0)
            return rc;
        if (!rope && block < c->n_layers)
            woq_bits_set(c->no_rope_blocks, block);
        block++;
    }
    if (list && woq_json_type(list) == WOQ_JARRAY && block != c->n_layers)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: 'no_rope_layers' has %zu entries, want %zu", block,
                        c->n_layers);
    if (!use || woq_json_type(woq_json_get(j, "sliding_window")) == WOQ_JNULL)
        return WOQ_OK;
    rc = woq_config_u64(woq_json_get(j, "sliding_window"), "sliding_window", 1, WOQ_MAX_POSITIONS,
                        &window, err);
    c->window = (size_t)window;
    memcpy(c->window_blocks, c->no_rope_blocks, sizeof c->window_blocks);
    return rc;
}

/* --- deepseek: latent attention, shared experts, groups of experts --- */

static int deepseek_experts(struct woq_config *c, const struct woq_json *j, bool v3,
                            struct woq_error *err)
{
    const char *method = woq_json_get_str(j, "topk_method");
    const bool grouped = v3 || (method && !strcmp(method, "group_limited_greedy"));
    size_t n_shared = 0, first = 0;
    int rc;

    if (!c->n_experts)
        return WOQ_OK;
    if (woq_json_type(woq_json_get(j, "n_shared_experts")) != WOQ_JNULL &&
        (rc = woq_config_need(j, "n_shared_experts", 64, &n_shared, err)) < 0)
        return rc;
    c->shared_inter = n_shared * c->expert_inter;
    if (grouped && ((rc = woq_config_maybe(j, "n_group", c->n_experts, v3 ? 8 : 1,
                                           &c->expert_groups, err)) < 0 ||
                    (rc = woq_config_maybe(j, "topk_group", c->expert_groups, v3 ? 4 : 1,
                                           &c->top_groups, err)) < 0))
        return rc;
    if (grouped && c->n_experts % c->expert_groups)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: %zu experts are no multiple of n_group %zu", c->n_experts,
                        c->expert_groups);
    if (grouped && c->n_used > c->n_experts / c->expert_groups * c->top_groups)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: %zu experts per token, topk_group leaves %zu", c->n_used,
                        c->n_experts / c->expert_groups * c->top_groups);
    if ((rc = factor(j, "routed_scaling_factor", v3 ? 2.5 : 1, &c->router_scale, err)) < 0)
        return rc;
    if (woq_json_u64(woq_json_get(j, "first_k_dense_replace"), &(uint64_t){ 0 }))
        first = (size_t)woq_json_get_int(j, "first_k_dense_replace", 0);
    else if (v3)
        first = 3;
    for (size_t l = 0; l < first && l < c->n_layers; l++)
        woq_bits_set(c->dense_blocks, l);
    return WOQ_OK;
}

int woq_refine_deepseek(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const bool v3 = !strcmp(c->arch->model_type, "deepseek_v3");
    const struct woq_json *lora = woq_json_get(j, "q_lora_rank"), *s;
    size_t nope;
    int rc;

    if ((rc = woq_config_need(j, "kv_lora_rank", WOQ_MAX_WIDTH, &c->kv_lora, err)) < 0 ||
        (rc = woq_config_need(j, "qk_nope_head_dim", WOQ_MAX_HEADS, &nope, err)) < 0 ||
        (rc = woq_config_need(j, "qk_rope_head_dim", WOQ_MAX_HEADS, &c->n_rot, err)) < 0 ||
        (rc = woq_config_need(j, "v_head_dim", WOQ_MAX_HEADS, &c->v_dim, err)) < 0)
        return rc;
    if (lora && woq_json_type(lora) != WOQ_JNULL &&
        (rc = woq_config_need(j, "q_lora_rank", WOQ_MAX_WIDTH, &c->q_lora, err)) < 0)
        return rc;
    if (!lora)
        c->q_lora = 1536;
    c->n_kv_heads = c->n_heads;
    c->head_dim = nope + c->n_rot;
    c->rot_first = nope;
    c->attn_scale = 1.0f / sqrtf((float)c->head_dim);
    s = woq_json_get(j, "rope_parameters");
    if (woq_json_type(s) == WOQ_JNULL)
        s = woq_json_get(j, "rope_scaling");
    {
        const double all = woq_json_get_num(s, "mscale_all_dim", 0);
        const double by = woq_json_get_num(s, "factor", 1);

        if (all != 0 && by > 1) {
            const double m = 0.1 * all * log(by) + 1;

            c->attn_scale *= (float)(m * m);
        }
    }
    return deepseek_experts(c, j, v3, err);
}
