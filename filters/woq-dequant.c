/* woq-dequant -- turn quantized weights into float ones: w = (code - zero) * scale. */
#include <woq/filter.h>
#include <woq/quant.h>
#include <woq/threads.h>

static const char *dtype_name = "f32", *match = "*";

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_ENUM, 'd', "dtype", "DTYPE", &dtype_name, false,
      "type of the float weights; f16 and bf16 round to nearest", "f32|f16|bf16" },
    { WOQ_OPT_STR, 'm', "match", "GLOB", &match, false, "only weights whose name matches GLOB" },
    { WOQ_OPT_END },
};
/* clang-format on */

struct job {
    const struct woq_qview *q;
    enum woq_dtype dtype;
    uint8_t *dst;
    struct woq_buf *row; /* [threads]: a row in f32, where the output is narrower */
};

static void do_row(void *ctx, size_t row, int thread)
{
    const struct job *j = ctx;
    const size_t n = j->q->n_cols;
    uint8_t *dst = j->dst + row * n * woq_dtype_bytes(j->dtype);
    float *wide = j->dtype == WOQ_F32 ? (float *)(void *)dst : j->row[thread].data;

    woq_dequant_rows(wide, j->q, row, row + 1);
    if (j->dtype != WOQ_F32)
        woq_from_f32(dst, j->dtype, wide, n);
}

/* A weight that was finite may overflow in f16: an infinity would ruin the model without a word. */
static int check_overflow(const struct job *j, struct woq_error *err)
{
    const size_t n = j->q->n_rows * j->q->n_cols;
    const uint16_t inf = j->dtype == WOQ_F16 ? 0x7c00 : 0x7f80;

    for (size_t i = 0; j->dtype != WOQ_F32 && i < n; i++) {
        uint16_t u;
        memcpy(&u, j->dst + 2 * i, sizeof u);
        if ((u & 0x7fff) >= inf)
            return woq_fail(err, WOQ_EDATA, "take --dtype f32",
                            "weight [%zu][%zu] does not fit in %s", i / j->q->n_cols,
                            i % j->q->n_cols, woq_dtype_name(j->dtype));
    }
    return WOQ_OK;
}

static int dequant(struct woq_frame *out, const struct woq_frame *f, struct woq_buf *rows,
                   struct woq_error *err)
{
    struct woq_qview q;
    struct job j = { .q = &q, .dtype = woq_dtype_from_name(dtype_name), .row = rows };
    uint64_t shape[2];
    void *dst = NULL;
    int rc = woq_qview_init(&q, f, err);

    if (rc)
        return rc;
    woq_frame_begin(out, "TENS");
    woq_json_each(item, f->meta) if (strcmp(woq_json_key(item), "quant") != 0 &&
                                     strcmp(woq_json_key(item), "raw_format") != 0)
        woq_json_set(woq_frame_edit(out), woq_json_key(item), woq_json_copy(item));
    shape[0] = q.n_rows;
    shape[1] = q.n_cols;
    if ((rc = woq_frame_alloc(out, "data", j.dtype, 2, shape, &dst, err)))
        return rc;
    for (int t = 0; j.dtype != WOQ_F32 && t < woq_threads(); t++)
        if (!woq_buf_need(&rows[t], q.n_cols * sizeof(float), err))
            return WOQ_ENOMEM;
    j.dst = dst;
    woq_parallel(q.n_rows, do_row, &j);
    return check_overflow(&j, err);
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-dequant",
        .summary = "turn quantized weights into float ones",
        .opts = opts,
        .examples = "  woq-extract out-gptq/ | woq-dequant --dtype bf16 | "
                    "woq-pack --format safetensors -o float/\n"
    };
    struct woq_filter w;
    struct woq_frame *f, out = { 0 };
    struct woq_buf *rows;
    int rc = WOQ_OK;

    woq_filter_open(&w, &prog, argc, argv);
    rows = calloc((size_t)woq_threads(), sizeof *rows);
    if (!rows)
        rc = woq_fail_nomem(&w.err, sizeof *rows);
    while (rc >= 0 && (rc = woq_filter_next(&w, &f)) > 0) {
        const bool take = woq_frame_is(f, "QTEN") && woq_name_match(woq_frame_name(f), match);
        if (take && dequant(&out, f, rows, &w.err))
            rc = woq_filter_at(&w, f);
        else
            rc = woq_filter_put(&w, take ? &out : f);
    }
    for (int t = 0; rows && t < woq_threads(); t++)
        woq_buf_release(&rows[t]);
    free(rows);
    woq_frame_release(&out);
    return woq_filter_close(&w, rc);
}
