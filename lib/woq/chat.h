/* chat.h -- conversations to text by a model's own chat template, as transformers'
 * apply_chat_template makes it. */
#ifndef WOQ_CHAT_H
#define WOQ_CHAT_H
#include <woq/template.h>
#include <woq/tokens.h>

struct woq_chat_options {
    const char
        *chat_template; /* name of one of the model's, or path of a file; NULL: the model's */
    const char *vars;   /* further variables: members of a JSON object, or NULL */
    const char *date;   /* for strftime_now, as in template.h, or NULL */
    bool add_generation_prompt;
};

struct woq_chat; /* templates, and the variables that a model always sets (bos_token ...) */

/* Where a model has further templates: NAME.jinja. */
#define WOQ_CHAT_FOLDER "additional_chat_templates"

/* From the files of a model, by their names: chat_template.jinja with those in WOQ_CHAT_FOLDER,
 * else chat_template.json, else chat_template of tokenizer_config.json (a text, or a list of named
 * ones: "default", and "tool_use" for conversations with tools). `o` must outlive the chat. A model
 * without a template is WOQ_ETYPE, unless o->chat_template is a file. */
int woq_chat_from_files(struct woq_chat **c, woq_tokenizer_file *file, void *ctx,
                        const struct woq_chat_options *o, struct woq_error *err);
void woq_chat_close(struct woq_chat *c); /* NULL is fine */

/* Appends the text of a conversation: a JSON array of messages, or a JSON object with one under
 * "messages", whose other members are variables of the template too ("tools", "documents" ...). */
int woq_chat_text(const struct woq_chat *c, const char *json, size_t bytes, struct woq_str *out,
                  struct woq_error *err);
/* The text's ids; special tokens come from the template alone: no BOS besides. */
int woq_chat_encode(const struct woq_chat *c, const struct woq_tokenizer *t, const char *json,
                    size_t bytes, struct woq_ids *out, struct woq_error *err);

typedef const char *woq_chat_name(void *ctx, size_t i); /* of a model's file i; NULL at the end */

/* All templates of a model as tokenizer_config.json lists them, [{"name", "template"}], a default
 * first; NULL if there is none. The caller frees. */
int woq_chat_list(struct woq_json **list, woq_tokenizer_file *file, woq_chat_name *name, void *ctx,
                  struct woq_error *err);

/* Calls fn on the JSON of each conversation of a file ("-": standard input): the file is one, or
 * each of its lines. */
int woq_chats_each(const char *path, woq_text_fn *fn, void *ctx, struct woq_error *err);

#endif
