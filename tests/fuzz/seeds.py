#!/usr/bin/env python3
"""First seeds of the targets safetensors, torch, gguf (llama2.c too) and config: python seeds.py

A llama of one block, hidden 4 (32 where a block type needs it). Needs gguf, numpy and torch.
"""
import json
import os
import struct
import zipfile

import gguf
import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(1)


def put(path, data):
    with open(os.path.join(HERE, "corpus", path), "wb") as f:
        f.write(data)


def shapes(hidden, inter, vocab, kv):
    p = "model.layers.0."
    return {
        "model.embed_tokens.weight": (vocab, hidden), p + "input_layernorm.weight": (hidden,),
        p + "self_attn.q_proj.weight": (hidden, hidden), p + "self_attn.k_proj.weight": (kv, hidden),
        p + "self_attn.v_proj.weight": (kv, hidden), p + "self_attn.o_proj.weight": (hidden, hidden),
        p + "post_attention_layernorm.weight": (hidden,), p + "mlp.gate_proj.weight": (inter, hidden),
        p + "mlp.up_proj.weight": (inter, hidden), p + "mlp.down_proj.weight": (hidden, inter),
        "model.norm.weight": (hidden,),
    }


def safetensors(tensors):
    header, at = {}, 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values())


def floats(shape, kind):
    return rng.standard_normal(shape).astype(kind).tobytes()


small = shapes(4, 6, 5, 2)
put("safetensors/f32", safetensors({n: ("F32", list(s), floats(s, "<f4")) for n, s in small.items()}))
put("safetensors/f16", safetensors({n: ("F16", list(s), floats(s, "<f2")) for n, s in small.items()}))
put("safetensors/odd", safetensors({
    "__metadata__x": ("BOOL", [3], b"\1\0\1"), "\u00e9\U0001f600": ("F8_E4M3", [2, 1], b"\1\2"),
    "empty": ("I64", [0, 7], b""), "scalar": ("BF16", [], b"\0\1")}))
put("safetensors/metadata", struct.pack("<Q", 40) + b'{"__metadata__":{"format":"pt"}}'.ljust(40))

state = {n: torch.randn(s, generator=torch.Generator().manual_seed(7)) for n, s in small.items()}
q = "model.layers.0.self_attn.q_proj.weight"
torch.save({**state, q: state[q].t()}, os.path.join(HERE, "corpus", "torch", "f32"))
torch.save({n: torch.nn.Parameter(x.half()) for n, x in state.items()}, os.path.join(HERE, "corpus", "torch", "f16"))
torch.save({"epoch": 1, "x": [2.5, None, (True, -3)], "state_dict": {"a": torch.zeros(2, 3)[:, 1]},
            "b": torch.ones(2, dtype=torch.uint16), "c": torch.ones(3).to(torch.float8_e5m2),
            "d": torch.arange(6)[None].expand(2, 6)}, os.path.join(HERE, "corpus", "torch", "odd"))
put("torch/pickle", zipfile.ZipFile(os.path.join(HERE, "corpus", "torch", "odd")).read("odd/data.pkl"))

NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm",
         "model.layers.0.input_layernorm": "blk.0.attn_norm",
         "model.layers.0.post_attention_layernorm": "blk.0.ffn_norm",
         "model.layers.0.self_attn.q_proj": "blk.0.attn_q",
         "model.layers.0.self_attn.k_proj": "blk.0.attn_k",
         "model.layers.0.self_attn.v_proj": "blk.0.attn_v",
         "model.layers.0.self_attn.o_proj": "blk.0.attn_output",
         "model.layers.0.mlp.gate_proj": "blk.0.ffn_gate", "model.layers.0.mlp.up_proj": "blk.0.ffn_up",
         "model.layers.0.mlp.down_proj": "blk.0.ffn_down"}


def make_gguf(path, arch, kinds, hidden, inter, vocab, extra=()):
    g = gguf.GGUFWriter(os.path.join(HERE, "corpus", path), arch)
    g.add_context_length(16)
    g.add_embedding_length(hidden)
    g.add_block_count(1)
    g.add_feed_forward_length(inter)
    g.add_head_count(2)
    g.add_head_count_kv(1)
    g.add_layer_norm_rms_eps(1e-5)
    for add in extra:
        add(g)
    for i, (name, shape) in enumerate(shapes(hidden, inter, vocab, hidden // 2).items()):
        stem, suffix = name.rsplit(".", 1)
        kind = gguf.GGMLQuantizationType[kinds[i % len(kinds)] if len(shape) == 2 else "F32"]
        x = rng.standard_normal(shape).astype(np.float32)
        elems, size = gguf.GGML_QUANT_SIZES[kind]
        if kind == gguf.GGMLQuantizationType.F32:
            g.add_tensor(f"{NAMES[stem]}.{suffix}", x)
            continue
        raw = rng.integers(0, 100, (shape[0], shape[1] // elems * size), dtype=np.uint8)
        g.add_tensor(f"{NAMES[stem]}.{suffix}", raw, raw_dtype=kind)
    g.write_header_to_file()
    g.write_kv_data_to_file()
    g.write_tensors_to_file()
    g.close()


def vocabulary(g):
    g.add_tokenizer_model("gpt2")
    g.add_tokenizer_pre("smollm")
    g.add_token_list(["a", "b", "ab", "<|e|>", "\u0120a"])
    g.add_token_types([1, 1, 1, 3, 1])
    g.add_token_merges(["a b", "\u0120 a"])
    g.add_bos_token_id(3)
    g.add_eos_token_id(3)
    g.add_chat_template("{{ x }}")


make_gguf("gguf/f32", "llama", ["F32"], 4, 6, 5, [vocabulary])
make_gguf("gguf/q32", "llama", ["Q4_1", "Q8_0", "Q4_0", "Q5_0", "Q5_1", "IQ4_NL", "MXFP4"], 32, 32, 5)
make_gguf("gguf/linear", "qwen2", ["F32"], 4, 6, 5, [
    lambda g: g.add_rope_scaling_type(gguf.RopeScalingType.LINEAR),
    lambda g: g.add_rope_scaling_factor(2.0), lambda g: g.add_rope_freq_base(5e5),
    lambda g: g.add_tensor("rope_freqs.weight", np.ones(1, np.float32))])
sizes = struct.pack("<7i", 4, 6, 1, 2, 1, 5, 4)
n = 5 * 4 + 4 + 16 + 8 + 8 + 16 + 4 + 24 * 3 + 4
put("gguf/llama2c-0", sizes + floats(n + 4 * 2, "<f4"))
put("gguf/llama2c-1", (struct.pack("<Ii", 0x616B3432, 1) + sizes + b"\1").ljust(256, b"\0") + floats(n, "<f4"))

base = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 48,
        "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6,
        "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 131, "rms_norm_eps": 1e-5,
        "rope_theta": 500.0, "max_position_embeddings": 64, "hidden_act": "silu"}
more = {
    "llama": {}, "llama3": {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1,
                                            "high_freq_factor": 4, "original_max_position_embeddings": 64}},
    "linear": {"rope_scaling": {"type": "linear", "factor": 2.0}},
    "yarn": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}},
    "params": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "mistral": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 5},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": True,
              "sliding_window": 5, "max_window_layers": 1, "layer_types": ["full_attention"] * 2},
    "nulls": {"num_key_value_heads": None, "head_dim": None, "rope_scaling": None, "sliding_window": None},
}
for name, extra in more.items():
    put("config/" + name, json.dumps({**base, **extra}).encode())
