/* chat.c -- see chat.h. */
#include <woq/chat.h>
#include <woq/json.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct woq_chat {
    struct woq_template *plain, *tools; /* tools: NULL where there is but one */
    struct woq_str vars;                /* members of a JSON object, each with a comma behind it */
    const struct woq_chat_options *o;
};

/* ------------------------------------------------------------------ a model's templates */
struct files {
    woq_tokenizer_file *file;
    void *ctx;
    struct woq_json *config, *map, *old; /* parsed, NULL if absent */
    const char *jinja;                   /* chat_template.jinja, or NULL */
    size_t jinja_bytes;
};

static int load_json(const struct files *f, const char *name, struct woq_json **v,
                     struct woq_error *err)
{
    size_t bytes = 0;
    const char *text = f->file ? f->file(f->ctx, name, &bytes) : NULL;
    const int rc = text ? woq_json_parse(v, text, bytes, err) : WOQ_OK;

    return rc < 0 ? woq_error_at(err, "%s", name) : rc;
}

static int load(struct files *f, woq_tokenizer_file *file, void *ctx, struct woq_error *err)
{
    int rc;

    *f = (struct files){ .file = file, .ctx = ctx };
    f->jinja = file ? file(ctx, "chat_template.jinja", &f->jinja_bytes) : NULL;
    if ((rc = load_json(f, "tokenizer_config.json", &f->config, err)) == WOQ_OK &&
        (rc = load_json(f, "special_tokens_map.json", &f->map, err)) == WOQ_OK)
        rc = load_json(f, "chat_template.json", &f->old, err);
    return rc;
}

static void unload(struct files *f)
{
    woq_json_free(f->config);
    woq_json_free(f->map);
    woq_json_free(f->old);
}

/* The text of template `name` ("default": also of the only one), or NULL. Those in files of their
 * own hide those of tokenizer_config.json. */
static const char *template_text(const struct files *f, const char *name, size_t *bytes)
{
    const bool only = !strcmp(name, "default");
    const struct woq_json *list = woq_json_get(f->config, "chat_template");
    char path[256];
    const char *text = NULL;

    if (!only &&
        (size_t)snprintf(path, sizeof path, WOQ_CHAT_FOLDER "/%s.jinja", name) < sizeof path)
        text = f->file(f->ctx, path, bytes);
    if (text)
        return text;
    if (f->jinja) {
        *bytes = f->jinja_bytes;
        return only ? f->jinja : NULL;
    }
    if (only && !(text = woq_json_get_str(f->old, "chat_template")))
        text = woq_json_str(list);
    if (!text)
        woq_json_each(item, list)
        {
            const char *is = woq_json_get_str(item, "name");

            if (is && !strcmp(is, name))
                text = woq_json_get_str(item, "template");
        }
    *bytes = text ? strlen(text) : 0;
    return text;
}

static int open_template(struct woq_template **t, const char *text, size_t bytes,
                         struct woq_error *err)
{
    const int rc = woq_template_open(t, text, bytes, err);

    return rc < 0 ? woq_error_at(err, "chat template") : rc;
}

static int open_file(struct woq_template **t, const char *path, struct woq_error *err)
{
    char *text = NULL;
    size_t bytes;
    int rc = woq_file_read(path, 0, &text, &bytes, err);

    if (rc == WOQ_OK && (rc = woq_template_open(t, text, bytes, err)) < 0)
        woq_error_at(err, "%s", path);
    free(text);
    return rc;
}

static int open_templates(struct woq_chat *c, const struct files *f, struct woq_error *err)
{
    const char *name = c->o->chat_template, *text;
    size_t bytes = 0;
    int rc;

    if (name && access(name, F_OK) == 0)
        return open_file(&c->plain, name, err);
    text = template_text(f, name ? name : "default", &bytes);
    if (!text && name)
        return woq_fail(err, WOQ_EUSAGE, NULL,
                        "--chat-template %s: no such file, and the model has none of that name",
                        name);
    if (!text)
        return woq_fail(err, WOQ_ETYPE, "give one with --chat-template",
                        "the model has no chat template");
    rc = open_template(&c->plain, text, bytes, err);
    if (rc == WOQ_OK && !name && (text = template_text(f, "tool_use", &bytes)))
        rc = open_template(&c->tools, text, bytes, err);
    return rc;
}

/* Appends template `name`, once. */
static int list_template(struct woq_json *list, const struct files *f, const char *name,
                         struct woq_error *err)
{
    size_t bytes = 0;
    const char *text = template_text(f, name, &bytes);
    char *copy;

    woq_json_each(item, list)
    {
        if (!strcmp(woq_json_get_str(item, "name"), name))
            return WOQ_OK;
    }
    if (!text)
        return WOQ_OK;
    if (!(copy = strndup(text, bytes)))
        return woq_fail_nomem(err, bytes);
    struct woq_json *item = woq_json_object();

