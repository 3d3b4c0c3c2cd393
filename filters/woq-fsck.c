/* woq-fsck -- verify a stream to the last byte, or save what is left of a damaged one.
 *
 * Silent unless something is wrong. A filter never repairs: a hole in a model is an error there.
 * Only
 * --salvage looks for the next intact frame, and says what it did not find. */
#include <woq/filter.h>
#include <woq/fsck.h>

#include <unistd.h>

static bool salvage;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_FLAG, 's', "salvage", NULL, &salvage, false,
      "write the intact frames of FILE to standard output as a new valid stream and report what is "
      "missing" },
    { WOQ_OPT_END },
};
/* clang-format on */

static int verify(struct woq_filter *w, const char *spec)
{
    struct woq_reader *r = NULL;
    struct woq_fsck *c = NULL;
    struct woq_frame *f;
    uint64_t n = 0;
    int rc = woq_filter_input(w, spec, NULL, &r);

    if (rc == WOQ_OK)
        rc = woq_fsck_open(&c, &w->err);
    while (rc >= 0 && (rc = woq_reader_next(r, &f, &w->err)) > 0) {
        n++;
        if ((rc = woq_fsck_frame(c, f, &w->err)) < 0)
            woq_error_at(&w->err, "%s: frame %llu %s, byte %llu", woq_reader_name(r),
                         (unsigned long long)f->seq, f->type, (unsigned long long)f->at_byte);
    }
    if (rc == WOQ_OK && (rc = woq_fsck_end(c, &w->err)) < 0)
        woq_error_at(&w->err, "%s", woq_reader_name(r));
    if (rc == WOQ_OK && woq_filter_verbose(w))
        printf("%s: %llu frames, %llu bytes, all right\n", woq_reader_name(r),
               (unsigned long long)n, (unsigned long long)woq_reader_bytes(r));
    woq_fsck_close(c);
    woq_reader_close(r);
    return rc;
}

static int write_kept(struct woq_filter *w, const struct woq_salvage *s, uint64_t n_missing)
{
    struct woq_frame f = { 0 };
    struct woq_writer *out = NULL;
    int rc;

    if (n_missing || !s->has_tail || !s->has_head)
        woq_json_set_num(s->head, "salvaged_without", (double)n_missing);
    rc = woq_writer_open_fd(&out, STDOUT_FILENO, "<stdout>", s->head, &w->err);
    for (size_t i = 0; i < s->n_found && rc == WOQ_OK; i++) {
        if (!s->found[i].keep)
            continue;
        woq_salvage_frame(s, i, &f);
        rc = woq_writer_put(out, &f, &w->err);
    }
    if (rc == WOQ_OK)
        rc = woq_writer_finish(out, &w->err);
    woq_frame_release(&f);
    woq_writer_close(out);
    return rc;
}

static void print_report(const struct woq_filter *w, const char *path, const struct woq_str *text)
{
    for (const char *line = text->s; line && *line; line = strchr(line, '\n') + 1)
        fprintf(stderr, "%s: %s: %.*s\n", w->prog->name, path, (int)strcspn(line, "\n"), line);
}

/* *damaged: something was wrong; what is intact was written all the same. */
static int save(struct woq_filter *w, const char *path, bool *damaged)
{
    struct woq_map map = { 0 };
    struct woq_salvage s = { 0 };
    struct woq_str text = { 0 };
    int rc;

    if (!strcmp(path, "-"))
        return woq_fail(&w->err, WOQ_EUSAGE, "save the stream to a file first",
                        "--salvage reads a file, not standard input");
    if (isatty(STDOUT_FILENO) == 1)
        return woq_fail(&w->err, WOQ_EUSAGE, "redirect it into a file",
                        "will not write frames to a terminal");
    if ((rc = woq_map_open(&map, path, &w->err)) < 0)
        return rc;
    if ((rc = woq_salvage_scan(&s, map.data, map.bytes, &w->err)) == WOQ_OK) {
        rc = write_kept(w, &s, woq_salvage_report(&s, &text));
        print_report(w, path, &text);
        *damaged = text.len > 0;
    }
    woq_str_release(&text);
    woq_salvage_release(&s);
    woq_map_release(&map);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = { .name = "woq-fsck",
                                             .summary =
                                                 "verify a stream, or save what is left of one",
                                             .opts = opts,
                                             .flags = WOQ_OPENS | WOQ_SINK,
                                             .operands = "[FILE]",
                                             .max_operands = 1,
                                             .examples =
                                                 "  woq-fsck model.wts && echo fine\n"
                                                 "  woq-fsck --salvage broken.wts >rest.wts\n" };
    struct woq_filter w;
    const char *spec;
    bool damaged = false;
    int status, rc;

    woq_filter_open(&w, &prog, argc, argv);
    spec = w.n_operands ? w.operands[0] : "-";
    rc = salvage ? save(&w, spec, &damaged) : verify(&w, spec);
    status = woq_filter_close(&w, rc);
    return status ? status : damaged;
}
