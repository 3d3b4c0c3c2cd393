#!/usr/bin/env python3
"""Golden data of whole families: 500 hard strings, and what the `tokenizers` package makes of them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers==0.22.2 sentencepiece==0.2.3
    /tmp/venv/bin/python tests/golden/tokenizers/families.py TEXT_TO_TRAIN_ON

Recorded on calib.groups_merged.txt. Writes strings.json and, for each kind of vocabulary, a file with one
tokenizer.json ("base") and families that differ from it in what their "patch" says, as the files of real
models do. Vocabularies are small, and trained across the borders that pre-tokenizers draw, so that a border
in the wrong place changes ids. A family has "ids" of each string without template, "template" for what stands
around an empty text, and the decoded texts where they differ from the string ("decoded": with special
tokens, "skipped": without, where that differs from "decoded").
"""
import json
import os
import random
import sys

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

import make

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLES = [  # our own sentences
    "The quick brown fox doesn't jump over 13 lazy dogs; it walks.", "Der schnelle braune Fuchs springt \u00fcber den faulen Hund, na\u00efve fa\u00e7ade.",
    "\u0411\u044b\u0441\u0442\u0440\u0430\u044f \u043b\u0438\u0441\u0430 \u043f\u0440\u044b\u0433\u0430\u0435\u0442 \u0447\u0435\u0440\u0435\u0437 \u0441\u043e\u0431\u0430\u043a\u0443 25 \u0440\u0430\u0437.", "\u0397 \u03b3\u03c1\u03ae\u03b3\u03bf\u03c1\u03b7 \u03b1\u03bb\u03b5\u03c0\u03bf\u03cd \u03c0\u03b7\u03b4\u03ac\u03b5\u03b9.",
    "\u0627\u0644\u062b\u0639\u0644\u0628 \u0627\u0644\u0628\u0646\u064a \u0627\u0644\u0633\u0631\u064a\u0639 \u064a\u0642\u0641\u0632 \u0667\u0668\u0669\u060c \u0646\u0639\u0645.", "\u05d4\u05e9\u05d5\u05e2\u05dc \u05d4\u05d7\u05d5\u05dd \u05e7\u05d5\u05e4\u05e5.", "\u0924\u0947\u091c\u093c \u0932\u094b\u092e\u0921\u093c\u0940 \u0915\u0942\u0926\u0924\u0940 \u0939\u0948\u0964 \u0967\u0968\u0969",
    "\u6211\u4eec\u4eca\u5929\u57282024\u5e745\u67083\u65e5\u53bb\u5317\u4eac\uff0c\u597d\u5417\uff1f\u201c\u597d\u7684\u3002\u201d", "\u6771\u4eac\u30bf\u30ef\u30fc\u306f333m\u3067\u3059\u3002\u30ab\u30bf\u30ab\u30ca\u3068\u3072\u3089\u304c\u306a\u3001\uff76\uff85\uff01", "\ube60\ub978 \uac08\uc0c9 \uc5ec\uc6b0\uac00 100\ubc88 \ub6f0\uc5b4\uc694.",
    "\u0e2a\u0e38\u0e19\u0e31\u0e02\u0e08\u0e34\u0e49\u0e07\u0e08\u0e2d\u0e01\u0e01\u0e23\u0e30\u0e42\u0e14\u0e14", "Con c\u00e1o n\u00e2u nhanh nh\u1eb9n nh\u1ea3y qua 7 con ch\u00f3.", "P\u0159\u00edli\u0161 \u017elu\u0165ou\u010dk\u00fd k\u016f\u0148", "I\u0307stanbul'da \u0131\u015f\u0131k", "\u10e1\u10ec\u10e0\u10d0\u10e4\u10d8 \u10db\u10d4\u10da\u10d0",
    "for (int i = 0; i < n; i++) {\n\tsum += a[i] * 0x1F; // 100%\n}\r\n", "SELECT * FROM t WHERE id>=10 AND name!='x';", "{\"key\": [1, 2.5, null], \"u\": \"\\u00e9\"}", "def main():\n    pass\n\n\nif __name__ == '__main__':\n    main()",
    "# Title\n\n- item 1\n- item 2\n\n> quote\n\n```c\nint x;\n```", "E = mc\u00b2 \u2248 9\u00d710\u00b9\u2076 J; \u03b1\u2264\u03b2, \u2200x\u2203y, \u221a2", "\u2460\u2461\u2462 \u216b \u00bd \u2075 \uff11\uff12\uff13 \u0664\u0665\u0666", "\ufb01ne \ufb02uff \u017fhort \u1e9e \u212bngstr\u00f6m \u2126hm \uff26\uff55\uff4c\uff4c",
    "HelloWorld camelCaseXMLHttpRequest snake_case SCREAMING_CASE iPhone15Pro", "DON'T don't Don'T I'LL we'd've y'all'd", "a\u0300\u0301\u0302 e\u0301\u0323 o\u0308\u0304 \u0915\u094d\u0937\u093f \ud55c\u0300", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1eb\U0001f1f7\U0001f1e9\U0001f1ea 1\ufe0f\u20e3 \U0001f937\U0001f3fd\u200d\u2640\ufe0f",
    "one\u2028two\u2029three\u0085four\x0bfive\x0csix", "\u200bzero\u200bwidth\u2060join\ufeff", "tab\t\ttab  \t  mix\u00a0\u00a0nbsp\u3000\u3000wide", "   \n   \n\n  x  \r\n\r\n  y\n \n", "1234567890123 12,345.67 1e-9 0xdead_beef 192.168.0.1 2024-01-31T23:59:59Z",
    "!!! ??? ... --- *** ### @@@ $$$ %%% ^^^ &&& ~~~ ``` ||| \\\\\\ ///", "\u201cquotes\u201d \u2018single\u2019 \u00abguillemets\u00bb \u2014dash\u2013en\u2026 \u00a1hola! \u00bfqu\u00e9?", "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s>", "<|im_start|>system\nYou are.<|im_end|>\n<|im_start|>user\n",
    "<start_of_turn>user\nHi<end_of_turn>\n", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n", "[gMASK]<sop><|user|>\nhi", "\u2581under\u2581score \u2581 \u2581\u2581x", "<0x41><0x0A> <0xff>", "\u0120G\u010a \u0120the", "\U000e0041\U0001d54f\U00020000\U0002f800\u3400", "\u4e00\u9fa5\u9fff\u3040\u309f\u30a0\u30ff\uac00\ud7a3\u0800",
    "\u02bbokina \u02b0 \u02d0 \u1d43 \u2071 \u30fc\uff70 \u309b", "\u01c5\u01c8 \u1f88 \u2c60\ua640 \U00010400\U0001e900", "\u00a9\u00ae\u2122 \u20ac\u00a3\u00a5 \u00a7\u00b6 \u2192\u21d2 \u2588\u2591 \u266a\u2606 \u3010\u3011", "\u0903\u093e \u0610 \u20dd\u20e3 \ufe0f \ufe20", "x" * 50 + " " + "9" * 21 + " " + "\u00e9" * 17 + "\u4e2d" * 9 + "-" * 33,
    " a b  c   d    e     f", "\n\na\n\n\nb\n\n\n\nc", "a \n b \n\n c\t\n\td", "word, word. word; word: word! word? (word) [word] 'word' \"word\"", "2x 3rd 4th 10km h2o co2 v1.2.3 utf8 mp3", "\uff01\uff1f\uff0c\u3002\u3001\uff1b\uff1a\u201c\u201d\uff08\uff09", "\U0001f600a\U0001f600 b \U0001f600\n\U0001f600\u200d \U0001f600\ufe0f1",
]
ATOMS = make.PIECES + ["D", "it", "Xy", "xY", "'LL", "'d", "\u2019s", "7", "890", "12345", "\u0661", "\uff11", "/", "//", "\\", "-", "--", "(", ")", "\"", "#", "@", ",", ";", "\uff0c", "\u3002", "\u3042", "\u30ab", "\u30fc", "\ud55c", "\uac00", "\u0430", "\u0411", "\u03a9",
                       "\u0915", "\u093f", "\u0e01", "\u0e34", "\u05d0", "\u0627", "\u0651", "\u0300", "\u0323", "\ufe0f", "\U0001f468", "\U0001f3fd", "\ufb01", "\u2126", "\uff21", "\u1e9e", "\u017f", "\u01c5", "\u02b0", "\u200b", "\u2028", "\x0b", "\x1c", "\u1680", "\U00010400", "\U00020000", "\n\n", "\r", "   ", " \n", "<s>", "</s>", "<0x0A>", "\u2581\u2581"]


