/* woq-tokens -- texts to token ids by a model's own tokenizer, and back.
 *
 * Calibration data as a stream: frames TOKN, each with one array `ids` (u32); with --json, --decode
 * and --print-chat text. Texts are joined before samples are drawn: no document is too short. */
#include <formats/tokenizer_load.h>
#include <woq/chat_opts.h>
#include <woq/filter.h>
#include <woq/tokens.h>

static const char *model, *text_path, *jsonl_path, *chat_path, *jsonl_key = "text";
static struct woq_chat_options chat;
static long n_samples, seqlen;
static uint64_t seed;
static bool json, no_special, decode, skip_special, print_chat;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_STR, 'm', "model", "MODEL", &model, true,
      "whose tokenizer: a checkpoint, a stream in a file, or a tokenizer.json" },
    { WOQ_OPT_STR, 't', "text", "FILE", &text_path, false,
      "one text: the whole file, as it is; - is standard input" },
    { WOQ_OPT_STR, 0, "jsonl", "FILE", &jsonl_path, false,
      "one text per line: a string in the line's JSON object; - is standard input" },
    { WOQ_OPT_STR, 0, "jsonl-key", "KEY", &jsonl_key, false, "name of that string" },
    { WOQ_OPT_STR, 0, "chat", "FILE", &chat_path, false,
      "conversations, by the model's chat template: the file's JSON, or each line's" },
    WOQ_CHAT_OPTS(chat),
    WOQ_CHAT_PROMPT_OPT(chat),
    { WOQ_OPT_FLAG, 0, "print-chat", NULL, &print_chat, false,
      "print what --chat makes, not its ids; with --json print JSON strings" },
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
        "  woq-tokens --model model/ --chat talks.jsonl --samples 128 >calib.wts\n"
        "  echo '[1,2,3]' | woq-tokens --model tokenizer.json --decode\n",
};

static int check(struct woq_error *err)
{
    const bool windows = n_samples || seqlen;
    const struct {
        bool wrong;
        const char *hint, *what;
    } rules[] = {
        { decode && (jsonl_path || chat_path || windows), NULL,
          "--decode takes neither --jsonl nor --chat nor --samples nor --seqlen" },
        { !decode && !!text_path + !!jsonl_path + !!chat_path != 1, NULL,
          "want one of --text, --jsonl and --chat" },
        { skip_special && !decode, "use --no-special", "--skip-special is for --decode" },
        { no_special && decode, "use --skip-special", "--no-special is not for --decode" },
        { no_special && chat_path, NULL,
          "--no-special: which special tokens there are is what the chat template says" },
        { !chat_path && (print_chat || woq_chat_asked(&chat)), NULL,
          "options of chat templates are for --chat" },
        { print_chat && windows, NULL, "--print-chat prints whole conversations" },
    };

    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].wrong)
            return woq_fail(err, WOQ_EUSAGE, rules[i].hint, "%s", rules[i].what);
    if (n_samples && !seqlen)
        seqlen = 2048;
    if (json || decode || print_chat)
        prog.flags |= WOQ_SINK; /* no frames are written then */
    return WOQ_OK;
}

struct job {
    struct woq_filter w;
    struct woq_tokenizer *t;
    struct woq_chat *chat;
    struct woq_ids ids;
    struct woq_str line, text;
    struct woq_frame frame;
    size_t n_out;
};

/* One text or sample goes out. */
static int put(void *ctx, const uint32_t *ids, size_t n, struct woq_error *err)
{
    struct job *j = ctx;
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

/* j->text goes out; with --json as a string. */
static int print_text(struct job *j, struct woq_error *err)
{
    const struct woq_str *out = json ? &j->line : &j->text;

    j->line.len = 0;
    if (json && (woq_json_quote(&j->line, j->text.s, j->text.len) < 0 ||
                 woq_str_add(&j->line, "\n", 1) < 0))
        return woq_fail_nomem(err, j->line.len);
    if (out->len)
        fwrite(out->s, 1, out->len, stdout);
    return WOQ_OK;
}

/* A text, or with --chat a conversation. */
static int on_text(void *ctx, const char *text, size_t bytes, struct woq_error *err)
{
    struct job *j = ctx;
    int rc;

    if (!n_samples)
        j->ids.n = 0;
    j->text.len = 0;
    if (print_chat) {
        rc = woq_chat_text(j->chat, text, bytes, &j->text, err);
        return rc < 0 ? rc : print_text(j, err);
    }
    rc = j->chat ? woq_chat_encode(j->chat, j->t, text, bytes, &j->ids, err)
                 : woq_tokenizer_encode(j->t, text, bytes, !no_special, &j->ids, err);
    return rc < 0 || n_samples ? rc : woq_pieces_each(&j->ids, (size_t)seqlen, put, j, err);
}

static int on_ids(void *ctx, const uint32_t *ids, size_t n, struct woq_error *err)
{
    struct job *j = ctx;
    int rc;

    j->text.len = 0;
    rc = woq_tokenizer_decode(j->t, ids, n, skip_special, &j->text, err);
    return rc < 0 ? rc : print_text(j, err);
}

static int run(struct job *j)
{
    struct woq_error *err = &j->w.err;
    int rc = chat_path ? woq_chat_load(&j->chat, &j->t, model, &chat, err)
                       : woq_tokenizer_load(&j->t, model, err);

    if (rc < 0)
        return rc;
    if (decode)
        return woq_id_lines_each(text_path ? text_path : "-", on_ids, j, err);
    rc = chat_path ? woq_chats_each(chat_path, on_text, j, err)
                   : woq_texts_each(jsonl_path ? jsonl_path : text_path,
                                    jsonl_path ? jsonl_key : NULL, on_text, j, err);
    if (rc == WOQ_OK && n_samples)
        rc = woq_samples_each(&j->ids, (size_t)n_samples, (size_t)seqlen, seed, put, j, err);
    return rc;
}

int main(int argc, char **argv)
{
    struct job j = { 0 };
    int status;

    woq_filter_open(&j.w, &prog, argc, argv);
    status = woq_filter_close(&j.w, run(&j));
    woq_tokenizer_close(j.t);
    woq_chat_close(j.chat);
    woq_ids_release(&j.ids);
    woq_str_release(&j.line);
    woq_str_release(&j.text);
    woq_frame_release(&j.frame);
    return status;
}
