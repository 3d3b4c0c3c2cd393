/* tokenizer_split.c -- patterns, and what becomes of their matches (formats.md 6.3). */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

int tok_pattern_parse(struct tok_pattern *p, const struct woq_json *v, struct woq_error *err)
{
    const char *literal = woq_json_str(v), *regex = NULL;

    if (!literal)
        literal = woq_json_get_str(v, "String");
    if (!literal)
        regex = woq_json_get_str(v, "Regex");
    if (regex)
        return woq_regex_open(&p->re, regex, strlen(regex), WOQ_REGEX_ONIGURUMA, err);
    if (!literal || !*literal)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tokenizer.json: a pattern is neither {\"String\":..} nor {\"Regex\":..}");
    p->literal_bytes = strlen(literal);
    p->literal = malloc(p->literal_bytes + 1);
    if (!p->literal)
        return woq_fail_nomem(err, p->literal_bytes + 1);
    memcpy(p->literal, literal, p->literal_bytes + 1);
    return WOQ_OK;
}

void tok_pattern_release(struct tok_pattern *p)
{
    woq_regex_close(p->re);
    free(p->literal);
    *p = (struct tok_pattern){ 0 };
}

static int range_add(struct tok_work *w, size_t start, size_t end, bool match,
                     struct woq_error *err)
{
    int rc = tok_grow(&w->range, &w->cap_ranges, w->n_ranges + 1, sizeof(*w->range), err);

    if (rc == WOQ_OK)
        w->range[w->n_ranges++] = (struct tok_range){ start, end, match };
    return rc;
}

/* The next match at or after `from`: WOQ_ITEM, or WOQ_OK for none. */
static int next_match(const struct tok_pattern *p, struct tok_work *w, const char *text, size_t len,
                      size_t from, size_t *start, size_t *end, struct woq_error *err)
{
    if (p->re)
        return woq_regex_match(p->re, w->match, text, len, from, start, end, err);
    if (p->every) {
        *start = *end = from;
        for (size_t i = 0; i < p->every && *end < len; i++)
            *end += woq_utf8_bytes((unsigned char)text[*end]);
        return from < len ? WOQ_ITEM : WOQ_OK;
    }
    if (p->is) {
        for (size_t n; from < len; from += n)
            if (p->is(woq_utf8_get(text + from, &n))) {
                *start = from;
                *end = from + n;
                return WOQ_ITEM;
            }
        return WOQ_OK;
    }
    while (len - from >= p->literal_bytes) {
        const char *hit = memchr(text + from, p->literal[0], len - from - p->literal_bytes + 1);

        if (!hit)
            return WOQ_OK;
        from = (size_t)(hit - text);
        if (!memcmp(hit, p->literal, p->literal_bytes)) {
            *start = from;
            *end = from + p->literal_bytes;
            return WOQ_ITEM;
        }
        from++;
    }
    return WOQ_OK;
}

int tok_find(const struct tok_pattern *p, struct tok_work *w, const char *text, size_t len,
             struct woq_error *err)
{
    size_t done = 0, from = 0, start = 0, end = 0, last_end = SIZE_MAX;
    int rc = WOQ_OK;

    w->n_ranges = 0;
    while (from <= len && (rc = next_match(p, w, text, len, from, &start, &end, err)) == WOQ_ITEM) {
        /* An empty match right behind the last match does not count. */
        if (start == end && start == last_end) {
            from += from < len ? woq_utf8_bytes((unsigned char)text[from]) : 1;
            continue;
        }
        if (start > done && (rc = range_add(w, done, start, false, err)) < 0)
            return rc;
        if ((rc = range_add(w, start, end, true, err)) < 0)
            return rc;
        done = from = last_end = end;
    }
    if (rc < 0)
        return rc;
    return done < len ? range_add(w, done, len, false, err) : WOQ_OK;
}

/* Joins neighbours in place: a match with its left neighbour (MergedWithPrevious), equals with
 * equals (Contiguous). */
static void merge_left(struct tok_work *w, bool contiguous)
{
    bool previous = false;
    size_t n = 0;

    for (size_t i = 0; i < w->n_ranges; i++) {
        const struct tok_range r = w->range[i];
        const bool join = contiguous ? r.match == previous : r.match && !previous;

        if (join && n)
            w->range[n - 1].end = r.end;
        else
            w->range[n++] = r;
        previous = r.match;
    }
    w->n_ranges = n;
}

/* A match with its right neighbour: the same from the other end. */
static void merge_right(struct tok_work *w)
{
    bool previous = false;
    size_t n = w->n_ranges;

    for (size_t i = w->n_ranges; i-- > 0;) {
        const struct tok_range r = w->range[i];

        if (r.match && !previous && n < w->n_ranges)
            w->range[n].start = r.start;
        else
            w->range[--n] = r;
        previous = r.match;
    }
    memmove(w->range, w->range + n, (w->n_ranges - n) * sizeof(*w->range));
    w->n_ranges -= n;
}

int tok_split(const struct tok_pattern *p, enum tok_behaviour b, bool invert, struct tok_work *w,
              const struct tok_piece *piece, struct woq_error *err)
{
    int rc = tok_find(p, w, w->text.s + piece->off, piece->len, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; invert && i < w->n_ranges; i++)
        w->range[i].match = !w->range[i].match;
    if (w->n_ranges && b == TOK_MERGED_WITH_NEXT)
        merge_right(w);
    else if (b == TOK_CONTIGUOUS || b == TOK_MERGED_WITH_PREVIOUS)
        merge_left(w, b == TOK_CONTIGUOUS);
    for (size_t i = 0; i < w->n_ranges; i++) {
        const struct tok_range r = w->range[i];

        if (b == TOK_REMOVED && r.match)
            continue;
        rc = tok_piece_add(w, piece->off + r.start, r.end - r.start, TOK_NO_ID,
                           piece->first && r.start == 0, err);
        if (rc < 0)
            return rc;
    }
    return WOQ_OK;
}
