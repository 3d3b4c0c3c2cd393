/* gguf_pre.c -- what GGUF's names of pre-tokenizers mean (formats.md 6.7), as tokenizer.json says
 * it. Where a loader of GGUF only comes near the expression of the model's authors (upper and lower
 * case of "tekken" and "gpt-4o" beyond ASCII), the authors' stands here. */
#include "gguf_vocab_internal.h"

#include <string.h>

/* clang-format off */
#define SPLIT(regex) "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define BYTE_LEVEL(use_regex) "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":" use_regex "}"
#define DIGITS(individual) "{\"type\":\"Digits\",\"individual_digits\":" individual "}"
#define PUNCTUATION "{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}"
#define SEQUENCE(list) "{\"type\":\"Sequence\",\"pretokenizers\":[" list "]}"
#define CUT(splits) SEQUENCE(splits "," BYTE_LEVEL("false"))

/* C strings that hold JSON strings: a backslash is written four times. */
#define GPT2 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!" \
    "\\\\S)|\\\\s+"
#define LLAMA3 \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[" \
    "^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define QWEN2 \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\" \
    "s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define QWEN35 \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{L}\\\\p{M}]+|\\\\p{N" \
    "}| ?[^\\\\s\\\\p{L}\\\\p{M}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)" \
    "|\\\\s+"
#define BLOOM \
    " ?[^(\\\\s|[.,!?\\u2026\\u3002\\uff0c\\u3001\\u0964\\u06d4\\u060c])]+"
#define TEKKEN \
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*[\\\\p{Ll" \
    "}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{L" \
    "m}\\\\p{Lo}\\\\p{M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*|\\\\p{N}| ?[^\\\\s\\\\p{L}" \
    "\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define GPT4O \
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*[\\\\p{Ll" \
    "}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\\\r\\\\n\\\\p{L}\\\\p{N" \
    "}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}" \
    "]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]" \
    "*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define SEED \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1}| ?[^" \
    "\\\\s\\\\p{L}\\\\p{N}\\\\r\\\\n]+|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define HAN \
    "[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+"
#define LETTERS \
    "\\\\s?[A-Za-z\\u00b5\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u01ba\\u01bc-\\u01bf" \
    "\\u01c4-\\u0293\\u0295-\\u02af\\u0370-\\u0373\\u0376\\u0377\\u037b-\\u037d\\u037f" \
    "\\u0386\\u0388-\\u038a\\u038c\\u038e-\\u03a1\\u03a3-\\u03f5\\u03f7-\\u0481\\u048a-" \
    "\\u052f\\u0531-\\u0556\\u10a0-\\u10c5\\u13a0-\\u13f5\\u13f8-\\u13fd\\u1c90-\\u1cba" \
    "\\u1cbd-\\u1cbf\\u1d00-\\u1d2b\\u1d6b-\\u1d77\\u1d79-\\u1d9a\\u1e00-\\u1f15\\u1f18-" \
    "\\u1f1d\\u1f20-\\u1f45\\u1f48-\\u1f4d\\u1f50-\\u1f57\\u1f59\\u1f5b\\u1f5d\\u1f5f-" \
    "\\u1f7d\\u1f80-\\u1fb4\\u1fb6-\\u1fbc\\u1fbe\\u1fc2-\\u1fc4\\u1fc6-\\u1fcc\\u1fd0-" \
    "\\u1fd3\\u1fd6-\\u1fdb\\u1fe0-\\u1fec\\u1ff2-\\u1ff4\\u1ff6-\\u1ffc\\u2102\\u2107" \
    "\\u210a-\\u2113\\u2115\\u2119-\\u211d\\u2124\\u2126\\u2128\\u212a-\\u212d\\u212f-" \
    "\\u2134\\u2139\\u213c-\\u213f\\u2145-\\u2149\\u214e\\u2183\\u2184\\u2c00-\\u2c7b" \
    "\\u2c7e-\\u2ce4\\u2ceb-\\u2cee\\u2cf2\\u2cf3\\ua640-\\ua66d\\ua680-\\ua69b\\ua722-" \
    "\\ua76f\\ua771-\\ua787\\ua78b-\\ua78e\\uab70-\\uabbf\\ufb00-\\ufb06\\ufb13-\\ufb17" \
    "\\uff21-\\uff3a\\uff41-\\uff5a\\ud801\\udc00-\\ud801\\udc4f\\ud801\\udcb0-\\ud801" \
    "\\udcd3\\ud801\\udcd8-\\ud801\\udcfb\\ud803\\udc80-\\ud803\\udcb2\\ud803\\udcc0-" \
    "\\ud803\\udcf2\\ud806\\udca0-\\ud806\\udcdf\\ud83a\\udd00-\\ud83a\\udd43]+"
