/* quantizer.h -- what the filters that quantize weights share: which frames are theirs, what
 * becomes of the frames that describe a weight, what stands in its place.
 *
 *     struct woq_quantizer q = { .defaults = &scheme, .match = &match, .quantize = quantize };
 *
 *     while ((rc = woq_filter_next(&w, &f)) > 0)
 *         if ((rc = woq_quantizer_take(&q, &w, f)) < 0)
 *             break;
 *     rc = woq_quantizer_close(&q, &w, rc);
 *     return woq_filter_close(&w, rc);
 *
 * A new quantizer is an option table and one callback. */
#ifndef WOQ_QUANTIZER_H
#define WOQ_QUANTIZER_H
#include <woq/quant.h>
#include <woq/side.h>

struct woq_quantizer {
    const struct woq_scheme *defaults; /* of the options; the meta of a weight overrides them */
    const struct woq_list *match;      /* globs of names; none = every linear weight */
    void *ctx;                         /* the filter's own */
    bool keep_side;                    /* frames that describe a quantized weight go on, too */
    /* Fills q->out with the QTEN that replaces the weight `f`, and, if a person should know how it
     * went, begins q->note, which goes before it. q->side has what describes the weight; q->buf is
     * free to use. What fails is said of this frame. */
    int (*quantize)(struct woq_quantizer *q, const struct woq_frame *f, const struct woq_scheme *s,
                    struct woq_error *err);
    /* A tensor that stays as it is, before it goes on with the frames that describe it. May be
     * NULL. */
    int (*pass)(struct woq_quantizer *q, const struct woq_frame *f, struct woq_error *err);
    /* What the callbacks work with. */
    struct woq_side side;
    struct woq_frame out, note;
    struct woq_buf buf;
    size_t n_quantized, n_passed; /* tensors */
};

/* One frame of the input: holds it, replaces it or puts it. Errors name its place. */
int woq_quantizer_take(struct woq_quantizer *q, struct woq_filter *w, struct woq_frame *f);
/* rc == 0: puts what is still held, and notes when no tensor was quantized. Releases all. Returns
 * rc or what went wrong. */
int woq_quantizer_close(struct woq_quantizer *q, struct woq_filter *w, int rc);

#endif
