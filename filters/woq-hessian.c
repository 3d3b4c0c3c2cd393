/* woq-hessian -- sum activations into Hessians, H = sum of x x^T over tokens.
 *
 * Reads `acts` chunks of a group of linears and puts one `hess` frame in their place, right before
 * the weights of the group. Sums of several hosts are added with --merge: the token ranges of the
 * parts must not overlap. GPTQ needs H up to a factor only (Frantar et al. 2022, arXiv:2210.17323),
 * so it is stored as the plain sum. */
#include <woq/moments_stage.h>

static struct woq_list merge;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_LIST, 'm', "merge", "FILE", &merge, false,
      "add the hess frames of FILE, a stream of the same model and other tokens; may be repeated" },
    { WOQ_OPT_END },
};
/* clang-format on */

struct part {
    struct woq_reader *in;
    uint64_t weights; /* hash of the weights so far */
};

struct work {
    struct woq_moments_stage stage;
    struct part *parts; /* of --merge */
    uint64_t weights;   /* hash of the main stream's so far */
};

static const char same_run[] = "merge files of one model, made with the same options";

/* Hessians travel with the weights that they are for: those must be the same in every part. */
static void count_weight(uint64_t *hash, const struct woq_frame *f)
{
    if (!woq_frame_is(f, "TENS"))
        return;
    for (size_t i = 0; i < f->n_arrays; i++) {
        const uint64_t pair[2] = { *hash, woq_hash64(f->arrays[i].data, f->arrays[i].bytes) };

        *hash = woq_hash64(pair, sizeof pair);
    }
}

/* The next hess frame of a part: the parts keep the order of the main stream. */
static int next_hess(struct part *part, struct woq_frame **f, struct woq_error *err)
{
    int rc;

    while ((rc = woq_reader_next(part->in, f, err)) > 0 && !woq_frame_is(*f, "hess"))
        count_weight(&part->weights, *f);
    if (rc == WOQ_OK)
        return woq_fail(err, WOQ_EDATA, same_run, "%s has fewer hess frames than the main stream",
                        woq_reader_name(part->in));
    return rc;
}

static int check_weights(const struct work *k, const struct part *p, const struct woq_frame *f,
                         struct woq_error *err)
{
    if (k->weights == p->weights)
        return WOQ_OK;
    if (!f)
        return woq_fail(err, WOQ_EDATA, same_run,
                        "weights differ from those of the main stream after the last Hessian");
    return woq_fail(err, WOQ_EDATA, same_run,
                    "weights differ from those of the main stream before block %lld, group '%s'",
                    (long long)woq_json_get_int(f->meta, "block", -1),
                    woq_json_get_str(f->meta, "group"));
}

static int add_parts(struct work *k, struct woq_filter *w, const struct woq_frame *f)
{
    int rc = woq_moments_flush(&k->stage, w); /* of acts frames before */

    if (rc == WOQ_OK)
        rc = woq_moments_merge(&k->stage.sum, f, &w->err);
    if (rc < 0)
        return woq_filter_at(w, f);
    for (size_t i = 0; i < merge.n; i++) {
        struct woq_frame *g;

        rc = next_hess(&k->parts[i], &g, &w->err);
        if (rc > 0)
            rc = woq_moments_merge(&k->stage.sum, g, &w->err);
        if (rc >= 0)
            rc = check_weights(k, &k->parts[i], f, &w->err);
        if (rc < 0)
            return woq_error_at(&w->err, "%s", merge.items[i]);
    }
    return woq_moments_flush(&k->stage, w);
}

static int open_parts(struct work *k, struct woq_filter *w)
{
    k->parts = calloc(merge.n + 1, sizeof *k->parts);
    if (!k->parts)
        return woq_fail_nomem(&w->err, merge.n);
    for (size_t i = 0; i < merge.n; i++) {
        const int rc = woq_filter_input(w, merge.items[i], NULL, &k->parts[i].in);

        if (rc < 0)
            return rc;
    }
    return WOQ_OK;
}

/* After the last frame: the parts must be at their ends too. */
static int close_parts(struct work *k, struct woq_filter *w, int rc)
{
    for (size_t i = 0; k->parts && i < merge.n; i++) {
        struct woq_frame *f;
        int more = 0;

        while (rc == WOQ_OK && (more = woq_reader_next(k->parts[i].in, &f, &w->err)) > 0) {
            count_weight(&k->parts[i].weights, f);
            if (woq_frame_is(f, "hess"))
                rc = woq_fail(&w->err, WOQ_EDATA, NULL,
                              "%s has more hess frames than the main stream", merge.items[i]);
        }
        if (rc == WOQ_OK)
            rc = more;
        if (rc == WOQ_OK && (rc = check_weights(k, &k->parts[i], NULL, &w->err)) < 0)
            woq_error_at(&w->err, "%s", merge.items[i]);
        woq_reader_close(k->parts[i].in);
    }
    free(k->parts);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-hessian",
        .summary = "sum activations into Hessians",
        .opts = opts,
        .examples =
            "  woq-extract M | woq-calib --text T --through 'woq-hessian | woq-gptq' | ...\n"
            "  woq-hessian --merge b.wts --merge c.wts <a.wts >all.wts\n",
    };
    struct woq_filter w;
    struct woq_frame *f;
    struct work k = { .stage.kind = WOQ_MOMENT_HESS };
    int rc;

    woq_filter_open(&w, &prog, argc, argv);
    rc = open_parts(&k, &w);
    while (rc == WOQ_OK && (rc = woq_filter_next(&w, &f)) > 0) {
        if (merge.n)
            count_weight(&k.weights, f);
        rc = merge.n && woq_frame_is(f, "hess") ? add_parts(&k, &w, f)
                                                : woq_moments_pass(&k.stage, &w, f);
    }
    if (rc == WOQ_OK)
        rc = woq_moments_flush(&k.stage, &w);
    rc = close_parts(&k, &w, rc);
    woq_moments_stage_release(&k.stage);
    return woq_filter_close(&w, rc);
}
