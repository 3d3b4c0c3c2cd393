/* quant_internal.h -- what the files about QTEN frames share. */
#ifndef WOQ_QUANT_INTERNAL_H
#define WOQ_QUANT_INTERNAL_H
#include <woq/quant.h>

/* An optional array: NULL when absent, else checked for its dtype and shape. */
int woq_optional_array(const struct woq_frame *f, const char *name, enum woq_dtype dtype,
                       unsigned n_dims, uint64_t dim0, uint64_t dim1, const void **data,
                       struct woq_error *err);
/* What array `name` ("scale" or "zero", n_rows x n_cols) decodes from, where it says. */
int woq_nested_init(struct woq_nested *n, const struct woq_frame *f, const char *name,
                    size_t n_rows, size_t n_cols, struct woq_error *err);

#endif
