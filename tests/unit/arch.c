/* arch.c -- names, roles and shapes of the table; what config.json may say and what it may not. */
#include <woq/arch.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A valid config with `extra` members after it; a later duplicate wins. */
static int parse(struct woq_config *c, const char *type, const char *extra, struct woq_error *err)
{
    char text[2048];
    struct woq_json *root;
    int rc;

    snprintf(text, sizeof text,
             "{\"model_type\":\"%s\",\"hidden_size\":48,\"intermediate_size\":80,"
             "\"num_hidden_layers\":3,\"num_attention_heads\":6,\"num_key_value_heads\":2,"
             "\"vocab_size\":131,\"max_position_embeddings\":64%s%s}",
             type, *extra ? "," : "", extra);
    memset(err, 0, sizeof *err);
    rc = woq_json_parse(&root, text, strlen(text), err);
    if (rc < 0)
        fail_msg("%s: %s", text, err->what);
    rc = woq_config_init(c, root, err);
    woq_json_free(root);
    return rc;
}

static struct woq_config good(const char *type, const char *extra)
{
    struct woq_config c;
    struct woq_error err;

    if (parse(&c, type, extra, &err) < 0)
        fail_msg("%s: %s", extra, err.what);
    return c;
}

static void bad(const char *type, const char *extra, const char *message)
{
    struct woq_config c;
    struct woq_error err;

    if (parse(&c, type, extra, &err) >= 0)
        fail_msg("accepted: %s", extra);
    if (!strstr(err.what, message))
        fail_msg("%s: message '%s', want '%s'", extra, err.what, message);
}

/* Every template names its role, block and expert again. */
static void test_names(void **state)
{
    const struct woq_arch *a;
    char name[256];

    (void)state;
    for (size_t i = 0; (a = woq_arch_at(i)); i++)
        for (unsigned r = WOQ_ROLE_EMBED; r < WOQ_N_ROLES; r++)
            for (int second = 0; second < 2 && a->names[r]; second++) {
                const struct woq_config c = { .arch = a, .second_names = second };
                const struct woq_place want = { (enum woq_role)r,
                                                woq_role_in_block((enum woq_role)r) ? 12 : -1,
                                                strstr(a->names[r], "{e}") ? 34 : 0,
                                                !strchr(a->names[r], '!') };
                struct woq_place p;

                assert_int_equal(woq_config_name(&c, &want, name, sizeof name), 0);
                assert_true(woq_arch_place(a, name, &p));
                assert_true(p.role == want.role && p.block == want.block && p.index == want.index &&
                            p.bias == want.bias);
                assert_int_equal(woq_role_from_name(woq_role_name((enum woq_role)r)), r);
            }
    assert_null(woq_arch_at(woq_arch_count()));
}

static struct woq_place at(enum woq_role role, long block)
{
    return (struct woq_place){ .role = role, .block = block };
}

static void test_name_text(void **state)
{
    const struct woq_config c = { .arch = woq_arch_at(0) };
    struct woq_place p = at(WOQ_ROLE_DOWN, 3);
    char name[256];

    (void)state;
    assert_true(woq_config_name(&c, &p, name, 8) < 0);
    assert_int_equal(woq_config_name(&c, &p, name, sizeof name), 0);
    assert_string_equal(name, "model.layers.3.mlp.down_proj.weight");
    p.role = WOQ_ROLE_SINKS;
    assert_true(woq_config_name(&c, &p, name, sizeof name) < 0);
}

/* Files leave prefixes out, or put more before. */
static void test_prefixes(void **state)
{
    static const struct {
        const char *type, *name;
        enum woq_role role;
    } cases[] = {
        { "gpt2", "h.1.attn.c_attn.weight", WOQ_ROLE_QKV },
        { "gpt2", "transformer.h.1.attn.c_attn.weight", WOQ_ROLE_QKV },
        { "bloom", "word_embeddings.weight", WOQ_ROLE_EMBED },
        { "opt", "decoder.layers.1.fc1.weight", WOQ_ROLE_UP },
        { "gemma3", "language_model.model.layers.1.mlp.up_proj.weight", WOQ_ROLE_UP },
        { "gemma3", "model.language_model.layers.1.mlp.up_proj.weight", WOQ_ROLE_UP },
        { "llama", "layers.1.mlp.up_proj.weight", WOQ_ROLE_NONE },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct woq_json *json = woq_json_object();
        const struct woq_arch *a;
        struct woq_place p;

        woq_json_set_str(json, "model_type", cases[i].type);
        a = woq_arch_find(json, NULL);
        woq_json_free(json);
        assert_non_null(a);
        woq_arch_place(a, cases[i].name, &p);
        if (p.role != cases[i].role)
            fail_msg("%s: %s", cases[i].name, woq_role_name(p.role));
    }
}

