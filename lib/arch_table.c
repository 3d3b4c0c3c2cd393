/* arch_table.c -- the table of architectures (models.md 3): one row each. */
#include "arch_internal.h"

#include <string.h>

/* clang-format off */

/* --- where a family keeps its sizes --- */

#define LLAMA_KEYS                                                                                 \
    .hidden = { "hidden_size" }, .layers = { "num_hidden_layers" },                                \
    .heads = { "num_attention_heads" }, .vocab = "vocab_size", .head_dim = "head_dim",             \
    .positions = { "max_position_embeddings" }, .act = { "hidden_act" }

static const struct woq_arch_keys llama_keys = {
    LLAMA_KEYS, .kv_heads = "num_key_value_heads", .inter = "intermediate_size",
    .eps = "rms_norm_eps" },
  neox_keys = { LLAMA_KEYS, .inter = "intermediate_size", .eps = "layer_norm_eps" },
  opt_keys = {
    .hidden = { "hidden_size" }, .layers = { "num_hidden_layers" },
    .heads = { "num_attention_heads" }, .inter = "ffn_dim",
    .positions = { "max_position_embeddings" }, .vocab = "vocab_size",
    .act = { "activation_function" } },
  gpt_keys = {
    .hidden = { "n_embd" }, .layers = { "n_layer" }, .heads = { "n_head" }, .inter = "n_inner",
    .positions = { "n_positions" }, .vocab = "vocab_size", .eps = "layer_norm_epsilon",
    .act = { "activation_function" }, .inter_4h = true },
  neo_keys = {
    .hidden = { "hidden_size" }, .layers = { "num_layers" }, .heads = { "num_heads" },
    .inter = "intermediate_size", .positions = { "max_position_embeddings" },
    .vocab = "vocab_size", .eps = "layer_norm_epsilon", .act = { "activation_function" },
    .inter_4h = true },
  bloom_keys = {
    .hidden = { "hidden_size", "n_embed" }, .layers = { "n_layer", "num_hidden_layers" },
    .heads = { "n_head", "num_attention_heads" }, .positions = { "seq_length" },
    .vocab = "vocab_size", .eps = "layer_norm_epsilon", .inter_4h = true },
  mpt_keys = {
    .hidden = { "d_model" }, .layers = { "n_layers" }, .heads = { "n_heads" },
    .positions = { "max_seq_len" }, .vocab = "vocab_size", .eps = "layer_norm_epsilon",
    .inter_4h = true },
  falcon_keys = {
    .hidden = { "hidden_size", "n_embed" }, .layers = { "num_hidden_layers", "n_layer" },
    .heads = { "num_attention_heads", "n_head" }, .inter = "ffn_hidden_size",
    .positions = { "max_position_embeddings" }, .vocab = "vocab_size",
    .eps = "layer_norm_epsilon", .act = { "activation" }, .inter_4h = true },
  baichuan_keys = {
    .hidden = { "hidden_size" }, .layers = { "num_hidden_layers" },
    .heads = { "num_attention_heads" }, .inter = "intermediate_size",
    .positions = { "max_position_embeddings", "model_max_length" }, .vocab = "vocab_size",
    .eps = "rms_norm_eps", .act = { "hidden_act" } },
  chatglm_keys = {
    .hidden = { "hidden_size" }, .layers = { "num_layers" }, .heads = { "num_attention_heads" },
    .inter = "ffn_hidden_size", .head_dim = "kv_channels", .positions = { "seq_length" },
    .vocab = "padded_vocab_size", .eps = "layernorm_epsilon" },
  gemma2_keys = {
    .hidden = { "hidden_size" }, .layers = { "num_hidden_layers" },
    .heads = { "num_attention_heads" }, .kv_heads = "num_key_value_heads",
    .inter = "intermediate_size", .head_dim = "head_dim",
    .positions = { "max_position_embeddings" }, .vocab = "vocab_size", .eps = "rms_norm_eps",
    .act = { "hidden_activation" } };

/* --- names (models.md 3.2, 3.5, 3.6, 3.7) --- */

#define BLOCK "model.layers.{l}."
#define OUTSIDE                                                                                    \
    [WOQ_ROLE_EMBED] = "model.embed_tokens", [WOQ_ROLE_FINAL_NORM] = "model.norm",                 \
    [WOQ_ROLE_HEAD] = "lm_head"
#define NORMS                                                                                      \
    [WOQ_ROLE_ATTN_NORM] = BLOCK "input_layernorm",                                                \
    [WOQ_ROLE_MLP_NORM] = BLOCK "post_attention_layernorm"
#define ATTENTION                                                                                  \
    [WOQ_ROLE_Q] = BLOCK "self_attn.q_proj", [WOQ_ROLE_K] = BLOCK "self_attn.k_proj",              \
    [WOQ_ROLE_V] = BLOCK "self_attn.v_proj", [WOQ_ROLE_O] = BLOCK "self_attn.o_proj"
#define QK_NORMS                                                                                   \
    [WOQ_ROLE_Q_NORM] = BLOCK "self_attn.q_norm", [WOQ_ROLE_K_NORM] = BLOCK "self_attn.k_norm"
#define GATED_DOWN                                                                                 \
    [WOQ_ROLE_GATE] = BLOCK "mlp.gate_proj", [WOQ_ROLE_UP] = BLOCK "mlp.up_proj",                  \
    [WOQ_ROLE_DOWN] = BLOCK "mlp.down_proj"
#define GATE_UP_DOWN                                                                               \
    [WOQ_ROLE_GATE_UP] = BLOCK "mlp.gate_up_proj", [WOQ_ROLE_DOWN] = BLOCK "mlp.down_proj"
