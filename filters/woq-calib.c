/* woq-calib -- run calibration text through a model, block by block, and give each group of linears
 * what it needs to be quantized: its input activations, their Hessian, or their statistics.
 *
 * With --through CMD the loop is closed: CMD returns the group quantized, and the forward goes on
 * with what came back (true sequential GPTQ: Frantar et al. 2022, arXiv:2210.17323v2, section 4),
 * at one forward per block. Without, the frames go into the stream before the weights they
 * describe. */
#include <woq/calib.h>
#include <woq/model.h>
#include <woq/tokens.h>

static const char *text_path, *tokens_path, *through, *emit = "acts", *inputs = "quantized",
                                                      *acts_dtype = "f32", *state;
static long n_samples = 128, seqlen = 512;
static uint64_t seed, token0;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_STR, 't', "text", "FILE", &text_path, false,
      "calibration text, tokenized by the model's own tokenizer" },
    { WOQ_OPT_STR, 0, "tokens", "SPEC", &tokens_path, false,
      "calibration samples from woq-tokens instead: a stream in a file, or fd:N" },
    { WOQ_OPT_INT, 'n', "samples", "N", &n_samples, false, "windows to draw from --text", .lo = 1,
      .hi = 1 << 24 },
    { WOQ_OPT_INT, 0, "seqlen", "N", &seqlen, false, "tokens per window", .lo = 2, .hi = 1 << 20 },
    { WOQ_OPT_SIZE, 0, "seed", "N", &seed, false, "of the windows drawn" },
    { WOQ_OPT_SIZE, 0, "token0", "N", &token0, false,
      "number of the first token, so that sums of several runs can be told apart and merged" },
    { WOQ_OPT_STR, 0, "through", "CMD", &through, false,
      "a shell command that gets each group and returns it quantized" },
    { WOQ_OPT_ENUM, 0, "emit", "WHAT", &emit, false, "what describes a group's inputs",
      "acts|hess|stat" },
    { WOQ_OPT_ENUM, 0, "inputs", "WHICH", &inputs, false,
      "the forward after a group runs on its returned (quantized) or on its own (float) weights",
      "quantized|float" },
    { WOQ_OPT_ENUM, 0, "acts-dtype", "DTYPE", &acts_dtype, false, "of activations on the wire",
      "f32|bf16" },
    { WOQ_OPT_STR, 0, "state", "FILE", &state, false,
      "keep finished blocks in FILE.N.wts and the activations in FILE; a run that was ended goes on "
      "from there with the same bytes", .local = true },
    { WOQ_OPT_END },
};
/* clang-format on */

static int check(struct woq_error *err)
{
    if (!text_path == !tokens_path)
        return woq_fail(err, WOQ_EUSAGE, NULL, "want either --text or --tokens");
    if (token0 > (uint64_t)1 << 52)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--token0: want at most 2^52");
    if (state && !through)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--state is for --through");
    return WOQ_OK;
}

static int on_text(void *ctx, const char *text, size_t bytes, struct woq_error *err)
{
    void **both = ctx;

    return woq_tokenizer_encode(both[0], text, bytes, true, both[1], err);
}

/* Windows of --text, by the tokenizer of the MODL frame: ids [n_samples][seqlen]. */
static int draw(struct woq_ids *ids, const struct woq_frame *modl, struct woq_error *err)
{
    const size_t n = (size_t)n_samples, len = (size_t)seqlen;
    size_t *start = woq_alloc(n * sizeof *start, err);
    struct woq_tokenizer *t = NULL;
    struct woq_ids all = { 0 };
    void *both[2];
    int rc = start ? woq_modl_tokenizer(modl, &t, err) : WOQ_ENOMEM;

    both[0] = t;
    both[1] = &all;
    if (rc == WOQ_OK)
        rc = woq_texts_each(text_path, NULL, on_text, both, err);
    if (rc == WOQ_OK)
        rc = woq_sample_starts(start, n, all.n, len, seed, err);
    for (size_t i = 0; rc == WOQ_OK && i < n; i++)
        for (size_t k = 0; rc == WOQ_OK && k < len; k++)
            rc = woq_ids_push(ids, all.ids[start[i] + k], err);
    woq_tokenizer_close(t);
    woq_ids_release(&all);
    free(start);
    return rc;
}

