/* woq-eval -- how good is the model that streams by: perplexity in the two conventions of the
 * field, LAMBADA, KL divergence against a reference, raw logits, or a greedy continuation.
 *
 * Every window of the text goes through a block when the block arrives, so a model needs the memory
 * of one block. Nothing here knows how the weights were quantized: QTEN frames decode by their one
 * formula. */
#include <woq/chat_opts.h>
#include <woq/eval.h>
#include <woq/filter.h>

#include <formats/npy.h>

static const char *text, *wikitext, *tokens, *lambada, *reference, *logits;
static const char *prompt, *ask, *chat_path;
static struct woq_chat_options chat;
static const char *convention = "gptq";
static long ctx, windows, limit, generate;
static bool json;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_STR, 't', "text", "FILE", &text, false, "score this text, as it is" },
    { WOQ_OPT_STR, 0, "wikitext", "FILE", &wikitext, false,
      "score a wiki.*.raw file, its rows joined by blank lines as the GPTQ papers do" },
    { WOQ_OPT_STR, 0, "tokens", "FILE", &tokens, false,
      "score these ids: JSON arrays, or a stream of woq-tokens" },
    { WOQ_OPT_STR, 0, "lambada", "FILE", &lambada, false,
      "accuracy and perplexity of last words: JSON lines with a member text" },
    { WOQ_OPT_ENUM, 0, "ppl", "CONVENTION", &convention, false,
      "positions of a window that are scored: all but the first, or the second half",
      .choices = "gptq|llamacpp" },
    { WOQ_OPT_INT, 'c', "ctx", "N", &ctx, false,
      "tokens per window; 0 = 2048 for gptq, 512 for llamacpp, all of them with --logits",
      .lo = 0, .hi = 1 << 24 },
    { WOQ_OPT_INT, 'w', "windows", "K", &windows, false, "use the first K windows; 0 = all",
      .lo = 0, .hi = 1e9 },
    { WOQ_OPT_INT, 0, "limit", "N", &limit, false,
      "use the first N documents of --lambada; 0 = all", .lo = 0, .hi = 1e9 },
    { WOQ_OPT_STR, 0, "kld", "SPEC", &reference, false,
      "KL divergence from this model stream (a path or fd:N) to the one on standard input" },
    { WOQ_OPT_STR, 0, "logits", "OUT.npy", &logits, false,
      "write the logits of every token, float32 [tokens][vocabulary]" },
    { WOQ_OPT_INT, 'n', "generate", "N", &generate, false,
      "continue or answer one of the following by up to N likeliest tokens, all blocks in memory",
      .lo = 0, .hi = 1 << 20 },
    { WOQ_OPT_STR, 'p', "prompt", "TEXT", &prompt, false, "a text, continued as it is" },
    { WOQ_OPT_STR, 'a', "ask", "TEXT", &ask, false,
      "what a user says, answered by the model's chat template" },
    { WOQ_OPT_STR, 0, "chat", "FILE", &chat_path, false,
      "a conversation in JSON, answered by the model's chat template" },
    WOQ_CHAT_OPTS(chat),
    { WOQ_OPT_FLAG, 0, "json", NULL, &json, false, "print one JSON object" },
    { WOQ_OPT_END },
};
/* clang-format on */

static int check(struct woq_error *err)
{
    const int n =
        (text != NULL) + (wikitext != NULL) + (tokens != NULL) + (lambada != NULL) + (generate > 0);

    if (n != 1)
        return woq_fail(err, WOQ_EUSAGE, "see woq-eval --help",
                        "%d of --text, --wikitext, --tokens, --lambada, --generate given, want one",
                        n);
    if (!!prompt + !!ask + !!chat_path != (generate > 0))
        return woq_fail(err, WOQ_EUSAGE, NULL,
                        "--generate and one of --prompt, --ask and --chat belong together");
    if (!ask && !chat_path && woq_chat_asked(&chat))
        return woq_fail(err, WOQ_EUSAGE, NULL,
                        "options of chat templates are for --ask and --chat");
    if ((lambada || generate > 0) && (logits || reference))
        return woq_fail(err, WOQ_EUSAGE, NULL, "--%s does not go with --logits or --kld",
                        lambada ? "lambada" : "generate");
    if (limit && !lambada)
        return woq_fail(err, WOQ_EUSAGE, "use --windows", "--limit is for --lambada");
    if (!logits && !lambada && ctx && ctx < 4)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--ctx %ld: want 4 or more", ctx);
    if (reference && strcmp(reference, "-") == 0)
        return woq_fail(err, WOQ_EUSAGE, "name a file or fd:N",
                        "--kld -: the model itself is on standard input");
    if (chat_path && strcmp(chat_path, "-") == 0)
        return woq_fail(err, WOQ_EUSAGE, "name a file",
                        "--chat -: the model itself is on standard input");
    return WOQ_OK;
}