#define EXPERTS(gate, up, down)                                                                    \
    [WOQ_ROLE_EXPERT_GATE] = BLOCK gate, [WOQ_ROLE_EXPERT_UP] = BLOCK up,                          \
    [WOQ_ROLE_EXPERT_DOWN] = BLOCK down

typedef const char *const names[WOQ_N_ROLES];

static names llama_names = { OUTSIDE, NORMS, ATTENTION, QK_NORMS, GATED_DOWN },
mixtral_names = { OUTSIDE, NORMS, ATTENTION, [WOQ_ROLE_ROUTER] = BLOCK "block_sparse_moe.gate",
    EXPERTS("block_sparse_moe.experts.{e}.w1", "block_sparse_moe.experts.{e}.w3",
            "block_sparse_moe.experts.{e}.w2") },
qwen_moe_names = { OUTSIDE, NORMS, ATTENTION, QK_NORMS, GATED_DOWN,
    [WOQ_ROLE_ROUTER] = BLOCK "mlp.gate",
    [WOQ_ROLE_SHARED_ROUTER] = BLOCK "mlp.shared_expert_gate",
    [WOQ_ROLE_SHARED_GATE] = BLOCK "mlp.shared_expert.gate_proj",
    [WOQ_ROLE_SHARED_UP] = BLOCK "mlp.shared_expert.up_proj",
    [WOQ_ROLE_SHARED_DOWN] = BLOCK "mlp.shared_expert.down_proj",
    EXPERTS("mlp.experts.{e}.gate_proj", "mlp.experts.{e}.up_proj", "mlp.experts.{e}.down_proj") },
deepseek_names = { OUTSIDE, NORMS, GATED_DOWN,
    [WOQ_ROLE_Q] = BLOCK "self_attn.q_proj", [WOQ_ROLE_Q_A] = BLOCK "self_attn.q_a_proj",
    [WOQ_ROLE_Q_A_NORM] = BLOCK "self_attn.q_a_layernorm",
    [WOQ_ROLE_Q_B] = BLOCK "self_attn.q_b_proj",
    [WOQ_ROLE_KV_A] = BLOCK "self_attn.kv_a_proj_with_mqa",
    [WOQ_ROLE_KV_A_NORM] = BLOCK "self_attn.kv_a_layernorm",
    [WOQ_ROLE_KV_B] = BLOCK "self_attn.kv_b_proj", [WOQ_ROLE_O] = BLOCK "self_attn.o_proj",
    [WOQ_ROLE_ROUTER] = BLOCK "mlp.gate",
    [WOQ_ROLE_CORRECTION] = BLOCK "mlp.gate.e_score_correction_bias!",
    [WOQ_ROLE_SHARED_GATE] = BLOCK "mlp.shared_experts.gate_proj",
    [WOQ_ROLE_SHARED_UP] = BLOCK "mlp.shared_experts.up_proj",
    [WOQ_ROLE_SHARED_DOWN] = BLOCK "mlp.shared_experts.down_proj",
    EXPERTS("mlp.experts.{e}.gate_proj", "mlp.experts.{e}.up_proj", "mlp.experts.{e}.down_proj") },
granitemoe_names = { OUTSIDE, NORMS, ATTENTION,
    [WOQ_ROLE_ROUTER] = BLOCK "block_sparse_moe.router.layer",
    [WOQ_ROLE_EXPERT_GATE_UP] = BLOCK "block_sparse_moe.input_linear.{e}",
    [WOQ_ROLE_EXPERT_DOWN] = BLOCK "block_sparse_moe.output_linear.{e}" },
oss_names = { OUTSIDE, NORMS, ATTENTION, [WOQ_ROLE_SINKS] = BLOCK "self_attn.sinks!",
    [WOQ_ROLE_ROUTER] = BLOCK "mlp.router",
    [WOQ_ROLE_EXPERT_GATE_UP] = BLOCK "mlp.experts.{e}.gate_up_proj",
    [WOQ_ROLE_EXPERT_DOWN] = BLOCK "mlp.experts.{e}.down_proj" },
sandwich_names = { OUTSIDE, ATTENTION, QK_NORMS, GATED_DOWN,
    [WOQ_ROLE_ATTN_NORM] = BLOCK "input_layernorm",
    [WOQ_ROLE_ATTN_POST_NORM] = BLOCK "post_attention_layernorm",
    [WOQ_ROLE_MLP_NORM] = BLOCK "pre_feedforward_layernorm",
    [WOQ_ROLE_MLP_POST_NORM] = BLOCK "post_feedforward_layernorm" },
olmo2_names = { OUTSIDE, ATTENTION, QK_NORMS, GATED_DOWN,
    [WOQ_ROLE_ATTN_POST_NORM] = BLOCK "post_attention_layernorm",
    [WOQ_ROLE_MLP_POST_NORM] = BLOCK "post_feedforward_layernorm" },
glm_names = { OUTSIDE, NORMS, ATTENTION, GATE_UP_DOWN },
glm4_names = { OUTSIDE, ATTENTION, GATE_UP_DOWN,
    [WOQ_ROLE_ATTN_NORM] = BLOCK "input_layernorm",
    [WOQ_ROLE_ATTN_POST_NORM] = BLOCK "post_self_attn_layernorm",
    [WOQ_ROLE_MLP_NORM] = BLOCK "post_attention_layernorm",
    [WOQ_ROLE_MLP_POST_NORM] = BLOCK "post_mlp_layernorm" },
