/* json.c -- JSON through cJSON, kept out of every header. A struct woq_json is a cJSON node.
 *
 * Two repairs around the parser: NaN and Infinity, which Python writes, become null; and a string
 * with an escaped NUL is refused, because the parser would silently cut it there. */
#include <woq/json.h>
#include <woq/packages.h>

#include <cjson/cJSON.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cJSON *in(const struct woq_json *v)
{
    return (const cJSON *)(const void *)v;
}

static struct woq_json *out(const cJSON *v)
{
    return (struct woq_json *)(uintptr_t)v;
}

/* Overwrites a bare word of Python in place; returns the bytes to skip, 0 if there is none. */
static size_t python_word(char *s, size_t left)
{
    static const char *const words[] = { "-Infinity", "Infinity", "NaN" };

    for (size_t i = 0; i < 3; i++) {
        const size_t n = strlen(words[i]);

        if (left < n || memcmp(s, words[i], n) != 0)
            continue;
        memset(s, ' ', n);
        if (n >= 4)
            memcpy(s, "null", 4);
        else
            memcpy(s, " 0 ", 3); /* NaN has no room for null */
        return n;
    }
    return 0;
}

static int repair(char *s, size_t bytes, struct woq_error *err)
{
    bool string = false;

    for (size_t i = 0; i < bytes; i++) {
        if (s[i] == 0)
            return woq_fail(err, WOQ_EDATA, NULL, "JSON holds a NUL byte at byte %zu", i);
        if (string && s[i] == '\\') {
            if (bytes - i >= 6 && memcmp(s + i, "\\u0000", 6) == 0)
                return woq_fail(err, WOQ_EDATA, NULL,
                                "a JSON string holds an escaped NUL at byte %zu", i);
            i++;
        } else if (s[i] == '"') {
            string = !string;
        } else if (!string && (s[i] == 'N' || s[i] == 'I' || s[i] == '-')) {
            const size_t n = python_word(s + i, bytes - i);

            i += n ? n - 1 : 0;
        }
    }
    return WOQ_OK;
}

int woq_json_parse(struct woq_json **root, const char *text, size_t bytes, struct woq_error *err)
{
    const char *end = NULL;
    char *copy = malloc(bytes + 1);
    cJSON *v;
    int rc;

    if (!copy)
        return woq_fail_nomem(err, bytes + 1);
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    rc = repair(copy, bytes, err);
    if (rc) {
        free(copy);
        return rc;
    }
    v = cJSON_ParseWithLengthOpts(copy, bytes + 1, &end, 0);
    if (v)
        while (end < copy + bytes && isspace((unsigned char)*end))
            end++;
    if (!v || end != copy + bytes) {
        const size_t at = end ? (size_t)(end - copy) : 0;

        cJSON_Delete(v);
        free(copy);
        return woq_fail(err, WOQ_EDATA, NULL, "not valid JSON near byte %zu of %zu", at, bytes);
    }
    free(copy);
    *root = out(v);
    return WOQ_OK;
}

void woq_json_free(struct woq_json *root)
{
    cJSON_Delete((cJSON *)(void *)root);
}

struct woq_json *woq_json_copy(const struct woq_json *v)
{
    return v ? out(cJSON_Duplicate(in(v), 1)) : NULL;
}

char *woq_json_print(const struct woq_json *v, bool pretty)
{
    if (!v)
        return NULL;
    return pretty ? cJSON_Print(in(v)) : cJSON_PrintUnformatted(in(v));
}

enum woq_json_type woq_json_type(const struct woq_json *v)
{
    if (cJSON_IsBool(in(v)))
        return WOQ_JBOOL;
    if (cJSON_IsNumber(in(v)))
        return WOQ_JNUMBER;
    if (cJSON_IsString(in(v)))
        return WOQ_JSTRING;
    if (cJSON_IsArray(in(v)))
        return WOQ_JARRAY;
    return cJSON_IsObject(in(v)) ? WOQ_JOBJECT : WOQ_JNULL;
}

const char *woq_json_key(const struct woq_json *v)
{
    return v ? in(v)->string : NULL;
}

const char *woq_json_str(const struct woq_json *v)
{
    return cJSON_IsString(in(v)) ? in(v)->valuestring : NULL;
}

bool woq_json_num(const struct woq_json *v, double *x)
{
    if (!cJSON_IsNumber(in(v)) || !isfinite(in(v)->valuedouble))
        return false;
    *x = in(v)->valuedouble;
    return true;
}

bool woq_json_u64(const struct woq_json *v, uint64_t *x)
{
    double d;

    if (!woq_json_num(v, &d) || d < 0 || d > 9007199254740992.0 || floor(d) < d)
        return false;
    *x = (uint64_t)d;
    return true;
}

