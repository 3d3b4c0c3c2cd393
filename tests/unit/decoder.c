/* decoder.c -- the blocked, threaded forward against the formulas of models.md 6 written down
 * naively in double, for shapes that meet every border: windows shorter and longer than a chunk,
 * sliding windows, grouped heads, partial rotation, biases. */
#include <woq/decoder.h>
#include <woq/threads.h>
#include <woq/util.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t state = 12345;

static float uniform(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1;
}

static float *values(size_t n, float size, float offset)
{
    float *x = malloc((n + 1) * sizeof *x);

    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = offset + size * uniform();
    return x;
}

static struct woq_config config(const char *json)
{
    struct woq_json *root;
    struct woq_error err = { 0 };
    struct woq_config c;

    assert_int_equal(woq_json_parse(&root, json, strlen(json), &err), 0);
    if (woq_config_init(&c, root, &err) < 0)
        fail_msg("%s", err.what);
    woq_json_free(root);
    return c;
}

static void random_block(struct woq_block *b, const struct woq_config *c, size_t index)
{
    memset(b, 0, sizeof *b);
    b->index = index;
    for (unsigned r = WOQ_ROLE_ATTN_NORM; r <= WOQ_ROLE_DOWN; r++) {
        struct woq_place p = { (enum woq_role)r, (long)index, 0, false };
        uint64_t shape[2];
        unsigned n_dims;

        if (!woq_config_shape(c, &p, &n_dims, shape))
            continue;
        b->w[r] = values(shape[0] * shape[1], n_dims == 1 ? 0.2f : 0.3f, n_dims == 1 ? 1 : 0);
        p.bias = true;
        if (woq_config_shape(c, &p, &n_dims, shape))
            b->bias[r] = values(shape[0], 0.2f, 0);
    }
}

static void free_block(struct woq_block *b)
{
    for (unsigned r = 0; r < WOQ_N_ROLES; r++) {
        free((void *)(size_t)b->w[r]);
        free((void *)(size_t)b->bias[r]);
    }
}

/* --- the reference --- */

static void ref_linear(double *y, const double *x, const struct woq_block *b, enum woq_role role,
                       size_t out, size_t in)
{
    for (size_t o = 0; o < out; o++) {
        double sum = b->bias[role] ? (double)b->bias[role][o] : 0;

        for (size_t i = 0; i < in; i++)
            sum += x[i] * (double)b->w[role][o * in + i];
        y[o] = sum;
    }
}

static void ref_norm(double *y, const double *x, const float *w, size_t n, double eps)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] / sqrt(sum / (double)n + eps) * (double)w[i];
}

static void ref_rope(double *x, const struct woq_config *c, size_t p)
{
    const size_t half = c->n_rot / 2;

    for (size_t i = 0; i < half; i++) {
        const double a = (double)p * pow(c->rope_theta, -2.0 * (double)i / (double)c->n_rot);
        const double u = x[i], v = x[i + half];

        x[i] = u * cos(a) - v * sin(a);
        x[i + half] = v * cos(a) + u * sin(a);
    }
}

static void ref_attend(double *out, const double *qkv, const struct woq_config *c, size_t i,
                       size_t window)
{
    const size_t dim = c->head_dim, width = (c->n_heads + 2 * c->n_kv_heads) * dim;
    const size_t lo = window && i + 1 > window ? i + 1 - window : 0;

    for (size_t a = 0; a < c->n_heads; a++) {
        const size_t g = a / (c->n_heads / c->n_kv_heads);
        double *s = malloc((i + 1) * sizeof *s), max = -1e300, sum = 0;

        for (size_t j = lo; j <= i; j++) {
            s[j] = 0;
            for (size_t d = 0; d < dim; d++)
                s[j] += qkv[i * width + a * dim + d] * qkv[j * width + (c->n_heads + g) * dim + d] /
                        sqrt((double)dim);
            max = fmax(max, s[j]);
        }
        for (size_t j = lo; j <= i; j++)
            sum += s[j] = exp(s[j] - max);
        for (size_t d = 0; d < dim; d++) {
            out[a * dim + d] = 0;
            for (size_t j = lo; j <= i; j++)
                out[a * dim + d] +=
                    s[j] / sum * qkv[j * width + (c->n_heads + c->n_kv_heads + g) * dim + d];
        }
        free(s);
    }
}

