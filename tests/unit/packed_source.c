/* Reading packed checkpoints: one small valid file, and the same with one thing wrong at a time. */
#include <formats/source.h>

#include <woq/quant.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char llama[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":64,"
    "\"intermediate_size\":64,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":2,\"vocab_size\":8,\"rms_norm_eps\":1e-5,\"quantization_config\":%s}";
#define QUANT "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,\"sym\":%s}"

struct part {
    const char *name, *dtype;
    unsigned d0, d1; /* d1 0: one dimension */
    uint8_t fill;
};

/* 64 x 32, 4 bits, 2 groups; every code 5, every zero point 7 (stored 6), every scale 1.0. */
static const struct part good[] = { { "m.g_idx", "I32", 64, 0, 0 },
                                    { "m.qweight", "I32", 8, 32, 0x55 },
                                    { "m.qzeros", "I32", 2, 4, 0x66 },
                                    { "m.scales", "F16", 2, 32, 0 } };

static size_t part_bytes(const struct part *p)
{
    const size_t width = strchr(p->dtype, '8')    ? 1
                         : strstr(p->dtype, "16") ? 2
                         : p->dtype[1] == '6'     ? 8
                                                  : 4;
    return (size_t)p->d0 * (p->d1 ? p->d1 : 1) * width;
}

/* A safetensors file of n parts; `shift` bytes before the data make all of it unaligned. */
static uint8_t *make(const struct part *parts, size_t n, unsigned shift, size_t *bytes)
{
    char header[2048] = "{";
    uint8_t *file = calloc(1, 1 << 16);
    size_t at = 1, data = 0;
    uint64_t len;

    assert_non_null(file);
    for (size_t i = 0; i < n; i++) {
        const struct part *p = &parts[i];
        char shape[32];
        snprintf(shape, sizeof shape, p->d1 ? "%u,%u" : "%u", p->d0, p->d1);
        at += (size_t)snprintf(
            header + at, sizeof header - at,
            "%s\"%s\":{\"dtype\":\"%s%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", i ? "," : "",
            p->name, p->dtype, strcmp(p->dtype, "F8") ? "" : "_E4M3", shape, data,
            data + part_bytes(p));
        data += part_bytes(p);
    }
    at += (size_t)snprintf(header + at, sizeof header - at, "}");
    while ((at + shift) % 8)
        header[at++] = ' ';
    len = at;
    memcpy(file, &len, 8);
    memcpy(file + 8, header, at);
    *bytes = 8 + at + data;
    for (size_t i = 0, to = 8 + at; i < n; to += part_bytes(&parts[i++])) {
        const bool g_idx = strstr(parts[i].name, "g_idx") != NULL;
        memset(file + to, g_idx && parts[i].fill == 1 ? 0 : parts[i].fill, part_bytes(&parts[i]));
        for (uint32_t k = 0; k < parts[i].d0 && g_idx; k++)
            file[to + 4 * k] = (uint8_t)(parts[i].fill == 255 ? 255
                                         : parts[i].fill      ? k % 2
                                                              : k / 32);
        if (strstr(parts[i].name, "weight_shape") && parts[i].fill == 0)
            memcpy(file + to, (const uint64_t[]){ 32, 64 }, 16);
        for (size_t k = 0; k < part_bytes(&parts[i]) && !strcmp(parts[i].dtype, "F16"); k += 2)
            memcpy(file + to + k, "\x00\x3c", 2);
    }
    return file;
}

/* Opens; on failure the message must contain `want`. */
static struct woq_source *open_it(const struct part *parts, size_t n, unsigned shift,
                                  const char *quant, uint8_t **file, const char *want)
{
    struct woq_source *s = NULL;
    struct woq_error err = { 0 };
    char config[1024];
    size_t bytes;

    *file = make(parts, n, shift, &bytes);
    snprintf(config, sizeof config, llama, quant);
    const int rc =
        woq_source_open_mem(&s, "m.safetensors", *file, bytes, config, strlen(config), &err);
    if (!want && rc != WOQ_OK)
        fail_msg("%s", err.what);
    if (want && (rc == WOQ_OK || !strstr(err.what, want)))
        fail_msg("wanted '%s', found '%s'", want, rc == WOQ_OK ? "(success)" : err.what);
    return s;
}

static void expect(const struct part *parts, size_t n, unsigned shift, const char *sym, float zero,
                   bool has_zero, bool has_g_idx)
{
    struct woq_error err = { 0 };
    struct woq_frame f = { 0 };
    struct woq_qview q;
    char quant[256];
    uint8_t *file;
    struct woq_source *s;

    snprintf(quant, sizeof quant, QUANT, sym);
    s = open_it(parts, n, shift, quant, &file, NULL);
    assert_int_equal(s->n_items, 1);
    assert_string_equal(s->items[0].name, "m.weight");
    assert_string_equal(s->items[0].stored, "GPTQ4");
    if (s->load(s, 0, &f, &err) != WOQ_OK || woq_qview_init(&q, &f, &err) != WOQ_OK)
        fail_msg("%s", err.what);
    assert_int_equal(q.n_rows, 32);
    assert_int_equal(q.n_cols, 64);
    assert_int_equal(q.n_groups, 2);
    for (size_t i = 0; i < 32 * 64; i++)
        assert_int_equal(q.codes[i], 5);
    for (size_t i = 0; i < 64; i++)
        assert_true(q.scale[i] == 1.0f && (!q.zero || q.zero[i] == zero));
    assert_int_equal(q.zero != NULL, has_zero);
    assert_int_equal(q.g_idx != NULL, has_g_idx);
    woq_frame_release(&f);
    woq_source_close(s);
    free(file);
}

