/* tokenizer_bpe.c -- byte pair encoding (Sennrich et al. 2016, arXiv:1508.07909v5) with the
 * variants of tokenizer.json (formats.md 6.4). Words of a few symbols are merged by scanning for
 * the lowest rank, long ones with a heap; both take the lowest rank, leftmost on ties. */
#include "tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FREE_KEY UINT64_MAX
#define SHORT_WORD 40 /* symbols merged by scanning */

struct tok_node {
    uint32_t id;
    uint32_t prev, next; /* index, or TOK_NO_ID */
    bool gone;
};
struct tok_queued {
    uint32_t rank, pos, id;
};

/* ------------------------------------------------------------------ loading */
static size_t merge_hash(uint64_t key)
{
    key *= 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio: Knuth, TAOCP 3, 6.4 */
    return (size_t)(key ^ key >> 32);
}

static const struct tok_merge *merge_get(const struct tok_bpe *b, uint32_t left, uint32_t right)
{
    const uint64_t key = (uint64_t)left << 32 | right;

    if (!b->n_slots)
        return NULL;
    for (size_t i = merge_hash(key) & (b->n_slots - 1); b->merge[i].key != FREE_KEY;
         i = (i + 1) & (b->n_slots - 1))
        if (b->merge[i].key == key)
            return &b->merge[i];
    return NULL;
}

void tok_bpe_add(struct tok_bpe *b, uint32_t left, uint32_t right, uint32_t rank, uint32_t id)
{
    const uint64_t key = (uint64_t)left << 32 | right;
    size_t i = merge_hash(key) & (b->n_slots - 1);

    while (b->merge[i].key != FREE_KEY && b->merge[i].key != key)
        i = (i + 1) & (b->n_slots - 1);
    b->merge[i] = (struct tok_merge){ key, rank, id };
}

int tok_bpe_reserve(struct tok_bpe *b, size_t n, struct woq_error *err)
{
    for (b->n_slots = 64; b->n_slots / 2 < n; b->n_slots *= 2)
        ;
    b->merge = woq_alloc(b->n_slots * sizeof(*b->merge), err);
    if (!b->merge)
        return WOQ_ENOMEM;
    for (size_t i = 0; i < b->n_slots; i++)
        b->merge[i].key = FREE_KEY;
    return WOQ_OK;
}

