#!/usr/bin/env python3
"""make.py [NAME...]: tiny models of every architecture and their logits, recorded from transformers
(float32, eager); of those that live outside it, from their published formulas (remote.py).

Run by hand with torch 2.8.0, transformers 4.57.6, numpy. Weights are not stored: both sides make them
from the tensors' names as woq-gen --config does (algorithms.md 11.10). Each folder gets config.json,
logits.npy [13][vocabulary] of the ids (7 i^2 + 3 i + 5) mod vocabulary, and tensors.txt, the names and
shapes of the checkpoint as the library saves it."""
import json, os, re, shutil, sys
import numpy as np, torch, transformers
import remote

T = 13
M64 = (1 << 64) - 1


def splitmix(k):
    with np.errstate(over="ignore"):
        z = np.asarray(k, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return z ^ z >> np.uint64(31)


def name_hash(name):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = (h ^ b) * 0x100000001B3 & M64
    return h


def bell(name, n, std, center):
    """n values of the tensor `name`, float32."""
    k0 = splitmix((1 ^ name_hash(name)) ^ 0x776F712D67656E31)
    with np.errstate(over="ignore"):
        z = splitmix(k0 + np.arange(n, dtype=np.uint64))
    m = np.uint64(0xFFFF)
    t = sum((z >> np.uint64(16 * i) & m).astype(np.int64) for i in range(4)) - 131070
    return (t * (std / 37837.22746846443) + center).astype(np.float32)


def is_norm(name):
    last = name.rsplit(".", 2)[-2] if not name.endswith(".bias") else ""
    return "norm" in name.replace("norms.", "norm.").rsplit(".", 1)[0].split(".")[-1] or \
        last in ("ln_1", "ln_2", "ln_f", "ln_attn", "ln_mlp") or ".norms." in name


def make(name, shape, plus_one):
    """A tensor [out, in] of the stream."""
    norm = name.endswith(".weight") and is_norm(name)
    std = 0.05 if norm else 0.1 if len(shape) == 1 else 1 / np.sqrt(float(shape[1]))
    center = 1 if norm and not plus_one else 0
    return torch.from_numpy(bell(name, int(np.prod(shape)), std, center).reshape(shape))


def fill(model, plus_one):
    """Gives every parameter its value; returns the lines of tensors.txt."""
    lines = []
    conv1d = {n for n, m in model.named_modules() if type(m).__name__ == "Conv1D"}
    tied = model.config.tie_word_embeddings if hasattr(model, "config") else False
    state = dict(model.named_parameters())
    state.update({n: b for n, b in model.named_buffers() if n.endswith("e_score_correction_bias")})
    for name, p in state.items():
        shape = list(p.shape)
        module = name.rsplit(".", 1)[0]
        if re.search(r"experts\.(gate_up_proj|down_proj)(_bias)?$", name):  # gpt-oss: [E, in, out]
            head, tail = name.rsplit(".", 1)
            bias = tail.endswith("_bias")
            one = "%s.%d.%s" + (".bias" if bias else ".weight")
            parts = [make(one % (head, e, tail.replace("_bias", "")), shape[1:][::-1], plus_one)
                     for e in range(shape[0])]
            p.data = torch.stack([x if bias else x.t() for x in parts]).contiguous()
        elif len(shape) == 3:  # granitemoe: [E, out, in]
            p.data = torch.stack([make("%s.%d.weight" % (module, e), shape[1:], plus_one)
                                  for e in range(shape[0])])
        elif module in conv1d and len(shape) == 2:
            p.data = make(name, shape[::-1], plus_one).t().contiguous()
        else:
            p.data = make(name, shape, plus_one)
        lines.append("%s %s" % (name, "x".join(map(str, shape))))
    if tied:
        model.tie_weights()
        lines = [x for x in lines if not x.startswith(("lm_head.weight", "embed_out.weight"))]
    return sorted(lines)


H48 = dict(hidden_size=48, num_attention_heads=6, num_key_value_heads=2, intermediate_size=80)
H32 = dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=2)
GPT = dict(n_embd=48, n_head=3, n_layer=2, n_positions=32)
ROPE3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
             original_max_position_embeddings=64)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=8)
