/* gguf_keys.h -- the key-value section of a GGUF file from config.json and tokenizer files
 * (formats.md 3.4, 3.6), with exactly the value types that llama.cpp asks for. */
#ifndef WOQ_GGUF_KEYS_H
#define WOQ_GGUF_KEYS_H
#include <woq/arch.h>
#include <woq/frame.h>
#include <woq/util.h>

struct woq_gguf_keys {
    struct woq_str text; /* the entries, one after another */
    uint64_t n;
    size_t file_type_at; /* byte of general.file_type's value, known only at the end */
    size_t n_tokens;     /* 0: written without a vocabulary */
    bool oom;
};

/* Of a config that woq_gguf_arch_check let pass. `name`: general.name. Refuses tokenizers that GGUF
 * has no word for. */
int woq_gguf_keys_init(struct woq_gguf_keys *k, const struct woq_config *c,
                       const struct woq_json *config, const struct woq_frame *modl,
                       const char *name, struct woq_error *err);
/* Its last part: the keys tokenizer.*. */
int woq_gguf_keys_vocab(struct woq_gguf_keys *k, const struct woq_json *config,
                        const struct woq_frame *modl, struct woq_error *err);
/* What llama-quantize records of an importance matrix. */
int woq_gguf_keys_imatrix(struct woq_gguf_keys *k, const char *file, const char *dataset,
                          size_t n_entries, size_t n_chunks, struct woq_error *err);
void woq_gguf_keys_release(struct woq_gguf_keys *k); /* accepts a zeroed struct */

#endif