static void test_names_of_others(void **state)
{
    static const char *const names[] = {
        "",
        "model",
        "model.layers.0.mlp.down_proj",
        "model.layers.00.mlp.down_proj.weight",
        "model.layers.-1.mlp.down_proj.weight",
        "model.layers.99999999999999999999.mlp.down_proj.weight",
        "model.layers..mlp.down_proj.weight",
        "model.layers.0.mlp.down_proj.weights",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "xmodel.norm.weight",
    };
    char group[WOQ_GROUP_NAME];
    struct woq_place p;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_true(!woq_arch_place(woq_arch_at(0), names[i], &p) && p.role == WOQ_ROLE_NONE);
    assert_int_equal(woq_role_from_name("attn.x"), WOQ_ROLE_NONE);
    p = at(WOQ_ROLE_UP, 3);
    assert_true(woq_place_group(&p, group));
    assert_string_equal(group, "gateup");
    p = (struct woq_place){ WOQ_ROLE_EXPERT_DOWN, 3, 17, false };
    assert_true(woq_place_group(&p, group));
    assert_string_equal(group, "down.17");
    p = at(WOQ_ROLE_HEAD, -1);
    assert_false(woq_place_group(&p, group));
    assert_false(woq_role_is_linear(WOQ_ROLE_MLP_NORM));
    assert_string_equal(woq_arch_by_type("llama")->model_type, "llama");
    assert_null(woq_arch_by_type("mamba"));
}

static bool shape(const struct woq_config *c, enum woq_role role, bool bias, unsigned *n,
                  uint64_t s[2])
{
    const struct woq_place p = { role, woq_role_in_block(role) ? 0 : -1, 0, bias };

    return woq_config_shape(c, &p, n, s);
}

static void test_shapes(void **state)
{
    const struct woq_config c = good("qwen2", "\"head_dim\":10");
    uint64_t s[2];
    unsigned n;

    (void)state;
    assert_true(shape(&c, WOQ_ROLE_Q, false, &n, s) && n == 2 && s[0] == 60 && s[1] == 48);
    assert_true(shape(&c, WOQ_ROLE_V, true, &n, s) && n == 1 && s[0] == 20);
    assert_true(shape(&c, WOQ_ROLE_O, false, &n, s) && s[0] == 48 && s[1] == 60);
    assert_false(shape(&c, WOQ_ROLE_O, true, &n, s));
    assert_true(shape(&c, WOQ_ROLE_DOWN, false, &n, s) && s[0] == 48 && s[1] == 80);
    assert_true(shape(&c, WOQ_ROLE_FINAL_NORM, false, &n, s) && n == 1 && s[0] == 48);
    assert_true(shape(&c, WOQ_ROLE_HEAD, false, &n, s) && s[0] == 131);
    assert_false(shape(&c, WOQ_ROLE_NONE, false, &n, s));
}

/* A walk visits every tensor once, in the order of a stream. */
static void test_walk(void **state)
{
    const struct woq_config c = good("qwen2_moe", "\"num_experts\":5,\"num_experts_per_tok\":2,"
                                                  "\"decoder_sparse_step\":2");
    struct woq_place p = { 0 }, before = { 0 };
    size_t n = 0, experts = 0;

    (void)state;
    while (woq_config_next(&c, &p)) {
        if (n++)
            assert_true(woq_place_compare(&before, &p) < 0);
        assert_true(woq_config_slot(&c, &p) < woq_config_slots(&c));
        experts += woq_role_is_expert(p.role);
        before = p;
    }
    assert_int_equal(experts, 15);                             /* block 1 alone */
    assert_int_equal(n, 3 + 3 * (2 + 4 + 3) + 2 * 3 + 1 + 15); /* no shared expert: no size */
}

