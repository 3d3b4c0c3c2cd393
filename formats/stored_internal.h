/* stored_internal.h -- between what collects the tensors of files (stored.c, stored_folder.c) and
 * the parsers of one file (safetensors.c, torch.c). */
#ifndef WOQ_STORED_INTERNAL_H
#define WOQ_STORED_INTERNAL_H
#include "safetensors.h"

#include <woq/json.h>

/* Makes room for n more tensors. */
int woq_st_reserve(struct woq_st *st, size_t n, struct woq_error *err);
/* Appends a zeroed tensor of the last shard with a copy of `name`; NULL and err on failure. There
 * must be room. */
struct woq_st_tensor *woq_st_add(struct woq_st *st, const char *name, size_t name_bytes,
                                 struct woq_error *err);

/* Append the tensors of one file, views into its bytes. */
int woq_st_parse_safetensors(struct woq_st *st, const uint8_t *data, size_t bytes,
                             struct woq_error *err);
int woq_st_parse_torch(struct woq_st *st, const uint8_t *data, size_t bytes,
                       const struct woq_st_opts *opts, struct woq_error *err);

/* Maps one more file and appends its tensors; `sort` once all are there, which finds doubles. */
int woq_st_take_shard(struct woq_st *st, const char *path, const struct woq_st_opts *opts,
                      struct woq_error *err);
int woq_st_sort(struct woq_st *st, struct woq_error *err);

#endif
