/* tokenizer.c -- tokenizer.json opened, text to ids, and what the template adds
 * (formats.md 6.1-6.5).
 *
 * Here are byte-level BPE and the BPE with byte fallback that was converted from SentencePiece.
 * Deliberately absent: Unigram, WordPiece, pairs of texts, offsets, truncation and padding (they
 * concern a model's caller; their settings in the file are not looked at). */
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
    e = &t->bpe.vocab.entry[t->token_of[id] - 1];
    *bytes = e->len;
    return t->bpe.vocab.keys.s + e->off;
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
    const struct tok_map *vocab = &t->bpe.vocab;

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

        if (t->added_of[a->id] || (t->token_of[a->id] && !tok_map_get(vocab, a->content, a->bytes)))
            return woq_fail(err, WOQ_EDATA, NULL,
                            "tokenizer.json: added token '%.60s' has id %u of another token",
                            a->content, a->id);
        t->added_of[a->id] = (uint32_t)i + 1;
    }
    return WOQ_OK;
}

/* ------------------------------------------------------------------ template */
/* Appends the ids of a special token of a TemplateProcessing. */
static int special_ids(const struct woq_tokenizer *t, const struct woq_json *processor,
                       const struct woq_json *special, struct woq_ids *out, struct woq_error *err)
{
    const char *name = woq_json_get_str(special, "id");
    const struct woq_json *known = woq_json_get(processor, "special_tokens");
    const struct woq_json *ids = name ? woq_json_get(woq_json_get(known, name), "ids") : NULL;

    if (!woq_json_len(ids))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tokenizer.json: the template's '%.60s' is not in its special_tokens",
                        name ? name : "(none)");
    woq_json_each(item, ids)
    {
        uint64_t id;
        size_t bytes;
        int rc;

        if (!woq_json_u64(item, &id) || id >= t->n_ids || !tok_token(t, (uint32_t)id, &bytes))
            return woq_fail(err, WOQ_EDATA, NULL,
                            "tokenizer.json: an id of the template's '%.60s' is not in the "
                            "vocabulary",
                            name);
        if ((rc = woq_ids_push(out, (uint32_t)id, err)) < 0)
            return rc;
    }
    return WOQ_OK;
}

/* What this template puts before and behind the text, around what earlier ones did. */
static int parse_template(struct woq_tokenizer *t, const struct woq_json *v, struct woq_error *err)
{
    struct woq_ids prefix = { 0 };
    bool text_seen = false;
    int rc = WOQ_OK;

    woq_json_each(item, woq_json_get(v, "single"))
    {
        const struct woq_json *special = woq_json_get(item, "SpecialToken");
        const char *sequence = woq_json_get_str(woq_json_get(item, "Sequence"), "id");

        if (special)
            rc = special_ids(t, v, special, text_seen ? &t->suffix : &prefix, err);
        else if (!sequence || strcmp(sequence, "A") != 0 || text_seen)
            rc = woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                          "tokenizer.json: the template does not hold its text exactly once");
        else
            text_seen = true;
        if (rc < 0)
            break;
    }
    if (rc == WOQ_OK && !text_seen)
        rc = woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                      "tokenizer.json: the template does not hold its text exactly once");
    for (size_t i = 0; rc == WOQ_OK && i < t->prefix.n; i++)
        rc = woq_ids_push(&prefix, t->prefix.ids[i], err);
    woq_ids_release(&t->prefix);
    t->prefix = prefix;
    return rc;
}

static int parse_post(struct woq_tokenizer *t, const struct woq_json *v, int depth,
                      struct woq_error *err)
{
    const char *type = woq_json_get_str(v, "type");
    int rc = WOQ_OK;

    if (woq_json_type(v) == WOQ_JNULL || (type && !strcmp(type, "ByteLevel")))
        return WOQ_OK; /* ByteLevel trims offsets only */
    if (type && !strcmp(type, "TemplateProcessing"))
        return parse_template(t, v, err);
    if (!type || strcmp(type, "Sequence") != 0 || depth > 8)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "tokenizer.json: post_processor '%s' is not supported",
                        type ? type : "(none)");
    woq_json_each(item, woq_json_get(v, "processors"))
    {
        if ((rc = parse_post(t, item, depth + 1, err)) < 0)
            break;
    }
    return rc;
}

/* ------------------------------------------------------------------ tokenizer_config.json */
/* A token there is its text, or an object with "content". */
static long config_token(const struct woq_tokenizer *t, const struct woq_json *config,
                         const char *key)
{
    const struct woq_json *v = woq_json_get(config, key);
    const char *text = woq_json_str(v) ? woq_json_str(v) : woq_json_get_str(v, "content");

    return text ? woq_tokenizer_id(t, text) : -1;
}

