#!/usr/bin/env python3
"""Tiny llama checkpoints with the same kind of random weights, one per format that woq reads.

  hf/        f32 safetensors, tensors in no sensible order, head of its own
  sharded/   bf16, two shards and their index, tied, an inv_freq buffer, attention biases
  tiny.gguf  many block types, rows of q and k permuted as llama.cpp has them
  gguf-hf/   the weights of tiny.gguf as the package gguf decodes them, in HF order
  v0.bin v1.bin v2.bin   llama2.c, from the weights of hf/ (v2: Q8_0; v0: shared head)
  v2-hf/     the decoded weights of v2.bin

Recorded with gguf 0.19.0, numpy 2.4.6, safetensors 0.8.0:  python make.py
"""
import json
import os
import struct

import gguf
import numpy as np
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
HIDDEN, HEADS, KV, DIM, INTER, LAYERS, VOCAB = 32, 4, 2, 8, 64, 2, 96
rng = np.random.default_rng(3)


def config(**more):
    c = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": INTER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV, "head_dim": DIM, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "max_position_embeddings": 64, "hidden_act": "silu",
        "tie_word_embeddings": False, "torch_dtype": "float32",
    }
    c.update(more)
    return c


def linear(rows, cols):
    return (rng.standard_normal((rows, cols)) * 0.05).astype(np.float32)


def norm():
    return (1 + 0.1 * rng.standard_normal(HIDDEN)).astype(np.float32)


def weights(head=True, bias=False):
    w = {"model.embed_tokens.weight": linear(VOCAB, HIDDEN), "model.norm.weight": norm()}
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        w[p + "input_layernorm.weight"] = norm()
        w[p + "post_attention_layernorm.weight"] = norm()
        for name, rows in (("q", HEADS * DIM), ("k", KV * DIM), ("v", KV * DIM), ("o", HIDDEN)):
            w[p + f"self_attn.{name}_proj.weight"] = linear(rows, HIDDEN)
            if bias:
                w[p + f"self_attn.{name}_proj.bias"] = linear(1, rows)[0]
        w[p + "mlp.gate_proj.weight"] = linear(INTER, HIDDEN)
        w[p + "mlp.up_proj.weight"] = linear(INTER, HIDDEN)
        w[p + "mlp.down_proj.weight"] = linear(HIDDEN, INTER)
    if head:
        w["lm_head.weight"] = linear(VOCAB, HIDDEN)
    return w


def write_config(folder, **more):
    os.makedirs(os.path.join(HERE, folder), exist_ok=True)
    with open(os.path.join(HERE, folder, "config.json"), "w") as f:
        json.dump(config(**more), f, indent=2)
        f.write("\n")