static void ref_forward(double *x, const struct woq_block *b, const struct woq_config *c,
                        size_t ctx)
{
    const size_t h = c->hidden, q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
    const size_t width = q + 2 * kv;
    double *qkv = calloc(ctx * width, sizeof *qkv), *n = calloc(h + q + 3 * c->inter, 8);
    double *att = n + h, *gate = att + q, *up = gate + c->inter, *y = malloc(h * sizeof *y);

    for (size_t t = 0; t < ctx; t++) {
        double *row = qkv + t * width;

        ref_norm(n, x + t * h, b->w[WOQ_ROLE_ATTN_NORM], h, (double)c->eps);
        ref_linear(row, n, b, WOQ_ROLE_Q, q, h);
        ref_linear(row + q, n, b, WOQ_ROLE_K, kv, h);
        ref_linear(row + q + kv, n, b, WOQ_ROLE_V, kv, h);
        for (size_t a = 0; a < c->n_heads + c->n_kv_heads; a++)
            ref_rope(row + a * c->head_dim, c, t);
    }
    for (size_t t = 0; t < ctx; t++) {
        ref_attend(att, qkv, c, t, woq_config_window(c, b->index));
        ref_linear(y, att, b, WOQ_ROLE_O, h, q);
        for (size_t i = 0; i < h; i++)
            x[t * h + i] += y[i];
        ref_norm(n, x + t * h, b->w[WOQ_ROLE_MLP_NORM], h, (double)c->eps);
        ref_linear(gate, n, b, WOQ_ROLE_GATE, c->inter, h);
        ref_linear(up, n, b, WOQ_ROLE_UP, c->inter, h);
        for (size_t i = 0; i < c->inter; i++)
            gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
        ref_linear(y, gate, b, WOQ_ROLE_DOWN, h, c->inter);
        for (size_t i = 0; i < h; i++)
            x[t * h + i] += y[i];
    }
    free(y);
    free(n);
    free(qkv);
}

/* --- tests --- */

#define SMALL                                                                                      \
    "\"hidden_size\":20,\"intermediate_size\":28,\"num_hidden_layers\":2,\"vocab_size\":50,"       \
    "\"head_dim\":8,\"rope_theta\":100,\"rms_norm_eps\":1e-3,"

static void run_shape(const char *json, size_t n_windows, size_t ctx)
{
    const struct woq_config c = config(json);
    const size_t n = n_windows * ctx * c.hidden;
    float *x = values(n, 1, 0);
    double *want = calloc(n + 1, sizeof *want), worst = 0, top = 0;
    struct woq_error err = { 0 };
    struct woq_decoder *d;
    struct woq_block b;

    for (size_t i = 0; i < n; i++)
        want[i] = (double)x[i];
    assert_int_equal(woq_decoder_open(&d, &c, ctx + 3, &err), 0);
    for (size_t l = 0; l < 2; l++) {
        random_block(&b, &c, l);
        assert_int_equal(woq_block_forward(d, &b, x, n_windows, ctx, NULL, &err), 0);
        for (size_t w = 0; w < n_windows; w++)
            ref_forward(want + w * ctx * c.hidden, &b, &c, ctx);
        free_block(&b);
    }
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)x[i] - want[i]));
        top = fmax(top, fabs(want[i]));
    }
    if (!(worst < 2e-6 * top))
        fail_msg("%zu x %zu: off by %g of %g", n_windows, ctx, worst, top);
    woq_decoder_close(d);
    free(want);
    free(x);
}

static const char mha[] = "{\"model_type\":\"llama\"," SMALL
                          "\"num_attention_heads\":5,\"attention_bias\":true,\"mlp_bias\":true}";
static const char gqa[] =
    "{\"model_type\":\"llama\"," SMALL "\"num_attention_heads\":6,\"num_key_value_heads\":2,"
    "\"partial_rotary_factor\":0.5}";
static const char windowed[] = "{\"model_type\":\"mistral\"," SMALL "\"num_attention_heads\":3,"
                               "\"num_key_value_heads\":1,\"sliding_window\":70}";

static void test_short_windows(void **unused)
{
    (void)unused;
    run_shape(mha, 1, 1);
    run_shape(mha, 3, 7);
    run_shape(gqa, 41, 37); /* several chunks of whole windows, the last one short */
    run_shape(windowed, 2, 70);
    run_shape(windowed, 5, 131);
}

static void test_long_windows(void **unused)
{
    (void)unused;
    run_shape(gqa, 2, 513);
    run_shape(windowed, 1, 777);
}

struct seen {
    struct woq_error *err;
    size_t next[4], width[4];
    double sum[4];
    int n_calls, fail_at;
};

