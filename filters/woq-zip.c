/* woq-zip -- compress the payload of each frame with zstd, or expand it again.
 *
 * Every reader takes compressed frames, and what a filter does not change travels on compressed;
 * lists and skipping work as before. A payload that does not shrink is left as it is. */
#include <woq/filter.h>

static long level = 3;
static bool expand;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_INT, 'l', "level", "N", &level, false, "zstd level", NULL, 1, 19 },
    { WOQ_OPT_FLAG, 'd', "expand", NULL, &expand, false, "expand compressed frames instead" },
    { WOQ_OPT_END },
};
/* clang-format on */

static int put(struct woq_filter *w, struct woq_frame *f)
{
    if (expand) {
        if (f->wire_enc)
            woq_frame_edit(f); /* a changed frame is written plainly */
        return woq_filter_put(w, f);
    }
    return woq_filter_put_zstd(w, f, (int)level);
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-zip",
        .summary = "compress the frames of a stream",
        .opts = opts,
        .examples = "  woq-extract model/ | woq-zip | ssh host 'cat >model.wts'\n"
                    "  woq-zip -d <model.wts >plain.wts\n"
    };
    struct woq_filter w;
    struct woq_frame *f;
    int rc;

    woq_filter_open(&w, &prog, argc, argv);
    while ((rc = woq_filter_next(&w, &f)) > 0)
        if ((rc = put(&w, f)) < 0)
            break;
    return woq_filter_close(&w, rc);
}
