/* eval_lambada.c -- LAMBADA's last words (models.md 12.3, 12.5). Documents of equal length form one
 * batch, so that nothing is padded. */
#include "eval_internal.h"

#include <stdlib.h>
#include <string.h>

struct doc {
    uint32_t *ids; /* context and continuation */
    size_t n, n_cont;
};

struct docs {
    struct doc *items;
    size_t n, cap;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* whole = encode(context + continuation); the continuation is what lies behind encode(context),
 * whose trailing spaces count to the continuation. */
static int encode_doc(struct doc *d, const struct woq_tokenizer *tok, const char *text,
                      struct woq_error *err)
{
    const char *space = strrchr(text, ' ');
    size_t context = space ? (size_t)(space - text) : 0;
    struct woq_ids whole = { 0 }, left = { 0 };
    const long prefix =
        woq_tokenizer_bos(tok) >= 0 ? woq_tokenizer_bos(tok) : woq_tokenizer_eos(tok);
    int rc;

    while (context && is_space(text[context - 1]))
        context--;
    if (!context && (rc = woq_ids_push(&whole, prefix < 0 ? 0 : (uint32_t)prefix, err)) < 0)
        return rc;
    rc = woq_tokenizer_encode(tok, text, strlen(text), context > 0, &whole, err);
    if (rc >= 0 && context)
        rc = woq_tokenizer_encode(tok, text, context, true, &left, err);
    if (rc >= 0 && !context)
        left.n = 1;
    if (rc >= 0 && (whole.n <= left.n || left.n == 0))
        rc = woq_fail(err, WOQ_EDATA, NULL, "no token is left for the last word");
    d->ids = whole.ids;
    d->n = whole.n;
    d->n_cont = whole.n - left.n;
    if (rc < 0) {
        woq_ids_release(&whole);
        d->ids = NULL;
    }
    woq_ids_release(&left);
    return rc;
}

static int add_doc(struct docs *docs, const struct woq_tokenizer *tok, const char *line, size_t n,
                   size_t max_tokens, struct woq_error *err)
{
    struct woq_json *root = NULL;
    const char *text;
    struct doc *d;
    int rc;

    if (docs->n == docs->cap) {
        const size_t cap = docs->cap ? 2 * docs->cap : 256;
        struct doc *more = realloc(docs->items, cap * sizeof *more);

        if (!more)
            return woq_fail_nomem(err, cap * sizeof *more);
        docs->items = more;
        docs->cap = cap;
    }
    d = &docs->items[docs->n];
    memset(d, 0, sizeof *d);
    if ((rc = woq_json_parse(&root, line, n, err)) < 0)
        return rc;
    text = woq_json_get_str(root, "text");
    rc = text ? encode_doc(d, tok, text, err)
              : woq_fail(err, WOQ_EDATA, NULL, "no string 'text' in it");
    woq_json_free(root);
    if (rc < 0)
        return rc;
    docs->n++;
    /* The model sees the last max_tokens before the last token. */
    if (d->n > max_tokens + 1) {
        memmove(d->ids, d->ids + (d->n - max_tokens - 1), (max_tokens + 1) * sizeof *d->ids);
        d->n = max_tokens + 1;
    }
    if (d->n_cont >= d->n)
        return woq_fail(err, WOQ_EDATA, NULL, "the last word has %zu tokens, the model takes %zu",
                        d->n_cont, max_tokens);
    return WOQ_OK;
}

static int read_docs(struct docs *docs, const struct woq_task *t, const struct woq_tokenizer *tok,
                     size_t max_tokens, struct woq_error *err)
{
    size_t line = 1;
    int rc;

    for (size_t at = 0; at < t->text_bytes && (!t->opts->limit || docs->n < t->opts->limit);
         line++) {
        const char *s = t->text + at, *end = memchr(s, '\n', t->text_bytes - at);
        size_t n = end ? (size_t)(end - s) : t->text_bytes - at;

        at += n + 1;
        while (n && is_space(s[n - 1]))
            n--;
        if (n && (rc = add_doc(docs, tok, s, n, max_tokens, err)) < 0) {
            woq_error_at(err, "%s: line %zu", t->opts->path, line);
            return rc;
        }
    }
    return docs->n ? WOQ_OK
                   : woq_fail(err, WOQ_EDATA, NULL, "%s: no document in it", t->opts->path);
}

static int by_length(const void *a, const void *b)
{
    const size_t x = ((const struct doc *)a)->n, y = ((const struct doc *)b)->n;

    return (x > y) - (x < y);
}

static void fill(struct woq_task *t, const struct docs *docs)
{
    size_t k = 0, at = 0;

    for (size_t i = 0; i < docs->n; i++) {
        const struct doc *d = &docs->items[i];
        struct woq_batch *b = t->n_batches ? &t->batches[t->n_batches - 1] : NULL;

        if (b && b->ctx == d->n - 1)
            b->n_windows++;
        else
            t->batches[t->n_batches++] = (struct woq_batch){ at, 1, d->n - 1 };
        memcpy(t->ids + at, d->ids, (d->n - 1) * sizeof *t->ids);
        for (size_t j = d->n - d->n_cont; j < d->n; j++, k++) {
            t->rows[k] = at + j - 1;
            t->targets[k] = d->ids[j];
        }
        t->doc_end[i] = k;
        at += d->n - 1;
        t->max_ctx = d->n - 1; /* sorted: the last is the longest */
    }
}

static int layout(struct woq_task *t, struct docs *docs, struct woq_error *err)
{
    for (size_t i = 0; i < docs->n; i++) {
        t->n_tokens += docs->items[i].n - 1;
        t->n_scored += docs->items[i].n_cont;
    }
    t->n_docs = t->n_windows = docs->n;
    t->ids = malloc((t->n_tokens + 1) * sizeof *t->ids);
    t->batches = calloc(docs->n + 1, sizeof *t->batches);
    t->rows = malloc((t->n_scored + 1) * sizeof *t->rows);
    t->targets = malloc((t->n_scored + 1) * sizeof *t->targets);
    t->doc_end = malloc((docs->n + 1) * sizeof *t->doc_end);
    if (!t->ids || !t->batches || !t->rows || !t->targets || !t->doc_end)
        return woq_fail_nomem(err, t->n_tokens * sizeof *t->ids);
    if (docs->n)
        qsort(docs->items, docs->n, sizeof *docs->items, by_length);
    fill(t, docs);
    return WOQ_OK;
}

int woq_task_build_lambada(struct woq_task *t, const struct woq_tokenizer *tok,
                           const struct woq_config *c, struct woq_error *err)
{
    const size_t max_tokens = t->opts->ctx ? t->opts->ctx : c->max_positions;
    struct docs docs = { 0 };
    int rc = read_docs(&docs, t, tok, max_tokens, err);

    if (rc >= 0)
        rc = layout(t, &docs, err);
    for (size_t i = 0; i < docs.n; i++)
        free(docs.items[i].ids);
    free(docs.items);
    return rc;
}
