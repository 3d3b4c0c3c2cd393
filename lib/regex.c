/* regex.c -- the wrapper around PCRE2, 8-bit, with UTF and UCP. JIT where the library has it: the
 * same matches, several times faster. */
#include <woq/packages.h>
#include <woq/regex.h>

#include "regex_internal.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>
#include <string.h>

/* A pre-tokenizer's expression needs a few steps per character; these limits let a run of a million
 * spaces through and stop (a+)+b within about a second. */
#define MATCH_LIMIT 20000000u
#define DEPTH_LIMIT 100000u
#define HEAP_LIMIT_KIB (256u * 1024u)
#define JIT_STACK_MIN (32u * 1024u)
#define JIT_STACK_MAX (16u * 1024u * 1024u)
#define MAX_PATTERN (64u * 1024u)

struct woq_regex {
    pcre2_code *code;
    char *source; /* as the user wrote it, for messages */
};

struct woq_match {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static int compile(struct woq_regex *re, const char *text, size_t bytes, uint32_t flags,
                   struct woq_error *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    PCRE2_SIZE at = 0;
    int code = 0;

    if (!context)
        return woq_fail_nomem(err, sizeof(*re));
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_max_pattern_length(context, MAX_PATTERN * 4);
    re->code =
        pcre2_compile((PCRE2_SPTR)text, bytes, flags | PCRE2_UTF | PCRE2_UCP, &code, &at, context);
    pcre2_compile_context_free(context);
    if (!re->code) {
        PCRE2_UCHAR why[128];

        pcre2_get_error_message(code, why, sizeof(why));
        return woq_fail(err, WOQ_EDATA, NULL, "regular expression '%.200s', byte %zu: %s", text,
                        (size_t)at, (const char *)why);
    }
    /* No JIT in this build or on this processor is no error: the interpreter gives the same. */
    (void)pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE);
    return WOQ_OK;
}

int woq_regex_open(struct woq_regex **out, const char *pattern, size_t bytes,
                   enum woq_regex_syntax syntax, struct woq_error *err)
{
    struct woq_regex *re;
    struct woq_str text = { 0 };
    int rc = WOQ_OK;

    if (bytes > MAX_PATTERN)
        return woq_fail(err, WOQ_EDATA, NULL, "regular expression of %zu bytes, limit %u", bytes,
                        MAX_PATTERN);
    re = calloc(1, sizeof(*re));
    if (!re)
        return woq_fail_nomem(err, sizeof(*re));
    re->source = malloc(bytes + 1);
    if (!re->source) {
        rc = woq_fail_nomem(err, bytes + 1);
        goto out;
    }
    memcpy(re->source, pattern, bytes);
    re->source[bytes] = '\0';
    if (syntax == WOQ_REGEX_ONIGURUMA)
        rc = woq_onig_to_pcre(&text, pattern, bytes, err);
    else if (woq_str_add(&text, pattern, bytes) < 0)
        rc = woq_fail_nomem(err, bytes);
    if (rc == WOQ_OK)
        rc = compile(re, text.s ? text.s : "", text.len,
                     syntax == WOQ_REGEX_ONIGURUMA ? PCRE2_MULTILINE : 0, err);
out:
    woq_str_release(&text);
    if (rc < 0)
        woq_regex_close(re);
    else
        *out = re;
    return rc;
}

void woq_regex_close(struct woq_regex *re)
{
    if (!re)
        return;
    pcre2_code_free(re->code);
    free(re->source);
    free(re);
}

int woq_match_open(struct woq_match **out, struct woq_error *err)
{
    struct woq_match *m = calloc(1, sizeof(*m));

    if (!m)
        return woq_fail_nomem(err, sizeof(*m));
    m->data = pcre2_match_data_create(1, NULL);
    m->context = pcre2_match_context_create(NULL);
    if (!m->data || !m->context) {
        woq_match_close(m);
        return woq_fail_nomem(err, sizeof(*m));
    }
    pcre2_set_match_limit(m->context, MATCH_LIMIT);
    pcre2_set_depth_limit(m->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(m->context, HEAP_LIMIT_KIB);
    m->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
    if (m->stack)
        pcre2_jit_stack_assign(m->context, NULL, m->stack);
    *out = m;
    return WOQ_OK;
}

void woq_match_close(struct woq_match *m)
{
    if (!m)
        return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    free(m);
}

static int run(const struct woq_regex *re, struct woq_match *m, const char *text, size_t bytes,
               size_t from, uint32_t flags, struct woq_error *err)
{
    int rc = pcre2_match(re->code, (PCRE2_SPTR)text, bytes, from, flags, m->data, m->context);

    /* JIT's own stack has a fixed size; the interpreter takes heap up to its limit. */
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(re->code, (PCRE2_SPTR)text, bytes, from, flags | PCRE2_NO_JIT, m->data,
                         m->context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return WOQ_OK;
    if (rc < 0) {
        PCRE2_UCHAR why[128];

        pcre2_get_error_message(rc, why, sizeof(why));
        return woq_fail(err, WOQ_EDATA, NULL, "regular expression '%.200s' on text at byte %zu: %s",
                        re->source, from, (const char *)why);
    }
    return WOQ_ITEM;
}

int woq_regex_match(const struct woq_regex *re, struct woq_match *m, const char *text, size_t bytes,
                    size_t from, size_t *start, size_t *end, struct woq_error *err)
{
    const int rc = run(re, m, text, bytes, from, PCRE2_NO_UTF_CHECK, err);

    if (rc == WOQ_ITEM) {
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->data);

        /* \K inside a look-ahead can put the start behind the end. */
        if (at[0] > at[1] || at[0] < from)
            return woq_fail(err, WOQ_EDATA, NULL,
                            "regular expression '%.200s' matches backwards at byte %zu", re->source,
                            from);
        *start = at[0];
        *end = at[1];
    }
    return rc;
}

int woq_regex_search(const struct woq_regex *re, const char *text, struct woq_error *err)
{
    struct woq_match *m = NULL;
    int rc = woq_match_open(&m, err);

    if (rc == WOQ_OK && m)
        rc = run(re, m, text, strlen(text), 0, 0, err);
    woq_match_close(m);
    return rc;
}

const char *woq_version_pcre2(void)
{
    static char text[64]; /* at least 24 bytes are wanted by pcre2_config */

    if (!text[0] && pcre2_config(PCRE2_CONFIG_VERSION, NULL) <= (int)sizeof text)
        (void)pcre2_config(PCRE2_CONFIG_VERSION, text);
    return text;
}