static void valid(void **state)
{
    struct part p[4];

    (void)state;
    memcpy(p, good, sizeof p);
    for (unsigned shift = 0; shift < 8; shift++)
        expect(p, 4, shift, "false", 7, true, false);
    expect(p + 1, 3, 0, "false", 7, true, false); /* without g_idx */
    expect(p, 4, 0, "true", 7, true, false);      /* said to be symmetric, but is not */
    p[2].fill = 0x77;
    expect(p, 4, 0, "true", 8, false, false);
    expect(p, 4, 0, "false", 8, true, false);
    p[2].fill = 0xff; /* 15 + 1 modulo 16, per field */
    expect(p, 4, 0, "false", 0, true, false);
}

static void permuted(void **state)
{
    struct part p[4];

    (void)state;
    memcpy(p, good, sizeof p);
    p[0].fill = 1; /* 0 1 0 1 ... */
    expect(p, 4, 0, "false", 7, true, true);
    expect(p, 4, 3, "false", 7, true, true);
    p[0].fill = 255; /* -1 */
    uint8_t *file;
    char quant[256];
    snprintf(quant, sizeof quant, QUANT, "false");
    assert_null(open_it(p, 4, 0, quant, &file, "'m.g_idx' 0 is -1, want 0..1"));
    free(file);
}

static void wrong(void **state)
{
    static const struct {
        size_t part;
        struct part is;
        const char *want;
    } rows[] = {
        { 0, { "m.g_idx", "I32", 63, 0, 0 }, "'m.g_idx' has shape [63,1], want [64,1]" },
        { 0, { "m.g_idx", "F32", 64, 0, 0 }, "'m.g_idx' is F32, want i32" },
        { 0, { "m.g_idx", "I32", 8, 8, 0 }, "'m.g_idx' has 2 dimensions, want 1" },
        { 1, { "m.qweight", "F32", 8, 32, 0 }, "'m.qweight' is F32, want i32" },
        { 1, { "m.qweight", "I32", 8, 33, 0 }, "not a layout that is read (GPTQ, 2, 3, 4 and 8" },
        { 1, { "m.qweight", "I32", 0, 32, 0 }, "'m.qweight' has shape [0,32], want none of 0" },
        { 2,
          { "m.qzeros", "I32", 2, 5, 0 },
          "its zero points [2,5], its scales are of 32 outputs" },
        { 2, { "m.qzeros", "I32", 2, 8, 0 }, "'m.qweight' has 8 bits by its shape, config.json" },
        { 2, { "m.qzeros", "I32", 0, 4, 0 }, "'m.qzeros' has shape [0,4], want none of 0" },
        { 2,
          { "m.qzeros", "I32", 3, 4, 0 },
          "its zero points [3,4], its scales are of 32 outputs" },
        { 2, { "m.other", "I32", 2, 4, 0 }, "'m.qweight' has no tensor 'm.qzeros' beside it" },
        { 3, { "m.scales", "I32", 2, 32, 0 }, "'m.scales' is I32, want a float type" },
        { 3, { "m.scales", "F16", 65, 32, 0 }, "not a layout that is read" },
        { 3, { "m.other", "F16", 2, 32, 0 }, "'m.qweight' has no tensor 'm.scales' beside it" },
    };
    char quant[256];

    (void)state;
    snprintf(quant, sizeof quant, QUANT, "false");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct part p[4];
        uint8_t *file;
        memcpy(p, good, sizeof p);
        p[rows[i].part] = rows[i].is;
        assert_null(open_it(p, 4, 0, quant, &file, rows[i].want));
        free(file);
    }
}

