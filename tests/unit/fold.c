/* fold.c -- folds and rotations of every architecture leave its logits as they are, and are those
 * of models.md 10 and 11. */
#include "archs.h"

#include <woq/fold.h>

/* Folds of the last block by the table of models.md 10: norms -> linears, v -> o, up -> down (of
 * every expert and of the shared one). */
static const struct expected {
    const char *fixture;
    int norms, values, inner;
} expected[] = {
    { "gptj", 1, 1, 0 },
    { "codegen", 1, 1, 0 },
    { "gpt2", 2, 1, 0 },
    { "gpt2-layers", 2, 1, 0 },
    { "gpt_bigcode", 2, 1, 0 },
    { "gpt_bigcode-heads", 2, 1, 0 },
    { "gpt_neo", 2, 1, 0 },
    { "gpt_neox", 2, 1, 0 },
    { "gpt_neox-sequential", 2, 1, 0 },
    { "opt", 2, 1, 1 },
    { "opt-350m", 0, 1, 1 },
    { "bloom", 2, 1, 0 },
    { "bloom-post", 0, 1, 0 },
    { "mpt", 2, 0, 0 },
    { "falcon-7b", 1, 1, 0 },
    { "falcon-40b", 2, 1, 0 },
    { "falcon-one-norm", 1, 1, 0 },
    { "falcon-rw", 2, 1, 0 },
    { "llama", 2, 1, 1 },
    { "mistral", 2, 1, 1 },
    { "mixtral", 2, 1, 5 },
    { "qwen2", 2, 1, 1 },
    { "qwen2_moe", 2, 1, 6 },
    { "qwen3", 2, 1, 1 },
    { "qwen3_moe", 2, 1, 5 },
    { "phi", 1, 1, 0 },
    { "phi3", 2, 1, 1 },
    { "phimoe", 2, 1, 4 },
    { "phimoe-long", 2, 1, 4 },
    { "gemma", 2, 1, 1 },
    { "gemma2", 2, 1, 1 },
    { "gemma3", 2, 1, 1 },
    { "stablelm", 2, 1, 1 },
    { "stablelm-parallel", 1, 1, 1 },
    { "starcoder2", 2, 1, 0 },
    { "granite", 2, 1, 1 },
    { "granitemoe", 2, 1, 5 },
    { "olmo", 0, 0, 1 },
    { "olmo2", 0, 1, 1 },
    { "olmo3", 0, 1, 1 },
    { "olmoe", 2, 0, 5 },
    { "glm", 2, 1, 1 },
    { "glm4", 2, 1, 1 },
    { "cohere", 1, 1, 1 },
    { "cohere2", 1, 1, 1 },
    { "smollm3", 2, 1, 1 },
    { "gpt_oss", 2, 1, 0 },
    { "deepseek_v2", 3, 1, 9 },
    { "deepseek_v3", 4, 1, 9 },
    { "baichuan-7b", 2, 1, 1 },
    { "baichuan-13b", 2, 1, 1 },
    { "chatglm", 2, 1, 1 },
    { "chatglm2-32k", 2, 1, 1 },
};

struct fold_ctx {
    struct woq_config c;
    struct woq_fold folds[64];
    float *s[64];
    size_t n_folds, n_changed;
    long block;
    bool norms;     /* scales are the norms' own weights, so that they become 1 */
    const float *q; /* a rotation, after that */
    enum woq_rotation rotation;
    float *room;
};

static void forget(struct fold_ctx *x)
{
    for (size_t i = 0; i < x->n_folds; i++)
        free(x->s[i]);
    x->n_folds = 0;
}

static void enter(struct fold_ctx *x, long block)
{
    struct woq_fold f = { 0 };

    forget(x);
    x->block = block;
    while (woq_fold_next(&x->c, (size_t)block, &f)) {
        float *s = malloc(f.n_channels * sizeof *s);
        if (x->norms && !woq_role_is_norm(f.producer)) {
            free(s);
            continue;
        }
        for (size_t i = 0; i < f.n_channels; i++)
            s[i] =
                0.5f + (float)((i * 7919 + f.step * 104729 + (size_t)(block + 2) * 31) % 97) / 64;
        assert_true(x->n_folds < 64);
        x->folds[x->n_folds] = f;
        x->s[x->n_folds++] = s;
    }
}

static int change(void *ctx, struct woq_frame *frame, struct woq_error *err)
{
    struct fold_ctx *x = ctx;
    struct woq_tensor t;
    struct woq_place p;
    int rc = woq_frame_tensor(frame, &t, err);

    if (rc < 0 || !woq_arch_place(x->c.arch, woq_frame_name(frame), &p))
        return rc;
    if (p.block != x->block)
        enter(x, p.block);
    const size_t rows = t.shape[0], cols = t.n_dims > 1 ? t.shape[1] : 1;
    for (size_t i = 0; i < x->n_folds; i++) {
        const struct woq_fold *f = &x->folds[i];
        if (x->norms && p.role == f->producer && !p.bias)
            for (size_t k = 0; k < rows; k++)
                x->s[i][k] = ((float *)t.data)[k] + (x->c.norm == WOQ_NORM_RMS_1P ? 1.0f : 0.0f);
        if (woq_fold_apply(&x->c, f, x->s[i], &p, t.data, rows, cols))
            x->n_changed++;
    }
    if (x->q)
        woq_rotation_apply(&x->c, x->rotation, x->q, &p, t.data, rows, cols, x->room);
    return rc;
}

static struct fold_ctx open_fixture(const char *fixture, char **config)
{
    struct fold_ctx x = { .block = -1 };
    struct woq_error err = { 0 };
    struct woq_json *json;
    size_t n;