phi_names = { [WOQ_ROLE_EMBED] = "model.embed_tokens", [WOQ_ROLE_ATTN_NORM] = BLOCK "input_layernorm",
    [WOQ_ROLE_Q] = BLOCK "self_attn.q_proj", [WOQ_ROLE_K] = BLOCK "self_attn.k_proj",
    [WOQ_ROLE_V] = BLOCK "self_attn.v_proj", [WOQ_ROLE_O] = BLOCK "self_attn.dense",
    [WOQ_ROLE_Q_NORM] = BLOCK "self_attn.q_layernorm",
    [WOQ_ROLE_K_NORM] = BLOCK "self_attn.k_layernorm",
    [WOQ_ROLE_UP] = BLOCK "mlp.fc1", [WOQ_ROLE_DOWN] = BLOCK "mlp.fc2",
    [WOQ_ROLE_FINAL_NORM] = "model.final_layernorm", [WOQ_ROLE_HEAD] = "lm_head" },
phi3_names = { OUTSIDE, NORMS, GATE_UP_DOWN, [WOQ_ROLE_QKV] = BLOCK "self_attn.qkv_proj",
    [WOQ_ROLE_O] = BLOCK "self_attn.o_proj" },
stablelm_names = { OUTSIDE, NORMS, ATTENTION, GATED_DOWN,
    [WOQ_ROLE_Q_NORM] = BLOCK "self_attn.q_layernorm.norms.{e}",
    [WOQ_ROLE_K_NORM] = BLOCK "self_attn.k_layernorm.norms.{e}" },
starcoder2_names = { OUTSIDE, NORMS, ATTENTION, [WOQ_ROLE_UP] = BLOCK "mlp.c_fc",
    [WOQ_ROLE_DOWN] = BLOCK "mlp.c_proj" },
baichuan_names = { OUTSIDE, NORMS, GATED_DOWN, [WOQ_ROLE_QKV] = BLOCK "self_attn.W_pack",
    [WOQ_ROLE_O] = BLOCK "self_attn.o_proj" },
#undef BLOCK
#define BLOCK "transformer.encoder.layers.{l}."
chatglm_names = { NORMS, [WOQ_ROLE_EMBED] = "transformer.embedding.word_embeddings",
    [WOQ_ROLE_QKV] = BLOCK "self_attention.query_key_value",
    [WOQ_ROLE_O] = BLOCK "self_attention.dense",
    [WOQ_ROLE_GATE_UP] = BLOCK "mlp.dense_h_to_4h", [WOQ_ROLE_DOWN] = BLOCK "mlp.dense_4h_to_h",
    [WOQ_ROLE_FINAL_NORM] = "transformer.encoder.final_layernorm",
    [WOQ_ROLE_HEAD] = "transformer.output_layer" },
#undef BLOCK
#define BLOCK "gpt_neox.layers.{l}."
neox_names = { NORMS, [WOQ_ROLE_EMBED] = "gpt_neox.embed_in",
    [WOQ_ROLE_QKV] = BLOCK "attention.query_key_value", [WOQ_ROLE_O] = BLOCK "attention.dense",
    [WOQ_ROLE_UP] = BLOCK "mlp.dense_h_to_4h", [WOQ_ROLE_DOWN] = BLOCK "mlp.dense_4h_to_h",
    [WOQ_ROLE_FINAL_NORM] = "gpt_neox.final_layer_norm", [WOQ_ROLE_HEAD] = "embed_out" },
#undef BLOCK
#define BLOCK "model.decoder.layers.{l}."
opt_names = { [WOQ_ROLE_EMBED] = "model.decoder.embed_tokens",
    [WOQ_ROLE_POSITION] = "model.decoder.embed_positions",
    [WOQ_ROLE_PROJECT_IN] = "model.decoder.project_in",
    [WOQ_ROLE_ATTN_NORM] = BLOCK "self_attn_layer_norm",
    [WOQ_ROLE_Q] = BLOCK "self_attn.q_proj", [WOQ_ROLE_K] = BLOCK "self_attn.k_proj",
    [WOQ_ROLE_V] = BLOCK "self_attn.v_proj", [WOQ_ROLE_O] = BLOCK "self_attn.out_proj",
    [WOQ_ROLE_MLP_NORM] = BLOCK "final_layer_norm",
    [WOQ_ROLE_UP] = BLOCK "fc1", [WOQ_ROLE_DOWN] = BLOCK "fc2",
    [WOQ_ROLE_FINAL_NORM] = "model.decoder.final_layer_norm",
    [WOQ_ROLE_PROJECT_OUT] = "model.decoder.project_out", [WOQ_ROLE_HEAD] = "lm_head" },
#undef BLOCK
#define BLOCK "transformer.h.{l}."
bloom_names = { NORMS, [WOQ_ROLE_EMBED] = "transformer.word_embeddings",
    [WOQ_ROLE_EMBED_NORM] = "transformer.word_embeddings_layernorm",
    [WOQ_ROLE_QKV] = BLOCK "self_attention.query_key_value",
    [WOQ_ROLE_O] = BLOCK "self_attention.dense",
    [WOQ_ROLE_UP] = BLOCK "mlp.dense_h_to_4h", [WOQ_ROLE_DOWN] = BLOCK "mlp.dense_4h_to_h",
    [WOQ_ROLE_FINAL_NORM] = "transformer.ln_f", [WOQ_ROLE_HEAD] = "lm_head" },
