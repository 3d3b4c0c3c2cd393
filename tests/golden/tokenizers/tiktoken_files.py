#!/usr/bin/env python3
"""Golden data of tiktoken files: 500 hard strings, and what the `tiktoken` package makes of them.

    /tmp/venv/bin/pip install tiktoken==0.14.0
    /tmp/venv/bin/python tests/golden/tokenizers/tiktoken_files.py

The vocabulary is that of byte_level.json. Writes small.tiktoken and tiktoken.json: for each class of
tokenizer_config.json its configuration, the ids of each string of strings.json (special tokens cut out) and
the decoded texts where they differ. NFC and the special tokens of Qwen are code of its class, done here too.
"""
import base64
import json
import os
import unicodedata

import tiktoken

import families

HERE = os.path.dirname(os.path.abspath(__file__))


def alphabet():
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {**{chr(b): b for b in plain}, **{chr(256 + i): b for i, b in enumerate(others)}}


def main():
    base = json.load(open(os.path.join(HERE, "byte_level.json"), encoding="utf-8"))["base"]
    texts = json.load(open(os.path.join(HERE, "strings.json")))
    back = alphabet()
    tokens = [bytes(back[c] for c in t) for t, _ in sorted(base["model"]["vocab"].items(), key=lambda x: x[1])]
    single = [t for t in tokens if len(t) == 1]
    ranks = {t: i for i, t in enumerate(single + [t for t in tokens if len(t) > 1])}
    with open(os.path.join(HERE, "small.tiktoken"), "w") as f:
        f.writelines(f"{base64.b64encode(t).decode()} {i}\n" for t, i in ranks.items())
    n = len(ranks)
    qwen = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [f"<|extra_{i}|>" for i in range(205)]
    glm = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>"]
    rows = []
    for name, numbers, special, form in (("QWenTokenizer", r"\p{N}", qwen, "NFC"), ("ChatGLM4Tokenizer", r"\p{N}{1,3}", glm, None)):
        ids = {t: n + i for i, t in enumerate(special)}
        enc = tiktoken.Encoding(name, pat_str=families.CL100K % numbers, mergeable_ranks=ranks, special_tokens=ids)
        config = {"tokenizer_class": name}
        if name != "QWenTokenizer":
            config["added_tokens_decoder"] = {str(i): {"content": t, "special": True} for t, i in ids.items()}
        given = [unicodedata.normalize(form, t) if form else t for t in texts]
        out = [enc.encode(t, allowed_special="all") for t in given]
        rows.append(json.dumps({"name": name, "config": config, "ids": out, "decoded": families.sparse([enc.decode(i) for i in out], texts)}, ensure_ascii=False, separators=(",", ":")))
    with open(os.path.join(HERE, "tiktoken.json"), "w", encoding="utf-8") as f:
        f.write('{"classes":[\n' + ",\n".join(rows) + "\n]}\n")


if __name__ == "__main__":
    main()
