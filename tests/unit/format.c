/* format.c -- the table of number formats: what their definitions say, and the golden values that
 * Intel Neural Compressor 3.6 gives for W = sin(1 + 7 i + 3 j) in groups of 4. */
#include <woq/quant.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct woq_format *find(const char *name)
{
    const struct woq_format *f = woq_format_find(name, 0);

    if (!f)
        fail_msg("no format '%s'", name);
    return f;
}

static unsigned code_of(const char *name, float x)
{
    const struct woq_levels *l = woq_format_levels(find(name));

    return (unsigned)l->code[woq_level_of(l, x)];
}

static void names_are_those_of_the_options(void **unused)
{
    char joined[512] = "";

    (void)unused;
    for (unsigned i = 0; woq_format_row(i); i++) {
        strcat(joined, i ? "|" : "");
        strcat(joined, woq_format_row(i)->name);
        assert_ptr_equal(woq_format_find(woq_format_row(i)->name, 0), woq_format_row(i));
    }
    assert_string_equal(joined, WOQ_FORMAT_NAMES);
    assert_string_equal(woq_format_find("mx_fp", 8)->name, "mxfp8");
    assert_string_equal(woq_format_find("mx_fp", 4)->name, "mxfp4");
    assert_string_equal(find("fp4_e2m1_bnb")->name, "fp4");
    assert_null(woq_format_find("nf5", 4));
    assert_null(woq_format_find("", 4));
    assert_null(woq_format_find("mx_fp mx_fp4", 4));
}

/* formats.md 4.h: ranges and special codes; OCP OFP8 1.0 and MX 1.0 have the same tables. */
static void small_floats_are_their_definition(void **unused)
{
    static const struct {
        const char *name;
        float top, least;
        unsigned n, top_code, nan_code;
    } rows[] = {
        { "fp8_e4m3", 448, 0x1p-9f, 254, 0x7e, 0x7f },
        { "fp8_e5m2", 57344, 0x1p-16f, 248, 0x7b, 0x7d },
        { "fp8_e4m3fnuz", 240, 0x1p-10f, 255, 0x7f, 0x80 },
        { "fp8_e5m2fnuz", 57344, 0x1p-17f, 255, 0x7f, 0x80 },
    };
    float lut[256];

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        woq_format_lut(lut, find(rows[i].name));
        assert_true(lut[rows[i].top_code] == rows[i].top && isnan(lut[rows[i].nan_code]));
        assert_true(lut[1] == rows[i].least && lut[0x81] == -rows[i].least && lut[0] == 0);
        assert_int_equal(woq_format_levels(find(rows[i].name))->n, rows[i].n);
        assert_true(woq_format_top(find(rows[i].name)) == rows[i].top);
    }
    woq_format_lut(lut, find("fp8_e5m2"));
    assert_true(isinf(lut[0x7c]) && lut[0x7c] > 0 && isinf(lut[0xfc]) && lut[0xfc] < 0);
    woq_format_lut(lut, find("mxfp4"));
    for (unsigned i = 0; i < 8; i++) {
        static const float e2m1[] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
        assert_true(lut[i] == e2m1[i] && lut[8 + i] == -e2m1[i] && !signbit(lut[i]));
    }
    assert_true(signbit(lut[8]));
    assert_true(woq_e8m0_lut()[0] == 0x1p-127f && woq_e8m0_lut()[127] == 1 &&
                woq_e8m0_lut()[254] == 0x1p127f && isnan(woq_e8m0_lut()[255]));
    /* auto-round 0.16.1, e5m3_to_float_tensor */
    assert_true(woq_ue5m3_lut()[0] == 0 && woq_ue5m3_lut()[1] == 0x1p-17f &&
                woq_ue5m3_lut()[8] == 0x1p-14f && woq_ue5m3_lut()[0x7b] == 1.375f &&
                woq_ue5m3_lut()[0xfe] == 114688 && isnan(woq_ue5m3_lut()[0xff]));
}

