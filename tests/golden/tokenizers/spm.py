#!/usr/bin/env python3
"""Golden data of SentencePiece models: 500 hard strings, and what the `sentencepiece` package makes of them.

    /tmp/venv/bin/pip install sentencepiece==0.2.3 tokenizers==0.22.2
    /tmp/venv/bin/python tests/golden/tokenizers/spm.py TEXT_TO_TRAIN_ON
    /tmp/venv/bin/python tests/golden/tokenizers/spm.py

The second writes spm_long.json alone: for the Unigram models that are there, how many ids one long text has
(all strings of strings.json, several times), and the FNV-1a hash of these. Sums of scores are floats there.
The first writes spm/NAME.model and spm.json: for each model the ids of each string of strings.json, and the decoded
texts where they differ from the string. Byte pieces, user-defined pieces, unused ones and flags are set as
in the models of llama, gemma, t5 and others.
"""
import json
import os
import sys

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2

import families
import make

HERE = os.path.dirname(os.path.abspath(__file__))
USER = ["<usr>", "[INST]", "\u2581\u2581", "\n\n", "<0xZZ>", "\u4e2d\u6587", "'s", "</tag>", "\t\t\t"]


def train(name, sentences, edit=None, **options):
    path = os.path.join(HERE, "spm", name)
    base = dict(vocab_size=700, character_coverage=0.999, minloglevel=2, num_threads=1, hard_vocab_limit=False, max_sentence_length=100000)
    spm.SentencePieceTrainer.Train(sentence_iterator=iter(sentences), model_prefix=path, **dict(base, **options))
    os.remove(path + ".vocab")
    m = sentencepiece_model_pb2.ModelProto()
    m.ParseFromString(open(path + ".model", "rb").read())
    m.trainer_spec.ClearField("input")
    m.trainer_spec.ClearField("model_prefix")
    if edit:
        edit(m)
    with open(path + ".model", "wb") as f:
        f.write(m.SerializeToString())
    return path + ".model"


def unused(m):
    """Some pieces of every length fall out of the vocabulary."""
    for i, p in enumerate(m.pieces):
        if p.type == 1 and i % 5 == 0 and len(p.piece) > 1:
            p.type = 5


def flags(**kw):
    def edit(m):
        for k, v in kw.items():
            setattr(m.normalizer_spec, k, v)
    return edit


LONG = 20


def long():
    """One text is enough of them for sums of scores to lose digits, and to be counted anew."""
    with open(os.path.join(HERE, "strings.json"), encoding="utf-8") as f:
        text = " ".join(json.load(f)) * LONG
    rows = []
    for file in sorted(os.listdir(os.path.join(HERE, "spm"))):
        if not file.startswith("unigram"):
            continue
        ids = spm.SentencePieceProcessor(model_file=os.path.join(HERE, "spm", file)).encode(text)
        fnv = 2166136261
        for i in ids:
            fnv = (fnv ^ i) * 16777619 & 0xFFFFFFFF
        rows.append(json.dumps({"name": file[:-len(".model")], "times": LONG, "n": len(ids), "fnv": fnv}))
    with open(os.path.join(HERE, "spm_long.json"), "w", encoding="utf-8") as f:
        f.write('{"models":[\n' + ",\n".join(rows) + "\n]}\n")


def main():
    if len(sys.argv) == 1:
        return long()
    text = open(sys.argv[1], encoding="utf-8").read()
    lines = [x for x in text[:150000].split("\n") if x.strip()] + families.SAMPLES * 3
    plain = dict(normalization_rule_name="identity", remove_extra_whitespaces=False)
    bpe = dict(model_type="bpe", byte_fallback=True, split_digits=True, allow_whitespace_only_pieces=True, vocab_size=900, **plain)
    families.small_charsmap()  # leaves /tmp/rules.tsv
    rules = dict(normalization_rule_tsv="/tmp/rules.tsv")
    models = {
        "llama": train("llama", lines, **bpe),
        "gemma": train("gemma", lines, add_dummy_prefix=False, user_defined_symbols=USER, pad_id=0, eos_id=1, bos_id=2, unk_id=3, **bpe),
        "bpe-unknown": train("bpe-unknown", lines, model_type="bpe", user_defined_symbols=USER, **rules),
        "bpe-unused": train("bpe-unused", lines, edit=unused, **bpe),
        "bpe-suffix": train("bpe-suffix", lines, model_type="bpe", treat_whitespace_as_suffix=True, **plain),
        "unigram-t5": train("unigram-t5", lines, model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, **rules),
        "unigram-user": train("unigram-user", lines, model_type="unigram", user_defined_symbols=USER, edit=unused, **rules),
        "unigram-bytes": train("unigram-bytes", lines, model_type="unigram", byte_fallback=True, add_dummy_prefix=False, vocab_size=900, **plain),
        "unigram-suffix": train("unigram-suffix", lines, model_type="unigram", treat_whitespace_as_suffix=True, **rules),
        "unigram-spaces": train("unigram-spaces", lines, model_type="unigram", edit=flags(escape_whitespaces=False, remove_extra_whitespaces=True), **plain),
    }
    texts = families.strings(500)
    with open(os.path.join(HERE, "spm.json"), "w", encoding="utf-8") as f:
        rows = []
        for name, path in models.items():
            sp = spm.SentencePieceProcessor(model_file=path)
            ids = [sp.encode(t) for t in texts]
            rows.append(json.dumps({"name": name, "ids": ids, "decoded": families.sparse([sp.decode(i) for i in ids], texts)}, ensure_ascii=False, separators=(",", ":")))
        f.write('{"models":[\n' + ",\n".join(rows) + "\n]}\n")


if __name__ == "__main__":
    main()