def strings(n):
    texts = make.hard_strings() + SAMPLES
    texts = [t for i, t in enumerate(texts) if t not in texts[:i]]
    r = random.Random(11)
    while len(texts) < n:
        t = "".join(r.choice(ATOMS) for _ in range(r.randint(2, 14)))
        if t not in texts:
            texts.append(t)
    return texts


# ------------------------------------------------------------------ parts of tokenizer.json
def seq(key, *items):
    return {"type": "Sequence", key: list(items)}


def pre(*items):
    return items[0] if len(items) == 1 else seq("pretokenizers", *items)


def split(regex, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def bl(use_regex=True, prefix=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": use_regex}


def digits(individual):
    return {"type": "Digits", "individual_digits": individual}


def meta(scheme, do_split=True):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": do_split}


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


def template(ids, before=(), behind=()):
    def special(t):
        return {"SpecialToken": {"id": t, "type_id": 0}}

    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {"type": "TemplateProcessing", "single": [*map(special, before), a, *map(special, behind)], "pair": [a, b],
            "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in {*before, *behind}}}


I3 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
UP, DOWN = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CL100K = I3 + r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UP}*{DOWN}+%s|[^\r\n\p{{L}}\p{{N}}]?{UP}+{DOWN}*%s|\p{{N}}%s| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*" + TAIL)
ASCII_PUNCT = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""
DEEPSEEK_V3 = ASCII_PUNCT + r"[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*" + TAIL
LETTERS = ("A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c"
           "\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u1e00-\u1f15\ufb00-\ufb06\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U0001e900-\U0001e943")


def byte_level_families(ids):
    nfc = {"type": "NFC"}
    eot = "<|endoftext|>"
    llama3 = {"pre_tokenizer": pre(split(CL100K % r"\p{N}{1,3}"), bl(False)), "model": {"ignore_merges": True},
              "post_processor": seq("processors", bl(), template(ids, ["<|begin_of_text|>"]))}
    return {
        "gpt2": {"pre_tokenizer": bl()},
        "gpt-neox": {"normalizer": nfc, "pre_tokenizer": bl(), "post_processor": template(ids, (), [eot])},
        "gpt2 prefix space": {"pre_tokenizer": bl(prefix=True)},
        "opt": {"pre_tokenizer": bl(), "post_processor": template(ids, ["</s>"])},
        "roberta": {"pre_tokenizer": bl(prefix=True), "post_processor": {
            "type": "RobertaProcessing", "sep": ["</s>", ids["</s>"]], "cls": ["<s>", ids["<s>"]], "trim_offsets": True, "add_prefix_space": True}},
        "smollm, starcoder, granite": {"pre_tokenizer": pre(digits(True), bl())},
        "command-r": {"normalizer": nfc, "pre_tokenizer": pre(digits(True), bl()), "post_processor": template(ids, ["<s>"])},
        "falcon": {"pre_tokenizer": pre({"type": "Punctuation", "behavior": "Contiguous"}, bl(), digits(False), split("[0-9][0-9][0-9]"))},
        "bloom": {"pre_tokenizer": pre(split(" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"), bl(False))},
        "llama3, smollm3": llama3,
        "glm4, dbrx": {"pre_tokenizer": pre(split(CL100K % r"\p{N}{1,3}"), bl(False)), "post_processor": template(ids, ["[gMASK]", "<sop>"])},
        "qwen2, qwen3": {"normalizer": nfc, "pre_tokenizer": pre(split(CL100K % r"\p{N}"), bl(False))},
        "qwen3.5": {"normalizer": nfc, "pre_tokenizer": pre(split(
            I3 + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + TAIL), bl(False))},
        "deepseek-v3": {"pre_tokenizer": pre(split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(DEEPSEEK_V3), bl(False)),
                        "post_processor": template(ids, ["<s>"])},
        "deepseek-llm": {"pre_tokenizer": pre(split(r"[\r\n]"), split(rf"\s?[{LETTERS}]+"), split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"),
                                              split(r"\s+$"), split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), digits(True), bl(False))},
        "deepseek-coder": {"pre_tokenizer": pre(split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), digits(True), bl(False))},
        "gpt-oss, o200k": {"pre_tokenizer": pre(split(O200K % (I3 + "?", I3 + "?", "{1,3}")), bl(False))},
        "tekken": {"pre_tokenizer": pre(split(O200K % ("", "", "")), bl(False)), "model": {"ignore_merges": True}, "post_processor": template(ids, ["<s>"])},
        "cl100k, removed inverted": {"pre_tokenizer": pre(split(CL100K % r"\p{N}{1,3}", "Removed", True), bl(False))},
        "byte level normalizer": {"normalizer": {"type": "ByteLevel"}, "pre_tokenizer": None},
        "fixed length": {"pre_tokenizer": pre({"type": "FixedLength", "length": 5}, bl(False))},
        "char delimiter": {"pre_tokenizer": pre({"type": "CharDelimiterSplit", "delimiter": "e"}, bl(False))},
    }


