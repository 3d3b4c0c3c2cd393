/* gguf_vocab.h -- the vocabulary of a GGUF file and a model's own tokenizer file, each made from
 * the other (formats.md 3.6, 6.7): byte-level BPE ("gpt2" in GGUF's words) and tokenizer.json,
 * SentencePiece ("llama", "t5") and tokenizer.model. */
#ifndef WOQ_GGUF_VOCAB_H
#define WOQ_GGUF_VOCAB_H
#include <woq/json.h>
#include <woq/util.h>

enum woq_gguf_token_type {
    WOQ_GGUF_NORMAL = 1,
    WOQ_GGUF_UNKNOWN = 2,
    WOQ_GGUF_CONTROL = 3,
    WOQ_GGUF_USER_DEFINED = 4,
    WOQ_GGUF_UNUSED = 5,
    WOQ_GGUF_BYTE = 6
};

/* The keys tokenizer.ggml.*: what a file does not say is NULL or -1. */
struct woq_gguf_vocab {
    char **tokens;  /* [n] NUL-terminated UTF-8 */
    int32_t *types; /* [n] enum woq_gguf_token_type; NULL: all normal */
    size_t n;
    char **merges; /* [n_merges] "A B" */
    size_t n_merges;
    float *scores;  /* [n], SentencePiece; NULL: none */
    char *charsmap; /* of "t5": precompiled; NULL: none */
    size_t charsmap_bytes;
    const char *model, *pre; /* "gpt2"; "smollm", "llama-bpe" ... */
    long bos, eos, unk, pad;
    int add_bos, add_eos, add_space_prefix, remove_extra; /* 0, 1, -1 */
    /* [{"name", "template"}], a default first; NULL: none. From a file; to one it comes from
     * woq_modl_chat_list. */
    struct woq_json *chat_templates;
};

/* What chat_template of tokenizer_config.json is: the text of the only one, or the list; borrowed,
 * NULL if there is none. */
const struct woq_json *woq_gguf_vocab_chat(const struct woq_gguf_vocab *v);

/* Texts of tokenizer.json and tokenizer_config.json, appended. WOQ_EUNSUPPORTED for other kinds of
 * vocabulary (SPM, WordPiece, an unknown `pre`): the model can be read without its tokenizer. */
int woq_gguf_vocab_to_json(const struct woq_gguf_vocab *v, struct woq_str *tokenizer,
                           struct woq_str *tokenizer_config, struct woq_error *err);

/* Texts of tokenizer.model and tokenizer_config.json, appended, of "llama" and "t5". */
int woq_gguf_vocab_to_spm(const struct woq_gguf_vocab *v, struct woq_str *model,
                          struct woq_str *tokenizer_config, struct woq_error *err);

/* The same way back, from tokenizer.model; only what a loader of "llama" tokenizes alike. */
int woq_gguf_vocab_from_spm(struct woq_gguf_vocab *v, const char *model, size_t bytes,
                            const char *tokenizer_config, size_t config_bytes,
                            const struct woq_json *config, struct woq_error *err);

/* From tokenizer.json, tokenizer_config.json (NULL if absent) and config.json (NULL if absent; its
 * vocab_size pads the list with unused tokens). Overwrites *v, everything owned but model and pre;
 * release it. WOQ_EUNSUPPORTED, naming it, for what GGUF has no word for. */
int woq_gguf_vocab_from_json(struct woq_gguf_vocab *v, const char *tokenizer, size_t bytes,
                             const char *tokenizer_config, size_t config_bytes,
                             const struct woq_json *config, struct woq_error *err);
/* Frees what from_json made; accepts a zeroed struct. */
void woq_gguf_vocab_release(struct woq_gguf_vocab *v);

#endif
