/* Packed checkpoints of the original packages (tests/golden/packed): read, they give the weights of
 * the package's own dequantizer; written again, the bytes of the package. */
#define _GNU_SOURCE /* memmem */
#include <formats/sink.h>
#include <formats/source.h>

#include <woq/model.h>

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char root[512], scratch[64];

static const char *path_of(const char *name, const char *file)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/tests/golden/packed/%s%s%s", root, name, file ? "/" : "",
             file ? file : "");
    return path;
}

/* The weight of a frame as floats; `f` is loaded. */
static void expect_weight(const char *name, const struct woq_frame *f, const struct woq_st *want)
{
    const struct woq_st_tensor *t = woq_st_find(want, woq_frame_name(f));
    struct woq_buf buf = { 0 };
    struct woq_error err = { 0 };
    size_t n_rows, n_cols;
    const float *w;

    if (!t)
        fail_msg("%s: '%s' is not wanted", name, woq_frame_name(f));
    if (woq_weight_f32(f, &n_rows, &n_cols, &w, &buf, &err) < 0)
        fail_msg("%s: %s", name, err.what);
    assert_int_equal(n_rows, t->shape[0]);
    assert_int_equal(n_cols, t->n_dims > 1 ? t->shape[1] : 1);
    /* The package may compute in 16 bits: then it is our exact weight, rounded once. */
    uint16_t *rounded = malloc(n_rows * n_cols * 4);
    assert_non_null(rounded);
    woq_from_f32(rounded, t->dtype, w, n_rows * n_cols);
    float *is = malloc(n_rows * n_cols * 4), *wanted = malloc(n_rows * n_cols * 4);
    assert_true(is && wanted);
    woq_to_f32(is, rounded, t->dtype, n_rows * n_cols);
    memcpy(rounded, t->data, t->bytes); /* aligned */
    woq_to_f32(wanted, rounded, t->dtype, n_rows * n_cols);
    for (size_t i = 0; i < n_rows * n_cols; i++)
        if (is[i] != wanted[i])
            fail_msg("%s: '%s' [%zu][%zu] is %.9g, want %.9g", name, woq_frame_name(f), i / n_cols,
                     i % n_cols, (double)is[i], (double)wanted[i]);
    free(rounded);
    free(is);
    free(wanted);
    woq_buf_release(&buf);
}

static void put(struct woq_sink *sink, const struct woq_frame *f, struct woq_error *err,
                const char *name)
{
    if (woq_sink_put(sink, f, err) < 0)
        fail_msg("%s: %s (%s)", name, err->what, err->where);
}

static void put_model(struct woq_sink *sink, const struct woq_source *s, struct woq_frame *f)
{
    struct woq_error err = { 0 };

    woq_modl_begin(f);
    for (size_t i = 0; i < s->n_side; i++) {
        const uint64_t bytes = s->side[i].bytes;
        assert_int_equal(
            woq_frame_add(f, s->side[i].name, WOQ_U8, 1, &bytes, s->side[i].data, &err), WOQ_OK);
    }
    put(sink, f, &err, "MODL");
}

/* Reads a case, compares its weights, writes it to `out`. False if it is to be read only. */
static bool read_and_write(const char *name, const char *out)
{
    struct woq_source *s = NULL;
    struct woq_st want = { 0 };
    struct woq_frame f = { 0 };
    struct woq_error err = { 0 };
    struct woq_sink sink = { 0 };
    char folder[1024];

    snprintf(folder, sizeof folder, "%s", path_of(name, NULL));
    if (woq_source_open(&s, path_of(name, "model.safetensors"), &err) < 0 ||
        woq_st_open(&want, path_of(name, "want.safetensors"), NULL, &err) < 0)
        fail_msg("%s: %s: %s", name, err.where, err.what);
    const struct woq_json *told = woq_json_get(s->config, "woq");
    const struct woq_sink_opts opts = { .path = out,
                                        .format = woq_json_get_str(told, "format"),
                                        .checkpoint_format = woq_json_get_str(told, "form"),
                                        .dtype = woq_json_get_str(told, "dtype"),
                                        .shard_bytes = 1 << 30 };
    const bool read_only = woq_json_get_bool(told, "read_only", false);
    assert_string_equal(s->format, opts.format);
    if (!read_only && woq_sink_open(&sink, &opts, NULL, &err) < 0)
        fail_msg("%s: %s", name, err.what);
    if (!read_only)
        put_model(&sink, s, &f);
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->load(s, i, &f, &err) < 0)
            fail_msg("%s: %s", name, err.what);
        if (strstr(s->items[i].name, ".weight"))
            expect_weight(name, &f, &want);
        if (!read_only)
            put(&sink, &f, &err, name);
    }
    assert_int_equal(s->n_items, want.n_tensors);
    if (!read_only && woq_sink_finish(&sink, &err) < 0)
        fail_msg("%s: %s", name, err.what);
    woq_sink_release(&sink);
    woq_frame_release(&f);
    woq_st_release(&want);
    woq_source_close(s);
    return !read_only;
}

