/* woq-extract -- a checkpoint as a stream of tensors, front to back.
 *
 * Whatever the order in the file, frames come in model order: stem, block 0, 1, ..., head. Files
 * are mapped and each tensor goes out from where it lies, so that one tensor is in memory at a
 * time. */
#include <formats/extract.h>
#include <formats/fingerprint.h>
#include <inttypes.h>
#include <woq/filter.h>

static bool list, json, no_side, check_finite;
static const char *match, *dtype = "keep";
static struct woq_st_opts torch;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_FLAG, 'l', "list", NULL, &list, false,
      "list the tensors as text (name, type in the file, shape, bytes, role) and write no stream" },
    { WOQ_OPT_FLAG, 0, "json", NULL, &json, false, "--list as one JSON object" },
    { WOQ_OPT_STR, 'm', "match", "GLOB", &match, false, "only tensors whose name matches GLOB" },
    { WOQ_OPT_ENUM, 0, "dtype", "TYPE", &dtype, false, "type of float tensors in the stream",
      "keep|f32|f16|bf16" },
    { WOQ_OPT_FLAG, 0, "no-side", NULL, &no_side, false,
      "leave out the tokenizer and the other side files; config.json always travels" },
    { WOQ_OPT_STR, 0, "key", "NAME", &torch.key, false,
      "PyTorch files: the tensors are in the dict under this key of the pickle's dict" },
    { WOQ_OPT_FLAG, 0, "check-crc", NULL, &torch.check_crc, false,
      "PyTorch files: compare each member of the archive with its CRC-32 first; reads them twice" },
    { WOQ_OPT_FLAG, 0, "check-finite", NULL, &check_finite, false,
      "stop at the first weight that is NaN or infinite" },
    { WOQ_OPT_END },
};
/* clang-format on */

static int check(struct woq_error *err);
static struct woq_program prog = {
    "woq-extract",
    "write a checkpoint as a stream",
    opts,
    check,
    WOQ_SOURCE,
    "MODEL",
    1,
    1,
    "  woq-extract model/ | woq-rtn --bits 4 | woq-pack --format gptq -o out/\n"
    "  woq-extract --list model.gguf\n",
};

static int check(struct woq_error *err)
{
    if (json && !list)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--json is for --list");
    if (list)
        prog.flags |= WOQ_SINK; /* text: fit for a terminal, without HEAD and TAIL */
    return WOQ_OK;
}

static void list_text(const struct woq_source *s, const struct woq_plan *p)
{
    char shape[128];

    for (size_t i = 0; i < p->n_steps; i++) {
        const struct woq_item *item = &s->items[p->steps[i].item];

        woq_shape_text(shape, sizeof shape, item->n_dims, item->shape);
        printf("%-48s %-8s %-14s %12" PRIu64 "  %s\n", item->name, item->stored, shape,
               item->file_bytes, woq_role_name(p->steps[i].place.role));
    }
}

static int list_json(const struct woq_source *s, const struct woq_plan *p, struct woq_error *err)
{
    struct woq_json *root = woq_extract_list(s, p);
    char *text = woq_json_print(root, false);

    woq_json_free(root);
    if (!text)
        return woq_fail_nomem(err, 1);
    puts(text);
    free(text);
    return WOQ_OK;
}

/* "/models/tiny/" -> "tiny": the path itself stays at home. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

static int put_head(struct woq_filter *w, const struct woq_source *s, const struct woq_plan *p,
                    enum woq_dtype to)
{
    struct woq_json *head = woq_filter_head(w), *total = woq_json_object();
    struct woq_frame f = { 0 };
    uint64_t n_frames, bytes;
    int rc;

    woq_extract_total(s, p, no_side, to, &n_frames, &bytes);
    woq_json_set_num(total, "frames", (double)n_frames);
    woq_json_set_num(total, "bytes", (double)bytes);
    woq_json_set_str(head, "model", base_name(s->path));
    woq_json_set_str(head, "order", "layer");
    woq_json_set(head, "total", total);
    woq_json_set(head, "source", woq_fingerprints(s->path)); /* woq-pack spares it */
    woq_progress_phase(w->progress, "extract", bytes, "B");
    if ((rc = woq_extract_modl(&f, s, no_side, &w->err)) == WOQ_OK)
        rc = woq_filter_put(w, &f);
    woq_frame_release(&f);
    return rc;
}

static int put_border(struct woq_filter *w, const char *type, long block)
{
    struct woq_frame f = { 0 };

    woq_frame_begin(&f, type);
    woq_json_set_num(woq_frame_edit(&f), "block", (double)block);
    const int rc = woq_filter_put(w, &f);
    woq_frame_release(&f);
    return rc;
}

static int put_tensors(struct woq_filter *w, struct woq_source *s, const struct woq_plan *p,
                       enum woq_dtype to)
{
    struct woq_frame f = { 0 };
    struct woq_buf buf = { 0 };
    long block = -1;
    int rc = WOQ_OK;

    for (size_t i = 0; i <= p->n_steps && rc == WOQ_OK; i++) {
        const long next = i < p->n_steps ? p->steps[i].place.block : -1;

        if (next != block && block >= 0 && (rc = put_border(w, "BLKE", block)) < 0)
            break;
        if (next != block && next >= 0 && (rc = put_border(w, "BLKB", next)) < 0)
            break;
        block = next;
        if (i == p->n_steps || (rc = woq_extract_load(&f, s, p, i, &w->err)) < 0 ||
            (check_finite && (rc = woq_extract_check_finite(&f, &w->err)) < 0) ||
            (rc = woq_extract_cast(&f, to, &buf, &w->err)) < 0)
            break;
        rc = woq_filter_put(w, &f);
        woq_progress_step(w->progress, woq_writer_bytes(w->out), woq_frame_name(&f));
    }
    woq_buf_release(&buf);
    woq_frame_release(&f);
    return rc;
}

static int run(struct woq_filter *w, struct woq_source *s, struct woq_plan *p)
{
    const enum woq_dtype to = woq_dtype_from_name(dtype); /* "keep" is none */
    int rc;

    if (match && (rc = woq_plan_match(p, s, match, &w->err)) < 0)
        return rc;
    if (p->n_unknown)
        woq_filter_note(w, "%zu tensors are unknown to the architecture ('%s', ...); they go last",
                        p->n_unknown, p->unknown);
    if (p->n_ignored && woq_filter_verbose(w))
        woq_filter_note(w, "left out %zu tensors that follow from others", p->n_ignored);
    if (s->no_tokenizer.what[0] && !list)
        woq_filter_note(w, "%s: no tokenizer: %s", s->path, s->no_tokenizer.what);
    if (list && json)
        return list_json(s, p, &w->err);
    if (list) {
        list_text(s, p);
        return WOQ_OK;
    }
    rc = put_head(w, s, p, to);
    return rc < 0 ? rc : put_tensors(w, s, p, to);
}

int main(int argc, char **argv)
{
    struct woq_source *s = NULL;
    struct woq_plan p = { 0 };
    struct woq_filter w;
    int rc;

    woq_filter_open(&w, &prog, argc, argv);
    if ((rc = woq_source_open_with(&s, w.operands[0], &torch, &w.err)) == WOQ_OK &&
        (rc = woq_plan_init(&p, s, !list, &w.err)) == WOQ_OK)
        rc = run(&w, s, &p);
    rc = woq_filter_close(&w, rc);
    woq_plan_release(&p);
    woq_source_close(s);
    return rc;
}
