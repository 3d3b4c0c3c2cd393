"""Logits of a GPTQ checkpoint in transformers, beside those that woq-eval --logits wrote.

Usage: gptq_transformers.py FOLDER IDS.json LOGITS.npy

IDS.json is an array of ids as woq-tokens --json prints it; LOGITS.npy is float32 [tokens][vocabulary].
Prints the relative error ||a - b|| / ||b|| over all logits, the largest one of a token, and the share
of tokens with the same likeliest next token.

Run with transformers 4.57.6, torch 2.8.0, optimum 2.1.0, gptqmodel 5.7.0, torchao 0.14.1."""

import json
import sys

import numpy as np
import torch
from optimum.gptq import GPTQQuantizer
from transformers import AutoModelForCausalLM, GPTQConfig

from versions import head


def mend_optimum():
    """optimum 2.1.0 asks for act_group_aware whatever the checkpoint says; beside desc_act gptqmodel 5.7.0 refuses it."""
    made = GPTQQuantizer.__init__

    def init(self, *args, **options):
        if options.get("desc_act"):
            options["act_group_aware"] = False
        made(self, *args, **options)

    GPTQQuantizer.__init__ = init


def main(folder, ids_path, logits_path):
    mend_optimum()
    head("transformers", "torch", "optimum", "gptqmodel")
    with open(ids_path, encoding="utf-8") as f:
        ids = torch.tensor([json.load(f)])
    theirs_of = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, device_map="cpu",
        quantization_config=GPTQConfig(bits=4, backend="torch"),
    ).eval()
    kinds = sorted({type(m).__name__ for m in theirs_of.modules() if hasattr(m, "qweight")})
    with torch.no_grad():
        theirs = theirs_of(ids).logits[0].float().numpy()
    ours = np.load(logits_path)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    diff = ours.astype(np.float64) - theirs
    relative = np.linalg.norm(diff) / np.linalg.norm(theirs)
    worst = (np.linalg.norm(diff, axis=1) / np.linalg.norm(theirs, axis=1)).max()
    print(json.dumps({
        "layers": kinds,
        "tokens": ours.shape[0],
        "relative_error": float(relative),
        "worst_token": float(worst),
        "same_top": float((ours.argmax(1) == theirs.argmax(1)).mean()),
    }))


main(*sys.argv[1:])