static void expect_same_files(const char *name, const char *out)
{
    struct woq_st was = { 0 }, is = { 0 };
    struct woq_error err = { 0 };
    char path[256];

    snprintf(path, sizeof path, "%s/model.safetensors", out);
    if (woq_st_open(&was, path_of(name, "model.safetensors"), NULL, &err) < 0 ||
        woq_st_open(&is, path, NULL, &err) < 0)
        fail_msg("%s: %s: %s", name, err.where, err.what);
    for (size_t i = 0; i < was.n_tensors && i < is.n_tensors; i++) {
        const struct woq_st_tensor *a = &was.tensors[i], *b = &is.tensors[i];
        if (strcmp(a->name, b->name) != 0 || strcmp(a->stored, b->stored) != 0 ||
            a->n_dims != b->n_dims || memcmp(a->shape, b->shape, a->n_dims * 8) != 0)
            fail_msg("%s: '%s' is '%s', %s", name, a->name, b->name, b->stored);
        if (memcmp(a->data, b->data, a->bytes) != 0)
            fail_msg("%s: '%s' has other bytes", name, a->name);
    }
    assert_int_equal(was.n_tensors, is.n_tensors);
    woq_st_release(&was);
    woq_st_release(&is);
}

static void remove_folder(const char *out)
{
    DIR *d = opendir(out);
    const struct dirent *e;

    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    rmdir(out);
}

static void all_cases(void **state)
{
    DIR *d = opendir(path_of(".", NULL));
    const struct dirent *e;
    size_t n = 0;

    (void)state;
    assert_non_null(d);
    while ((e = readdir(d))) {
        char out[128];
        if (e->d_name[0] == '.' || strstr(e->d_name, ".py"))
            continue;
        snprintf(out, sizeof out, "%s/out", scratch);
        const bool written = read_and_write(e->d_name, out);
        if (written)
            expect_same_files(e->d_name, out);
        printf("# compat | format | %s | %s\n", e->d_name, written ? "read, written" : "read");
        remove_folder(out);
        n++;
    }
    closedir(d);
    assert_true(n > 0);
}

/* Neural Compressor's linears of integers have a bias of zeros where there is none. */
static void expect_same_torch(const char *folder, const char *out)
{
    struct woq_st was = { 0 }, is = { 0 };
    struct woq_error err = { 0 };
    char path[800];
    size_t n = 0;

    snprintf(path, sizeof path, "%s/quantized_weight.pt", folder);
    assert_int_equal(woq_st_open(&was, path, NULL, &err), WOQ_OK);
    snprintf(path, sizeof path, "%s/quantized_weight.pt", out);
    assert_int_equal(woq_st_open(&is, path, NULL, &err), WOQ_OK);
    for (size_t i = 0; i < was.n_tensors; i++) {
        const struct woq_st_tensor *a = &was.tensors[i], *b = woq_st_find(&is, a->name);
        if (!b && strstr(a->name, "bias"))
            continue;
        if (!b || strcmp(a->stored, b->stored) != 0 || a->n_dims != b->n_dims ||
            memcmp(a->shape, b->shape, a->n_dims * 8) != 0 ||
            memcmp(a->data, b->data, a->bytes) != 0)
            fail_msg("'%s' is not as it was", a->name);
        n++;
    }
    assert_int_equal(n, is.n_tensors);
    woq_st_release(&was);
    woq_st_release(&is);
}

