/* folder_layout.c -- see folder_layout.h. */
#include <formats/folder_layout.h>

#include <string.h>
#include <woq/threads.h>

enum { ITEM_ROWS = 64 };

bool woq_layout_differs(const struct woq_config *c, const char *name, struct woq_place *p)
{
    char stack[256];

    return c->arch && woq_arch_place(c->arch, name, p) &&
           (woq_arch_is_conv1d(c->arch, p) || woq_config_stack_name(c, p, stack, sizeof stack));
}

struct turn {
    const uint8_t *src;
    uint8_t *dst;
    size_t rows, cols, width; /* of the source */
};

static void turn_rows(void *ctx, size_t item, int thread)
{
    const struct turn *j = ctx;
    const size_t end = (item + 1) * ITEM_ROWS < j->cols ? (item + 1) * ITEM_ROWS : j->cols;

    (void)thread;
    for (size_t r = 0; r < j->rows; r++)
        for (size_t c = item * ITEM_ROWS; c < end; c++)
            memcpy(j->dst + (c * j->rows + r) * j->width, j->src + (r * j->cols + c) * j->width,
                   j->width);
}

static int which_stack(const struct woq_config *c, const struct woq_place *p)
{
    return c->arch->stacks[1].role == p->role;
}

/* Expert p->index to its place; all of them out when the last one came. */
static int stack(struct woq_layout *l, struct woq_st_writer *st, const struct woq_config *c,
                 const struct woq_place *p, const char *name, enum woq_dtype dtype, unsigned n_dims,
                 const uint64_t *shape, const void *data, struct woq_error *err)
{
    struct woq_stack_buf *s = &l->stacks[which_stack(c, p)][p->bias];
    const uint64_t all[3] = { c->n_experts, shape[0], n_dims > 1 ? shape[1] : 0 };
    const size_t bytes = (size_t)(all[1] * (n_dims > 1 ? all[2] : 1)) * woq_dtype_bytes(dtype);
    size_t total;
    uint8_t *dst;

    if (!woq_mul_size(bytes, c->n_experts, &total))
        return woq_fail_nomem(err, SIZE_MAX);
    if (p->index != s->n_seen)
        return woq_fail(err, WOQ_EDATA, "experts come in order, as woq-extract sends them",
                        "expert %zu comes where expert %zu is due", p->index, s->n_seen);
    if (!(dst = woq_buf_need(&s->buf, total, err)))
        return WOQ_ENOMEM;
    memcpy(dst + p->index * bytes, data, bytes);
    if (++s->n_seen < c->n_experts)
        return WOQ_OK;
    s->n_seen = 0;
    return woq_st_put(st, name, dtype, n_dims + 1, all, dst, err);
}

int woq_layout_put(struct woq_layout *l, struct woq_st_writer *st, const struct woq_config *c,
                   const struct woq_place *p, const char *name, enum woq_dtype dtype,
                   unsigned n_dims, const uint64_t shape[2], const void *data,
                   struct woq_error *err)
{
    uint64_t there[2] = { shape[0], n_dims > 1 ? shape[1] : 0 };
    char stack_name[256];

    if (n_dims == 2 && woq_arch_is_conv1d(c->arch, p)) {
        struct turn j = { .src = data,
                          .rows = (size_t)shape[0],
                          .cols = (size_t)shape[1],
                          .width = woq_dtype_bytes(dtype) };

        if (!(j.dst = woq_buf_need(&l->turned, j.rows * j.cols * j.width, err)))
            return WOQ_ENOMEM;
        woq_parallel((j.cols + ITEM_ROWS - 1) / ITEM_ROWS, turn_rows, &j);
        there[0] = shape[1];
        there[1] = shape[0];
        data = j.dst;
    }
    if (woq_config_stack_name(c, p, stack_name, sizeof stack_name))
        return stack(l, st, c, p, stack_name, dtype, n_dims, there, data, err);
    return woq_st_put(st, name, dtype, n_dims, there, data, err);
}

int woq_layout_finish(const struct woq_layout *l, struct woq_error *err)
{
    for (int i = 0; i < 4; i++)
        if (l->stacks[i / 2][i % 2].n_seen)
            return woq_fail(err, WOQ_EDATA, "was the stream cut with woq-head or woq-part?",
                            "a block has only %zu of its experts", l->stacks[i / 2][i % 2].n_seen);
    return WOQ_OK;
}

void woq_layout_release(struct woq_layout *l)
{
    for (int i = 0; i < 4; i++)
        woq_buf_release(&l->stacks[i / 2][i % 2].buf);
    woq_buf_release(&l->turned);
}