/* Rows of fused tensors (models.md 4). */
static void test_rows(void **state)
{
    const struct woq_place qkv = at(WOQ_ROLE_QKV, 0), q = at(WOQ_ROLE_Q, 0);
    struct woq_config c = good("gpt_neox", "\"rotary_pct\":0.5");

    (void)state;
    assert_int_equal(woq_config_row(&c, &qkv, 8), 48);         /* k of head 0 */
    assert_int_equal(woq_config_row(&c, &qkv, 24 + 1), 8 + 1); /* q of head 1 */
    assert_int_equal(woq_config_row(&c, &qkv, 24 + 17), 96 + 8 + 1);
    c = good("falcon", "\"new_decoder_architecture\":true,\"num_kv_heads\":2");
    assert_int_equal(woq_config_row(&c, &qkv, 3 * 8), 48);
    assert_int_equal(woq_config_row(&c, &qkv, 5 * 8 + 3), 3 * 8 + 3);
    assert_int_equal(woq_config_row(&c, &qkv, 9 * 8), 48 + 16 + 8);
    c = good("glm", "\"head_dim\":8");
    assert_int_equal(woq_config_row(&c, &q, 8 + 1), 8 + 2); /* 4 of 8 turn */
    assert_int_equal(woq_config_row(&c, &q, 8 + 2), 8 + 1);
    assert_int_equal(woq_config_row(&c, &q, 8 + 5), 8 + 5);
}

static void test_defaults(void **state)
{
    struct woq_config c = good("llama", "");

    (void)state;
    assert_int_equal(c.head_dim, 8);
    assert_int_equal(c.n_rot, 8);
    assert_true(c.eps == 1e-6f && c.rope_theta == 10000 && !c.tie && !woq_has(&c, WOQ_T_QKV_BIAS) &&
                !woq_has(&c, WOQ_T_MLP_BIAS));
    assert_int_equal(good("llama", "\"num_key_value_heads\":null").n_kv_heads, 6);
    assert_int_equal(good("llama", "\"sliding_window\":5").window, 0);
    c = good("llama", "\"attention_bias\":true");
    assert_true(woq_has(&c, WOQ_T_QKV_BIAS | WOQ_T_O_BIAS) && !woq_has(&c, WOQ_T_MLP_BIAS));
    c = good("qwen2", "\"attention_bias\":true");
    assert_true(woq_has(&c, WOQ_T_QKV_BIAS) && !woq_has(&c, WOQ_T_O_BIAS));
    assert_int_equal(good("llama", "\"hidden_act\":\"gelu_new\"").act, WOQ_ACT_GELU_TANH);
    /* An unknown class falls back on the model type. */
    assert_string_equal(good("mistral", "\"architectures\":[\"X\"]").arch->model_type, "mistral");
    assert_string_equal(good("x", "\"architectures\":[\"Qwen2ForCausalLM\"]").arch->model_type,
                        "qwen2");
}

static void test_kv_heads_of_a_class(void **state)
{
    static const char text[] = "{\"model_type\":\"mistral\",\"hidden_size\":64,"
                               "\"intermediate_size\":80,\"num_hidden_layers\":1,"
                               "\"num_attention_heads\":16,\"vocab_size\":9}";
    struct woq_json *root;
    struct woq_config c;
    struct woq_error err = { 0 };

    (void)state;
    assert_int_equal(woq_json_parse(&root, text, strlen(text), &err), 0);
    assert_int_equal(woq_config_init(&c, root, &err), 0);
    assert_int_equal(c.n_kv_heads, 8);
    woq_json_free(root);
}

static void test_windows(void **state)
{
    struct woq_config c = good("mistral", "");

    (void)state;
    assert_int_equal(woq_config_window(&c, 0), 4096);
    assert_int_equal(woq_config_window(&c, 3), 0);
    assert_int_equal(good("mistral", "\"sliding_window\":null").window, 0);
    assert_int_equal(good("qwen2", "\"sliding_window\":5").window, 0);
    c = good("qwen2", "\"sliding_window\":5,\"use_sliding_window\":true,\"max_window_layers\":1");
    assert_int_equal(woq_config_window(&c, 0), 0);
    assert_int_equal(woq_config_window(&c, 1), 5);
    c = good("qwen2", "\"sliding_window\":5,\"use_sliding_window\":true,\"layer_types\":"
                      "[\"sliding_attention\",\"full_attention\",\"sliding_attention\"]");
    assert_int_equal(woq_config_window(&c, 0), 5);
    assert_int_equal(woq_config_window(&c, 1), 0);
    assert_int_equal(woq_config_window(&c, 2), 5);
    assert_int_equal(woq_config_window(&c, 5000), 0);
}

#define YARN "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,"

