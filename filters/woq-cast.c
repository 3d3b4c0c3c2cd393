/* woq-cast -- change the element type of float tensors.
 *
 * Rounds to nearest even. A finite value that is too large for f16 or bf16 is an error, because an
 * infinity in a weight ruins the model without a word; --saturate takes the largest finite value.
 */
#include <woq/filter.h>
#include <woq/threads.h>

static const char *to, *match = "*";
static bool saturate;
static enum woq_dtype target;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_ENUM, 't', "to", "DTYPE", &to, true, "the new type", "f32|f16|bf16" },
    { WOQ_OPT_STR, 'm', "match", "GLOB", &match, false, "only tensors whose name matches GLOB" },
    { WOQ_OPT_FLAG, 0, "saturate", NULL, &saturate, false,
      "take the largest finite value where a value overflows, and say how many did" },
    { WOQ_OPT_END },
};
/* clang-format on */

#define CHUNK_ELEMS ((size_t)1 << 14)

struct job {
    unsigned char *dst;
    const unsigned char *src;
    enum woq_dtype from;
    size_t n_elem;
    size_t *n_over; /* one count per chunk */
};

static int check(struct woq_error *err)
{
    (void)err;
    target = woq_dtype_from_name(to);
    return WOQ_OK;
}

static bool is_finite_at(const unsigned char *src, enum woq_dtype d, const float *x, size_t i)
{
    double wide;

    if (d != WOQ_F64)
        return isfinite(x[i]);
    memcpy(&wide, src + i * sizeof wide, sizeof wide);
    return isfinite(wide);
}

/* Whether rounding overflows is seen on its result: half a step above the largest value still fits.
 */
static size_t saturate_chunk(unsigned char *dst, const unsigned char *src, enum woq_dtype from,
                             const float *x, size_t n)
{
    const float most = target == WOQ_F16    ? 65504.0f
                       : target == WOQ_BF16 ? 0x1.fep127f
                                            : 0x1.fffffep127f; /* largest finite values */
    const size_t size = woq_dtype_bytes(target);
    size_t n_over = 0;

    for (size_t i = 0; i < n; i++) {
        float back;
        if (fabsf(x[i]) < 65504.0f) /* NaN goes on and is not infinite below */
            continue;
        woq_to_f32(&back, dst + i * size, target, 1);
        if (!isinf(back) || !is_finite_at(src, from, x, i))
            continue;
        back = copysignf(most, x[i]);
        woq_from_f32(dst + i * size, target, &back, 1);
        n_over++;
    }
    return n_over;
}

static void cast_chunk(void *ctx, size_t item, int thread)
{
    const struct job *j = ctx;
    const size_t first = item * CHUNK_ELEMS, step = 1024, from = woq_dtype_bytes(j->from);
    const size_t end = j->n_elem - first < CHUNK_ELEMS ? j->n_elem : first + CHUNK_ELEMS;
    float x[1024];

    (void)thread;
    for (size_t at = first; at < end; at += step) {
        const size_t n = end - at < step ? end - at : step;
        unsigned char *dst = j->dst + at * woq_dtype_bytes(target);
        woq_to_f32(x, j->src + at * from, j->from, n);
        woq_from_f32(dst, target, x, n);
        j->n_over[item] += saturate_chunk(dst, j->src + at * from, j->from, x, n);
    }
}

static int cast(struct woq_filter *w, struct woq_frame *f, size_t *n_over)
{
    struct woq_tensor t;
    struct job j;
    size_t n_chunks, over = 0;
    void *dst;
    int rc;

    if (!woq_frame_is_tensor(f) || !woq_name_match(woq_frame_name(f), match))
        return WOQ_OK;
    if ((rc = woq_frame_view(f, &t, &w->err)) < 0 || !woq_dtype_is_float(t.dtype) ||
        t.dtype == target)
        return rc;
    if ((rc = woq_frame_alloc(f, "data", target, t.n_dims, t.shape, &dst, &w->err)) < 0)
        return rc;
    n_chunks = (t.n_elem + CHUNK_ELEMS - 1) / CHUNK_ELEMS;
    j = (struct job){ dst, t.data, t.dtype, t.n_elem, calloc(n_chunks + 1, sizeof *j.n_over) };
    if (!j.n_over)
        return woq_fail_nomem(&w->err, n_chunks);
    woq_parallel(n_chunks, cast_chunk, &j);
    for (size_t i = 0; i < n_chunks; i++)
        over += j.n_over[i];
    free(j.n_over);
    if (over && !saturate)
        return woq_fail(&w->err, WOQ_EDATA, "use bf16, or --saturate to take the largest value",
                        "tensor '%s': %zu values are too large for %s", t.name, over, to);
    *n_over += over;
    return WOQ_OK;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = { .name = "woq-cast",
                                             .summary = "change the element type of float tensors",
                                             .opts = opts,
                                             .check = check,
                                             .examples =
                                                 "  woq-extract model/ | woq-cast --to f16 | "
                                                 "woq-pack --format safetensors -o half/\n" };
    struct woq_filter w;
    struct woq_frame *f;
    size_t n_over = 0;
    int rc;

    woq_filter_open(&w, &prog, argc, argv);
    while ((rc = woq_filter_next(&w, &f)) > 0)
        if ((rc = cast(&w, f, &n_over)) < 0 || (rc = woq_filter_put(&w, f)) < 0)
            break;
    if (rc == 0 && n_over)
        woq_filter_note(&w, "%zu values saturated to the largest %s", n_over, to);
    return woq_filter_close(&w, rc);
}
