/* woq-tokens -- texts to token ids by a model's own tokenizer, and back.
 *
 * Calibration data as a stream: frames TOKN, each with one array `ids` (u32). With --json and with
 * --decode standard output is text. The texts of a file are joined before samples are drawn, so
 * that no document is too short. */
#include <formats/tokenizer_load.h>
#include <woq/filter.h>
#include <woq/tokens.h>

static const char *model, *text_path, *jsonl_path, *jsonl_key = "text";
static long n_samples, seqlen;
static uint64_t seed;
static bool json, no_special, decode, skip_special;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_STR, 'm', "model", "MODEL", &model, true,
      "whose tokenizer: a checkpoint, a stream in a file, or a tokenizer.json" },
    { WOQ_OPT_STR, 't', "text", "FILE", &text_path, false,
      "one text: the whole file, as it is; - is standard input" },
    { WOQ_OPT_STR, 0, "jsonl", "FILE", &jsonl_path, false,
      "one text per line: a string in the line's JSON object; - is standard input" },
    { WOQ_OPT_STR, 0, "jsonl-key", "KEY", &jsonl_key, false, "name of that string" },
    { WOQ_OPT_INT, 'n', "samples", "N", &n_samples, false,
      "draw N windows of --seqlen tokens at random; 0: all tokens in order", .lo = 0, .hi = 1 << 24 },
    { WOQ_OPT_INT, 0, "seqlen", "N", &seqlen, false,
      "tokens per sample; 0: 2048 with --samples, else whole texts", .lo = 0, .hi = 1 << 24 },
    { WOQ_OPT_SIZE, 0, "seed", "N", &seed, false, "of the random windows" },
    { WOQ_OPT_FLAG, 'j', "json", NULL, &json, false,
      "print ids, one JSON array per text or sample; with --decode print JSON strings" },
    { WOQ_OPT_FLAG, 0, "no-special", NULL, &no_special, false,
      "without the tokens that the tokenizer's template adds (BOS ...)" },
    { WOQ_OPT_FLAG, 'd', "decode", NULL, &decode, false,
      "ids to text: --text holds JSON arrays, one per line (default: standard input)" },
    { WOQ_OPT_FLAG, 0, "skip-special", NULL, &skip_special, false, "with --decode: leave special tokens out" },
    { WOQ_OPT_END },
};
/* clang-format on */

static int check(struct woq_error *err);
static struct woq_program prog = {
    .name = "woq-tokens",
    .summary = "texts to token ids, and back",
    .opts = opts,
    .check = check,
    .flags = WOQ_SOURCE,
    .examples =
        "  woq-tokens --model model/ --text calib.txt --samples 128 --seqlen 2048 >calib.wts\n"
        "  echo hello | woq-tokens --model model.gguf --text - --json\n"
        "  echo '[1,2,3]' | woq-tokens --model tokenizer.json --decode\n",
};

static int check(struct woq_error *err)
{
    if (decode && (jsonl_path || n_samples || seqlen))
        return woq_fail(err, WOQ_EUSAGE, NULL,
                        "--decode takes neither --jsonl nor --samples nor --seqlen");
    if (!decode && !text_path == !jsonl_path)
        return woq_fail(err, WOQ_EUSAGE, NULL, "want either --text or --jsonl");
    if (skip_special && !decode)
        return woq_fail(err, WOQ_EUSAGE, "use --no-special", "--skip-special is for --decode");
    if (no_special && decode)
        return woq_fail(err, WOQ_EUSAGE, "use --skip-special", "--no-special is not for --decode");
    if (n_samples && !seqlen)
        seqlen = 2048;
    if (json || decode)
        prog.flags |= WOQ_SINK; /* no frames are written then */
    return WOQ_OK;
}

struct job {
    struct woq_filter w;
    struct woq_tokenizer *t;
    struct woq_ids ids;
    struct woq_str line, text;
    struct woq_frame frame;
    size_t n_out;
};

