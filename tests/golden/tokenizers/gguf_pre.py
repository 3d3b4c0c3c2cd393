#!/usr/bin/env python3
"""Golden data of GGUF's pre-tokenizers: 500 hard strings, and what llama.cpp makes of them.

    /tmp/venv/bin/pip install gguf==0.19.0 numpy
    /tmp/venv/bin/python tests/golden/tokenizers/gguf_pre.py TOKENIZE

TOKENIZE MODEL.gguf is a few lines around llama_tokenize() of a llama.cpp of November 2026 (parse_special, no
add_special): it reads texts, each behind its length as u32, and prints a JSON array of ids for each. The vocabulary is that of byte_level.json with its special tokens. Writes gguf_pre.json: for each name the ids
of each string of strings.json, without BOS; null where llama.cpp's expression only comes near the one of the
model's authors, which is checked in byte_level.json (case beyond ASCII of tekken and gpt-4o, digits behind a space of
falcon, U+3000 of deepseek-llm).
"""
import json
import os
import struct
import subprocess
import sys
import unicodedata

import gguf
from tokenizers import Tokenizer

import families
import make as patches

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ["gpt-2", "llama-bpe", "glm4", "qwen2", "qwen35", "smollm", "falcon", "default", "bloom", "viking", "deepseek-llm", "deepseek-coder", "deepseek-v3", "tekken", "gpt-4o", "seed-coder"]


def make(path, base, pre, special):
    vocab = base["model"]["vocab"]
    n = max(list(vocab.values()) + list(special.values())) + 1
    tokens, types = [f"[PAD{i}]" for i in range(n)], [5] * n
    for t, i in vocab.items():
        tokens[i], types[i] = t, 1
    for t, i in special.items():
        tokens[i], types[i] = t, 3
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in base["model"]["merges"]])
    w.add_bos_token_id(special["<s>"])
    w.add_eos_token_id(special["</s>"])
    w.add_context_length(16)
    w.add_embedding_length(4)
    w.add_block_count(1)
    w.add_feed_forward_length(4)
    w.add_head_count(1)
    w.add_layer_norm_rms_eps(1e-5)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# Names whose expression in llama.cpp only comes near the authors': the family that has theirs.
NEAR = {"falcon": "falcon", "tekken": "tekken", "gpt-4o": "gpt-oss, o200k", "deepseek-llm": "deepseek-llm"}


def authors(base, name, special, texts):
    patch = families.byte_level_families({t["content"]: t["id"] for t in base["added_tokens"]})[NEAR[name]]
    root = patches.patched(base, dict(patch, post_processor=None))
    if name == "deepseek-llm":  # GGUF's list has runs of digits
        root["pre_tokenizer"]["pretokenizers"][-2] = families.split(r"\p{N}+")
    root["added_tokens"] = [t for t in root["added_tokens"] if t["content"] in special]
    return [e.ids for e in Tokenizer.from_str(json.dumps(root)).encode_batch(texts)]


def main():
    base = json.load(open(os.path.join(HERE, "byte_level.json"), encoding="utf-8"))["base"]
    texts = json.load(open(os.path.join(HERE, "strings.json")))
    special = {t["content"]: t["id"] for t in base["added_tokens"] if t["special"] and not t["lstrip"]}
    rows = []
    for pre in NAMES:
        path = "/tmp/pre.gguf"
        make(path, base, pre, special)

        # the family's tokenizer.json says so, llama.cpp leaves it to the caller
        given = [unicodedata.normalize("NFC", t) for t in texts] if pre == "qwen2" else texts
        data = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in given)
        r = subprocess.run([sys.argv[1], path], input=data, capture_output=True, check=True)
        ids = [json.loads(line) for line in r.stdout.decode().split("\n") if line]
        assert len(ids) == len(texts)
        if pre in NEAR:
            want = authors(base, pre, special, texts)
            ids = [i if i == w else None for i, w in zip(ids, want)]
            print(pre, "differs from its authors' in", ids.count(None), "strings")
        rows.append(json.dumps({"pre": pre, "ids": ids}, separators=(",", ":")))
    with open(os.path.join(HERE, "gguf_pre.json"), "w", encoding="utf-8") as f:
        f.write('{"special":' + json.dumps(special) + ',\n"names":[\n' + ",\n".join(rows) + "\n]}\n")


if __name__ == "__main__":
    main()
