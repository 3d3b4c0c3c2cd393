/* tokenizer_added.c -- added tokens: read, and cut out of a text, leftmost and longest
 * (formats.md 6.1). */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ reading */
static int parse_one(struct tok_added_set *set, const struct woq_json *v,
                     const struct tok_map *vocab, struct woq_error *err)
{
    struct tok_added *a = &set->a[set->n];
    const char *content = woq_json_get_str(v, "content");
    const struct tok_entry *e;
    uint64_t id;

    if (!content || !woq_json_u64(woq_json_get(v, "id"), &id) || id >= TOK_MAX_ID)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tokenizer.json: added token %zu lacks its content or an id in 0..%u",
                        set->n, TOK_MAX_ID - 1);
    a->bytes = strlen(content);
    if (a->bytes > TOK_MAX_ADDED_BYTES)
        return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: added token of %zu bytes, limit %d",
                        a->bytes, TOK_MAX_ADDED_BYTES);
    /* Empty ones can't occur in a text, and of equal ones the first counts: as the original. */
    if (!a->bytes || tok_map_get(&set->by_content, content, a->bytes))
        return WOQ_OK;
    e = tok_map_get(vocab, content, a->bytes);
    if (e && e->value != id)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tokenizer.json: added token '%.60s' has id %u, but %u in the vocabulary",
                        content, (unsigned)id, e->value);
    a->content = malloc(a->bytes + 1);
    if (!a->content)
        return woq_fail_nomem(err, a->bytes + 1);
    memcpy(a->content, content, a->bytes + 1);
    a->id = (uint32_t)id;
    a->single_word = woq_json_get_bool(v, "single_word", false);
    a->lstrip = woq_json_get_bool(v, "lstrip", false);
    a->rstrip = woq_json_get_bool(v, "rstrip", false);
    a->special = woq_json_get_bool(v, "special", false);
    a->normalized = woq_json_get_bool(v, "normalized", !a->special);
    return tok_map_add(&set->by_content, content, a->bytes, (uint32_t)set->n++, err);
}

int tok_added_parse(struct tok_added_set *set, const struct woq_json *list,
                    const struct tok_map *vocab, struct woq_error *err)
{
    const size_t n = woq_json_len(list);
    int rc = WOQ_OK;

    if (!n)
        return WOQ_OK;
    set->a = calloc(n, sizeof(*set->a));
    if (!set->a)
        return woq_fail_nomem(err, n * sizeof(*set->a));
    woq_json_each(item, list) if ((rc = parse_one(set, item, vocab, err)) < 0) break;
    return rc;
}

/* ------------------------------------------------------------------ tries */
static int add_normalized(struct woq_tokenizer *t, struct tok_work *w, uint32_t index,
                          struct woq_error *err)
{
    const struct tok_added *a = &t->added.a[index];
    int rc;

    w->text.len = 0;
    w->pieces.n = w->next.n = 0;
    if ((rc = tok_add(&w->text, a->content, a->bytes, err)) < 0 ||
        (rc = tok_piece_add(w, 0, a->bytes, TOK_NO_ID, true, err)) < 0)
        return rc;
    tok_pieces_swap(w);
    if ((rc = tok_steps_run(t, &t->normalizer, w, err)) < 0 || !w->pieces.n)
        return rc;
    return tok_trie_add(&t->added.normalized, w->text.s + w->pieces.p[0].off, w->pieces.p[0].len,
                        index, err);
}

/* Where normal forms coincide, special tokens come before others. */
int tok_added_build(struct woq_tokenizer *t, struct tok_work *w, struct woq_error *err)
{
    struct tok_added_set *set = &t->added;
    int rc = WOQ_OK;

    for (int special = 1; special >= 0; special--)
        for (uint32_t i = 0; rc == WOQ_OK && i < set->n; i++) {
            const struct tok_added *a = &set->a[i];

            if (a->special != (special != 0))
                continue;
            rc = a->normalized ? add_normalized(t, w, i, err)
                               : tok_trie_add(&set->raw, a->content, a->bytes, i, err);
        }
    return rc;
}

void tok_added_release(struct tok_added_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        free(set->a[i].content);
    free(set->a);
    tok_map_release(&set->by_content);
    tok_trie_release(&set->raw);
    tok_trie_release(&set->normalized);
    *set = (struct tok_added_set){ 0 };
}

/* ------------------------------------------------------------------ cutting */
static size_t char_before(const char *text, size_t at)
{
    do
        at--;
    while (at && ((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

static bool word_around(const char *text, size_t len, size_t start, size_t end)
{
    size_t n;

    return (start > 0 && woq_cp_is_word(woq_utf8_get(text + char_before(text, start), &n))) ||
           (end < len && woq_cp_is_word(woq_utf8_get(text + end, &n)));
}

static size_t spaces_before(const char *text, size_t start, size_t limit)
{
    while (start > limit) {
        const size_t at = char_before(text, start);
        size_t n;

        if (at < limit || !woq_cp_is_space(woq_utf8_get(text + at, &n)))
            break;
        start = at;
    }
    return start;
}

static size_t spaces_after(const char *text, size_t len, size_t end)
{
    for (size_t n; end < len && woq_cp_is_space(woq_utf8_get(text + end, &n)); end += n)
        ;
    return end;
}

/* The search goes on behind the token itself, even where rstrip has swallowed more. */
static int cut(const struct tok_added_set *set, const struct tok_trie *trie, struct tok_work *w,
               const struct tok_piece *p, struct woq_error *err)
{
    const char *text = w->text.s + p->off;
    size_t done = 0, at = 0, n = 0;
    int rc = WOQ_OK;

    while (rc == WOQ_OK && at < p->len) {
        const struct tok_added *a;
        size_t start = at, end;
        long found = -1;

        if (trie->first[(unsigned char)text[at]])
            found = tok_trie_longest(trie, text + at, p->len - at, &n);
        if (found < 0) {
            at++;
            continue;
        }
        a = &set->a[found];
        end = at += n;
        if (a->single_word && word_around(text, p->len, start, end))
            continue;
        if (a->lstrip && start > done)
            start = spaces_before(text, start, done);
        if (a->lstrip && start < done)
            start = done;
        if (a->rstrip)
            end = spaces_after(text, p->len, end);
        if (done < start)
            rc = tok_piece_add(w, p->off + done, start - done, TOK_NO_ID, p->first && !done, err);
        if (rc == WOQ_OK)
            rc = tok_piece_add(w, p->off + start, end > start ? end - start : 0, a->id,
                               p->first && !start, err);
        done = end;
    }
    if (rc == WOQ_OK && done < p->len)
        rc = tok_piece_add(w, p->off + done, p->len - done, TOK_NO_ID, p->first && !done, err);
    return rc;
}

int tok_added_split(const struct tok_added_set *set, const struct tok_trie *trie,
                    struct tok_work *w, struct woq_error *err)
{
    int rc = WOQ_OK;

    if (!trie->n_nodes)
        return WOQ_OK;
    for (size_t i = 0; rc == WOQ_OK && i < w->pieces.n; i++) {
        const struct tok_piece p = w->pieces.p[i];

        if (p.id != TOK_NO_ID)
            rc = tok_piece_add(w, p.off, p.len, p.id, p.first, err);
        else
            rc = cut(set, trie, w, &p, err);
    }
    tok_pieces_swap(w);
    return rc;
}
