/* gguf_vocab_internal.h -- the pre-tokenizers that both directions know. */
#ifndef WOQ_GGUF_VOCAB_INTERNAL_H
#define WOQ_GGUF_VOCAB_INTERNAL_H
#include <formats/gguf_vocab.h>
#include <woq/tokenizer.h>

enum woq_pre {
    WOQ_PRE_GPT2,
    WOQ_PRE_LLAMA3,
    WOQ_PRE_QWEN2,
    WOQ_PRE_SMOLLM,
    WOQ_PRE_DEFAULT,
    WOQ_PRE_QWEN35,
    WOQ_PRE_FALCON,
    WOQ_PRE_BLOOM,
    WOQ_PRE_VIKING,
    WOQ_PRE_DEEPSEEK_LLM,
    WOQ_PRE_DEEPSEEK_CODER,
    WOQ_PRE_DEEPSEEK3,
    WOQ_PRE_TEKKEN,
    WOQ_PRE_GPT4O,
    WOQ_PRE_SEED,
    WOQ_N_PRE
};
void woq_gguf_vocab_init(struct woq_gguf_vocab *v);
/* A malloc'ed copy in place of *out. */
int woq_gguf_vocab_copy(char **out, const char *text, struct woq_error *err);
/* A token of tokenizer_config.json (text or object), else an id (or list of ids) of config.json. */
long woq_gguf_vocab_id(const struct woq_tokenizer *t, const struct woq_json *tokenizer_config,
                       const struct woq_json *config, const char *token_key, const char *id_key);
/* Rows of the embedding that config.json tells; 0: it does not. */
int64_t woq_gguf_vocab_rows(const struct woq_json *config);
/* add_bos and add_eos from what the tokenizer puts around an empty text. */
int woq_gguf_vocab_template(struct woq_gguf_vocab *v, const struct woq_tokenizer *t,
                            struct woq_error *err);

/* The "pre_tokenizer" of tokenizer.json, as JSON text. */
const char *woq_pre_json(enum woq_pre pre);

struct woq_pre_name {
    const char *name;
    enum woq_pre pre;
    bool ignore_merges, add_bos; /* unless the file says otherwise */
    bool nfc;                    /* the family's tokenizer.json has this normalizer */
};
/* NULL as the name means a file that does not say it; NULL comes back for an unknown one. */
const struct woq_pre_name *woq_pre_find(const char *name);
/* A name for it, NULL if there is none. */
const char *woq_pre_name_of(enum woq_pre pre, bool ignore_merges);

#endif
