/* quantizer.c -- see the header. */
#include <woq/quantizer.h>

/* The weight is replaced: what described it no longer holds. */
static int replace(struct woq_quantizer *q, struct woq_filter *w, const struct woq_frame *f,
                   const struct woq_scheme *s)
{
    int rc;

    q->note.type[0] = 0;
    if (q->quantize(q, f, s, &w->err) < 0)
        return woq_filter_at(w, f);
    q->n_quantized++;
    rc = woq_side_settle(&q->side, w, f, !q->keep_side);
    if (rc == WOQ_OK && q->note.type[0])
        rc = woq_filter_put(w, &q->note);
    return rc ? rc : woq_filter_put(w, &q->out);
}

static int pass(struct woq_quantizer *q, struct woq_filter *w, struct woq_frame *f)
{
    int rc;

    if (!woq_frame_is_tensor(f)) {
        rc = woq_side_flush(&q->side, w);
        return rc ? rc : woq_filter_put(w, f);
    }
    q->n_passed++;
    if (q->pass && q->pass(q, f, &w->err) < 0)
        return woq_filter_at(w, f);
    rc = woq_side_settle(&q->side, w, f, false);
    return rc ? rc : woq_filter_put(w, f);
}

int woq_quantizer_take(struct woq_quantizer *q, struct woq_filter *w, struct woq_frame *f)
{
    struct woq_scheme s;
    int rc;

    if (woq_side_is(f))
        return woq_side_hold(&q->side, f, &w->err) ? woq_filter_at(w, f) : WOQ_OK;
    rc = woq_scheme_choose(&s, f, q->defaults, q->match, &w->err);
    if (rc < 0)
        return woq_filter_at(w, f);
    return rc == WOQ_ITEM ? replace(q, w, f, &s) : pass(q, w, f);
}

int woq_quantizer_close(struct woq_quantizer *q, struct woq_filter *w, int rc)
{
    if (rc == WOQ_OK)
        rc = woq_side_flush(&q->side, w);
    if (rc == WOQ_OK && q->n_quantized == 0 && q->n_passed)
        woq_filter_note(w, "no weight was quantized: none had a linear role or a scheme%s",
                        q->match->n ? " and matched" : "");
    woq_side_release(&q->side);
    woq_frame_release(&q->out);
    woq_frame_release(&q->note);
    woq_buf_release(&q->buf);
    return rc;
}