/* quantized_weight.pt and qconfig.json, as Neural Compressor saves them. */
static void neural_compressor(void **state)
{
    struct woq_source *s = NULL;
    struct woq_st want = { 0 };
    struct woq_frame f = { 0 };
    struct woq_error err = { 0 };
    struct woq_sink sink = { 0 };
    char folder[600], out[128];
    const struct woq_sink_opts opts = {
        .path = out, .format = "inc", .checkpoint_format = "default", .dtype = "f32"
    };

    (void)state;
    snprintf(out, sizeof out, "%s/out", scratch);
    snprintf(folder, sizeof folder, "%s/tests/golden/inc", root);
    if (woq_source_open(&s, folder, &err) < 0 ||
        woq_st_open(&want, path_of("inc-own", "want.safetensors"), NULL, &err) < 0)
        fail_msg("%s: %s", err.where, err.what);
    assert_string_equal(s->format, "inc");
    assert_int_equal(s->n_items, want.n_tensors);
    assert_int_equal(woq_sink_open(&sink, &opts, NULL, &err), WOQ_OK);
    put_model(&sink, s, &f);
    for (size_t i = 0; i < s->n_items; i++) {
        assert_int_equal(s->load(s, i, &f, &err), WOQ_OK);
        expect_weight("inc", &f, &want);
        put(&sink, &f, &err, "inc");
    }
    assert_int_equal(woq_sink_finish(&sink, &err), WOQ_OK);
    expect_same_torch(folder, out);
    printf("# compat | format | inc-default | read, written\n");
    remove_folder(out);
    woq_sink_release(&sink);
    woq_frame_release(&f);
    woq_st_release(&want);
    woq_source_close(s);
}

/* Linears of a source and nothing else have the weights of hqq-nested; written to `out` if that is
 * not NULL. */
static void expect_nested(const char *path, const char *out)
{
    const struct woq_sink_opts opts = { .path = out, .format = "hqq", .dtype = "keep" };
    struct woq_source *s = NULL;
    struct woq_st want = { 0 };
    struct woq_frame f = { 0 };
    struct woq_error err = { 0 };
    struct woq_sink sink = { 0 };
    size_t n = 0;

    if (woq_source_open(&s, path, &err) < 0 ||
        woq_st_open(&want, path_of("hqq-nested", "want.safetensors"), NULL, &err) < 0)
        fail_msg("%s: %s", err.where, err.what);
    assert_string_equal(s->format, "hqq");
    if (out) {
        assert_int_equal(woq_sink_open(&sink, &opts, NULL, &err), WOQ_OK);
        put_model(&sink, s, &f);
    }
    for (size_t i = 0; i < s->n_items; i++) {
        assert_int_equal(s->load(s, i, &f, &err), WOQ_OK);
        assert_true(s->items[i].quantized == (strcmp(s->items[i].name, "norm.weight") != 0));
        if (s->items[i].quantized)
            expect_weight(path, &f, &want);
        n += s->items[i].quantized;
        if (out)
            put(&sink, &f, &err, path);
    }
    assert_int_equal(n, want.n_tensors);
    assert_int_equal(s->n_items, n + 1);
    if (out && woq_sink_finish(&sink, &err) < 0)
        fail_msg("%s", err.what);
    woq_sink_release(&sink);
    woq_frame_release(&f);
    woq_st_release(&want);
    woq_source_close(s);
}

/* Files of torch.save as HQQ writes them: dicts within dicts, and a config.json that tells nothing.
 * Written again scales and zero points are floats, of the same values: the package computes them in
 * the type that they are stored in then. */
static void hqq(void **state)
{
    static const char *const files[] = { "qmodel.pt", "flat.pt" };
    char path[600], out[128];

    (void)state;
    snprintf(out, sizeof out, "%s/out", scratch);
    for (size_t k = 0; k < 2; k++) {
        snprintf(path, sizeof path, "%s/tests/golden/hqq/%s", root, files[k]);
        expect_nested(path, out);
        expect_nested(out, NULL);
        remove_folder(out);
    }
    printf("# compat | format | hqq-qmodel | read\n");
}

/* Changes one of the tensors of hqq-nested, by text in the header of the file or by its value. */
static void spoil(uint8_t *file, size_t bytes, const char *tensor, const char *text, int64_t value)
{
    char was[64], is[64];
    struct woq_st st;
    struct woq_error err = { 0 };

    if (text) {
        snprintf(was, sizeof was, "layers.0.%s\"", tensor);
        snprintf(is, sizeof is, "layers.0.%s\"", text);
        uint8_t *at = memmem(file, bytes, was, strlen(was));
        assert_non_null(at);
        memset(at, ' ', strlen(was)); /* room before the colon */
        memcpy(at, is, strlen(is));
        return;
    }
    snprintf(was, sizeof was, "model.layers.0.%s", tensor);
    assert_int_equal(woq_st_parse(&st, "x", file, bytes, NULL, &err), WOQ_OK);
    const struct woq_st_tensor *t = woq_st_find(&st, was);
    assert_non_null(t);
    memcpy(file + (t->data - file), &value, t->bytes < 8 ? t->bytes : 8);
    woq_st_release(&st);
}

