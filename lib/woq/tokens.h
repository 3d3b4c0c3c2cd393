/* tokens.h -- texts in, token ids out: what woq-tokens and calibration read. */
#ifndef WOQ_TOKENS_H
#define WOQ_TOKENS_H
#include <woq/tokenizer.h>

/* Calls fn on each text of a file ("-": standard input): the whole file when `key` is NULL, else
 * the string under `key` of each line's JSON object (empty lines are skipped). Stops at the first
 * negative result and returns it. */
typedef int woq_text_fn(void *ctx, const char *text, size_t bytes, struct woq_error *err);
int woq_texts_each(const char *path, const char *key, woq_text_fn *fn, void *ctx,
                   struct woq_error *err);

/* Calls fn on each JSON array of ids in a file, one per line ("-": standard input). */
typedef int woq_ids_fn(void *ctx, const uint32_t *ids, size_t n, struct woq_error *err);
int woq_id_lines_each(const char *path, woq_ids_fn *fn, void *ctx, struct woq_error *err);

/* Starts of n_samples windows of `seqlen` tokens within n_tokens, drawn uniformly and independently
 * (they may overlap) by SplitMix64 from `seed`: the same on every host. Fails when n_tokens <
 * seqlen. */
int woq_sample_starts(size_t *start, size_t n_samples, size_t n_tokens, size_t seqlen,
                      uint64_t seed, struct woq_error *err);
/* Calls fn on each of those windows of ids->ids. */
int woq_samples_each(const struct woq_ids *ids, size_t n_samples, size_t seqlen, uint64_t seed,
                     woq_ids_fn *fn, void *ctx, struct woq_error *err);

/* Calls fn on pieces of `seqlen` ids, the last as long as is left; 0: on all of them at once. */
int woq_pieces_each(const struct woq_ids *ids, size_t seqlen, woq_ids_fn *fn, void *ctx,
                    struct woq_error *err);

/* "[1,2,3]\n" appended. */
int woq_ids_print(struct woq_str *out, const uint32_t *ids, size_t n, struct woq_error *err);

#endif