/* GPTQ by planes: 5 bits, 32 outputs, 64 inputs in 2 groups. */
static void planar(void **state)
{
    static const struct part good_p[] = { { "m.g_idx", "I32", 64, 0, 0 },
                                          { "m.qweight", "I32", 10, 32, 0xff },
                                          { "m.qzeros", "I32", 2, 5, 0 },
                                          { "m.scales", "F16", 2, 32, 0 } };
    static const struct {
        size_t part;
        struct part is;
        const char *want;
    } rows[] = {
        { 0, { "m.g_idx", "I32", 63, 0, 0 }, "'m.g_idx' has shape [63,1], want [64,1]" },
        { 1, { "m.qweight", "I32", 9, 32, 0 }, "(GPTQ, 2, 3, 4, 5, 6, 7 and 8 bits)" },
        { 1, { "m.qweight", "I32", 12, 32, 0 }, "(GPTQ, 2, 3, 4, 5, 6, 7 and 8 bits)" },
        { 1, { "m.qweight", "F32", 10, 32, 0 }, "'m.qweight' is F32, want i32" },
        { 2, { "m.qzeros", "I32", 2, 7, 0 }, "its zero points [2,7], its scales are of 32" },
        { 2, { "m.qzeros", "F16", 2, 5, 0 }, "'m.qzeros' is F16, want i32" },
        { 3, { "m.scales", "F16", 2, 31, 0 }, "its scales are of 31 outputs in 2 groups" },
    };
#define PLANAR(form, bits)                                                                         \
    "{\"quant_method\":\"gptq\",\"checkpoint_format\":\"" form "\",\"bits\":" bits                 \
    ",\"group_size\":32,\"sym\":false}"
    struct woq_error err = { 0 };
    struct woq_frame f = { 0 };
    struct woq_qview q;
    uint8_t *file;
    struct woq_source *s = open_it(good_p, 4, 0, PLANAR("gptq_p", "5"), &file, NULL);

    (void)state;
    assert_string_equal(s->items[0].stored, "GPTQ5");
    assert_int_equal(s->load(s, 0, &f, &err), WOQ_OK);
    assert_int_equal(woq_qview_init(&q, &f, &err), WOQ_OK);
    assert_true(q.n_rows == 32 && q.n_cols == 64 && q.codes[0] == 31 && q.codes[2047] == 31);
    assert_true(q.zero && q.zero[0] == 0); /* not less one */
    woq_frame_release(&f);
    woq_source_close(s);
    free(file);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct part p[4];
        memcpy(p, good_p, sizeof p);
        p[rows[i].part] = rows[i].is;
        assert_null(open_it(p, 4, 0, PLANAR("gptq_p", "5"), &file, rows[i].want));
        free(file);
    }
    assert_null(open_it(good_p, 4, 0, PLANAR("gptq_p", "4"), &file, "has 5 bits by its shape"));
    free(file);
    /* In a string of bits or by planes: who says gptq does not tell. */
    assert_null(open_it(good_p, 4, 0, PLANAR("gptq", "5"), &file, "(GPTQ, 2, 3, 4 and 8 bits)"));
    free(file);
}

static void wrong_config(void **state)
{
    static const struct {
        const char *quant, *want;
    } rows[] = {
        { "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":0}", "group_size 0: want -1" },
        { "{\"quant_method\":\"gptq\",\"bits\":3,\"group_size\":32}", "config.json says 3" },
        { "{\"quant_method\":\"gptq\",\"checkpoint_format\":\"gptq_x\"}",
          "'gptq_x' is not read, want gptq, gptq_v2 or gptq_p" },
        { "{\"quant_method\":\"gptq\",\"format\":\"marlin\"}", "'marlin' is not read" },
        { "{\"quant_method\":\"aqlm\",\"bits\":4}",
          "'aqlm' is not read, want one of gptq, awq, auto-round" },
        { "{\"quant_method\":\"awq\",\"bits\":4,\"version\":\"x\"}",
          "'x' is not read, want gemm, gemv" },
        { "{\"quant_method\":\"awq\",\"w_bit\":4,\"q_group_size\":-7}", "q_group_size -7: want" },
        { "{\"bits\":4}", "without quant_method" },
        { "{\"quant_method\":\"auto-round\",\"rotation_config\":{\"hadamard_type\":\"hadamard\"}}",
          "rotation_config: transforms of inputs are not read" },
        { "{\"quant_method\":\"auto-round\",\"data_type\":\"mx_uint\"}",
          "data_type 'mx_uint' with" },
    };
    static const struct part gemv[] = { { "m.qweight", "I32", 32, 8, 0 },
                                        { "m.qzeros", "I32", 32, 8, 0 },
                                        { "m.scales", "F16", 32, 64, 0 } };
    uint8_t *words;

    (void)state;
    assert_null(open_it(
        gemv, 3, 0, "{\"quant_method\":\"awq\",\"bits\":4,\"version\":\"gemv\",\"group_size\":32}",
        &words, "'m.scales' has 64 groups, want 32 for 64 inputs in groups of 32"));
    free(words);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t *file;
        assert_null(open_it(good, 4, 0, rows[i].quant, &file, rows[i].want));
        free(file);
    }
}

/* compressed-tensors, 4 bits: 32 outputs, 64 inputs in 2 groups. */
static const struct part good_ct[] = { { "m.weight_packed", "I32", 32, 8, 0x55 },
                                       { "m.weight_scale", "F16", 32, 2, 0 },
                                       { "m.weight_shape", "I64", 2, 0, 0 },
                                       { "m.weight_zero_point", "I32", 4, 2, 0x77 } };
#define CT(weights)                                                                                \
    "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":"    \
    "{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{" weights "}}}}"
#define CT4 CT("\"num_bits\":4,\"type\":\"int\",\"strategy\":\"group\",\"group_size\":32")

