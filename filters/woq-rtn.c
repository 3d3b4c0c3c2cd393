/* woq-rtn -- quantize weights by rounding to the nearest code.
 *
 * The scale of a group comes from its range (INC's weight quantizer, algorithms.md 1.2-1.4, 2), or
 * from a search for a smaller range with less squared error: one ratio for a layer (1.6), or one
 * for each group. Where a `hess` or `stat` frame describes the inputs of a weight, an error counts
 * by the second moment of its input. */
#include <woq/filter.h>
#include <woq/quant.h>
#include <woq/side.h>

static long bits = 4, group_size = 32, group_dim = 1;
static bool sym, asym, full_range, mse;
static const char *search = "none", *scale_dtype = "f32";
static struct woq_list match;
static struct woq_scheme defaults;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_INT, 'b', "bits", "N", &bits, false, "bits per code", .lo = 1, .hi = 8 },
    { WOQ_OPT_INT, 'g', "group-size", "N", &group_size, false,
      "weights that share a scale; -1 = a whole row", .lo = -1, .hi = 2147483648.0 },
    { WOQ_OPT_INT, 0, "group-dim", "D", &group_dim, false,
      "groups run along the inputs (1) or along the outputs (0)", .lo = 0, .hi = 1 },
    { WOQ_OPT_FLAG, 0, "sym", NULL, &sym, false, "symmetric codes, no zero point (the default)" },
    { WOQ_OPT_FLAG, 0, "asym", NULL, &asym, false, "asymmetric codes with a zero point" },
    { WOQ_OPT_FLAG, 0, "full-range", NULL, &full_range, false,
      "symmetric: give the largest weight the code -2^(bits-1); scales may be negative" },
    { WOQ_OPT_ENUM, 0, "search", "HOW", &search, false,
      "shrink ranges to lessen the squared error: one ratio per layer (clip) or per group (mse)",
      "none|clip|mse" },
    { WOQ_OPT_FLAG, 0, "mse", NULL, &mse, false, "the same as --search mse" },
    { WOQ_OPT_ENUM, 0, "scale-dtype", "DTYPE", &scale_dtype, false,
      "f16: round scales before codes are chosen, as formats with f16 scales will store them",
      "f32|f16" },
    { WOQ_OPT_LIST, 'm', "match", "GLOB", &match, false,
      "only weights whose name matches GLOB; may be repeated" },
    { WOQ_OPT_END },
};
/* clang-format on */

static int check(struct woq_error *err)
{
    if (sym && asym)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--sym and --asym exclude each other");
    if (mse && strcmp(search, "clip") == 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--mse and --search clip exclude each other");
    if (group_size == 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--group-size 0: want -1 or 1 and more");
    woq_scheme_init(&defaults);
    defaults.bits = (int)bits;
    defaults.group_size = group_size;
    defaults.group_dim = (int)group_dim;
    defaults.sym = !asym;
    defaults.full_range = full_range;
    snprintf(defaults.search, sizeof defaults.search, "%s", mse ? "mse" : search);
    snprintf(defaults.scale_dtype, sizeof defaults.scale_dtype, "%s", scale_dtype);
    return woq_scheme_check(&defaults, err);
}

struct work {
    struct woq_side side;
    struct woq_frame out;
    struct woq_buf buf; /* a weight in f32, where it came in another type */
    size_t n_quantized;
};

static int quantize(struct work *k, const struct woq_frame *f, const struct woq_scheme *s,
                    struct woq_error *err)
{
    const float *importance;
    struct woq_tensor t;
    int rc = woq_frame_view(f, &t, err);

    if (rc || (rc = woq_side_importance(&k->side, f, t.n_cols, &importance, err)) ||
        (rc = woq_rtn_frame(&k->out, f, s, importance, &k->buf, err)))
        return rc;
    k->n_quantized++;
    return WOQ_OK;
}

static int take(struct work *k, struct woq_filter *w, struct woq_frame *f)
{
    struct woq_scheme s;
    int rc = woq_scheme_choose(&s, f, &defaults, &match, &w->err);

    if (rc == WOQ_ITEM) {
        if (quantize(k, f, &s, &w->err))
            return woq_filter_at(w, f);
        rc = woq_side_settle(&k->side, w, f, true);
        return rc ? rc : woq_filter_put(w, &k->out);
    }
    if (rc)
        return woq_filter_at(w, f);
    if (woq_side_is(f))
        return woq_side_hold(&k->side, f, &w->err) ? woq_filter_at(w, f) : WOQ_OK;
    rc = woq_frame_is_tensor(f) ? woq_side_settle(&k->side, w, f, false)
                                : woq_side_flush(&k->side, w);
    return rc ? rc : woq_filter_put(w, f);
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
    };
    struct woq_filter w;
    struct woq_frame *f;
    struct work k = { 0 };
    int rc;

    woq_filter_open(&w, &prog, argc, argv);
    while ((rc = woq_filter_next(&w, &f)) > 0)
        if ((rc = take(&k, &w, f)) < 0)
            break;
    if (rc == 0)
        rc = woq_side_flush(&k.side, &w);
    if (rc == 0 && k.n_quantized == 0)
        woq_filter_note(&w, "no weight was quantized: none had a linear role or a scheme%s",
                        match.n ? " and matched" : "");
    woq_side_release(&k.side);
    woq_frame_release(&k.out);
    woq_buf_release(&k.buf);
    return woq_filter_close(&w, rc);
}
