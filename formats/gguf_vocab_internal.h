/* gguf_vocab_internal.h -- the pre-tokenizers that both directions know. */
#ifndef WOQ_GGUF_VOCAB_INTERNAL_H
#define WOQ_GGUF_VOCAB_INTERNAL_H

enum woq_pre {
    WOQ_PRE_GPT2,
    WOQ_PRE_LLAMA3,
    WOQ_PRE_QWEN2,
    WOQ_PRE_SMOLLM,
    WOQ_PRE_DEFAULT,
    WOQ_N_PRE
};
/* The "pre_tokenizer" of tokenizer.json, as JSON text. */
const char *woq_pre_json(enum woq_pre pre);

#endif
