#!/usr/bin/env python3
"""Errors of ggml's own quantizers, for ours to be no worse than.

Run by hand in a venv outside the repository, with the sources of llama.cpp:
    pip install numpy; python3 make.py LLAMA_CPP_FOLDER
Compiles ggml.c and ggml-quants.c into a library beside nothing of ours, quantizes the rows below and
writes cases.bin, little endian: u32 n_rows, n_cols, n_types; f32 x[n_rows][n_cols]; f32
importance[n_cols]; then per type: u32 id, f64 with an importance: sum of importance * error^2 per row
[n_rows], f64 without: sum of error^2 per row [n_rows].
Recorded with ggml 0.25.3 (llama-cpp-python 0.3.36), gguf 0.19.0 for decoding."""
import ctypes
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = "Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS Q4_0 Q4_1 Q5_0 Q5_1 MXFP4".split()

ggml = os.path.join(sys.argv[1], "ggml")
build = tempfile.mkdtemp()
open(os.path.join(build, "ggml-version.h"), "w").write('#define GGML_VERSION "x"\n#define GGML_COMMIT "x"\n')
lib = os.path.join(build, "ggml.so")
flags = ["-O2", "-fPIC", "-D_GNU_SOURCE", "-I" + build, f"-I{ggml}/include", f"-I{ggml}/src"]
objects = []
for cc, name in (("gcc", "ggml.c"), ("gcc", "ggml-quants.c"), ("g++", "ggml-threading.cpp")):
    objects.append(os.path.join(build, name + ".o"))
    subprocess.check_call([cc, *flags, "-c", f"{ggml}/src/{name}", "-o", objects[-1]])
subprocess.check_call(["g++", "-shared", *objects, "-o", lib, "-Wl,--unresolved-symbols=ignore-all"])
chunk = ctypes.CDLL(lib, mode=os.RTLD_LAZY).ggml_quantize_chunk
chunk.restype = ctypes.c_size_t
chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + 3 * [ctypes.c_int64] + [ctypes.c_void_p]

rng = np.random.default_rng(11)
C = 512
rows = [rng.standard_normal(C) * s for s in (0.02, 0.02, 0.02, 0.02, 1, 30)]
rows += [rng.standard_t(4, C) * 0.02 for _ in range(6)] + [rng.laplace(0, 0.02, C) for _ in range(4)]
rows += [np.abs(rng.standard_normal(C)) * 0.1, -np.abs(rng.standard_normal(C)) * 0.1]
rows += [rng.standard_normal(C) * np.repeat(np.exp(rng.standard_normal(C // 16)), 16) * 0.02 for _ in range(4)]
x = np.array(rows, np.float32)
importance = np.exp(1.5 * rng.standard_normal(C)).astype(np.float32)
with open(os.path.join(HERE, "cases.bin"), "wb") as f:
    f.write(np.array([len(rows), C, len(TYPES)], np.uint32).tobytes() + x.tobytes() + importance.tobytes())
    for name in TYPES:
        qtype = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[qtype]
        f.write(np.uint32(int(qtype)).tobytes())
        for w in (importance, None):
            out = np.zeros((len(rows), C // block * size), np.uint8)
            chunk(int(qtype), x.ctypes.data, out.ctypes.data, 0, len(rows), C, w.ctypes.data if w is not None else None)
            err = (x.astype(np.float64) - gguf.dequantize(out, qtype).reshape(x.shape)) ** 2
            f.write((err * (w if w is not None else 1)).sum(1).astype(np.float64).tobytes())
