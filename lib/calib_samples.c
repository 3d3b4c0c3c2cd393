/* calib_samples.c -- where the tokens of a calibration come from: a text, conversations, or
 * woq-tokens. */
#include <woq/calib.h>
#include <woq/model.h>
#include <woq/tokens.h>

struct encode {
    struct woq_tokenizer *tokenizer;
    struct woq_chat *chat; /* NULL: texts as they are */
    struct woq_ids *ids;
};

static int on_text(void *ctx, const char *text, size_t bytes, struct woq_error *err)
{
    struct encode *e = ctx;

    return e->chat ? woq_chat_encode(e->chat, e->tokenizer, text, bytes, e->ids, err)
                   : woq_tokenizer_encode(e->tokenizer, text, bytes, true, e->ids, err);
}

static int on_sample(void *ctx, const uint32_t *sample, size_t n, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < n; i++)
        rc = woq_ids_push(ctx, sample[i], err);
    return rc;
}

int woq_samples_draw(struct woq_ids *ids, const char *path, const struct woq_chat_options *chat,
                     const struct woq_frame *modl, size_t n, size_t len, uint64_t seed,
                     struct woq_error *err)
{
    struct woq_ids all = { 0 };
    struct encode e = { .ids = &all };
    int rc = chat ? woq_modl_chat(modl, &e.tokenizer, &e.chat, chat, err)
                  : woq_modl_tokenizer(modl, &e.tokenizer, err);

    if (rc == WOQ_OK)
        rc = chat ? woq_chats_each(path, on_text, &e, err)
                  : woq_texts_each(path, NULL, on_text, &e, err);
    if (rc == WOQ_OK)
        rc = woq_samples_each(&all, n, len, seed, on_sample, ids, err);
    woq_tokenizer_close(e.tokenizer);
    woq_chat_close(e.chat);
    woq_ids_release(&all);
    return rc;
}

int woq_samples_load(struct woq_ids *ids, const char *spec, size_t *n, size_t *len,
                     struct woq_error *err)
{
    struct woq_reader *r;
    struct woq_frame *f;
    int rc = woq_reader_open(&r, spec, NULL, err);

    *n = *len = 0;
    if (rc < 0)
        return rc;
    while ((rc = woq_reader_next(r, &f, err)) > 0) {
        const struct woq_array *a = NULL;

        if (!woq_frame_is(f, "TOKN"))
            continue;
        if ((rc = woq_frame_want(f, "ids", WOQ_U32, 1, &a, err)) < 0)
            break;
        if (a->n_elem < 2 || (*n && a->n_elem != *len)) {
            rc = woq_fail(err, WOQ_EDATA, "give woq-tokens --samples and --seqlen",
                          "sample %zu has %zu tokens, want %zu", *n, a->n_elem, *len ? *len : 2);
            break;
        }
        *len = a->n_elem;
        for (size_t i = 0; rc >= 0 && i < a->n_elem; i++)
            rc = woq_ids_push(ids, ((const uint32_t *)a->data)[i], err);
        (*n)++;
    }
    if (rc == WOQ_OK && *n == 0)
        rc = woq_fail(err, WOQ_EDATA, "make it with woq-tokens", "no samples in '%s'", spec);
    woq_reader_close(r);
    return rc < 0 ? woq_error_at(err, "%s", spec) : rc;
}
