/* archs.c -- every architecture against logits recorded from its original (tests/golden/archs): the
 * model is made from its config, as woq-gen --config does, and goes through woq_eval. */
#include <woq/decoder.h>
#include <woq/eval.h>
#include <woq/gen.h>
#include <woq/model.h>
#include <woq/util.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { T = 13 };

static const char *const fixtures[] = {
    "gptj",
    "codegen",
    "gpt2",
    "gpt2-layers",
    "gpt_bigcode",
    "gpt_bigcode-heads",
    "gpt_neo",
    "gpt_neox",
    "gpt_neox-sequential",
    "opt",
    "opt-350m",
    "bloom",
    "bloom-post",
    "mpt",
    "falcon-7b",
    "falcon-40b",
    "falcon-one-norm",
    "falcon-rw",
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "phi",
    "phi3",
    "phimoe",
    "phimoe-long",
    "gemma",
    "gemma2",
    "gemma3",
    "stablelm",
    "stablelm-parallel",
    "starcoder2",
    "granite",
    "granitemoe",
    "olmo",
    "olmo2",
    "olmo3",
    "olmoe",
    "glm",
    "glm4",
    "cohere",
    "cohere2",
    "smollm3",
    "gpt_oss",
    "deepseek_v2",
    "deepseek_v3",
    "baichuan-7b",
    "baichuan-13b",
    "chatglm",
};

static char *slurp(const char *fixture, const char *file, size_t *n)
{
    struct woq_error err = { 0 };
    char path[256], *text;

    snprintf(path, sizeof path, "tests/golden/archs/%s/%s", fixture, file);
    if (woq_file_read(path, 0, &text, n, &err) < 0)
        fail_msg("%s", err.what);
    return text;
}

static int next(void *ctx, struct woq_frame **f, struct woq_error *err)
{
    return woq_gen_model_next(ctx, f, err);
}

struct got {
    float *logits;
    size_t n, cols;
};

static int begin(void *ctx, size_t n_rows, size_t n_cols, struct woq_error *err)
{
    struct got *g = ctx;

    g->cols = n_cols;
    g->n = 0;
    g->logits = woq_alloc(n_rows * n_cols * sizeof *g->logits, err);
    return g->logits ? 0 : WOQ_ENOMEM;
}

static int rows(void *ctx, const float *logits, size_t n_rows, struct woq_error *err)
{
    struct got *g = ctx;

    (void)err;
    memcpy(g->logits + g->n, logits, n_rows * g->cols * sizeof *logits);
    g->n += n_rows * g->cols;
    return 0;
}

/* The recorded ids, `times` windows of them. */
static void write_ids(char *path, size_t vocab, int times)
{
    const int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

    assert_non_null(f);
    for (int i = 0; i < times * T; i++)
        fprintf(f, "%c%d", i ? ',' : '[', (7 * (i % T) * (i % T) + 3 * (i % T) + 5) % (int)vocab);
    fprintf(f, "]\n");
    fclose(f);
}

static struct got run(const char *fixture, const char *config, int windows)
{
    char path[] = "/tmp/woq-archs.XXXXXX";
    struct got g = { 0 };
    const struct woq_logits_sink sink = { begin, rows, &g };
    struct woq_gen_model *m;
    struct woq_error err = { 0 };
    struct woq_json *result, *json;
    struct woq_config c;

    if (woq_json_parse(&json, config, strlen(config), &err) < 0 ||
        woq_config_init(&c, json, &err) < 0 ||
        woq_gen_model_open_config(&m, config, WOQ_F32, 1, &err) < 0)
        fail_msg("%s: %s", fixture, err.what);
    woq_json_free(json);
    write_ids(path, c.vocab, windows);
    const struct woq_frames frames = { fixture, next, m };
    const struct woq_eval_opts o = {
        .input = WOQ_EVAL_TOKENS, .path = path, .ctx = T, .logits = &sink
    };
    if (woq_eval(&o, &frames, &result, &err) < 0)
        fail_msg("%s: %s", fixture, err.what);
    woq_json_free(result);
    woq_gen_model_close(m);
    remove(path);
    return g;
}

