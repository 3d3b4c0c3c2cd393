/* formats_read.c -- readers of checkpoint files against recorded data: ggml blocks
 * (tests/golden/ggml), the worked examples of formats.md 1.4 and 3.3, rope factors. */
#include <formats/gguf.h>
#include <formats/gguf_rope.h>
#include <formats/safetensors.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *golden(const char *file)
{
    static char path[512];
    const char *root = getenv("WOQ_ROOT");

    snprintf(path, sizeof path, "%s/tests/golden/%s", root ? root : ".", file);
    return path;
}

static void test_blocks(void **state)
{
    static const char *const names[] = { "Q4_0",   "Q4_1",   "Q5_0",  "Q5_1",  "Q8_0",
                                         "Q2_K",   "Q3_K",   "Q4_K",  "Q5_K",  "Q6_K",
                                         "IQ4_NL", "IQ4_XS", "MXFP4", "TQ1_0", "TQ2_0" };
    struct woq_error err = { 0 };
    struct woq_st st;

    (void)state;
    if (woq_st_open(&st, golden("ggml/blocks.safetensors"), NULL, &err) < 0)
        fail_msg("%s: %s", err.where, err.what);
    assert_int_equal(st.n_tensors, 2 * sizeof names / sizeof *names);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct woq_ggml_type *type = woq_ggml_type_by_name(names[i]);
        char name[32];

        snprintf(name, sizeof name, "%s.blocks", names[i]);
        const struct woq_st_tensor *blocks = woq_st_find(&st, name);
        snprintf(name, sizeof name, "%s.values", names[i]);
        const struct woq_st_tensor *values = woq_st_find(&st, name);
        assert_non_null(blocks);
        assert_non_null(values);
        assert_int_equal(blocks->shape[1], type->block_bytes);
        assert_int_equal(values->shape[1], type->block_elems);
        float *y = malloc(values->bytes);
        type->decode(y, blocks->data, (size_t)blocks->shape[0]);
        if (memcmp(y, values->data, values->bytes) != 0)
            fail_msg("%s decodes otherwise than the package gguf", names[i]);
        free(y);
    }
    woq_st_release(&st);
}

static size_t from_hex(uint8_t *out, const char *hex)
{
    size_t n = 0;
    unsigned byte;

    for (; *hex; hex++)
        if (*hex != ' ') {
            assert_int_equal(sscanf(hex, "%2x", &byte), 1);
            out[n++] = (uint8_t)byte;
            hex++;
        }
    return n;
}

/* x_i = (i - 16) / 8: codes and scales as the reference quantiser writes them. */
static void test_examples(void **state)
{
    static const struct {
        const char *name, *hex;
        float step; /* largest distance from x that the type may leave */
    } examples[] = {
        { "Q4_0", "0034 809191a2a2b3b3c4c4d5d5e6e6f7f7f8", 0.13f },
        { "Q4_1", "2234 00c0 80809191a2a2b3b3c4c4d5d5e6e6f7f7", 0.14f },
        { "Q5_0", "0030 0000ffff 00112233445566778899aabbccddeeff", 0.001f },
        { "Q5_1", "0030 00c0 0000ffff 00112233445566778899aabbccddeeff", 0.001f },
        { "Q8_0", "0824 81899199a1a9b1b9c0c8d0d8e0e8f0f8 000810182028303840474f575f676f77", 0.01f },
        { "MXFP4", "7e 0e0e1d1d2d2d3c3c4c4b4b5a5a595960", 0.3f },
    };

    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        const struct woq_ggml_type *type = woq_ggml_type_by_name(examples[i].name);
        uint8_t block[64];
        float y[32];

        assert_int_equal(from_hex(block, examples[i].hex), type->block_bytes);
        type->decode(y, block, 1);
        for (int k = 0; k < 32; k++)
            if (!(fabsf(y[k] - (float)(k - 16) / 8) <= examples[i].step))
                fail_msg("%s: element %d is %g, want about %g", examples[i].name, k, (double)y[k],
                         (k - 16) / 8.0);
    }
}

/* The whole-file example of formats.md 3.3. */
static const char gguf_hex[] =
    "47475546 03000000 0200000000000000 0300000000000000"
    "1400000000000000 67656e6572616c2e617263686974656374757265 08000000 0500000000000000 6c6c616d61"
    "1100000000000000 6c6c616d612e626c6f636b5f636f756e74 04000000 01000000"
    "1500000000000000 746f6b656e697a65722e67676d6c2e746f6b656e73 09000000 08000000 0200000000000000"
    "0100000000000000 61 0200000000000000 6263"
    "0100000000000000 74 02000000 0300000000000000 0200000000000000 00000000 0000000000000000"
    "0100000000000000 71 02000000 2000000000000000 0100000000000000 02000000 2000000000000000"
    "0000000000000000 00000000 0000803f 00000040 00004040 00008040 0000a040 0000000000000000"
    "0034809191a2a2b3b3c4c4d5d5e6e6f7f7f8 0000000000000000000000000000";