static int next_model(void *w, struct woq_frame **f, struct woq_error *err)
{
    (void)err; /* the filter's own */
    return woq_filter_next(w, f);
}

static int next_reference(void *r, struct woq_frame **f, struct woq_error *err)
{
    return woq_reader_next(r, f, err);
}

static int npy_begin(void *npy, size_t n_rows, size_t n_cols, struct woq_error *err)
{
    return woq_npy_open(npy, logits, n_rows, n_cols, err);
}

static int npy_rows(void *npy, const float *data, size_t n_rows, struct woq_error *err)
{
    return woq_npy_put(*(struct woq_npy **)npy, data, n_rows, err);
}

static int score(struct woq_filter *w, const struct woq_frames *model, struct woq_reader *r,
                 struct woq_json **result)
{
    const struct woq_frames other = { reference, next_reference, r };
    struct woq_npy *npy = NULL;
    const struct woq_logits_sink sink = { npy_begin, npy_rows, &npy };
    const struct woq_eval_opts o = {
        .input = text       ? WOQ_EVAL_TEXT
                 : wikitext ? WOQ_EVAL_WIKITEXT
                 : tokens   ? WOQ_EVAL_TOKENS
                            : WOQ_EVAL_LAMBADA,
        .path = text       ? text
                : wikitext ? wikitext
                : tokens   ? tokens
                           : lambada,
        .convention = strcmp(convention, "gptq") == 0 ? WOQ_PPL_GPTQ : WOQ_PPL_LLAMACPP,
        .ctx = (size_t)ctx,
        .windows = (size_t)windows,
        .limit = (size_t)limit,
        .reference = reference ? &other : NULL,
        .logits = logits ? &sink : NULL,
        .progress = w->progress,
    };
    const int rc = woq_eval(&o, model, result, &w->err);

    if (rc >= 0 && npy)
        return woq_npy_close(npy, &w->err);
    woq_npy_abort(npy);
    return rc;
}

static int run(struct woq_filter *w, struct woq_json **result)
{
    const struct woq_frames model = { woq_reader_name(w->in), next_model, w };
    const struct woq_generate_opts g = { .prompt = prompt,
                                         .ask = ask,
                                         .chat_path = chat_path,
                                         .chat = chat,
                                         .n_tokens = (size_t)generate,
                                         .progress = w->progress };
    struct woq_reader *r = NULL;
    int rc;

    if (generate)
        return woq_generate(&g, &model, result, &w->err);
    if (reference && (rc = woq_filter_input(w, reference, NULL, &r)) < 0)
        return rc;
    rc = score(w, &model, r, result);
    woq_reader_close(r);
    return rc;
}

static int print(const struct woq_json *result, struct woq_error *err)
{
    struct woq_str out = { 0 };
    char *line = json ? woq_json_print(result, false) : NULL;

    if (json ? !line : woq_eval_text(result, &out) < 0)
        return woq_fail_nomem(err, 1 << 12);
    fputs(json ? line : out.s, stdout);
    if (json)
        putchar('\n');
    free(line);
    woq_str_release(&out);
    return WOQ_OK;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-eval",
        .summary = "perplexity and other scores of a model stream",
        .opts = opts,
        .check = check,
        .flags = WOQ_SINK,
        .examples = "  woq-extract MODEL | woq-eval --text wiki.test.raw --ctx 2048 --windows 8\n"
                    "  woq-extract OUT | woq-eval --text FILE --kld <(woq-extract MODEL)\n"
                    "  woq-extract OUT | woq-eval --generate 64 --ask 'Why is the sky blue?'\n",
    };
    struct woq_json *result = NULL;
    struct woq_filter w;
    int rc;

    woq_filter_open(&w, &prog, argc, argv);
    rc = run(&w, &result);
    if (rc >= 0)
        rc = print(result, &w.err);
    woq_json_free(result);
    return woq_filter_close(&w, rc);
}