static int load_vocab(struct tok_vocab *v, const struct woq_json *vocab, struct woq_error *err)
{
    if (woq_json_type(vocab) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: model.vocab is not an object");
    woq_json_each(item, vocab)
    {
        const char *token = woq_json_key(item);
        uint64_t id = UINT64_MAX;
        int rc;

        (void)woq_json_u64(item, &id);
        if ((rc = tok_vocab_add(v, token, strlen(token), id, err)) < 0)
            return woq_error_at(err, "tokenizer.json");
    }
    tok_vocab_index(v);
    return WOQ_OK;
}

static int no_token(struct woq_error *err, size_t rank, const char *token, size_t len)
{
    return woq_fail(err, WOQ_EDATA, NULL,
                    "tokenizer.json: merge %zu needs token '%.*s', which is not in the vocabulary",
                    rank, (int)(len > 60 ? 60 : len), token);
}

static int add_merge(struct tok_bpe *b, size_t rank, const char *left, size_t left_len,
                     const char *right, size_t right_len, struct woq_str *both,
                     struct woq_error *err)
{
    const struct tok_entry *l = tok_map_get(&b->vocab->map, left, left_len);
    const struct tok_entry *r = tok_map_get(&b->vocab->map, right, right_len), *made;
    const size_t cut = b->prefix ? strlen(b->prefix) : 0;
    int rc;

    if (!l || !r)
        return no_token(err, rank, l ? right : left, l ? right_len : left_len);
    both->len = 0;
    if ((rc = tok_add(both, left, left_len, err)) < 0 ||
        (rc = tok_add(both, right + (cut < right_len ? cut : right_len),
                      right_len - (cut < right_len ? cut : right_len), err)) < 0)
        return rc;
    made = tok_map_get(&b->vocab->map, both->s, both->len);
    if (!made)
        return no_token(err, rank, both->s, both->len);
    tok_bpe_add(b, l->value, r->value, (uint32_t)rank, made->value);
    return WOQ_OK;
}

/* "A B" (one space), or ["A","B"]. */
static int parse_merge(struct tok_bpe *b, size_t rank, const struct woq_json *v,
                       struct woq_str *both, struct woq_error *err)
{
    const char *line = woq_json_str(v), *left, *right;

    if (line) {
        const char *space = strchr(line, ' ');

        if (space && !strchr(space + 1, ' '))
            return add_merge(b, rank, line, (size_t)(space - line), space + 1, strlen(space + 1),
                             both, err);
    } else if (woq_json_type(v) == WOQ_JARRAY) {
        left = woq_json_str(woq_json_first(v));
        right = woq_json_str(woq_json_next(woq_json_first(v)));
        if (left && right && woq_json_len(v) == 2)
            return add_merge(b, rank, left, strlen(left), right, strlen(right), both, err);
    }
    return woq_fail(err, WOQ_EDATA, NULL,
                    "tokenizer.json: merge %zu is neither \"A B\" nor [\"A\",\"B\"]", rank);
}

static int load_merges(struct tok_bpe *b, const struct woq_json *merges, struct woq_error *err)
{
    struct woq_str both = { 0 };
    size_t rank = 0;
    int rc = WOQ_OK;

    if ((rc = tok_bpe_reserve(b, woq_json_len(merges), err)) < 0)
        return rc;
    woq_json_each(item, merges)
    {
        const char *line = woq_json_str(item);

        if (line && !strncmp(line, "#version", 8))
            continue;
        if ((rc = parse_merge(b, rank++, item, &both, err)) < 0)
            break;
    }
    woq_str_release(&both);
    return rc;
}

static int copy_text(char **out, const char *text, struct woq_error *err)
{
    if (!text || !*text)
        return WOQ_OK;
    *out = malloc(strlen(text) + 1);
    if (!*out)
        return woq_fail_nomem(err, strlen(text) + 1);
    memcpy(*out, text, strlen(text) + 1);
    return WOQ_OK;
}

int tok_bpe_parse(struct tok_bpe *b, struct tok_vocab *vocab, const struct woq_json *model,
                  struct woq_error *err)
{
    double dropout = 0;
    int rc;

    b->vocab = vocab;
    if (woq_json_num(woq_json_get(model, "dropout"), &dropout) && dropout != 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "tokenizer.json: BPE dropout %g would make ids random", dropout);
    if ((rc = copy_text(&b->prefix, woq_json_get_str(model, "continuing_subword_prefix"), err)) <
            0 ||
        (rc = copy_text(&b->suffix, woq_json_get_str(model, "end_of_word_suffix"), err)) < 0 ||
        (rc = copy_text(&b->unk, woq_json_get_str(model, "unk_token"), err)) < 0)
        return rc;
    b->fuse_unk = woq_json_get_bool(model, "fuse_unk", false);
    b->byte_fallback = woq_json_get_bool(model, "byte_fallback", false);
    b->ignore_merges = woq_json_get_bool(model, "ignore_merges", false);
    if ((rc = load_vocab(vocab, woq_json_get(model, "vocab"), err)) < 0)
        return rc;
    return load_merges(b, woq_json_get(model, "merges"), err);
}

void tok_bpe_release(struct tok_bpe *b)
{
    free(b->merge);
    free(b->prefix);
    free(b->suffix);
    free(b->unused);
    free(b->unk);
    *b = (struct tok_bpe){ 0 };
}

/* ------------------------------------------------------------------ a word to its characters */
static uint32_t char_token(const struct tok_bpe *b, const char *text, size_t n, bool is_first,
                           bool is_last, struct woq_str *buf)
{
    const struct tok_entry *e;

    if (!b->prefix && !b->suffix)
        return tok_vocab_char(b->vocab, text, n);
    buf->len = 0;
    if (b->prefix && !is_first)
        (void)woq_str_add(buf, b->prefix, strlen(b->prefix));
    (void)woq_str_add(buf, text, n);
    if (b->suffix && is_last)
        (void)woq_str_add(buf, b->suffix, strlen(b->suffix));
    e = tok_map_get(&b->vocab->map, buf->s, buf->len);
    return e ? e->value : TOK_NO_ID;
}

static int unknown(const struct tok_bpe *b, uint32_t *unk, struct woq_ids *out,
                   struct woq_error *err)
{
    const struct tok_entry *e;
    int rc;

    if (!b->unk)
        return WOQ_OK; /* no unknown token: the character is dropped */
    e = tok_map_get(&b->vocab->map, b->unk, strlen(b->unk));
    if (!e)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tokenizer.json: unk_token '%.60s' is needed and not in the vocabulary",
                        b->unk);
    if (*unk != TOK_NO_ID && !b->fuse_unk && (rc = woq_ids_push(out, *unk, err)) < 0)
        return rc;
    *unk = e->value;
    return WOQ_OK;
}

