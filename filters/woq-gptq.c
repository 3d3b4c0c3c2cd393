/* woq-gptq -- quantize weights column by column, spreading each rounding error over the rest.
 *
 * Frantar et al. 2022 (arXiv:2210.17323v2). Each weight needs the Hessian of its inputs: a `hess`
 * frame (woq-hessian) that came before it, for itself or for its group. One factor serves all
 * linears of a group. Codes have the same bits on any ISA and for any number of threads. */
#include <woq/gptq.h>
#include <woq/quantizer.h>
#include <woq/scheme_opts.h>

static struct woq_scheme_opts scheme = WOQ_SCHEME_OPTS_INIT;
static long block_size = 128, refit;
static bool act_order, static_groups, gar, mse, keep_hess, timings;
static double percdamp = 0.01, correct = 0.25;
static const char *search = "diag", *fallback = "error";
static struct woq_list match;
static struct woq_gptq_opts defaults;

/* clang-format off */
static const struct woq_opt opts[] = {
    WOQ_SCHEME_ROWS(scheme),
    { WOQ_OPT_FLAG, 0, "act-order", NULL, &act_order, false,
      "columns by descending diagonal of the Hessian; groups follow the order (g_idx)" },
    { WOQ_OPT_FLAG, 0, "static-groups", NULL, &static_groups, false,
      "ranges of all groups from the weights before any feedback; no g_idx with --act-order" },
    { WOQ_OPT_FLAG, 0, "gar", NULL, &gar, false,
      "groups by their largest diagonal, columns by theirs inside a group; no g_idx" },
    { WOQ_OPT_INT, 0, "block-size", "N", &block_size, false,
      "columns between lazy updates of the rest", .lo = 1, .hi = 65536 },
    { WOQ_OPT_F64, 0, "percdamp", "X", &percdamp, false,
      "damping, as a share of the mean diagonal; grows by itself where the matrix is not positive "
      "definite", .lo = 1e-9, .hi = 1 },
    { WOQ_OPT_ENUM, 0, "search", "HOW", &search, false,
      "choose ranges: as they are (none), by |error|^2.4 (mse), by squared error weighted with the "
      "Hessian's diagonal (diag)", "none|mse|diag" },
    { WOQ_OPT_FLAG, 0, "mse", NULL, &mse, false, "the same as --search mse" },
    { WOQ_OPT_INT, 0, "refit", "N", &refit, false,
      "sweeps after the column loop: scales by least squares, codes by coordinate descent",
      .lo = 0, .hi = 1000 },
    { WOQ_OPT_F64, 0, "correct", "ALPHA", &correct, false,
      "share of the correction toward the float path's output, where hess frames tell of it "
      "(woq-calib --targets both); 0 = none", .lo = 0, .hi = 1 },
    { WOQ_OPT_ENUM, 0, "fallback", "HOW", &fallback, false,
      "a weight without a Hessian: an error, or rounding to nearest", "error|rtn" },
    { WOQ_OPT_FLAG, 0, "keep-hess", NULL, &keep_hess, false, "leave hess frames in the stream" },
    { WOQ_OPT_FLAG, 0, "timings", NULL, &timings, false,
      "the note of each weight says the seconds it took; the stream then differs from run to run" },
    { WOQ_OPT_LIST, 'm', "match", "GLOB", &match, false,
      "only weights whose name matches GLOB; may be repeated" },
    { WOQ_OPT_END },
};
/* clang-format on */

static int check(struct woq_error *err)
{
    if (act_order && gar)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--act-order and --gar exclude each other");
    if (mse && strcmp(search, "none") == 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--mse and --search none exclude each other");
    woq_gptq_opts_init(&defaults);
    defaults.order = act_order ? WOQ_ORDER_ACT : gar ? WOQ_ORDER_GAR : WOQ_ORDER_NONE;
    defaults.static_groups = static_groups;
    defaults.block_size = (size_t)block_size;
    defaults.percdamp = percdamp;
    defaults.refit = (int)refit;
    defaults.correct = correct;
    defaults.search = strcmp(search, "none") == 0         ? WOQ_GPTQ_MINMAX
                      : mse || strcmp(search, "mse") == 0 ? WOQ_GPTQ_MSE
                                                          : WOQ_GPTQ_DIAG;
    return woq_scheme_opts_apply(&defaults.scheme, &scheme, err);
}

static int quantize(struct woq_quantizer *q, const struct woq_frame *f, const struct woq_scheme *s,
                    struct woq_error *err)
{
    struct woq_gptq_group *group = q->ctx; /* the one in hand */
    struct woq_gptq_report report = { 0 };
    struct woq_gptq_opts o = defaults;
    const uint64_t start_ns = woq_now_ns();
    struct woq_tensor t;
    int rc = woq_frame_view(f, &t, err);
    bool found;

    o.scheme = *s;
    if (rc == WOQ_OK)
        rc = woq_gptq_group_need(group, woq_side_hess(&q->side, f), f, t.n_cols, s->group_size, &o,
                                 err);
    if (rc < 0)
        return rc;
    found = rc == WOQ_ITEM;
    /* An expert that no token reached has no inputs to go by. */
    if (!found && strcmp(fallback, "rtn") != 0 && !woq_json_get_bool(f->meta, "starved", false))
        return woq_fail(err, WOQ_EDATA, "put woq-hessian before, or give --fallback rtn",
                        "no Hessian describes this weight");
    rc = found ? woq_gptq_frame(&q->out, f, group, &o, &q->buf, &report, err)
               : woq_rtn_frame(&q->out, f, s, NULL, &q->buf, err);
    if (rc < 0)
        return rc == WOQ_EUSAGE ? (err->status = WOQ_EDATA) : rc; /* of a scheme in the stream */
    report.seconds = timings ? (double)(woq_now_ns() - start_ns) / 1e9 : 0;
    return woq_gptq_note(&q->note, f, found ? &report : NULL, group, err);
}

/* A weight that stays may take the Hessian of its group with it: first the factor, for the rest. */
static int pass(struct woq_quantizer *q, const struct woq_frame *f, struct woq_error *err)
{
    const struct woq_frame *hess = woq_side_hess(&q->side, f);
    struct woq_tensor t;
    int rc;

    if (!hess || !woq_json_get_str(hess->meta, "group"))
        return WOQ_OK;
    rc = woq_frame_view(f, &t, err);
    if (rc == WOQ_OK && t.n_dims == 2)
        rc = woq_gptq_group_need(q->ctx, hess, f, t.n_cols, defaults.scheme.group_size, &defaults,
                                 err);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-gptq",
        .summary = "quantize weights with GPTQ",
        .opts = opts,
        .check = check,
        .examples =
            "  woq-extract M | woq-calib --text T --through 'woq-hessian | woq-gptq -b 4' | "
            "woq-pack --format gptq -o out/\n"
            "  woq-gptq --bits 3 --act-order <model-with-hessians.wts >model-3bit.wts\n",
    };
    struct woq_gptq_group group = { 0 };
    struct woq_quantizer q = { .defaults = &defaults.scheme,
                               .match = &match,
                               .ctx = &group,
                               .quantize = quantize,
                               .pass = pass };
    struct woq_filter w;
    struct woq_frame *f;
    int rc;

    woq_filter_open(&w, &prog, argc, argv);
    q.keep_side = keep_hess;
    while ((rc = woq_filter_next(&w, &f)) > 0)
        if ((rc = woq_quantizer_take(&q, &w, f)) < 0)
            break;
    rc = woq_quantizer_close(&q, &w, rc);
    woq_gptq_group_release(&group);
    return woq_filter_close(&w, rc);
}
