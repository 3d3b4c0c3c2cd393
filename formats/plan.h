/* plan.h -- the tensors of a source in the order of a stream, checked against the architecture:
 * every tensor that the config asks for is there with its shape, nothing is there twice. */
#ifndef WOQ_PLAN_H
#define WOQ_PLAN_H
#include <formats/source.h>
#include <woq/arch.h>

struct woq_plan_step {
    size_t item; /* of the source */
    struct woq_place place;
};

struct woq_plan {
    struct woq_config config;
    struct woq_plan_step *steps; /* stem, blocks, head; as woq_place_compare has it */
    size_t n_steps;
    size_t n_unknown;    /* tensors without a role; they come last */
    const char *unknown; /* the first of them */
    size_t n_ignored;    /* left out: buffers such as rotary_emb.inv_freq, a head that is tied */
};

/* Without `check` what is there is only sorted: shapes and holes do not matter (--list). */
int woq_plan_init(struct woq_plan *p, const struct woq_source *s, bool check,
                  struct woq_error *err);
/* Keeps the steps whose tensor's name matches; an error if none does. */
int woq_plan_match(struct woq_plan *p, const struct woq_source *s, const char *glob,
                   struct woq_error *err);
void woq_plan_release(struct woq_plan *p);

/* "576x1536" into buf; empty for a scalar. */
void woq_shape_text(char *buf, size_t cap, unsigned n_dims, const uint64_t *shape);

#endif