    woq_json_set_str(item, "name", name);
    woq_json_set_str(item, "template", copy);
    woq_json_push(list, item);
    free(copy);
    return WOQ_OK;
}

int woq_chat_list(struct woq_json **out, woq_tokenizer_file *file, woq_chat_name *name, void *ctx,
                  struct woq_error *err)
{
    static const char folder[] = WOQ_CHAT_FOLDER "/", end[] = ".jinja";
    struct woq_json *list = woq_json_array();
    struct files f;
    const char *path;
    int rc = load(&f, file, ctx, err);

    if (rc == WOQ_OK)
        rc = list_template(list, &f, "default", err);
    for (size_t i = 0; rc == WOQ_OK && (path = name(ctx, i)); i++) {
        const size_t n = strlen(path), a = sizeof folder - 1, b = sizeof end - 1;
        char stem[256];

        if (n <= a + b || strncmp(path, folder, a) != 0 || strcmp(path + n - b, end) != 0)
            continue;
        (void)snprintf(stem, sizeof stem, "%.*s", (int)(n - a - b), path + a);
        rc = list_template(list, &f, stem, err);
    }
    woq_json_each(item, woq_json_get(f.config, "chat_template"))
    {
        const char *is = woq_json_get_str(item, "name");

        if (rc == WOQ_OK && is)
            rc = list_template(list, &f, is, err);
    }
    unload(&f);
    if (rc < 0 || !woq_json_len(list)) {
        woq_json_free(list);
        list = NULL;
    }
    *out = list;
    return rc;
}

