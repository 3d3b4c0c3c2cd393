/* gen.c -- frames from the operands of woq-gen. */
#include "gen_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Length of the JSON object that starts at text, 0 if it never ends. */
static size_t object_bytes(const char *text)
{
    int depth = 0;
    bool quoted = false;

    for (size_t i = 0; text[i]; i++) {
        const char c = text[i];
        if (quoted && c == '\\' && text[i + 1]) {
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && (c == '{' || c == '[')) {
            depth++;
        } else if (!quoted && (c == '}' || c == ']') && --depth == 0) {
            return i + 1;
        }
    }
    return 0;
}

/* Moves the members of the object at *text into the frame's meta. */
static int take_meta(struct woq_frame *f, const char **text, struct woq_error *err)
{
    const size_t n = object_bytes(*text);
    struct woq_json *root;

    if (!n)
        return woq_fail(err, WOQ_EUSAGE, NULL, "'%.60s': no end of the meta object", *text);
    if (woq_json_parse(&root, *text, n, err) < 0) {
        if (err)
            err->status = WOQ_EUSAGE;
        return WOQ_EUSAGE;
    }
    woq_json_each(item, root)
        woq_json_set(woq_frame_edit(f), woq_json_key(item), woq_json_copy(item));
    woq_json_free(root);
    *text += n;
    return WOQ_OK;
}

/* End of one ';' separated part. */
static size_t part_bytes(const char *text)
{
    return strcspn(text, ";");
}

static int take_arrays(struct woq_frame *f, const char *text, struct woq_error *err)
{
    int rc = WOQ_OK;

    while (*text == ';' && rc == WOQ_OK) {
        const size_t n = part_bytes(++text);
        char *part = malloc(n + 1), *colon;
        if (!part)
            return woq_fail_nomem(err, n + 1);
        memcpy(part, text, n);
        part[n] = '\0';
        colon = strchr(part, ':');
        if (colon)
            *colon = '\0';
        rc = colon ? woq_gen_array(f, part, colon + 1, err)
                   : woq_fail(err, WOQ_EUSAGE, NULL, "array '%.60s': want NAME:DTYPE:VALUES", part);
        free(part);
        text += n;
    }
    if (rc == WOQ_OK && *text)
        return woq_fail(err, WOQ_EUSAGE, NULL, "unexpected '%.60s', want ';ARRAY:DTYPE:VALUES'",
                        text);
    return rc;
}

/* @TYPE{META};ARRAY... */
static int gen_typed(struct woq_frame *f, const char *text, struct woq_error *err)
{
    char type[5] = "";
    int rc;

    for (size_t i = 0; i < 4; i++) {
        if (!isalpha((unsigned char)text[i]))
            return woq_fail(err, WOQ_EUSAGE, NULL, "'@%.10s': want four letters as the type", text);
        type[i] = text[i];
    }
    woq_frame_begin(f, type);
    text += 4;
    if (*text == '{' && (rc = take_meta(f, &text, err)) < 0)
        return rc;
    /* What describes another frame says so, unless it must be understood anyway. */
    if (islower((unsigned char)type[0]) && woq_json_get_str(f->meta, "of"))
        f->flags |= WOQ_FRAME_OF;
    return take_arrays(f, text, err);
}

/* hess:of=NAME;ARRAY... */
static int gen_of(struct woq_frame *f, const char *text, struct woq_error *err)
{
    char type[5] = "";
    const char *of = text + strlen("hess:of=");
    const size_t n = part_bytes(of);
    char *name = malloc(n + 1);

    if (!name)
        return woq_fail_nomem(err, n + 1);
    memcpy(type, text, 4);
    memcpy(name, of, n);
    name[n] = '\0';
    woq_frame_begin(f, type);
    f->flags |= WOQ_FRAME_OF;
    woq_json_set_str(woq_frame_edit(f), "of", name);
    free(name);
    return take_arrays(f, of + n, err);
}

static int gen_marker(struct woq_frame *f, const char *text, struct woq_error *err)
{
    char type[5] = "", *end;
    const unsigned long block = strtoul(text + 5, &end, 10);

    if (!isdigit((unsigned char)text[5]) || *end)
        return woq_fail(err, WOQ_EUSAGE, NULL, "'%.60s': want %.4s:N, the number of a block", text,
                        text);
    memcpy(type, text, 4);
    woq_frame_begin(f, type);
    woq_json_set_num(woq_frame_edit(f), "block", (double)block);
    return WOQ_OK;
}

static int set_name(struct woq_frame *f, const char *text, size_t n, struct woq_error *err)
{
    char *name = malloc(n + 1);

    if (!name)
        return woq_fail_nomem(err, n + 1);
    memcpy(name, text, n);
    name[n] = '\0';
    woq_json_set_str(woq_frame_edit(f), "name", name);
    free(name);
    return WOQ_OK;
}

/* NAME{META}:DTYPE[SHAPE]:VALUES, or NAME{META}:raw:BYTES */
static int gen_tensor(struct woq_frame *f, const char *text, struct woq_error *err)
{
    const size_t n = strcspn(text, ":{");
    const char *at = text + n;
    uint64_t bytes;
    void *data;
    int rc;

    if (!n || !*at)
        return woq_fail(err, WOQ_EUSAGE, "see woq-gen(1)",
                        "operand '%.60s': want NAME:DTYPE:VALUES or @TYPE...", text);
    woq_frame_begin(f, "TENS");
    if ((rc = set_name(f, text, n, err)) < 0 || (*at == '{' && (rc = take_meta(f, &at, err)) < 0))
        return rc;
    if (*at != ':')
        return woq_fail(err, WOQ_EUSAGE, NULL, "operand '%.60s': want ':' before '%.20s'", text,
                        at);
    if (strncmp(at, ":raw:", 5) != 0)
        return woq_gen_array(f, "data", at + 1, err);
    memcpy(f->type, "xtra", 4);
    bytes = strlen(at + 5);
    if ((rc = woq_frame_alloc(f, "data", WOQ_U8, 1, &bytes, &data, err)) == WOQ_OK)
        memcpy(data, at + 5, (size_t)bytes);
    return rc;
}

int woq_gen_frame(struct woq_frame *f, const char *text, struct woq_error *err)
{
    if (*text == '@')
        return gen_typed(f, text + 1, err);
    if (!strncmp(text, "hess:of=", 8) || !strncmp(text, "stat:of=", 8))
        return gen_of(f, text, err);
    if ((!strncmp(text, "BLKB:", 5) || !strncmp(text, "BLKE:", 5)) && !strchr(text + 5, ':'))
        return gen_marker(f, text, err);
    return gen_tensor(f, text, err);
}