static int look(void *ctx, const char *group, const float *x, size_t n_tokens, size_t width,
                size_t token0, struct woq_error *err)
{
    static const char *const names[] = { "qkv", "o", "gateup", "down" };
    struct seen *s = ctx;
    size_t g = 0;

    while (strcmp(group, names[g]) != 0)
        g++;
    assert_int_equal(token0, s->next[g]);
    for (size_t later = g + 1; later < 4; later++)
        assert_int_equal(s->next[later], 0);
    s->next[g] += n_tokens;
    s->width[g] = width;
    for (size_t i = 0; i < n_tokens * width; i++)
        s->sum[g] += (double)x[i];
    if (++s->n_calls == s->fail_at)
        return woq_fail(err, WOQ_EDATA, NULL, "enough");
    return 0;
}

static void test_tap(void **unused)
{
    const struct woq_config c = config(gqa);
    const size_t n_windows = 3, ctx = 600, n = n_windows * ctx * c.hidden;
    float *x = values(n, 1, 0), *y = malloc(n * sizeof *y);
    struct seen s = { 0 };
    const struct woq_tap tap = { look, NULL, &s };
    struct woq_error err = { 0 };
    struct woq_decoder *d;
    struct woq_block b;

    (void)unused;
    memcpy(y, x, n * sizeof *y);
    random_block(&b, &c, 0);
    assert_int_equal(woq_decoder_open(&d, &c, ctx, &err), 0);
    assert_int_equal(woq_block_forward(d, &b, x, n_windows, ctx, &tap, &err), 0);
    assert_int_equal(woq_block_forward(d, &b, y, n_windows, ctx, NULL, &err), 0);
    assert_memory_equal(x, y, n * sizeof *x);
    for (size_t g = 0; g < 4; g++)
        assert_int_equal(s.next[g], n_windows * ctx);
    assert_int_equal(s.width[0], c.hidden);
    assert_int_equal(s.width[1], c.n_heads * c.head_dim);
    assert_int_equal(s.width[3], c.inter);
    assert_true(s.sum[0] != 0 && s.sum[3] != 0);
    memset(&s, 0, sizeof s);
    s.fail_at = 2;
    assert_int_equal(woq_block_forward(d, &b, x, n_windows, ctx, &tap, &err), WOQ_EDATA);
    assert_string_equal(err.what, "enough");
    woq_decoder_close(d);
    free_block(&b);
    free(x);
    free(y);
}

/* Token by token gives what windows give. */
static void test_sequence(void **unused)
{
    enum { CTX = 90 };
    const struct woq_config c = config(windowed);
    const size_t n = CTX * c.hidden;
    float *x = values(n, 1, 0), *y = malloc(n * sizeof *y);
    struct woq_error err = { 0 };
    struct woq_block b[2];
    struct woq_decoder *d;
    struct woq_sequence *s;

    (void)unused;
    memcpy(y, x, n * sizeof *y);
    assert_int_equal(woq_decoder_open(&d, &c, CTX, &err), 0);
    assert_int_equal(woq_sequence_open(&s, &c, CTX, &err), 0);
    for (size_t l = 0; l < 2; l++) {
        random_block(&b[l], &c, l);
        assert_int_equal(woq_block_forward(d, &b[l], x, 1, CTX, NULL, &err), 0);
    }
    for (size_t t = 0; t < CTX; t += t ? 1 : 11)
        for (size_t l = 0; l < 2; l++)
            assert_int_equal(woq_sequence_forward(s, &b[l], y + t * c.hidden, t ? 1 : 11, &err), 0);
    for (size_t i = 0; i < n; i++)
        assert_true(fabsf(x[i] - y[i]) < 2e-5f * (1 + fabsf(x[i])));
    free_block(&b[0]);
    free_block(&b[1]);
    woq_sequence_close(s);
    woq_decoder_close(d);
    free(x);
    free(y);
}

static void test_nan_is_told(void **unused)
{
    const struct woq_config c = config(gqa);
    float *x = values(9 * c.hidden, 1, 0);
    struct woq_error err = { 0 };
    struct woq_decoder *d;
    struct woq_block b;

    (void)unused;
    random_block(&b, &c, 1);
    x[3 * c.hidden] = (float)INFINITY;
    assert_int_equal(woq_decoder_open(&d, &c, 9, &err), 0);
    assert_int_equal(woq_block_forward(d, &b, x, 1, 9, NULL, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "block 1"));
    woq_decoder_close(d);
    free_block(&b);
    free(x);
}

/* --- frames of a block --- */

