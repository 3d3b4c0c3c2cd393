/* formats_bad.c -- damaged and hostile checkpoints: each is refused with the right status and one
 * message, or read whole; never a crash (run it with SAN=address,undefined). Inputs are copied into
 * blocks of exactly their size, so that a sanitizer sees the first byte read beyond the end. */
#include <formats/extract.h>
#include <formats/gguf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct text {
    char *s;
    size_t n;
};

static struct text read_golden(const char *file)
{
    const char *root = getenv("WOQ_ROOT");
    struct woq_error err = { 0 };
    struct text t = { 0 };
    char path[512];

    snprintf(path, sizeof path, "%s/tests/golden/tiny-llama/%s", root ? root : ".", file);
    if (woq_file_read(path, 0, &t.s, &t.n, &err) < 0)
        fail_msg("%s", err.what);
    return t;
}

/* Opens, plans and loads everything, as woq-extract does. */
static int walk(const void *data, size_t bytes, const struct text *config, struct woq_error *err)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    struct woq_source *s = NULL;
    struct woq_plan p = { 0 };
    struct woq_frame f = { 0 };

    memset(err, 0, sizeof *err);
    memcpy(copy, data, bytes);
    int rc = woq_source_open_mem(&s, "x", copy, bytes, config ? config->s : NULL,
                                 config ? config->n : 0, err);
    if (rc == WOQ_OK)
        rc = woq_plan_init(&p, s, true, err);
    for (size_t i = 0; rc == WOQ_OK && i < p.n_steps; i++)
        if ((rc = woq_extract_load(&f, s, &p, i, err)) == WOQ_OK &&
            (rc = woq_extract_check_finite(&f, err)) == WOQ_EDATA)
            rc = WOQ_OK; /* a flipped exponent is no error of the format */
    woq_frame_release(&f);
    woq_plan_release(&p);
    woq_source_close(s);
    free(copy);
    if (rc < 0 && !err->what[0])
        fail_msg("status %d without a message", rc);
    return rc;
}

static void cuts_and_flips(const char *file, const char *config_file, size_t padding)
{
    const struct text t = read_golden(file);
    const struct text config = config_file ? read_golden(config_file) : (struct text){ 0 };
    const struct text *c = config_file ? &config : NULL;
    struct woq_error err;
    uint64_t state = 88172645463325252u;

    if (walk(t.s, t.n, c, &err) < 0)
        fail_msg("%s: %s", file, err.what);
    for (size_t cut = 0; cut < t.n - padding; cut += cut < 4096 ? 1 : 64)
        if (walk(t.s, cut, c, &err) >= 0)
            fail_msg("%s: read whole, cut at byte %zu", file, cut);
    for (int i = 0; i < 3000; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        /* Half of the flips in the header, where lengths and offsets are. */
        const size_t at = (size_t)(state >> 8) % (i % 2 ? t.n : t.n < 3000 ? t.n : 3000);
        const char bit = (char)(1 << (state & 7));

        t.s[at] ^= bit;
        walk(t.s, t.n, c, &err);
        t.s[at] ^= bit;
    }
    if (config_file)
        free(config.s);
    free(t.s);
}

static void test_damaged_safetensors(void **state)
{
    (void)state;
    cuts_and_flips("hf/model.safetensors", "hf/config.json", 0);
}

static void test_damaged_gguf(void **state)
{
    (void)state;
    cuts_and_flips("tiny.gguf", NULL, 31);
}

static void test_damaged_llama2c(void **state)
{
    (void)state;
    cuts_and_flips("v0.bin", NULL, 0);
    cuts_and_flips("v2.bin", NULL, 0);
}

