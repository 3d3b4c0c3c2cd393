#!/usr/bin/env python3
"""Two entries of what llama-imatrix measured, in both of its forms, and the means by the formulas.

    llama-imatrix -m SmolLM2-135M-f16.gguf -f TEXT -o m.gguf --chunks 2 -c 128
    llama-imatrix -m SmolLM2-135M-f16.gguf -f TEXT -o m.dat --output-format dat --chunks 2 -c 128
    python3 make.py m.gguf m.dat      writes two.gguf, two.dat and means.txt beside this file
Recorded with ggml 0.25.3 (llama-cpp-python 0.3.36), gguf 0.19.0."""
import os
import struct
import sys

import gguf
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
KEEP = ("blk.0.attn_k.weight", "blk.29.ffn_up.weight")

reader = gguf.GGUFReader(sys.argv[1])
writer = gguf.GGUFWriter(os.path.join(HERE, "two.gguf"), "")
writer.kv_data = [{}]
writer.add_string("general.type", "imatrix")
writer.add_array("imatrix.datasets", ["calibration text"])
for key in ("imatrix.chunk_count", "imatrix.chunk_size"):
    writer.add_uint32(key, int(reader.fields[key].parts[-1][0]))
tensors = {t.name: t for t in reader.tensors}
for name in KEEP:
    for suffix in (".in_sum2", ".counts"):
        writer.add_tensor(name + suffix, np.array(tensors[name + suffix].data))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
with open(os.path.join(HERE, "means.txt"), "w") as f:
    for name in KEEP:
        mean = tensors[name + ".in_sum2"].data.ravel().astype(np.float64) / float(tensors[name + ".counts"].data.ravel()[0])
        print(name, len(mean), int(tensors[name + ".counts"].data.ravel()[0]), *(f"{x:.9g}" for x in mean[:8]), file=f)

data, at, entries = open(sys.argv[2], "rb").read(), 4, []
for _ in range(struct.unpack_from("<i", data)[0]):
    start, (length,) = at, struct.unpack_from("<i", data, at)
    name = data[at + 4:at + 4 + length].decode()
    (n,) = struct.unpack_from("<i", data, at + 8 + length)
    at += 12 + length + 4 * n
    entries += [data[start:at]] if name in KEEP else []
tail, text = struct.unpack_from("<i", data, at)[0], b"calibration text"
with open(os.path.join(HERE, "two.dat"), "wb") as f:
    f.write(struct.pack("<i", len(entries)) + b"".join(entries) + struct.pack("<ii", tail, len(text)) + text)