static void wrong_ct(void **state)
{
    static const struct {
        size_t part;
        struct part is;
        const char *quant, *want;
    } rows[] = {
        { 0,
          { "m.weight_packed", "I32", 32, 9, 0 },
          CT4,
          "not a layout that is read (CT, 1, 2, 3" },
        { 0, { "m.weight_packed", "F32", 32, 8, 0 }, CT4, "'m.weight_packed' is F32, want i32" },
        { 1, { "m.weight_scale", "F16", 31, 2, 0 }, CT4, "'m.weight_shape' says 32 x 64" },
        { 1, { "m.other", "F16", 32, 2, 0 }, CT4, "has no tensor 'm.weight_scale' beside it" },
        { 2, { "m.weight_shape", "I64", 3, 0, 0 }, CT4, "'m.weight_shape' has shape [3,1], want" },
        { 2, { "m.other", "I64", 2, 0, 0 }, CT4, "has no tensor 'm.weight_shape' beside it" },
        { 2, { "m.weight_shape", "I64", 2, 0, 9 }, CT4, "'m.weight_shape' says" },
        { 3, { "m.weight_zero_point", "I32", 3, 2, 0 }, CT4, "its zero points [3,2]" },
        { 4,
          { 0 },
          CT("\"num_bits\":8"),
          "'m.weight_packed' has 4 bits by its shape, config.json" },
        { 4,
          { 0 },
          CT("\"num_bits\":4,\"type\":\"fixed\""),
          "'group_0' has weights of type 'fixed'" },
        { 4, { 0 }, CT("\"num_bits\":4,\"strategy\":\"block\""), "has the strategy block" },
        { 4, { 0 }, CT("\"num_bits\":4,\"group_size\":-5"), "group_size -5: want -1" },
        { 4,
          { 0 },
          "{\"quant_method\":\"compressed-tensors\",\"format\":\"marlin-24\",\"config_groups\":{"
          "\"a\":1}}",
          "format 'marlin-24' is not read, want one of pack-quantized" },
        { 4, { 0 }, "{\"quant_method\":\"compressed-tensors\"}", "has no config_groups" },
        { 4,
          { 0 },
          "{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:fp8_static\"}",
          "data_type 'int' with packing_format 'auto_round:fp8_static' is not read" },
        { 4,
          { 0 },
          "{\"quant_method\":\"auto-round\",\"data_type\":\"fp8_to_int_sym\"}",
          "data_type 'fp8_to_int_sym' with packing_format 'auto_round:auto_gptq' is not read" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct part p[5];
        uint8_t *file;
        memcpy(p, good_ct, sizeof good_ct);
        p[rows[i].part] = rows[i].is;
        assert_null(open_it(p, 4, 0, rows[i].quant, &file, rows[i].want));
        free(file);
    }
}

/* Neural Compressor's own form: nf4, and a linear whose inputs are scaled. */
static void wrong_inc(void **state)
{
#define MODULE "\"('m', 'Linear')\":{\"rtn\":{\"dtype\":\"%s\",\"bits\":4,\"group_size\":32}}"
    static const struct part nf4[] = { { "m.qweight", "I32", 32, 8, 0x55 },
                                       { "m.scale_bf16_to_fp8", "BF16", 1, 0, 0 },
                                       { "m.scales", "F32", 32, 2, 0 } };
    static const struct part scaled[] = {
        { "m.input_scale", "F32", 64, 0, 0x3f },           { "m.linear.bias", "F16", 32, 0, 0 },
        { "m.linear.qweight", "I32", 8, 32, 0x55 },        { "m.linear.qzeros", "I32", 2, 4, 0x66 },
        { "m.linear.scale_bf16_to_fp8", "BF16", 1, 0, 0 }, { "m.linear.scales", "F16", 2, 32, 0 }
    };
    char quant[256];
    uint8_t *file;
    struct part p[6];

    (void)state;
    snprintf(quant, sizeof quant, "{" MODULE "}", "nf4");
    memcpy(p, nf4, sizeof nf4);
    p[1] = (struct part){ "m.g_idx", "I32", 64, 0, 0 };
    p[3] = p[2];
    p[2] = nf4[1];
    woq_source_close(open_it(p, 4, 0, quant, &file, NULL));
    free(file);
    p[1].fill = 255;
    assert_null(open_it(p, 4, 0, quant, &file, "'m.g_idx' 0 is -1, want 0..1"));
    free(file);
    p[1].d0 = 63;
    assert_null(open_it(p, 4, 0, quant, &file, "'m.g_idx' has 63 elements, want 64"));
    free(file);
    p[1] = (struct part){ "m.qzeros", "I32", 32, 1, 0 };
    assert_null(open_it(p, 4, 0, quant, &file, "'m.qweight' has zero points: not read for nf4"));
    free(file);
    woq_source_close(open_it(nf4, 3, 0, quant, &file, NULL));
    free(file);
    memcpy(p, nf4, sizeof nf4);
    p[2].d1 = 3;
    assert_null(open_it(p, 3, 0, quant, &file, "'m.scales' has 3 groups of 32 for 64 inputs"));
    free(file);
    p[2].d0 = 31;
    assert_null(open_it(p, 3, 0, quant, &file, "want I32 [out, in/8] and float scales"));
    free(file);
    assert_null(
        open_it(nf4, 3, 0, "{\"('n', 'Linear')\":{}}", &file, "does not tell of 'm.qweight'"));
    free(file);
    snprintf(quant, sizeof quant, "{" MODULE "}", "fp6");
    assert_null(open_it(nf4, 3, 0, quant, &file, "has dtype 'fp6', want int, nf4, fp4"));
    free(file);
    snprintf(quant, sizeof quant, "{" MODULE "}", "int");
    woq_source_close(open_it(scaled, 6, 0, quant, &file, NULL));
    free(file);
    memcpy(p, scaled, sizeof scaled);
    p[0].d0 = 63;
    assert_null(open_it(p, 6, 0, quant, &file, "'m.input_scale' is no row of 64 F32"));
    free(file);
    p[0] = scaled[0];
    p[0].fill = 0xff;
    assert_null(open_it(p, 6, 0, quant, &file, "'m.input_scale' [0] is not finite"));
    free(file);
    memcpy(p, scaled, sizeof scaled);
    p[1].fill = 0x3c; /* a bias that is one: called as that of a float linear */
    struct woq_source *s = open_it(p, 6, 0, quant, &file, NULL);
    assert_int_equal(s->n_items, 2);
    assert_string_equal(s->items[0].name, "m.bias");
    assert_string_equal(s->items[1].name, "m.weight");
    woq_source_close(s);
    free(file);
}

/* gpt-oss: blocks without their scales, or of another shape. */
static void wrong_blocks(void **state)
{
    static const struct part parts[] = { { "m_blocks", "U8", 2, 16, 0 },
                                         { "m_scales", "U8", 2, 1, 0 } };
    uint8_t *file;

    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        assert_null(open_it(parts, n, 0, "{\"quant_method\":\"mxfp4\"}", &file,
                            "'m_blocks': want U8 [experts, out, in / 32, 16] and its scales"));
        free(file);
    }
}

