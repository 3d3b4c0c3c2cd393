/* woq-calib -- run calibration text through a model, block by block, and give each group of linears
 * what it needs to be quantized: its input activations, their Hessian, or their statistics.
 *
 * With --through CMD the loop is closed: CMD returns the group quantized, and the forward goes on
 * with what came back (true sequential GPTQ: Frantar et al. 2022, arXiv:2210.17323v2, section 4),
 * at one forward per block. Without, the frames go into the stream before the weights they
 * describe. */
#include <woq/calib.h>
#include <woq/chat_opts.h>
#include <woq/decoder.h>

static struct woq_chat_options chat;
static const char *text_path, *chat_path, *tokens_path, *acts_from, *acts_to, *through, *state;
static const char *unit = "group", *emit = "acts", *inputs = "quantized", *targets = "quantized",
                  *acts_dtype = "f32";
static long n_samples = 128, seqlen = 512, timeout = 3600;
static bool all_experts;
static uint64_t seed, token0, spill = WOQ_SPILL_BYTES;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_STR, 't', "text", "FILE", &text_path, false,
      "calibration text, tokenized by the model's own tokenizer" },
    { WOQ_OPT_STR, 0, "chat", "FILE", &chat_path, false,
      "conversations instead, by the model's chat template: the file's JSON, or each line's" },
    WOQ_CHAT_OPTS(chat),
    WOQ_CHAT_PROMPT_OPT(chat),
    { WOQ_OPT_STR, 0, "tokens", "SPEC", &tokens_path, false,
      "calibration samples from woq-tokens instead: a stream in a file, or fd:N" },
    { WOQ_OPT_INT, 'n', "samples", "N", &n_samples, false, "windows to draw from --text or --chat", .lo = 1,
      .hi = WOQ_CALIB_MAX_SAMPLES },
    { WOQ_OPT_INT, 0, "seqlen", "N", &seqlen, false, "tokens per window", .lo = 2,
      .hi = WOQ_CALIB_MAX_SEQLEN },
    { WOQ_OPT_SIZE, 0, "seed", "N", &seed, false, "of the windows drawn" },
    { WOQ_OPT_STR, 0, "acts-from", "FILE", &acts_from, false,
      "activations in place of samples: begin at the block that they are for, see --acts-to" },
    { WOQ_OPT_STR, 0, "acts-to", "FILE", &acts_to, false,
      "write the activations after the last block of the stream", .local = true },
    { WOQ_OPT_SIZE, 0, "token0", "N", &token0, false,
      "number of the first token, so that sums of several runs can be told apart and merged" },
    { WOQ_OPT_STR, 0, "through", "CMD", &through, false,
      "a shell command that gets each group and returns it quantized" },
    { WOQ_OPT_INT, 0, "timeout", "SECONDS", &timeout, false,
      "give the command up when it takes or returns nothing for so long; 0 = never", .lo = 0, .hi = 1 << 24,
      .local = true },
    { WOQ_OPT_ENUM, 0, "unit", "UNIT", &unit, false,
      "what is described and sent at once: the linears that share an input, or a whole block",
      "group|block" },
    { WOQ_OPT_ENUM, 0, "emit", "WHAT", &emit, false, "what describes a unit's inputs",
      "acts|hess|stat|none" },
    { WOQ_OPT_ENUM, 0, "inputs", "WHICH", &inputs, false,
      "the forward after a group runs on its returned (quantized) or on its own (float) weights",
      "quantized|float" },
    { WOQ_OPT_ENUM, 0, "targets", "WHICH", &targets, false,
      "describe inputs on the quantized path only, or what they are in the float model too",
      "quantized|both" },
    { WOQ_OPT_FLAG, 0, "calibrate-all-experts", NULL, &all_experts, false,
      "describe each expert by all tokens, not only by those that are routed to it" },
    { WOQ_OPT_ENUM, 0, "acts-dtype", "DTYPE", &acts_dtype, false, "of activations on the wire",
      "f32|bf16" },
    { WOQ_OPT_SIZE, 0, "spill", "SIZE", &spill, false,
      "memory for activations that wait for a group; more goes through a file in TMPDIR",
      .local = true },
    { WOQ_OPT_STR, 0, "state", "FILE", &state, false,
      "keep finished blocks in FILE.N.wts and the activations in FILE; a run that was ended goes on "
      "from there with the same bytes", .local = true },
    { WOQ_OPT_END },
};
/* clang-format on */

static int check(struct woq_error *err)
{
    if (!!text_path + !!chat_path + !!tokens_path + !!acts_from != 1)
        return woq_fail(err, WOQ_EUSAGE, NULL,
                        "want one of --text, --chat, --tokens and --acts-from");
    if (!chat_path && woq_chat_asked(&chat))
        return woq_fail(err, WOQ_EUSAGE, NULL, "options of chat templates are for --chat");
    if (token0 > WOQ_CALIB_MAX_TOKEN0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--token0: want at most 2^52");
    if (token0 && acts_from)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--token0: the file of --acts-from says it");
    if (state && !through)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--state is for --through");
    if (strcmp(targets, "both") == 0 && strcmp(inputs, "float") == 0)
        return woq_fail(err, WOQ_EUSAGE, NULL,
                        "--targets both: with --inputs float there is one path only");
    if (strcmp(targets, "both") == 0 && strcmp(emit, "stat") == 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--targets both: want --emit acts or hess");
    if (strcmp(targets, "both") == 0 && strcmp(emit, "none") != 0 && !through && !acts_from)
        return woq_fail(err, WOQ_EUSAGE, NULL,
                        "--targets both: the paths differ by --through or --acts-from only");
    if (strcmp(emit, "none") == 0 && !through && !acts_to)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--emit none is for --acts-to or --through");
    return WOQ_OK;
}

struct work {
    struct woq_ids ids;
    struct woq_calib *calib;
};

/* MODL has come: the tokens can be had, the walk can begin. */
static int begin(struct work *k, struct woq_filter *w, const struct woq_frame *modl)
{
    struct woq_calib_opts o = {
        .n_samples = (size_t)n_samples,
        .seqlen = (size_t)seqlen,
        .token0 = token0,
        .patience = (unsigned)timeout,
        .spill_bytes = spill,
        .through = through,
        .state = state,
        .acts_from = acts_from,
        .acts_to = acts_to,
    };
    int rc = WOQ_OK;

    o.emit = strcmp(emit, "hess") == 0   ? WOQ_EMIT_HESS
             : strcmp(emit, "stat") == 0 ? WOQ_EMIT_STAT
             : strcmp(emit, "none") == 0 ? WOQ_EMIT_NONE
                                         : WOQ_EMIT_ACTS;
    o.block_unit = strcmp(unit, "block") == 0;
    o.float_inputs = strcmp(inputs, "float") == 0;
    o.all_experts = all_experts;
    o.both = strcmp(targets, "both") == 0;
    o.acts_dtype = strcmp(acts_dtype, "bf16") == 0 ? WOQ_BF16 : WOQ_F32;
    if (tokens_path)
        rc = woq_samples_load(&k->ids, tokens_path, &o.n_samples, &o.seqlen, &w->err);
    else if (text_path || chat_path)
        rc = woq_samples_draw(&k->ids, text_path ? text_path : chat_path, chat_path ? &chat : NULL,
                              modl, o.n_samples, o.seqlen, seed, &w->err);
    o.ids = k->ids.ids;
    return rc == WOQ_OK ? woq_calib_open(&k->calib, &o, w) : rc;
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
    return woq_filter_close(&w, rc);
}