#define WIDE_PUNCT \
    "\\\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+"
#define KANA \
    "[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+"
#define DEEPSEEK3 \
    "[!\\\"#$%&'()*+,\\\\-./:;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-Za-z]+|[^\\\\r\\\\n\\\\p{L}" \
    "\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+| ?[\\\\p{P}\\\\p{S}]+[\\\\r\\\\n]*|\\\\s*[\\\\r" \
    "\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

static const char *const pre_json[] = {
    [WOQ_PRE_GPT2] = BYTE_LEVEL("true"),
    [WOQ_PRE_LLAMA3] = CUT(SPLIT(LLAMA3)),
    [WOQ_PRE_QWEN2] = CUT(SPLIT(QWEN2)),
    [WOQ_PRE_SMOLLM] = SEQUENCE(DIGITS("true") "," BYTE_LEVEL("true")),
    [WOQ_PRE_DEFAULT] = CUT(SPLIT("[\\\\p{P}\\\\$\\\\+<=>\\\\^~\\\\|]+") "," SPLIT(GPT2) "," SPLIT("\\\\p{N}+") "," SPLIT("[0-9][0-9][0-9]")),
    [WOQ_PRE_QWEN35] = CUT(SPLIT(QWEN35)),
    [WOQ_PRE_FALCON] = SEQUENCE(PUNCTUATION "," BYTE_LEVEL("true") "," DIGITS("false") "," SPLIT("[0-9][0-9][0-9]")),
    [WOQ_PRE_BLOOM] = CUT(SPLIT(BLOOM)),
    [WOQ_PRE_VIKING] = CUT(SPLIT(BLOOM) "," SPLIT("\\\\p{N}")),
    [WOQ_PRE_DEEPSEEK_LLM] = CUT(SPLIT("[\\\\r\\\\n]") "," SPLIT(LETTERS) "," SPLIT(WIDE_PUNCT) "," SPLIT("\\\\s+$") "," SPLIT(HAN) "," SPLIT("\\\\p{N}+")),
    [WOQ_PRE_DEEPSEEK_CODER] = CUT(SPLIT("[\\\\r\\\\n]") "," SPLIT("\\\\s?\\\\p{L}+") "," SPLIT("\\\\s?\\\\p{P}+") "," SPLIT(HAN) "," SPLIT("\\\\p{N}")),
    [WOQ_PRE_DEEPSEEK3] = CUT(SPLIT("\\\\p{N}{1,3}") "," SPLIT(KANA) "," SPLIT(DEEPSEEK3)),
    [WOQ_PRE_TEKKEN] = CUT(SPLIT(TEKKEN)),
    [WOQ_PRE_GPT4O] = CUT(SPLIT(GPT4O)),
    [WOQ_PRE_SEED] = CUT(SPLIT(SEED)),
};

