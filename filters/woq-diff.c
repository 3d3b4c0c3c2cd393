/* woq-diff -- how the tensors of stream B differ from those of stream A.
 *
 * A quantized tensor is compared by the weights that it stands for. MODL, markers, statistics and
 * the history are not compared. */
#include <woq/filter.h>
#include <woq/pair.h>

static const char *match = "*";
static double tol;
static bool codes, json;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_F64, 't', "tol", "X", &tol, false,
      "a relative error |B-A|/|A| up to X is no difference", NULL, 0, 1e300 },
    { WOQ_OPT_STR, 'm', "match", "GLOB", &match, false, "only tensors whose name matches GLOB" },
    { WOQ_OPT_FLAG, 0, "codes", NULL, &codes, false,
      "compare the codes of quantized tensors, not the weights; the relative error is then the share "
      "of codes that differ" },
    { WOQ_OPT_FLAG, 'j', "json", NULL, &json, false, "one JSON object per tensor" },
    { WOQ_OPT_END },
};
/* clang-format on */

struct totals {
    size_t n_pairs, n_differ, n_missing, n_extra;
    double worst;
};

static const char *dtype_of(const struct woq_frame *f)
{
    if (woq_frame_is(f, "QTEN"))
        return "quant";
    return woq_dtype_name(f->n_arrays ? f->arrays[0].dtype : WOQ_NO_DTYPE);
}

/* JSON has no infinity: "inf" as text. */
static void set_num(struct woq_json *o, const char *key, double x)
{
    woq_json_set(o, key,
                 isfinite(x) ? woq_json_of_num(x) : woq_json_of_str(x > 0 ? "inf" : "-inf"));
}

static void print_json(const char *name, const char *status, const struct woq_delta *d, size_t n)
{
    struct woq_json *o = woq_json_object();
    char *text;

    woq_json_set_str(o, "name", name);
    woq_json_set_str(o, "status", status);
    if (d) {
        woq_json_set_num(o, "elements", (double)n);
        woq_json_set_num(o, "differ", (double)d->n_differ);
        set_num(o, "max", d->max);
        set_num(o, "rms", d->rms);
        set_num(o, "rel", d->rel);
        set_num(o, "sqnr_db", d->sqnr_db);
    }
    if ((text = woq_json_print(o, false)))
        puts(text);
    free(text);
    woq_json_free(o);
}

static void print_alone(const struct woq_filter *w, const struct woq_frame *f, const char *status)
{
    if (woq_filter_quiet(w))
        return;
    if (json)
        print_json(woq_frame_name(f), status, NULL, 0);
    else
        printf("%-44s %s\n", woq_frame_name(f), status);
}

static int compare(struct woq_filter *w, struct woq_pair *p, const struct woq_frame *a,
                   const struct woq_frame *b, struct totals *sum)
{
    struct woq_delta d;
    const char *status;
    bool comparable;
    size_t n = 0;
    int rc = woq_pair_delta(p, a, b, codes, &d, &n, &comparable, &w->err);

    if (rc < 0)
        return rc;
    sum->n_pairs++;
    if (!comparable) {
        sum->n_differ++;
        sum->worst = HUGE_VAL;
        print_alone(w, a, "SHAPE");
        return WOQ_OK;
    }
    status = d.n_differ == 0 ? "same" : d.rel > tol ? "DIFFERS" : "close";
    sum->n_differ += d.rel > tol;
    sum->worst = fmax(sum->worst, d.rel);
    if (woq_filter_quiet(w))
        return WOQ_OK;
    if (json)
        print_json(woq_frame_name(a), status, &d, n);
    else
        printf("%-44s %5s %5s max=%.4g rms=%.4g rel=%.4g sqnr=%.2fdB %s\n", woq_frame_name(a),
               dtype_of(a), dtype_of(b), d.max, d.rms, d.rel, d.sqnr_db, status);
    return WOQ_OK;
}

static int diff(struct woq_filter *w, struct woq_pair *p, struct totals *sum)
{
    const struct woq_frame *a, *b;
    int rc;

    while ((rc = woq_pair_next(p, &a, &b, &w->err)) > 0) {
        if (a && b) {
            if ((rc = compare(w, p, a, b, sum)) < 0)
                break;
            continue;
        }
        sum->n_missing += !b;
        sum->n_extra += !a;
        print_alone(w, a ? a : b, a ? "MISSING" : "EXTRA");
    }
    return rc;
}

/* A difference is an answer, not an error: it goes to standard output with exit status 1. */
static int run(struct woq_filter *w, bool *equal)
{
    struct woq_reader *a = NULL, *b = NULL;
    struct woq_pair p = { 0 };
    struct totals sum = { 0 };
    int rc = woq_filter_input(w, w->operands[0], NULL, &a);

    if (rc == WOQ_OK)
        rc = woq_filter_input(w, w->operands[1], NULL, &b);
    if (rc == WOQ_OK) {
        woq_pair_init(&p, a, b, match);
        rc = diff(w, &p, &sum);
    }
    if (rc == WOQ_OK && !json && !woq_filter_quiet(w))
        printf("%zu compared, %zu differ, %zu missing, %zu extra, worst rel %.4g\n", sum.n_pairs,
               sum.n_differ, sum.n_missing, sum.n_extra, sum.worst);
    if (rc == WOQ_OK && !sum.n_pairs && !sum.n_missing && !sum.n_extra)
        rc = woq_fail(&w->err, WOQ_EDATA, "woq-ls lists what is there", "no tensor matches '%s'",
                      match);
    *equal = !sum.n_differ && !sum.n_missing && !sum.n_extra;
    woq_pair_release(&p);
    woq_reader_close(a);
    woq_reader_close(b);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = { .name = "woq-diff",
                                             .summary = "compare the tensors of two streams",
                                             .opts = opts,
                                             .flags = WOQ_OPENS | WOQ_SINK,
                                             .operands = "A B",
                                             .min_operands = 2,
                                             .max_operands = 2,
                                             .examples =
                                                 "  woq-diff float.wts quantized.wts\n"
                                                 "  woq-extract OUT | woq-diff --codes q.wts -\n" };
    struct woq_filter w;
    bool equal = false;
    int status;

    woq_filter_open(&w, &prog, argc, argv);
    status = woq_filter_close(&w, run(&w, &equal));
    return status ? status : !equal;
}
