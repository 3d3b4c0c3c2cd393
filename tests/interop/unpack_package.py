"""Every linear of a checkpoint as a package's own function unpacks it, beside what woq-extract made of it:
for formats whose loaders want a GPU, or more than a checkpoint.

Usage: unpack_package.py CHECKPOINT FOLDER

FOLDER is the same checkpoint by woq-extract | woq-dequant | woq-pack --format safetensors --dtype f32. A
package that computes in 16 bits is compared with ours rounded once. Prints how many linears there are
and how many tensors differ in any value, with the first of their names.

Run with gptqmodel 5.7.0, bitsandbytes 0.50.2, hqq 0.2.8.post1, auto-round 0.16.1,
compressed-tensors 0.20.0, torch 2.8.0, safetensors 0.8.0."""

import json
import os
import sys
from glob import glob

import torch
from safetensors import safe_open

from versions import head


def auto_round(parts, quant):
    from auto_round.export.export_to_awq.utils import dequantize_gemm

    assert quant["packing_format"] == "auto_round:auto_awq", quant["packing_format"]
    return dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"], quant["bits"],
                           quant["group_size"]).t()


def awq(parts, quant):
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

    return dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"], quant["bits"],
                           quant["group_size"]).t()


def bnb(parts, quant):
    import bitsandbytes.functional as F

    state = {k.removeprefix("weight."): v for k, v in parts.items() if k != "weight"}
    return F.dequantize_4bit(parts["weight"], F.QuantState.from_dict(state, "cpu"))


def compressed_tensors(parts, quant):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    scheme = QuantizationScheme(**quant["config_groups"]["group_0"])
    return BaseCompressor.get_value_from_registry(scheme.format).decompress(parts, scheme)["weight"]


def fp8(parts, quant):
    from gptqmodel.quantization.dtype import dequantize_f8_e4m3

    return dequantize_f8_e4m3(parts["weight"], scale=parts["weight_scale_inv"], target_dtype=torch.float32)


def hqq(parts, quant):
    from hqq.core.quantize import HQQLinear

    layer = HQQLinear(None, None, compute_dtype=torch.float32, device="cpu", initialize=False)
    layer.load_state_dict(dict(parts))
    return layer.dequantize()


# quant_method: what unpacks it, the tensor that only a linear has, the package
METHODS = {
    "auto-round": (auto_round, "qweight", "auto-round"),
    "awq": (awq, "qweight", "gptqmodel"),
    "bitsandbytes": (bnb, "weight.absmax", "bitsandbytes"),
    "compressed-tensors": (compressed_tensors, "weight_scale", "compressed-tensors"),
    "fp8": (fp8, "weight_scale_inv", "gptqmodel"),
    "hqq": (hqq, "W_q", "hqq"),
}


def tensors(folder):
    all_of_them = {}
    for file in sorted(glob(f"{folder}/*.safetensors")):
        with safe_open(file, "pt") as f:
            all_of_them |= {k: f.get_tensor(k) for k in f.keys()}
    return all_of_them


def main(path, folder):
    with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
        quant = json.load(f)["quantization_config"]
    unpack, mark, package = METHODS[quant["quant_method"]]
    head(package, "torch", "safetensors")
    packed, ours, differ = tensors(path), tensors(folder), []
    modules = sorted(k[:-len(mark) - 1] for k in packed if k.endswith("." + mark))
    for module in modules:
        parts = {k[len(module) + 1:]: packed.pop(k) for k in list(packed) if k.startswith(module + ".")}
        theirs, mine = unpack(parts, quant), ours.pop(f"{module}.weight")
        if not torch.equal(mine.to(theirs.dtype), theirs):
            differ.append(module)
    differ += [k for k, v in packed.items() if k not in ours or not torch.equal(ours.pop(k), v.float())]
    differ += sorted(ours)  # no such tensor in the checkpoint
    print(json.dumps({"linears": len(modules), "differ": len(differ) if modules else 1, "names": differ[:8]}))


main(*sys.argv[1:])
