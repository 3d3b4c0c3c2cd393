/* pair.c -- two streams merged by the names of their tensors. */
#include <woq/pair.h>

#include <woq/quant.h>

#include <stdlib.h>
#include <string.h>

void woq_pair_init(struct woq_pair *p, struct woq_reader *a, struct woq_reader *b,
                   const char *match)
{
    memset(p, 0, sizeof *p);
    p->side[0].in = a;
    p->side[1].in = b;
    p->match = match;
}

void woq_pair_release(struct woq_pair *p)
{
    for (int s = 0; s < 2; s++) {
        for (size_t i = 0; i < p->side[s].n; i++)
            woq_frame_release(&p->side[s].waiting[i]);
        free(p->side[s].waiting);
        woq_buf_release(&p->buf[s]);
    }
    woq_frame_release(&p->a);
    woq_frame_release(&p->b);
    memset(p, 0, sizeof *p);
}

static bool is_wanted(const struct woq_pair *p, const struct woq_frame *f)
{
    return (woq_frame_is_tensor(f) || woq_frame_is(f, "QTEN")) &&
           woq_name_match(woq_frame_name(f), p->match);
}

static size_t find(const struct woq_pair_side *s, const char *name)
{
    size_t i = 0;

    while (i < s->n && strcmp(woq_frame_name(&s->waiting[i]), name) != 0)
        i++;
    return i;
}

static int push(struct woq_pair_side *s, struct woq_frame *f, struct woq_error *err)
{
    if (find(s, woq_frame_name(f)) < s->n)
        return woq_fail(err, WOQ_EDATA, NULL, "%s: tensor '%s' comes twice", woq_reader_name(s->in),
                        woq_frame_name(f));
    return woq_frames_push(&s->waiting, &s->n, &s->cap, f, err);
}

static void pop(struct woq_frame *dst, struct woq_pair_side *s, size_t i)
{
    woq_frame_move(dst, &s->waiting[i]);
    memmove(&s->waiting[i], &s->waiting[i + 1], (s->n - i - 1) * sizeof *s->waiting);
    memset(&s->waiting[--s->n], 0, sizeof *s->waiting);
}

/* The next tensor of one side: into the result if its partner waits, else it waits itself. */
static int advance(struct woq_pair *p, int which, struct woq_error *err)
{
    struct woq_pair_side *s = &p->side[which], *other = &p->side[!which];
    struct woq_frame *f;
    size_t i;
    int rc;

    while ((rc = woq_reader_next(s->in, &f, err)) > 0) {
        if (!is_wanted(p, f))
            continue;
        if ((i = find(other, woq_frame_name(f))) == other->n)
            return push(s, f, err);
        woq_frame_move(which ? &p->b : &p->a, f);
        pop(which ? &p->a : &p->b, other, i);
        return WOQ_ITEM;
    }
    s->ended = rc == WOQ_OK;
    return rc;
}

int woq_pair_next(struct woq_pair *p, const struct woq_frame **a, const struct woq_frame **b,
                  struct woq_error *err)
{
    int rc;

    *a = &p->a;
    *b = &p->b;
    while (!p->side[0].ended || !p->side[1].ended)
        for (int s = 0; s < 2; s++)
            if (!p->side[s].ended && (rc = advance(p, s, err)) != WOQ_OK)
                return rc;
    if (p->side[0].n) {
        pop(&p->a, &p->side[0], 0);
        *b = NULL;
        return WOQ_ITEM;
    }
    if (p->side[1].n) {
        pop(&p->b, &p->side[1], 0);
        *a = NULL;
        return WOQ_ITEM;
    }
    return WOQ_OK;
}

/* Shapes as the checkpoint has them: of codes or data. */
static bool same_shape(const struct woq_array *x, const struct woq_array *y)
{
    return x && y && x->n_dims == y->n_dims &&
           (!x->n_dims || !memcmp(x->shape, y->shape, x->n_dims * sizeof *x->shape));
}

static int weights(const struct woq_frame *f, const float **data, struct woq_buf *buf,
                   struct woq_error *err)
{
    struct woq_tensor t;
    size_t rows, cols;
    int rc;

    if (woq_frame_is(f, "QTEN"))
        return woq_weight_f32(f, &rows, &cols, data, buf, err);
    if ((rc = woq_frame_view(f, &t, err)) < 0)
        return rc;
    if (t.dtype == WOQ_F32) {
        *data = t.data;
        return WOQ_OK;
    }
    if (!woq_buf_need(buf, t.n_elem * sizeof(float), err))
        return WOQ_ENOMEM;
    woq_to_f32(buf->data, t.data, t.dtype, t.n_elem);
    *data = buf->data;
    return WOQ_OK;
}

int woq_pair_delta(struct woq_pair *p, const struct woq_frame *a, const struct woq_frame *b,
                   bool codes, struct woq_delta *d, size_t *n_elem, bool *comparable,
                   struct woq_error *err)
{
    const bool qa = woq_frame_is(a, "QTEN"), qb = woq_frame_is(b, "QTEN");
    const struct woq_array *x = woq_frame_array(a, qa ? "codes" : "data");
    const struct woq_array *y = woq_frame_array(b, qb ? "codes" : "data");
    const float *wa, *wb;
    int rc;

    *comparable = same_shape(x, y) && (!codes || qa == qb);
    if (!*comparable)
        return WOQ_OK;
    *n_elem = x->n_elem;
    if (codes && qa && x->dtype == WOQ_U8 && y->dtype == WOQ_U8) {
        woq_delta_u8(d, x->data, y->data, x->n_elem);
        d->rel = x->n_elem ? (double)d->n_differ / (double)x->n_elem : 0.0;
        return WOQ_OK;
    }
    if ((rc = weights(a, &wa, &p->buf[0], err)) < 0 || (rc = weights(b, &wb, &p->buf[1], err)) < 0)
        return rc;
    woq_delta_f32(d, wa, wb, x->n_elem);
    return WOQ_OK;
}