/* The first name of a kind is the one that is written. */
static const struct woq_pre_name names[] = {
    { "llama-bpe", WOQ_PRE_LLAMA3, true, true, false },
    { "llama3", WOQ_PRE_LLAMA3, true, true, false },
    { "llama-v3", WOQ_PRE_LLAMA3, true, true, false },
    { "falcon3", WOQ_PRE_LLAMA3, true, true, false },
    { "falcon-h1", WOQ_PRE_LLAMA3, true, true, false },
    { "pixtral", WOQ_PRE_LLAMA3, true, true, false },
    { "midm-2.0", WOQ_PRE_LLAMA3, true, true, false },
    { "lfm2", WOQ_PRE_LLAMA3, true, true, false },
    { "jina-v5-nano", WOQ_PRE_LLAMA3, true, true, false },
    { "dbrx", WOQ_PRE_LLAMA3, false, false, false },
    { "smaug-bpe", WOQ_PRE_LLAMA3, false, false, false },
    { "glm4", WOQ_PRE_LLAMA3, false, false, false },
    { "chatglm-bpe", WOQ_PRE_LLAMA3, false, false, false },
    { "gpt-2", WOQ_PRE_GPT2, false, false, false },
    { "phi-2", WOQ_PRE_GPT2, false, false, false },
    { "mpt", WOQ_PRE_GPT2, false, false, false },
    { "olmo", WOQ_PRE_GPT2, false, false, false },
    { "jais", WOQ_PRE_GPT2, false, false, false },
    { "exaone4", WOQ_PRE_GPT2, false, false, false },
    { "gigachat", WOQ_PRE_GPT2, false, false, false },
    { "mellum", WOQ_PRE_GPT2, false, false, false },
    { "modern-bert", WOQ_PRE_GPT2, false, false, false },
    { "a.x-4.0", WOQ_PRE_GPT2, false, false, false },
    { "trillion", WOQ_PRE_GPT2, false, false, false },
    { "granite-docling", WOQ_PRE_GPT2, false, false, false },
    { "jina-es", WOQ_PRE_GPT2, false, false, false },
    { "jina-de", WOQ_PRE_GPT2, false, false, false },
    { "jina-v2-es", WOQ_PRE_GPT2, false, false, false },
    { "jina-v2-de", WOQ_PRE_GPT2, false, false, false },
    { "jina-v1-en", WOQ_PRE_GPT2, false, false, false },
    { "jina-v2-code", WOQ_PRE_GPT2, false, false, false },
    { "roberta-bpe", WOQ_PRE_GPT2, false, false, false },
    { "qwen2", WOQ_PRE_QWEN2, false, false, true },
    { "deepseek-r1-qwen", WOQ_PRE_QWEN2, false, false, true },
    { "kormo", WOQ_PRE_QWEN2, false, false, false },
    { "f2llmv2", WOQ_PRE_QWEN2, false, false, false },
    { "megrez", WOQ_PRE_QWEN2, false, false, false },
    { "stablelm2", WOQ_PRE_QWEN2, false, false, false },
    { "hunyuan", WOQ_PRE_QWEN2, false, false, false },
    { "solar-open", WOQ_PRE_QWEN2, false, false, false },
    { "grok-2", WOQ_PRE_QWEN2, false, false, false },
    { "qwen35", WOQ_PRE_QWEN35, false, false, false },
    { "smollm", WOQ_PRE_SMOLLM, false, false, false },
    { "starcoder", WOQ_PRE_SMOLLM, false, false, false },
    { "refact", WOQ_PRE_SMOLLM, false, false, false },
    { "command-r", WOQ_PRE_SMOLLM, false, false, false },
    { "codeshell", WOQ_PRE_SMOLLM, false, false, false },
    { "exaone", WOQ_PRE_SMOLLM, false, false, false },
    { "minerva-7b", WOQ_PRE_SMOLLM, false, false, false },
    { "falcon", WOQ_PRE_FALCON, false, false, false },
    { "default", WOQ_PRE_DEFAULT, false, false, false },
    { "bloom", WOQ_PRE_BLOOM, false, false, false },
    { "gpt3-finnish", WOQ_PRE_BLOOM, false, false, false },
    { "poro-chat", WOQ_PRE_BLOOM, false, false, false },
    { "viking", WOQ_PRE_VIKING, false, false, false },
    { "deepseek-llm", WOQ_PRE_DEEPSEEK_LLM, false, false, false },
    { "deepseek-coder", WOQ_PRE_DEEPSEEK_CODER, false, false, false },
    { "deepseek-v3", WOQ_PRE_DEEPSEEK3, false, false, false },
    { "hunyuan-dense", WOQ_PRE_DEEPSEEK3, false, false, false },
    { "joyai-llm", WOQ_PRE_DEEPSEEK3, false, false, false },
    { "tekken", WOQ_PRE_TEKKEN, true, true, false },
    { "gpt-4o", WOQ_PRE_GPT4O, false, false, false },
    { "llama4", WOQ_PRE_GPT4O, false, false, false },
    { "kanana2", WOQ_PRE_GPT4O, false, false, false },
    { "minimax-m2", WOQ_PRE_GPT4O, false, false, false },
    { "seed-coder", WOQ_PRE_SEED, false, false, false },
};
/* clang-format on */

const char *woq_pre_json(enum woq_pre pre)
{
    return pre_json[pre];
}

const struct woq_pre_name *woq_pre_find(const char *name)
{
    if (!name)
        name = "default";
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(names[i].name, name))
            return &names[i];
    return NULL;
}

const char *woq_pre_name_of(enum woq_pre pre, bool ignore_merges)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].pre == pre && names[i].ignore_merges == ignore_merges)
            return names[i].name;
    return NULL;
}