def metaspace_families(ids):
    space = {"String": " "}
    marks = replace({"String": "\u2581"}, " ")
    fallback, fuse, strip = {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    prepend = {"type": "Prepend", "prepend": "\u2581"}
    bos = template(ids, ["<s>"])
    chain = seq("decoders", marks, fallback, fuse, strip)
    return {
        "llama2, mistral, phi3": {"normalizer": seq("normalizers", prepend, replace(space, "\u2581")), "decoder": chain, "post_processor": bos},
        "llama2 new": {"pre_tokenizer": meta("first", False), "decoder": chain, "post_processor": bos},
        "gemma": {"normalizer": replace(space, "\u2581"), "decoder": seq("decoders", marks, fallback, fuse), "post_processor": bos,
                  "pre_tokenizer": {"type": "Split", "pattern": space, "behavior": "MergedWithPrevious", "invert": False}},
        "gemma, no fallback": {"normalizer": replace(space, "\u2581"), "decoder": seq("decoders", marks, fallback, fuse), "model": {"byte_fallback": False}},
        "unknown not fused": {"normalizer": replace(space, "\u2581"), "model": {"byte_fallback": False, "fuse_unk": False}},
        "no unknown token": {"normalizer": replace(space, "\u2581"), "model": {"byte_fallback": False, "fuse_unk": False, "unk_token": None}},
        "metaspace always": {"pre_tokenizer": meta("always"), "decoder": meta("always"), "post_processor": template(ids, ["<s>"], ["</s>"])},
        "metaspace first": {"pre_tokenizer": meta("first"), "decoder": meta("first")},
        "metaspace never": {"pre_tokenizer": meta("never"), "decoder": meta("never")},
        "metaspace, digits, punctuation": {"pre_tokenizer": pre(meta("always"), digits(True), {"type": "Punctuation", "behavior": "Isolated"}),
                                           "decoder": seq("decoders", fallback, meta("always"))},
        "nmt, strip accents": {"normalizer": seq("normalizers", {"type": "NFD"}, {"type": "Nmt"}, {"type": "StripAccents"}, {"type": "Lowercase"}), "pre_tokenizer": meta("always")},
        "bpe decoder": {"pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": {"type": "BPEDecoder", "suffix": "e"}},
    }


def unigram_families(ids, charsmap):
    compiled = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    eos = template(ids, (), ["</s>"])
    spaces = replace({"Regex": " {2,}"}, " ")
    return {
        "t5": {"normalizer": compiled, "pre_tokenizer": meta("always"), "decoder": meta("always"), "post_processor": eos},
        "xglm, mbart": {"normalizer": compiled, "pre_tokenizer": pre({"type": "WhitespaceSplit"}, meta("always")), "decoder": meta("always"), "post_processor": template(ids, ["</s>"])},
        "albert-like": {"normalizer": seq("normalizers", {"type": "Strip", "strip_left": False, "strip_right": True}, compiled, spaces),
                        "pre_tokenizer": meta("always"), "decoder": meta("always")},
        "nmt, nfkc": {"normalizer": seq("normalizers", {"type": "Nmt"}, {"type": "NFKC"}, spaces), "pre_tokenizer": meta("first"), "decoder": meta("first")},
        "byte fallback": {"model": {"byte_fallback": True}, "pre_tokenizer": meta("never", False),
                          "decoder": seq("decoders", replace({"String": "\u2581"}, " "), {"type": "ByteFallback"}, {"type": "Fuse"})},
        "nothing": {},
    }


# ------------------------------------------------------------------ vocabularies
def plain(names):
    return [AddedToken(s, special=True, normalized=False) for s in names]


def finish(tok, special):
    tok.add_special_tokens(plain(special))
    tok.add_tokens([t for t in make.ODD if not t.special])
    tok.add_special_tokens([t for t in make.ODD if t.special])
    base = json.loads(tok.to_str())
    base.update(normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None, truncation=None, padding=None)
    return base


SPECIAL = ["<|endoftext|>", "<s>", "</s>", "<|begin_of_text|>", "<|im_start|>", "<|im_end|>", "[gMASK]", "<sop>"]


def byte_level_base(text):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.FixedLength(24), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=1200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tok.train_from_iterator([text[:120000]] + SAMPLES * 6, trainer)
    base = finish(tok, SPECIAL)
    base["decoder"] = bl()
    return base


def metaspace_base(text):
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=1100, limit_alphabet=200, show_progress=False,
                                  special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])
    tok.train_from_iterator([text[:150000]] + SAMPLES * 3 + ["  \n    x"] * 40, trainer)
    base = finish(tok, ["<|end|>"])
    base["added_tokens"] = [t for t in base["added_tokens"] if not t["content"].startswith("<0x")]
    return base


