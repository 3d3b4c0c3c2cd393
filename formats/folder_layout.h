/* folder_layout.h -- tensors that a checkpoint keeps otherwise than a stream does: matrices that
 * are [in, out], experts that lie in one tensor [E, ...]. The mirror of what safetensors_source.c
 * undoes. */
#ifndef WOQ_FOLDER_LAYOUT_H
#define WOQ_FOLDER_LAYOUT_H
#include <formats/safetensors_write.h>
#include <woq/arch.h>

struct woq_layout {
    struct woq_buf turned;
    struct woq_stack_buf { /* of a role: weights, then biases */
        struct woq_buf buf;
        size_t n_seen;
    } stacks[2][2];
};

/* Does this tensor lie otherwise in a folder? c->arch may be NULL. */
bool woq_layout_differs(const struct woq_config *c, const char *name, struct woq_place *p);
/* Writes it, or keeps it until the last expert came: memory for the experts of a block. */
int woq_layout_put(struct woq_layout *l, struct woq_st_writer *st, const struct woq_config *c,
                   const struct woq_place *p, const char *name, enum woq_dtype dtype,
                   unsigned n_dims, const uint64_t shape[2], const void *data,
                   struct woq_error *err);
/* Fails if experts are missing. */
int woq_layout_finish(const struct woq_layout *l, struct woq_error *err);
void woq_layout_release(struct woq_layout *l);

#endif
