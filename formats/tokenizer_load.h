/* tokenizer_load.h -- the tokenizer of whatever a user calls a model. */
#ifndef WOQ_TOKENIZER_LOAD_H
#define WOQ_TOKENIZER_LOAD_H
#include <woq/chat.h>
#include <woq/tokenizer.h>

/* path: a tokenizer.json, tokenizer.model or tiktoken file, a folder that holds one (no weights are
 * needed), a stream in a file, or any checkpoint that woq_source_open takes. By content, not by
 * name. */
int woq_tokenizer_load(struct woq_tokenizer **t, const char *path, struct woq_error *err);
/* With the chat template that lies beside it or in it; both or none. */
int woq_chat_load(struct woq_chat **c, struct woq_tokenizer **t, const char *path,
                  const struct woq_chat_options *o, struct woq_error *err);

#endif