/* Every code of every format is the nearest to its own value, to what lies a little beside it, and
 * halves go where the format says. */
static void the_nearest_level_is_found(void **unused)
{
    (void)unused;
    for (unsigned i = 1; woq_format_row(i); i++) {
        const struct woq_format *f = woq_format_row(i);
        const struct woq_levels *l = woq_format_levels(f);
        for (unsigned j = 0; j < l->n; j++) {
            const float x = l->value[j];
            if (x == 0.0f)
                continue;
            assert_true((unsigned)l->code[j] < 1U << f->bits);
            if (woq_level_of(l, x) != j || woq_level_of(l, x * 1.0001f) != j)
                fail_msg("%s: level %u is not its own nearest", f->name, j);
            if (j + 1 < l->n && x + l->value[j + 1] != 0.0f) {
                const float mid = (float)(((double)x + (double)l->value[j + 1]) / 2);
                const unsigned at = woq_level_of(l, mid);
                const bool even = ((unsigned)l->code[j] & 1) == 0;
                if (at != (f->values || even ? j : j + 1))
                    fail_msg("%s: the middle of level %u and the next goes to %u", f->name, j, at);
                assert_int_equal(woq_level_of(l, nextafterf(mid, INFINITY)), j + 1);
                assert_int_equal(woq_level_of(l, nextafterf(mid, -INFINITY)), j);
            }
        }
        assert_int_equal(woq_level_of(l, INFINITY), l->n - 1);
        assert_int_equal(woq_level_of(l, -INFINITY), 0);
    }
    assert_int_equal(code_of("mxfp4", -0.1f), 8); /* the sign of what rounds to 0 stays */
    assert_int_equal(code_of("mxfp4", -0.0f), 0);
    assert_int_equal(code_of("mxfp4", 0.25f), 0);
    assert_int_equal(code_of("mxfp4", 0.75f), 2);
    assert_int_equal(code_of("mxfp4", 5.0f), 6);
    assert_int_equal(code_of("fp4", -0.001f), 0);
    assert_int_equal(code_of("fp8_e4m3", 1e6f), 0x7e); /* saturates */
}

static void scales_of_one_byte(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 255; i++)
        assert_int_equal(woq_e8m0_code(woq_e8m0_lut()[i]), i);
    for (unsigned i = 0; i < 127; i++)
        assert_int_equal(woq_e4m3_code(woq_e4m3_lut()[i]), i);
    assert_int_equal(woq_e8m0_code(1e-45f), 0);
    assert_int_equal(woq_e8m0_code(3e38f), 254);
    assert_int_equal(woq_e8m0_code(1.4f), 127);
    assert_int_equal(woq_e8m0_code(1.42f), 128);
}

/* --- golden: algorithms.md 11.5 and 11.9 --- */
static void sine(float w[32])
{
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 8; j++)
            w[8 * i + j] = (float)sin(1.0 + 7 * i + 3 * j);
}

static struct woq_scheme scheme(const char *dtype, int64_t group_size)
{
    struct woq_json *o = woq_json_object();
    struct woq_error err = { 0 };
    struct woq_scheme s;

    woq_scheme_init(&s);
    woq_json_set_str(o, "dtype", dtype);
    woq_json_set_num(o, "group_size", (double)group_size);
    assert_int_equal(woq_scheme_from_json(&s, o, &err), WOQ_OK);
    woq_json_free(o);
    return s;
}

static double mse_of(const uint8_t *codes, const float *scale, const float *w, const float *lut)
{
    double sum = 0;

    for (size_t i = 0; i < 32; i++) {
        const double d = (double)lut[codes[i]] * (double)scale[i / 4] - (double)w[i];
        sum += d * d;
    }
    return sum / 32;
}