/* All TOKN frames of a stream; they must be of one length. */
static int load(struct woq_ids *ids, size_t *n, size_t *len, struct woq_error *err)
{
    struct woq_reader *r;
    struct woq_frame *f;
    int rc = woq_reader_open(&r, tokens_path, NULL, err);

    *n = *len = 0;
    if (rc < 0)
        return rc;
    while ((rc = woq_reader_next(r, &f, err)) > 0) {
        const struct woq_array *a = NULL;

        if (!woq_frame_is(f, "TOKN"))
            continue;
        if ((rc = woq_frame_want(f, "ids", WOQ_U32, 1, &a, err)) < 0)
            break;
        if (a->n_elem < 2 || (*n && a->n_elem != *len)) {
            rc = woq_fail(err, WOQ_EDATA, "give woq-tokens --samples and --seqlen",
                          "sample %zu has %zu tokens, want %zu", *n, a->n_elem, *len ? *len : 2);
            break;
        }
        *len = a->n_elem;
        for (size_t i = 0; rc >= 0 && i < a->n_elem; i++)
            rc = woq_ids_push(ids, ((const uint32_t *)a->data)[i], err);
        (*n)++;
    }
    if (rc == WOQ_OK && *n == 0)
        rc = woq_fail(err, WOQ_EDATA, "make it with woq-tokens", "no samples in '%s'", tokens_path);
    woq_reader_close(r);
    return rc < 0 ? woq_error_at(err, "%s", tokens_path) : rc;
}

struct work {
    struct woq_ids ids;
    struct woq_str key;
    struct woq_calib *calib;
};

/* MODL has come: the tokens can be had, the walk can begin. */
static int begin(struct work *k, struct woq_filter *w, const struct woq_frame *modl)
{
    struct woq_calib_opts o = { .through = through, .state = state };
    int rc;

    o.emit = strcmp(emit, "hess") == 0   ? WOQ_EMIT_HESS
             : strcmp(emit, "stat") == 0 ? WOQ_EMIT_STAT
                                         : WOQ_EMIT_ACTS;
    o.float_inputs = strcmp(inputs, "float") == 0;
    o.acts_dtype = strcmp(acts_dtype, "bf16") == 0 ? WOQ_BF16 : WOQ_F32;
    o.n_samples = (size_t)n_samples;
    o.seqlen = (size_t)seqlen;
    o.token0 = token0;
    rc = tokens_path ? load(&k->ids, &o.n_samples, &o.seqlen, &w->err)
                     : draw(&k->ids, modl, &w->err);
    if (rc < 0)
        return rc;
    woq_str_addf(&k->key, "%zu x %zu tokens %016llx from %llu, emit %s, inputs %s, %s, through %s",
                 o.n_samples, o.seqlen,
                 (unsigned long long)woq_hash64(k->ids.ids, k->ids.n * sizeof *k->ids.ids),
                 (unsigned long long)token0, emit, inputs, acts_dtype, through ? through : "");
    o.ids = k->ids.ids;
    o.key = k->key.s;
    return woq_calib_open(&k->calib, &o, w);
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-calib",
        .summary = "run calibration text through a model, block by block",
        .opts = opts,
        .check = check,
        .examples =
            "  woq-extract M | woq-calib --text T --through 'woq-hessian | woq-gptq -b 4' | "
            "woq-pack --format gptq -o out/\n"
            "  woq-extract M | woq-calib --text T --emit hess >model-with-hessians.wts\n",
    };
    struct woq_filter w;
    struct woq_frame *f;
    struct work k = { 0 };
    int rc;

    woq_filter_open(&w, &prog, argc, argv);
    while ((rc = woq_filter_next(&w, &f)) > 0) {
        if (!k.calib && woq_frame_is(f, "MODL") && (rc = begin(&k, &w, f)) < 0)
            break;
        if (!k.calib)
            rc =
                woq_fail(&w.err, WOQ_EDATA, "start from woq-extract", "no MODL frame at the start");
        else
            rc = woq_calib_take(k.calib, f);
        if (rc < 0)
            break;
    }
    rc = woq_calib_close(k.calib, rc);
    woq_ids_release(&k.ids);
    woq_str_release(&k.key);
    return woq_filter_close(&w, rc);
}
