#!/usr/bin/env python3
"""Packed linears as the original packages write them, and the weights that they read back:
python make.py AUTOAWQ; and python make.py with gptqmodel 7.7.0 for gptq-p

For each case NAME/ (and as a seed of tests/fuzz/packed.c): model.safetensors (the packed tensors), want.safetensors (the weights, by the
package's own dequantizer), config.json (quantization_config as the package has it; "woq": how
woq-pack is to write the same bytes).
AUTOAWQ is a folder with the unpacked source of autoawq: its compiled parts are not needed.
Recorded with numpy 2.2.6, torch 2.8.0, safetensors 0.8.0 and the packages named at each function.
"""
import importlib
import json
import os
import sys
import types

import numpy as np
import safetensors.torch
import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
OUT, IN, GROUP = 32, 64, 32


def grid(rng, bits, sym, out=OUT, n_in=IN, group=GROUP, lowest=1, dtype=torch.float16):
    """A linear that lies exactly on a grid: codes, scales, zero points and its weight."""
    n = -(-n_in // group)
    codes = torch.from_numpy(rng.integers(0, 2**bits, (out, n_in)))
    scale = torch.from_numpy(rng.uniform(0.004, 0.02, (out, n)).astype(np.float32)).to(dtype)
    zero = torch.from_numpy(rng.integers(lowest, 2**bits, (out, n)))
    if sym:
        zero[:] = 2 ** (bits - 1)
    at = torch.arange(n_in) // group
    weight = (codes - zero[:, at]).float() * scale.float()[:, at]
    return codes, scale, zero, weight


def linear(weight, bias=False):
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias)
    layer.weight.data = weight.clone()
    return layer


def save(name, tensors, want, quant, format_, form="auto", **more):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    meta = {"format": "pt"}
    save_file({k: v.contiguous() for k, v in tensors.items()}, f"{folder}/model.safetensors", meta)
    save_file({k: v.contiguous() for k, v in want.items()}, f"{folder}/want.safetensors", meta)
    config = {"model_type": "gpt_oss" if name == "gpt-oss" else "golden", "quantization_config": quant,
              "woq": {"format": format_, "form": form, **more}}
    with open(f"{folder}/config.json", "w") as f:
        f.write(json.dumps(config, indent=1) + "\n")
    seed(name, config, tensors)


def seed(name, config, tensors):
    """config.json, NUL, and the first linear alone."""
    first = sorted(tensors)[0].split(".")[0] + "."
    whole = name == "inc-own"  # each linear is of another kind
    data = safetensors.torch.save({k: v.contiguous() for k, v in tensors.items() if whole or k.startswith(first)})
    with open(os.path.join(HERE, "../../fuzz/corpus/packed", name), "wb") as f:
        f.write(json.dumps(config, separators=(",", ":")).encode() + b"\0" + data)


def of(module, tensors):
    return {f"{module}.{k}": v for k, v in tensors.items()}


def bare_package(name, path):
    """A package whose __init__ is not run: it would import models and kernels."""
    module = types.ModuleType(name)
    module.__path__ = [path]
    sys.modules[name] = module


def autoawq(source):
    """autoawq 0.2.9: WQLinear_GEMM.from_linear and dequantize_gemm."""
    for name in ("awq", "awq.modules", "awq.modules.linear", "awq.utils"):
        bare_package(name, os.path.join(source, name.replace(".", "/")))
    gemm = importlib.import_module("awq.modules.linear.gemm")
    unpack = importlib.import_module("awq.utils.packing_utils")
    rng = np.random.default_rng(1)
    tensors, want = {}, {}
    for module, n_in in (("a", IN), ("b", 3 * GROUP)):
        _, scale, zero, weight = grid(rng, 4, False, n_in=n_in, lowest=0)
        layer = gemm.WQLinear_GEMM.from_linear(linear(weight), 4, GROUP, False, scale.t().float(),
                                               zero.t().float())
        parts = {k: v for k, v in layer.state_dict().items()}
        tensors |= of(module, parts)
        back = unpack.dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"], 4, GROUP)
        want[f"{module}.weight"] = back.t()
    save("awq", tensors, want, {"quant_method": "awq", "bits": 4, "group_size": GROUP,
                                "zero_point": True, "version": "gemm",
                                "modules_to_not_convert": None}, "awq")