static void codebooks_of_four_bits(void **unused)
{
    static const float max[] = { 0.841471f, 0.420167f, 0.999990f, 0.912945f,
                                 0.905578f, 0.999912f, 0.404038f, 0.831775f };
    static const struct {
        const char *name;
        double mse;
        uint8_t codes[32];
    } rows[] = {
        { "nf4", 2.078726e-3, { 15, 0, 14, 1, 15, 1, 11, 7, 15, 0, 15, 0, 15, 0, 14, 1,
                                14, 1, 15, 0, 15, 0, 15, 0, 7,  4, 14, 0, 13, 1, 15, 0 } },
        { "fp4", 2.984509e-3, { 3, 11, 2, 10, 3, 10, 4, 9,  3, 11, 3, 11, 3, 11, 3, 10,
                                2, 10, 3, 11, 3, 11, 3, 11, 9, 12, 2, 11, 2, 10, 3, 11 } },
        { "fp4_e2m1", 2.982999e-3, { 7, 15, 6, 14, 7, 14, 4, 9,  7, 15, 7, 15, 7, 15, 7, 14,
                                     6, 14, 7, 15, 7, 15, 7, 15, 9, 12, 6, 15, 6, 14, 7, 15 } },
    };
    float w[32], scale[8], lut[256];
    struct woq_error err = { 0 };
    uint8_t codes[32];

    (void)unused;
    sine(w);
    for (size_t i = 0; i < 3; i++) {
        const struct woq_scheme s = scheme(rows[i].name, 4);
        assert_int_equal(woq_rtn(codes, scale, NULL, w, 4, 8, &s, NULL, &err), WOQ_OK);
        for (size_t g = 0; g < 8; g++)
            if (fabsf(scale[g] - max[g]) > 1e-6f)
                fail_msg("%s: scale %zu is %g", rows[i].name, g, (double)scale[g]);
        for (size_t c = 0; c < 32; c++)
            if (codes[c] != rows[i].codes[c])
                fail_msg("%s: code %zu is %d, want %d", rows[i].name, c, codes[c],
                         rows[i].codes[c]);
        woq_format_lut(lut, find(rows[i].name));
        assert_true(fabs(mse_of(codes, scale, w, lut) - rows[i].mse) < 1e-8);
    }
}

/* The values that W / 2^-7 takes as e4m3 (11.9, fp8_aware). */
static void fp8_of_the_sine(void **unused)
{
    static const float want[32] = {
        104, -96, 88,  -72,  52,  -36,  20,  -1.125f, 128,     -128, 128, -120, 120, -112, 96, -88,
        80,  -96, 104, -112, 120, -128, 128, -128,    -1.125f, -16,  36,  -52,  64,  -80,  96, -104,
    };
    float w[32], lut[256];

    (void)unused;
    sine(w);
    woq_format_lut(lut, find("fp8_e4m3"));
    for (size_t i = 0; i < 32; i++)
        assert_true(lut[code_of("fp8_e4m3", w[i] * 128)] == want[i]);
}

/* --- scales that are codes --- */
static void nvfp4_scales_multiply_out(void **unused)
{
    static float w[8 * 64];
    struct woq_frame like = { 0 }, out = { 0 };
    const struct woq_scheme s = scheme("nvfp4", 16);
    struct woq_buf buf = { 0 };
    struct woq_error err = { 0 };
    struct woq_qview q;
    uint64_t shape[2] = { 8, 64 };
    float scales[32], most = 0;

    (void)unused;
    for (size_t i = 0; i < 8 * 64; i++) {
        w[i] = (float)sin((double)i) * (float)(i % 64 < 16 ? 0 : 1 + i / 64);
        most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
    }
    woq_frame_begin(&like, "TENS");
    assert_int_equal(woq_frame_add(&like, "data", WOQ_F32, 2, shape, w, &err), WOQ_OK);
    assert_int_equal(woq_rtn_frame(&out, &like, &s, NULL, &buf, &err), WOQ_OK);
    assert_int_equal(woq_qview_init(&q, &out, &err), WOQ_OK);
    assert_true(q.scale_codes.div == 448.0f * 6.0f / most);
    woq_nested_decode(scales, &q.scale_codes);
    assert_memory_equal(scales, q.scale, sizeof scales);
    for (size_t i = 0; i < 16; i++) /* a group of zeros */
        assert_true(q.scale_codes.codes[i / 16] == 0 && q.codes[i] == 0);
    /* codes of 4 bits, 32 scales of 8, one f32 */
    assert_true(woq_qten_bits(&q) == 4 * 512 + 8 * 32 + 32);
    woq_frame_release(&like);
    woq_frame_release(&out);
    woq_buf_release(&buf);
}

