/* eval.c -- what share of the machine's sgemm peak a forward reaches: the shape of SmolLM2-135M
 * with random weights, ctx 512, all windows through 30 blocks and the head, as woq-eval runs it.
 *
 * The peak is the best sgemm of the same run: n threads with one single-threaded sgemm each, and
 * OpenBLAS with its own threads; the better one counts. Prints a line each. Usage: eval [WINDOWS],
 * or eval peak: that figure only, for scripts. */
#include <woq/decoder.h>
#include <woq/kernels.h>
#include <woq/linalg.h>
#include <woq/threads.h>
#include <woq/util.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CTX = 512, SIDE = 2048, VOCAB = 49152 };

static const char config_json[] =
    "{\"model_type\":\"llama\",\"hidden_size\":576,\"intermediate_size\":1536,"
    "\"num_hidden_layers\":30,\"num_attention_heads\":9,\"num_key_value_heads\":3,"
    "\"vocab_size\":49152,\"rope_theta\":100000,\"tie_word_embeddings\":true}";

static void die(const struct woq_error *err)
{
    fprintf(stderr, "eval: %s\n", err->what);
    exit(1);
}

static float *values(size_t n, float size)
{
    struct woq_error err;
    float *x = woq_alloc(n * sizeof *x, &err);
    uint32_t state = 1;

    if (!x)
        die(&err);
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = size * ((float)(state >> 8) / 8388608.0f - 1);
    }
    return x;
}

struct peak {
    const float *a, *b;
    float **c; /* one per thread */
};

static void multiply(void *ctx, size_t item, int thread)
{
    const struct peak *p = ctx;

    (void)item;
    woq_sgemm(false, false, SIDE, SIDE, SIDE, 1, p->a, SIDE, p->b, SIDE, 0, p->c[thread], SIDE);
}

static double gflops(double flops, uint64_t ns)
{
    return flops / (double)ns;
}

/* Best of three turns of n_items products side by side. */
static double best_of(struct peak *p, size_t n_items)
{
    const double flops = 2.0 * SIDE * SIDE * SIDE * (double)n_items;
    double best = 0;

    for (int i = 0; i < 3; i++) {
        const uint64_t t0 = woq_now_ns();
        double g;

        woq_parallel(n_items, multiply, p);
        g = gflops(flops, woq_now_ns() - t0);
        best = g > best ? g : best;
    }
    return best;
}

static double measure_peak(void)
{
    const size_t n = (size_t)woq_threads(), area = (size_t)SIDE * SIDE;
    float *mem = values((n + 2) * area, 1), *out[1024];
    struct peak p = { mem, mem + area, out };
    double each, own;

    for (size_t t = 0; t < n; t++)
        out[t] = mem + (t + 2) * area;
    woq_blas_set_threads(1);
    each = best_of(&p, n);
    woq_blas_set_threads((int)n);
    own = best_of(&p, 1);
    woq_blas_set_threads(1);
    fprintf(stderr,
            "sgemm %d^3  %7.1f GFLOP/s, one thread per call; %.1f, threads of OpenBLAS (%s, %zu)\n",
            SIDE, each, own, woq_blas_core(), n);
    free(mem);
    return each > own ? each : own;
}

static void fill_block(struct woq_block *b, const struct woq_config *c)
{
    for (unsigned r = WOQ_ROLE_ATTN_NORM; r <= WOQ_ROLE_DOWN; r++) {
        const struct woq_place p = { (enum woq_role)r, 0, 0, false };
        uint64_t shape[2];
        unsigned n_dims;

        if (!woq_config_shape(c, &p, &n_dims, shape))
            continue;
        b->bufs[r].data = values(shape[0] * shape[1], n_dims == 1 ? 1 : 0.04f);
        b->w[r] = b->bufs[r].data;
    }
}

static struct woq_config read_config(void)
{
    struct woq_error err;
    struct woq_json *root;
    struct woq_config c;

    if (woq_json_parse(&root, config_json, strlen(config_json), &err) < 0 ||
        woq_config_init(&c, root, &err) < 0)
        die(&err);
    woq_json_free(root);
    return c;
}

struct bench {
    struct woq_config c;
    struct woq_decoder *d;
    struct woq_block block;
    struct woq_head head;
    float *x;
    uint32_t *targets;
    struct woq_score *scores;
    size_t n_windows, n_rows;
};

static void prepare(struct bench *b)
{
    struct woq_error err;

    b->c = read_config();
    fill_block(&b->block, &b->c);
    b->n_rows = b->n_windows * (CTX - 1);
    b->x = values(b->n_windows * CTX * b->c.hidden, 1);
    b->head = (struct woq_head){ .norm = b->block.w[WOQ_ROLE_ATTN_NORM],
                                 .weight = values((size_t)VOCAB * b->c.hidden, 0.04f),
                                 .n_vocab = VOCAB };
    b->targets = woq_alloc(b->n_rows * sizeof *b->targets, &err);
    b->scores = woq_alloc(b->n_rows * sizeof *b->scores, &err);
    if (!b->targets || !b->scores || woq_decoder_open(&b->d, &b->c, CTX, &err) < 0)
        die(&err);
    memset(b->targets, 0, b->n_rows * sizeof *b->targets);
}

static void run_blocks(struct bench *b)
{
    struct woq_error err;

    for (b->block.index = 0; b->block.index < b->c.n_layers; b->block.index++)
        if (woq_block_forward(b->d, &b->block, b->x, b->n_windows, CTX, NULL, &err) < 0)
            die(&err);
}

static void run_head(struct bench *b)
{
    struct woq_error err;

    if (woq_head_score(b->d, b->scores, b->x, b->targets, b->n_rows, &b->head, NULL, &err) < 0)
        die(&err);
}

static void tell(const char *what, double flops, uint64_t ns, double peak)
{
    /* A row of `make bench`; the figure to reach is 0.75 for the whole. */
    printf("eval, %s\t%.1f\tGFLOP/s\tsgemm peak %.1f GFLOP/s\t%.2f\n", what, gflops(flops, ns),
           peak, gflops(flops, ns) / peak);
}

int main(int argc, char **argv)
{
    struct bench b = { .n_windows = argc > 1 ? strtoul(argv[1], NULL, 10) : 24 };
    double blocks, head, peak, again;
    uint64_t t0, t1, t2;

    if (argc > 1 && strcmp(argv[1], "peak") == 0) {
        printf("%.1f\n", measure_peak());
        return 0;
    }
    prepare(&b);
    blocks = woq_forward_flops(&b.c, b.n_windows, CTX, 0, 0);
    head = woq_forward_flops(&b.c, 0, 0, b.n_rows, VOCAB);
    peak = measure_peak();
    t0 = woq_now_ns();
    run_blocks(&b);
    t1 = woq_now_ns();
    run_head(&b);
    t2 = woq_now_ns();
    again = measure_peak();
    peak = again > peak ? again : peak;
    tell("blocks", blocks, t1 - t0, peak);
    tell("head", head, t2 - t1, peak);
    tell("whole", blocks + head, t2 - t0, peak);
    /* llama-perplexity made 794 tokens/s of 300 GFLOP/s on this model. */
    const double rate = (double)(b.n_windows * CTX) * 1e9 / (double)(t2 - t0);
    printf("eval, f32, ctx %d\t%.0f\ttokens/s\tllama-perplexity at this peak %.0f\t%.2f\n", CTX,
           rate, peak * 794 / 300, rate / (peak * 794 / 300));
    return 0;
}
