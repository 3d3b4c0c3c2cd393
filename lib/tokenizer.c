/* tokenizer.c -- tokenizer.json opened, and text to ids (formats.md 6.1-6.5).
 *
 * Deliberately absent: WordPiece and WordLevel (no decoder has them), pairs of texts, offsets,
 * truncation and padding (they concern a model's caller; their settings are not looked at). */
#include "tokenizer_internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct tok_cell {
    _Atomic(struct tok_work *) work;
};

/* R_gpt2, what ByteLevel cuts by: data of the models (formats.md 6.3). */
static const char gpt2_regex[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ------------------------------------------------------------------ ids */
void woq_ids_release(struct woq_ids *ids)
{
    free(ids->ids);
    *ids = (struct woq_ids){ 0 };
}

int woq_ids_push(struct woq_ids *ids, uint32_t id, struct woq_error *err)
{
    if (ids->n == ids->cap) {
        const int rc = tok_grow(&ids->ids, &ids->cap, ids->n + 1, sizeof(*ids->ids), err);

        if (rc < 0)
            return rc;
    }
    ids->ids[ids->n++] = id;
    return WOQ_OK;
}

const char *tok_token(const struct woq_tokenizer *t, uint32_t id, size_t *bytes)
{
    const struct tok_entry *e;

    if (id >= t->n_ids)
        return NULL;
    if (t->added_of[id]) {
        const struct tok_added *a = &t->added.a[t->added_of[id] - 1];

        *bytes = a->bytes;
        return a->content;
    }
    if (!t->token_of[id])
        return NULL;
    e = &t->vocab.map.entry[t->token_of[id] - 1];
    *bytes = e->len;
    return t->vocab.map.keys.s + e->off;
}

static void byte_alphabet(struct woq_tokenizer *t)
{
    uint16_t next = 0x100;

    memset(t->cp_byte, -1, sizeof(t->cp_byte));
    for (unsigned b = 0; b < 256; b++) {
        const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;

        t->byte_cp[b] = printable ? (uint16_t)b : next++;
        t->cp_byte[t->byte_cp[b]] = (int16_t)b;
    }
}

/* id -> token, of the vocabulary and of the added tokens. */
static int index_ids(struct woq_tokenizer *t, struct woq_error *err)
{
    const struct tok_map *vocab = &t->vocab.map;

    for (size_t i = 0; i < vocab->n; i++)
        if (vocab->entry[i].value >= t->n_ids)
            t->n_ids = vocab->entry[i].value + 1;
    for (size_t i = 0; i < t->added.n; i++)
        if (t->added.a[i].id >= t->n_ids)
            t->n_ids = t->added.a[i].id + 1;
    if (!t->n_ids)
        return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: the vocabulary is empty");
    t->token_of = calloc(t->n_ids, sizeof(*t->token_of));
    t->added_of = calloc(t->n_ids, sizeof(*t->added_of));
    if (!t->token_of || !t->added_of)
        return woq_fail_nomem(err, t->n_ids * sizeof(*t->token_of));
    for (size_t i = 0; i < vocab->n; i++) {
        const struct tok_entry *e = &vocab->entry[i];
        uint32_t *slot = &t->token_of[e->value];

        if (*slot)
            return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: two tokens have id %u",
                            e->value);
        *slot = (uint32_t)i + 1;
    }
    for (size_t i = 0; i < t->added.n; i++) {
        const struct tok_added *a = &t->added.a[i];

        /* In a SentencePiece model a space is U+2581, in the token it is a space. */
        if (t->added_of[a->id] ||
            (t->token_of[a->id] && !t->spm.on && !tok_map_get(vocab, a->content, a->bytes)))
            return woq_fail(err, WOQ_EDATA, NULL,
                            "tokenizer.json: added token '%.60s' has id %u of another token",
                            a->content, a->id);
        t->added_of[a->id] = (uint32_t)i + 1;
    }
    return WOQ_OK;
}

/* ------------------------------------------------------------------ open and close */
static int parse_model(struct woq_tokenizer *t, const struct woq_json *model, struct woq_error *err)
{
    const char *type = woq_json_get_str(model, "type");
    int rc;

    if (woq_json_type(model) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: no model");
    if (type && !strcmp(type, "Unigram")) {
        t->model = TOK_UNIGRAM;
        return tok_unigram_parse(&t->unigram, &t->vocab, model, err);
    }
    /* Files from before tokenizers 0.8 have no type. */
    if (type ? strcmp(type, "BPE") != 0 : !woq_json_get(model, "merges"))
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "tokenizer.json: model type '%s' is not supported, want BPE or Unigram",
                        type ? type : "(none)");
    rc = tok_bpe_parse(&t->bpe, &t->vocab, model, err);
    if (rc == WOQ_OK)
        t->cut_at_marks = !t->bpe.ignore_merges && !t->bpe.prefix && !t->bpe.suffix &&
                          tok_vocab_cuts_at_marks(&t->vocab);
    return rc;
}

