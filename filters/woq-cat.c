/* woq-cat -- print what is in the frames of a stream as text: values, statistics, side files.
 *
 * One line per array: "NAME DTYPE VALUE..." for a tensor, "NAME/ARRAY DTYPE VALUE..." for the
 * arrays of a quantized one, "TYPE NAME/ARRAY DTYPE VALUE..." for frames that describe another; the
 * first line is HEAD with its meta. Frames of unknown types show their type and payload size. */
#include <woq/filter.h>
#include <woq/inspect.h>

static bool values, stats, no_head;
static const char *match = "*", *file;
static long limit;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_FLAG, 0, "values", NULL, &values, false, "print all values (the default)" },
    { WOQ_OPT_FLAG, 0, "stats", NULL, &stats, false,
      "print shape, min, max, mean, std, absmax and the number of NaN and Inf per array instead" },
    { WOQ_OPT_STR, 'm', "match", "GLOB", &match, false, "only frames whose name matches GLOB" },
    { WOQ_OPT_INT, 'n', "limit", "N", &limit, false, "at most N values per array; 0 = all",
      NULL, 0, 1e15 },
    { WOQ_OPT_STR, 0, "file", "NAME", &file, false,
      "print only the side file NAME of the MODL frame, byte for byte (config.json)" },
    { WOQ_OPT_FLAG, 0, "no-head", NULL, &no_head, false, "do not print the line of HEAD" },
    { WOQ_OPT_END },
};
/* clang-format on */

static int check(struct woq_error *err)
{
    if (file && (stats || values))
        return woq_fail(err, WOQ_EUSAGE, NULL, "--file goes without --values and --stats");
    if (stats && values)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--values and --stats exclude each other");
    return WOQ_OK;
}

static const char *label(const struct woq_frame *f)
{
    const char *of = woq_json_get_str(f->meta, "of");
    return *woq_frame_name(f) ? woq_frame_name(f) : of ? of : "";
}

static void print_values(struct woq_str *s, const struct woq_array *a)
{
    const size_t n = limit && (size_t)limit < a->n_elem ? (size_t)limit : a->n_elem;

    for (size_t i = 0; i < n; i++) {
        woq_str_add(s, " ", 1);
        woq_array_print(s, a, i);
        if (s->len > 1 << 16) { /* a whole matrix as text need not fit in memory */
            fwrite(s->s, 1, s->len, stdout);
            s->len = 0;
        }
    }
    if (n < a->n_elem)
        woq_str_addf(s, " ...");
}

static void print_stats(struct woq_str *s, const struct woq_array *a)
{
    struct woq_stats st;

    woq_array_stats(&st, a);
    woq_str_add(s, " ", 1);
    woq_shape_print(s, a->n_dims, a->shape);
    woq_str_addf(s, " min=%.9g max=%.9g mean=%.9g std=%.9g absmax=%.9g nan=%llu inf=%llu", st.min,
                 st.max, st.mean, st.std, st.absmax, (unsigned long long)st.n_nan,
                 (unsigned long long)st.n_inf);
}

static void print_array(struct woq_str *s, const struct woq_frame *f, const struct woq_array *a)
{
    const bool tensor = woq_frame_is_tensor(f);

    if (!tensor && !woq_frame_is(f, "QTEN"))
        woq_str_addf(s, "%s ", f->type);
    woq_str_addf(s, "%s", label(f));
    if (!tensor || strcmp(a->name, "data") != 0)
        woq_str_addf(s, "/%s", a->name);
    woq_str_addf(s, " %s", woq_dtype_name(a->dtype));
    stats ? print_stats(s, a) : print_values(s, a);
    woq_str_addf(s, "\n");
}

/* Frames whose values say something; of any other the size has to do. */
static bool has_values(const struct woq_frame *f)
{
    static const char *const types[] = { "TENS", "QTEN", "hess", "stat", "scal", "acts", "TOKN" };

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (woq_frame_is(f, types[i]))
            return true;
    return false;
}

static void print_other(struct woq_str *s, const struct woq_frame *f)
{
    uint64_t block, bytes = 0;
    char *text;

    woq_str_addf(s, "%s", f->type);
    if (woq_frame_is(f, "MODL")) {
        for (size_t i = 0; i < f->n_arrays; i++)
            woq_str_addf(s, " %s %zu", f->arrays[i].name, f->arrays[i].bytes);
    } else if (woq_json_u64(woq_json_get(f->meta, "block"), &block)) {
        woq_str_addf(s, " %llu", (unsigned long long)block);
    } else if (!f->n_arrays && (text = woq_json_print(f->meta, false))) {
        woq_str_addf(s, " %s", text);
        free(text);
    } else {
        for (size_t i = 0; i < f->n_arrays; i++)
            bytes = woq_align(bytes, 64) + f->arrays[i].bytes;
        woq_str_addf(s, " %llu", (unsigned long long)bytes);
    }
    woq_str_addf(s, "\n");
}

static void print_frame(const struct woq_frame *f)
{
    struct woq_str s = { 0 };

    if (has_values(f))
        for (size_t i = 0; i < f->n_arrays; i++)
            print_array(&s, f, &f->arrays[i]);
    else
        print_other(&s, f);
    fwrite(s.s, 1, s.len, stdout);
    woq_str_release(&s);
}

static int print_head(struct woq_filter *w)
{
    char *text;

    if (no_head || file || !woq_filter_head(w))
        return w->err.status;
    if (!(text = woq_json_print(w->head, false)))
        return woq_fail_nomem(&w->err, 1 << 10);
    printf("HEAD %s\n", text);
    free(text);
    return WOQ_OK;
}

static int run(struct woq_filter *w)
{
    const struct woq_array *a = NULL;
    struct woq_frame *f;
    bool found = false;
    int rc = print_head(w);

    while (rc >= 0 && (rc = woq_filter_next(w, &f)) > 0) {
        if (file && woq_frame_is(f, "MODL") && !found && (a = woq_frame_array(f, file))) {
            found = true;
            fwrite(a->data, 1, a->bytes, stdout);
        }
        if (!file && (!strcmp(match, "*") || woq_name_match(label(f), match)))
            print_frame(f);
        if (ferror(stdout))
            return WOQ_OK; /* close tells */
    }
    if (rc == WOQ_OK && file && !found)
        return woq_fail(&w->err, WOQ_EDATA, "woq-cat lists them in the line MODL",
                        "no side file '%s' in this stream", file);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-cat",
        .summary = "print the arrays of a stream as text",
        .opts = opts,
        .check = check,
        .flags = WOQ_SINK,
        .examples = "  woq-gen w:f32:1,2,3 | woq-cat\n"
                    "  woq-extract model/ | woq-cat --stats --match '*.q_proj.weight'\n"
                    "  woq-cat --file config.json model.wts\n"
    };
    struct woq_filter w;

    woq_filter_open(&w, &prog, argc, argv);
    return woq_filter_close(&w, run(&w));
}
