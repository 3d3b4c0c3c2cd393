#!/usr/bin/env python3
"""Cases of this folder for formats/coded.h: python make_coded.py

bnb-*: bitsandbytes 0.50.2 on CPU; hqq-*: hqq 0.2.8.post1; fp8-*: torch 2.8.0's cast of weights over their
scales, in the tensors that transformers' fp8 and DeepSeek's files have. Numbers decode in float32 from
what the package stores; its own dequantizer rounds to f16 and is compared here. With safetensors 0.8.0.
"""
import json
import os

import safetensors.torch
import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
P = "model.layers.0."
Q, DOWN = P + "self_attn.q_proj", P + "mlp.down_proj"
torch.manual_seed(7)
WEIGHTS = {Q: torch.randn(32, 64) * 0.1, DOWN: torch.randn(32, 128) * 0.05}
WEIGHTS[Q][3, :] *= 20
TALL = {Q: torch.randn(192, 20) * 0.1, DOWN: torch.randn(128, 24) * 0.05}  # columns of several groups


def put(name, tensors, want, quant, **more):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, os.path.join(folder, "model.safetensors"))
    save_file({k: v.contiguous() for k, v in want.items()}, os.path.join(folder, "want.safetensors"))
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump({"model_type": "golden", "quantization_config": quant,
                   "woq": {"format": name.split("-")[0], "form": "auto", **more}}, f, indent=1)
        f.write("\n")


def bnb4(name, kind, nested, blocksize):
    import bitsandbytes.functional as F

    tensors, want = {}, {}
    for n, w in WEIGHTS.items():
        q, state = F.quantize_4bit(w.half(), blocksize=blocksize, compress_statistics=nested, quant_type=kind)
        tensors[n + ".weight"] = q
        for k, v in state.as_dict(packed=True).items():
            tensors[n + ".weight." + k] = v
        absmax = state.absmax
        if nested:
            absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
        codes = torch.stack([q.flatten() >> 4, q.flatten() & 15], 1).flatten().long()
        want[n + ".weight"] = (state.code[codes].view(-1, blocksize) * absmax.float().view(-1, 1)).view(w.shape)
        full = F.dequantize_4bit(q.view(-1, 1), state).view(w.shape).float()
        assert (full - want[n + ".weight"]).abs().max() <= 2.0 ** -11 * full.abs().max()  # rounds to f16
    put(name, tensors, want, {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": kind,
        "bnb_4bit_use_double_quant": nested, "bnb_4bit_compute_dtype": "float16", "bnb_4bit_quant_storage": "uint8",
        "llm_int8_threshold": 6.0, "llm_int8_skip_modules": None, "llm_int8_has_fp16_weight": False,
        "llm_int8_enable_fp32_cpu_offload": False})


def bnb8():
    import bitsandbytes.functional as F

    tensors, want = {}, {}
    for n, w in WEIGHTS.items():
        q, scb, _ = F.int8_vectorwise_quant(w.half())
        tensors[n + ".weight"], tensors[n + ".SCB"] = q, scb.float()
        tensors[n + ".weight_format"] = torch.tensor(0, dtype=torch.uint8)
        want[n + ".weight"] = q.float() * (scb.float() / 127).view(-1, 1)
    put("bnb-int8", tensors, want, {
        "quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True, "bnb_4bit_quant_type": "fp4",
        "bnb_4bit_use_double_quant": False, "bnb_4bit_compute_dtype": "float32", "bnb_4bit_quant_storage": "uint8",
        "llm_int8_threshold": 6.0, "llm_int8_skip_modules": None, "llm_int8_has_fp16_weight": False,
        "llm_int8_enable_fp32_cpu_offload": False})