static int load_json(struct woq_tokenizer *t, const struct woq_json *root, struct woq_error *err)
{
    const struct woq_json *decoder = woq_json_get(root, "decoder");
    int rc;

    if (woq_json_type(root) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json is not an object");
    if ((rc = parse_model(t, woq_json_get(root, "model"), err)) < 0 ||
        (rc = tok_added_parse(&t->added, woq_json_get(root, "added_tokens"), &t->vocab.map, err)) <
            0 ||
        (rc = index_ids(t, err)) < 0 ||
        (rc = tok_normalizer_parse(&t->normalizer, woq_json_get(root, "normalizer"), err)) < 0 ||
        (rc = tok_pre_parse(&t->pre, woq_json_get(root, "pre_tokenizer"), err)) < 0 ||
        (rc = tok_post_parse(t, woq_json_get(root, "post_processor"), err)) < 0)
        return rc;
    t->has_decoder = woq_json_type(decoder) != WOQ_JNULL;
    return tok_decoder_parse(&t->decoder, decoder, err);
}

static int open_json(struct woq_tokenizer *t, const char *json, size_t bytes,
                     const struct woq_json *config, struct woq_error *err)
{
    const size_t bad = woq_utf8_valid(json, bytes);
    struct woq_json *root = NULL;
    int rc;

    /* Everything behind this line relies on whole characters. */
    rc = bad < bytes ? woq_fail(err, WOQ_EDATA, NULL, "not UTF-8 at byte %zu", bad)
                     : woq_json_parse(&root, json, bytes, err);
    if (rc < 0)
        woq_error_at(err, "tokenizer.json");
    else
        rc = load_json(t, root, err);
    woq_json_free(root);
    if (rc == WOQ_OK && config) {
        tok_config_tokens(t, config);
        rc = tok_config_template(t, tok_class_find(config), config, err);
    }
    return rc;
}

static int open_other(struct woq_tokenizer *t, const char *data, size_t bytes,
                      const struct woq_json *config, struct woq_error *err)
{
    const struct tok_class *class = tok_class_find(config);
    int rc = tok_is_tiktoken(data, bytes) ? tok_tiktoken_load(t, data, bytes, class, err)
                                          : tok_spm_load(t, data, bytes, err);

    if (rc < 0 || (rc = tok_class_added(t, class, t->vocab.map.n, config, err)) < 0 ||
        (rc = index_ids(t, err)) < 0)
        return rc;
    if (config)
        tok_config_tokens(t, config);
    return tok_class_around(t, class, config, err);
}

enum vocabulary { NO_VOCABULARY, JSON, TIKTOKEN, SPM };

static enum vocabulary kind_of(const char *data, size_t bytes)
{
    size_t i = 0;

    if (tok_is_tiktoken(data, bytes))
        return TIKTOKEN;
    while (i < bytes && data[i] && strchr(" \t\r\n", data[i]))
        i++;
    if (i < bytes && (data[i] == '{' || data[i] == '['))
        return JSON;
    /* The first field of a SentencePiece model is a piece: number, length, its text. */
    if (bytes > 3 && data[0] == '\n' && (data[2] == '\n' || data[3] == '\n'))
        return SPM;
    return NO_VOCABULARY;
}

bool woq_tokenizer_is(const char *data, size_t bytes)
{
    return kind_of(data, bytes) != NO_VOCABULARY;
}

static int open_any(struct woq_tokenizer *t, const char *data, size_t bytes,
                    const struct woq_json *config, struct woq_error *err)
{
    struct tok_work *w = NULL;
    enum vocabulary kind;
    int rc;

    byte_alphabet(t);
    t->bos = t->eos = -1;
    rc = woq_regex_open(&t->gpt2, gpt2_regex, sizeof(gpt2_regex) - 1, WOQ_REGEX_ONIGURUMA, err);
    if (rc < 0)
        return rc;
    kind = kind_of(data, bytes);
    rc = kind == SPM || kind == TIKTOKEN ? open_other(t, data, bytes, config, err)
                                         : open_json(t, data, bytes, config, err);
    if (rc < 0 || (rc = tok_work_new(&w, err)) < 0)
        return rc;
    rc = tok_added_build(t, w, err);
    atomic_store(&t->cell->work, w);
    return rc;
}

int woq_tokenizer_open(struct woq_tokenizer **out, const char *data, size_t bytes,
                       const char *config_json, size_t config_bytes, struct woq_error *err)
{
    struct woq_tokenizer *t = calloc(1, sizeof(*t));
    struct woq_json *config = NULL;
    int rc = WOQ_OK;

    if (!t || !(t->cell = calloc(1, sizeof(*t->cell)))) {
        free(t);
        return woq_fail_nomem(err, sizeof(*t));
    }
    if (config_json && (rc = woq_json_parse(&config, config_json, config_bytes, err)) < 0)
        woq_error_at(err, "tokenizer_config.json");
    if (rc == WOQ_OK)
        rc = open_any(t, data, bytes, config, err);
    woq_json_free(config);
    if (rc < 0)
        woq_tokenizer_close(t);
    else
        *out = t;
    return rc;
}

void woq_tokenizer_close(struct woq_tokenizer *t)
{
    if (!t)
        return;
    tok_map_release(&t->vocab.map);
    tok_bpe_release(&t->bpe);
    tok_unigram_release(&t->unigram);
    tok_spm_release(&t->spm);
    tok_added_release(&t->added);
    tok_steps_release(&t->normalizer);
    tok_steps_release(&t->pre);
    tok_steps_release(&t->decoder);
    woq_regex_close(t->gpt2);
    woq_ids_release(&t->prefix);
    woq_ids_release(&t->suffix);
    free(t->token_of);
    free(t->added_of);
    tok_work_free(atomic_load(&t->cell->work));
    free(t->cell);
    free(t);
}

/* ------------------------------------------------------------------ text to ids */
static int encode(const struct woq_tokenizer *t, struct tok_work *w, const char *text, size_t bytes,
                  struct woq_ids *out, struct woq_error *err)
{
    int rc;

    w->text.len = 0;
    w->pieces.n = w->next.n = 0;
    if ((rc = tok_add(&w->text, text, bytes, err)) < 0 ||
        (rc = tok_piece_add(w, 0, bytes, TOK_NO_ID, true, err)) < 0)
        return rc;
    tok_pieces_swap(w);
    if ((rc = tok_added_split(&t->added, &t->added.raw, w, err)) < 0 ||
        (rc = tok_steps_run(t, &t->normalizer, w, err)) < 0 ||
        (rc = tok_added_split(&t->added, &t->added.normalized, w, err)) < 0 ||
        (rc = tok_steps_run(t, &t->pre, w, err)) < 0)
        return rc;
    for (size_t i = 0; rc == WOQ_OK && i < w->pieces.n; i++) {
        const struct tok_piece p = w->pieces.p[i];

        rc = p.id != TOK_NO_ID ? woq_ids_push(out, p.id, err)
                               : tok_word_encode(t, w, w->text.s + p.off, p.len, out, err);
    }
    return rc;
}

int woq_tokenizer_encode(const struct woq_tokenizer *t, const char *text, size_t bytes,
                         bool specials, struct woq_ids *out, struct woq_error *err)
{
    const size_t bad = woq_utf8_valid(text, bytes);
    struct tok_work *w;
    int rc = WOQ_OK;

    if (bad < bytes)
        return woq_fail(err, WOQ_EDATA, "convert it, for instance with iconv -t UTF-8",
                        "text is not UTF-8: byte 0x%02x at offset %zu", (unsigned char)text[bad],
                        bad);
    /* One scratch is kept; callers that run at the same time make their own. */
    w = atomic_exchange(&t->cell->work, NULL);
    if (!w && (rc = tok_work_new(&w, err)) < 0)
        return rc;
    for (size_t i = 0; specials && rc == WOQ_OK && i < t->prefix.n; i++)
        rc = woq_ids_push(out, t->prefix.ids[i], err);
    if (rc == WOQ_OK)
        rc = encode(t, w, text, bytes, out, err);
    for (size_t i = 0; specials && rc == WOQ_OK && i < t->suffix.n; i++)
        rc = woq_ids_push(out, t->suffix.ids[i], err);
    tok_work_free(atomic_exchange(&t->cell->work, w));
    return rc;
}

/* ------------------------------------------------------------------ questions */
size_t woq_tokenizer_size(const struct woq_tokenizer *t)
{
    return t->n_ids;
}

long woq_tokenizer_id(const struct woq_tokenizer *t, const char *token)
{
    const struct tok_entry *e = tok_map_get(&t->added.by_content, token, strlen(token));

    if (e && t->added.a)
        return (long)t->added.a[e->value].id;
    e = tok_map_get(&t->vocab.map, token, strlen(token));
    return e ? (long)e->value : -1;
}

long woq_tokenizer_bos(const struct woq_tokenizer *t)
{
    return t->bos;
}

long woq_tokenizer_eos(const struct woq_tokenizer *t)
{
    return t->eos;
}

bool woq_tokenizer_adds_bos(const struct woq_tokenizer *t)
{
    return t->prefix.n > 0 && (t->bos < 0 || (long)t->prefix.ids[0] == t->bos);
}