falcon_names = { [WOQ_ROLE_EMBED] = "transformer.word_embeddings",
    [WOQ_ROLE_ATTN_NORM] = BLOCK "input_layernorm|" BLOCK "ln_attn",
    [WOQ_ROLE_MLP_NORM] = BLOCK "post_attention_layernorm|" BLOCK "ln_mlp",
    [WOQ_ROLE_QKV] = BLOCK "self_attention.query_key_value",
    [WOQ_ROLE_O] = BLOCK "self_attention.dense",
    [WOQ_ROLE_UP] = BLOCK "mlp.dense_h_to_4h", [WOQ_ROLE_DOWN] = BLOCK "mlp.dense_4h_to_h",
    [WOQ_ROLE_FINAL_NORM] = "transformer.ln_f", [WOQ_ROLE_HEAD] = "lm_head" },
#define GPT_OUTSIDE                                                                                \
    [WOQ_ROLE_EMBED] = "transformer.wte", [WOQ_ROLE_FINAL_NORM] = "transformer.ln_f",              \
    [WOQ_ROLE_HEAD] = "lm_head", [WOQ_ROLE_ATTN_NORM] = BLOCK "ln_1"
gptj_names = { GPT_OUTSIDE,
    [WOQ_ROLE_Q] = BLOCK "attn.q_proj", [WOQ_ROLE_K] = BLOCK "attn.k_proj",
    [WOQ_ROLE_V] = BLOCK "attn.v_proj", [WOQ_ROLE_O] = BLOCK "attn.out_proj",
    [WOQ_ROLE_UP] = BLOCK "mlp.fc_in", [WOQ_ROLE_DOWN] = BLOCK "mlp.fc_out" },
codegen_names = { GPT_OUTSIDE,
    [WOQ_ROLE_QKV] = BLOCK "attn.qkv_proj", [WOQ_ROLE_O] = BLOCK "attn.out_proj",
    [WOQ_ROLE_UP] = BLOCK "mlp.fc_in", [WOQ_ROLE_DOWN] = BLOCK "mlp.fc_out" },
gpt2_names = { GPT_OUTSIDE, [WOQ_ROLE_POSITION] = "transformer.wpe",
    [WOQ_ROLE_QKV] = BLOCK "attn.c_attn", [WOQ_ROLE_O] = BLOCK "attn.c_proj",
    [WOQ_ROLE_MLP_NORM] = BLOCK "ln_2", [WOQ_ROLE_UP] = BLOCK "mlp.c_fc",
    [WOQ_ROLE_DOWN] = BLOCK "mlp.c_proj" },
neo_names = { GPT_OUTSIDE, [WOQ_ROLE_POSITION] = "transformer.wpe",
    [WOQ_ROLE_Q] = BLOCK "attn.attention.q_proj", [WOQ_ROLE_K] = BLOCK "attn.attention.k_proj",
    [WOQ_ROLE_V] = BLOCK "attn.attention.v_proj", [WOQ_ROLE_O] = BLOCK "attn.attention.out_proj",
    [WOQ_ROLE_MLP_NORM] = BLOCK "ln_2", [WOQ_ROLE_UP] = BLOCK "mlp.c_fc",
    [WOQ_ROLE_DOWN] = BLOCK "mlp.c_proj" },
#undef BLOCK
#define BLOCK "transformer.blocks.{l}."
mpt_names = { [WOQ_ROLE_EMBED] = "transformer.wte", [WOQ_ROLE_ATTN_NORM] = BLOCK "norm_1",
    [WOQ_ROLE_QKV] = BLOCK "attn.Wqkv", [WOQ_ROLE_O] = BLOCK "attn.out_proj",
    [WOQ_ROLE_MLP_NORM] = BLOCK "norm_2", [WOQ_ROLE_UP] = BLOCK "ffn.up_proj",
    [WOQ_ROLE_DOWN] = BLOCK "ffn.down_proj", [WOQ_ROLE_FINAL_NORM] = "transformer.norm_f",
    [WOQ_ROLE_HEAD] = "lm_head" };

#define ROLE(r) ((uint64_t)1 << WOQ_ROLE_##r)
#define CONV1D (ROLE(QKV) | ROLE(O) | ROLE(UP) | ROLE(DOWN))
#define ATTENTION_BIAS { "attention_bias", false, WOQ_T_QKV_BIAS | WOQ_T_O_BIAS, 0 }
#define ALL_BIAS (WOQ_T_QKV_BIAS | WOQ_T_O_BIAS | WOQ_T_MLP_BIAS)

#define GPT .eps = 1e-5, .norm = WOQ_NORM_LN, .act = WOQ_ACT_GELU_TANH

/* What a row leaves out is llama's: RMS norm, silu, eps 1e-6, theta 10000, 2048 positions. */

