/* gguf_tokenizers.c -- the tokenizers of GGUF: every pre-tokenizer against what llama.cpp makes of
 * 500 hard strings (tests/golden/tokenizers/gguf_pre.py); SentencePiece models there and back;
 * llama2.c's file of the same vocabulary. */
#include "golden.h"

#include <formats/gguf_vocab.h>
#include <formats/llama2c_vocab.h>
#include <woq/spm.h>

#define GOLDEN "tests/golden/tokenizers/"

/* ------------------------------------------------------------------ pre-tokenizers */
struct vocab {
    struct woq_gguf_vocab v;
    char *tokens[4096], *merges[4096];
    int32_t types[4096];
};

static void fill(struct vocab *g, const struct woq_json *base, const struct woq_json *special)
{
    const struct woq_json *model = woq_json_get(base, "model");
    size_t n = 0;

    woq_json_each(item, woq_json_get(model, "vocab"))
    {
        uint64_t id = 0;

        assert_true(woq_json_u64(item, &id) && id < 4096);
        g->tokens[id] = strdup(woq_json_key(item));
        g->types[id] = WOQ_GGUF_NORMAL;
        n = id >= n ? id + 1 : n;
    }
    woq_json_each(item, special)
    {
        uint64_t id = 0;

        assert_true(woq_json_u64(item, &id) && id < 4096);
        free(g->tokens[id]);
        g->tokens[id] = strdup(woq_json_key(item));
        g->types[id] = WOQ_GGUF_CONTROL;
        n = id >= n ? id + 1 : n;
    }
    for (size_t i = 0; i < n; i++)
        if (!g->tokens[i]) {
            g->tokens[i] = strdup("[PAD]");
            g->types[i] = WOQ_GGUF_UNUSED;
        }
    woq_json_each(item, woq_json_get(model, "merges"))
    {
        const struct woq_json *left = woq_json_first(item);
        struct woq_str both = { 0 };

        woq_str_addf(&both, "%s %s", woq_json_str(left), woq_json_str(woq_json_next(left)));
        g->merges[g->v.n_merges++] = both.s;
    }
    g->v.n = n;
    g->v.tokens = g->tokens;
    g->v.types = g->types;
    g->v.merges = g->merges;
    g->v.model = "gpt2";
    g->v.bos = g->v.eos = g->v.unk = g->v.pad = -1;
    g->v.add_bos = g->v.add_eos = -1;
}

static size_t check_name(const struct vocab *g, const struct woq_json *name,
                         const struct woq_json *strings)
{
    const struct woq_json *text = woq_json_first(strings);
    struct woq_str json = { 0 }, config = { 0 };
    struct woq_tokenizer *t = NULL;
    struct woq_ids ids = { 0 };
    struct woq_error err = { 0 };
    size_t bad = 0, n = 0;

    if (woq_gguf_vocab_to_json(&g->v, &json, &config, &err) < 0 ||
        woq_tokenizer_open(&t, json.s, json.len, config.s, config.len, &err) < 0)
        fail_msg("%s: %s", g->v.pre, err.what);
    woq_json_each(want, woq_json_get(name, "ids"))
    {
        const char *s = woq_json_str(text);

        ids.n = 0;
        if (woq_tokenizer_encode(t, s, strlen(s), false, &ids, &err) < 0 ||
            (woq_json_type(want) != WOQ_JNULL && !same_ids(&ids, want))) {
            print_error("%s, string %zu: '%.100s' %s\n", g->v.pre, n, s, err.what);
            bad++;
        }
        text = woq_json_next(text);
        n++;
    }
    assert_int_equal(n, 500);
    woq_ids_release(&ids);
    woq_str_release(&json);
    woq_str_release(&config);
    woq_tokenizer_close(t);
    return bad;
}

static void test_pre(void **state)
{
    struct woq_json *all = read_json(GOLDEN "gguf_pre.json");
    struct woq_json *family = read_json(GOLDEN "byte_level.json");
    struct woq_json *strings = read_json(GOLDEN "strings.json");
    struct vocab *g = calloc(1, sizeof(*g));
    size_t bad = 0, n = 0;

    (void)state;
    fill(g, woq_json_get(family, "base"), woq_json_get(all, "special"));
    woq_json_each(name, woq_json_get(all, "names"))
    {
        g->v.pre = woq_json_get_str(name, "pre");
        const size_t wrong = check_name(g, name, strings);
        if (!wrong)
            printf("# compat | tokenizer | GGUF gpt2, %s | 500 texts\n", g->v.pre);
        bad += wrong;
        n++;
    }
    assert_int_equal(bad, 0);
    assert_int_equal(n, 16);
    for (size_t i = 0; i < 4096; i++) {
        free(g->tokens[i]);
        free(g->merges[i]);
    }
    free(g);
    woq_json_free(all);
    woq_json_free(family);
    woq_json_free(strings);
}

/* ------------------------------------------------------------------ SentencePiece */
/* Strings that name a control piece are cut there in a GGUF file only. */
static bool names_control(const char *s)
{
    return strstr(s, "<s>") || strstr(s, "</s>") || strstr(s, "<unk>");
}

static void same_everywhere(const struct woq_tokenizer *a, const struct woq_tokenizer *b)
{
    struct woq_json *strings = read_json(GOLDEN "strings.json");
    struct woq_ids x = { 0 }, y = { 0 };
    struct woq_error err = { 0 };
    size_t n = 0;

    woq_json_each(item, strings)
    {
        const char *s = woq_json_str(item);

        if (names_control(s))
            continue;
        x.n = y.n = 0;
        assert_int_equal(woq_tokenizer_encode(a, s, strlen(s), true, &x, &err), WOQ_OK);
        assert_int_equal(woq_tokenizer_encode(b, s, strlen(s), true, &y, &err), WOQ_OK);
        if (x.n != y.n || memcmp(x.ids, y.ids, x.n * sizeof(*x.ids)) != 0)
            fail_msg("'%s' has other ids", s);
        n++;
    }
    assert_true(n > 350);
    woq_ids_release(&x);
    woq_ids_release(&y);
    woq_json_free(strings);
}

