"""A model that the package hqq quantizes and saves itself, scales and zero points quantized too, every second linear
with axis 0 and groups smaller than a column.

Usage: hqq_saved.py --save FOLDER
       hqq_saved.py CHECKPOINT IDS.json LOGITS.npy

The first writes FOLDER/qmodel.pt and config.json. The second makes the same model again and compares its logits with
LOGITS.npy, which woq-eval has of what woq-extract read of FOLDER; then again with the layers of CHECKPOINT, which
woq-pack --format hqq made of that. Prints the larger relative error ||a - b|| / ||b||.

Run with hqq 0.2.8.post1, transformers 4.57.6, torch 2.8.0, safetensors 0.8.0."""

import json
import os
import sys

import numpy as np
import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
from hqq.models.hf.base import AutoHQQHFModel
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from versions import head

WEIGHT = {"nbits": 4, "channel_wise": True, "group_size": 32, "optimize": True, "round_zero": True, "axis": 1,
          "view_as_float": False}
NESTED = {"weight_quant_params": WEIGHT,
          "scale_quant_params": {"nbits": 8, "channel_wise": True, "group_size": 128, "optimize": False},
          "zero_quant_params": {"nbits": 8, "channel_wise": False, "group_size": None, "optimize": False}}


def linears(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, HQQLinear)}


def quantized():
    torch.manual_seed(7)
    config = LlamaConfig(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, vocab_size=256, tie_word_embeddings=False)
    model = LlamaForCausalLM(config).float().eval()
    floats = {n: m.weight.detach().clone() for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    AutoHQQHFModel.quantize_model(model, quant_config=BaseQuantizeConfig(nbits=4, group_size=32, axis=1),
                                  compute_dtype=torch.float32, device="cpu")
    for i, (name, layer) in enumerate(linears(model).items()):
        how = NESTED | {"weight_quant_params": WEIGHT | {"axis": i % 2}}
        del layer.W_q  # initialize() leaves scale_quant_params out since 0.2
        layer.W_q, layer.quant_config = None, dict(how)
        layer.quantize(floats[name], **how)
    return model


def error(model, ids, ours):
    with torch.no_grad():
        theirs = model(ids).logits[0].float().numpy()
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.linalg.norm(ours.astype(np.float64) - theirs) / np.linalg.norm(theirs))


def main(path, ids_path, logits_path):
    head("hqq", "transformers", "torch")
    with open(ids_path, encoding="utf-8") as f:
        ids = torch.tensor([json.load(f)])
    ours, model, packed = np.load(logits_path), quantized(), load_file(os.path.join(path, "model.safetensors"))
    saved = error(model, ids, ours)
    for name, layer in linears(model).items():
        assert layer.meta["quant_scale"] and layer.meta["quant_zero"], name
        del layer.W_q
        layer.load_state_dict({k[len(name) + 1:]: v for k, v in packed.items() if k.startswith(name + ".")})
        assert not layer.meta["quant_zero"], name
    print(json.dumps({"tokens": ours.shape[0], "relative_error": max(saved, error(model, ids, ours))}))


if sys.argv[1] == "--save":
    AutoHQQHFModel.save_quantized(quantized(), sys.argv[2])
else:
    main(*sys.argv[1:])
