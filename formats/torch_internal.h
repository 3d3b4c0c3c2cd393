/* torch_internal.h -- between the reader of PyTorch's files (torch.c) and the form that HQQ has of
 * its own (torch_hqq.c). */
#ifndef WOQ_TORCH_INTERNAL_H
#define WOQ_TORCH_INTERNAL_H
#include "pickle.h"
#include "stored_internal.h"
#include "zip.h"

extern const char woq_torch_damaged[]; /* a hint */

/* Fails unless `key` can be the name of a tensor. */
int woq_torch_key(const struct woq_pickle_value *key, struct woq_error *err);
/* Where the elements of a tensor are that has its name; checked against the archive. */
int woq_torch_place(struct woq_st_tensor *t, const struct woq_pickle_tensor *p,
                    const struct woq_zip *z, struct woq_error *err);

/* Linears of HQQ, by the name of their codes. */
bool woq_torch_is_hqq(const struct woq_pickle_value *root);
/* Appends all values that can be tensors. */
int woq_torch_take_hqq(struct woq_st *st, const struct woq_pickle *p,
                       const struct woq_pickle_value *root, const struct woq_zip *z,
                       struct woq_error *err);

#endif