static void test_spm_and_back(void **state)
{
    static const char *const paths[] = { GOLDEN "spm/llama.model", GOLDEN "spm/gemma.model" };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct woq_str model = { 0 }, config = { 0 };
        struct woq_tokenizer *a = NULL, *b = NULL;
        struct woq_gguf_vocab v;
        struct woq_error err = { 0 };
        size_t bytes;
        char *data = read_text(paths[i], &bytes);

        if (woq_gguf_vocab_from_spm(&v, data, bytes, NULL, 0, NULL, &err) < 0 ||
            woq_gguf_vocab_to_spm(&v, &model, &config, &err) < 0 ||
            woq_tokenizer_open(&a, data, bytes, NULL, 0, &err) < 0 ||
            woq_tokenizer_open(&b, model.s, model.len, config.s, config.len, &err) < 0)
            fail_msg("%s: %s", paths[i], err.what);
        assert_string_equal(v.model, "llama");
        assert_int_equal(v.add_bos, 1);
        assert_int_equal(v.add_space_prefix, i == 0);
        assert_int_equal(woq_tokenizer_bos(b), woq_tokenizer_bos(a));
        /* gemma's user-defined pieces are cut out of the raw text by GGUF's loaders. */
        if (i == 0)
            same_everywhere(a, b);
        woq_tokenizer_close(a);
        woq_tokenizer_close(b);
        woq_gguf_vocab_release(&v);
        woq_str_release(&model);
        woq_str_release(&config);
        free(data);
    }
}

static void expect_refused(const char *path, const char *what)
{
    struct woq_gguf_vocab v;
    struct woq_error err = { 0 };
    size_t bytes;
    char *data = read_text(path, &bytes);

    assert_int_equal(woq_gguf_vocab_from_spm(&v, data, bytes, NULL, 0, NULL, &err),
                     WOQ_EUNSUPPORTED);
    if (!strstr(err.what, what))
        fail_msg("'%s' does not say '%s'", err.what, what);
    free(data);
}

static void test_refused(void **state)
{
    (void)state;
    expect_refused(GOLDEN "spm/unigram-bytes.model", "model_type other than bpe");
    expect_refused(GOLDEN "spm/bpe-unknown.model", "precompiled_charsmap");
    expect_refused(GOLDEN "spm/bpe-suffix.model", "treat_whitespace_as_suffix");
}

/* ------------------------------------------------------------------ llama2.c */
static void put_u32(struct woq_str *out, uint32_t x)
{
    const unsigned char b[4] = { (unsigned char)x, (unsigned char)(x >> 8),
                                 (unsigned char)(x >> 16), (unsigned char)(x >> 24) };

    woq_str_add(out, b, 4);
}

/* What llama2.c's tokenizer.py writes for this model. */
static void export_bin(struct woq_str *out, const struct woq_spm *m)
{
    put_u32(out, 32);
    for (size_t i = 0; i < m->n; i++) {
        const struct woq_spm_piece *p = &m->piece[i];
        struct woq_str text = { 0 };
        uint32_t bits;

        memcpy(&bits, &p->score, sizeof(bits));
        for (size_t k = 0; k < p->text.len; k++)
            if (p->text.len - k >= 3 && !memcmp(p->text.s + k, "\xe2\x96\x81", 3)) {
                woq_str_add(&text, " ", 1);
                k += 2;
            } else {
                woq_str_add(&text, p->text.s + k, 1);
            }
        if (i == 1 || i == 2) {
            text.len = 0;
            woq_str_addf(&text, i == 1 ? "\n<s>\n" : "\n</s>\n");
        }
        put_u32(out, bits);
        put_u32(out, (uint32_t)text.len);
        woq_str_add(out, text.s, text.len);
        woq_str_release(&text);
    }
}

static void test_llama2c(void **state)
{
    struct woq_str bin = { 0 }, model = { 0 };
    struct woq_tokenizer *a = NULL, *b = NULL;
    struct woq_error err = { 0 };
    struct woq_spm m;
    size_t bytes;
    char *data = read_text(GOLDEN "spm/llama.model", &bytes);

    (void)state;
    woq_spm_init(&m);
    assert_int_equal(woq_spm_read(&m, data, bytes, &err), WOQ_OK);
    export_bin(&bin, &m);
    assert_true(woq_llama2c_is_vocab(bin.s, bin.len));
    assert_int_equal(woq_llama2c_vocab(&model, bin.s, bin.len, &err), WOQ_OK);
    assert_int_equal(woq_tokenizer_open(&a, data, bytes, NULL, 0, &err), WOQ_OK);
    assert_int_equal(woq_tokenizer_open(&b, model.s, model.len, NULL, 0, &err), WOQ_OK);
    same_everywhere(a, b);
    assert_int_equal(woq_llama2c_vocab(&model, bin.s, bin.len - 1, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "cut in piece"));
    assert_int_equal(woq_llama2c_vocab(&model, bin.s, 4 + 13, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "1 pieces, want 259"));
    woq_tokenizer_close(a);
    woq_tokenizer_close(b);
    woq_spm_release(&m);
    woq_str_release(&bin);
    woq_str_release(&model);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pre),
        cmocka_unit_test(test_spm_and_back),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_llama2c),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