/* Classes that make their template anew from add_bos_token and add_eos_token. */
static bool rebuilds_template(const char *class)
{
    static const char *const classes[] = { "LlamaTokenizer",     "LlamaTokenizerFast",
                                           "CodeLlamaTokenizer", "CodeLlamaTokenizerFast",
                                           "GemmaTokenizer",     "GemmaTokenizerFast",
                                           "CohereTokenizer",    "CohereTokenizerFast" };

    for (size_t i = 0; class && i < sizeof(classes) / sizeof(classes[0]); i++)
        if (!strcmp(class, classes[i]))
            return true;
    return false;
}

static int apply_config(struct woq_tokenizer *t, const char *text, size_t bytes,
                        struct woq_error *err)
{
    struct woq_json *config = NULL;
    int rc = woq_json_parse(&config, text, bytes, err);

    if (rc < 0) {
        woq_error_at(err, "tokenizer_config.json");
        return rc;
    }
    t->bos = config_token(t, config, "bos_token");
    t->eos = config_token(t, config, "eos_token");
    t->clean_up = woq_json_get_bool(config, "clean_up_tokenization_spaces", false);
    if (rebuilds_template(woq_json_get_str(config, "tokenizer_class"))) {
        t->prefix.n = t->suffix.n = 0;
        if (woq_json_get_bool(config, "add_bos_token", true) && t->bos >= 0)
            rc = woq_ids_push(&t->prefix, (uint32_t)t->bos, err);
        if (rc == WOQ_OK && woq_json_get_bool(config, "add_eos_token", false) && t->eos >= 0)
            rc = woq_ids_push(&t->suffix, (uint32_t)t->eos, err);
    }
    woq_json_free(config);
    return rc;
}

/* ------------------------------------------------------------------ open and close */
static int build(struct woq_tokenizer *t, const struct woq_json *root, struct woq_error *err)
{
    const struct woq_json *decoder = woq_json_get(root, "decoder");
    struct tok_work *w = NULL;
    int rc;

    if (woq_json_type(root) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json is not an object");
    byte_alphabet(t);
    rc = woq_regex_open(&t->gpt2, gpt2_regex, sizeof(gpt2_regex) - 1, WOQ_REGEX_ONIGURUMA, err);
    if (rc < 0 || (rc = tok_bpe_parse(&t->bpe, woq_json_get(root, "model"), err)) < 0 ||
        (rc = tok_added_parse(&t->added, woq_json_get(root, "added_tokens"), &t->bpe, err)) < 0 ||
        (rc = index_ids(t, err)) < 0 ||
        (rc = tok_normalizer_parse(&t->normalizer, woq_json_get(root, "normalizer"), err)) < 0 ||
        (rc = tok_pre_parse(&t->pre, woq_json_get(root, "pre_tokenizer"), err)) < 0 ||
        (rc = parse_post(t, woq_json_get(root, "post_processor"), 0, err)) < 0 ||
        (rc = tok_decoder_parse(&t->decoder, decoder, err)) < 0)
        return rc;
    t->has_decoder = woq_json_type(decoder) != WOQ_JNULL;
    if ((rc = tok_work_new(&w, err)) < 0)
        return rc;
    rc = tok_added_build(t, w, err);
    atomic_store(&t->cell->work, w);
    return rc;
}

int woq_tokenizer_open(struct woq_tokenizer **out, const char *json, size_t bytes,
                       const char *config_json, size_t config_bytes, struct woq_error *err)
{
    struct woq_tokenizer *t = calloc(1, sizeof(*t));
    struct woq_json *root = NULL;
    int rc;

    if (!t || !(t->cell = calloc(1, sizeof(*t->cell)))) {
        free(t);
        return woq_fail_nomem(err, sizeof(*t));
    }
    t->bos = t->eos = -1;
    /* Everything behind this line relies on whole characters. */
    rc = woq_utf8_valid(json, bytes) < bytes
             ? woq_fail(err, WOQ_EDATA, NULL, "not UTF-8 at byte %zu", woq_utf8_valid(json, bytes))
             : woq_json_parse(&root, json, bytes, err);
    if (rc < 0)
        woq_error_at(err, "tokenizer.json");
    else
        rc = build(t, root, err);
    woq_json_free(root);
    if (rc == WOQ_OK && config_json)
        rc = apply_config(t, config_json, config_bytes, err);
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
    tok_bpe_release(&t->bpe);
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
                               : tok_bpe_encode(&t->bpe, w, w->text.s + p.off, p.len, out, err);
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
    e = tok_map_get(&t->bpe.vocab, token, strlen(token));
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