/* compressed-tensors' floats: nvfp4, 32 outputs, 64 inputs. */
static const struct part good_nvfp4[] = { { "m.weight_global_scale", "F32", 1, 0, 0x41 },
                                          { "m.weight_packed", "U8", 32, 32, 0x55 },
                                          { "m.weight_scale", "F8", 32, 4, 0x38 } };

static void wrong_ct_float(void **state)
{
    static const struct {
        size_t part;
        struct part is;
        const char *want;
    } rows[] = {
        { 0, { "m.weight_global_scale", "F32", 1, 0, 0 }, "is 0, want a finite number above 0" },
        { 0, { "m.weight_global_scale", "F32", 1, 0, 0xff }, "want a finite number above 0" },
        { 0, { "m.weight_global_scale", "F16", 1, 0, 0 }, "is F16 of 2 bytes, want one F32" },
        { 0, { "m.other", "F32", 1, 0, 0 }, "'m.weight_packed' is U8, want i32" },
        { 1, { "m.weight_packed", "U8", 32, 0, 0 }, "want a matrix" },
        { 1, { "m.weight_packed", "U8", 32, 31, 0 }, "nvfp4 has a scale for each 16 of 62" },
        { 2, { "m.weight_scale", "F8", 32, 5, 0 }, "nvfp4 has a scale for each 16 of 64 inputs" },
        { 2, { "m.weight_scale", "F8", 32, 4, 0x7f }, "scale 0 of 'm.weight_scale' is NaN" },
        { 2, { "m.weight_scale", "F16", 32, 4, 0 }, "'m.weight_packed' is U8, want i32" },
    };
    static const char quant[] = CT("\"num_bits\":4,\"type\":\"float\"");
    static const char block[] = CT("\"type\":\"float\",\"block_structure\":[0,32]");
    uint8_t *file;

    (void)state;
    woq_source_close(open_it(good_nvfp4, 3, 0, quant, &file, NULL));
    free(file);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct part p[3];
        memcpy(p, good_nvfp4, sizeof p);
        p[rows[i].part] = rows[i].is;
        assert_null(open_it(p, 3, 0, quant, &file, rows[i].want));
        free(file);
    }
    assert_null(open_it(good_nvfp4, 3, 0, block, &file, "block_structure of 'group_0' is no pair"));
    free(file);
}

