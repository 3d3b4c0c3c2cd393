/* woq-stats -- statistics of activations per channel: largest |x|, mean |x|, mean of x^2.
 *
 * Reads `acts` chunks of a group of linears and puts one `stat` frame in their place, right before
 * the weights of the group. AWQ and SmoothQuant scale by them; mean of x^2 weights a search. The
 * latter may also come from an importance matrix of llama.cpp. */
#include <formats/gguf_layout.h>
#include <formats/imatrix.h>
#include <woq/model.h>
#include <woq/moments_stage.h>

static const char *imatrix_path;
static const struct woq_opt opts[] = {
    { WOQ_OPT_STR, 0, "imatrix", "FILE", &imatrix_path, false,
      "put the mean of x^2 from this importance matrix (of llama-imatrix or woq-pack) before each "
      "weight that it names" },
    { WOQ_OPT_END },
};

struct from_imatrix {
    struct woq_imatrix m;
    struct woq_config c; /* c.arch NULL until MODL came */
    struct woq_frame out;
    size_t n_put;
};

static int take_model(struct from_imatrix *im, const struct woq_frame *f, struct woq_error *err)
{
    struct woq_json *config = NULL;
    int rc = woq_modl_config(f, &config, err);

    if (rc == WOQ_OK)
        rc = woq_config_init(&im->c, config, err);
    woq_json_free(config);
    return rc;
}

/* The statistics of one weight: of its name alone, whatever else shares its input. */
static int put_stat(struct from_imatrix *im, struct woq_filter *w, const struct woq_frame *weight)
{
    const struct woq_imatrix_entry *e;
    uint64_t n, one = 1;
    struct woq_gguf_part parts[WOQ_GGUF_PARTS];
    struct woq_place place;
    size_t mats, at;
    int rc;

    if (!im->c.arch)
        return woq_fail(&w->err, WOQ_EDATA, "start the pipe with woq-extract",
                        "a tensor without a MODL frame before it");
    if (!woq_arch_place(im->c.arch, woq_frame_name(weight), &place) || place.bias ||
        place.role == WOQ_ROLE_KV_B || !woq_gguf_parts(&im->c, 0, &place, parts) ||
        !(e = woq_imatrix_get(&im->m, parts[0].name)))
        return WOQ_OK;
    /* Of experts the file has one entry for all. */
    mats = woq_role_is_expert(place.role) ? im->c.n_experts : 1;
    n = e->n * e->n_mats / mats;
    at = mats > 1 ? place.index * (size_t)n : 0;
    woq_frame_begin(&im->out, "stat");
    im->out.flags = WOQ_FRAME_OF;
    woq_json_set_str(woq_frame_edit(&im->out), "of", woq_frame_name(weight));
    rc = woq_frame_add(&im->out, "mean_sq", WOQ_F32, 1, &n, e->mean_sq + at, &w->err);
    if (rc == WOQ_OK)
        rc = woq_frame_add(&im->out, "n_tokens", WOQ_U64, 1, &one, &e->n_tokens, &w->err);
    im->n_put += rc == WOQ_OK;
    return rc == WOQ_OK ? woq_filter_put(w, &im->out) : rc;
}

static int pass_imatrix(struct from_imatrix *im, struct woq_filter *w, struct woq_frame *f)
{
    int rc = WOQ_OK;

    if (woq_frame_is(f, "MODL"))
        rc = take_model(im, f, &w->err);
    else if (woq_frame_is(f, "TENS") || woq_frame_is(f, "QTEN"))
        rc = put_stat(im, w, f);
    return rc < 0 ? woq_filter_at(w, f) : woq_filter_put(w, f);
}

static int end_imatrix(const struct from_imatrix *im, struct woq_filter *w)
{
    if (!im->n_put)
        return woq_fail(&w->err, WOQ_EDATA, "was it measured on this model?",
                        "%s: no entry names a weight of the stream", imatrix_path);
    woq_filter_note(w, "%zu weights have an entry of %s, which has %zu", im->n_put, imatrix_path,
                    im->m.n_entries);
    return WOQ_OK;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-stats",
        .summary = "statistics of activations per channel",
        .opts = opts,
        .examples =
            "  woq-extract M | woq-calib --text T --emit acts | woq-stats | "
            "woq-rtn --search mse >q.wts\n"
            "  woq-extract M | woq-stats --imatrix M.imatrix | woq-rtn --search mse >q.wts\n",
    };
    struct woq_moments_stage stage = { .kind = WOQ_MOMENT_STAT };
    struct from_imatrix im = { 0 };
    struct woq_filter w;
    struct woq_frame *f;
    int rc;

    woq_filter_open(&w, &prog, argc, argv);
    rc = imatrix_path ? woq_imatrix_open(&im.m, imatrix_path, &w.err) : WOQ_OK;
    while (rc == WOQ_OK && (rc = woq_filter_next(&w, &f)) > 0)
        rc = imatrix_path ? pass_imatrix(&im, &w, f) : woq_moments_pass(&stage, &w, f);
    if (rc == WOQ_OK)
        rc = imatrix_path ? end_imatrix(&im, &w) : woq_moments_flush(&stage, &w);
    woq_moments_stage_release(&stage);
    woq_imatrix_release(&im.m);
    woq_frame_release(&im.out);
    return woq_filter_close(&w, rc);
}
