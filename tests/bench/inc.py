"""Quantizes a transformers model with the GPTQ of neural-compressor 3.x and prints seconds and peak bytes.

Usage: inc.py MODEL TOKENS.json; TOKENS.json has one JSON array of ids per line. Loading and imports are not
timed. For inc.sh, which knows the environment."""

import json
import resource
import sys
import time

import torch
from neural_compressor.torch.quantization import GPTQConfig, convert, prepare
from transformers import AutoModelForCausalLM


def main():
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], torch_dtype=torch.float32).eval()
    with open(sys.argv[2], encoding="utf-8") as f:
        samples = [torch.tensor([json.loads(line)]) for line in f if line.strip()]
    config = GPTQConfig(
        dtype="int", bits=4, group_size=64, use_sym=False, act_order=True, block_size=128
    )
    start = time.monotonic()
    model = prepare(model, config)
    for ids in samples:
        try:
            model(ids)
        except ValueError:  # it stops each forward behind the inputs of the first block
            pass
    convert(model)
    seconds = time.monotonic() - start
    print(json.dumps({
        "seconds": round(seconds, 2),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "threads": torch.get_num_threads(),
    }))


main()