LONG = dict(type="longrope", short_factor=[1.0, 1.5, 2.5], long_factor=[1.5, 2.0, 4.0])
LONG4 = dict(type="longrope", short_factor=[1.0, 1.2, 1.5, 2.5], long_factor=[1.5, 2.0, 3.0, 4.0],
             short_mscale=1.1, long_mscale=1.3, original_max_position_embeddings=8)
FALCON = dict(hidden_size=48, num_attention_heads=3, num_hidden_layers=2)
DEEP = dict(hidden_size=32, num_attention_heads=3, num_key_value_heads=3, kv_lora_rank=16,
            qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=12, intermediate_size=48,
            moe_intermediate_size=24, first_k_dense_replace=1, num_experts_per_tok=3)

# name: (model_type, keys)
FIXTURES = {
    "gptj": ("gptj", dict(GPT, rotary_dim=8, n_inner=96, n_positions=64, tie_word_embeddings=False)),
    "codegen": ("codegen", dict(GPT, n_embd=64, n_head=4, rotary_dim=8, n_positions=64,
                                tie_word_embeddings=False)),
    "gpt2": ("gpt2", GPT),
    "gpt2-layers": ("gpt2", dict(GPT, scale_attn_by_inverse_layer_idx=True)),
    "gpt_bigcode": ("gpt_bigcode", GPT),
    "gpt_bigcode-heads": ("gpt_bigcode", dict(GPT, multi_query=False)),
    "gpt_neo": ("gpt_neo", dict(hidden_size=48, num_heads=3, num_layers=2, window_size=5,
                                attention_types=[[["global", "local"], 1]],
                                max_position_embeddings=32)),
    "gpt_neox": ("gpt_neox", dict(hidden_size=48, num_attention_heads=3, intermediate_size=96,
                                  rotary_pct=0.5, tie_word_embeddings=False)),
    "gpt_neox-sequential": ("gpt_neox", dict(hidden_size=48, num_attention_heads=3,
                                             intermediate_size=96, rotary_pct=0.5,
                                             use_parallel_residual=False,
                                             tie_word_embeddings=False)),
    "opt": ("opt", dict(hidden_size=48, num_attention_heads=3, ffn_dim=96, word_embed_proj_dim=48,
                        max_position_embeddings=32)),
    "opt-350m": ("opt", dict(hidden_size=48, num_attention_heads=3, ffn_dim=96,
                             word_embed_proj_dim=32, do_layer_norm_before=False,
                             max_position_embeddings=32)),
    "bloom": ("bloom", dict(hidden_size=48, n_head=3, n_layer=2)),
    "bloom-post": ("bloom", dict(hidden_size=48, n_head=3, n_layer=2,
                                 apply_residual_connection_post_layernorm=True)),
    "mpt": ("mpt", dict(d_model=48, n_heads=3, n_layers=2, max_seq_len=32, expansion_ratio=4,
                        attn_config=dict(alibi=True, clip_qkv=0.5))),
    "falcon-7b": ("falcon", dict(FALCON, multi_query=True, parallel_attn=True, bias=False)),
    "falcon-40b": ("falcon", dict(FALCON, num_attention_heads=6, num_kv_heads=2, bias=True,
                                  new_decoder_architecture=True)),
    "falcon-one-norm": ("falcon", dict(FALCON, num_attention_heads=6, num_kv_heads=2, bias=True,
                                       new_decoder_architecture=True, num_ln_in_parallel_attn=1)),
    "falcon-rw": ("falcon", dict(FALCON, multi_query=False, parallel_attn=False, alibi=True,
                                 bias=True)),
    "llama": ("llama", dict(H48, head_dim=8, attention_bias=True, mlp_bias=True, rope_theta=500.0,
                            rope_scaling=ROPE3)),
    "mistral": ("mistral", dict(H48, sliding_window=5)),
    "mixtral": ("mixtral", dict(H32, intermediate_size=48, num_local_experts=5,
                                num_experts_per_tok=2)),
    "qwen2": ("qwen2", dict(H48, use_sliding_window=True, sliding_window=5, max_window_layers=1,
                            tie_word_embeddings=True)),
    "qwen2_moe": ("qwen2_moe", dict(H32, intermediate_size=48, num_experts=5, num_experts_per_tok=2,
                                    moe_intermediate_size=24, shared_expert_intermediate_size=40,
                                    decoder_sparse_step=2)),
    "qwen3": ("qwen3", dict(hidden_size=40, num_attention_heads=5, num_key_value_heads=1,
                            intermediate_size=80, head_dim=16, rope_scaling=YARN,
                            max_position_embeddings=32)),
    "qwen3_moe": ("qwen3_moe", dict(H32, head_dim=16, intermediate_size=48, num_experts=5,
                                    num_experts_per_tok=2, moe_intermediate_size=24,
                                    norm_topk_prob=True, mlp_only_layers=[0])),
    "phi": ("phi", dict(H48, num_attention_heads=3, num_key_value_heads=3, qk_layernorm=True)),
    "phi3": ("phi3", dict(H48, head_dim=8, partial_rotary_factor=0.75, sliding_window=5,
                          rope_scaling=LONG, original_max_position_embeddings=8,
                          max_position_embeddings=32, pad_token_id=0)),
    "phimoe": ("phimoe", dict(H32, intermediate_size=48, num_local_experts=4, attention_bias=True,
                              lm_head_bias=True, router_jitter_noise=0.1, sliding_window=None)),
    "phimoe-long": ("phimoe", dict(H32, intermediate_size=48, num_local_experts=4,
                                   rope_scaling=LONG4, max_position_embeddings=32,
                                   original_max_position_embeddings=8, sliding_window=None)),
    "gemma": ("gemma", dict(hidden_size=36, num_attention_heads=3, num_key_value_heads=1,
                            head_dim=16, intermediate_size=80)),
    "gemma2": ("gemma2", dict(hidden_size=36, num_attention_heads=4, num_key_value_heads=2,
                              head_dim=16, intermediate_size=80, query_pre_attn_scalar=24,
                              sliding_window=5, attn_logit_softcapping=5.0,
                              final_logit_softcapping=3.0)),
    "gemma3": ("gemma3_text", dict(hidden_size=36, num_attention_heads=4, num_key_value_heads=2,
                                   head_dim=16, intermediate_size=80, query_pre_attn_scalar=24,
                                   num_hidden_layers=6, rope_theta=1e6, rope_local_base_freq=1e4,
                                   rope_scaling=dict(rope_type="linear", factor=4.0),
                                   sliding_window=5)),
    "stablelm": ("stablelm", dict(H48, partial_rotary_factor=0.5, use_qkv_bias=True,
                                  qk_layernorm=True)),
    "stablelm-parallel": ("stablelm", dict(H48, partial_rotary_factor=0.5,
                                           use_parallel_residual=True)),
    "starcoder2": ("starcoder2", dict(H48, sliding_window=5)),
    "granite": ("granite", dict(H48, embedding_multiplier=6.0, attention_multiplier=0.1,
                                residual_multiplier=0.22, logits_scaling=4.0)),
    "granitemoe": ("granitemoe", dict(H48, embedding_multiplier=6.0, attention_multiplier=0.1,
                                      residual_multiplier=0.22, logits_scaling=4.0,
                                      num_local_experts=5, num_experts_per_tok=2,
                                      intermediate_size=24)),
    "olmo": ("olmo", dict(H48, clip_qkv=0.5)),
    "olmo2": ("olmo2", H48),
    "olmo3": ("olmo3", dict(H48, num_hidden_layers=4, sliding_window=5, rope_scaling=YARN,
                            max_position_embeddings=32)),
    "olmoe": ("olmoe", dict(H32, num_experts=5, num_experts_per_tok=2, intermediate_size=24,
                            clip_qkv=0.9)),
    "glm": ("glm", dict(H48, head_dim=8, partial_rotary_factor=0.5, pad_token_id=0)),
    "glm4": ("glm4", dict(H48, head_dim=8, partial_rotary_factor=0.5, pad_token_id=0)),
    "cohere": ("cohere", dict(H48, use_qk_norm=True, logit_scale=0.25, pad_token_id=0)),
    "cohere2": ("cohere2", dict(H48, num_hidden_layers=4, sliding_window=5, logit_scale=0.25,
                                pad_token_id=0)),
    "smollm3": ("smollm3", dict(H48, num_hidden_layers=4, pad_token_id=0)),
    "gpt_oss": ("gpt_oss", dict(H32, head_dim=16, intermediate_size=24, num_local_experts=4,
                                num_experts_per_tok=2, sliding_window=5,
                                max_position_embeddings=32,
                                rope_scaling=dict(YARN, beta_fast=32.0, beta_slow=1.0,
                                                  truncate=False))),
    "deepseek_v2": ("deepseek_v2", dict(DEEP, q_lora_rank=None, n_routed_experts=8,
                                        n_shared_experts=2, topk_method="group_limited_greedy",
                                        n_group=4, topk_group=2)),
    "deepseek_v3": ("deepseek_v3", dict(DEEP, q_lora_rank=24, n_routed_experts=8, n_group=4,
                                        topk_group=2, n_shared_experts=1)),
}


