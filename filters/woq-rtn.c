/* woq-rtn -- quantize weights by rounding to the nearest code.
 *
 * The scale of a group comes from its range (INC's weight quantizer, algorithms.md 1.2-1.4, 2), or
 * from a search for a smaller range with less squared error: one ratio for a layer (1.6), or one
 * for each group. Where a `hess` or `stat` frame describes the inputs of a weight, an error counts
 * by the second moment of its input. */
#include <woq/quantizer.h>
#include <woq/scheme_opts.h>

static struct woq_scheme_opts scheme = WOQ_SCHEME_OPTS_INIT;
static bool mse;
static const char *search = "none";
static struct woq_list match;
static struct woq_scheme defaults;

/* clang-format off */
static const struct woq_opt opts[] = {
    WOQ_SCHEME_ROWS(scheme),
    WOQ_DOUBLE_QUANT_ROWS(scheme),
    { WOQ_OPT_INT, 0, "group-dim", "D", &scheme.group_dim, false,
      "groups run along the inputs (1) or along the outputs (0)", .lo = 0, .hi = 1 },
    { WOQ_OPT_INT, 0, "group-rows", "N", &scheme.group_rows, false,
      "rows that share their scales; -1 = all: fp8 of blocks and of whole tensors", .lo = -1,
      .hi = 2147483648.0 },
    { WOQ_OPT_ENUM, 0, "search", "HOW", &search, false,
      "shrink ranges to lessen the squared error: one ratio per layer (clip) or per group (mse)",
      "none|clip|mse" },
    { WOQ_OPT_FLAG, 0, "mse", NULL, &mse, false, "the same as --search mse" },
    { WOQ_OPT_LIST, 'm', "match", "GLOB", &match, false,
      "only weights whose name matches GLOB; may be repeated" },
    { WOQ_OPT_END },
};
/* clang-format on */

static int check(struct woq_error *err)
{
    if (mse && strcmp(search, "clip") == 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--mse and --search clip exclude each other");
    woq_scheme_init(&defaults);
    snprintf(defaults.search, sizeof defaults.search, "%s", mse ? "mse" : search);
    return woq_scheme_opts_apply(&defaults, &scheme, err);
}

static int quantize(struct woq_quantizer *q, const struct woq_frame *f, const struct woq_scheme *s,
                    struct woq_error *err)
{
    const float *importance;
    struct woq_tensor t;
    int rc = woq_frame_view(f, &t, err);

    if (rc == WOQ_OK)
        rc = woq_side_importance(&q->side, f, t.n_cols, &importance, err);
    return rc ? rc : woq_rtn_frame(&q->out, f, s, importance, &q->buf, err);
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-rtn",
        .summary = "quantize weights by rounding to the nearest code",
        .opts = opts,
        .check = check,
        .examples = "  woq-extract model/ | woq-rtn --bits 4 --group-size 64 --asym | "
                    "woq-pack --format gptq -o out/\n"
                    "  woq-extract model/ | woq-rtn --bits 3 --search mse >model-3bit.wts\n"
                    "  woq-extract model/ | woq-rtn --dtype nf4 --group-size 64 >model-nf4.wts\n"
    };
    struct woq_quantizer q = { .defaults = &defaults, .match = &match, .quantize = quantize };
    struct woq_filter w;
    struct woq_frame *f;
    int rc;

    woq_filter_open(&w, &prog, argc, argv);
    while ((rc = woq_filter_next(&w, &f)) > 0)
        if ((rc = woq_quantizer_take(&q, &w, f)) < 0)
            break;
    rc = woq_quantizer_close(&q, &w, rc);
    return woq_filter_close(&w, rc);
}
