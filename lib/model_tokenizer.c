/* model_tokenizer.c -- the tokenizer of a MODL frame; apart from model.c so that programs that need
 * no text do not link one. */
#include <woq/model.h>

int woq_modl_tokenizer(const struct woq_frame *modl, struct woq_tokenizer **t,
                       struct woq_error *err)
{
    const struct woq_array *a = woq_modl_file(modl, "tokenizer.json");
    const struct woq_array *config = woq_modl_file(modl, "tokenizer_config.json");

    if (!a)
        return woq_fail(err, WOQ_EDATA,
                        "put the model's tokenizer.json beside its config.json, or give ids "
                        "(--tokens)",
                        "this model came without a tokenizer.json");
    const int rc = woq_tokenizer_open(t, a->data, a->bytes, config ? config->data : NULL,
                                      config ? config->bytes : 0, err);
    return rc < 0 ? woq_error_at(err, "tokenizer.json") : rc;
}