bool woq_json_bool(const struct woq_json *v, bool *b)
{
    if (!cJSON_IsBool(in(v)))
        return false;
    *b = cJSON_IsTrue(in(v)) != 0;
    return true;
}

size_t woq_json_len(const struct woq_json *v)
{
    size_t n = 0;

    woq_json_each(item, v) n++;
    return n;
}

struct woq_json *woq_json_first(const struct woq_json *v)
{
    return v && (cJSON_IsArray(in(v)) || cJSON_IsObject(in(v))) ? out(in(v)->child) : NULL;
}

struct woq_json *woq_json_next(const struct woq_json *v)
{
    return v ? out(in(v)->next) : NULL;
}

struct woq_json *woq_json_get(const struct woq_json *obj, const char *key)
{
    struct woq_json *found = NULL;

    if (!cJSON_IsObject(in(obj)))
        return NULL;
    woq_json_each(item, obj) if (strcmp(woq_json_key(item), key) == 0) found =
        item; /* the last of duplicates, as Python has it */
    return found;
}

const char *woq_json_get_str(const struct woq_json *obj, const char *key)
{
    return woq_json_str(woq_json_get(obj, key));
}

double woq_json_get_num(const struct woq_json *obj, const char *key, double otherwise)
{
    double x;

    return woq_json_num(woq_json_get(obj, key), &x) ? x : otherwise;
}

int64_t woq_json_get_int(const struct woq_json *obj, const char *key, int64_t otherwise)
{
    double x;

    if (!woq_json_num(woq_json_get(obj, key), &x) || fabs(x) > 9007199254740992.0 || floor(x) < x)
        return otherwise;
    return (int64_t)x;
}

bool woq_json_get_bool(const struct woq_json *obj, const char *key, bool otherwise)
{
    bool b;

    return woq_json_bool(woq_json_get(obj, key), &b) ? b : otherwise;
}

struct woq_json *woq_json_object(void)
{
    return out(cJSON_CreateObject());
}

struct woq_json *woq_json_array(void)
{
    return out(cJSON_CreateArray());
}

struct woq_json *woq_json_of_str(const char *s)
{
    return out(cJSON_CreateString(s));
}

struct woq_json *woq_json_of_num(double x)
{
    return out(cJSON_CreateNumber(x));
}

void woq_json_float_text(char text[32], double x)
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    if (!strpbrk(text, ".e"))
        memcpy(text + strlen(text), ".0", 3);
}

struct woq_json *woq_json_of_float(double x)
{
    char text[32];

    woq_json_float_text(text, x);
    return out(cJSON_CreateRaw(text));
}

struct woq_json *woq_json_of_bool(bool b)
{
    return out(cJSON_CreateBool(b));
}

struct woq_json *woq_json_of_null(void)
{
    return out(cJSON_CreateNull());
}

void woq_json_set(struct woq_json *obj, const char *key, struct woq_json *value)
{
    cJSON *o = (cJSON *)(void *)obj, *v = (cJSON *)(void *)value;

    if (!o || !v) {
        cJSON_Delete(v);
        return;
    }
    if (cJSON_GetObjectItemCaseSensitive(o, key)) {
        cJSON_ReplaceItemInObjectCaseSensitive(o, key, v);
        return;
    }
    if (!cJSON_AddItemToObject(o, key, v))
        cJSON_Delete(v);
}

void woq_json_set_str(struct woq_json *obj, const char *key, const char *s)
{
    woq_json_set(obj, key, woq_json_of_str(s));
}

void woq_json_set_num(struct woq_json *obj, const char *key, double x)
{
    woq_json_set(obj, key, woq_json_of_num(x));
}

void woq_json_set_bool(struct woq_json *obj, const char *key, bool b)
{
    woq_json_set(obj, key, woq_json_of_bool(b));
}

void woq_json_del(struct woq_json *obj, const char *key)
{
    cJSON_DeleteItemFromObjectCaseSensitive((cJSON *)(void *)obj, key);
}

void woq_json_push(struct woq_json *array, struct woq_json *value)
{
    if (!array || !value || !cJSON_AddItemToArray((cJSON *)(void *)array, (cJSON *)(void *)value))
        woq_json_free(value);
}

const char *woq_version_cjson(void)
{
    return cJSON_Version();
}

int woq_json_quote(struct woq_str *str, const char *text, size_t bytes)
{
    size_t from = 0;
    int rc = woq_str_add(str, "\"", 1);

    for (size_t i = 0; rc == WOQ_OK && i < bytes; i++) {
        const unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        rc = woq_str_add(str, text + from, i - from);
        if (rc == WOQ_OK)
            rc = woq_str_addf(str, c < 0x20 ? "\\u%04x" : "\\%c", c);
        from = i + 1;
    }
    if (rc == WOQ_OK)
        rc = woq_str_add(str, text + from, bytes - from);
    return rc == WOQ_OK ? woq_str_add(str, "\"", 1) : rc;
}
