/* gen_internal.h -- what gen.c and gen_values.c share. */
#ifndef WOQ_GEN_INTERNAL_H
#define WOQ_GEN_INTERNAL_H
#include <woq/gen.h>

/* Adds array `name` to f from DTYPE[[SHAPE]]:VALUES. */
int woq_gen_array(struct woq_frame *f, const char *name, const char *text, struct woq_error *err);

#endif
