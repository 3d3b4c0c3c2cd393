/* tokens.c -- see tokens.h. */
#include <woq/chat.h>
#include <woq/json.h>
#include <woq/tokens.h>

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ lines */
typedef int line_fn(void *ctx, const char *line, size_t bytes, struct woq_error *err);

static bool is_blank(const char *line, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (!strchr(" \t\r", line[i]) || !line[i])
            return false;
    return true;
}

static const char *name_of(const char *path)
{
    return strcmp(path, "-") ? path : "<stdin>";
}

static int lines_each(const char *path, const char *data, size_t bytes, line_fn *fn, void *ctx,
                      struct woq_error *err)
{
    size_t number = 1;
    int rc = WOQ_OK;

    for (size_t at = 0; rc == WOQ_OK && at < bytes; number++) {
        const char *line = data + at, *end = memchr(line, '\n', bytes - at);
        const size_t n = end ? (size_t)(end - line) : bytes - at;

        at += n + 1;
        if (is_blank(line, n))
            continue;
        rc = fn(ctx, line, n, err);
        if (rc < 0 && err && !err->where[0])
            woq_error_at(err, "%s: line %zu", name_of(path), number);
    }
    return rc;
}

static int each_line(const char *path, line_fn *fn, void *ctx, struct woq_error *err)
{
    char *data = NULL;
    size_t bytes = 0;
    int rc = woq_file_read(path, SIZE_MAX, &data, &bytes, err);

    if (rc == WOQ_OK)
        rc = lines_each(path, data, bytes, fn, ctx, err);
    free(data);
    return rc;
}

/* ------------------------------------------------------------------ texts */
struct keyed {
    const char *key;
    woq_text_fn *fn;
    void *ctx;
};

static int keyed_line(void *ctx, const char *line, size_t bytes, struct woq_error *err)
{
    const struct keyed *k = ctx;
    struct woq_json *v = NULL;
    const char *text;
    int rc = woq_json_parse(&v, line, bytes, err);

    if (rc < 0)
        return rc;
    text = woq_json_get_str(v, k->key);
    rc = text ? k->fn(k->ctx, text, strlen(text), err)
              : woq_fail(err, WOQ_EDATA, "choose another with --jsonl-key",
                         "no string under the key '%s'", k->key);
    woq_json_free(v);
    return rc;
}

int woq_texts_each(const char *path, const char *key, woq_text_fn *fn, void *ctx,
                   struct woq_error *err)
{
    struct keyed k = { key, fn, ctx };
    char *data = NULL;
    size_t bytes = 0;
    int rc;

    if (key)
        return each_line(path, keyed_line, &k, err);
    rc = woq_file_read(path, SIZE_MAX, &data, &bytes, err);
    if (rc == WOQ_OK && (rc = fn(ctx, data, bytes, err)) < 0)
        woq_error_at(err, "%s", name_of(path));
    free(data);
    return rc;
}

/* One value is one conversation, whatever its lines. */
int woq_chats_each(const char *path, woq_text_fn *fn, void *ctx, struct woq_error *err)
{
    struct woq_json *v = NULL;
    char *data = NULL;
    size_t bytes = 0;
    int rc = woq_file_read(path, SIZE_MAX, &data, &bytes, err);

    if (rc == WOQ_OK && woq_json_parse(&v, data, bytes, NULL) == WOQ_OK) {
        if ((rc = fn(ctx, data, bytes, err)) < 0)
            woq_error_at(err, "%s", name_of(path));
    } else if (rc == WOQ_OK) {
        rc = lines_each(path, data, bytes, fn, ctx, err);
    }
    woq_json_free(v);
    free(data);
    return rc;
}

/* ------------------------------------------------------------------ ids */
struct id_lines {
    struct woq_ids ids;
    woq_ids_fn *fn;
    void *ctx;
};

static int id_line(void *ctx, const char *line, size_t bytes, struct woq_error *err)
{
    struct id_lines *s = ctx;
    struct woq_json *v = NULL;
    int rc = woq_json_parse(&v, line, bytes, err);

    s->ids.n = 0;
    if (rc == WOQ_OK && woq_json_type(v) != WOQ_JARRAY)
        rc = woq_fail(err, WOQ_EDATA, "one per line, for example [1,2,3]", "not a JSON array");
    for (struct woq_json *item = woq_json_first(v); rc == WOQ_OK && item;
         item = woq_json_next(item)) {
        uint64_t id;

        if (!woq_json_u64(item, &id) || id > UINT32_MAX)
            rc = woq_fail(err, WOQ_EDATA, NULL, "element %zu is not a token id", s->ids.n);
        else
            rc = woq_ids_push(&s->ids, (uint32_t)id, err);
    }
    if (rc == WOQ_OK)
        rc = s->fn(s->ctx, s->ids.ids, s->ids.n, err);
    woq_json_free(v);
    return rc;
}

int woq_id_lines_each(const char *path, woq_ids_fn *fn, void *ctx, struct woq_error *err)
{
    struct id_lines s = { .fn = fn, .ctx = ctx };
    const int rc = each_line(path, id_line, &s, err);

    woq_ids_release(&s.ids);
    return rc;
}

int woq_ids_print(struct woq_str *out, const uint32_t *ids, size_t n, struct woq_error *err)
{
    int rc = woq_str_add(out, "[", 1);

    for (size_t i = 0; rc == WOQ_OK && i < n; i++)
        rc = woq_str_addf(out, i ? ",%u" : "%u", ids[i]);
    if (rc == WOQ_OK)
        rc = woq_str_add(out, "]\n", 2);
    return rc < 0 ? woq_fail_nomem(err, out->len) : WOQ_OK;
}

/* ------------------------------------------------------------------ samples */
/* Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", fig. 16. */
static uint64_t split_mix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Uniform in [0, n): what would make small values more likely is drawn again. */
static uint64_t below(uint64_t *state, uint64_t n)
{
    const uint64_t reject = (0 - n) % n;
    uint64_t x;

    do
        x = split_mix(state);
    while (x < reject);
    return x % n;
}

int woq_sample_starts(size_t *start, size_t n_samples, size_t n_tokens, size_t seqlen,
                      uint64_t seed, struct woq_error *err)
{
    if (n_tokens < seqlen)
        return woq_fail(err, WOQ_EDATA, "give more text or a smaller --seqlen",
                        "the text has %zu tokens, a sample needs %zu", n_tokens, seqlen);
    for (size_t i = 0; i < n_samples; i++)
        start[i] = (size_t)below(&seed, n_tokens - seqlen + 1);
    return WOQ_OK;
}

int woq_samples_each(const struct woq_ids *ids, size_t n_samples, size_t seqlen, uint64_t seed,
                     woq_ids_fn *fn, void *ctx, struct woq_error *err)
{
    size_t *start = woq_alloc(n_samples * sizeof(*start), err);
    int rc = start ? woq_sample_starts(start, n_samples, ids->n, seqlen, seed, err) : WOQ_ENOMEM;

    for (size_t i = 0; rc == WOQ_OK && i < n_samples; i++)
        rc = fn(ctx, ids->ids + start[i], seqlen, err);
    free(start);
    return rc;
}

int woq_pieces_each(const struct woq_ids *ids, size_t seqlen, woq_ids_fn *fn, void *ctx,
                    struct woq_error *err)
{
    int rc = seqlen ? WOQ_OK : fn(ctx, ids->ids, ids->n, err);

    for (size_t i = 0; seqlen && rc == WOQ_OK && i < ids->n; i += seqlen)
        rc = fn(ctx, ids->ids + i, ids->n - i < seqlen ? ids->n - i : seqlen, err);
    return rc;
}
