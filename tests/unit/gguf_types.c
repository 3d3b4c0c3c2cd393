/* The type of each matrix in each mix, as llama-quantize chose them (tests/golden/gguf_mixes). */
#include <formats/gguf_types.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct model {
    const char *name;
    size_t hidden, inter, layers, kv; /* four heads */
    bool tie;
};

static const struct model models[] = { /* as tests/golden/gguf_mixes/models.sh has them */
                                       { "gqa4", 256, 256, 18, 1, false },
                                       { "gqa2", 256, 256, 16, 2, false },
                                       { "tied", 256, 512, 9, 2, true },
                                       { "narrow", 64, 256, 8, 1, false }
};

struct runs { /* "3xQ4_K,1xQ6_K" being written */
    char text[1024];
    const char *last;
    unsigned n;
};

static void flush(struct runs *r)
{
    const size_t len = strlen(r->text);

    if (r->n)
        snprintf(r->text + len, sizeof r->text - len, "%s%ux%s", len ? "," : "", r->n, r->last);
    r->n = 0;
}

static void add(struct runs *r, const struct woq_gguf_types *t, const struct model *m,
                enum woq_role role, long block)
{
    const struct woq_config c = {
        .n_layers = m->layers, .n_heads = 4, .n_kv_heads = m->kv, .tie = m->tie
    };
    const struct woq_gguf_matrix x = { .name = "x",
                                       .gguf_name = "x",
                                       .role = role,
                                       .block = block,
                                       .n_cols = role == WOQ_ROLE_DOWN ? m->inter : m->hidden };
    bool fell_back;
    const char *type = woq_gguf_type_of(t, &c, &x, &fell_back)->name;

    if (r->n && strcmp(type, r->last) != 0)
        flush(r);
    r->last = type;
    r->n++;
}

static void check(const char *model, char *type, const char *want)
{
    static const enum woq_role linears[] = { WOQ_ROLE_Q,    WOQ_ROLE_K,  WOQ_ROLE_V,   WOQ_ROLE_O,
                                             WOQ_ROLE_GATE, WOQ_ROLE_UP, WOQ_ROLE_DOWN };
    const struct model *m = models;
    struct woq_gguf_types t;
    struct woq_error err = { 0 };
    struct runs r = { 0 };
    char *pure = strstr(type, "--pure");
    char name[16];

    snprintf(name, sizeof name, "%.*s", (int)(pure ? pure - type : 15), type);
    while (strcmp(m->name, model) != 0)
        assert_true(++m < models + 4);
    assert_int_equal(woq_gguf_types_init(&t, name, NULL, NULL, NULL, pure != NULL, &err), WOQ_OK);
    add(&r, &t, m, WOQ_ROLE_EMBED, -1);
    for (long b = 0; b < (long)m->layers; b++)
        for (size_t i = 0; i < sizeof linears / sizeof linears[0]; i++)
            add(&r, &t, m, linears[i], b);
    if (!m->tie)
        add(&r, &t, m, WOQ_ROLE_HEAD, -1);
    flush(&r);
    if (strcmp(r.text, want) != 0)
        fail_msg("%s %s: %s, want %s", model, type, r.text, want);
    woq_gguf_types_release(&t);
}

static void mixes_are_those_of_llama_quantize(void **state)
{
    const char *repo = getenv("REPO");
    char path[512], model[16], type[32], want[1024];
    int n = 0;
    FILE *f;

    (void)state;
    snprintf(path, sizeof path, "%s/tests/golden/gguf_mixes/types.txt", repo ? repo : ".");
    f = fopen(path, "re");
    assert_non_null(f);
    for (; fscanf(f, "%15s %31s %1023s", model, type, want) == 3; n++)
        check(model, type, want);
    assert_int_equal(n, 88);
    fclose(f);
}

static const char *type_in(const char *model_type, size_t n_experts, const char *mix,
                           size_t n_layers, enum woq_role role, long block, bool has_importance)
{
    const struct woq_config c = { .arch = woq_arch_by_type(model_type),
                                  .n_layers = n_layers,
                                  .n_heads = 8,
                                  .n_kv_heads = 2,
                                  .n_experts = n_experts };
    const struct woq_gguf_matrix m = { .name = "x",
                                       .gguf_name = "x",
                                       .role = role,
                                       .block = block,
                                       .n_cols = 256,
                                       .has_importance = has_importance };
    struct woq_gguf_types t;
    struct woq_error err = { 0 };
    bool fell_back;

    assert_int_equal(woq_gguf_types_init(&t, mix, "auto", "auto", NULL, false, &err), WOQ_OK);
    return woq_gguf_type_of(&t, &c, &m, &fell_back)->name;
}

static const char *type_with(const char *mix, size_t n_layers, enum woq_role role, long block,
                             bool has_importance)
{
    return type_in("llama", 0, mix, n_layers, role, block, has_importance);
}

/* What the recorded models do not reach: an importance, 80 blocks, a mix that llama-quantize makes
 * with an importance only. */