static void test_gguf(void **state)
{
    struct woq_error err = { 0 };
    uint8_t file[400];
    struct woq_gguf g;
    const char *s;
    size_t len, at = 0;
    uint64_t n;
    float y[32];

    (void)state;
    const size_t bytes = from_hex(file, gguf_hex);
    assert_int_equal(bytes, 320);
    assert_int_equal(woq_gguf_parse(&g, file, bytes, &err), WOQ_OK);
    assert_int_equal(g.n_kv, 3);
    assert_true(woq_gguf_string(woq_gguf_get(&g, "general.architecture"), &s, &len));
    assert_memory_equal(s, "llama", len);
    assert_true(woq_gguf_u64(woq_gguf_get(&g, "llama.block_count"), 0, &n) && n == 1);
    assert_false(woq_gguf_u64(woq_gguf_get(&g, "llama.block_count"), 1, &n));
    const struct woq_gguf_kv *tokens = woq_gguf_get(&g, "tokenizer.ggml.tokens");
    assert_true(woq_gguf_next_string(tokens, &at, &s, &len) && len == 1 && *s == 'a');
    assert_true(woq_gguf_next_string(tokens, &at, &s, &len) && len == 2 && s[1] == 'c');
    assert_false(woq_gguf_next_string(tokens, &at, &s, &len));
    const struct woq_gguf_tensor *t = woq_gguf_tensor(&g, "t"), *q = woq_gguf_tensor(&g, "q");
    assert_true(t->n_dims == 2 && t->shape[0] == 2 && t->shape[1] == 3 && t->bytes == 24);
    memcpy(y, t->data, t->bytes);
    assert_true(y[0] == 0.0f && y[5] == 5.0f);
    assert_true(q->shape[0] == 1 && q->shape[1] == 32 && q->bytes == 18);
    q->type->decode(y, q->data, 1);
    assert_true(y[0] == -2.0f && y[16] == 0.0f);
    woq_gguf_release(&g);
    /* The padding behind the last tensor may be absent, a byte of it not. */
    assert_int_equal(woq_gguf_parse(&g, file, bytes - 14, &err), WOQ_OK);
    woq_gguf_release(&g);
    assert_int_equal(woq_gguf_parse(&g, file, bytes - 15, &err), WOQ_ETRUNC);
}

/* The worked example of formats.md 1.4. */
static void test_safetensors(void **state)
{
    static const char json[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"c\":{\"dtype\":\"I64\",\"shape\":[1],"
        "\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]},"
        "\"b\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[12,16]}}       ";
    struct woq_error err = { 0 };
    uint8_t file[224] = { 200 };
    struct woq_st st;

    (void)state;
    assert_int_equal(sizeof json - 1, 200);
    memcpy(file + 8, json, 200);
    from_hex(file + 208, "0000000000000000 003c003c 00010203");
    assert_int_equal(woq_st_parse(&st, "x", file, sizeof file, NULL, &err), WOQ_OK);
    assert_int_equal(st.n_tensors, 3);
    const struct woq_st_tensor *a = woq_st_find(&st, "a"), *b = woq_st_find(&st, "b");
    assert_true(a->dtype == WOQ_F16 && a->n_dims == 1 && a->shape[0] == 2 && a->bytes == 4);
    assert_ptr_equal(a->data, file + 216);
    assert_true(b->dtype == WOQ_I8 && b->data[3] == 3);
    assert_string_equal(b->stored, "I8");
    assert_null(woq_st_find(&st, "d"));
    woq_st_release(&st);
}

static void factors(float *v, size_t n, double theta, double factor, double low, double high,
                    double original)
{
    for (size_t i = 0; i < n; i++) {
        const double wl = 2 * 3.14159265358979323846 * pow(theta, (double)i / (double)n);
        const double t = (original / wl - low) / (high - low);

        v[i] = (float)(wl < original / high  ? 1
                       : wl > original / low ? factor
                                             : 1 / ((1 - t) / factor + t));
    }
}

static void test_rope_factors(void **state)
{
    static const struct {
        size_t n;
        double theta, factor, low, high, original, want_high, want_original;
    } cases[] = {
        { 64, 500000, 8, 1, 4, 8192, 4, 8192 },  /* Llama 3.1 */
        { 32, 500000, 32, 1, 4, 8192, 4, 8192 }, /* Llama 3.2 1B */
        { 4, 500, 8, 1, 4, 64, 4, 64 },          /* one blended value */
        { 64, 500000, 16, 2, 6, 4096, 3, 2048 }, /* low is set to 1, the rest follows */
    };
    struct woq_json *scaling = NULL;
    struct woq_error err = { 0 };
    float v[64];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        factors(v, cases[i].n, cases[i].theta, cases[i].factor, cases[i].low, cases[i].high,
                cases[i].original);
        assert_int_equal(woq_llama3_scaling(&scaling, v, cases[i].n, cases[i].theta, &err), WOQ_OK);
        assert_string_equal(woq_json_get_str(scaling, "rope_type"), "llama3");
        assert_true(woq_json_get_num(scaling, "factor", 0) == cases[i].factor);
        assert_true(woq_json_get_num(scaling, "low_freq_factor", 0) == 1);
        assert_true(fabs(woq_json_get_num(scaling, "high_freq_factor", 0) - cases[i].want_high) <
                    1e-3);
        assert_true(fabs(woq_json_get_num(scaling, "original_max_position_embeddings", 0) -
                         cases[i].want_original) < 1);
        woq_json_free(scaling);
    }
    v[20] *= 1.01f;
    assert_int_equal(woq_llama3_scaling(&scaling, v, 64, 500000, &err), WOQ_EUNSUPPORTED);
    assert_null(scaling);
    for (int i = 0; i < 64; i++)
        v[i] = 1;
    assert_int_equal(woq_llama3_scaling(&scaling, v, 64, 500000, &err), WOQ_OK);
    assert_null(scaling);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),       cmocka_unit_test(test_examples),
        cmocka_unit_test(test_gguf),         cmocka_unit_test(test_safetensors),
        cmocka_unit_test(test_rope_factors),
    };

    return cmocka_run_group_tests_name("formats_read", tests, NULL, NULL);
}