def hqq(name, bits, axis, group, weights=WEIGHTS):
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer

    tensors, want = {}, {}
    for n, w in weights.items():
        linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        linear.weight.data = w.half()
        h = HQQLinear(linear, BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis), compute_dtype=torch.float16,
                      device="cpu", initialize=True)
        state = h.state_dict()
        for k, v in state.items():
            tensors[f"{n}.{k}"] = v if v.dim() == 0 else v.clone()
        q = Quantizer.unpack[h.meta["packing"]](h.W_q)
        q = (q[:group] if axis == 0 else q[:w.numel() // group]).float()
        want[n + ".weight"] = ((q - h.meta["zero"].float()) * h.meta["scale"].float()).reshape(w.shape)
        full = h.dequantize().float()
        assert (full - want[n + ".weight"]).abs().max() <= 2.0 ** -9 * full.abs().max()  # in f16
    put(name, tensors, want, {"quant_method": "hqq", "quant_config": {"weight_quant_params": {
        "nbits": bits, "channel_wise": True, "group_size": group, "optimize": True, "round_zero": bits == 4, "axis": axis,
        "view_as_float": False}, "scale_quant_params": None, "zero_quant_params": None, "offload_meta": False},
        "skip_modules": ["lm_head"]})


def encoded(state, prefix):
    """The values of a state dict as hqq's own encoding makes tensors of them, nested ones too, which it refuses."""
    from hqq.core.utils import encode_safetensor_type

    flat = {}
    for k, v in state.items():
        if isinstance(v, dict):
            flat |= encoded(v, f"{prefix}.{k}")
        elif v is not None:
            flat[f"{prefix}.{k}"] = encode_safetensor_type(v).clone()
    return flat


def nested_layer(w, bits, axis, group, scales, zeros, dtype):
    """A layer that quantizes its scales and zero points by these settings, and its weight in float32."""
    from hqq.core.quantize import HQQLinear, Quantizer

    params = {"nbits": bits, "channel_wise": True, "group_size": group, "optimize": True, "round_zero": bits == 4,
              "axis": axis, "view_as_float": False}
    nested = [v and {"channel_wise": True, "optimize": False, **v} for v in (scales, zeros)]
    h = HQQLinear(None, {"weight_quant_params": params, "scale_quant_params": nested[0], "zero_quant_params": nested[1],
                         "offload_meta": False}, compute_dtype=dtype, device="cpu", initialize=False)
    h.encoded_state_dict = False
    h.quantize(w.to(dtype), **h.quant_config)
    q = Quantizer.unpack[h.meta["packing"]](h.W_q)[:group if axis == 0 else w.numel() // group].float()
    scale, zero = (Quantizer.dequantize(h.meta[f"{k}_q"], h.meta[f"meta_{k}"]) if h.meta[f"quant_{k}"] else h.meta[k]
                   for k in ("scale", "zero"))
    want = ((q - zero.float()) * scale.float()).reshape(w.shape)
    full = h.dequantize().float()
    assert (full - want).abs().max() <= 2.0 ** -7 * full.abs().max()  # in its dtype
    return h, want


def hqq_nested():
    """Scales and zero points that are quantized themselves: what BaseHQQModel.save_quantized puts into qmodel.pt, a dict
    of the state dicts of modules (../hqq; flat.pt: model.state_dict()), and the same as tensors (hqq-nested), which the
    package does not write. Layers quantize so by quantize() alone: HQQLinear leaves these settings out since 0.2."""
    # bits, axis, group of the weight; what its scales and its zero points are quantized by; the dtype
    cases = {"a": (4, 1, 16, {"nbits": 8, "group_size": 32}, {"nbits": 8, "channel_wise": False, "group_size": None},
                   torch.float16),  # as hqq's own defaults, but for the sizes
             "b": (3, 1, 32, None, {"nbits": 4, "group_size": 16, "axis": 1}, torch.float16),
             "c": (8, 0, 32, {"nbits": 8, "group_size": None, "axis": 1}, None, torch.float32),
             "d": (2, 1, 16, {"nbits": 3, "group_size": 32, "axis": 1}, {"nbits": 8, "group_size": 32}, torch.bfloat16),
             "e": (4, 1, 64, None, None, torch.float16)}
    modules, old, want = {"norm": {"weight": torch.nn.Parameter(torch.linspace(0.5, 1.5, 64).half())}}, {}, {}
    for name, case in cases.items():
        n = P + name
        h, want[n + ".weight"] = nested_layer(WEIGHTS[Q], *case)
        modules[n] = dict(h.state_dict())
        if name in "ae":  # as releases before 0.2 had it
            old[n] = {"W_q": h.W_q, "meta": dict(h.meta), "bias": None}
    put("hqq-nested", {k: v for n, s in modules.items() if n != "norm" for k, v in encoded(s, n).items()}, want,
        {"quant_method": "hqq"}, read_only=True)
    folder = os.path.join(HERE, "../hqq")
    os.makedirs(folder, exist_ok=True)
    torch.save(modules | old, f"{folder}/qmodel.pt")
    torch.save({f"{n}.{k}": v for n, s in modules.items() for k, v in s.items()}, f"{folder}/flat.pt")
    with open(f"{folder}/config.json", "w") as f:
        f.write(json.dumps({"model_type": "golden"}) + "\n")
    seeds = os.path.join(HERE, "../../fuzz/corpus")
    with open(f"{seeds}/packed/hqq-nested", "wb") as f:
        f.write(b'{"model_type":"golden","quantization_config":{"quant_method":"hqq"}}\0' +
                safetensors.torch.save(encoded(modules[P + "a"], "a") | encoded(modules[P + "d"], "d")))
    torch.save({"a": old[P + "a"], "d": modules[P + "d"], "norm": modules["norm"]}, f"{seeds}/torch/hqq")


def hqq_axis0_nested():
    """Axis 0 as releases before 0.2 have it by default: zero points of 8 bits in one group, scales of 8 bits in groups
    or plain; and the sizes that they have for 2 bits."""
    zeros, scales = {"nbits": 8, "channel_wise": False, "group_size": None}, {"nbits": 8, "group_size": 60}
    cases = {"a": (4, 0, 64, None, zeros, torch.float16), "b": (3, 0, 64, scales, zeros, torch.float16),
             "c": (2, 0, 16, {"nbits": 8, "group_size": 16, "axis": 0}, {"nbits": 4, "group_size": 30, "axis": 1},
                   torch.bfloat16)}
    tensors, want = {}, {}
    for name, case in cases.items():
        h, want[P + name + ".weight"] = nested_layer(TALL[Q], *case)
        tensors |= encoded(dict(h.state_dict()), P + name)
    put("hqq-axis0-nested", tensors, want, {"quant_method": "hqq"}, read_only=True)
    with open(os.path.join(HERE, "../../fuzz/corpus/packed/hqq-axis0-nested"), "wb") as f:
        f.write(b'{"model_type":"golden","quantization_config":{"quant_method":"hqq"}}\0' +
                safetensors.torch.save({k[len(P):]: v for k, v in tensors.items() if k.startswith(P + "c.")}))


def fp8(name, block):
    tensors, want = {}, {}
    for n, w in WEIGHTS.items():
        rows, cols = block if block else w.shape
        scale = torch.stack([torch.stack([b.abs().max() for b in r.split(cols, 1)]) for r in w.split(rows, 0)]) / 448
        full = scale.repeat_interleave(rows, 0).repeat_interleave(cols, 1)[:w.shape[0], :w.shape[1]]
        q = (w / full).clamp(-448, 448).to(torch.float8_e4m3fn)
        tensors[n + ".weight"] = q
        tensors[n + ".weight_scale_inv"] = scale if block else scale.flatten()[0]
        want[n + ".weight"] = q.float() * full
    put(name, tensors, want, {"quant_method": "fp8", "activation_scheme": "dynamic",
                              "weight_block_size": list(block) if block else None, "fmt": "e4m3",
                              "modules_to_not_convert": ["lm_head"]})


if __name__ == "__main__":
    bnb4("bnb-nf4", "nf4", False, 64)
    bnb4("bnb-nf4-nested", "nf4", True, 32)
    bnb4("bnb-fp4-nested", "fp4", True, 64)
    bnb8()
    hqq("hqq-4", 4, 1, 64)
    hqq("hqq-3", 3, 1, 32)
    hqq("hqq-2", 2, 1, 16)
    hqq("hqq-8-axis0", 8, 0, 32)
    hqq_nested()
    for bits, group in ((4, 64), (3, 16), (3, 64), (2, 16)):
        hqq(f"hqq-{bits}-axis0-{group}", bits, 0, group, TALL)
    hqq_axis0_nested()
    fp8("fp8-block", (20, 48))
    fp8("fp8-tensor", None)