static const struct woq_arch table[] = {
    /* Llama 1-3, SmolLM2, TinyLlama, Yi, Vicuna, DeepSeek-LLM. */
    { .model_type = "llama", .architectures = { "LlamaForCausalLM" }, .keys = &llama_keys,
      .traits = WOQ_T_GATED,
      .switches = { ATTENTION_BIAS, { "mlp_bias", false, WOQ_T_MLP_BIAS, 0 } },
      .names = llama_names },
    { .model_type = "mistral", .architectures = { "MistralForCausalLM" }, .keys = &llama_keys,
      .traits = WOQ_T_GATED, .default_kv_heads = 8, .default_window = 4096,
      .windows = WOQ_WINDOWS_ALL, .default_positions = 131072,
      .names = llama_names },
    { .model_type = "mixtral", .architectures = { "MixtralForCausalLM" }, .keys = &llama_keys,
      .traits = WOQ_T_GATED | WOQ_T_NORM_TOPK, .eps = 1e-5, .theta = 1e6, .default_kv_heads = 8,
      .windows = WOQ_WINDOWS_ALL, .router = WOQ_ROUTER_SOFTMAX, .default_positions = 131072,
      .names = mixtral_names },
    { .model_type = "qwen2", .architectures = { "Qwen2ForCausalLM" }, .keys = &llama_keys,
      .traits = WOQ_T_GATED | WOQ_T_QKV_BIAS, .default_kv_heads = 32, .default_window = 4096,
      .windows = WOQ_WINDOWS_FROM, .window_gated = true, .default_positions = 32768,
      .names = llama_names },
    { .model_type = "qwen2_moe", .architectures = { "Qwen2MoeForCausalLM" }, .keys = &llama_keys,
      .traits = WOQ_T_GATED | WOQ_T_SHARED_GATE,
      .switches = { { "qkv_bias", true, WOQ_T_QKV_BIAS, 0 },
                    { "norm_topk_prob", false, WOQ_T_NORM_TOPK, 0 } },
      .default_kv_heads = 16, .default_window = 4096, .windows = WOQ_WINDOWS_ALL,
      .window_gated = true, .router = WOQ_ROUTER_SOFTMAX, .default_positions = 32768,
      .names = qwen_moe_names },
    { .model_type = "qwen3", .architectures = { "Qwen3ForCausalLM" }, .keys = &llama_keys,
      .traits = WOQ_T_GATED | WOQ_T_QK_NORM, .qk_norm = WOQ_QK_HEAD,
      .switches = { ATTENTION_BIAS }, .default_kv_heads = 32, .default_head_dim = 128,
      .default_window = 4096, .windows = WOQ_WINDOWS_FROM, .window_gated = true,
      .default_positions = 32768, .names = llama_names },
    { .model_type = "qwen3_moe", .architectures = { "Qwen3MoeForCausalLM" }, .keys = &llama_keys,
      .traits = WOQ_T_GATED | WOQ_T_QK_NORM, .qk_norm = WOQ_QK_HEAD,
      .switches = { ATTENTION_BIAS, { "norm_topk_prob", false, WOQ_T_NORM_TOPK, 0 } },
      .default_kv_heads = 4, .default_window = 4096, .windows = WOQ_WINDOWS_ALL,
      .window_gated = true, .router = WOQ_ROUTER_SOFTMAX, .default_positions = 32768,
      .names = qwen_moe_names },
    { .model_type = "gptj", .architectures = { "GPTJForCausalLM" }, GPT, .keys = &gpt_keys,
      .traits = WOQ_T_NORM_BIAS | WOQ_T_PARALLEL | WOQ_T_ONE_NORM | WOQ_T_MLP_BIAS |
                WOQ_T_HEAD_BIAS | WOQ_T_PAIRED,
      .refine = woq_refine_codegen, .names = gptj_names },
    { .model_type = "codegen", .architectures = { "CodeGenForCausalLM" }, GPT, .keys = &gpt_keys,
      .qkv = WOQ_QKV_MP4,
      .traits = WOQ_T_NORM_BIAS | WOQ_T_PARALLEL | WOQ_T_ONE_NORM | WOQ_T_MLP_BIAS |
                WOQ_T_HEAD_BIAS | WOQ_T_PAIRED,
      .refine = woq_refine_codegen, .names = codegen_names },
    { .model_type = "gpt2", .architectures = { "GPT2LMHeadModel" }, GPT, .keys = &gpt_keys,
      .qkv = WOQ_QKV_CAT, .traits = WOQ_T_NORM_BIAS | ALL_BIAS, .tie_default = true,
      .switches = { { "scale_attn_weights", true, 0, WOQ_T_NO_SCALE },
                    { "scale_attn_by_inverse_layer_idx", false, WOQ_T_SCALE_BY_LAYER, 0 } },
      .default_positions = 1024, .prefix = { "transformer.", "" }, .conv1d = CONV1D,
      .names = gpt2_names },
    { .model_type = "gpt_bigcode", .architectures = { "GPTBigCodeForCausalLM" }, GPT, .keys = &gpt_keys,
      .qkv = WOQ_QKV_GROUP, .traits = WOQ_T_NORM_BIAS | ALL_BIAS, .tie_default = true,
      .switches = { { "scale_attn_weights", true, 0, WOQ_T_NO_SCALE } },
      .default_positions = 1024, .refine = woq_refine_bigcode, .names = gpt2_names },
    { .model_type = "gpt_neo", .architectures = { "GPTNeoForCausalLM" }, GPT,
      .keys = &neo_keys, .traits = WOQ_T_NORM_BIAS | WOQ_T_O_BIAS | WOQ_T_MLP_BIAS | WOQ_T_NO_SCALE,
      .tie_default = true, .refine = woq_refine_gpt_neo, .names = neo_names },
    /* Pythia, Dolly v2. */
    { .model_type = "gpt_neox", .architectures = { "GPTNeoXForCausalLM" }, .keys = &neox_keys,
      .eps = 1e-5, .norm = WOQ_NORM_LN, .act = WOQ_ACT_GELU_ERF, .qkv = WOQ_QKV_GROUP,
      .traits = WOQ_T_NORM_BIAS | WOQ_T_MLP_BIAS, .partial = 0.25,
      .theta_key = "rotary_emb_base", .partial_key = "rotary_pct",
      .switches = { { "use_parallel_residual", true, WOQ_T_PARALLEL, 0 },
                    { "attention_bias", true, WOQ_T_QKV_BIAS | WOQ_T_O_BIAS, 0 } },
      .names = neox_names },
    { .model_type = "opt", .architectures = { "OPTForCausalLM" }, .keys = &opt_keys, .eps = 1e-5,
      .norm = WOQ_NORM_LN, .act = WOQ_ACT_RELU, .tie_default = true,
      .switches = { { "enable_bias", true, ALL_BIAS, 0 },
                    { "do_layer_norm_before", true, 0, WOQ_T_NORM_AFTER | WOQ_T_NO_FINAL_NORM },
                    { "_remove_final_layer_norm", false, WOQ_T_NO_FINAL_NORM, 0 },
                    { "layer_norm_elementwise_affine", true, WOQ_T_NORM_BIAS, WOQ_T_NORM_FREE } },
      .position_offset = 2, .prefix = { "model.decoder.", "decoder." },
      .refine = woq_refine_opt, .names = opt_names },
    { .model_type = "bloom", .architectures = { "BloomForCausalLM" }, .keys = &bloom_keys,
      .eps = 1e-5, .norm = WOQ_NORM_LN, .act = WOQ_ACT_GELU_TANH, .qkv = WOQ_QKV_GROUP,
      .traits = WOQ_T_NORM_BIAS | ALL_BIAS | WOQ_T_ALIBI, .tie_default = true,
      .switches = { { "apply_residual_connection_post_layernorm", false, WOQ_T_NORM_RESIDUAL, 0 } },
      .prefix = { "transformer.", "" }, .names = bloom_names },
    { .model_type = "mpt", .architectures = { "MptForCausalLM", "MPTForCausalLM" },
      .keys = &mpt_keys, .eps = 1e-5, .norm = WOQ_NORM_LN, .act = WOQ_ACT_GELU_ERF,
      .qkv = WOQ_QKV_CAT, .traits = WOQ_T_ALIBI, .tie_default = true,
      .refine = woq_refine_mpt, .names = mpt_names },
    { .model_type = "falcon", .architectures = { "FalconForCausalLM", "RWForCausalLM" },
      .aliases = { "RefinedWebModel", "RefinedWeb" }, .keys = &falcon_keys, .eps = 1e-5,
      .norm = WOQ_NORM_LN, .act = WOQ_ACT_GELU_ERF, .qkv = WOQ_QKV_GROUP,
      .traits = WOQ_T_NORM_BIAS, .tie_default = true,
      .switches = { { "bias", false, ALL_BIAS, 0 },
                    { "alibi", false, WOQ_T_ALIBI | WOQ_T_ALIBI_BF16, 0 } },
      .refine = woq_refine_falcon, .names = falcon_names },
    { .model_type = "baichuan", .architectures = { "BaichuanForCausalLM", "BaiChuanForCausalLM" },
      .keys = &baichuan_keys, .qkv = WOQ_QKV_CAT, .traits = WOQ_T_GATED,
      .refine = woq_refine_baichuan, .names = baichuan_names },
    { .model_type = "chatglm",
      .architectures = { "ChatGLMModel", "ChatGLMForConditionalGeneration" },
      .keys = &chatglm_keys, .eps = 1e-5,
      .traits = WOQ_T_GATED | WOQ_T_PAIRED, .default_positions = 8192, .partial = 0.5,
      .switches = { { "add_bias_linear", false, ALL_BIAS, 0 },
                    { "add_qkv_bias", true, WOQ_T_QKV_BIAS, 0 },
                    { "post_layer_norm", true, 0, WOQ_T_NO_FINAL_NORM },
                    { "rmsnorm", true, 0, WOQ_T_NORM_BIAS },
                    { "apply_residual_connection_post_layernorm", false, WOQ_T_NORM_RESIDUAL, 0 } },
      .refine = woq_refine_chatglm, .names = chatglm_names },
    { .model_type = "phi", .architectures = { "PhiForCausalLM" }, .keys = &llama_keys, .eps = 1e-5,
      .eps_key = "layer_norm_eps", .norm = WOQ_NORM_LN, .act = WOQ_ACT_GELU_TANH,
      .traits = WOQ_T_NORM_BIAS | ALL_BIAS | WOQ_T_PARALLEL | WOQ_T_ONE_NORM | WOQ_T_HEAD_BIAS,
      .qk_norm = WOQ_QK_HEAD,
      .switches = { { "qk_layernorm", false, WOQ_T_QK_NORM | WOQ_T_QK_BIAS, 0 } },
      .partial = 0.5, .names = phi_names },
    { .model_type = "phi3", .architectures = { "Phi3ForCausalLM" }, .keys = &llama_keys, .eps = 1e-5,
      .qkv = WOQ_QKV_CAT, .traits = WOQ_T_GATED, .windows = WOQ_WINDOWS_ALL,
      .default_positions = 4096, .names = phi3_names },
    { .model_type = "phimoe", .architectures = { "PhiMoEForCausalLM", "PhimoeForCausalLM" },
      .keys = &llama_keys, .eps = 1e-5, .norm = WOQ_NORM_LN, .traits = WOQ_T_GATED | WOQ_T_NORM_BIAS,
      .switches = { ATTENTION_BIAS, { "lm_head_bias", false, WOQ_T_HEAD_BIAS, 0 } }, .theta = 1e6,
      .default_kv_heads = 8, .windows = WOQ_WINDOWS_ALL, .router = WOQ_ROUTER_SPARSE,
      .default_positions = 131072, .names = mixtral_names },
    { .model_type = "gemma", .architectures = { "GemmaForCausalLM" }, .keys = &llama_keys,
      .norm = WOQ_NORM_RMS_1P, .act = WOQ_ACT_GELU_TANH,
      .traits = WOQ_T_GATED | WOQ_T_EMBED_SQRT, .switches = { ATTENTION_BIAS },
      .default_kv_heads = 16, .default_head_dim = 256, .tie_default = true,
      .default_positions = 8192, .refine = woq_refine_gemma, .names = llama_names },
    { .model_type = "gemma2", .architectures = { "Gemma2ForCausalLM" },
      .keys = &gemma2_keys, .norm = WOQ_NORM_RMS_1P, .act = WOQ_ACT_GELU_TANH,
      .traits = WOQ_T_GATED | WOQ_T_EMBED_SQRT, .switches = { ATTENTION_BIAS },
      .default_kv_heads = 4, .default_head_dim = 256, .tie_default = true,
      .default_positions = 8192, .default_window = 4096, .windows = WOQ_WINDOWS_PERIOD,
      .window_period = 2, .refine = woq_refine_gemma, .names = sandwich_names },
    { .model_type = "gemma3_text",
      .architectures = { "Gemma3ForCausalLM", "Gemma3ForConditionalGeneration" },
      .aliases = { "gemma3" }, .keys = &gemma2_keys, .norm = WOQ_NORM_RMS_1P,
      .act = WOQ_ACT_GELU_TANH, .qk_norm = WOQ_QK_HEAD, .theta = 1e6,
      .theta_local = 10000,
      .traits = WOQ_T_GATED | WOQ_T_EMBED_SQRT | WOQ_T_QK_NORM | WOQ_T_LOCAL_ROPE,
      .switches = { ATTENTION_BIAS }, .default_kv_heads = 4, .default_head_dim = 256,
      .tie_default = true, .default_positions = 131072, .default_window = 4096,
      .windows = WOQ_WINDOWS_PERIOD, .window_period = 6,
      .prefix = { "model.", "language_model.model.", "model.language_model." },
      .refine = woq_refine_gemma, .names = sandwich_names },
    { .model_type = "stablelm", .architectures = { "StableLmForCausalLM" }, .keys = &llama_keys,
      .eps = 1e-5, .eps_key = "layer_norm_eps", .norm = WOQ_NORM_LN, .qk_norm = WOQ_QK_PER_HEAD,
      .traits = WOQ_T_GATED | WOQ_T_NORM_BIAS, .default_kv_heads = 32, .partial = 0.25,
      .switches = { { "use_qkv_bias", false, WOQ_T_QKV_BIAS, 0 },
                    { "qk_layernorm", false, WOQ_T_QK_NORM, 0 },
                    { "use_parallel_residual", false, WOQ_T_PARALLEL | WOQ_T_ONE_NORM, 0 } },
      .default_positions = 4096, .names = stablelm_names },
    { .model_type = "starcoder2", .architectures = { "Starcoder2ForCausalLM" }, .keys = &llama_keys,
      .eps = 1e-5, .eps_key = "norm_epsilon", .norm = WOQ_NORM_LN, .act = WOQ_ACT_GELU_TANH,
      .traits = WOQ_T_NORM_BIAS, .switches = { { "use_bias", true, ALL_BIAS, 0 } },
      .default_kv_heads = 2, .windows = WOQ_WINDOWS_ALL, .tie_default = true,
      .default_positions = 4096, .names = starcoder2_names },
    { .model_type = "granite", .architectures = { "GraniteForCausalLM" }, .keys = &llama_keys,
      .traits = WOQ_T_GATED,
      .switches = { ATTENTION_BIAS, { "mlp_bias", false, WOQ_T_MLP_BIAS, 0 } },
      .refine = woq_refine_granite, .names = llama_names },
    { .model_type = "granitemoe", .architectures = { "GraniteMoeForCausalLM" }, .keys = &llama_keys,
      .traits = WOQ_T_GATED, .switches = { ATTENTION_BIAS }, .router = WOQ_ROUTER_TOPK,
      .stacks = { { WOQ_ROLE_EXPERT_GATE_UP,
                    "model.layers.{l}.block_sparse_moe.input_linear.weight!", NULL },
                  { WOQ_ROLE_EXPERT_DOWN,
                    "model.layers.{l}.block_sparse_moe.output_linear.weight!", NULL } },
      .refine = woq_refine_granite, .names = granitemoe_names },
    { .model_type = "olmo", .architectures = { "OlmoForCausalLM" }, .keys = &llama_keys, .eps = 1e-5,
      .eps_key = "", .norm = WOQ_NORM_LN,
      .traits = WOQ_T_GATED | WOQ_T_NORM_FREE | WOQ_T_CLIP_QKV, .switches = { ATTENTION_BIAS },
      .names = llama_names },
    { .model_type = "olmo2", .architectures = { "Olmo2ForCausalLM" }, .keys = &llama_keys, .eps = 1e-5,
      .traits = WOQ_T_GATED | WOQ_T_QK_NORM, .qk_norm = WOQ_QK_WHOLE,
      .switches = { ATTENTION_BIAS }, .names = olmo2_names },
    { .model_type = "olmo3", .architectures = { "Olmo3ForCausalLM" }, .keys = &llama_keys, .eps = 1e-5,
      .traits = WOQ_T_GATED | WOQ_T_QK_NORM | WOQ_T_LOCAL_ROPE, .qk_norm = WOQ_QK_WHOLE,
      .switches = { ATTENTION_BIAS }, .default_window = 4096, .windows = WOQ_WINDOWS_PERIOD,
      .window_period = 4, .names = olmo2_names },
    { .model_type = "olmoe", .architectures = { "OlmoeForCausalLM" }, .keys = &llama_keys, .eps = 1e-5,
      .traits = WOQ_T_GATED | WOQ_T_QK_NORM | WOQ_T_CLIP_QKV, .qk_norm = WOQ_QK_WHOLE,
      .switches = { ATTENTION_BIAS, { "norm_topk_prob", false, WOQ_T_NORM_TOPK, 0 } },
      .router = WOQ_ROUTER_SOFTMAX, .default_positions = 4096, .names = qwen_moe_names },
    { .model_type = "glm", .architectures = { "GlmForCausalLM" }, .keys = &llama_keys, .eps = 1.5625e-7,
      .traits = WOQ_T_GATED | WOQ_T_PAIRED,
      .switches = { { "attention_bias", true, WOQ_T_QKV_BIAS, 0 } }, .default_kv_heads = 2,
      .default_head_dim = 128, .partial = 0.5, .default_positions = 131072, .names = glm_names },
    { .model_type = "glm4", .architectures = { "Glm4ForCausalLM" }, .keys = &llama_keys, .eps = 1.5625e-7,
      .traits = WOQ_T_GATED | WOQ_T_PAIRED,
      .switches = { { "attention_bias", true, WOQ_T_QKV_BIAS, 0 } }, .default_kv_heads = 2,
      .default_head_dim = 128, .partial = 0.5, .default_positions = 131072, .names = glm4_names },
    { .model_type = "cohere", .architectures = { "CohereForCausalLM" }, .keys = &llama_keys, .eps = 1e-5,
      .eps_key = "layer_norm_eps", .norm = WOQ_NORM_LN, .qk_norm = WOQ_QK_PER_HEAD,
      .traits = WOQ_T_GATED | WOQ_T_PARALLEL | WOQ_T_ONE_NORM | WOQ_T_PAIRED, .tie_default = true,
      .switches = { ATTENTION_BIAS, { "use_qk_norm", false, WOQ_T_QK_NORM, 0 } },
      .default_positions = 8192, .refine = woq_refine_cohere, .names = llama_names },
    { .model_type = "cohere2", .architectures = { "Cohere2ForCausalLM" }, .keys = &llama_keys, .eps = 1e-5,
      .eps_key = "layer_norm_eps", .norm = WOQ_NORM_LN,
      .traits = WOQ_T_GATED | WOQ_T_PARALLEL | WOQ_T_ONE_NORM | WOQ_T_PAIRED | WOQ_T_FULL_NO_ROPE,
      .switches = { ATTENTION_BIAS }, .tie_default = true, .default_window = 4096,
      .windows = WOQ_WINDOWS_PERIOD, .window_period = 4, .default_positions = 8192,
      .refine = woq_refine_cohere, .names = llama_names },
    { .model_type = "smollm3", .architectures = { "SmolLM3ForCausalLM" }, .keys = &llama_keys,
      .traits = WOQ_T_GATED, .switches = { ATTENTION_BIAS, { "mlp_bias", false, WOQ_T_MLP_BIAS, 0 } },
      .theta = 2e6, .default_kv_heads = 4, .tie_default = true, .default_positions = 32768,
      .refine = woq_refine_smollm3, .names = llama_names },
    { .model_type = "gpt_oss", .architectures = { "GptOssForCausalLM" }, .keys = &llama_keys, .eps = 1e-5,
      .act = WOQ_ACT_OSS,
      .traits = WOQ_T_GATED | ALL_BIAS | WOQ_T_ROUTER_BIAS | WOQ_T_INTERLEAVED, .theta = 150000,
      .default_kv_heads = 8, .default_head_dim = 64, .default_window = 128,
      .windows = WOQ_WINDOWS_PERIOD, .window_period = 2, .router = WOQ_ROUTER_TOPK,
      .conv1d = ROLE(EXPERT_GATE_UP) | ROLE(EXPERT_DOWN),
      .stacks = { { WOQ_ROLE_EXPERT_GATE_UP, "model.layers.{l}.mlp.experts.gate_up_proj!",
                    "model.layers.{l}.mlp.experts.gate_up_proj_bias!" },
                  { WOQ_ROLE_EXPERT_DOWN, "model.layers.{l}.mlp.experts.down_proj!",
                    "model.layers.{l}.mlp.experts.down_proj_bias!" } },
      .default_positions = 131072,
      .names = oss_names },
    { .model_type = "deepseek_v2", .architectures = { "DeepseekV2ForCausalLM" }, .keys = &llama_keys,
      .qkv = WOQ_QKV_MLA, .traits = WOQ_T_GATED | WOQ_T_PAIRED,
      .switches = { ATTENTION_BIAS }, .router = WOQ_ROUTER_SOFTMAX,
      .refine = woq_refine_deepseek, .names = deepseek_names },
    { .model_type = "deepseek_v3", .architectures = { "DeepseekV3ForCausalLM" }, .keys = &llama_keys,
      .qkv = WOQ_QKV_MLA, .traits = WOQ_T_GATED | WOQ_T_CORRECTION,
      .switches = { ATTENTION_BIAS, { "norm_topk_prob", true, WOQ_T_NORM_TOPK, 0 },
                    { "rope_interleave", true, WOQ_T_PAIRED, 0 } },
      .router = WOQ_ROUTER_SIGMOID, .refine = woq_refine_deepseek, .names = deepseek_names },
};
/* clang-format on */

size_t woq_arch_count(void)
{
    return sizeof table / sizeof table[0];
}

const struct woq_arch *woq_arch_at(size_t i)
{
    return i < woq_arch_count() ? &table[i] : NULL;
}
