/* golden.h -- files of tests/golden, and ids compared with those in them, for the unit tests of
 * tokenizers and templates. What is wrong with a file fails the test. */
#ifndef WOQ_TEST_GOLDEN_H
#define WOQ_TEST_GOLDEN_H
#include <woq/json.h>
#include <woq/tokenizer.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The caller frees. */
static inline char *read_text(const char *path, size_t *bytes)
{
    struct woq_error err = { 0 };
    char *text = NULL;

    if (woq_file_read(path, 0, &text, bytes, &err) < 0)
        fail_msg("%s: %s", path, err.what);
    return text;
}

static inline struct woq_json *read_json(const char *path)
{
    struct woq_error err = { 0 };
    struct woq_json *v = NULL;
    size_t bytes;
    char *text = read_text(path, &bytes);

    if (woq_json_parse(&v, text, bytes, &err) < 0)
        fail_msg("%s: %s", path, err.what);
    free(text);
    return v;
}

static inline bool same_ids(const struct woq_ids *ids, const struct woq_json *want)
{
    size_t i = 0;

    woq_json_each(item, want)
    {
        uint64_t id;

        if (!woq_json_u64(item, &id) || i >= ids->n || ids->ids[i++] != id)
            return false;
    }
    return i == ids->n;
}

#endif