/* One text or sample goes out. */
static int put(struct job *j, const uint32_t *ids, size_t n, struct woq_error *err)
{
    const uint64_t shape[1] = { n };
    int rc;

    if (json) {
        j->line.len = 0;
        if ((rc = woq_ids_print(&j->line, ids, n, err)) == WOQ_OK)
            fwrite(j->line.s, 1, j->line.len, stdout);
        return rc;
    }
    woq_frame_begin(&j->frame, "TOKN");
    woq_json_set_num(woq_frame_edit(&j->frame), "sample", (double)j->n_out++);
    rc = woq_frame_add(&j->frame, "ids", WOQ_U32, 1, shape, ids, err);
    return rc < 0 ? rc : woq_filter_put(&j->w, &j->frame);
}

static int on_text(void *ctx, const char *text, size_t bytes, struct woq_error *err)
{
    struct job *j = ctx;
    int rc;

    if (!n_samples)
        j->ids.n = 0;
    rc = woq_tokenizer_encode(j->t, text, bytes, !no_special, &j->ids, err);
    if (rc < 0 || n_samples)
        return rc;
    if (!seqlen)
        return put(j, j->ids.ids, j->ids.n, err);
    for (size_t i = 0; rc == WOQ_OK && i < j->ids.n; i += (size_t)seqlen) {
        const size_t left = j->ids.n - i;

        rc = put(j, j->ids.ids + i, left < (size_t)seqlen ? left : (size_t)seqlen, err);
    }
    return rc;
}

static int put_samples(struct job *j)
{
    const size_t n = (size_t)n_samples;
    size_t *start = woq_alloc(n * sizeof(*start), &j->w.err);
    int rc = start ? WOQ_OK : WOQ_ENOMEM;

    if (rc == WOQ_OK)
        rc = woq_sample_starts(start, n, j->ids.n, (size_t)seqlen, seed, &j->w.err);
    for (size_t i = 0; rc == WOQ_OK && i < n; i++)
        rc = put(j, j->ids.ids + start[i], (size_t)seqlen, &j->w.err);
    free(start);
    return rc;
}

static int on_ids(void *ctx, const uint32_t *ids, size_t n, struct woq_error *err)
{
    struct job *j = ctx;
    int rc;

    j->text.len = j->line.len = 0;
    rc = woq_tokenizer_decode(j->t, ids, n, skip_special, &j->text, err);
    if (rc == WOQ_OK && json) {
        if (woq_json_quote(&j->line, j->text.s, j->text.len) < 0 ||
            woq_str_add(&j->line, "\n", 1) < 0)
            return woq_fail_nomem(err, j->line.len);
        fwrite(j->line.s, 1, j->line.len, stdout);
    } else if (rc == WOQ_OK) {
        fwrite(j->text.s, 1, j->text.len, stdout);
    }
    return rc;
}

static int run(struct job *j)
{
    struct woq_error *err = &j->w.err;
    int rc = woq_tokenizer_load(&j->t, model, err);

    if (rc < 0)
        return rc;
    if (decode)
        return woq_id_lines_each(text_path ? text_path : "-", on_ids, j, err);
    if (jsonl_path)
        rc = woq_texts_each(jsonl_path, jsonl_key, on_text, j, err);
    else
        rc = woq_texts_each(text_path, NULL, on_text, j, err);
    return rc == WOQ_OK && n_samples ? put_samples(j) : rc;
}

int main(int argc, char **argv)
{
    struct job j = { 0 };
    int status;

    woq_filter_open(&j.w, &prog, argc, argv);
    status = woq_filter_close(&j.w, run(&j));
    woq_tokenizer_close(j.t);
    woq_ids_release(&j.ids);
    woq_str_release(&j.line);
    woq_str_release(&j.text);
    woq_frame_release(&j.frame);
    return status;
}
