/* woq-part -- one of N parts of a model stream, cut between blocks, or all of them as files.
 *
 * The stem travels with the first part, the head with the last, the side files with each, so that
 * every part can be quantized on its own host; woq-join puts them together again. */
#include <woq/filter.h>
#include <woq/part.h>

static long of, take, blocks;
static const char *into;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_INT, 'n', "of", "N", &of, false, "number of parts; 0 = one for each block", NULL, 0,
      1e6 },
    { WOQ_OPT_INT, 'k', "take", "K", &take, false, "the part to keep, 1 to N", NULL, 1, 1e6 },
    { WOQ_OPT_STR, 0, "into", "FOLDER", &into, false,
      "all parts in one pass, as FOLDER/1.wts to FOLDER/N.wts, and no stream" },
    { WOQ_OPT_INT, 'b', "blocks", "L", &blocks, false,
      "blocks of the model, where its config.json does not say; 0 = it does", NULL, 0, 1e6 },
    { WOQ_OPT_END },
};
/* clang-format on */

/* A sink with --into. */
static struct woq_program prog;

static int check(struct woq_error *err)
{
    if (!take == !into)
        return woq_fail(err, WOQ_EUSAGE, NULL, "want either --take or --into");
    if (of && take > of)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--take %ld: want 1 to --of %ld", take, of);
    if (into)
        prog.flags |= WOQ_SINK;
    return WOQ_OK;
}

static const char join_first[] = "put the parts together with woq-join first";
static const char part_already[] = "the input is a part already";

/* HEAD says from the first frame on which part this is. */
static int mark_head(struct woq_filter *w, const struct woq_part *p)
{
    struct woq_json *head = woq_filter_head(w), *mine;

    if (!head)
        return w->err.status;
    if (woq_json_get(head, "part"))
        return woq_fail(&w->err, WOQ_EDATA, join_first, part_already);
    mine = woq_part_head(head, p);
    woq_json_free(head);
    w->head = mine;
    return mine ? WOQ_OK : woq_fail_nomem(&w->err, 256);
}

static int keep_one(struct woq_filter *w)
{
    struct woq_part p = { .of = (uint64_t)of,
                          .take = (uint64_t)take,
                          .n_blocks = (uint64_t)blocks };
    struct woq_frame *f;
    bool takes, marked = false;
    int rc;

    while ((rc = woq_filter_next(w, &f)) > 0) {
        rc = woq_part_takes(&p, f, &takes, &w->err);
        if (rc == WOQ_OK && !marked)
            rc = mark_head(w, &p);
        marked = true;
        if (rc == WOQ_OK && takes)
            rc = woq_filter_put(w, f);
        if (rc < 0)
            return rc;
    }
    if (rc == WOQ_OK)
        rc = woq_part_end(&p, &w->err);
    return rc == WOQ_OK && !marked ? mark_head(w, &p) : rc;
}

static int write_all(struct woq_filter *w)
{
    struct woq_part_files p = { .folder = into,
                                .part = { .of = (uint64_t)of, .n_blocks = (uint64_t)blocks },
                                .fd = -1 };
    struct woq_frame *f;
    int rc = WOQ_OK;

    p.head = woq_filter_head(w);
    if (!p.head)
        rc = w->err.status;
    else if (woq_json_get(p.head, "part"))
        rc = woq_fail(&w->err, WOQ_EDATA, join_first, part_already);
    while (rc >= 0 && (rc = woq_filter_next(w, &f)) > 0)
        rc = woq_part_files_take(&p, f, &w->err);
    return woq_part_files_end(&p, rc, &w->err);
}

static struct woq_program prog = {
    .name = "woq-part",
    .summary = "keep one of N parts of a model, cut between blocks",
    .opts = opts,
    .check = check,
    .examples = "  woq-part --of 2 --take 1 <m.wts | ssh host1 woq-rtn --bits 4 >1.wts\n"
                "  woq-part --of 2 --take 2 <m.wts | ssh host2 woq-rtn --bits 4 >2.wts\n"
                "  woq-join 1.wts 2.wts >q.wts\n"
                "  woq-part --into parts <m.wts\n"
};

int main(int argc, char **argv)
{
    struct woq_filter w;

    woq_filter_open(&w, &prog, argc, argv);
    return woq_filter_close(&w, into ? write_all(&w) : keep_one(&w));
}
