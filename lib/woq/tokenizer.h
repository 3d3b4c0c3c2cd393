/* tokenizer.h -- text to ids and back: tokenizer.json with BPE or Unigram, SentencePiece models,
 * tiktoken files (formats.md 6). */
#ifndef WOQ_TOKENIZER_H
#define WOQ_TOKENIZER_H
#include <woq/json.h>
#include <woq/util.h>

struct woq_tokenizer;
struct woq_ids {
    uint32_t *ids;
    size_t n, cap;
};
void woq_ids_release(struct woq_ids *ids);
int woq_ids_push(struct woq_ids *ids, uint32_t id, struct woq_error *err);

/* From the bytes of tokenizer.json, of a SentencePiece model or a tiktoken file, which is seen by
 * the content. tokenizer_config.json (NULL if absent) decides BOS/EOS where the class rebuilds its
 * template (formats.md 6.5) and clean-up at decode; for the other two also added tokens. */
int woq_tokenizer_open(struct woq_tokenizer **t, const char *data, size_t bytes,
                       const char *config_json, size_t config_bytes, struct woq_error *err);
/* Bytes of one of a model's files by its name, NULL if there is none; valid until the tokenizer is
 * open. */
typedef const char *woq_tokenizer_file(void *ctx, const char *name, size_t *bytes);
/* The same from whatever files a model has: tokenizer.json, else tokenizer.model, spiece.model or
 * qwen.tiktoken; with tokenizer_config.json and added_tokens.json. WOQ_ITEM: none of them. */
int woq_tokenizer_from_files(struct woq_tokenizer **t, woq_tokenizer_file *file, void *ctx,
                             struct woq_error *err);
/* Can these bytes begin a file that woq_tokenizer_open takes? */
bool woq_tokenizer_is(const char *data, size_t bytes);
void woq_tokenizer_close(struct woq_tokenizer *t);

/* Appends to *out. specials: what the template adds (BOS ...). Text is any bytes; invalid UTF-8 is
 * an error that names the byte. */
int woq_tokenizer_encode(const struct woq_tokenizer *t, const char *text, size_t bytes,
                         bool specials, struct woq_ids *out, struct woq_error *err);
/* Text of ids into *out (appended). An id beyond the vocabulary is an error. */
int woq_tokenizer_decode(const struct woq_tokenizer *t, const uint32_t *ids, size_t n,
                         bool skip_special, struct woq_str *out, struct woq_error *err);
size_t woq_tokenizer_size(const struct woq_tokenizer *t); /* highest id + 1 */
/* Id of a token text, -1 if none. bos/eos: -1 if none. add_bos: does the template prepend BOS? */
long woq_tokenizer_id(const struct woq_tokenizer *t, const char *token);
long woq_tokenizer_bos(const struct woq_tokenizer *t);
long woq_tokenizer_eos(const struct woq_tokenizer *t);
bool woq_tokenizer_adds_bos(const struct woq_tokenizer *t);

#endif
