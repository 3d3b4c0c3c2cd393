#!/usr/bin/env python3
"""Files of torch.save that must read as their twins in safetensors do.

  f32.bin        the tensors of ../tiny-llama/hf: transposed, views of one storage, parameters, tied
  shard-*.bin    those of ../tiny-llama/sharded in two files, with pytorch_model.bin.index.json
  nested.pt      f32.bin's smallest tensors under the key "model", beside other values
  gptq.bin       the tensors of gptq/, which woq-pack wrote: woq-gen --llama hidden=32,inter=32,layers=1,
                 heads=2,kv=2,vocab=16,seed=4 | woq-rtn --bits 4 --group-size 32 --asym
  dtypes.pt      every element type, ranks 0 to 5, strides, views, empty ones
  dtypes.safetensors   the same, each tensor row after row
  legacy.pt script.pt  forms that are refused: before torch 1.6, TorchScript

The folders that the tests read are put together from these (pytorch_model.bin beside config.json).
Recorded with torch 2.8.0, safetensors 0.8.0, numpy 2.2.6:  python record.py
"""
import collections
import json
import os

import torch
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, "..", "tiny-llama")


def out(name):
    return os.path.join(HERE, name)


def one_file():
    w = load_file(os.path.join(TINY, "hf", "model.safetensors"))
    state = collections.OrderedDict()
    for name, x in w.items():
        if name.endswith("q_proj.weight"):
            x = x.t().contiguous().t()  # strides (1, n)
        elif name.endswith("down_proj.weight"):
            x = torch.cat([x, x], 1)[:, : x.shape[1]]  # rows with a gap behind them
        elif name.endswith("o_proj.weight"):
            x = torch.nn.Parameter(x)
        state[name] = x
    for layer in range(2):  # k and v as two parts of one storage
        k, v = (f"model.layers.{layer}.self_attn.{n}_proj.weight" for n in "kv")
        both = torch.cat([w[k], w[v]])
        state[k], state[v] = both[: w[k].shape[0]], both[w[k].shape[0]:]
    state["model.rotary_emb.inv_freq"] = state["model.norm.weight"][:8]  # a buffer that is a view
    torch.save(state, out("f32.bin"))
    small = {k: v for k, v in w.items() if v.numel() < 1000}
    torch.save({"epoch": 3, "lr": 0.5, "note": "text", "big": 1 << 40, "neg": -70000, "none": None,
                "flag": True, "list": [1, (2, 3)], "model": small}, out("nested.pt"))


def shards():
    w, index = {}, {"metadata": {"total_size": 0}, "weight_map": {}}
    for i in (1, 2):
        part = load_file(os.path.join(TINY, "sharded", f"model-{i:05}-of-00002.safetensors"))
        name = f"pytorch_model-{i:05}-of-00002.bin"
        torch.save(part, out(f"shard-{i}.bin"))
        w.update(part)
        index["weight_map"].update({k: name for k in part})
    index["metadata"]["total_size"] = sum(x.numel() * x.element_size() for x in w.values())
    with open(out("pytorch_model.bin.index.json"), "w") as f:
        json.dump(index, f, indent=1)


def dtypes():
    g = torch.Generator().manual_seed(5)
    x = torch.randn(6, 10, generator=g)
    t = {"f32": x, "f64": x.double(), "f16": x.half(), "bf16": x.bfloat16()}
    for name in ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"):
        t[name] = (x * 20).round().abs().to(getattr(torch, name))
    t["bool"] = x > 0
    for name in ("float8_e4m3fn", "float8_e5m2"):
        t[name] = x.to(getattr(torch, name))
    t["scalar"] = torch.tensor(2.5)
    t["empty"] = torch.zeros(0, 7)
    t["one"] = torch.ones(1, 1, 1).transpose(0, 2)
    cube = torch.arange(120, dtype=torch.int16).reshape(2, 3, 4, 5)
    t["permuted"] = cube.permute(3, 1, 0, 2)
    t["five"] = cube[:, None, 1:, ::2]
    t["diagonal"] = torch.arange(49.0).reshape(7, 7).diagonal()
    t["column"] = torch.arange(200.0).reshape(100, 2)[:, 1]
    t["tall"] = torch.arange(700, dtype=torch.int32).reshape(5, 140).t()
    t["expanded"] = torch.arange(4, dtype=torch.uint8)[:, None].expand(4, 6)
    t["bytes"] = torch.arange(33, dtype=torch.uint8).reshape(11, 3).t()
    t["param"] = torch.nn.Parameter(torch.ones(3))
    torch.save(t, out("dtypes.pt"))
    save_file({k: v.detach().contiguous().clone() for k, v in t.items()}, out("dtypes.safetensors"))
    t = {"x": torch.ones(2)}
    torch.save(t, out("legacy.pt"), _use_new_zipfile_serialization=False)


def packed():
    t = load_file(out("gptq/model.safetensors"))
    torch.save({k: x.t().contiguous().t() if k.endswith("qzeros") else x for k, x in t.items()}, out("gptq.bin"))


class Twice(torch.nn.Module):
    def forward(self, x):
        return x + x


one_file()
shards()
dtypes()
packed()
torch.jit.save(torch.jit.script(Twice()), out("script.pt"))