static void test_damaged_config(void **state)
{
    const struct text t = read_golden("hf/model.safetensors");
    struct text config = read_golden("hf/config.json");
    const size_t n = config.n;
    struct woq_error err;

    (void)state;
    for (config.n = 0; config.n + 2 < n; config.n++)
        if (walk(t.s, t.n, &config, &err) >= 0)
            fail_msg("config.json read whole, cut at byte %zu", config.n);
    config.n = n;
    for (size_t i = 0; i < 8 * n; i++) {
        config.s[i / 8] ^= (char)(1 << i % 8);
        walk(t.s, t.n, &config, &err);
        config.s[i / 8] ^= (char)(1 << i % 8);
    }
    free(config.s);
    free(t.s);
}

static void expect_st(const char *header, uint64_t n, size_t data_bytes, int status,
                      const char *message)
{
    const size_t len = strlen(header), bytes = 8 + len + data_bytes;
    uint8_t *file = calloc(1, bytes);
    struct woq_error err = { 0 };
    struct woq_st st;

    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)((n ? n : len) >> (8 * i));
    memcpy(file + 8, header, len);
    const int rc = woq_st_parse(&st, "x", file, bytes, NULL, &err);
    if (rc != status || !strstr(err.what, message))
        fail_msg("%s: status %d '%s', want %d '%s'", header, rc, err.what, status, message);
    if (rc == WOQ_OK)
        woq_st_release(&st);
    free(file);
}

#define T(dtype, shape, offsets)                                                                   \
    "{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}"