static void test_rope(void **state)
{
    struct woq_config c = good("llama", "\"rope_scaling\":null,\"rope_theta\":5");

    (void)state;
    assert_true(c.rope_scaling == WOQ_ROPE_PLAIN && c.rope_theta == 5 && c.rope_attn_factor == 1);
    /* Files of transformers 5. */
    c = good("llama", "\"rope_parameters\":{\"rope_theta\":7,\"rope_type\":\"default\"}");
    assert_true(c.rope_scaling == WOQ_ROPE_PLAIN && c.rope_theta == 7);
    c = good("llama", "\"rope_parameters\":{\"rope_theta\":7,\"rope_type\":\"llama3\","
                      "\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
                      "\"original_max_position_embeddings\":16}");
    assert_true(c.rope_scaling == WOQ_ROPE_LLAMA3 && c.rope_original == 16 && c.rope_high == 4);
    c = good("llama", "\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2}");
    assert_true(c.rope_scaling == WOQ_ROPE_DYNAMIC && c.rope_original == 64);
    c = good("llama", YARN "\"mscale\":0}");
    assert_true(c.rope_truncate && c.rope_beta_fast == 32 && c.rope_original == 64);
    assert_true(fabs(c.rope_attn_factor - (0.1 * log(4) + 1)) < 1e-12);
    c = good("llama", YARN "\"mscale\":2,\"mscale_all_dim\":1,\"truncate\":false}");
    assert_true(fabs(c.rope_attn_factor - (0.2 * log(4) + 1) / (0.1 * log(4) + 1)) < 1e-12);
    c = good("llama", YARN "\"attention_factor\":1.5}");
    assert_true(c.rope_attn_factor == 1.5);
    assert_int_equal(good("llama", "\"partial_rotary_factor\":0.5").n_rot, 4);
}

/* models.md 5.3: one key, two meanings. */
static void test_rope_ratio(void **state)
{
#define GLM "\"num_layers\":3,\"padded_vocab_size\":131,\"ffn_hidden_size\":80,\"rope_ratio\":"
    struct woq_config c = good("chatglm", GLM "16,\"_name_or_path\":\"THUDM/chatglm2-6b-32k\"");

    (void)state;
    assert_true(c.rope_scaling == WOQ_ROPE_LINEAR && c.rope_factor == 16 && c.rope_theta == 10000);
    c = good("chatglm", GLM "16,\"_name_or_path\":\"/models/ChatGLM2-6B-32K\"");
    assert_true(c.rope_scaling == WOQ_ROPE_LINEAR && c.rope_theta == 10000);
    c = good("chatglm", GLM "1,\"_name_or_path\":\"THUDM/chatglm2-6b\"");
    assert_true(c.rope_scaling == WOQ_ROPE_PLAIN && c.rope_theta == 10000);
    c = good("chatglm", GLM "50,\"_name_or_path\":\"THUDM/chatglm3-6b-32k\"");
    assert_true(c.rope_scaling == WOQ_ROPE_PLAIN && c.rope_theta == 500000);
    c = good("chatglm", GLM "50");
    assert_true(c.rope_scaling == WOQ_ROPE_PLAIN && c.rope_theta == 500000);
    c = good("chatglm", GLM "1,\"rope_scaling\":{\"type\":\"linear\",\"factor\":16}");
    assert_true(c.rope_scaling == WOQ_ROPE_LINEAR && c.rope_factor == 16 && c.rope_theta == 10000);
}

