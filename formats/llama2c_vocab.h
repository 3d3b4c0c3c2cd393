/* llama2c_vocab.h -- llama2.c's tokenizer.bin. */
#ifndef WOQ_LLAMA2C_VOCAB_H
#define WOQ_LLAMA2C_VOCAB_H
#include <woq/util.h>

/* Does it begin as such a file does? */
bool woq_llama2c_is_vocab(const char *data, size_t bytes);
/* Appends the same vocabulary as a SentencePiece model (tokenizer.model). */
int woq_llama2c_vocab(struct woq_str *model, const char *data, size_t bytes, struct woq_error *err);

#endif