def safetensors_bytes(tensors):
    """In the order given: the library would sort them."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values())


def as_f32(x):
    return ("F32", list(x.shape), x.astype("<f4").tobytes())


def as_bf16(x):
    bits = x.astype("<f4").view("<u4")
    return ("BF16", list(x.shape), ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes())


def write(path, data):
    with open(os.path.join(HERE, path), "wb") as f:
        f.write(data)


def permute(x, heads):
    """HF rows to GGUF and llama2.c rows."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def unpermute(x, heads):
    return x.reshape(heads, x.shape[0] // heads // 2, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def make_hf():
    w = weights()
    write_config("hf")
    names = sorted(w, key=lambda n: n[::-1])
    write("hf/model.safetensors", safetensors_bytes({n: as_f32(w[n]) for n in names}))
    write("hf/generation_config.json", b'{"eos_token_id": 2}\n')
    return w


def make_sharded():
    w = weights(head=False, bias=True)
    write_config("sharded", tie_word_embeddings=True, attention_bias=True, torch_dtype="bfloat16")
    w["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(DIM // 2, np.float32)
    names = sorted(w)
    index = {"metadata": {"total_size": sum(2 * w[n].size for n in names)}, "weight_map": {}}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"model-{i + 1:05d}-of-00002.safetensors"
        index["weight_map"].update({n: file for n in part})
        write("sharded/" + file, safetensors_bytes({n: as_bf16(w[n]) for n in part}))
    write("sharded/model.safetensors.index.json", json.dumps(index, indent=1).encode())


GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GGUF_TYPES = {
    "token_embd.weight": "Q8_0", "output.weight": "F16",
    "blk.0.attn_q.weight": "Q4_1", "blk.0.attn_k.weight": "Q5_0", "blk.0.attn_v.weight": "Q5_1",
    "blk.0.attn_output.weight": "Q4_0", "blk.0.ffn_gate.weight": "F32",
    "blk.0.ffn_up.weight": "BF16", "blk.0.ffn_down.weight": "Q8_0",
    "blk.1.attn_q.weight": "F16", "blk.1.attn_k.weight": "BF16",
    "blk.1.attn_v.weight": "MXFP4", "blk.1.attn_output.weight": "Q4_0",
    "blk.1.ffn_gate.weight": "Q4_1", "blk.1.ffn_up.weight": "Q5_1", "blk.1.ffn_down.weight": "Q5_0",
}


def gguf_name(name):
    stem, suffix = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, block, rest = stem.split(".", 3)
        return f"blk.{block}.{GGUF_NAMES[rest]}.{suffix}"
    return f"{GGUF_NAMES[stem]}.{suffix}"


def rope_freqs(theta=500.0, factor=8.0, low=1.0, high=4.0, original=64):
    out = []
    for i in range(DIM // 2):
        wl = 2 * np.pi * theta ** (2 * i / DIM)
        t = (original / wl - low) / (high - low)
        out.append(1 if wl < original / high else factor if wl > original / low else 1 / ((1 - t) / factor + t))
    return np.array(out, np.float32)


def make_gguf():
    w = weights()
    g = gguf.GGUFWriter(os.path.join(HERE, "tiny.gguf"), "llama")
    g.add_name("tiny")
    g.add_context_length(64)
    g.add_embedding_length(HIDDEN)
    g.add_block_count(LAYERS)
    g.add_feed_forward_length(INTER)
    g.add_head_count(HEADS)
    g.add_head_count_kv(KV)
    g.add_layer_norm_rms_eps(1e-5)
    g.add_rope_freq_base(500.0)
    g.add_rope_dimension_count(DIM)
    g.add_vocab_size(VOCAB)
    g.add_bos_token_id(1)
    g.add_eos_token_id(2)
    g.add_eot_token_id(5)
    g.add_tensor("rope_freqs.weight", rope_freqs())
    decoded = {}
    for name in sorted(w, key=lambda n: n[::-1]):
        x, gname = w[name], gguf_name(name)
        heads = HEADS if ".q_proj" in name else KV if ".k_proj" in name else 0
        if heads:
            x = permute(x, heads)
        kind = gguf.GGMLQuantizationType[GGUF_TYPES.get(gname, "F32")]
        raw = gguf.quantize(x, kind)
        if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            g.add_tensor(gname, raw)
        else:
            g.add_tensor(gname, raw, raw_dtype=kind)
        x = gguf.dequantize(raw, kind).astype(np.float32).reshape(x.shape)
        decoded[name] = unpermute(x, heads) if heads else x
    g.write_header_to_file()
    g.write_kv_data_to_file()
    g.write_tensors_to_file()
    g.close()
    write_config("gguf-hf", rope_theta=500.0, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64})
    write("gguf-hf/model.safetensors", safetensors_bytes({n: as_f32(x) for n, x in decoded.items()}))


def per_block(w, stem):
    return [w[f"model.layers.{i}.{stem}.weight"] for i in range(LAYERS)]


def llama2c_parts(w):
    q = [permute(x, HEADS) for x in per_block(w, "self_attn.q_proj")]
    k = [permute(x, KV) for x in per_block(w, "self_attn.k_proj")]
    attn = q + k + per_block(w, "self_attn.v_proj") + per_block(w, "self_attn.o_proj")
    mlp = per_block(w, "mlp.gate_proj") + per_block(w, "mlp.down_proj") + per_block(w, "mlp.up_proj")
    return (attn, mlp, per_block(w, "input_layernorm"), per_block(w, "post_attention_layernorm"),
            [w["model.norm.weight"]], [w["model.embed_tokens.weight"]], [w["lm_head.weight"]])


def floats(arrays):
    return b"".join(a.astype("<f4").tobytes() for a in arrays)


def q8(x, group=32):
    x = x.reshape(-1, group)
    scale = (np.abs(x).max(axis=1) / 127).astype(np.float32)
    return np.round(x / scale[:, None]).astype(np.int8), scale


def make_llama2c(w):
    attn, mlp, n1, n2, final, embed, head = llama2c_parts(w)
    sizes = struct.pack("<5i", HIDDEN, INTER, LAYERS, HEADS, KV)
    angle = np.outer(np.arange(64), 10000.0 ** (-2 * np.arange(DIM // 2) / DIM))
    rope = [np.cos(angle), np.sin(angle)]
    write("v0.bin", sizes + struct.pack("<2i", VOCAB, 64) +
          floats(embed + n1 + attn + n2 + mlp + final + rope))
    head1 = struct.pack("<Ii", 0x616B3432, 1) + sizes + struct.pack("<2iB", VOCAB, 64, 0)
    write("v1.bin", head1.ljust(256, b"\0") + floats(n1 + n2 + final + embed + attn + mlp + head))
    head2 = struct.pack("<Ii", 0x616B3432, 2) + sizes + struct.pack("<2iBi", VOCAB, 64, 0, 32)
    data = head2.ljust(256, b"\0") + floats(n1 + n2 + final)
    for x in embed + attn + mlp + head:
        codes, scale = q8(x)
        data += codes.tobytes() + scale.astype("<f4").tobytes()
    write("v2.bin", data)
    decoded = {}
    for name, x in w.items():
        if x.ndim == 2:  # groups of 32 = rows of hidden: the permutation keeps them whole
            codes, scale = q8(x)
            x = (codes.astype(np.float32) * scale[:, None]).reshape(x.shape)
        decoded[name] = x
    write_config("v2-hf")
    write("v2-hf/model.safetensors", safetensors_bytes({n: as_f32(x) for n, x in decoded.items()}))


hf = make_hf()
make_sharded()
make_gguf()
make_llama2c(hf)