static void mxfp4_by_hand(void **unused)
{
    float w[32] = { 5.0f, -0.4f, 7.9f, 0.26f, 1e-3f, -1e-3f }, scale[1];
    const struct woq_scheme s = scheme("mxfp4", 32);
    struct woq_scheme search = s;
    struct woq_error err = { 0 };
    uint8_t codes[32];

    (void)unused;
    /* 2^(floor(log2 7.9) - 2) = 1: 7.9 is cut to 6 */
    assert_int_equal(woq_rtn(codes, scale, NULL, w, 1, 32, &s, NULL, &err), WOQ_OK);
    assert_true(scale[0] == 1.0f);
    assert_int_equal(codes[0], 6);
    assert_int_equal(codes[1], 9);
    assert_int_equal(codes[2], 7);
    assert_int_equal(codes[3], 1);
    assert_int_equal(codes[4], 0);
    assert_int_equal(codes[5], 8);
    strcpy(search.search, "mse"); /* 5 -> 4, 7.9 -> 8 is nearer than 4, 6 */
    assert_int_equal(woq_rtn(codes, scale, NULL, w, 1, 32, &search, NULL, &err), WOQ_OK);
    assert_true(scale[0] == 2.0f);
    assert_int_equal(codes[2], 6);
    memset(w, 0, sizeof w);
    assert_int_equal(woq_rtn(codes, scale, NULL, w, 1, 32, &s, NULL, &err), WOQ_OK);
    assert_true(scale[0] == 0.5f && codes[0] == 0);
}