/* ------------------------------------------------------------------ special tokens */
/* What a class has where tokenizer_config.json does not say. */
static const char *class_token(const char *class, const char *name)
{
    static const struct {
        const char *class, *bos, *eos, *unk, *pad;
    } classes[] = {
        { "LlamaTokenizer", "<s>", "</s>", "<unk>", NULL },
        { "CodeLlamaTokenizer", "<s>", "</s>", "<unk>", NULL },
        { "GemmaTokenizer", "<bos>", "<eos>", "<unk>", "<pad>" },
        { "CohereTokenizer", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", NULL },
        { "GPT2Tokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL },
        { "CodeGenTokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL },
        { "GPTNeoXTokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL },
        { "Qwen2Tokenizer", NULL, "<|endoftext|>", "<|endoftext|>", "<|endoftext|>" },
        { "BloomTokenizer", "<s>", "</s>", "<unk>", "<pad>" },
    };

    for (size_t i = 0; class && i < sizeof classes / sizeof classes[0]; i++) {
        const size_t n = strlen(classes[i].class);

        if (strncmp(class, classes[i].class, n) != 0 || (class[n] && strcmp(class + n, "Fast")))
            continue;
        return !strcmp(name, "bos_token")   ? classes[i].bos
               : !strcmp(name, "eos_token") ? classes[i].eos
               : !strcmp(name, "unk_token") ? classes[i].unk
               : !strcmp(name, "pad_token") ? classes[i].pad
                                            : NULL;
    }
    return NULL;
}

static int add_var(struct woq_chat *c, const char *name, const char *text, struct woq_error *err)
{
    if (text &&
        (woq_str_addf(&c->vars, "\"%s\":", name) < 0 ||
         woq_json_quote(&c->vars, text, strlen(text)) < 0 || woq_str_add(&c->vars, ",", 1) < 0))
        return woq_fail_nomem(err, c->vars.len);
    return WOQ_OK;
}

/* A token is its text, or an object that has it as "content"; null: there is none. */
static int special_tokens(struct woq_chat *c, const struct files *f, struct woq_error *err)
{
    static const char *const names[] = { "bos_token", "eos_token", "unk_token", "sep_token",
                                         "pad_token", "cls_token", "mask_token" };
    const char *class = woq_json_get_str(f->config, "tokenizer_class");
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < sizeof names / sizeof names[0]; i++) {
        const struct woq_json *v = woq_json_get(f->config, names[i]);
        const char *text;

        v = v ? v : woq_json_get(f->map, names[i]);
        text = woq_json_str(v) ? woq_json_str(v) : woq_json_get_str(v, "content");
        rc = add_var(c, names[i], v ? text : class_token(class, names[i]), err);
    }
    return rc;
}

int woq_chat_from_files(struct woq_chat **out, woq_tokenizer_file *file, void *ctx,
                        const struct woq_chat_options *o, struct woq_error *err)
{
    struct woq_chat *c = calloc(1, sizeof *c);
    struct woq_json *vars = NULL;
    struct files f;
    int rc;

    if (!c)
        return woq_fail_nomem(err, sizeof *c);
    c->o = o;
    if ((rc = load(&f, file, ctx, err)) == WOQ_OK && (rc = open_templates(c, &f, err)) == WOQ_OK)
        rc = special_tokens(c, &f, err);
    if (rc == WOQ_OK && o->vars && (rc = woq_json_parse(&vars, o->vars, strlen(o->vars), err)) < 0)
        woq_error_at(err, "--chat-vars");
    else if (rc == WOQ_OK && o->vars && woq_json_type(vars) != WOQ_JOBJECT)
        rc = woq_fail(err, WOQ_EUSAGE, NULL, "--chat-vars: want a JSON object");
    woq_json_free(vars);
    unload(&f);
    if (rc < 0)
        woq_chat_close(c);
    else
        *out = c;
    return rc;
}

void woq_chat_close(struct woq_chat *c)
{
    if (!c)
        return;
    woq_template_close(c->plain);
    woq_template_close(c->tools);
    woq_str_release(&c->vars);
    free(c);
}

/* ------------------------------------------------------------------ conversations */
/* Are there messages, and are there tools for them? */
static int look(const char *json, size_t bytes, bool *array, bool *tools, struct woq_error *err)
{
    static const char hint[] =
        "a conversation is [{\"role\":..,\"content\":..},..] or {\"messages\":[..]}";
    struct woq_json *v = NULL;
    const struct woq_json *messages;
    int rc = woq_json_parse(&v, json, bytes, err);
    size_t n = 0;

    if (rc < 0)
        return rc;
    *array = woq_json_type(v) == WOQ_JARRAY;
    *tools = woq_json_len(woq_json_get(v, "tools")) > 0;
    messages = *array ? v : woq_json_get(v, "messages");
    if (woq_json_type(messages) != WOQ_JARRAY || !woq_json_first(messages))
        rc = woq_fail(err, WOQ_EDATA, hint, "no messages");
    woq_json_each(item, messages)
    {
        if (rc == WOQ_OK && woq_json_type(item) != WOQ_JOBJECT)
            rc = woq_fail(err, WOQ_EDATA, hint, "message %zu is not a JSON object", n);
        n++;
    }
    woq_json_free(v);
    return rc;
}

/* The members of a JSON object as they are written, with a comma before them. */
static int add_members(struct woq_str *out, const char *json, size_t bytes)
{
    const char *from = memchr(json, '{', bytes), *to = json + bytes;

    while (to > from && *--to != '}')
        ;
    for (from++; from < to && strchr(" \t\r\n", *from);)
        from++;
    if (from == to)
        return WOQ_OK;
    return woq_str_add(out, ",", 1) < 0 ? WOQ_ENOMEM : woq_str_add(out, from, (size_t)(to - from));
}

/* All variables as one object: later members count. What is written stays as it is, so that 1.0
 * and 1 remain two things. */
static int variables(const struct woq_chat *c, const char *json, size_t bytes, bool array,
                     struct woq_str *out)
{
    int rc =
        woq_str_addf(out, "{%s\"tools\":null,\"documents\":null,\"add_generation_prompt\":%s",
                     c->vars.s ? c->vars.s : "", c->o->add_generation_prompt ? "true" : "false");

    if (rc == WOQ_OK && array && (rc = woq_str_add(out, ",\"messages\":", 12)) == WOQ_OK)
        rc = woq_str_add(out, json, bytes);
    else if (rc == WOQ_OK)
        rc = add_members(out, json, bytes);
    if (rc == WOQ_OK && c->o->vars)
        rc = add_members(out, c->o->vars, strlen(c->o->vars));
    return rc == WOQ_OK ? woq_str_add(out, "}", 1) : rc;
}

int woq_chat_text(const struct woq_chat *c, const char *json, size_t bytes, struct woq_str *out,
                  struct woq_error *err)
{
    struct woq_str vars = { 0 };
    bool array = false, tools = false;
    int rc = look(json, bytes, &array, &tools, err);

    if (rc == WOQ_OK && variables(c, json, bytes, array, &vars) < 0)
        rc = woq_fail_nomem(err, bytes);
    if (rc == WOQ_OK)
        rc = woq_template_render(tools && c->tools ? c->tools : c->plain, vars.s, vars.len,
                                 c->o->date, out, err);
    woq_str_release(&vars);
    return rc;
}

int woq_chat_encode(const struct woq_chat *c, const struct woq_tokenizer *t, const char *json,
                    size_t bytes, struct woq_ids *out, struct woq_error *err)
{
    struct woq_str text = { 0 };
    int rc = woq_chat_text(c, json, bytes, &text, err);

    if (rc == WOQ_OK)
        rc = woq_tokenizer_encode(t, text.s ? text.s : "", text.len, false, out, err);
    woq_str_release(&text);
    return rc;
}
