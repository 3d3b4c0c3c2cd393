/* moments_stage.c -- sums in the middle of a stream. */
#include <woq/moments_stage.h>

int woq_moments_flush(struct woq_moments_stage *s, struct woq_filter *w)
{
    int rc;

    if (woq_moments_is_empty(&s->sum))
        return WOQ_OK;
    rc = woq_moments_emit(&s->sum, s->kind, &s->out, &w->err);
    if (rc == WOQ_OK)
        rc = woq_filter_put(w, &s->out);
    woq_moments_clear(&s->sum);
    return rc;
}

int woq_moments_pass(struct woq_moments_stage *s, struct woq_filter *w, struct woq_frame *f)
{
    const bool acts = woq_frame_is(f, "acts");
    int rc = WOQ_OK;

    if (!acts || !woq_moments_match(&s->sum, f))
        rc = woq_moments_flush(s, w);
    if (rc < 0 || !acts)
        return rc < 0 ? rc : woq_filter_put(w, f);
    rc = woq_moments_take(&s->sum, s->kind, f, &w->err);
    return rc < 0 ? woq_filter_at(w, f) : WOQ_OK;
}

void woq_moments_stage_release(struct woq_moments_stage *s)
{
    woq_moments_release(&s->sum);
    woq_frame_release(&s->out);
}
