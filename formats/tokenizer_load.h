/* tokenizer_load.h -- the tokenizer of whatever a user calls a model. */
#ifndef WOQ_TOKENIZER_LOAD_H
#define WOQ_TOKENIZER_LOAD_H
#include <woq/tokenizer.h>

/* path: a tokenizer.json, tokenizer.model or tiktoken file, a folder that holds one (no weights are
 * needed), a stream in a file, or any checkpoint that woq_source_open takes. By content, not by
 * name. */
int woq_tokenizer_load(struct woq_tokenizer **t, const char *path, struct woq_error *err);

#endif