static void choices_beside_the_recorded_ones(void **state)
{
    (void)state;
    assert_string_equal(type_with("q4_0", 16, WOQ_ROLE_DOWN, 1, true), "Q4_1");
    assert_string_equal(type_with("q4_0", 16, WOQ_ROLE_DOWN, 1, false), "Q4_0");
    assert_string_equal(type_with("q5_0", 16, WOQ_ROLE_DOWN, 1, true), "Q5_1");
    assert_string_equal(type_with("q5_0", 16, WOQ_ROLE_DOWN, 2, true), "Q5_0");
    assert_string_equal(type_with("iq4_xs", 16, WOQ_ROLE_DOWN, 1, false), "Q5_K");
    assert_string_equal(type_with("iq4_xs", 16, WOQ_ROLE_DOWN, 1, true), "IQ4_XS");
    assert_string_equal(type_with("q2_k_s", 16, WOQ_ROLE_DOWN, 1, true), "Q4_K");
    assert_string_equal(type_with("q2_k_s", 16, WOQ_ROLE_DOWN, 2, true), "Q2_K");
    assert_string_equal(type_with("q4_k_s", 80, WOQ_ROLE_V, 40, false), "Q5_K");
    assert_string_equal(type_with("q4_k_s", 79, WOQ_ROLE_V, 40, false), "Q4_K");
    assert_string_equal(type_with("q4_k_m", 8, WOQ_ROLE_QKV, 0, false), "Q6_K");
    assert_string_equal(type_with("q4_k_m", 8, WOQ_ROLE_QKV, 1, false), "Q4_K");
    assert_string_equal(type_with("q2_k", 8, WOQ_ROLE_EXPERT_DOWN, 3, false), "Q3_K");
    assert_string_equal(type_with("q2_k", 8, WOQ_ROLE_ROUTER, 3, false), "F32");
    assert_string_equal(type_with("q4_0", 8, WOQ_ROLE_POSITION, -1, false), "F32");
    assert_string_equal(type_with("f16", 8, WOQ_ROLE_HEAD, -1, false), "F16");
    assert_string_equal(type_with("q8_0", 8, WOQ_ROLE_HEAD, -1, false), "Q8_0");
}

/* As llama-quantize of llama.cpp 0c1e570 chose for models of 17 blocks of these architectures. */
static void falcon_and_experts(void **state)
{
    static const struct {
        const char *model, *mix;
        size_t n_experts;
        enum woq_role role;
        long block;
        const char *want;
    } cases[] = {
        { "falcon", "q4_k_m", 0, WOQ_ROLE_HEAD, -1, "Q8_0" },
        { "falcon", "q4_k_m", 0, WOQ_ROLE_DOWN, 0, "Q6_K" },
        { "falcon", "q4_k_m", 0, WOQ_ROLE_DOWN, 1, "Q5_K" },
        { "falcon", "q4_k_m", 0, WOQ_ROLE_DOWN, 2, "Q4_K" },
        { "falcon", "q4_k_s", 0, WOQ_ROLE_DOWN, 0, "Q4_K" },
        { "falcon", "q3_k_m", 0, WOQ_ROLE_DOWN, 2, "Q3_K" },
        { "falcon", "q3_k_l", 0, WOQ_ROLE_O, 2, "Q4_K" },
        { "falcon", "q2_k", 0, WOQ_ROLE_O, 2, "Q2_K" },
        { "mixtral", "q4_k_m", 8, WOQ_ROLE_V, 3, "Q8_0" },
        { "mixtral", "q4_0", 8, WOQ_ROLE_K, 3, "Q8_0" },
        { "mixtral", "q4_k_m", 8, WOQ_ROLE_O, 3, "Q5_K" },
        { "mixtral", "q3_k_l", 8, WOQ_ROLE_O, 3, "Q3_K" },
        { "mixtral", "q3_k_l", 5, WOQ_ROLE_O, 3, "Q5_K" },
        { "deepseek_v3", "q4_k_m", 64, WOQ_ROLE_KV_B, 0, "Q4_K" },
        { "gpt_oss", "mxfp4_moe", 32, WOQ_ROLE_EXPERT_GATE_UP, 0, "MXFP4" },
        { "gpt_oss", "mxfp4_moe", 32, WOQ_ROLE_EXPERT_DOWN, 0, "MXFP4" },
        { "gpt_oss", "mxfp4_moe", 32, WOQ_ROLE_O, 0, "Q8_0" },
        { "gpt_oss", "mxfp4_moe", 32, WOQ_ROLE_HEAD, -1, "Q8_0" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(type_in(cases[i].model, cases[i].n_experts, cases[i].mix, 17,
                                    cases[i].role, cases[i].block, false),
                            cases[i].want);
}

static void file_types(void **state)
{
    const struct woq_gguf_types none = { 0 };
    struct woq_gguf_types t;
    struct woq_error err = { 0 };

    (void)state;
    assert_int_equal(woq_gguf_types_init(&t, "q3_k_l", NULL, NULL, NULL, false, &err), WOQ_OK);
    assert_int_equal(woq_gguf_file_type(&t, NULL), 13);
    assert_int_equal(woq_gguf_file_type(&none, woq_ggml_type(WOQ_GGML_Q4_K)), 15);
    assert_int_equal(woq_gguf_file_type(&none, woq_ggml_type(WOQ_GGML_F32)), 0);
    assert_int_equal(woq_gguf_file_type(&none, NULL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixes_are_those_of_llama_quantize),
        cmocka_unit_test(choices_beside_the_recorded_ones),
        cmocka_unit_test(falcon_and_experts),
        cmocka_unit_test(file_types),
    };
    return cmocka_run_group_tests_name("gguf_types", tests, NULL, NULL);
}