/* AutoRound's bytes of two fields with bytes of scales, which the configuration tells apart. */
static void wrong_round_bytes(void **state)
{
    static const struct part good_bytes[] = { { "m.weight_packed", "U8", 32, 32, 0x2f },
                                              { "m.weight_scale", "U8", 32, 2, 0x7f } };
    static const struct {
        size_t part;
        struct part is;
        const char *type, *want;
    } rows[] = {
        { 0, { "m.weight_packed", "I8", 32, 32, 0 }, "mx_int", "is I8 [32,32], want U8 [out, in" },
        { 0,
          { "m.weight_packed", "U8", 32, 0, 0 },
          "mx_int",
          "is U8 [32,1], want U8 [out, in / 2" },
        { 0, { "m.weight_packed", "U8", 32, 24, 0 }, "mx_int", "and inputs in multiples of 32" },
        { 1, { "m.weight_scale", "U8", 32, 3, 0 }, "mx_int", "'m.weight_scale' has 96 elements" },
        { 1, { "m.weight_scale", "F16", 32, 2, 0 }, "mx_int", "'m.weight_scale' is F16, want U8" },
        { 1,
          { "m.weight_scale", "U8", 32, 2, 0xff },
          "mx_int",
          "scale 0 of 'm.weight_scale' is N" },
        { 1, { "m.other", "U8", 32, 2, 0 }, "mx_int", "has no tensor 'weight_scale'" },
        { 1, { "m.weight_scale", "U8", 32, 2, 0 }, "nvfp4_v2", "a scale for each 16 of 64 inputs" },
        { 1, { "m.weight_scale", "U8", 32, 4, 0xff }, "nvfp4_v2", "scale 0 of 'm.weight_scale'" },
        { 1, { "m.weight_scale", "U8", 32, 4, 0 }, "mx_fp", "a scale for each 32 of 64 inputs" },
    };
    struct woq_error err = { 0 };
    struct woq_frame f = { 0 };
    struct woq_qview q;
    char quant[128];
    uint8_t *file;
#define ROUND                                                                                      \
    "{\"quant_method\":\"auto-round\",\"data_type\":\"%s\",\"packing_format\":\"auto_round\"}"

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct part p[2];
        memcpy(p, good_bytes, sizeof p);
        p[rows[i].part] = rows[i].is;
        snprintf(quant, sizeof quant, ROUND, rows[i].type);
        assert_null(open_it(p, 2, 0, quant, &file, rows[i].want));
        free(file);
    }
    snprintf(quant, sizeof quant, ROUND, "mx_int");
    struct woq_source *s = open_it(good_bytes, 2, 0, quant, &file, NULL);
    assert_string_equal(s->items[0].stored, "mx_int4");
    assert_int_equal(s->load(s, 0, &f, &err), WOQ_OK);
    assert_int_equal(woq_qview_init(&q, &f, &err), WOQ_OK);
    assert_true(q.sym && !q.lut && q.n_cols == 64 && q.n_groups == 2 && q.scale[0] == 0.25F);
    assert_true(q.codes[0] == 1 && q.codes[1] == 10); /* -7, 2 */
    woq_frame_release(&f);
    woq_source_close(s);
    free(file);
}

/* nvfp4 with scales in e5m3, as AutoRound's llm_compressor export tells of it. */
static void ct_e5m3(void **state)
{
    static const struct part parts[] = { { "m.weight_packed", "U8", 32, 32, 0x2f },
                                         { "m.weight_scale", "U8", 32, 4, 0x7c } };
    static const char quant[] =
        "{\"quant_method\":\"compressed-tensors\",\"format\":\"nvfp4-e5m3-pack-quantized\","
        "\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":4,"
        "\"type\":\"float\",\"strategy\":\"tensor_group\",\"group_size\":16}}}}";
    struct woq_error err = { 0 };
    struct woq_frame f = { 0 };
    struct woq_qview q;
    uint8_t *file;
    struct woq_source *s = open_it(parts, 2, 0, quant, &file, NULL);

    (void)state;
    assert_string_equal(s->items[0].stored, "nvfp4");
    assert_int_equal(s->load(s, 0, &f, &err), WOQ_OK);
    assert_int_equal(woq_qview_init(&q, &f, &err), WOQ_OK);
    assert_true(q.n_cols == 64 && q.n_groups == 4 && q.scale[0] == 1.5F && q.lut);
    assert_true(q.lut[q.codes[0]] == -6 && q.lut[q.codes[1]] == 1);
    woq_frame_release(&f);
    woq_source_close(s);
    free(file);
}

/* FP8 with a scale for each output, and with zero points. */
static void wrong_fp8(void **state)
{
    static const struct part good_fp8[] = { { "m.input_scale", "BF16", 1, 0, 0 },
                                            { "m.weight", "F8", 4, 8, 0x38 },
                                            { "m.weight_scale", "F16", 4, 0, 0 } };
    static const struct {
        size_t part;
        struct part is;
        const char *want;
    } rows[] = {
        { 0, { "m.weight_zp", "BF16", 1, 0, 0 }, "'m.weight_zp' is subtracted from codes of F8" },
        { 1, { "m.weight", "F8", 8, 0, 0 }, "'m.weight' is F8_E4M3 without a matrix of scales" },
        { 2, { "m.weight_scale", "F16", 5, 0, 0 }, "'m.weight_scale' has 5 scales for 4 x 8" },
        { 2, { "m.weight_scale", "F16", 2, 2, 0 }, "'m.weight_scale' has 4 scales for 4 x 8" },
        { 2, { "m.weight_scale", "I32", 4, 0, 0 }, "'m.weight_scale' is I32, want F32 BF16 F16" },
        { 2, { "m.other", "F16", 4, 0, 0 }, "'m.weight' is F8_E4M3 without a matrix of scales" },
    };
    static const char quant[] = "{\"quant_method\":\"auto-round\",\"data_type\":\"fp\","
                                "\"packing_format\":\"auto_round:fp8_static\"}";
    uint8_t *file;
    struct woq_source *s = open_it(good_fp8, 3, 0, quant, &file, NULL);

    (void)state;
    assert_int_equal(s->n_items, 1);
    assert_string_equal(s->format, "autoround");
    woq_source_close(s);
    free(file);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct part p[3];
        memcpy(p, good_fp8, sizeof p);
        p[rows[i].part] = rows[i].is;
        assert_null(open_it(p, 3, 0, quant, &file, rows[i].want));
        free(file);
    }
}

