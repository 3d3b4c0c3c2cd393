"""Logits of a checkpoint in transformers, beside those that woq-eval --logits wrote.

Usage: transformers_logits.py CHECKPOINT IDS.json LOGITS.npy

CHECKPOINT is a folder, or a .gguf file, which transformers decodes to floats. IDS.json is an array of
ids, LOGITS.npy is float32 [tokens][vocabulary]. Floats are computed in f32, packed linears as their
package does. Prints the relative error ||a - b|| / ||b|| over all logits.

Run with transformers 4.57.6, torch 2.8.0, gguf 0.19.0; compressed-tensors 0.20.0, auto-round 0.16.1,
bitsandbytes 0.50.2, hqq 0.2.8.post1."""

import json
import os
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from versions import head


def load(path):
    if not path.endswith(".gguf"):
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    folder, name = os.path.split(path)
    return AutoModelForCausalLM.from_pretrained(folder or ".", gguf_file=name, dtype=torch.float32)


def in_floats(model):
    """bitsandbytes multiplies by floats of f32: in bf16 it would, on a CPU that can, but for training;
    by inputs of 8 bits, but for those above a threshold."""
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.train()
        if type(module).__name__ == "Linear8bitLt":
            module.state.threshold = 1e-30
    return model


def loader(path):
    """The package that decodes the checkpoint for transformers, if there is one."""
    if path.endswith(".gguf"):
        return ["gguf"]
    with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
        method = json.load(f).get("quantization_config", {}).get("quant_method")
    return [method] if method in ("compressed-tensors", "auto-round", "bitsandbytes", "hqq") else []


def main(path, ids_path, logits_path):
    head("transformers", "torch", *loader(path))
    with open(ids_path, encoding="utf-8") as f:
        ids = torch.tensor([json.load(f)])
    with torch.no_grad():
        theirs = in_floats(load(path).eval())(ids).logits[0].float().numpy()
    ours = np.load(logits_path)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    diff = np.linalg.norm(ours.astype(np.float64) - theirs)
    print(json.dumps({"tokens": ours.shape[0], "relative_error": float(diff / np.linalg.norm(theirs))}))


main(*sys.argv[1:])
