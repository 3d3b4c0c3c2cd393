/* gguf_tokenizer.h -- the vocabulary keys of a GGUF file as tokenizer.json. */
#ifndef WOQ_GGUF_TOKENIZER_H
#define WOQ_GGUF_TOKENIZER_H
#include <formats/gguf.h>

/* Appends the texts of tokenizer.json and tokenizer_config.json. WOQ_EUNSUPPORTED with a reason
 * where the file has no vocabulary, or one that tokenizer.json can't say here (gguf_vocab.h). */
int woq_gguf_tokenizer(const struct woq_gguf *g, struct woq_str *tokenizer,
                       struct woq_str *tokenizer_config, struct woq_error *err);

#endif
