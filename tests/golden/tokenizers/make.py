#!/usr/bin/env python3
"""Golden data of the tokenizer: small BPE vocabularies with the exact structure of real families, hard
strings, and what the `tokenizers` package makes of them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers==0.22.2
    /tmp/venv/bin/python tests/golden/tokenizers/make.py TEXT_TO_TRAIN_ON

Recorded with tokenizers 0.22.2 on calib.groups_merged.txt (0.21.4 gives the same; 0.23.3 decodes added
tokens that are normalized to their normal form, with what the normalizer prepends). Writes NAME/tokenizer.json, NAME/cases.json
and variants.json beside itself. A case is [text, ids with template, ids without, decoded, decoded
without special tokens].
"""
import json
import os
import random
import sys

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import AddedToken, Regex

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def plain(special):
    return [AddedToken(s, special=True, normalized=False) for s in special]


# Every kind of flag, and tokens that overlap.
ODD = [
    AddedToken("<sw>", single_word=True, normalized=False),
    AddedToken("<ls>", lstrip=True, normalized=False),
    AddedToken("<rs>", rstrip=True, normalized=False),
    AddedToken("<lr>", lstrip=True, rstrip=True, normalized=False),
    AddedToken("<lrn>", lstrip=True, rstrip=True, normalized=True),
    AddedToken("[NORM]", normalized=True),
    AddedToken("caf\u00e9x", normalized=True),
    AddedToken("<a>", normalized=False),
    AddedToken("<a>b", normalized=False),
    AddedToken("word", single_word=True, normalized=False),
    AddedToken("word more", single_word=True, normalized=False),
    AddedToken("\t\t", normalized=False),
    AddedToken("\u4e2d\u6587", normalized=False),
    AddedToken("<sp>", special=True, normalized=True, single_word=True, lstrip=True, rstrip=True),
]


def family(name, text, vocab_size):
    special = {
        "gpt2": ["<|endoftext|>"],
        "smollm": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "llama3": ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"],
        "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    }[name]
    tok = Tokenizer(models.BPE(ignore_merges=name == "llama3"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name in ("gpt2", "smollm"))
    if name == "gpt2":
        tok.pre_tokenizer = byte_level
    elif name == "smollm":
        tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level])
    else:
        numbers = r"\p{N}{1,3}" if name == "llama3" else r"\p{N}"
        split = pre_tokenizers.Split(Regex(WORDS % numbers), "isolated", invert=False)
        tok.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    if name == "qwen2":
        tok.normalizer = normalizers.NFC()
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        # smollm has its special tokens inside the vocabulary, the others behind it
        special_tokens=plain(special) if name == "smollm" else [],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tok.train_from_iterator([text], trainer)
    if name != "smollm":
        tok.add_special_tokens(plain(special))
    tok.add_tokens([t for t in ODD if not t.special])
    tok.add_special_tokens([t for t in ODD if t.special])
    tok.post_processor = processors.ByteLevel(trim_offsets=True)
    if name == "llama3":
        bos = special[0]
        template = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1",
            special_tokens=[(bos, tok.token_to_id(bos))],
        )
        tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return tok