static int take(struct woq_block *b, const struct woq_config *c, const char *name,
                enum woq_dtype dtype, uint64_t rows, uint64_t cols, const void *data,
                struct woq_error *err)
{
    struct woq_frame f = { 0 };
    const uint64_t shape[] = { rows, cols };
    int rc;

    memset(err, 0, sizeof *err);
    woq_frame_begin(&f, "TENS");
    woq_json_set_str(woq_frame_edit(&f), "name", name);
    rc = woq_frame_add(&f, "data", dtype, cols ? 2 : 1, shape, data, err);
    if (rc >= 0)
        rc = woq_block_take(b, c, &f, err);
    woq_frame_release(&f);
    return rc;
}

static void test_block_take(void **unused)
{
    const struct woq_config c = config(gqa);
    float *x = values(20 * 28, 1, 0), *zero = calloc(28, sizeof *zero);
    struct woq_block b = { .index = 1 };
    struct woq_error err;

    (void)unused;
#define REFUSED(message, name, dtype, rows, cols, data)                                            \
    do {                                                                                           \
        assert_true(take(&b, &c, "model.layers." name, dtype, rows, cols, data, &err) < 0);        \
        if (!strstr(err.what, message))                                                            \
            fail_msg("'%s', want '%s'", err.what, message);                                        \
    } while (0)
    REFUSED("config.json says [28, 20]", "1.mlp.up_proj.weight", WOQ_F32, 20, 28, x);
    REFUSED("config.json says [28, 20]", "1.mlp.up_proj.weight", WOQ_F32, 560, 0, x);
    REFUSED("config.json says [20]", "1.input_layernorm.weight", WOQ_F32, 21, 0, x);
    REFUSED("is i32, want a float type", "1.mlp.up_proj.weight", WOQ_I32, 28, 20, x);
    REFUSED("stands in block 1", "0.mlp.up_proj.weight", WOQ_F32, 28, 20, x);
    REFUSED("leaves no place for tensor", "1.self_attn.q_norm.weight", WOQ_F32, 8, 0, x);
    REFUSED("bias that config.json does not have", "1.mlp.up_proj.bias", WOQ_F32, 28, 0, x);
    assert_int_equal(take(&b, &c, "model.layers.1.mlp.up_proj.bias", WOQ_F32, 28, 0, zero, &err),
                     0);
    assert_null(b.bias[WOQ_ROLE_UP]);
    assert_int_equal(take(&b, &c, "model.layers.1.mlp.up_proj.weight", WOQ_F32, 28, 20, x, &err),
                     0);
    assert_memory_equal(b.w[WOQ_ROLE_UP], x, 28 * 20 * sizeof *x);
    REFUSED("comes twice", "1.mlp.up_proj.weight", WOQ_F32, 28, 20, x);
    x[30] = (float)NAN;
    REFUSED("has a NaN or infinite value", "1.mlp.gate_proj.weight", WOQ_F32, 28, 20, x);
    assert_int_equal(
        take(&b, &c, "model.layers.1.self_attn.rotary_emb.inv_freq", WOQ_F32, 4, 0, x, &err), 0);
    assert_true(woq_block_check(&b, &c, &err) < 0);
    assert_non_null(
        strstr(err.what, "block 1 lacks tensor 'model.layers.1.input_layernorm.weight'"));
    woq_block_release(&b);
    free(x);
    free(zero);
}

/* --- scores --- */

struct row {
    double lse, *logit;
    size_t best;
};

static struct row ref_row(const float *x, const struct woq_head *head, size_t hidden, double eps)
{
    double *in = calloc(hidden + 1, sizeof *in), *n = calloc(hidden + 1, sizeof *n), sum = 0;
    struct row r = { .logit = calloc(head->n_vocab, sizeof(double)) };

    for (size_t i = 0; i < hidden; i++)
        in[i] = (double)x[i];
    ref_norm(n, in, head->norm, hidden, eps);
    for (size_t v = 0; v < head->n_vocab; v++) {
        r.logit[v] = head->bias ? (double)head->bias[v] : 0;
        for (size_t i = 0; i < hidden; i++)
            r.logit[v] += n[i] * (double)head->weight[v * hidden + i];
        if (r.logit[v] > r.logit[r.best])
            r.best = v;
    }
    for (size_t v = 0; v < head->n_vocab; v++)
        sum += exp(r.logit[v] - r.logit[r.best]);
    r.lse = r.logit[r.best] + log(sum);
    free(in);
    free(n);
    return r;
}