static void wrong_hqq(void **state)
{
    static const struct {
        const char *tensor, *text;
        int64_t value;
        const char *want;
    } cases[] = {
        { "a.zero_q", "a.zero_Q", 0, "'model.layers.0.a.W_q' has no tensor 'zero_q'" },
        { "a.meta_scale.axis", "a.meta_scale.axes", 0, "has no tensor 'meta_scale.axis'" },
        { "a.meta_scale.shape", "a.meta_scale.form", 0, "has no tensor 'meta_scale.shape'" },
        { "d.meta_zero.scale", "d.meta_zero.step", 0, "has no tensor 'meta_zero.scale'" },
        { "d.meta_zero.zero", "d.meta_zero.mid", 0, "has no tensor 'meta_zero.zero'" },
        { "b.round_zero", "b.zero", 0, "'model.layers.0.b.zero' stands beside tensors of 'zero'" },
        { "a.meta_scale.nbits", NULL, 9, "'model.layers.0.a.meta_scale.nbits' is 9, want 1..8" },
        { "a.meta_scale.nbits", NULL, 7, "is 7: not a width that packs 32 rows" },
        { "a.meta_scale.nbits", NULL, 4, "scale_q' has 128 elements, want 64" },
        { "a.meta_scale.nbits", NULL, 3, "scale_q' is U8, want I32" },
        { "a.meta_scale.axis", NULL, 2, "'model.layers.0.a.meta_scale.axis' is 2, want 0..1" },
        { "a.meta_scale.axis", NULL, 1, "scale_q' has 32 rows, want 4 by its axis and group" },
        { "a.meta_scale.group_size", NULL, 48, "says 128 x 1 in groups of 48, want 128 values" },
        { "a.meta_scale.group_size", NULL, 0, "group_size' is 0, want 1..16777216" },
        { "a.meta_scale.shape", NULL, -128, "says -128 x 1 in groups of 32" },
        { "a.meta_scale.shape", NULL, INT64_MAX, "says 9223372036854775807 x 1" },
        { "a.meta_zero.shape", NULL, 64, "says 64 x 1 in groups of 0, want 128 values" },
        { "c.group_size", NULL, 48,
          "'model.layers.0.c.W_q' has axis 0 with groups of 48, 32 outputs" },
        { "a.zero_q", "a.zero_q", 0, NULL },
    };
    static const char config[] =
        "{\"model_type\":\"golden\",\"quantization_config\":{\"quant_method\":\"hqq\"}}";

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct woq_source *s = NULL;
        struct woq_error err = { 0 };
        char *file = NULL;
        size_t bytes = 0;

        assert_int_equal(
            woq_file_read(path_of("hqq-nested", "model.safetensors"), 1 << 20, &file, &bytes, &err),
            WOQ_OK);
        spoil((uint8_t *)file, bytes, cases[i].tensor, cases[i].text, cases[i].value);
        const int rc = woq_source_open_mem(&s, "x", file, bytes, config, sizeof config - 1, &err);
        if (cases[i].want ? rc == WOQ_OK || !strstr(err.what, cases[i].want) : rc != WOQ_OK)
            fail_msg("%s: found '%s'", cases[i].want ? cases[i].want : "-", err.what);
        woq_source_close(s);
        free(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_cases), cmocka_unit_test(hqq),
                                        cmocka_unit_test(wrong_hqq),
                                        cmocka_unit_test(neural_compressor) };
    const char *at = getenv("WOQ_ROOT");

    snprintf(root, sizeof root, "%s", at ? at : ".");
    snprintf(scratch, sizeof scratch, "/tmp/woq-golden-XXXXXX");
    if (!mkdtemp(scratch))
        return 1;
    const int failed = cmocka_run_group_tests_name("packed_golden", tests, NULL, NULL);
    remove_folder(scratch);
    return failed;
}