/* A pending unknown token is put down by the next known character, not by bytes: as the original.
 */
static int to_symbols(const struct tok_bpe *b, const char *text, size_t len, struct woq_ids *out,
                      struct woq_error *err)
{
    struct woq_str buf = { 0 };
    uint32_t unk = TOK_NO_ID;
    int rc = WOQ_OK;

    out->n = 0;
    for (size_t i = 0, n; rc == WOQ_OK && i < len; i += n) {
        uint32_t id;

        n = woq_utf8_bytes((unsigned char)text[i]);
        id = char_token(b, text + i, n, i == 0, i + n == len, &buf);
        if (id != TOK_NO_ID) {
            if (unk != TOK_NO_ID)
                rc = woq_ids_push(out, unk, err);
            unk = TOK_NO_ID;
            if (rc == WOQ_OK)
                rc = woq_ids_push(out, id, err);
        } else if (b->byte_fallback && !b->prefix && !b->suffix &&
                   tok_vocab_has_bytes(b->vocab, text + i, n)) {
            rc = tok_vocab_push_bytes(b->vocab, text + i, n, out, err);
        } else {
            rc = unknown(b, &unk, out, err);
        }
    }
    if (rc == WOQ_OK && unk != TOK_NO_ID)
        rc = woq_ids_push(out, unk, err);
    woq_str_release(&buf);
    return rc;
}

/* ------------------------------------------------------------------ merging */
static void merge_short(const struct tok_bpe *b, uint32_t *id, size_t *n)
{
    const struct tok_merge *next[SHORT_WORD];

    for (size_t i = 0; i + 1 < *n; i++)
        next[i] = merge_get(b, id[i], id[i + 1]);
    while (*n > 1) {
        size_t best = *n;

        for (size_t i = 0; i + 1 < *n; i++)
            if (next[i] && (best == *n || next[i]->rank < next[best]->rank))
                best = i;
        if (best == *n)
            return;
        id[best] = next[best]->id;
        --*n;
        for (size_t i = best + 1; i < *n; i++) {
            id[i] = id[i + 1];
            next[i] = i + 1 < *n ? next[i + 1] : NULL;
        }
        if (best > 0)
            next[best - 1] = merge_get(b, id[best - 1], id[best]);
        if (best + 1 < *n)
            next[best] = merge_get(b, id[best], id[best + 1]);
    }
}

static bool before(struct tok_queued a, struct tok_queued b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.pos < b.pos;
}

