/* woq-part -- one of N parts of a model stream, cut between blocks.
 *
 * The stem travels with the first part, the head with the last, the side files with each, so that
 * every part can be quantized on its own host; woq-join puts them together again. */
#include <woq/filter.h>
#include <woq/part.h>

static long of, take, blocks;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_INT, 'n', "of", "N", &of, true, "number of parts", NULL, 1, 1e6 },
    { WOQ_OPT_INT, 'k', "take", "K", &take, true, "the part to keep, 1 to N", NULL, 1, 1e6 },
    { WOQ_OPT_INT, 'b', "blocks", "L", &blocks, false,
      "blocks of the model, where its config.json does not say; 0 = it does", NULL, 0, 1e6 },
    { WOQ_OPT_END },
};
/* clang-format on */

static int check(struct woq_error *err)
{
    if (take > of)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--take %ld: want 1 to --of %ld", take, of);
    return WOQ_OK;
}

/* HEAD of a part: which one it is, and the totals of the whole for woq-join. */
static void mark_head(struct woq_json *head, const struct woq_part *p)
{
    struct woq_json *part = woq_json_object();

    woq_json_set_num(part, "of", (double)p->of);
    woq_json_set_num(part, "take", (double)p->take);
    if (p->n_blocks)
        woq_json_set_num(part, "blocks", (double)p->n_blocks);
    woq_json_set(part, "total", woq_json_copy(woq_json_get(head, "total")));
    woq_json_del(head, "total");
    woq_json_set(head, "part", part);
}

static int run(struct woq_filter *w)
{
    struct woq_part p = { .of = (uint64_t)of,
                          .take = (uint64_t)take,
                          .n_blocks = (uint64_t)blocks };
    struct woq_frame *f;
    bool takes, marked = false;
    int rc;

    while ((rc = woq_filter_next(w, &f)) > 0) {
        if ((rc = woq_part_takes(&p, f, &takes, &w->err)) < 0)
            return rc;
        if (!marked) {
            if (woq_json_get(woq_filter_head(w), "part"))
                return woq_fail(&w->err, WOQ_EDATA, "put the parts together with woq-join first",
                                "the input is a part already");
            mark_head(woq_filter_head(w), &p);
            marked = true;
        }
        if (takes && (rc = woq_filter_put(w, f)) < 0)
            return rc;
    }
    if (rc == WOQ_OK && !marked)
        mark_head(woq_filter_head(w), &p);
    return rc == WOQ_OK ? woq_part_end(&p, &w->err) : rc;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-part",
        .summary = "keep one of N parts of a model, cut between blocks",
        .opts = opts,
        .check = check,
        .examples = "  woq-part --of 2 --take 1 <m.wts | ssh host1 woq-rtn --bits 4 >1.wts\n"
                    "  woq-part --of 2 --take 2 <m.wts | ssh host2 woq-rtn --bits 4 >2.wts\n"
                    "  woq-join 1.wts 2.wts >q.wts\n"
    };
    struct woq_filter w;

    woq_filter_open(&w, &prog, argc, argv);
    return woq_filter_close(&w, run(&w));
}
