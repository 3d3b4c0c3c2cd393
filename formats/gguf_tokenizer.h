/* gguf_tokenizer.h -- the vocabulary keys of a GGUF file as a model's own tokenizer file. */
#ifndef WOQ_GGUF_TOKENIZER_H
#define WOQ_GGUF_TOKENIZER_H
#include <formats/gguf.h>

/* Appends the contents of *name (tokenizer.json or tokenizer.model) and tokenizer_config.json.
 * WOQ_EUNSUPPORTED with a reason where the file has no vocabulary, or one of a kind that is not
 * known here (gguf_vocab.h). */
int woq_gguf_tokenizer(const struct woq_gguf *g, const char **name, struct woq_str *tokenizer,
                       struct woq_str *tokenizer_config, struct woq_error *err);

#endif
