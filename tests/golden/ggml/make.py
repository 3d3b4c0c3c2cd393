#!/usr/bin/env python3
"""Random blocks of every ggml type and what the package gguf decodes them to.

Writes blocks.safetensors: NAME.blocks U8 [n][block bytes], NAME.values F32 [n][block elements].
Recorded with gguf 0.19.0, numpy 2.4.6, safetensors 0.8.0:  python make.py
"""
import os

import gguf
import numpy as np
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = """Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4 TQ1_0 TQ2_0""".split()
# Where the fp16 scales lie: random bytes there would be mostly absurd, and NaN.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
    "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
    "MXFP4": [], "TQ1_0": [52], "TQ2_0": [64],
}

rng = np.random.default_rng(7)
out = {}
for name in TYPES:
    qtype = gguf.GGMLQuantizationType[name]
    elems, size = gguf.GGML_QUANT_SIZES[qtype]
    n = 4 if elems == 256 else 12
    blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in SCALES[name]:
        scale = (rng.standard_normal(n) * 0.1).astype(np.float16)
        scale[1] = np.float16(6e-8)  # a subnormal
        scale[2] = np.float16(-0.0)
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(n, 2)
    if name == "MXFP4":
        blocks[:4, 0] = [0, 1, 2, 254]
    out[name + ".blocks"] = blocks
    out[name + ".values"] = gguf.dequantize(blocks, qtype).astype(np.float32).reshape(n, elems)
save_file(out, os.path.join(HERE, "blocks.safetensors"), metadata={"format": "pt"})
