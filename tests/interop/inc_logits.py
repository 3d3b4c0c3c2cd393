"""Logits of a checkpoint in Neural Compressor, beside those that woq-eval --logits wrote.

Usage: inc_logits.py FOLDER IDS.json LOGITS.npy

IDS.json is an array of ids, LOGITS.npy is float32 [tokens][vocabulary]. Linears are recovered in f16.
Prints the relative error ||a - b|| / ||b|| over all logits. A folder of its own form (quantized_weight.pt) is loaded
into a model of the configuration, which must bring its floats: they come out of that file, too.

Run with neural-compressor-pt 3.10, transformers 4.57.6, torch 2.8.0."""

import json
import os
import sys

import numpy as np
import torch
from neural_compressor.torch.quantization import load
from transformers import AutoConfig, AutoModelForCausalLM

from versions import head


def load_model(path):
    weights = os.path.join(path, "quantized_weight.pt")
    if not os.path.exists(weights):
        return load(path, format="huggingface", device="cpu", torch_dtype=torch.float32)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path), torch_dtype=torch.float32)
    model.load_state_dict(torch.load(weights, weights_only=True), strict=False)
    return load(path, original_model=model, format="default", device="cpu")


def main(path, ids_path, logits_path):
    head("neural-compressor-pt", "transformers", "torch")
    with open(ids_path, encoding="utf-8") as f:
        ids = torch.tensor([json.load(f)])
    model = load_model(path).eval()
    with torch.no_grad():
        theirs = model(ids).logits[0].float().numpy()
    ours = np.load(logits_path)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    diff = np.linalg.norm(ours.astype(np.float64) - theirs)
    print(json.dumps({"tokens": ours.shape[0], "relative_error": float(diff / np.linalg.norm(theirs))}))


main(*sys.argv[1:])
