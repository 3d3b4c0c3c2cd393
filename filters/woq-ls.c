/* woq-ls -- list the frames of a stream, a line each.
 *
 * Only headers and meta are looked at; the payloads of a file are never read, so that a 70B model
 * is listed at once. HEAD and TAIL are not listed: exit status 0 says that both are right. */
#include <woq/filter.h>
#include <woq/inspect.h>

static bool json, verify;
static const char *match = "*", *index_path;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_FLAG, 'j', "json", NULL, &json, false, "one JSON object per line, with all arrays and meta" },
    { WOQ_OPT_STR, 'm', "match", "GLOB", &match, false, "only frames whose name matches GLOB" },
    { WOQ_OPT_STR, 0, "index", "FILE", &index_path, false,
      "write a side file too: name, TAB, byte offset of the frame" },
    { WOQ_OPT_FLAG, 0, "verify", NULL, &verify, false, "read and verify payloads too" },
    { WOQ_OPT_END },
};
/* clang-format on */

/* What a frame is about: its name, or the name of what it describes. */
static const char *label(const struct woq_frame *f)
{
    const char *of = woq_json_get_str(f->meta, "of");
    return *woq_frame_name(f) ? woq_frame_name(f) : of ? of : "-";
}

static bool wanted(const struct woq_frame *f)
{
    return !strcmp(match, "*") || woq_name_match(label(f), match);
}

static int print_line(struct woq_str *s, const struct woq_frame *f)
{
    const struct woq_array *a = f->n_arrays && !woq_frame_is(f, "MODL")
                                    ? &f->arrays[0]
                                    : NULL; /* files have no one shape */

    woq_str_addf(s, "%6llu %12llu %s %-44s %-4s ", (unsigned long long)f->seq,
                 (unsigned long long)f->at_byte, f->type, label(f),
                 a ? woq_dtype_name(a->dtype) : "-");
    if (a)
        woq_shape_print(s, a->n_dims, a->shape);
    else
        woq_str_addf(s, "-");
    return woq_str_addf(s, " %llu %016llx\n", (unsigned long long)f->wire_payload_bytes,
                        (unsigned long long)f->wire_hash);
}

static struct woq_json *arrays_json(const struct woq_frame *f)
{
    struct woq_json *list = woq_json_array();

    for (size_t i = 0; i < f->n_arrays; i++) {
        struct woq_json *a = woq_json_object(), *shape = woq_json_array();
        for (unsigned d = 0; d < f->arrays[i].n_dims; d++)
            woq_json_push(shape, woq_json_of_num((double)f->arrays[i].shape[d]));
        woq_json_set_str(a, "name", f->arrays[i].name);
        woq_json_set_str(a, "dtype", woq_dtype_name(f->arrays[i].dtype));
        woq_json_set(a, "shape", shape);
        woq_json_set_num(a, "bytes", (double)f->arrays[i].bytes);
        woq_json_push(list, a);
    }
    return list;
}

static int print_json(struct woq_str *s, const struct woq_frame *f)
{
    struct woq_json *o = woq_json_object();
    char hash[17], *text;
    int rc;

    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)f->wire_hash);
    woq_json_set_num(o, "seq", (double)f->seq);
    woq_json_set_num(o, "offset", (double)f->at_byte);
    woq_json_set_str(o, "type", f->type);
    woq_json_set_num(o, "bytes", (double)f->wire_payload_bytes);
    woq_json_set_str(o, "hash", hash);
    woq_json_set_bool(o, "describes", f->flags & WOQ_FRAME_OF);
    woq_json_set(o, "meta", woq_json_copy(f->meta));
    woq_json_set(o, "arrays", arrays_json(f));
    text = woq_json_print(o, false);
    rc = text ? woq_str_addf(s, "%s\n", text) : WOQ_ENOMEM;
    free(text);
    woq_json_free(o);
    return rc;
}

static int list(struct woq_filter *w, struct woq_reader *r, FILE *index)
{
    struct woq_str s = { 0 };
    struct woq_frame *f;
    int rc;

    while ((rc = woq_reader_next(r, &f, &w->err)) > 0) {
        if (!wanted(f))
            continue;
        s.len = 0;
        if ((json ? print_json(&s, f) : print_line(&s, f)) < 0) {
            rc = woq_fail_nomem(&w->err, s.cap);
            break;
        }
        fwrite(s.s, 1, s.len, stdout);
        if (index && strcmp(label(f), "-") != 0)
            fprintf(index, "%s\t%llu\n", label(f), (unsigned long long)f->at_byte);
    }
    woq_str_release(&s);
    return rc;
}

static int run(struct woq_filter *w)
{
    const char *spec = w->n_operands ? w->operands[0] : "-";
    struct woq_reader_opts ro = { .keep_enc = true, .no_body_hash = !verify };
    struct woq_reader *r = NULL;
    FILE *index = NULL;
    int rc = woq_filter_input(w, spec, &ro, &r);

    if (rc == WOQ_OK && index_path && !(index = fopen(index_path, "we")))
        rc = woq_fail_errno(&w->err, NULL, "can't write '%s'", index_path);
    if (rc == WOQ_OK)
        rc = list(w, r, index);
    if (index && (fclose(index) != 0) && rc == WOQ_OK)
        rc = woq_fail_errno(&w->err, NULL, "can't write '%s'", index_path);
    woq_reader_close(r);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        "woq-ls",
        "list the frames of a stream: number, offset, type, name, dtype, shape, bytes, hash",
        opts,
        NULL,
        WOQ_OPENS | WOQ_SINK,
        "[FILE]",
        0,
        1,
        "  woq-ls model.wts\n"
        "  woq-extract model/ | woq-ls --json | jq -r .meta.role\n"
    };
    struct woq_filter w;

    woq_filter_open(&w, &prog, argc, argv);
    return woq_filter_close(&w, run(&w));
}
