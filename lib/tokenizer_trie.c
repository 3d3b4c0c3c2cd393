/* tokenizer_trie.c -- byte strings to numbers by prefix: all entries that begin a text. Edges lie
 * in one hash, so that a vocabulary of 250,000 pieces takes a few megabytes. */
#include "tokenizer_internal.h"

#include <stdlib.h>

static size_t edge_slot(const struct tok_trie *t, uint64_t key)
{
    size_t i = (size_t)((key * 0x9e3779b97f4a7c15u) >> 20) & (t->n_slots - 1);

    while (t->key[i] && t->key[i] != key)
        i = (i + 1) & (t->n_slots - 1);
    return i;
}

/* Keys are never 0: nodes count from 1. */
static uint64_t edge_key(uint32_t node, unsigned char byte)
{
    return ((uint64_t)node + 1) << 8 | byte;
}

static int trie_grow(struct tok_trie *t, struct woq_error *err)
{
    struct tok_trie old = *t;

    t->n_slots = old.n_slots ? old.n_slots * 2 : 256;
    t->key = calloc(t->n_slots, sizeof(*t->key));
    t->to = calloc(t->n_slots, sizeof(*t->to));
    if (!t->key || !t->to) {
        free(t->key);
        free(t->to);
        *t = old;
        return woq_fail_nomem(err, old.n_slots * 24);
    }
    for (size_t i = 0; i < old.n_slots; i++)
        if (old.key[i]) {
            const size_t at = edge_slot(t, old.key[i]);

            t->key[at] = old.key[i];
            t->to[at] = old.to[i];
        }
    free(old.key);
    free(old.to);
    return WOQ_OK;
}

static int new_node(struct tok_trie *t, struct woq_error *err)
{
    const int rc = tok_grow(&t->token, &t->cap_nodes, t->n_nodes + 1, sizeof(*t->token), err);

    if (rc == WOQ_OK)
        t->token[t->n_nodes++] = 0;
    return rc;
}

int tok_trie_add(struct tok_trie *t, const char *text, size_t len, uint32_t index,
                 struct woq_error *err)
{
    uint32_t node = 0;
    int rc = WOQ_OK;

    if (!t->n_nodes)
        rc = new_node(t, err);
    if (rc == WOQ_OK && len)
        t->first[(unsigned char)text[0]] = true;
    for (size_t i = 0; rc == WOQ_OK && i < len; i++) {
        const uint64_t key = edge_key(node, (unsigned char)text[i]);
        size_t at;

        if ((t->n_edges + 1) * 2 > t->n_slots && (rc = trie_grow(t, err)) < 0)
            return rc;
        at = edge_slot(t, key);
        if (!t->key[at]) {
            if ((rc = new_node(t, err)) < 0)
                return rc;
            t->key[at] = key;
            t->to[at] = (uint32_t)t->n_nodes - 1;
            t->n_edges++;
        }
        node = t->to[at];
    }
    if (rc == WOQ_OK && len && !t->token[node])
        t->token[node] = index + 1;
    return rc;
}

void tok_trie_release(struct tok_trie *t)
{
    free(t->key);
    free(t->to);
    free(t->token);
}

bool tok_trie_step(const struct tok_trie *t, uint32_t *node, unsigned char byte)
{
    const size_t at = t->n_slots ? edge_slot(t, edge_key(*node, byte)) : 0;

    if (!t->n_slots || !t->key[at])
        return false;
    *node = t->to[at];
    return true;
}

long tok_trie_longest(const struct tok_trie *t, const char *text, size_t n, size_t *len)
{
    uint32_t node = 0;
    long found = -1;

    for (size_t i = 0; i < n && tok_trie_step(t, &node, (unsigned char)text[i]); i++)
        if (t->token[node]) {
            found = (long)t->token[node] - 1;
            *len = i + 1;
        }
    return found;
}
