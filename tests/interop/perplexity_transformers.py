"""Perplexity of a float checkpoint by transformers in the conventions of woq-eval.

Usage: perplexity_transformers.py FOLDER TEXT CONVENTION CTX WINDOWS

gptq: all tokens but the first of each window are scored. llamacpp: those behind the first half of the
window. The text is taken whole, tokenized by the checkpoint's own tokenizer.json.

Run with transformers 4.57.6, torch 2.8.0, tokenizers 0.22.2."""

import json
import sys

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from versions import head


def main(folder, text_path, convention, ctx, windows):
    head("transformers", "torch", "tokenizers")
    ctx, windows = int(ctx), int(windows)
    with open(text_path, encoding="utf-8", newline="") as f:
        ids = Tokenizer.from_file(f"{folder}/tokenizer.json").encode(f.read()).ids
    first = {"gptq": 0, "llamacpp": ctx // 2}[convention]
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    total, scored = 0.0, 0
    with torch.no_grad():
        for w in range(windows):
            window = torch.tensor([ids[w * ctx:(w + 1) * ctx]])
            logits = model(window).logits[0, first:-1].double()
            total += torch.nn.functional.cross_entropy(
                logits, window[0, first + 1:], reduction="sum").item()
            scored += logits.shape[0]
    print(json.dumps({"perplexity": float(torch.tensor(total / scored).double().exp()),
                      "tokens": scored, "convention": convention, "ctx": ctx, "windows": windows}))


main(*sys.argv[1:])
