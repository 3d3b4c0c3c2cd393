/* pickle_internal.h -- between the machine (pickle.c) and what its calls mean (pickle_call.c). */
#ifndef WOQ_PICKLE_INTERNAL_H
#define WOQ_PICKLE_INTERNAL_H
#include "pickle.h"

extern const char woq_pickle_hint[];

/* Row of the table of globals for a module and a name, or -1. */
int woq_pickle_global(const char *module, const char *name);

/* What calling a global with a tuple of arguments gives (REDUCE, NEWOBJ): a new dict, a tensor or
 * one of the arguments; NULL with a message for anything else. */
struct woq_pickle_value *woq_pickle_call(struct woq_pickle *p,
                                         const struct woq_pickle_value *callee,
                                         const struct woq_pickle_value *args,
                                         struct woq_error *err);
/* The storage that a persistent id names (BINPERSID), or NULL. */
struct woq_pickle_value *woq_pickle_persistent(struct woq_pickle *p,
                                               const struct woq_pickle_value *id,
                                               struct woq_error *err);

struct woq_pickle_value *woq_pickle_new(struct woq_pickle *p, enum woq_pickle_kind kind,
                                        struct woq_error *err);
int woq_pickle_append(struct woq_pickle *p, struct woq_pickle_value *seq,
                      struct woq_pickle_value *item, struct woq_error *err);

#endif