/* The same by a sequence with a cache: seven tokens at once, then one by one. */
static float *run_sequence(const char *config, size_t *n)
{
    struct woq_block *blocks, outside = { .index = WOQ_OUTSIDE };
    struct woq_error err = { 0 };
    struct woq_frame *f, embed = { 0 };
    struct woq_gen_model *m;
    struct woq_sequence *s;
    struct woq_json *json;
    struct woq_config c;
    struct woq_head head;
    const float *tied;
    struct woq_buf buf = { 0 };
    struct woq_tensor t;
    uint32_t ids[T];
    float *x, *logits;
    size_t block = 0;

    assert_int_equal(woq_json_parse(&json, config, strlen(config), &err), 0);
    assert_int_equal(woq_config_init(&c, json, &err), 0);
    woq_json_free(json);
    assert_int_equal(woq_gen_model_open_config(&m, config, WOQ_F32, 1, &err), 0);
    blocks = calloc(c.n_layers, sizeof *blocks);
    while (woq_gen_model_next(m, &f, &err) > 0) {
        block = (size_t)woq_json_get_int(f->meta, "block", -1);
        if (woq_frame_is(f, "BLKB"))
            blocks[block].index = block;
        if (!woq_frame_is_tensor(f))
            continue;
        if (!strcmp(woq_json_get_str(f->meta, "role"), "embed"))
            woq_frame_move(&embed, f);
        else if (woq_block_take(block < c.n_layers ? &blocks[block] : &outside, &c, f, &err) < 0)
            fail_msg("%s", err.what);
    }
    woq_gen_model_close(m);
    assert_int_equal(woq_frame_f32(&embed, &t, &tied, &buf, &err), 0);
    woq_head_init(&head, &c, &outside, tied);
    x = malloc(T * c.hidden * sizeof *x);
    logits = malloc(T * c.vocab * sizeof *logits);
    for (size_t i = 0; i < T; i++)
        ids[i] = (uint32_t)((7 * i * i + 3 * i + 5) % c.vocab);
    assert_int_equal(woq_embed(x, &c, &embed, &outside, ids, T, SIZE_MAX, 0, &err), 0);
    assert_int_equal(woq_sequence_open(&s, &c, T, &err), 0);
    for (size_t i = 0; i < T; i += i ? 1 : 7)
        assert_int_equal(woq_sequence_forward(s, blocks, x + i * c.hidden, i ? 1 : 7, &err), 0);
    for (size_t i = 0; i < T; i++)
        assert_int_equal(
            woq_sequence_logits(s, logits + i * c.vocab, x + i * c.hidden, &head, &err), 0);
    woq_sequence_close(s);
    for (size_t l = 0; l < c.n_layers; l++)
        woq_block_release(&blocks[l]);
    woq_block_release(&outside);
    woq_frame_release(&embed);
    woq_buf_release(&buf);
    free(blocks);
    free(x);
    *n = T * c.vocab;
    return logits;
}

/* Largest error relative to the largest logit. */
static double difference(const float *a, const float *b, size_t n)
{
    double worst = 0, top = 0;

    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        top = fmax(top, fabs((double)b[i]));
    }
    return worst / top;
}

static void test_logits(void **state)
{
    const char *const fixture = *state;
    size_t n, bytes;
    char *config = slurp(fixture, "config.json", &n);
    char *npy = slurp(fixture, "logits.npy", &bytes);
    float *want = malloc(bytes);
    struct got one = run(fixture, config, 1), two;
    double rel;

    assert_true(bytes > one.n * sizeof *want);
    memcpy(want, npy + bytes - one.n * sizeof *want, one.n * sizeof *want);
    rel = difference(one.logits, want, one.n);
    if (getenv("WOQ_VERBOSE"))
        printf("%-20s %.1e\n", fixture, rel);
    if (!(rel < 1e-4))
        fail_msg("%s: off by %g of the largest logit", fixture, rel);
    /* Every window is one of its own. */
    two = run(fixture, config, 2);
    assert_int_equal(two.n, 2 * one.n);
    assert_true(difference(two.logits, want, one.n) < 1e-4);
    assert_true(difference(two.logits + one.n, want, one.n) < 1e-4);
    free(one.logits);
    one.logits = run_sequence(config, &n);
    assert_int_equal(n, one.n);
    rel = difference(one.logits, want, n);
    if (!(rel < 1e-4))
        fail_msg("%s: a sequence is off by %g of the largest logit", fixture, rel);
    free(one.logits);
    free(two.logits);
    free(want);
    free(npy);
    free(config);
}

int main(void)
{
    enum { N = sizeof fixtures / sizeof *fixtures };
    struct CMUnitTest tests[N];

    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){ .name = fixtures[i],
                                        .test_func = test_logits,
                                        .initial_state = (void *)(size_t)fixtures[i] };
    return _cmocka_run_group_tests("archs", tests, N, NULL, NULL);
}
