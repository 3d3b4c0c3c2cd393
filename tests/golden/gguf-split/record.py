#!/usr/bin/env python3
"""../tiny-llama/tiny.gguf in three parts, as GGUFWriter splits a model: keys in the first part only.

Recorded with gguf 0.19.0, numpy 2.2.6:  python record.py
"""
import os

import gguf

HERE = os.path.dirname(os.path.abspath(__file__))
r = gguf.GGUFReader(os.path.join(HERE, "..", "tiny-llama", "tiny.gguf"))
w = gguf.GGUFWriter(os.path.join(HERE, "tiny.gguf"), "llama", split_max_tensors=8)
for key, field in r.fields.items():
    if key.startswith("GGUF.") or key == "general.architecture":
        continue
    kind = field.types[0]
    w.add_key_value(key, field.contents(), kind, field.types[1] if kind == gguf.GGUFValueType.ARRAY else None)
for t in r.tensors:
    w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
