#!/usr/bin/env python3
"""Blocks of the reference quantizers, as the PyPI package gguf writes them.

Run by hand in a venv outside the repository: pip install gguf==0.19.0 numpy
    python3 make.py    writes blocks.bin beside this file
Layout, little endian: u32 n_rows, u32 n_cols; f32 x[n_rows][n_cols]; then rows of each type in TYPES.
Rows are drawn to reach branches: usual weights, ties, zeros, one outlier, all equal, all of one sign,
denormal and tiny scales, large values."""
import os
import numpy as np
import gguf
from gguf.quants import quantize
from gguf import GGMLQuantizationType as T

TYPES = (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.TQ1_0, T.TQ2_0, T.BF16)

rng = np.random.default_rng(3)
C = 256
rows = [rng.standard_normal(C) * s for s in (1, 0.02, 1e-3, 300.0, 1e-6)]
rows += [np.round(rng.standard_normal(C) * 4) / 4, np.round(rng.standard_normal(C) * 8) / 2]
rows += [np.zeros(C), np.full(C, 0.75), np.full(C, -0.75), np.abs(rng.standard_normal(C)), -np.abs(rng.standard_normal(C))]
x = rng.standard_normal(C) * 0.01
x[::32] = 5.0
rows.append(x)
x = rng.standard_normal(C) * 0.01
x[31::32] = -5.0
rows.append(x)
rows.append((np.arange(C) % 32 - 16) / 8)
rows.append(np.where(rng.random(C) < 0.9, 0, rng.standard_normal(C)))
rows.append(np.where(np.arange(C) % 2 == 0, 1.0, -1.0))
rows += [rng.standard_t(2, C) for _ in range(15)]
x = np.array(rows, np.float32)
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "blocks.bin"), "wb") as f:
    f.write(np.array(x.shape, np.uint32).tobytes() + x.tobytes())
    for t in TYPES:
        f.write(quantize(x, t).tobytes())
print("gguf", "0.19.0", "numpy", np.__version__, x.shape)