def unigram_base(text):
    tok = Tokenizer(models.Unigram())
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=700, unk_token="<unk>", special_tokens=["<pad>", "</s>", "<unk>"], show_progress=False)
    tok.train_from_iterator(text[:100000].split("\n") + SAMPLES, trainer)
    base = finish(tok, [])
    vocab = base["model"]["vocab"]
    for p in vocab:
        p[1] = round(p[1], 4)
    n = len(vocab)
    vocab += [[f"<0x{b:02X}>", -30.0] for b in range(256)]  # added tokens move up behind them
    for t in base["added_tokens"]:
        t["id"] += 256 if t["id"] >= n else 0
    return base


def small_charsmap():
    """Rules of all kinds: shrinking, growing, to nothing, of several characters, a prefix of another one."""
    import base64
    import sentencepiece as spm
    rules = {"\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u3000": " ", "\u2028": " ", "\u200b": "", "\x0b": "", "\ufeff": " ", "\ufb01": "fi", "\ufb03": "ffi", "\u2126": "\u03a9", "\u212b": "\u00c5", "\u00bd": "1\u20442",
             "\u2167": "VIII", "\u2460": "1", "\u00b2": "2", "\uff21": "A", "\uff11": "1", "\uff0c": ",", "\uff01": "!", "\u2026": "...", "e\u0301": "\u00e9", "a\u0308": "\u00e4", "a\u0308\u0323": "\u1ea1\u0308", "\u1112\u1161": "\ud558", "\uff76\uff9e": "\u30ac", "\uff76": "\u30ab",
             "\u0130": "i\u0307", "\u1e9e": "SS", "'\u017f": "'s", "\u2019": "'", "\u3042": "a", "\u2122": "TM"}
    path = "/tmp/rules.tsv"
    with open(path, "w", encoding="utf-8") as f:
        for k, v in sorted(rules.items()):
            f.write(" ".join(f"{ord(c):X}" for c in k) + "\t" + " ".join(f"{ord(c):X}" for c in v) + "\n")
    spm.SentencePieceTrainer.Train(sentence_iterator=iter(["a b c d"] * 20), model_prefix="/tmp/rules", vocab_size=8, normalization_rule_tsv=path, hard_vocab_limit=False, minloglevel=2)
    from sentencepiece import sentencepiece_model_pb2
    m = sentencepiece_model_pb2.ModelProto()
    m.ParseFromString(open("/tmp/rules.model", "rb").read())
    return base64.b64encode(m.normalizer_spec.precompiled_charsmap).decode()


