/* tokenizer.h -- text to ids and back: BPE and Unigram of tokenizer.json (formats.md 6.1-6.5). */
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

/* From the bytes of tokenizer.json; tokenizer_config.json (NULL if absent) decides BOS/EOS where
 * the class rebuilds its template (formats.md 6.5) and clean-up at decode. */
int woq_tokenizer_open(struct woq_tokenizer **t, const char *json, size_t bytes,
                       const char *config_json, size_t config_bytes, struct woq_error *err);
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
