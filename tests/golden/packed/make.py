#!/usr/bin/env python3
"""Packed linears as the original packages write them, and the weights that they read back:
python make.py AUTOAWQ

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
OUT, IN, GROUP = 64, 96, 32


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
    config = {"model_type": "golden", "quantization_config": quant,
              "woq": {"format": format_, "form": form, **more}}
    with open(f"{folder}/config.json", "w") as f:
        f.write(json.dumps(config, indent=1) + "\n")
    seed(name, config, tensors)


def seed(name, config, tensors):
    """config.json, NUL, and the first linear alone."""
    first = sorted(tensors)[0].split(".")[0] + "."
    data = safetensors.torch.save({k: v.contiguous() for k, v in tensors.items() if k.startswith(first)})
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
    for module, n_in in (("a", IN), ("b", 2 * GROUP)):
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


if __name__ == "__main__":
    autoawq(sys.argv[1])
