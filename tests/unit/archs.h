/* archs.h -- the fixtures of tests/golden/archs and a run of one, for the unit tests of
 * architectures. Include it once, after cmocka's headers. */
#ifndef WOQ_TEST_ARCHS_H
#define WOQ_TEST_ARCHS_H
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
    "chatglm2-32k",
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

/* Logits of the fixture's model, whose frames go through `change` (may be NULL) first. */
struct change {
    int (*frame)(void *ctx, struct woq_frame *f, struct woq_error *err);
    void *ctx;
    struct woq_gen_model *m;
};
static int next(void *ctx, struct woq_frame **f, struct woq_error *err)
{
    const struct change *change = ctx;
    int rc = woq_gen_model_next(change->m, f, err);

    if (rc > 0 && change->frame && woq_frame_is_tensor(*f)) {
        const int changed = change->frame(change->ctx, *f, err);
        rc = changed < 0 ? changed : rc;
    }
    return rc;
}

static struct got run(const char *fixture, const char *config, int windows, struct change change)
{
    char path[] = "/tmp/woq-archs.XXXXXX";
    struct got g = { 0 };
    const struct woq_logits_sink sink = { begin, rows, &g };
    struct woq_error err = { 0 };
    struct woq_json *result, *json;
    struct woq_config c;

    if (woq_json_parse(&json, config, strlen(config), &err) < 0 ||
        woq_config_init(&c, json, &err) < 0 ||
        woq_gen_model_open_config(&change.m, config, WOQ_F32, 1, &err) < 0)
        fail_msg("%s: %s", fixture, err.what);
    woq_json_free(json);
    write_ids(path, c.vocab, windows);
    const struct woq_frames frames = { fixture, next, &change };
    const struct woq_eval_opts o = {
        .input = WOQ_EVAL_TOKENS, .path = path, .ctx = T, .logits = &sink
    };
    if (woq_eval(&o, &frames, &result, &err) < 0)
        fail_msg("%s: %s", fixture, err.what);
    woq_json_free(result);
    woq_gen_model_close(change.m);
    remove(path);
    return g;
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

#endif
