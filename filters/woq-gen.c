/* woq-gen -- make a stream from text: frames by operand, a synthetic model, or bulk.
 *
 * For tests and benchmarks. Everything is a function of the arguments alone: the same bytes on
 * every host, for any number of threads. */
#include <woq/filter.h>
#include <woq/gen.h>

static const char *llama, *config_path, *model_name;
static struct woq_list modl;
static long n_frames;
static uint64_t frame_bytes = 64 << 20;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_STR, 0, "llama", "KEY=N,...", &llama, false,
      "a llama model with random weights; keys hidden inter layers heads kv vocab ctx tie dtype seed" },
    { WOQ_OPT_STR, 0, "config", "FILE", &config_path, false,
      "a model of any architecture with random f32 weights, as this config.json describes it" },
    { WOQ_OPT_STR, 0, "model", "NAME", &model_name, false, "name of the model in HEAD" },
    { WOQ_OPT_LIST, 0, "modl", "FILE", &modl, false,
      "begin with a MODL frame that holds FILE (config.json, tokenizer.json); may be repeated" },
    { WOQ_OPT_INT, 0, "frames", "N", &n_frames, false, "N tensors t0, t1, ... of random bytes",
      NULL, 0, 1e9 },
    { WOQ_OPT_SIZE, 0, "bytes", "B", &frame_bytes, false, "size of each of --frames" },
    { WOQ_OPT_END },
};
/* clang-format on */

static int put_modl(struct woq_filter *w)
{
    struct woq_frame f = { 0 };
    int rc = WOQ_OK;

    woq_frame_begin(&f, "MODL");
    for (size_t i = 0; i < modl.n && rc == WOQ_OK; i++) {
        const char *slash = strrchr(modl.items[i], '/');
        char *text = NULL;
        size_t bytes;
        void *data;
        if ((rc = woq_file_read(modl.items[i], 0, &text, &bytes, &w->err)) < 0)
            break;
        const uint64_t shape = bytes;
        rc = woq_frame_alloc(&f, slash ? slash + 1 : modl.items[i], WOQ_U8, 1, &shape, &data,
                             &w->err);
        if (rc == WOQ_OK)
            memcpy(data, text, bytes);
        free(text);
    }
    if (rc == WOQ_OK)
        rc = woq_filter_put(w, &f);
    woq_frame_release(&f);
    return rc;
}

static int put_operands(struct woq_filter *w)
{
    struct woq_frame f = { 0 };
    int rc = WOQ_OK;

    for (int i = 0; i < w->n_operands && rc == WOQ_OK; i++)
        if ((rc = woq_gen_frame(&f, w->operands[i], &w->err)) == WOQ_OK)
            rc = woq_filter_put(w, &f);
    woq_frame_release(&f);
    return rc;
}

static int put_model(struct woq_filter *w)
{
    struct woq_gen_model *m = NULL;
    struct woq_json *total;
    struct woq_frame *f;
    uint64_t frames, bytes;
    char *text = NULL;
    size_t n;
    int rc;

    if (config_path) {
        rc = woq_file_read(config_path, 0, &text, &n, &w->err);
        if (rc == WOQ_OK)
            rc = woq_gen_model_open_config(&m, text, WOQ_F32, 1, &w->err);
        free(text);
    } else {
        rc = woq_gen_model_open(&m, llama, &w->err);
    }
    if (rc < 0)
        return config_path ? woq_error_at(&w->err, "%s", config_path) : rc;
    woq_gen_model_total(m, &frames, &bytes);
    total = woq_json_object();
    woq_json_set_num(total, "frames", (double)frames);
    woq_json_set_num(total, "bytes", (double)bytes);
    woq_json_set(woq_filter_head(w), "total", total);
    while ((rc = woq_gen_model_next(m, &f, &w->err)) > 0)
        if ((rc = woq_filter_put(w, f)) < 0)
            break;
    woq_gen_model_close(m);
    return rc;
}

/* The same random bytes again and again, so that the generator is no brake on what is measured. */
static int put_bulk(struct woq_filter *w)
{
    struct woq_frame f = { 0 };
    const size_t n = (size_t)(frame_bytes / 4);
    const uint64_t shape = n;
    float *data = woq_alloc(n * 4, &w->err);
    char name[32];
    int rc = data ? WOQ_OK : WOQ_ENOMEM;

    if (data)
        woq_gen_bell(data, WOQ_F32, n, 1, 1.0 / (1 << 20), 0.0);
    for (long i = 0; i < n_frames && rc == WOQ_OK; i++) {
        snprintf(name, sizeof name, "t%ld", i);
        woq_frame_begin(&f, "TENS");
        woq_json_set_str(woq_frame_edit(&f), "name", name);
        if ((rc = woq_frame_add(&f, "data", WOQ_F32, 1, &shape, data, &w->err)) == WOQ_OK)
            rc = woq_filter_put(w, &f);
    }
    woq_frame_release(&f);
    free(data);
    return rc;
}

static int generate(struct woq_filter *w)
{
    int rc = WOQ_OK;

    woq_json_set_str(woq_filter_head(w), "order", "layer");
    if (model_name || llama)
        woq_json_set_str(woq_filter_head(w), "model", model_name ? model_name : "llama-random");
    if (modl.n)
        rc = put_modl(w);
    if (rc == WOQ_OK && llama && config_path)
        rc = woq_fail(&w->err, WOQ_EUSAGE, NULL, "--llama and --config: want one of them");
    if (rc == WOQ_OK && (llama || config_path))
        rc = put_model(w);
    if (rc == WOQ_OK && n_frames)
        rc = put_bulk(w);
    return rc == WOQ_OK ? put_operands(w) : rc;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        "woq-gen",
        "make a stream from text, for tests",
        opts,
        NULL,
        WOQ_SOURCE,
        "[NAME:DTYPE[SHAPE]:VALUES | @TYPE{META};ARRAY...]...",
        0,
        1 << 20,
        "  woq-gen w:f32:1,2,3,4 'b:f16[2,2]:rand=7' x:raw:ab | woq-cat\n"
        "  woq-gen BLKB:0 'hess:of=w;diag:f32:1,2' 'w{\"role\":\"attn.q\"}:f32[3,2]:ramp' BLKE:0\n"
        "  woq-gen --llama hidden=256,layers=4,heads=8,vocab=1000,dtype=f16 >tiny.wts\n"
    };
    struct woq_filter w;

    woq_filter_open(&w, &prog, argc, argv);
    return woq_filter_close(&w, generate(&w));
}