/* AWQ for fast kernels: 32 outputs, 64 inputs in 8 groups. */
static const struct part good_fast[] = { { "m.qweight", "I16", 8, 64, 0x5a },
                                         { "m.qzeros", "F16", 8, 32, 0 },
                                         { "m.scales", "F16", 8, 32, 0 } };
#define FAST "{\"quant_method\":\"awq\",\"bits\":4,\"version\":\"gemv_fast\",\"group_size\":%d}"

/* What load says where all zero points and all scales are these numbers of f16. */
static int load_fast(uint16_t scale, uint16_t taken, struct woq_qview *q, struct woq_frame *f,
                     struct woq_error *err)
{
    char quant[128];
    uint8_t *file;
    struct woq_source *s;
    uint64_t header;

    snprintf(quant, sizeof quant, FAST, 8);
    s = open_it(good_fast, 3, 0, quant, &file, NULL);
    assert_string_equal(s->items[0].stored, "AWQ4");
    memcpy(&header, file, 8);
    for (size_t i = 0; i < 512; i++) {
        const uint16_t x = i < 256 ? taken : scale;
        memcpy(file + 8 + header + 1024 + 2 * i, &x, 2);
    }
    int rc = s->load(s, 0, f, err);
    if (rc == WOQ_OK)
        rc = woq_qview_init(q, f, err);
    woq_source_close(s);
    free(file);
    return rc;
}

static void fast_zero_points(void **state)
{
    struct woq_error err = { 0 };
    struct woq_frame f = { 0 };
    struct woq_qview q;

    (void)state;
    assert_int_equal(load_fast(0x3c00, 0xc200, &q, &f, &err), WOQ_OK); /* 1, -3 */
    assert_true(q.n_rows == 32 && q.n_cols == 64 && q.n_groups == 8);
    assert_true(q.zero && q.zero[0] == 3 && q.zero[255] == 3 && q.scale[0] == 1);
    for (size_t i = 0; i < 64; i++) /* 0x5a5a: ten, then five */
        assert_int_equal(q.codes[i], i % 16 < 8 ? 10 : 5);
    assert_int_equal(load_fast(0x3c00, 0xc800, &q, &f, &err), WOQ_OK); /* -8: symmetric */
    assert_null(q.zero);
    /* 0.333252 * 7 is no number of f16, but rounds to this one */
    assert_int_equal(load_fast(0x3555, 0xc0aa, &q, &f, &err), WOQ_OK);
    assert_true(q.zero && q.zero[0] == 7);
    /* of no whole zero point: as it is */
    assert_int_equal(load_fast(0x3c00, 0xc100, &q, &f, &err), WOQ_OK);
    assert_true(q.zero && q.zero[0] == 2.5F);
    assert_int_equal(load_fast(0x3c00, 0x4000, &q, &f, &err), WOQ_OK);
    assert_true(q.zero && q.zero[0] == -2);
    assert_int_equal(load_fast(0, 0, &q, &f, &err), WOQ_OK);
    assert_true(q.zero && q.zero[0] == 0);
    assert_int_equal(load_fast(0, 0x3c00, &q, &f, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "'m.qzeros' [0][0] is 1 where the scale is 0"));
    woq_frame_release(&f);
}