static void test_refusals(void **state)
{
    static const char *const cases[][2] = {
        { "\"hidden_size\":0", "'hidden_size' is 0" },
        { "\"hidden_size\":null", "lacks 'hidden_size'" },
        { "\"hidden_size\":-48", "'hidden_size' is -48" },
        { "\"hidden_size\":48.5", "'hidden_size' is 48.5" },
        { "\"hidden_size\":\"48\"", "'hidden_size' is not a number" },
        { "\"hidden_size\":50", "hidden_size 50 is no multiple of num_attention_heads 6" },
        { "\"hidden_size\":1e300", "'hidden_size' is 1e+300" },
        { "\"intermediate_size\":9223372036854775807", "'intermediate_size' is 9.2" },
        { "\"num_hidden_layers\":100000", "'num_hidden_layers' is 100000" },
        { "\"num_attention_heads\":0", "'num_attention_heads' is 0" },
        { "\"num_attention_heads\":10", "no 'head_dim'" },
        { "\"num_key_value_heads\":0", "'num_key_value_heads' is 0" },
        { "\"num_key_value_heads\":4", "no multiple of num_key_value_heads 4" },
        { "\"num_key_value_heads\":[2]", "'num_key_value_heads' is not a number" },
        { "\"head_dim\":0", "'head_dim' is 0" },
        { "\"head_dim\":7", "want an even number" },
        { "\"num_attention_heads\":16384,\"head_dim\":16384", "is more than" },
        { "\"vocab_size\":4294967296", "'vocab_size' is 4.29497e+09" },
        { "\"max_position_embeddings\":0", "'max_position_embeddings' is 0" },
        { "\"rms_norm_eps\":0", "'rms_norm_eps' is 0" },
        { "\"rms_norm_eps\":\"small\"", "'rms_norm_eps' is not a number" },
        { "\"hidden_act\":\"snake\"", "hidden_act 'snake'" },
        { "\"hidden_act\":3", "hidden_act '(not a string)'" },
        { "\"attention_bias\":1", "'attention_bias' is neither true nor false" },
        { "\"tie_word_embeddings\":\"yes\"", "'tie_word_embeddings' is neither" },
        { "\"rope_theta\":0", "'rope_theta' is 0" },
        { "\"partial_rotary_factor\":0.1", "0 of 8 head dimensions rotate" },
        { "\"partial_rotary_factor\":2", "'partial_rotary_factor' is 2" },
        { "\"rope_scaling\":\"linear\"", "'rope_scaling' is not an object" },
        { "\"rope_scaling\":{}", "without 'rope_type'" },
        { "\"rope_scaling\":{\"type\":\"longrope\"}", "'short_factor' has 0 entries" },
        { "\"rope_scaling\":{\"type\":\"linear\"}", "lacks 'factor'" },
        { "\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}", "'factor' is 0" },
        { "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
          "\"high_freq_factor\":4,\"original_max_position_embeddings\":64}",
          "high_freq_factor 4 is not above low_freq_factor 4" },
        { "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8}", "lacks 'low_freq_factor'" },
        { YARN "\"beta_fast\":1,\"beta_slow\":2}", "beta_fast 1 is below beta_slow 2" },
        { "\"rope_theta\":1," YARN "\"mscale\":0}", "yarn wants rope_theta above 1" },
        { "\"head_dim\":2,\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", "want 4 or more" },
        { "\"rope_parameters\":{\"full_attention\":{}}", "without 'rope_type'" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        bad("llama", cases[i][0], cases[i][1]);
    bad("mistral", "\"sliding_window\":0", "'sliding_window' is 0");
    bad("mistral", "\"layer_types\":[\"full_attention\"]", "has 1 entries");
    bad("mistral", "\"layer_types\":[\"a\",\"b\",\"c\"]", "layer_types[0] is 'a'");
    bad("qwen2", "\"use_sliding_window\":true,\"max_window_layers\":-1", "'max_window_layers'");
    bad("mamba", "", "unknown model_type 'mamba'");
    bad("mamba", "\"architectures\":[\"MambaForCausalLM\"]",
        "unknown architecture 'MambaForCausalLM' (model_type 'mamba')");
}

static void test_no_object(void **state)
{
    static const char *const texts[][2] = {
        { "[]", "not an object" },
        { "{}", "neither 'architectures' nor 'model_type'" },
        { "{\"model_type\":\"llama\"}", "lacks 'hidden_size'" },
        { "{\"model_type\":7,\"architectures\":{\"a\":[]}}", "neither" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct woq_json *root;
        struct woq_config c;
        struct woq_error err = { 0 };

        assert_int_equal(woq_json_parse(&root, texts[i][0], strlen(texts[i][0]), &err), 0);
        assert_true(woq_config_init(&c, root, &err) < 0);
        if (!strstr(err.what, texts[i][1]))
            fail_msg("%s: %s", texts[i][0], err.what);
        woq_json_free(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),     cmocka_unit_test(test_name_text),
        cmocka_unit_test(test_walk),      cmocka_unit_test(test_rows),
        cmocka_unit_test(test_prefixes),  cmocka_unit_test(test_names_of_others),
        cmocka_unit_test(test_shapes),    cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_windows),   cmocka_unit_test(test_kv_heads_of_a_class),
        cmocka_unit_test(test_rope),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_object), cmocka_unit_test(test_rope_ratio),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