static void check_score(const struct woq_score *s, const struct row *a, const struct row *b,
                        uint32_t target, size_t n_vocab)
{
    double kl = 0;

    for (size_t v = 0; v < n_vocab; v++)
        kl += exp(b->logit[v] - b->lse) * (b->logit[v] - b->lse - a->logit[v] + a->lse);
    assert_true(fabs(s->nll - (a->lse - a->logit[target])) < 1e-5);
    assert_true(fabs(s->ref_nll - (b->lse - b->logit[target])) < 1e-5);
    assert_int_equal(s->argmax, a->best);
    assert_int_equal(s->ref_argmax, b->best);
    if (!(fabs(s->kl - kl) < 1e-5))
        fail_msg("KL %g, want %g", s->kl, kl);
}

static void test_scores(void **unused)
{
    enum { N = 70, VOCAB = 3000, H1 = 20, H2 = 24 };
    const struct woq_config c = config(gqa);
    struct woq_config c2 = c;
    float *x = values(N * H1, 1, 0), *y = values(N * H2, 1, 0), *logits = malloc(N * VOCAB * 4);
    float *w1 = values(VOCAB * H1, 0.6f, 0), *w2 = values(VOCAB * H2, 0.6f, 0);
    float *norm = values(H2, 0.3f, 1), *bias = values(VOCAB, 1, 0);
    const struct woq_head h1 = { .norm = norm, .weight = w1, .bias = bias, .n_vocab = VOCAB };
    const struct woq_head h2 = { .norm = norm, .weight = w2, .n_vocab = VOCAB };
    const struct woq_head other = { .norm = norm, .weight = w2, .n_vocab = VOCAB - 1 };
    struct woq_score *s = malloc(N * sizeof *s);
    struct woq_error err = { 0 };
    struct woq_decoder *d1, *d2;
    uint32_t targets[N];
    struct woq_reference ref;

    (void)unused;
    c2.hidden = c2.embed_dim = H2;
    for (size_t i = 0; i < N; i++)
        targets[i] = (uint32_t)(i * 43 % VOCAB);
    assert_int_equal(woq_decoder_open(&d1, &c, 8, &err), 0);
    assert_int_equal(woq_decoder_open(&d2, &c2, 8, &err), 0);
    ref = (struct woq_reference){ d2, y, &h2 };
    assert_int_equal(woq_head_score(d1, s, x, targets, N, &h1, &ref, &err), 0);
    assert_int_equal(woq_head_logits(d1, logits, x, N, &h1, &err), 0);
    for (size_t i = 0; i < N; i++) {
        struct row a = ref_row(x + i * H1, &h1, H1, (double)c.eps);
        struct row b = ref_row(y + i * H2, &h2, H2, (double)c.eps);

        check_score(&s[i], &a, &b, targets[i], VOCAB);
        for (size_t v = 0; v < VOCAB; v++)
            assert_true(fabs((double)logits[i * VOCAB + v] - a.logit[v]) < 1e-5);
        free(a.logit);
        free(b.logit);
    }
    /* The same model: no divergence at all. */
    ref = (struct woq_reference){ d1, x, &h1 };
    assert_int_equal(woq_head_score(d1, s, x, targets, N, &h1, &ref, &err), 0);
    for (size_t i = 0; i < N; i++)
        assert_true(s[i].kl == 0);
    ref = (struct woq_reference){ d2, y, &other };
    assert_int_equal(woq_head_score(d1, s, x, targets, N, &h1, &ref, &err), WOQ_EDATA);
    woq_decoder_close(d1);
    woq_decoder_close(d2);
    free(x);
    free(y);
    free(w1);
    free(w2);
    free(norm);
    free(bias);
    free(logits);
    free(s);
}

static void test_flops(void **unused)
{
    const struct woq_config c = config(gqa);

    (void)unused;
    /* q,k,v 20x80, o 48x20, MLP 3x20x28; attention 2 x 48 x (ctx + 1) per token. */
    assert_true(woq_forward_flops(&c, 1, 9, 0, 0) ==
                2.0 * 9 * (2 * (20 * 80 + 48 * 20 + 3 * 20 * 28) + 2 * 48 * 10));
    assert_true(woq_forward_flops(&c, 0, 0, 3, 50) == 2.0 * 3 * 20 * 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_windows), cmocka_unit_test(test_long_windows),
        cmocka_unit_test(test_tap),           cmocka_unit_test(test_sequence),
        cmocka_unit_test(test_nan_is_told),   cmocka_unit_test(test_block_take),
        cmocka_unit_test(test_scores),        cmocka_unit_test(test_flops),
    };

    woq_threads_set(3);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