static void wrong_fast(void **state)
{
    static const struct {
        size_t part;
        struct part is;
        int group;
        const char *want;
    } rows[] = {
        { 0, { "m.qweight", "I32", 8, 64, 0 }, 8, "is I32 [8,64], want I16 [out / 4, in] and" },
        { 0, { "m.qweight", "I16", 8, 32, 0 }, 8, "is I16 [8,32], want I16 [out / 4, in] and" },
        { 0, { "m.qweight", "I16", 8, 0, 0 }, 8, "is I16 [8,1], want I16 [out / 4, in] and" },
        { 0, { "m.qweight", "I16", 9, 64, 0 }, 8, "'m.scales' is F16 [8,32], want floats" },
        { 1, { "m.qzeros", "F16", 16, 32, 0 }, 8, "'m.qzeros' is F16 [16,32], want floats" },
        { 1, { "m.qzeros", "F16", 32, 32, 0 }, 8, "'m.qzeros' has more than 8 groups of 8" },
        { 1, { "m.qzeros", "BF16", 8, 32, 0 }, 8, "'m.qzeros' is BF16 [8,32], want the type" },
        { 1, { "m.qzeros", "I32", 8, 32, 0 }, 8, "'m.qzeros' is I32 [8,32], want floats" },
        { 1, { "m.other", "F16", 8, 32, 0 }, 8, "'m.qweight' has no tensor 'qzeros' beside it" },
        { 2, { "m.other", "F16", 8, 32, 0 }, 8, "'m.qweight' has no tensor 'scales' beside it" },
        { 2, { "m.scales", "F16", 8, 32, 0 }, 48, "has 64 inputs in groups of 48" },
        { 2, { "m.scales", "F16", 8, 32, 0 }, 4, "'m.scales' is F16 [8,32], want floats" },
        { 2, { "m.scales", "F16", 8, 32, 0 }, 16, "'m.scales' has more than 4 groups of 16" },
    };
    uint8_t *file;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct part p[3];
        char quant[128];
        memcpy(p, good_fast, sizeof p);
        p[rows[i].part] = rows[i].is;
        snprintf(quant, sizeof quant, FAST, rows[i].group);
        assert_null(open_it(p, 3, 0, quant, &file, rows[i].want));
        free(file);
    }
    assert_null(open_it(good_fast, 3, 0,
                        "{\"quant_method\":\"awq\",\"w_bit\":3,\"backend\":\"llm-awq\"}", &file,
                        "'m.qweight' has 4 bits, config.json says 3"));
    free(file);
}

/* Divisors of an activation that are all one say nothing; others cannot be left out. */
static void divisors(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct part p[5] = { { "m.act.scales", i ? "F32" : "F16", 64, 0, 0 } };
        uint8_t *file;
        struct woq_source *s;
        char quant[256];

        memcpy(p + 1, good, sizeof good);
        snprintf(quant, sizeof quant, QUANT, "false");
        s = open_it(p, 5, 0, quant, &file, i ? "'m.act.scales' divides activations" : NULL);
        if (!i)
            assert_int_equal(s->n_items, 1);
        woq_source_close(s);
        free(file);
    }
}

/* One I8 weight with one scale: 4 bits hold -8..7. */
static void wrong_bytes(void **state)
{
    static const char *const quant[] = { CT("\"num_bits\":4,\"strategy\":\"tensor\""),
                                         CT("\"num_bits\":8,\"strategy\":\"tensor\"") };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const struct part p[] = { { "m.input_zero_point", "I8", 1, 0, 0 }, /* is left out */
                                  { "m.weight", "I8", 4, 8, 0xf7 },        /* -9 */
                                  { "m.weight_scale", "F16", 1, 0, 0 } };
        uint8_t *file;
        struct woq_source *s = open_it(p, 3, 0, quant[i], &file, NULL);
        struct woq_error err = { 0 };
        struct woq_frame f = { 0 };
        struct woq_buf buf = { 0 };
        size_t rows, cols;
        const float *w;

        assert_int_equal(s->n_items, 1);
        if (i == 0) {
            assert_int_equal(s->load(s, 0, &f, &err), WOQ_EDATA);
            assert_non_null(strstr(err.what, "'m.weight' has a value beyond 4 bits"));
        } else {
            assert_int_equal(s->load(s, 0, &f, &err), WOQ_OK);
            assert_int_equal(woq_weight_f32(&f, &rows, &cols, &w, &buf, &err), WOQ_OK);
            assert_true(rows == 4 && cols == 8 && w[0] == -9.0f && w[31] == -9.0f);
        }
        woq_buf_release(&buf);
        woq_frame_release(&f);
        woq_source_close(s);
        free(file);
    }
}

/* Mixed group sizes: what the shapes say wins, if g_idx agrees. */
static void other_group_size(void **state)
{
    uint8_t *file;
    struct woq_source *s = open_it(
        good, 4, 0, "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"sym\":false}",
        &file, NULL);
    struct woq_error err = { 0 };
    struct woq_frame f = { 0 };

    (void)state;
    assert_int_equal(s->load(s, 0, &f, &err), WOQ_OK);
    assert_int_equal(woq_json_get_int(woq_json_get(f.meta, "quant"), "group_size", 0), 32);
    woq_frame_release(&f);
    woq_source_close(s);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid),        cmocka_unit_test(permuted),
        cmocka_unit_test(wrong),        cmocka_unit_test(planar),
        cmocka_unit_test(wrong_config), cmocka_unit_test(other_group_size),
        cmocka_unit_test(wrong_ct),     cmocka_unit_test(wrong_ct_float),
        cmocka_unit_test(wrong_fp8),    cmocka_unit_test(wrong_inc),
        cmocka_unit_test(wrong_blocks), cmocka_unit_test(divisors),
        cmocka_unit_test(wrong_bytes),  cmocka_unit_test(fast_zero_points),
        cmocka_unit_test(wrong_fast),   cmocka_unit_test(wrong_round_bytes),
        cmocka_unit_test(ct_e5m3),
    };
    return cmocka_run_group_tests_name("packed_source", tests, NULL, NULL);
}
