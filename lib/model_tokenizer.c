/* model_tokenizer.c -- the tokenizer of a MODL frame; apart from model.c so that programs that need
 * no text do not link one. */
#include <woq/model.h>

static const char *frame_file(void *ctx, const char *name, size_t *bytes)
{
    const struct woq_array *a = woq_modl_file(ctx, name);

    *bytes = a ? a->bytes : 0;
    return a ? a->data : NULL;
}

int woq_modl_tokenizer(const struct woq_frame *modl, struct woq_tokenizer **t,
                       struct woq_error *err)
{
    /* The frame is only read; a callback's context has no const. */
    struct woq_frame view = *modl;
    const int rc = woq_tokenizer_from_files(t, frame_file, &view, err);

    if (rc == WOQ_ITEM)
        return woq_fail(err, WOQ_EDATA,
                        "put the model's tokenizer.json or tokenizer.model beside its config.json, "
                        "or give ids (--tokens)",
                        "this model came without a tokenizer.json");
    return rc < 0 ? woq_error_at(err, "tokenizer") : rc;
}

int woq_modl_chat(const struct woq_frame *modl, struct woq_tokenizer **t, struct woq_chat **c,
                  const struct woq_chat_options *o, struct woq_error *err)
{
    struct woq_frame view = *modl;
    int rc = woq_modl_tokenizer(modl, t, err);

    if (rc == WOQ_OK && (rc = woq_chat_from_files(c, frame_file, &view, o, err)) < 0) {
        woq_tokenizer_close(*t);
        *t = NULL;
    }
    return rc;
}

static const char *frame_name(void *ctx, size_t i)
{
    const struct woq_frame *f = ctx;

    return i < f->n_arrays ? f->arrays[i].name : NULL;
}

int woq_modl_chat_list(const struct woq_frame *modl, struct woq_json **list, struct woq_error *err)
{
    struct woq_frame view = *modl;

    return woq_chat_list(list, frame_file, frame_name, &view, err);
}
