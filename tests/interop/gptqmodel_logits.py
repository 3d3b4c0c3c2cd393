"""Logits of a GPTQ checkpoint in GPTQModel, beside those that woq-eval --logits wrote.

Usage: gptqmodel_logits.py FOLDER IDS.json LOGITS.npy

IDS.json is an array of ids, LOGITS.npy is float32 [tokens][vocabulary]. Prints the relative error
||a - b|| / ||b|| over all logits; it computes in f16.

Run with gptqmodel 7.7.0, transformers 5.23.0, torch 2.14.1."""

import json
import sys

import gptqmodel.models.loader
import numpy as np
import torch
from gptqmodel import BACKEND, GPTQModel

from versions import head


def main(folder, ids_path, logits_path):
    head("gptqmodel", "transformers", "torch")
    gptqmodel.models.loader.load_hf_tokenizer = lambda *args, **more: None  # the tiny models have none
    with open(ids_path, encoding="utf-8") as f:
        ids = torch.tensor([json.load(f)])
    model = GPTQModel.load(folder, device="cpu", backend=BACKEND.TORCH, dtype=torch.float16).model.eval()
    linears = {n: m for n, m in model.named_modules() if hasattr(m, "qweight")}
    with torch.no_grad():
        theirs = model(ids).logits[0].float().numpy()
    ours = np.load(logits_path)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    diff = np.linalg.norm(ours.astype(np.float64) - theirs)
    print(json.dumps({
        "layers": sorted({f"{type(m).__name__} {m.bits}{' planar' if m.planar else ''}" for m in linears.values()}),
        "linears": len(linears),
        "relative_error": float(diff / np.linalg.norm(theirs)),
    }))


main(*sys.argv[1:])