/* Blocks of rows and whole tensors have the largest weight of all as their range. */
static void rows_share_scales(void **unused)
{
    static const struct {
        int64_t group_rows, group_size;
    } rows[] = { { 2, 4 }, { 3, 3 }, { -1, -1 }, { 100, 8 }, { 1, 4 } };
    float w[32], scale[32], lut[256];
    struct woq_error err = { 0 };
    uint8_t codes[32];

    (void)unused;
    sine(w);
    woq_format_lut(lut, find("fp8_e4m3"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct woq_scheme s = scheme("fp8_e4m3", rows[i].group_size);
        size_t g, step, n;
        s.group_rows = rows[i].group_rows;
        step = s.group_rows < 0 || s.group_rows > 4 ? 4 : (size_t)s.group_rows;
        g = woq_scheme_group_elems(&s, 8);
        n = woq_scheme_groups(&s, 8);
        assert_int_equal(woq_rtn(codes, scale, NULL, w, 4, 8, &s, NULL, &err), WOQ_OK);
        for (size_t r = 0; r < 4; r++)
            for (size_t c = 0; c < 8; c++) {
                float most = 0;
                for (size_t y = r / step * step; y < 4 && y < r / step * step + step; y++)
                    for (size_t x = c / g * g; x < 8 && x < c / g * g + g; x++)
                        most = fabsf(w[8 * y + x]) > most ? fabsf(w[8 * y + x]) : most;
                assert_true(scale[r * n + c / g] == most / 448);
                assert_true(fabsf(lut[codes[8 * r + c]] * scale[r * n + c / g] - w[8 * r + c]) <=
                            most / 16);
            }
    }
}

/* --- double quantization: algorithms.md 11.6, the scales of W in 4 bits asym --- */
static void quantize_frame(struct woq_frame *out, const char *json, float w[32])
{
    struct woq_frame like = { 0 };
    struct woq_json *o = NULL;
    struct woq_buf buf = { 0 };
    struct woq_error err = { 0 };
    struct woq_scheme s;
    uint64_t shape[2] = { 4, 8 };

    woq_scheme_init(&s);
    assert_int_equal(woq_json_parse(&o, json, strlen(json), &err), WOQ_OK);
    if (woq_scheme_from_json(&s, o, &err) != WOQ_OK)
        fail_msg("%s", err.what);
    woq_json_free(o);
    sine(w);
    woq_frame_begin(&like, "TENS");
    assert_int_equal(woq_frame_add(&like, "data", WOQ_F32, 2, shape, w, &err), WOQ_OK);
    if (woq_rtn_frame(out, &like, &s, NULL, &buf, &err) != WOQ_OK)
        fail_msg("%s: %s", json, err.what);
    woq_frame_release(&like);
    woq_buf_release(&buf);
}

/* Without g_idx a row has the group of its place; with it, an index for each row. */
static void groups_of_rows(void **unused)
{
    const int32_t g_idx[] = { 1, 0, 1, 0 };
    const uint64_t n_rows = 4;
    struct woq_frame out = { 0 };
    struct woq_error err = { 0 };
    struct woq_qview q;
    float w[32], plain[32], dealt[32];

    (void)unused;
    quantize_frame(&out, "{\"group_size\":2,\"group_dim\":0,\"sym\":false}", w);
    assert_int_equal(woq_qview_init(&q, &out, &err), WOQ_OK);
    woq_dequant_rows(plain, &q, 0, 4);
    assert_true(woq_qten_bits(&q) == 4 * 32 + 16 * 16 + 16 * 4);
    assert_int_equal(woq_frame_add(&out, "g_idx", WOQ_I32, 1, &n_rows, g_idx, &err), WOQ_OK);
    assert_int_equal(woq_qview_init(&q, &out, &err), WOQ_OK);
    assert_true(woq_qten_bits(&q) == 4 * 32 + 16 * 16 + 16 * 4 + 32 * 4);
    woq_dequant_rows(dealt, &q, 0, 4);
    for (size_t i = 0; i < 32; i++) {
        const size_t s = (size_t)g_idx[i / 8] * 8 + i % 8;
        assert_true(dealt[i] == ((float)q.codes[i] - q.zero[s]) * q.scale[s]);
        assert_true(plain[i] == dealt[i] || (size_t)g_idx[i / 8] != i / 16);
    }
    woq_frame_release(&out);
}

#define DQ "{\"group_size\":4,\"use_sym\":false,\"use_double_quant\":true,"
static void double_quantization(void **unused)
{
    static const struct {
        const char *json;
        float offset, steps[2];
        int codes[8], mid;
        float scale[8];
    } rows[] = {
        { DQ "\"double_quant_keep_codes\":true}",
          0.100349f,
          { 4.358475e-4f },
          { 14, -122, 74, 39, 36, 74, -127, 11 },
          128,
          { 0.106451f, 0.047175f, 0.132602f, 0.117347f, 0.116039f, 0.132602f, 0.044996f,
            0.105143f } },
        { DQ "\"double_quant_group_size\":4}",
          0.100349f,
          { 4.184580e-4f, 4.358475e-4f },
          { 15, -127, 77, 40, 36, 74, -127, 11 },
          128,
          { 0.106626f, 0.047205f, 0.132570f, 0.117087f, 0.116039f, 0.132602f, 0.044996f,
            0.105143f } },
        { DQ "\"double_quant_bits\":6,\"double_quant_use_sym\":true,\"double_quant_group_size\":8}",
          0,
          { 4.283206e-3f },
          { 25, 11, 31, 27, 27, 31, 11, 25 },
          32,
          { 0.107080f, 0.047115f, 0.132779f, 0.115647f, 0.115647f, 0.132779f, 0.047115f,
            0.107080f } },
    };
    float w[32], decoded[8];
    struct woq_error err = { 0 };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct woq_frame out = { 0 };
        struct woq_qview q;
        quantize_frame(&out, rows[i].json, w);
        assert_int_equal(woq_qview_init(&q, &out, &err), WOQ_OK);
        assert_true(fabsf(q.scale_codes.offset - rows[i].offset) < 1e-6f);
        for (size_t g = 0; g < 2 && rows[i].steps[g] > 0; g++)
            assert_true(fabsf(q.scale_codes.scale[g] / rows[i].steps[g] - 1) < 1e-5f);
        for (size_t g = 0; g < 8; g++) {
            if (q.scale_codes.codes[g] - rows[i].mid != rows[i].codes[g])
                fail_msg("case %zu: code %zu is %d", i, g, q.scale_codes.codes[g]);
            assert_true(fabsf(q.scale[g] - rows[i].scale[g]) < 1e-6f);
        }
        woq_nested_decode(decoded, &q.scale_codes);
        assert_memory_equal(decoded, q.scale, sizeof decoded);
        for (size_t c = 0; c < 32; c++) /* codes fit the scales that are stored */
            if (i > 0) {
                const float x = rintf(w[c] / q.scale[c / 4]) + q.zero[c / 4];
                assert_true((float)q.codes[c] == (x < 0 ? 0 : x > 15 ? 15 : x));
            }
        woq_frame_release(&out);
    }
}

