#!/usr/bin/env python3
"""make.py [OUT]: tiny random checkpoints and their logits, recorded from transformers (float32, eager).

Run by hand with torch 2.8.0, transformers 4.57.6, safetensors 0.8.0, numpy 2.2.6. Each folder gets
config.json, model.safetensors (bf16, or f16 or f32 where named so), ids.json and logits.npy
[tokens][vocabulary]. Weights are rounded to the stored type before the run, so the file is exact."""
import json, os, shutil, sys
import numpy as np, torch, transformers
from safetensors.torch import save_file
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM)

ROPE3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
             original_max_position_embeddings=64)
LLAMA = dict(hidden_size=48, num_attention_heads=6, num_key_value_heads=2, intermediate_size=80)
FIXTURES = {
    # name: (class, config keys, tokens, stored type)
    "llama": ("llama", dict(LLAMA, head_dim=8, attention_bias=True, mlp_bias=True, rope_theta=500.0,
                            rope_scaling=ROPE3), 37, "bf16"),
    "llama-tied": ("llama", dict(hidden_size=40, num_attention_heads=3, num_key_value_heads=1,
                                 head_dim=16, intermediate_size=80, tie_word_embeddings=True), 13,
                   "f32"),
    "llama-mha5": ("llama", dict(hidden_size=40, num_attention_heads=5, num_key_value_heads=5,
                                 intermediate_size=72), 13, "f16"),
    "llama-linear": ("llama", dict(LLAMA, rope_theta=50.0,
                                   rope_scaling=dict(rope_type="linear", factor=2.5)), 13, "bf16"),
    "llama-dynamic": ("llama", dict(LLAMA, rope_theta=50.0, max_position_embeddings=16,
                                    rope_scaling=dict(type="dynamic", factor=3.0)), 37, "bf16"),
    "llama-yarn": ("llama", dict(LLAMA, head_dim=16, rope_theta=100.0, max_position_embeddings=32,
                                 rope_scaling=dict(rope_type="yarn", factor=4.0,
                                                   original_max_position_embeddings=8)), 13, "bf16"),
    "llama-yarn-keys": ("llama", dict(LLAMA, head_dim=16, rope_theta=100.0,
                                      max_position_embeddings=32,
                                      rope_scaling=dict(rope_type="yarn", factor=4.0, beta_fast=2.0,
                                                        beta_slow=0.25, truncate=False, mscale=1.0,
                                                        mscale_all_dim=0.5,
                                                        original_max_position_embeddings=8)), 13,
                        "bf16"),
    "llama-gelu": ("llama", dict(LLAMA, hidden_act="gelu"), 13, "bf16"),
    "mistral": ("mistral", dict(LLAMA, sliding_window=5), 13, "bf16"),
    "qwen2": ("qwen2", dict(LLAMA, use_sliding_window=True, sliding_window=5, max_window_layers=1,
                            tie_word_embeddings=True), 13, "bf16"),
}
CLASSES = dict(llama=(LlamaConfig, LlamaForCausalLM), mistral=(MistralConfig, MistralForCausalLM),
               qwen2=(Qwen2Config, Qwen2ForCausalLM))
TYPES = dict(f32=torch.float32, bf16=torch.bfloat16, f16=torch.float16)


def randomise(model, stored):
    for name, p in model.named_parameters():
        if "norm" in name:
            x = 1 + 0.1 * torch.randn_like(p)
        elif name.endswith(".bias"):
            x = 0.1 * torch.randn_like(p)
        else:
            x = 0.05 * torch.randn_like(p)
            x[..., torch.randint(p.shape[-1], (2,))] *= 10
        p.data = x.to(stored).float()


def main(out):
    for i, (name, (kind, keys, n_tokens, stored)) in enumerate(FIXTURES.items()):
        torch.manual_seed(i)
        config_class, model_class = CLASSES[kind]
        keys = {"max_position_embeddings": 64, "tie_word_embeddings": False, **keys}
        config = config_class(vocab_size=131, num_hidden_layers=2, rms_norm_eps=2e-3, **keys)
        config._attn_implementation = "eager"
        model = model_class(config).float().eval()
        randomise(model, TYPES[stored])
        ids = torch.randint(131, (1, n_tokens))
        with torch.inference_mode():
            logits = model(ids, use_cache=False).logits[0].float().numpy()
        config.architectures = [model_class.__name__]
        folder = os.path.join(out, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        config.save_pretrained(folder)
        state = {k: v.to(TYPES[stored]).contiguous() for k, v in model.state_dict().items()}
        if config.tie_word_embeddings:
            del state["lm_head.weight"]
        save_file(state, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        json.dump(ids[0].tolist(), open(os.path.join(folder, "ids.json"), "w"))
        np.save(os.path.join(folder, "logits.npy"), logits)
        print(name, logits.shape, float(np.abs(logits).max()), transformers.__version__)


main(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__)))
