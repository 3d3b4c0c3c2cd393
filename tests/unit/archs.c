/* archs.c -- every architecture against logits recorded from its original (tests/golden/archs): the
 * model is made from its config, as woq-gen --config does, and goes through woq_eval. */
#include "archs.h"

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
        for (size_t l = 0; l < c.n_layers; l++)
            assert_int_equal(woq_sequence_forward(s, &blocks[l], x + i * c.hidden, i ? 1 : 7, &err),
                             0);
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

static void test_logits(void **state)
{
    const char *const fixture = *state;
    size_t n, bytes;
    char *config = slurp(fixture, "config.json", &n);
    char *npy = slurp(fixture, "logits.npy", &bytes);
    float *want = malloc(bytes);
    struct got one = run(fixture, config, 1, (struct change){ 0 }), two;
    char line[128];
    double rel;

    assert_true(bytes > one.n * sizeof *want);
    memcpy(want, npy + bytes - one.n * sizeof *want, one.n * sizeof *want);
    rel = difference(one.logits, want, one.n);
    if (!(rel < 1e-4))
        fail_msg("%s: off by %g of the largest logit", fixture, rel);
    snprintf(line, sizeof line, "# compat | architecture | %s | %.0e\n", fixture, rel);
    /* Every window is one of its own. */
    two = run(fixture, config, 2, (struct change){ 0 });
    assert_int_equal(two.n, 2 * one.n);
    assert_true(difference(two.logits, want, one.n) < 1e-4);
    assert_true(difference(two.logits + one.n, want, one.n) < 1e-4);
    free(one.logits);
    one.logits = run_sequence(config, &n);
    assert_int_equal(n, one.n);
    rel = difference(one.logits, want, n);
    if (!(rel < 1e-4))
        fail_msg("%s: a sequence is off by %g of the largest logit", fixture, rel);
    fputs(line, stdout); /* for tests/compat */
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