/* The map of bitsandbytes: values that its create_dynamic_map gives, and what a run decodes to. */
static void dynamic_map(void **unused)
{
    const float *map = woq_dynamic_lut();
    float w[32], decoded[8];
    struct woq_frame out = { 0 };
    struct woq_error err = { 0 };
    struct woq_qview q;

    (void)unused;
    assert_true(map[0] == -0.99296875f && map[127] == 0 && map[255] == 1);
    assert_true(fabsf(map[128] / 5.5e-7f - 1) < 1e-6f && map[126] == -map[128]);
    for (unsigned i = 0; i < 256; i++) {
        assert_true(i == 0 || map[i] > map[i - 1]);
        assert_int_equal(woq_dynamic_code(map[i]), i);
    }
    quantize_frame(&out,
                   "{\"dtype\":\"nf4\",\"group_size\":4,\"double_quant\":true,"
                   "\"double_quant_dtype\":\"dynamic\"}",
                   w);
    assert_int_equal(woq_qview_init(&q, &out, &err), WOQ_OK);
    assert_memory_equal(q.scale_codes.lut, map, 256 * sizeof *map);
    woq_nested_decode(decoded, &q.scale_codes);
    assert_memory_equal(decoded, q.scale, sizeof decoded);
    assert_true(woq_qten_bits(&q) == 4 * 32 + 8 * 8 + 32 + 32);
    woq_frame_release(&out);
}

/* A scale near 0 is not lost: its code is the nearest that keeps the sign. */
static void scales_do_not_vanish(void **unused)
{
    float value[4] = { 1e-6f, 1, 0.5f, 0 }, zero;
    uint8_t c[4];

    (void)unused;
    assert_true(woq_nested_run(value, c, 4, 1, 4, false, 0, &zero) == 1.0f / 7);
    assert_true(value[0] == 1.0f / 7 && c[0] == 9 && c[1] == 15 && value[3] == 0 && c[3] == 8);
    value[0] = 1e-6f;
    value[1] = 1.0f;
    (void)woq_nested_run(value, c, 2, 1, 4, false, 0.5f, &zero);
    assert_true(value[0] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_the_options),
        cmocka_unit_test(small_floats_are_their_definition),
        cmocka_unit_test(the_nearest_level_is_found),
        cmocka_unit_test(scales_of_one_byte),
        cmocka_unit_test(codebooks_of_four_bits),
        cmocka_unit_test(fp8_of_the_sine),
        cmocka_unit_test(nvfp4_scales_multiply_out),
        cmocka_unit_test(mxfp4_by_hand),
        cmocka_unit_test(rows_share_scales),
        cmocka_unit_test(groups_of_rows),
        cmocka_unit_test(double_quantization),
        cmocka_unit_test(dynamic_map),
        cmocka_unit_test(scales_do_not_vanish),
    };

    return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}
