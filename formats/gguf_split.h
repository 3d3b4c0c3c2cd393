/* gguf_split.h -- a GGUF model in several files, PREFIX-00001-of-0000N.gguf (formats.md 3.4): the
 * first has all keys, each has some tensors and tells its place in split.no and split.count. */
#ifndef WOQ_GGUF_SPLIT_H
#define WOQ_GGUF_SPLIT_H
#include <formats/gguf.h>

/* Gives a first part the tensors of the others, which lie beside it and are mapped; a model in one
 * file stays as it is. `path` is where `g` was read from, NULL: memory, which has no neighbours.
 * Checks that every part is there once, in its place, and that they have as many tensors as the
 * first one says. After a failure `g` is still to be released. */
int woq_gguf_add_parts(struct woq_gguf *g, const char *path, struct woq_error *err);

#endif
