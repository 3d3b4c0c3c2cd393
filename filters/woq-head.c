/* woq-head -- the beginning of a stream as a valid stream of its own.
 *
 * The rest of the input is read to its end and verified, so that the program before does not die of
 * a closed pipe and a cut input is still noticed. */
#include <woq/filter.h>

static const char *to;
static long n_frames = -1, n_blocks = -1;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_INT, 'n', "frames", "N", &n_frames, false, "the first N frames; -1 = no limit",
      NULL, -1, 1e15 },
    { WOQ_OPT_INT, 'b', "blocks", "N", &n_blocks, false,
      "what comes before the blocks, and the first N blocks; -1 = no limit", NULL, -1, 1e9 },
    { WOQ_OPT_STR, 0, "to", "NAME", &to, false, "up to and with the tensor NAME" },
    { WOQ_OPT_END },
};
/* clang-format on */

struct progress {
    long frames, blocks;
    bool ended, found;
};

/* Whether this frame still belongs to the beginning. */
static bool take(struct progress *p, const struct woq_frame *f)
{
    if (p->ended || (n_frames >= 0 && p->frames >= n_frames))
        return false;
    if (n_blocks >= 0 && p->blocks >= n_blocks && (n_blocks > 0 || woq_frame_is(f, "BLKB"))) {
        p->ended = true;
        return false;
    }
    p->frames++;
    p->blocks += woq_frame_is(f, "BLKE");
    if (to && strcmp(woq_frame_name(f), to) == 0)
        p->ended = p->found = true;
    return true;
}

/* Totals of HEAD no longer hold. */
static int run(struct woq_filter *w)
{
    struct progress p = { 0 };
    struct woq_json *head = woq_filter_head(w);
    struct woq_frame *f;
    int rc;

    if (!head)
        return w->err.status;
    woq_json_del(head, "total");
    while ((rc = woq_filter_next(w, &f)) > 0)
        if (take(&p, f) && (rc = woq_filter_put(w, f)) < 0)
            return rc;
    if (rc == WOQ_OK && to && !p.found)
        return woq_fail(&w->err, WOQ_EDATA, "woq-ls lists the names", "no frame '%s' %s", to,
                        p.ended || n_frames >= 0 ? "in that beginning" : "in this stream");
    return rc;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-head",
        .summary = "keep the beginning of a stream",
        .opts = opts,
        .examples = "  woq-extract model/ | woq-head --blocks 2 >two.wts\n"
                    "  woq-head -n 3 model.wts | woq-cat --stats\n"
    };
    struct woq_filter w;

    woq_filter_open(&w, &prog, argc, argv);
    return woq_filter_close(&w, run(&w));
}