static int queue(const struct tok_bpe *b, struct tok_work *w, uint32_t pos, struct woq_error *err)
{
    const struct tok_node *node = w->node;
    const uint32_t right = node[pos].next;
    const struct tok_merge *m =
        right == TOK_NO_ID ? NULL : merge_get(b, node[pos].id, node[right].id);
    struct tok_queued q;
    size_t i;
    int rc;

    if (!m)
        return WOQ_OK;
    if (b->unused && b->unused[m->id])
        w->split[m->id] = (struct tok_halves){ node[pos].id, node[right].id };
    if ((rc = tok_grow(&w->heap, &w->cap_heap, w->n_heap + 1, sizeof(*w->heap), err)) < 0)
        return rc;
    q = (struct tok_queued){ m->rank, pos, m->id };
    for (i = w->n_heap++; i && before(q, w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = q;
    return WOQ_OK;
}

static struct tok_queued dequeue(struct tok_work *w)
{
    const struct tok_queued top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;

    for (size_t child; (child = 2 * i + 1) < w->n_heap; i = child) {
        if (child + 1 < w->n_heap && before(w->heap[child + 1], w->heap[child]))
            child++;
        if (!before(w->heap[child], last))
            break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

static int merge_long(const struct tok_bpe *b, struct tok_work *w, struct woq_ids *ids,
                      struct woq_error *err)
{
    const size_t n = ids->n;
    size_t kept = 0;
    int rc = tok_grow(&w->node, &w->cap_nodes, n, sizeof(*w->node), err);

    if (rc == WOQ_OK && n >= TOK_NO_ID)
        rc = woq_fail(err, WOQ_EUNSUPPORTED, NULL, "a word of %zu characters", n);
    for (size_t i = 0; rc == WOQ_OK && i < n; i++)
        w->node[i] = (struct tok_node){ ids->ids[i], i ? (uint32_t)i - 1 : TOK_NO_ID,
                                        i + 1 < n ? (uint32_t)i + 1 : TOK_NO_ID, false };
    w->n_heap = 0;
    for (size_t i = 0; rc == WOQ_OK && i + 1 < n; i++)
        rc = queue(b, w, (uint32_t)i, err);
    while (rc == WOQ_OK && w->n_heap) {
        const struct tok_queued q = dequeue(w);
        struct tok_node *left = &w->node[q.pos], *right;
        const struct tok_merge *m;

        if (left->gone || left->next == TOK_NO_ID)
            continue;
        right = &w->node[left->next];
        m = merge_get(b, left->id, right->id);
        if (!m || m->id != q.id)
            continue; /* the pair has changed since it was queued */
        left->id = q.id;
        left->next = right->next;
        right->gone = true;
        if (right->next != TOK_NO_ID)
            w->node[right->next].prev = q.pos;
        if (left->prev != TOK_NO_ID)
            rc = queue(b, w, left->prev, err);
        if (rc == WOQ_OK)
            rc = queue(b, w, q.pos, err);
    }
    for (uint32_t i = 0; rc == WOQ_OK && i != TOK_NO_ID; i = w->node[i].next)
        ids->ids[kept++] = w->node[i].id;
    ids->n = kept;
    return rc;
}

int tok_bpe_merge(const struct tok_bpe *b, struct tok_work *w, struct woq_error *err)
{
    if (w->symbols.n > SHORT_WORD || b->unused)
        return merge_long(b, w, &w->symbols, err);
    merge_short(b, w->symbols.ids, &w->symbols.n);
    return WOQ_OK;
}

int tok_bpe_encode(const struct tok_bpe *b, struct tok_work *w, const char *text, size_t len,
                   struct woq_error *err)
{
    const struct tok_entry *e = b->ignore_merges ? tok_map_get(&b->vocab->map, text, len) : NULL;
    int rc;

    if (e) {
        w->symbols.n = 0;
        return woq_ids_push(&w->symbols, e->value, err);
    }
    rc = to_symbols(b, text, len, &w->symbols, err);
    return rc < 0 ? rc : tok_bpe_merge(b, w, err);
}