def awq_fast(kind, name, quant, group, scaled="qzeros", seed=4):
    """Linears of a fast kernel, which wants a GPU: the weights are those that were packed. The kernel adds what the
    package stores for a zero point, in float16; this is the zero point's own number, rounded."""
    rng = np.random.default_rng(seed)
    tensors, want = {}, {}
    for module, n_in, sym in (("a", 128, False), ("b", 3 * group, False), ("c", 128, True)):
        _, scale, zero, weight = grid(rng, 4, sym, n_in=n_in, group=group, lowest=0)
        parts = kind(linear(weight), n_in, group, scale, zero)
        tensors |= of(module, parts)
        want[f"{module}.weight"] = weight
        stored = parts[scaled][:n_in // group].t().float()
        assert torch.equal(stored, -(zero * scale.float()).half().float())
    save(name, tensors, want, dict({"quant_method": "awq", "zero_point": True}, **quant), "awq", read_only=True)


def autoawq_fast():
    """autoawq 0.2.9 @88e4c76: WQLinear_GEMVFast.from_linear; needs autoawq() before it."""
    fast = importlib.import_module("awq.modules.linear.gemv_fast")

    def pack(layer, n_in, group, scale, zero):
        return fast.WQLinear_GEMVFast.from_linear(layer, 4, group, False, scale, zero).state_dict()

    awq_fast(pack, "awq-gemv-fast", {"bits": 4, "group_size": 64, "version": "gemv_fast",
                                     "modules_to_not_convert": None}, 64)


def llm_awq():
    """gptqmodel 5.7.0: LLMAwqQuantLinear.pack."""
    from gptqmodel.nn_modules.qlinear.gemv_fast_awq import LLMAwqQuantLinear

    def pack(layer, n_in, group, scale, zero):
        packed = LLMAwqQuantLinear(4, group, False, False, n_in, OUT)
        packed.pack(layer, scale, zero)
        return {k: v for k, v in packed.state_dict().items() if v is not None}

    awq_fast(pack, "llm-awq", {"w_bit": 4, "q_group_size": 128, "backend": "llm-awq"}, 128, "scaled_zeros", 5)


def auto_round():
    """auto-round 0.16.1: QuantLinear.pack of each packing format, and its forward in float16."""
    from auto_round.export.export_to_awq.utils import WQLinear_GEMM
    from auto_round_extension.torch import qlinear_torch, qlinear_torch_zp

    kinds = {
        "auto_round:auto_gptq": (qlinear_torch_zp.QuantLinear, {}, (2, 3, 4, 5, 6, 7, 8), False),
        "auto_round": (qlinear_torch.QuantLinear, {}, (2, 3, 4, 5, 6, 7, 8), False),
        "auto_round:gptqmodel": (qlinear_torch.QuantLinear, {"g_idx": True}, (4, 8), True),
        "auto_round:auto_awq": (WQLinear_GEMM, {}, (4, 5, 6, 7), False),
    }
    for seed, (packing, (kind, more, widths, sym)) in enumerate(kinds.items()):
        rng = np.random.default_rng(100 + seed)
        tensors, want, extra = {}, {}, {}
        for bits in widths:
            module = f"w{bits}"
            _, scale, zero, weight = grid(rng, bits, sym, lowest=1 if packing.endswith("gptq") else 0)
            if kind is WQLinear_GEMM:
                layer = kind.from_linear(linear(weight), bits, GROUP, False, scale.t().float(),
                                         zero.t().float())
            else:
                layer = kind(bits, GROUP, IN, OUT, bias=False, **more)
                layer.device = "cpu"
                layer.pack(linear(weight), scale.float(), zero.float(), None, device="cpu")
            parts = {k: v for k, v in layer.state_dict().items()}
            tensors |= of(module, parts)
            if kind is WQLinear_GEMM:
                from auto_round.export.export_to_awq.utils import dequantize_gemm
                back = dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"], bits, GROUP)
            else:
                back = layer(torch.eye(IN, dtype=torch.float16))
            want[f"{module}.weight"] = back.t()
            if bits != 4:
                extra[module] = {"bits": bits}
        quant = {"bits": 4, "group_size": GROUP, "sym": sym, "data_type": "int",
                 "quant_method": "auto-round", "packing_format": packing,
                 "block_name_to_quantize": "model.layers", "autoround_version": "0.16.1"}
        if extra:
            quant["extra_config"] = extra
        save(packing.replace("auto_round", "autoround").replace(":", "-"), tensors, want, quant,
             "autoround", packing)


def auto_round_floats():
    """auto-round 0.16.1: pack_layer of its float exports, on scales of its own quantizers. Weights by the linears that
    it loads such files with: mx in float32, fp8 in bfloat16; nvfp4's multiplies in another order than its division
    by the global scale says, blocks of fp8 are read by transformers' class: both are multiplied out here."""
    from auto_round.data_type.mxfp import quant_mx
    from auto_round.data_type.nvfp import calculate_gparam, nv_fp4, nvfp4_v2
    from auto_round.experimental.qmodules import fp8_static, mx, nvfp4, nvfp4_e5m3
    from auto_round.export.export_to_autoround import export_to_fp8, export_to_nvfp_mx
    from auto_round.export.export_to_llmcompressor import export_to_fp
    from auto_round.schemes import QuantizationScheme

    def packed(exporter, weight, data_type, **more):
        """The tensors of a linear with these attributes, which pack_layer looks for."""
        model = torch.nn.Module()
        model.m, model.dtype = linear(weight.to(torch.bfloat16)), torch.bfloat16
        layer = {"bits": 8, "sym": True, "act_bits": 16, "data_type": data_type, "act_data_type": data_type, "zp": None}
        for key, value in (layer | more).items():
            setattr(model.m, key, value)
        exporter.pack_layer("m", model, *[data_type] * (exporter is not export_to_fp))
        return model.m.state_dict()

    def case(name, parts, want, **told):
        quant = {"autoround_version": "0.16.1", "block_name_to_quantize": "model.layers", "enable_quanted_input": False,
                 "quant_method": "auto-round", "sym": True}
        save(f"autoround-{name}", of("m", parts), {"m.weight": want}, quant | told, "autoround", read_only=True)

    def loaded(kind, shape, parts, **more):
        layer = kind(shape[1], shape[0], **more)
        layer.load_state_dict(parts)
        return layer.dequant_weight_online()

    def random_weight(n, shape):
        return torch.from_numpy(np.random.default_rng(n).normal(0, 0.05, shape).astype(np.float32)).to(torch.bfloat16)

    shape = (24, 64)
    for name, bits, kind in (("mxfp4", 4, mx.MXFP4QuantLinear), ("mxfp8", 8, mx.MXFP8QuantLinear),
                             ("mxint4", 4, mx.MXINT4QuantLinear)):
        data_type = "mx_int" if "int" in name else "mx_fp"
        weight = random_weight(bits, shape)
        weight, scale, _ = quant_mx(weight, bits=bits, group_size=32, data_type=f"{data_type}{bits}")
        parts = packed(export_to_nvfp_mx, weight, data_type, bits=bits, group_size=32,
                       scale=scale.reshape(shape[0], -1))
        want = loaded(kind, shape, parts, config=None, dtype=torch.float32)
        case(name, parts, want, bits=bits, group_size=32, data_type=data_type, act_bits=bits, act_data_type=data_type,
             act_dynamic=True, act_group_size=32, act_sym=True,
             packing_format="auto_round" if "int" in name else "auto_round:llm_compressor")

    weight = random_weight(16, shape)
    whole = calculate_gparam(weight)
    weight, scale, _ = nv_fp4(weight, global_scale=whole)
    parts = packed(export_to_nvfp_mx, weight, "nv_fp", bits=4, act_bits=4, group_size=16,
                   scale=scale.reshape(shape[0], -1), weight_global_scale=whole, input_global_scale=torch.tensor(614.4))
    scheme = QuantizationScheme(bits=4, group_size=16, act_group_size=16)
    back = loaded(nvfp4.NVFP4QuantLinear, shape, parts, config=scheme, dtype=torch.float32)
    codes = nvfp4.unpack_fp4_from_uint8(parts["weight_packed"], *shape, dtype=torch.float32)
    want = codes * (parts["weight_scale"].float() / whole).repeat_interleave(16, 1)
    assert (back - want).abs().max() <= 2.0 ** -22 * want.abs().max()
    case("nvfp4", parts, want, bits=4, group_size=16, data_type="nv_fp", act_bits=4, act_group_size=16, act_sym=True,
         act_data_type="nv_fp4_with_static_gs", act_dynamic=True, packing_format="auto_round:llm_compressor")

    weight, scale, _ = nvfp4_v2(random_weight(17, shape), group_size=16)
    parts = packed(export_to_fp, weight, "nvfp4_v2", bits=4, act_bits=4, group_size=16,
                   scale=scale.reshape(shape[0], -1))
    case("nvfp4-e5m3", parts, loaded(nvfp4_e5m3.NVFP4E5M3QuantLinear, shape, parts, config=scheme, dtype=torch.float32),
         bits=4, group_size=16, data_type="nvfp4_v2", act_bits=4, act_group_size=16, act_sym=True,
         act_data_type="nvfp4_v2", act_dynamic=True, packing_format="auto_round:llm_compressor_nvfp4_e5m3")

    shape = (24, 40)
    weight = random_weight(8, shape)
    parts = packed(export_to_fp8, weight, "fp", group_size=-1, act_bits=8, act_scale=torch.tensor([0.01]),
                   scale=weight.float().abs().amax(1) / 448)
    want = loaded(fp8_static.WeightFP8ActFP8StaticQuantLinear, shape, parts)
    case("fp8-static", parts, want, bits=8, group_size=-1, data_type="fp", act_bits=8, act_data_type="fp", fmt="e4m3",
         act_dynamic=False, act_group_size=0, act_sym=True, activation_scheme="static",
         packing_format="auto_round:fp8_static")
    parts = packed(export_to_fp8, weight, "fp8_e5m2", group_size=0, scale=weight.float().abs().max().reshape(1) / 57344)
    case("fp8-tensor", parts, parts["weight"].float() * parts["weight_scale"].float(), bits=8, group_size=0, fmt="e5m2",
         data_type="fp8_e5m2", activation_scheme="dynamic")  # it names no packing format

    block = (16, 32)
    rows = [torch.stack([b.float().abs().max() for b in r.split(block[1], 1)]) for r in weight.split(block[0], 0)]
    parts = packed(export_to_fp8, weight, "fp", group_size=block, act_bits=8, scale=torch.stack(rows) / 448)
    scale = parts["weight_scale_inv"].float().repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    case("fp8-block", parts, parts["weight"].float() * scale[:shape[0], :shape[1]], bits=8, group_size=list(block),
         data_type="fp", act_bits=8, act_data_type="fp", fmt="e4m3", act_dynamic=True, act_group_size=32, act_sym=True,
         activation_scheme="dynamic", packing_format="auto_round:fp8", weight_block_size=list(block))


def compressed_tensors():
    """compressed-tensors 0.20.0: compress and decompress of its compressors."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    def case(name, form, rows, dtype):
        rng = np.random.default_rng(len(name))
        tensors, want, groups = {}, {}, {}
        for i, (bits, sym, group, n_in) in enumerate(rows):
            module = f"m{i}"
            _, scale, zero, weight = grid(rng, bits, sym, n_in=n_in, group=group or n_in, lowest=0,
                                          dtype=dtype)
            args = QuantizationArgs(num_bits=bits, type="int", symmetric=sym,
                                    strategy="group" if group else "channel", group_size=group)
            scheme = QuantizationScheme(targets=[module], weights=args)
            state = {"weight": weight.to(torch.float32), "weight_scale": scale}
            if not sym:
                state["weight_zero_point"] = (zero - 2 ** (bits - 1)).to(torch.int8)
            packer = BaseCompressor.get_value_from_registry(form)
            parts = packer.compress(state, scheme)
            tensors |= of(module, parts)
            want[f"{module}.weight"] = packer.decompress(parts, scheme)["weight"]
            groups[f"group_{i}"] = {"targets": [module], "format": form, "input_activations": None,
                                    "output_activations": None, "weights": args.model_dump()}
        save(name, tensors, want, {
            "quant_method": "compressed-tensors", "format": form, "config_groups": groups,
            "quantization_status": "compressed", "ignore": ["lm_head"]}, "compressed-tensors", form,
            dtype={torch.float16: "f16", torch.bfloat16: "bf16", torch.float32: "f32"}[dtype])

    case("ct-packed", "pack-quantized", [(4, False, GROUP, IN), (4, True, GROUP, IN), (8, True, None, 40),
                                         (3, False, GROUP, IN), (5, False, None, IN), (2, True, None, 60),
                                         (6, True, GROUP, IN), (7, True, GROUP, IN), (1, False, GROUP, IN)],
         torch.float16)
    case("ct-packed-bf16", "pack-quantized", [(4, False, GROUP, IN)], torch.bfloat16)
    case("ct-packed-f32", "pack-quantized", [(4, True, GROUP, IN)], torch.float32)
    case("ct-int", "int-quantized", [(8, True, None, 40), (8, False, None, IN), (8, False, GROUP, IN)],
         torch.float16)
    case("ct-int-4", "int-quantized", [(4, True, None, 40), (4, False, GROUP, IN)], torch.float16)


def compressed_tensors_floats():
    """compressed-tensors 0.20.0: compress; weights by its unpacking and dequantize in float32 (its decompress of
    nvfp4 and mxfp4 computes in bfloat16)."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.mx_utils import decompress_mx_scale
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    def parameters(weight, strategy, group, block):
        """weight_scale, and weight_global_scale where there is one."""
        if strategy == "tensor":
            return weight.abs().max().reshape(1) / 448, None
        if strategy == "channel":
            return weight.abs().amax(1, keepdim=True) / 448, None
        if strategy == "block":
            rows = [torch.stack([b.abs().max() for b in r.split(block[1], 1)]) for r in weight.split(block[0], 0)]
            return torch.stack(rows) / 448, None
        most = weight.view(weight.shape[0], -1, group).abs().amax(2)
        if strategy == "group":
            return 2.0 ** (torch.floor(torch.log2(most)) - 2), None
        whole = (448 * 6 / weight.abs().max()).reshape(1)
        return (most / 6 * whole).to(torch.float8_e4m3fn).float(), whole

    def case(name, form, shape, strategy, bits=4, group=None, block=None):
        rng = np.random.default_rng(len(name))
        weight = torch.from_numpy(rng.normal(0, 0.05, shape).astype(np.float32))
        scale, whole = parameters(weight, strategy, group, block)
        args = QuantizationArgs(num_bits=bits, type="float", symmetric=True, strategy=strategy, group_size=group,
                                block_structure=block)
        inputs = None
        if form == "float-quantized":
            inputs = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="token", dynamic=True)
        scheme = QuantizationScheme(targets=["m"], weights=args, input_activations=inputs)
        state = {"weight": weight, "weight_scale": scale}
        if whole is not None:
            state["weight_global_scale"] = whole
        parts = BaseCompressor.get_value_from_registry(form).compress(state, scheme)
        codes, scales = parts.get("weight"), parts["weight_scale"]
        if codes is None:
            codes = unpack_fp4_from_uint8(parts["weight_packed"], *shape, dtype=torch.float32)
        scales = decompress_mx_scale(scales) if scales.dtype == torch.uint8 else scales
        want = dequantize(codes, scales.float(), args=args, global_scale=whole, dtype=torch.float32)
        told = args.model_dump(exclude_none=True)
        told.pop("scale_dtype", None), told.pop("zp_dtype", None)
        save(name, of("m", parts), {"m.weight": want}, {
            "quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": {
                "targets": ["m"], "format": form, "weights": told, "output_activations": None,
                "input_activations": inputs and {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}}},
            "quantization_status": "compressed", "ignore": ["lm_head"]}, "compressed-tensors", form)

    case("ct-nvfp4", "nvfp4-pack-quantized", (24, 64), "tensor_group", group=16)
    case("ct-mxfp4", "mxfp4-pack-quantized", (24, 64), "group", group=32)
    case("ct-mxfp8", "mxfp8-quantized", (16, 64), "group", bits=8, group=32)
    case("ct-float-channel", "float-quantized", (16, 40), "channel", bits=8)
    case("ct-float-tensor", "float-quantized", (16, 40), "tensor", bits=8)
    case("ct-float-block", "float-quantized", (20, 48), "block", bits=8, block=[8, 32])