    *config = slurp(fixture, "config.json", &n);
    if (woq_json_parse(&json, *config, n, &err) < 0 || woq_config_init(&x.c, json, &err) < 0)
        fail_msg("%s: %s", fixture, err.what);
    woq_json_free(json);
    return x;
}

/* Logits of the changed model beside those of the model. */
static double changed_by(const char *fixture, const char *config, struct fold_ctx *x)
{
    const struct got plain = run(fixture, config, 1, (struct change){ 0 });
    struct got other;
    double rel;

    x->block = -2;
    other = run(fixture, config, 1, (struct change){ .frame = change, .ctx = x });
    forget(x);
    assert_int_equal(plain.n, other.n);
    rel = difference(other.logits, plain.logits, plain.n);
    free(plain.logits);
    free(other.logits);
    return rel;
}

static void count(const struct fold_ctx *x, size_t block, struct expected *e)
{
    struct woq_fold f = { 0 };

    while (woq_fold_next(&x->c, block, &f))
        *(woq_role_is_norm(f.producer) ? &e->norms
          : f.producer == WOQ_ROLE_V   ? &e->values
                                       : &e->inner) += 1;
}

static void test_folds(void **state)
{
    const struct expected *want = *state;
    struct expected got = { 0 };
    char *config;
    struct fold_ctx x = open_fixture(want->fixture, &config);
    double rel;

    count(&x, x.c.n_layers - 1, &got);
    assert_int_equal(got.norms, want->norms);
    assert_int_equal(got.values, want->values);
    assert_int_equal(got.inner, want->inner);
    rel = changed_by(want->fixture, config, &x);
    if (!(rel < 2e-5))
        fail_msg("%s: the logits moved by %g of the largest", want->fixture, rel);
    assert_true(x.n_changed > 0);
    free(config);
}

/* Orthogonal, and ones stay ones: the reflection along a vector that sums to 0. */
static float *reflection(size_t n)
{
    float *q = malloc(n * n * sizeof *q);
    double *v = malloc(n * sizeof *v), mean = 0, sum = 0;

    for (size_t i = 0; i < n; i++)
        mean += (v[i] = (double)((i * 7919 + 13) % 101)) / (double)n;
    for (size_t i = 0; i < n; i++) {
        v[i] -= mean;
        sum += v[i] * v[i];
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            q[i * n + j] = (float)((i == j) - 2 * v[i] * v[j] / sum);
    free(v);
    return q;
}

/* Why R1 is refused, by models.md 11. */
static const char *const refused[][2] = {
    { "opt-350m", "its norms stand in the residual stream" },
    { "bloom", "a norm follows its embedding" },
    { "bloom-post", "the output of its norms is its residual stream" },
    { "gemma2", "norms with weights stand between its branches and the residual stream" },
    { "gemma3", "norms with weights stand between its branches and the residual stream" },
    { "glm4", "norms with weights stand between its branches and the residual stream" },
    { "olmo2", "norms with weights stand between its branches and the residual stream" },
    { "olmo3", "norms with weights stand between its branches and the residual stream" },
    { "baichuan-7b", "the rows of its head are normalised" },
};

/* What is said of R1, NULL: it is legal. */
static const char *expected_refusal(const char *fixture, const struct woq_config *c)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!strcmp(refused[i][0], fixture))
            return refused[i][1];
    return c->tie ? "its head is tied to its embedding" : NULL;
}

static void rotate(const char *fixture, enum woq_rotation r)
{
    char *config;
    struct fold_ctx x = open_fixture(fixture, &config);
    const size_t dim = r == WOQ_ROTATE_STREAM ? x.c.hidden : x.c.v_dim;
    const char *said = woq_rotation_refused(&x.c, r);
    const char *want = r == WOQ_ROTATE_STREAM ? expected_refusal(fixture, &x.c)
                       : x.c.clip_qkv > 0     ? "its values are clipped"
                                              : NULL;
    float *q = reflection(dim);

    assert_int_equal(!said, !want);
    if (want)
        assert_string_equal(said, want);
    x.norms = true;
    x.q = q;
    x.rotation = r;
    x.room = malloc(dim * sizeof *x.room);
    if (!said) {
        const double rel = changed_by(fixture, config, &x);
        if (!(rel < 2e-5))
            fail_msg("%s, R%d: the logits moved by %g of the largest", fixture, 1 + (int)r, rel);
    }
    free(x.room);
    free(q);
    free(config);
}

static void test_rotations(void **state)
{
    const char *const fixture = *state;

    rotate(fixture, WOQ_ROTATE_STREAM);
    rotate(fixture, WOQ_ROTATE_VALUES);
}

/* Every fixture has its row. */
static void test_complete(void **state)
{
    (void)state;
    assert_int_equal(sizeof expected / sizeof *expected, sizeof fixtures / sizeof *fixtures);
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++)
        assert_string_equal(expected[i].fixture, fixtures[i]);
}

int main(void)
{
    enum { N = sizeof expected / sizeof *expected };
    struct CMUnitTest tests[2 * N + 1] = { cmocka_unit_test(test_complete) };

    for (size_t i = 0; i < N; i++) {
        tests[1 + i] = (struct CMUnitTest){ .name = expected[i].fixture,
                                            .test_func = test_folds,
                                            .initial_state = (void *)(size_t)&expected[i] };
        tests[1 + N + i] =
            (struct CMUnitTest){ .name = expected[i].fixture,
                                 .test_func = test_rotations,
                                 .initial_state = (void *)(size_t)expected[i].fixture };
    }
    return _cmocka_run_group_tests("fold", tests, 2 * N + 1, NULL, NULL);
}
