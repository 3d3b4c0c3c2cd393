/* safetensors_source.c -- a source of float tensors that lie in safetensors or in PyTorch's files:
 * each goes to the stream straight from the mapping, but for those that lie in strides. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source.h"

struct state {
    size_t last;        /* item loaded last, or SIZE_MAX */
    struct woq_buf buf; /* a strided one, in order */
};

static int load(struct woq_source *s, size_t item, struct woq_frame *f, struct woq_error *err)
{
    struct state *state = s->priv;
    const struct woq_st_tensor *t = &s->st.tensors[item];

    if (state->last != SIZE_MAX)
        woq_source_done(s, s->st.tensors[state->last].data, s->st.tensors[state->last].bytes);
    state->last = item;
    if (!t->strided)
        woq_source_ahead(s, t->data, t->bytes);
    const void *data = woq_st_rows(t, &state->buf, err);
    if (!data)
        return WOQ_ENOMEM;
    woq_frame_begin(f, "TENS");
    woq_json_set_str(woq_frame_edit(f), "name", t->name);
    if (t->strided) /* not lent: the buffer is used again */
        return woq_frame_add(f, "data", t->dtype, t->n_dims, t->shape, data, err);
    return woq_frame_add_lent(f, "data", t->dtype, t->n_dims, t->shape, data, err);
}

static void close_state(struct woq_source *s)
{
    struct state *state = s->priv;

    woq_buf_release(&state->buf);
    free(state);
    s->priv = NULL;
}

int woq_safetensors_source_init(struct woq_source *s, struct woq_error *err)
{
    struct state *state = calloc(1, sizeof *state);

    if (!state)
        return woq_fail_nomem(err, sizeof *state);
    state->last = SIZE_MAX;
    s->priv = state;
    s->close = close_state;
    s->load = load;
    s->format = s->st.shards[0].format;
    /* Item i is tensor i. */
    for (size_t i = 0; i < s->st.n_tensors; i++)
        if (!woq_source_add_st(s, &s->st.tensors[i], err))
            return WOQ_ENOMEM;
    return WOQ_OK;
}