def awq_gemv():
    """gptqmodel 5.7.0: AwqGEMVQuantLinear.pack; its kernels want a GPU, the weights are those that were packed."""
    from gptqmodel.nn_modules.qlinear.gemv_awq import AwqGEMVQuantLinear

    rng = np.random.default_rng(3)
    tensors, want = {}, {}
    for module, n_in, group in (("a", IN, 32), ("b", 10 * 32, 32)):
        _, scale, zero, weight = grid(rng, 4, False, n_in=n_in, group=group, lowest=0)
        layer = AwqGEMVQuantLinear(4, group, False, False, n_in, OUT, register_buffers=True)
        layer.pack(linear(weight), scale, zero)
        tensors |= of(module, {k: v for k, v in layer.state_dict().items() if v is not None})
        want[f"{module}.weight"] = weight
    save("awq-gemv", tensors, want, {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True,
                                     "version": "gemv", "modules_to_not_convert": None}, "awq", "gemv")


def gptq_planar():
    """gptqmodel 7.7.0 (with torch 2.14.1, transformers 5.23.0): TorchLinear.pack of gptq_p, and dequantize_weight, which
    multiplies in float16."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization import FORMAT

    rng = np.random.default_rng(9)
    tensors, want, told = {}, {}, {}
    for bits in (2, 3, 4, 5, 6, 7, 8):
        _, scale, zero, weight = grid(rng, bits, False, lowest=0)
        g_idx = torch.arange(IN, dtype=torch.int32) // GROUP
        layer = TorchLinear(bits, GROUP, False, False, IN, OUT, format=FORMAT.GPTQ_P)
        layer.pack(linear(weight), scale.float(), zero, g_idx)
        tensors |= of(f"w{bits}", {k: v for k, v in layer.state_dict().items() if v is not None})
        want[f"w{bits}.weight"] = layer.dequantize_weight().t()
        told[f"+:^w{bits}$"] = {"bits": bits}
    save("gptq-p", tensors, want, {
        "quant_method": "gptq", "bits": 5, "group_size": GROUP, "desc_act": False, "sym": False, "lm_head": False,
        "checkpoint_format": "gptq_p", "pack_dtype": "int32", "dynamic": told,
        "meta": {"quantizer": ["gptqmodel:7.7.0"]}}, "gptq")


def gpt_oss():
    """transformers 4.57.6: convert_moe_packed_tensors, which gives [experts, in, out]."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    rng = np.random.default_rng(5)
    tensors, want = {}, {}
    for part, (n_out, n_in) in (("gate_up_proj", (12, 64)), ("down_proj", (32, 96))):
        module = f"model.layers.0.mlp.experts.{part}"
        blocks = torch.from_numpy(rng.integers(0, 256, (3, n_out, n_in // 32, 16)).astype(np.uint8))
        scales = torch.from_numpy(rng.integers(110, 130, (3, n_out, n_in // 32)).astype(np.uint8))
        bias = torch.from_numpy(rng.normal(0, 1, (3, n_out)).astype(np.float32)).to(torch.bfloat16)
        tensors |= {f"{module}_blocks": blocks, f"{module}_scales": scales, f"{module}_bias": bias}
        full = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
        for i in range(3):
            want[f"model.layers.0.mlp.experts.{i}.{part}.weight"] = full[i].t()
            want[f"model.layers.0.mlp.experts.{i}.{part}.bias"] = bias[i]
    save("gpt-oss", tensors, want, {"quant_method": "mxfp4", "modules_to_not_convert": []}, "mxfp4", read_only=True)


def neural_compressor():
    """neural-compressor-pt 3.10: INCWeightOnlyLinear.pack and recover, which computes in float16. Its
    bias of zeros is only kept in inc-whole, which is not written again."""
    from neural_compressor.torch.algorithms.weight_only.modules import INCWeightOnlyLinear

    for name, sym, widths in (("inc-asym", False, (4,)), ("inc-3", False, (3,)), ("inc-5-sym", True, (5,)),
                              ("inc-whole", False, (4,))):
        rng = np.random.default_rng(len(name))
        tensors, want = {}, {}
        for bits in widths:
            codes, scale, zero, weight = grid(rng, bits, sym, lowest=0)
            layer = INCWeightOnlyLinear(IN, OUT, bits=bits, group_size=GROUP, zp=not sym)
            half = 2 ** (bits - 1)
            layer.pack((codes - half if sym else codes).to(torch.int32), scale.float(),
                       None if sym else zero.to(torch.int32), None)
            parts = {k: v for k, v in layer.state_dict().items()}
            want[f"w{bits}.weight"] = layer.recover()
            if name != "inc-whole":
                parts = {k: v for k, v in parts.items() if k != "bias"}
            tensors |= of(f"w{bits}", parts)
        quant = {"bits": widths[0], "group_size": GROUP, "damp_percent": 0, "desc_act": False, "sym": sym,
                 "true_sequential": False, "model_name_or_path": None, "model_file_base_name": "model",
                 "quant_method": "gptq"}
        save(name, tensors, want, quant, "inc", read_only=name == "inc-whole")


def neural_compressor_own():
    """neural-compressor-pt 3.10: what save() puts into quantized_weight.pt, in safetensors here; qconfig.json
    stands for the quantization_config. recover() computes in the dtype of the scales."""
    from neural_compressor.torch.algorithms.weight_only.modules import INCWeightOnlyLinear, MulLinear
    from neural_compressor.torch.algorithms.weight_only.utility import INT_MAPPING

    rng = np.random.default_rng(11)
    tensors, want, told = {}, {}, {}
    for module, dtype, bits, scaled, permuted in (
            ("a", "int", 4, False, False), ("b", "int", 3, True, False), ("c", "nf4", 4, False, False),
            ("d", "fp4", 4, False, False), ("e", "fp4_e2m1", 4, False, False), ("f", "nf4", 4, True, False),
            ("g", "fp4_e2m1", 4, False, True)):
        sym = dtype != "int"
        codes, scale, zero, _ = grid(rng, bits, sym, lowest=0)
        layer = INCWeightOnlyLinear(IN, OUT, dtype=dtype, bits=bits, group_size=GROUP, zp=not sym, g_idx=permuted)
        order = torch.from_numpy(rng.permutation(IN)) if permuted else None
        if dtype == "int":
            layer.pack(codes.to(torch.int32), scale.float(), zero.to(torch.int32), None)
        else:
            fields = torch.tensor(INT_MAPPING[dtype], dtype=torch.int32)
            layer.pack(fields[codes % len(fields)], scale.float(), None, None, g_idx=order)
        weight, parts = layer.recover(), layer.state_dict()
        if not permuted:
            layer.g_idx = None
        if scaled:
            factors = torch.from_numpy(rng.uniform(0.5, 2, IN).astype(np.float32))
            parts = MulLinear(layer, factors).state_dict()
            if dtype == "int":
                zeros = (zero[:, torch.arange(IN) // GROUP]).float()
                weight = (codes - zeros) * scale.float()[:, torch.arange(IN) // GROUP]
            weight = weight * factors
        want[f"{module}.weight"] = weight
        tensors |= of(module, {k: v for k, v in parts.items() if permuted or not k.endswith("g_idx")})
        told[f"('{module}', 'Linear')"] = {"rtn": {"dtype": dtype, "bits": bits, "use_sym": sym, "group_size": GROUP}}
    save("inc-own", tensors, want, told, "inc", read_only=True)
    folder = os.path.join(HERE, "../inc")
    os.makedirs(folder, exist_ok=True)
    torch.save(tensors, f"{folder}/quantized_weight.pt")
    for name, content in (("qconfig.json", told), ("config.json", {"model_type": "golden"})):
        with open(f"{folder}/{name}", "w") as f:
            f.write(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 1:  # in an environment of its own
        sys.exit(gptq_planar())
    awq_gemv()
    llm_awq()
    gpt_oss()
    neural_compressor()
    neural_compressor_own()
    auto_round()
    auto_round_floats()
    compressed_tensors()
    compressed_tensors_floats()
    autoawq(sys.argv[1])
    autoawq_fast()
