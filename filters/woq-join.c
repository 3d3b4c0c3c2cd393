/* woq-join -- put the parts of a model stream together, in order.
 *
 * The one way to concatenate streams: HEAD, sequence numbers and TAIL are made anew. The parts must
 * be all there, in order, and of one model; streams that woq-part did not make are taken too if
 * their blocks follow one another. */
#include <woq/filter.h>
#include <woq/part.h>

static const struct woq_opt opts[] = { { WOQ_OPT_END } };

static int copy(struct woq_filter *w, struct woq_join *j, struct woq_reader *r)
{
    struct woq_frame *f;
    bool takes;
    int rc;

    while ((rc = woq_reader_next(r, &f, &w->err)) > 0) {
        if ((rc = woq_join_takes(j, f, &takes, &w->err)) < 0) {
            woq_error_at(&w->err, "%s: frame %llu %s, byte %llu", woq_reader_name(r),
                         (unsigned long long)f->seq, f->type, (unsigned long long)f->at_byte);
            return rc;
        }
        if (takes && (rc = woq_filter_put(w, f)) < 0)
            return rc;
        if (takes && woq_frame_is(f, "MODL"))
            woq_frame_move(&j->modl, f);
    }
    return rc;
}

/* HEAD is that of the first part, with the totals of the whole. */
static int make_head(struct woq_filter *w)
{
    struct woq_json *head = woq_filter_head(w);
    const struct woq_json *part = woq_json_get(head, "part");

    if (!head)
        return w->err.status;
    if (part)
        woq_json_set(head, "total", woq_json_copy(woq_json_get(part, "total")));
    else if (w->n_operands > 1)
        woq_json_del(head, "total");
    woq_json_del(head, "part");
    return WOQ_OK;
}

static int join_one(struct woq_filter *w, struct woq_join *j, int i)
{
    const struct woq_json *head, *first;
    struct woq_reader *r = NULL;
    int rc = woq_filter_input(w, w->operands[i], NULL, &r);

    if (i == 0)
        w->in = r; /* its HEAD is the output's, and MODL may lie in its mapping */
    if (rc == WOQ_OK)
        rc = woq_reader_head(r, &head, &w->err);
    if (rc == WOQ_OK)
        rc = woq_reader_head(w->in, &first, &w->err);
    if (rc == WOQ_OK && (rc = woq_join_begin(j, head, first, &w->err)) < 0)
        woq_error_at(&w->err, "%s", woq_reader_name(r));
    if (rc == WOQ_OK && i == 0)
        rc = make_head(w);
    if (rc == WOQ_OK)
        rc = copy(w, j, r);
    if (i > 0)
        woq_reader_close(r);
    return rc;
}

static int run(struct woq_filter *w)
{
    struct woq_join j = { .n_inputs = (uint64_t)w->n_operands };
    int rc = WOQ_OK;

    for (int i = 0; i < w->n_operands && rc == WOQ_OK; i++)
        rc = join_one(w, &j, i);
    if (rc == WOQ_OK)
        rc = woq_join_end(&j, &w->err);
    woq_join_release(&j);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = { .name = "woq-join",
                                             .summary = "put the parts of a model together",
                                             .opts = opts,
                                             .flags = WOQ_OPENS,
                                             .operands = "PART...",
                                             .min_operands = 1,
                                             .max_operands = 1 << 20,
                                             .examples =
                                                 "  woq-join 1.wts 2.wts 3.wts >whole.wts\n" };
    struct woq_filter w;

    woq_filter_open(&w, &prog, argc, argv);
    return woq_filter_close(&w, run(&w));
}
