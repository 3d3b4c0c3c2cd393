/* tokenizer_tiktoken.c -- vocabularies in tiktoken's form: a line for each token, its bytes in
 * base64, a space, its rank, which is its id. Two neighbours with the lowest rank of their
 * concatenation merge first. The expression that cuts words and the special tokens are code of the
 * model's class (tokenizer_config.c). */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TOKEN_BYTES 512

bool tok_is_tiktoken(const char *data, size_t bytes)
{
    const char *space = memchr(data, ' ', bytes < MAX_TOKEN_BYTES ? bytes : MAX_TOKEN_BYTES);
    struct woq_str token = { 0 };
    struct woq_error ignored = { 0 };
    bool is;

    if (!space || space == data || (size_t)(space - data) + 1 >= bytes)
        return false;
    is = space[1] >= '0' && space[1] <= '9' &&
         woq_base64_add(&token, data, (size_t)(space - data), &ignored) == WOQ_OK;
    woq_str_release(&token);
    return is;
}

/* Bytes as characters of ByteLevel's alphabet. */
static int to_alphabet(const struct woq_tokenizer *t, struct woq_str *out, const struct woq_str *in,
                       struct woq_error *err)
{
    int rc = WOQ_OK;

    out->len = 0;
    for (size_t i = 0; rc == WOQ_OK && i < in->len; i++) {
        char buf[4];

        rc = tok_add(out, buf, woq_utf8_put(buf, t->byte_cp[(unsigned char)in->s[i]]), err);
    }
    return rc;
}

static int read_line(struct woq_tokenizer *t, const char *line, size_t len, struct woq_str *raw,
                     struct woq_str *token, struct woq_error *err)
{
    const char *space = memchr(line, ' ', len);
    uint64_t id = 0;
    int rc;

    if (!space || space + 1 == line + len || len > 2 * MAX_TOKEN_BYTES)
        return woq_fail(err, WOQ_EDATA, NULL, "not base64, a space and a number");
    for (const char *p = space + 1; p < line + len; p++) {
        if (*p < '0' || *p > '9' || id > TOK_MAX_ID)
            return woq_fail(err, WOQ_EDATA, NULL, "the rank is not a number below %u", TOK_MAX_ID);
        id = id * 10 + (uint64_t)(*p - '0');
    }
    raw->len = 0;
    if ((rc = woq_base64_add(raw, line, (size_t)(space - line), err)) < 0 ||
        (rc = to_alphabet(t, token, raw, err)) < 0)
        return rc;
    if (!token->len)
        return woq_fail(err, WOQ_EDATA, NULL, "an empty token");
    return tok_vocab_add(&t->vocab, token->s, token->len, id, err);
}

static int read_lines(struct woq_tokenizer *t, const char *data, size_t bytes,
                      struct woq_error *err)
{
    struct woq_str raw = { 0 }, token = { 0 };
    size_t line = 1;
    int rc = WOQ_OK;

    for (size_t at = 0, n; rc == WOQ_OK && at < bytes; at += n + 1, line++) {
        const char *end = memchr(data + at, '\n', bytes - at);
        size_t len;

        n = end ? (size_t)(end - data) - at : bytes - at;
        len = n && data[at + n - 1] == '\r' ? n - 1 : n;
        if (len && (rc = read_line(t, data + at, len, &raw, &token, err)) < 0)
            woq_error_at(err, "tiktoken file, line %zu", line);
    }
    woq_str_release(&raw);
    woq_str_release(&token);
    return rc;
}

static int load_merges(struct woq_tokenizer *t, struct woq_error *err)
{
    const struct tok_map *map = &t->vocab.map;
    uint32_t highest = 0, *rank;
    int rc;

    for (unsigned byte = 0; byte < 256; byte++)
        if (t->vocab.char_id[t->byte_cp[byte]] == TOK_NO_ID)
            return woq_fail(err, WOQ_EDATA, NULL, "tiktoken file: byte 0x%02x is no token", byte);
    for (size_t i = 0; i < map->n; i++)
        highest = map->entry[i].value > highest ? map->entry[i].value : highest;
    rank = calloc((size_t)highest + 1, sizeof(*rank));
    if (!rank)
        return woq_fail_nomem(err, highest * sizeof(*rank));
    for (uint32_t i = 0; i <= highest; i++)
        rank[i] = i;
    t->bpe.vocab = &t->vocab;
    t->bpe.ignore_merges = true;
    rc = tok_bpe_from_pieces(&t->bpe, rank, 0, err);
    free(rank);
    return rc;
}

static int parse_steps(struct woq_tokenizer *t, const struct tok_class *class,
                       struct woq_error *err)
{
    static const char decoder[] = "{\"type\":\"ByteLevel\"}";
    const char *const texts[] = { class->normalizer ? class->normalizer : "null", class->pre,
                                  decoder };
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < 3; i++) {
        struct woq_json *v = NULL;

        rc = woq_json_parse(&v, texts[i], strlen(texts[i]), err);
        if (rc == WOQ_OK)
            rc = i == 0   ? tok_normalizer_parse(&t->normalizer, v, err)
                 : i == 1 ? tok_pre_parse(&t->pre, v, err)
                          : tok_decoder_parse(&t->decoder, v, err);
        woq_json_free(v);
    }
    t->has_decoder = true;
    return rc;
}

int tok_tiktoken_load(struct woq_tokenizer *t, const char *data, size_t bytes,
                      const struct tok_class *class, struct woq_error *err)
{
    int rc;

    if (!class || !class->pre)
        return woq_fail(err, WOQ_EUNSUPPORTED,
                        "give a tokenizer.json, or a tokenizer_config.json beside the file with "
                        "tokenizer_class QWenTokenizer or ChatGLM4Tokenizer",
                        "a tiktoken file%s%s: how its texts are cut into words is not known here",
                        class ? " of class " : "", class ? class->name : "");
    if ((rc = read_lines(t, data, bytes, err)) < 0)
        return rc;
    tok_vocab_index(&t->vocab);
    if ((rc = load_merges(t, err)) < 0)
        return rc;
    return parse_steps(t, class, err);
}