static void test_safetensors_header(void **state)
{
    /* clang-format off */
    static const struct { const char *header; uint64_t n; size_t data; int status; const char *message; } cases[] = {
        { "{}", 0, 0, WOQ_OK, "" },
        { "  {} \n", 0, 0, WOQ_OK, "" },
        { "{\"a\":" T("F32", "2", "0,8") "}", 0, 8, WOQ_OK, "" },
        { "{\"a\":" T("F32", "", "0,4") "}", 0, 4, WOQ_OK, "" },
        { "{\"e\":" T("F32", "0,3", "8,8") ",\"a\":" T("F32", "2", "0,8") "}", 0, 8, WOQ_OK, "" },
        { "{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2],\"more\":true}}", 0, 2, WOQ_OK, "" },
        { "{}", UINT64_MAX, 0, WOQ_EDATA, "header length 18446744073709551615, want at most 100000000" },
        { "{}", 100000001, 0, WOQ_EDATA, "header length 100000001" },
        { "{}", 99999999, 0, WOQ_ETRUNC, "truncated: header of 99999999 bytes, the file has 2" },
        { "{", 0, 0, WOQ_EDATA, "" },
        { "[]", 0, 0, WOQ_EDATA, "the header is not a JSON object" },
        { "{\"\xff\":1}", 0, 0, WOQ_EDATA, "header byte 2 is not UTF-8" },
        { "{\"\xed\xa0\x80\":1}", 0, 0, WOQ_EDATA, "header byte 2 is not UTF-8" },
        { "{\"a\":[[[[[]]]]]}", 0, 0, WOQ_EDATA, "nested deeper than 3 levels" },
        { "{\"a\\u0000b\":" T("F32", "2", "0,8") "}", 0, 8, WOQ_EDATA, "" },
        { "{\"__metadata__\":{\"format\":3}}", 0, 0, WOQ_EDATA, "__metadata__ 'format' is not a string" },
        { "{\"__metadata__\":[]}", 0, 0, WOQ_EDATA, "__metadata__ is not an object" },
        { "{\"a\":3}", 0, 0, WOQ_EDATA, "tensor 'a' has no dtype" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 0, 8, WOQ_EDATA, "tensor 'a' has no shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 0, 8, WOQ_EDATA, "data_offsets is not [begin, end]" },
        { "{\"a\":" T("F33", "2", "0,8") "}", 0, 8, WOQ_EDATA, "tensor 'a' has the unknown dtype 'F33'" },
        { "{\"a\":" T("F32", "2", "0,8,9") "}", 0, 8, WOQ_EDATA, "data_offsets is not [begin, end]" },
        { "{\"a\":" T("F32", "2.0", "0,8") "}", 0, 8, WOQ_EDATA, "want plain integers" },
        { "{\"a\":" T("F32", "2e0", "0,8") "}", 0, 8, WOQ_EDATA, "want plain integers" },
        { "{\"a\":" T("F32", "-2", "0,8") "}", 0, 8, WOQ_EDATA, "want plain integers" },
        { "{\"a\":" T("F32", "\"2\"", "0,8") "}", 0, 8, WOQ_EDATA, "dimension 0 is not a size below 2^53" },
        { "{\"a\":" T("F32", "18446744073709551615", "0,8") "}", 0, 8, WOQ_EDATA, "dimension 0 is not a size below 2^53" },
        { "{\"a\":" T("F32", "4294967296,4294967296,4294967296", "0,8") "}", 0, 8, WOQ_EDATA, "more than 2^64 bits" },
        { "{\"a\":" T("F32", "1,1,1,1,1,1,1,1,2", "0,8") "}", 0, 8, WOQ_EDATA, "more than 8 dimensions" },
        { "{\"a\":" T("F4", "3", "0,1") "}", 0, 1, WOQ_EDATA, "takes 12 bits, want whole bytes" },
        { "{\"a\":" T("F32", "2", "8,0") "}", 0, 8, WOQ_EDATA, "ends at data byte 0, before its begin 8" },
        { "{\"a\":" T("F32", "2", "0,8") "}", 0, 7, WOQ_ETRUNC, "truncated: tensor 'a' ends at data byte 8, the file has 7" },
        { "{\"a\":" T("F32", "3", "0,8") "}", 0, 8, WOQ_EDATA, "has 8 bytes, its dtype and shape want 12" },
        { "{\"a\":" T("F32", "2", "0,8") "}", 0, 9, WOQ_EDATA, "take 8 bytes of data, the file has 9" },
        { "{\"a\":" T("F32", "2", "4,12") "}", 0, 12, WOQ_EDATA, "tensor 'a' begins at data byte 4, behind a hole" },
        { "{\"a\":" T("F32", "2", "0,8") ",\"b\":" T("F32", "2", "4,12") "}", 0, 12, WOQ_EDATA, "tensor 'b' begins at data byte 4, inside another tensor" },
        { "{\"a\":" T("F32", "2", "0,8") ",\"b\":" T("F32", "2", "0,8") "}", 0, 8, WOQ_EDATA, "inside another tensor" },
        { "{\"a\":" T("F32", "2", "0,8") ",\"b\":" T("F32", "1", "12,16") "}", 0, 16, WOQ_EDATA, "tensor 'b' begins at data byte 12, behind a hole" },
        { "{\"a\":" T("F32", "2", "0,8") ",\"a\":" T("F32", "1", "8,12") "}", 0, 12, WOQ_EDATA, "tensor 'a' is there twice" },
        { "{\"e\":" T("F32", "0", "4,4") ",\"a\":" T("F32", "2", "0,8") "}", 0, 8, WOQ_EDATA, "begins at data byte 4, inside another tensor" },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_st(cases[i].header, cases[i].n, cases[i].data, cases[i].status, cases[i].message);
}

/* A GGUF under construction. */
struct maker {
    uint8_t data[2048];
    size_t n;
};

static void put(struct maker *m, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++)
        m->data[m->n++] = (uint8_t)(x >> (8 * i));
}

static void put_str(struct maker *m, const char *s)
{
    put(m, strlen(s), 8);
    memcpy(m->data + m->n, s, strlen(s));
    m->n += strlen(s);
}

static void start(struct maker *m, uint64_t n_tensors, uint64_t n_kv)
{
    memset(m, 0, sizeof *m);
    put(m, 0x46554747, 4);
    put(m, 3, 4);
    put(m, n_tensors, 8);
    put(m, n_kv, 8);
}

static void put_tensor(struct maker *m, const char *name, uint64_t rows, uint64_t cols,
                       uint32_t type, uint64_t offset)
{
    put_str(m, name);
    put(m, 2, 4);
    put(m, cols, 8);
    put(m, rows, 8);
    put(m, type, 4);
    put(m, offset, 8);
}

static void expect_gguf(struct maker *m, size_t data_bytes, int status, const char *message)
{
    struct woq_error err = { 0 };
    struct woq_gguf g;

    m->n = (m->n + 31) / 32 * 32 + data_bytes;
    uint8_t *copy = malloc(m->n);
    memcpy(copy, m->data, m->n);
    const int rc = woq_gguf_parse(&g, copy, m->n, &err);
    if (rc != status || !strstr(err.what, message))
        fail_msg("status %d '%s', want %d '%s'", rc, err.what, status, message);
    if (rc == WOQ_OK)
        woq_gguf_release(&g);
    free(copy);
}

static void test_gguf_tensors(void **state)
{
    /* clang-format off */
    static const struct { uint64_t rows, cols; uint32_t type; uint64_t offset; size_t data; int status; const char *message; } cases[] = {
        { 2, 32, 8, 0, 96, WOQ_OK, "" },
        { 2, 32, 8, 0, 67, WOQ_ETRUNC, "truncated: tensor 'a' ends at byte" },
        { 2, 33, 8, 0, 96, WOQ_EDATA, "rows of 33 elements, Q8_0 wants a multiple of 32" },
        { 2, 0, 0, 0, 96, WOQ_EDATA, "rows of 0 elements" },
        { 2, 32, 4, 0, 96, WOQ_EDATA, "tensor 'a' has the unknown type 4" },
        { 2, 32, 43, 0, 96, WOQ_EDATA, "tensor 'a' has the unknown type 43" },
        { 2, 32, 8, 32, 128, WOQ_EDATA, "begins at data byte 32, want 0 (no holes, no overlaps)" },
        { 1ull << 32, 1ull << 32, 0, 0, 96, WOQ_EDATA, "has 2^63 elements or more" },
        { 1ull << 31, 1ull << 31, 0, 0, 96, WOQ_EDATA, "has more than 2^64 bytes" },
        { UINT64_MAX, 1, 0, 0, 96, WOQ_EDATA, "has 2^63 elements or more" },
        { 1ull << 40, 32, 0, 0, 96, WOQ_ETRUNC, "truncated: tensor 'a' ends at byte" },
    };
    /* clang-format on */
    struct maker m;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start(&m, 1, 0);
        put_tensor(&m, "a", cases[i].rows, cases[i].cols, cases[i].type, cases[i].offset);
        expect_gguf(&m, cases[i].data, cases[i].status, cases[i].message);
    }
    start(&m, 2, 0);
    put_tensor(&m, "a", 1, 8, 0, 0);
    put_tensor(&m, "a", 1, 8, 0, 32);
    expect_gguf(&m, 64, WOQ_EDATA, "tensor 'a' is there twice");
    start(&m, 2, 0);
    put_tensor(&m, "a", 1, 8, 0, 0);
    put_tensor(&m, "b", 1, 8, 0, 0);
    expect_gguf(&m, 64, WOQ_EDATA, "tensor 'b' begins at data byte 0, want 32");
    start(&m, 1, 0);
    put_tensor(&m, "0123456789012345678901234567890123456789012345678901234567890123", 1, 8, 0, 0);
    expect_gguf(&m, 64, WOQ_EDATA, "a tensor name of 64 bytes, want 1 to 63");
}

