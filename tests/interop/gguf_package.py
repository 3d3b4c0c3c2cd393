"""Every tensor of a GGUF file as the package gguf decodes it, beside what woq-extract made of it.

Usage: gguf_package.py FILE.gguf FOLDER

FOLDER is the same file by woq-extract | woq-dequant | woq-pack --format safetensors --dtype f32. Names
are matched by the package's own table; the rows of q and k, which GGUF holds in another order for
llama, are put back. Prints the number of tensors per type and how many differ in any value,
with the first of their names.

Run with gguf 0.19.0, numpy 2.2.6, safetensors 0.8.0."""

import json
import sys
from collections import Counter
from glob import glob

import numpy as np
from gguf import GGUFReader, MODEL_ARCH_NAMES, get_tensor_name_map
from gguf.quants import dequantize
from safetensors import safe_open

from versions import head


def unpermute(rows, n_head):
    """Undoes the converter's pairing of the two halves of each head."""
    d = rows.shape[0] // n_head
    return rows.reshape(n_head, d // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def main(path, folder):
    head("gguf", "numpy", "safetensors")
    reader = GGUFReader(path)

    def value(key):
        return reader.fields[key].contents()

    arch = value("general.architecture")
    arch_id = next(k for k, v in MODEL_ARCH_NAMES.items() if v == arch)
    names = get_tensor_name_map(arch_id, value(f"{arch}.block_count"))
    ours = {}
    for file in sorted(glob(f"{folder}/*.safetensors")):
        with safe_open(file, "np") as f:
            ours |= {names.get_name(k, try_suffixes=(".weight", ".bias")): f.get_tensor(k)
                     for k in f.keys()}
    types, differ = Counter(), []
    for tensor in reader.tensors:
        types[tensor.tensor_type.name] += 1
        theirs = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if arch == "llama" and ".attn_q." in tensor.name:
            theirs = unpermute(theirs, value(f"{arch}.attention.head_count"))
        elif arch == "llama" and ".attn_k." in tensor.name:
            theirs = unpermute(theirs, value(f"{arch}.attention.head_count_kv"))
        mine = ours.pop(tensor.name, np.empty(0))
        if mine.shape != theirs.shape or not np.array_equal(mine, theirs):
            differ.append(tensor.name)
    differ += sorted(map(str, ours))  # no such tensor in the file
    print(json.dumps({"types": types, "differ": len(differ), "names": differ[:8]}))


main(*sys.argv[1:])
