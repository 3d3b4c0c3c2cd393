/* tokenizer_files.c -- which of a model's files make its tokenizer; the same rule for folders,
 * streams and checkpoints. */
#include <woq/json.h>
#include <woq/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first that is there counts. */
static const char *const vocabularies[] = { "tokenizer.json", "tokenizer.model", "spiece.model",
                                            "qwen.tiktoken" };

/* Older models have {"<pad>":32000} in a file of its own beside tokenizer.model. */
static int add_tokens(struct woq_str *config, const char *tokens, size_t bytes,
                      struct woq_error *err)
{
    struct woq_json *root = NULL, *list = NULL, *decoder = woq_json_object();
    char *text = NULL;
    int rc = woq_json_parse(&list, tokens, bytes, err);

    if (rc < 0)
        woq_error_at(err, "added_tokens.json");
    else
        rc = config->len ? woq_json_parse(&root, config->s, config->len, err) : WOQ_OK;
    if (rc == WOQ_OK && !root)
        root = woq_json_object();
    if (rc < 0 || woq_json_get(root, "added_tokens_decoder")) {
        woq_json_free(decoder);
        goto out;
    }
    woq_json_each(item, list)
    {
        struct woq_json *token = woq_json_object();
        char key[32];

        (void)snprintf(key, sizeof(key), "%.0f", woq_json_get_num(list, woq_json_key(item), -1));
        woq_json_set_str(token, "content", woq_json_key(item));
        woq_json_set(decoder, key, token);
    }
    woq_json_set(root, "added_tokens_decoder", decoder);
    text = woq_json_print(root, false);
    config->len = 0;
    if (!text || woq_str_add(config, text, strlen(text)) < 0)
        rc = woq_fail_nomem(err, bytes);
out:
    free(text);
    woq_json_free(list);
    woq_json_free(root);
    return rc;
}

int woq_tokenizer_from_files(struct woq_tokenizer **t, woq_tokenizer_file *file, void *ctx,
                             struct woq_error *err)
{
    struct woq_str config = { 0 };
    size_t bytes = 0, more = 0, i = 0;
    const char *data = NULL, *text;
    int rc = WOQ_OK;

    for (i = 0; !data && i < sizeof(vocabularies) / sizeof(vocabularies[0]); i++)
        data = file(ctx, vocabularies[i], &bytes);
    if (!data)
        return WOQ_ITEM;
    if ((text = file(ctx, "tokenizer_config.json", &more)) && woq_str_add(&config, text, more) < 0)
        rc = woq_fail_nomem(err, more);
    if (rc == WOQ_OK && i > 1 && (text = file(ctx, "added_tokens.json", &more)))
        rc = add_tokens(&config, text, more, err);
    if (rc == WOQ_OK)
        rc = woq_tokenizer_open(t, data, bytes, config.s, config.len, err);
    woq_str_release(&config);
    return rc;
}