static void test_gguf_header(void **state)
{
    struct maker m;

    (void)state;
    start(&m, UINT64_MAX, 0);
    expect_gguf(&m, 64, WOQ_ETRUNC, "18446744073709551615 tensors do not fit");
    start(&m, 0, UINT64_MAX);
    expect_gguf(&m, 64, WOQ_ETRUNC, "truncated: 18446744073709551615 keys");
    start(&m, 0, 0);
    m.data[4] = 1;
    expect_gguf(&m, 0, WOQ_EUNSUPPORTED, "GGUF version 1, want 2 or 3");
    start(&m, 0, 0);
    memcpy(m.data + 4, "\0\0\0\3", 4);
    expect_gguf(&m, 0, WOQ_EUNSUPPORTED, "the file is big-endian");
    start(&m, 0, 1);
    put(&m, UINT64_MAX, 8);
    expect_gguf(&m, 64, WOQ_EDATA, "a key of 18446744073709551615 bytes");
    start(&m, 0, 1);
    put_str(&m, "");
    expect_gguf(&m, 64, WOQ_EDATA, "a key of 0 bytes");
    start(&m, 0, 1);
    put_str(&m, "k");
    put(&m, 13, 4);
    expect_gguf(&m, 64, WOQ_EDATA, "key 'k' has the value type 13");
    start(&m, 0, 1);
    put_str(&m, "k");
    put(&m, 9, 4);
    put(&m, 9, 4);
    expect_gguf(&m, 64, WOQ_EDATA, "key 'k' has the value type 9 in an array");
    start(&m, 0, 1);
    put_str(&m, "k");
    put(&m, 9, 4);
    put(&m, 8, 4);
    put(&m, UINT64_MAX / 2, 8);
    expect_gguf(&m, 64, WOQ_EDATA, "array of 9223372036854775807 elements");
    start(&m, 0, 1);
    put_str(&m, "k");
    put(&m, 9, 4);
    put(&m, 10, 4);
    put(&m, 1 << 20, 8);
    expect_gguf(&m, 64, WOQ_ETRUNC, "a value needs 8388608 bytes");
    start(&m, 0, 1);
    put_str(&m, "k");
    put(&m, 8, 4);
    put(&m, UINT64_MAX - 3, 8);
    expect_gguf(&m, 64, WOQ_EDATA, "string of 18446744073709551612 bytes, want at most 2^30");
    start(&m, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_str(&m, "twin");
        put(&m, 0, 4);
        put(&m, 1, 1);
    }
    expect_gguf(&m, 64, WOQ_EDATA, "key 'twin' is there twice");
    start(&m, 0, 1);
    put_str(&m, "flag");
    put(&m, 7, 4);
    put(&m, 2, 1);
    expect_gguf(&m, 64, WOQ_EDATA, "key 'flag': bool 2, want 0 or 1");
    start(&m, 0, 1);
    put_str(&m, "general.alignment");
    put(&m, 4, 4);
    put(&m, 48, 4);
    expect_gguf(&m, 64, WOQ_EDATA, "general.alignment is 48, want a power of two");
}