def vocabulary(config):
    return getattr(config, "padded_vocab_size", None) or config.vocab_size


def save(folder, logits, lines):
    np.save(os.path.join(folder, "logits.npy"), logits)
    with open(os.path.join(folder, "tensors.txt"), "w") as f:
        f.write("\n".join(lines) + "\n")


def ids(vocab):
    return torch.tensor([[(7 * i * i + 3 * i + 5) % vocab for i in range(T)]])


def record(folder, kind, keys):
    config_class = transformers.CONFIG_MAPPING[kind]
    keys = {"vocab_size": 131, "max_position_embeddings": 64, **keys}
    if not {"n_layer", "n_layers", "num_layers"} & set(keys):
        keys.setdefault("num_hidden_layers", 2)
    for name in ("n_positions", "max_seq_len"):
        if name in keys:
            del keys["max_position_embeddings"]
    if kind == "bloom":
        del keys["max_position_embeddings"]
    for name in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"):
        if hasattr(config_class(), name):
            keys[name] = 2e-3
    config = config_class(bos_token_id=1, eos_token_id=2, **keys)
    config.torch_dtype = torch.float32
    config._attn_implementation = "sdpa" if keys.get("alibi") else "eager"
    model_class = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[config_class]
    with transformers.modeling_utils.no_init_weights():
        model = model_class(config).float().eval()
    lines = fill(model, kind.startswith("gemma"))
    with torch.inference_mode():
        logits = model(ids(131), use_cache=False).logits[0].float().numpy()
    config.architectures = [model_class.__name__]
    config.save_pretrained(folder)
    save(folder, logits, lines)
    return logits


def main(names):
    here = os.path.dirname(os.path.abspath(__file__))
    for name in names or list(FIXTURES) + list(remote.FIXTURES):
        folder = os.path.join(here, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        if name in remote.FIXTURES:
            logits, lines = remote.record(folder, name, make, ids)
            save(folder, logits, lines)
        else:
            logits = record(folder, *FIXTURES[name])
        print(name, logits.shape, "max %.3f" % np.abs(logits).max(), flush=True)


main(sys.argv[1:])