# ------------------------------------------------------------------ recording
def sparse(texts, reference):
    return {str(i): t for i, (t, r) in enumerate(zip(texts, reference)) if t != r}


def record(base, name, patch, texts):
    tok = Tokenizer.from_str(json.dumps(make.patched(base, patch)))
    ids = [tok.encode(t, add_special_tokens=False).ids for t in texts]
    decoded = [tok.decode(i, skip_special_tokens=False) if i else "" for i in ids]
    skipped = [tok.decode(i, skip_special_tokens=True) if i else "" for i in ids]
    return {"name": name, "patch": patch, "template": tok.encode("").ids, "ids": ids, "decoded": sparse(decoded, texts), "skipped": sparse(skipped, decoded)}


def write(name, base, families, texts):
    def dump(v):
        return json.dumps(v, ensure_ascii=False, separators=(",", ":"))

    with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
        f.write('{"base":' + dump(base) + ',\n"families":[\n')
        f.write(",\n".join(dump(record(base, n, p, texts)) for n, p in families.items()) + "\n]}\n")


def ids_of(base):
    return {t["content"]: t["id"] for t in base["added_tokens"]}


def main():
    text = open(sys.argv[1], encoding="utf-8").read()
    texts = strings(500)
    with open(os.path.join(HERE, "strings.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(t) for t in texts) + "\n]\n")
    base = byte_level_base(text)
    write("byte_level.json", base, byte_level_families(ids_of(base)), texts)
    base = metaspace_base(text)
    write("metaspace.json", base, metaspace_families(ids_of(base)), texts)
    base = unigram_base(text)
    write("unigram.json", base, unigram_families(ids_of(base), small_charsmap()), texts)


if __name__ == "__main__":
    main()