static void test_llama2c_header(void **state)
{
    const struct text t = read_golden("v1.bin");
    static const struct {
        size_t at;
        uint32_t x;
        const char *message;
    } cases[] = {
        { 4, 3, "llama2.c version 3, want 0, 1 or 2" },
        { 8, 0, "dim 0, want 1 to 2^24" },
        { 8, 36, "do not divide" },
        { 12, UINT32_MAX, "hidden_dim 4294967295, want 1 to 2^24" },
        { 20, 3, "do not divide" },
        { 24, 3, "do not divide" },
        { 28, 97, "asks for" },
        { 16, 1 << 24, "asks for" },
    };
    struct woq_error err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char old[4];

        memcpy(old, t.s + cases[i].at, 4);
        for (int k = 0; k < 4; k++)
            t.s[cases[i].at + (size_t)k] = (char)(cases[i].x >> (8 * k));
        if (walk(t.s, t.n, NULL, &err) >= 0 || !strstr(err.what, cases[i].message))
            fail_msg("byte %zu: '%s', want '%s'", cases[i].at, err.what, cases[i].message);
        memcpy(t.s + cases[i].at, old, 4);
    }
    free(t.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors_header),  cmocka_unit_test(test_gguf_header),
        cmocka_unit_test(test_gguf_tensors),        cmocka_unit_test(test_llama2c_header),
        cmocka_unit_test(test_damaged_safetensors), cmocka_unit_test(test_damaged_gguf),
        cmocka_unit_test(test_damaged_llama2c),     cmocka_unit_test(test_damaged_config),
    };

    return cmocka_run_group_tests_name("formats_bad", tests, NULL, NULL);
}