def hard_strings():
    s = ["", " ", "  ", "\n", "\r\n", "\t", "a", " a", "a ", "A", "\u00a0", "\u0085", "\u2028", "\u3000"]
    s += ["Hello, world!", "Hello  world", "Hello   world   ", "   leading", "trailing   ", "\n\n\n", " \n \n "]
    s += ["line one\nline two", "line one\r\nline two\r\n", "\r\r\n\n\r", "a\n b\n  c\n   d", "x\t\ty", "x \t\t y"]
    s += ["I'm you're he's we've they'll she'd can't", "I'M YOU'RE HE'S WE'VE THEY'LL SHE'D CAN'T"]
    s += ["'\u017f '\u017fx it'\u017f", "don\u2019t", "'S 'T 'Re 'vE", "''s", "' s", "x's's", "'ll'", "rock'n'roll"]
    s += ["0", "1", "12", "123", "1234", "12345", "1234567890", " 1 22 333 4444", "3.14159", "1,000,000", "1e-10"]
    s += ["\u0661\u0662\u0663", "\u2167", "\u2167\u2168 x", "\u00bd cup", "x\u00b2 + y\u00b3", "\u2460\u2461", "\u3007\u4e00"]
    s += ["\u00e9", "e\u0301", "cafe\u0301", "caf\u00e9x", "cafe\u0301x", "a\u0308\u0323", "a\u0323\u0308", "\u1e9b\u0323"]
    s += ["\u0301", "\u0301a", "\u200d", "\u200c", "\ufeff", "\ufeffHello", "\ufffd", "\u00ad", "soft\u00adhyphen"]
    s += ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "\U0001f44d\U0001f3fd"]
    s += ["hi\U0001f600there", " \U0001f600 ", "\U0001f600\U0001f600\n\U0001f600", "\U00010348\U0001f995", "\U0010ffff", "\ue000"]
    s += ["\u4f60\u597d\uff0c\u4e16\u754c", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab\u1100\u116e\u11a8"]
    s += ["\u0645\u0631\u062d\u0628\u0627", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u03c2", "\u041f\u0440\u0438\u0432\u0435\u0442"]
    s += ["\u0130stanbul", "\u00df\u1e9e", "\ufb01 \ufb03", "\u212b \u2126 \u212a", "'\u212a", "\u1680ogham\u1680", "mong\u180eolian", "a\u200bb"]
    s += ["\u2000\u2001\u2002", "a\u2003 b", " \u00a0 \u00a0x", "\u00a0\u00a0x", "\u0085\u0085x", "\x1c\x1d\x1e\x1f", "a\x1cb", "\x0b\x0c", "\x7f", "\x01\x02"]
    s += ["def f(x):\n    return x**2\n", "if (a != b) {\n\treturn;\n}", "<html>&amp;</html>", "C:\\path\\file", "$$$ %%% ###", "a_b_c", "__init__"]
    s += ["http://example.com/?q=1&r=2", "user@example.com", "...", "\u2026\u2026", "--- ---", "!!!\n\n???", "?!\r\n\r\nx", "#\n#\n#", "(a)[b]{c}"]
    s += [" " * n for n in (3, 4, 7, 8, 16, 31, 64)] + ["a" + " " * n + "b" for n in (2, 3, 5, 9)]
    s += ["\n" * n for n in (2, 3, 5, 9)] + ["a" * n for n in (2, 3, 39, 40, 41, 42, 100, 300)]
    s += ["the " * 20, "ab" * 60, "Th" * 33 + "e", "aaaabbbbaaaabbbb" * 8, "supercalifragilisticexpialidocious" * 4]
    s += ["<sw>", "a<sw>", "<sw>a", " <sw> ", "a <sw> b", "<sw><sw>", "\u2167<sw>", "\u00bd<sw>", "\u0301<sw>", "<sw>\u200d", "<sw>_", "<sw>.", "\u00b2<sw>\u00b2", "\u24b6<sw>"]
    s += ["<ls>", "a<ls>b", "a  <ls>  b", " \n\t<ls>", "\u0085<ls>", "\u00a0<ls>", "\u3000\u2028<ls>x", "\x1c<ls>", "\u200b<ls>", "  <ls>  <ls>"]
    s += ["<rs>", "a<rs>b", "a  <rs>  b", "<rs> \n\t", "<rs>\u0085x", "<rs>\u00a0x", "<rs>\x1fx", "<rs>  <rs>  ", "<rs>\t\t", "<rs> \t\tx", "<rs>\t\t\t\t y"]
    s += ["<lr>", "  a  <lr>  b  ", "<lr> <lr>", "<rs> <ls>", "<rs>  <lr>  <ls>", " <lrn> ", "a<lrn>b", "a  <lrn>  <lrn> b", "<rs> <lrn>"]
    s += ["[NORM]", "a[NORM]b", "[NORM", "[NORM][NORM]", "xcaf\u00e9xy", "<a>", "<a>b", "<a>bc", "<a><a>b", "<a> b", "<a", "<<a>b>", "\t\t\t", "\t\t\t\t"]
    s += ["word", "a word here", "words", "sword", "word more", "word mores", "aword more", "word moreword", "word.word", "WORD", "\u4e2d\u6587\u5b57", "\u4e2d \u6587"]
    s += ["<sp>", " <sp> ", "a<sp>", "a <sp> b", "<sp><sp>", "\n<sp>\n\n", "<|endoftext|>", "a<|endoftext|>b", "<|im_start|>user\nhi<|im_end|>\n", "<|begin_of_text|>x", "<|eot_id|>", "<|endoftext|", "<| endoftext |>"]
    return [x for i, x in enumerate(s) if x not in s[:i]]


PIECES = ["a", "b", "the", " ", "  ", "\n", "\r\n", "\t", "1", "23", "'s", "'", ".", "!?", "\u00e9", "e\u0301", "\u00df", "\u4e2d", "\u6587", "\U0001f600",
          "\u200d", "\u00a0", "\u0085", "\u2167", "\u00bd", "\u2581", "<sw>", "<ls>", "<rs>", "<lr>", "<lrn>", "[NORM]", "<a>", "<a>b", "word", "<sp>", "<unk>", "_", "X", "\u0130", "\u3000"]


def random_strings(n, seed):
    r = random.Random(seed)
    return ["".join(r.choice(PIECES) for _ in range(r.randint(1, 12))) for _ in range(n)]


def case(tok, text):
    full = tok.encode(text).ids
    bare = tok.encode(text, add_special_tokens=False).ids
    return [text, full, bare, tok.decode(full, skip_special_tokens=False), tok.decode(full, skip_special_tokens=True)]


def write_cases(path, cases):
    with open(path, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")


# ------------------------------------------------------------------ one step at a time
def variants(text):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    chars = list("abcdefghijklmnopqrstuvwxyzABCTHE 0123456789.,!?'<>[]_\u2581\u00e9\u00b2")
    trainer = trainers.BpeTrainer(vocab_size=260, initial_alphabet=chars, limit_alphabet=90, show_progress=False,
                                  special_tokens=["<unk>", "<s>", "</s>"])
    words = text.split()[:6000]
    marked = " ".join(words) + " " + " ".join("\u2581" + w for w in words)
    tok.train_from_iterator([marked], trainer)
    for t in ODD:
        (tok.add_special_tokens if t.special else tok.add_tokens)([t])
    base = json.loads(tok.to_str())
    base.update(normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None)
    bl = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    space = {"String": " "}

    def split(pattern, behaviour, invert=False):
        return {"type": "Split", "pattern": pattern, "behavior": behaviour, "invert": invert}

    def seq(key, *items):
        return {"type": "Sequence", key: list(items)}

    def meta(scheme, do_split=True):
        return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": do_split}

    pre = {f"split {b}{' invert' if i else ''}": split({"Regex": r"[\s']+|\d"}, b, i)
           for b in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous") for i in (False, True)}
    pre.update({
        "split string": split(space, "MergedWithPrevious"),
        "split empty matches": split({"Regex": r"x*"}, "Isolated"),
        "split anchors": split({"Regex": r"^.|.$|\s+$"}, "Isolated"),
        "split word class": split({"Regex": r"\w+|\W"}, "Isolated"),
        "split nested class": split({"Regex": " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"}, "Isolated"),
        "split hex, scripts": split({"Regex": r"\h+|\p{Han}+|\p{^L}"}, "Isolated"),
        "split options": split({"Regex": r"(?m:b.)|(?i:THE)|(?<=a) |[[:upper:]]"}, "Isolated"),
        "digits": {"type": "Digits", "individual_digits": True},
        "digits together": {"type": "Digits", "individual_digits": False},
        "whitespace": {"type": "Whitespace"},
        "whitespace split": {"type": "WhitespaceSplit"},
        "metaspace always": meta("always"), "metaspace first": meta("first"), "metaspace never": meta("never"),
        "metaspace first whole": meta("first", False),
        "byte level": bl, "byte level prefix": dict(bl, add_prefix_space=True),
        "byte level prefix, no regex": dict(bl, add_prefix_space=True, use_regex=False),
        "falcon": seq("pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"}, bl,
                      {"type": "Digits", "individual_digits": False}, split({"Regex": "[0-9][0-9][0-9]"}, "Isolated")),
    })
    pre.update({f"punctuation {b}": {"type": "Punctuation", "behavior": b}
                for b in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")})
    norm = {k: {"type": k} for k in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase")}
    norm.update({
        "strip": {"type": "Strip", "strip_left": True, "strip_right": True},
        "strip left": {"type": "Strip", "strip_left": True, "strip_right": False},
        "replace": {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": "\u2581"},
        "prepend": {"type": "Prepend", "prepend": "\u2581"},
        "llama2": seq("normalizers", {"type": "Prepend", "prepend": "\u2581"},
                      {"type": "Replace", "pattern": space, "content": "\u2581"}),
    })
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    marks = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    fallback, fuse = {"type": "ByteFallback"}, {"type": "Fuse"}
    template = {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {t: {"id": t, "ids": [base["model"]["vocab"][t]], "tokens": [t]} for t in ("<s>", "</s>")}}
    unk = {"unk_token": "<unk>"}
    vocab = base["model"]["vocab"]

    def bytes_behind(skip=()):
        # added tokens move up behind the bytes: the original numbers them itself
        names = [f"<0x{b:02X}>" for b in range(256) if b not in skip]
        more = dict(vocab, **{t: len(vocab) + i for i, t in enumerate(names)})
        new = [a for a in base["added_tokens"] if a["content"] not in vocab]
        moved = [dict(a, id=len(more) + i) for i, a in enumerate(new)]
        return more, [a for a in base["added_tokens"] if a["content"] in vocab] + moved

    with_bytes, added = bytes_behind()
    some_bytes, added_some = bytes_behind((0x98, 0xCC))
    out = [(n, {"pre_tokenizer": p, "model": unk, "decoder": fuse}) for n, p in pre.items()]
    out += [(n, {"normalizer": p, "model": unk}) for n, p in norm.items()]
    out += [
        ("nothing", {}), ("unk", {"model": unk}), ("unk fused", {"model": dict(unk, fuse_unk=True)}),
        ("ignore merges", {"model": dict(unk, ignore_merges=True), "pre_tokenizer": {"type": "WhitespaceSplit"}}),
        ("bytes", {"added_tokens": added, "model": dict(unk, byte_fallback=True, fuse_unk=True, vocab=with_bytes), "normalizer": norm["llama2"],
                   "decoder": seq("decoders", marks, fallback, fuse, strip), "post_processor": template}),
        ("some bytes", {"added_tokens": added_some, "model": dict(unk, byte_fallback=True, vocab=some_bytes), "decoder": fallback}),
        ("some bytes fused", {"added_tokens": added_some, "model": dict(unk, byte_fallback=True, fuse_unk=True, vocab=some_bytes), "decoder": fallback}),
        ("suffix", {"model": dict(unk, end_of_word_suffix="e"), "pre_tokenizer": {"type": "WhitespaceSplit"}}),
        ("decoder metaspace", {"decoder": meta("always"), "pre_tokenizer": meta("always")}),
        ("decoder metaspace never", {"decoder": meta("never"), "pre_tokenizer": meta("never")}),
        ("decoder replace regex", {"decoder": {"type": "Replace", "pattern": {"Regex": "[aeiou]"}, "content": "*"}}),
        # the original panics where both ends take the same character
        ("decoder strip", {"decoder": {"type": "Strip", "content": "a", "start": 2, "stop": 0}}),
        ("decoder strip end", {"decoder": {"type": "Strip", "content": "a", "start": 0, "stop": 1}}),
        ("decoder byte level", {"decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}),
        ("template in a sequence", {"post_processor": seq("processors", bl, template)}),
    ]
    return base, out


def patched(base, patch):
    d = dict(base)
    for k, v in patch.items():
        d[k] = dict(base["model"], **v) if k == "model" else v
    return d


def main():
    text = open(sys.argv[1], encoding="utf-8").read()
    for name in ("gpt2", "smollm", "llama3", "qwen2"):
        tok = family(name, text, 700)
        os.makedirs(os.path.join(HERE, name), exist_ok=True)
        with open(os.path.join(HERE, name, "tokenizer.json"), "w", encoding="utf-8") as f:
            json.dump(json.loads(tok.to_str()), f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
        write_cases(os.path.join(HERE, name, "cases.json"), [case(tok, t) for t in hard_strings()])
    base, list_of = variants(text)
    texts = [t for t in hard_strings() if len(t) < 40][::9] + random_strings(25, 3)
    with open(os.path.join(HERE, "variants.json"), "w", encoding="utf-8") as f:
        f.write('{"base":' + json.dumps(base, ensure_ascii=False, separators=(",", ":")) + ',\n"variants":[\n')
        for i, (name, patch) in enumerate(list_of):
            tok = Tokenizer.from_str(json.dumps(patched(base, patch)))
            cases = [case(tok, t) for t in texts]
            f.write((",\n" if i else "") + json.dumps({"name": name, "patch": patch, "cases": cases}, separators=(",", ":")))
        f.write("\n]}\n")


if __name__ == "__main__":
    main()
