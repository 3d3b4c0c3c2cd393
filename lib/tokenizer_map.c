/* tokenizer_map.c -- byte strings to numbers, and the growing arrays of the tokenizer. Open
 * addressing, at most two thirds full; keys lie in one block in order of insertion. */
#include "tokenizer_internal.h"

#include <woq/stream.h>

#include <stdlib.h>
#include <string.h>

int tok_grow(void *array, size_t *cap, size_t want, size_t size, struct woq_error *err)
{
    void **a = array, *grown;
    size_t n = *cap ? *cap : 16, bytes;

    if (want <= *cap)
        return WOQ_OK;
    while (n < want) {
        if (n > SIZE_MAX / 2)
            return woq_fail_nomem(err, SIZE_MAX);
        n *= 2;
    }
    if (!woq_mul_size(n, size, &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    grown = realloc(*a, bytes);
    if (!grown)
        return woq_fail_nomem(err, bytes);
    *a = grown;
    *cap = n;
    return WOQ_OK;
}

int tok_add(struct woq_str *s, const void *bytes, size_t n, struct woq_error *err)
{
    return woq_str_add(s, bytes, n) < 0 ? woq_fail_nomem(err, s->len + n) : WOQ_OK;
}

static uint32_t hash_of(const char *key, size_t len)
{
    const uint64_t h = woq_hash64(key, len);

    return (uint32_t)(h ^ h >> 32);
}

struct tok_entry *tok_map_get(const struct tok_map *m, const char *key, size_t len)
{
    uint32_t hash;

    if (!m->n)
        return NULL;
    hash = hash_of(key, len);
    for (size_t i = hash & (m->n_slots - 1); m->slot[i]; i = (i + 1) & (m->n_slots - 1)) {
        struct tok_entry *e = &m->entry[m->slot[i] - 1];

        if (e->hash == hash && e->len == len && !memcmp(m->keys.s + e->off, key, len))
            return e;
    }
    return NULL;
}

static void place(struct tok_map *m, uint32_t hash, size_t index)
{
    size_t i = hash & (m->n_slots - 1);

    while (m->slot[i])
        i = (i + 1) & (m->n_slots - 1);
    m->slot[i] = (uint32_t)index + 1;
}

static int rehash(struct tok_map *m, struct woq_error *err)
{
    const size_t n_slots = m->n_slots ? m->n_slots * 2 : 64;
    uint32_t *slot = calloc(n_slots, sizeof(*slot));

    if (!slot)
        return woq_fail_nomem(err, n_slots * sizeof(*slot));
    free(m->slot);
    m->slot = slot;
    m->n_slots = n_slots;
    for (size_t i = 0; i < m->n; i++)
        place(m, m->entry[i].hash, i);
    return WOQ_OK;
}

int tok_map_add(struct tok_map *m, const char *key, size_t len, uint32_t value,
                struct woq_error *err)
{
    struct tok_entry *e;
    int rc;

    if (len > UINT32_MAX || m->n >= UINT32_MAX / 2)
        return woq_fail(err, WOQ_EDATA, NULL, "too many or too long tokens");
    if ((m->n + 1) * 3 > m->n_slots * 2 && (rc = rehash(m, err)) < 0)
        return rc;
    if ((rc = tok_grow(&m->entry, &m->cap, m->n + 1, sizeof(*m->entry), err)) < 0)
        return rc;
    e = &m->entry[m->n];
    e->off = m->keys.len;
    e->len = (uint32_t)len;
    e->value = value;
    e->hash = hash_of(key, len);
    if ((rc = tok_add(&m->keys, key, len, err)) < 0)
        return rc;
    place(m, e->hash, m->n++);
    return WOQ_OK;
}

void tok_map_release(struct tok_map *m)
{
    woq_str_release(&m->keys);
    free(m->entry);
    free(m->slot);
    *m = (struct tok_map){ 0 };
}

int tok_work_new(struct tok_work **out, struct woq_error *err)
{
    struct tok_work *w = calloc(1, sizeof(*w));
    int rc;

    if (!w)
        return woq_fail_nomem(err, sizeof(*w));
    rc = woq_match_open(&w->match, err);
    if (rc < 0) {
        tok_work_free(w);
        return rc;
    }
    *out = w;
    return WOQ_OK;
}

void tok_work_free(struct tok_work *w)
{
    if (!w)
        return;
    woq_str_release(&w->text);
    woq_str_release(&w->other);
    free(w->pieces.p);
    free(w->next.p);
    free(w->range);
    woq_match_close(w->match);
    tok_map_release(&w->words);
    free(w->span);
    woq_ids_release(&w->word_ids);
    woq_ids_release(&w->symbols);
    free(w->node);
    free(w->heap);
    free(w->best);
    free(w->split);
    woq_ids_release(&w->spare);
    free(w);
}

int tok_piece_add(struct tok_work *w, size_t off, size_t len, uint32_t id, bool first,
                  struct woq_error *err)
{
    int rc;

    if (!len)
        return WOQ_OK;
    if ((rc = tok_grow(&w->next.p, &w->next.cap, w->next.n + 1, sizeof(*w->next.p), err)) < 0)
        return rc;
    w->next.p[w->next.n++] = (struct tok_piece){ off, len, id, first };
    return WOQ_OK;
}

void tok_pieces_swap(struct tok_work *w)
{
    const struct tok_pieces old = w->pieces;

    w->pieces = w->next;
    w->next = old;
    w->next.n = 0;
}
