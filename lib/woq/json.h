/* json.h -- JSON values. The only room that knows cJSON.
 *
 * A struct woq_json is a value inside a tree; the root owns the tree. Python's bare words are
 * read (Infinity as null, NaN as 0); duplicate keys keep the last value for `get` and are visible
 * when iterating. */
#ifndef WOQ_JSON_H
#define WOQ_JSON_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <woq/error.h>
#include <woq/util.h>

struct woq_json;
enum woq_json_type { WOQ_JNULL, WOQ_JBOOL, WOQ_JNUMBER, WOQ_JSTRING, WOQ_JARRAY, WOQ_JOBJECT };

/* Parses exactly `bytes` of text (trailing white space allowed). Strings holding NUL are refused.
 */
int woq_json_parse(struct woq_json **out, const char *text, size_t bytes, struct woq_error *err);
void woq_json_free(struct woq_json *root); /* NULL is fine */
struct woq_json *woq_json_copy(const struct woq_json *value);
/* Text of a value, malloc'ed, owned by the caller; NULL when out of memory. */
char *woq_json_print(const struct woq_json *value, bool pretty);
/* Appends text of any UTF-8 bytes, NUL too, as a JSON string with its quotes. WOQ_OK or WOQ_ENOMEM.
 */
int woq_json_quote(struct woq_str *out, const char *text, size_t bytes);

/* Reading. All accept NULL and then return NULL, 0, false or the default. */
enum woq_json_type woq_json_type(const struct woq_json *v); /* NULL -> WOQ_JNULL */
const char *woq_json_key(const struct woq_json *v);         /* member name, or NULL */
const char *woq_json_str(const struct woq_json *v);         /* NULL unless a string */
bool woq_json_num(const struct woq_json *v, double *out);
/* Non-negative integer without fraction, at most 2^53. */
bool woq_json_u64(const struct woq_json *v, uint64_t *out);
bool woq_json_bool(const struct woq_json *v, bool *out);
size_t woq_json_len(const struct woq_json *v); /* elements or members: O(n) */
struct woq_json *woq_json_first(const struct woq_json *v);
struct woq_json *woq_json_next(const struct woq_json *v);
#define woq_json_each(item, parent)                                                                \
    for (struct woq_json *item = woq_json_first(parent); item; item = woq_json_next(item))

struct woq_json *woq_json_get(const struct woq_json *obj, const char *key); /* O(members) */
const char *woq_json_get_str(const struct woq_json *obj, const char *key);  /* NULL if absent */
double woq_json_get_num(const struct woq_json *obj, const char *key, double otherwise);
int64_t woq_json_get_int(const struct woq_json *obj, const char *key, int64_t otherwise);
bool woq_json_get_bool(const struct woq_json *obj, const char *key, bool otherwise);

/* Building. `set` replaces a member of the same name; the parent takes ownership of `value`.
 * A NULL value (out of memory earlier) is ignored, so chains of calls need one check at the end. */
struct woq_json *woq_json_object(void);
struct woq_json *woq_json_array(void);
struct woq_json *woq_json_of_str(const char *s);
struct woq_json *woq_json_of_num(double x); /* printed shortest that reads back the same */
/* As Python prints a float, never as an integer: some loaders look at the type. For printing only.
 */
struct woq_json *woq_json_of_float(double x);
/* That text; x is finite. */
void woq_json_float_text(char text[32], double x);
struct woq_json *woq_json_of_bool(bool b);
struct woq_json *woq_json_of_null(void);
void woq_json_set(struct woq_json *obj, const char *key, struct woq_json *value);
void woq_json_set_str(struct woq_json *obj, const char *key, const char *s);
void woq_json_set_num(struct woq_json *obj, const char *key, double x);
void woq_json_set_bool(struct woq_json *obj, const char *key, bool b);
void woq_json_del(struct woq_json *obj, const char *key);
void woq_json_push(struct woq_json *array, struct woq_json *value);

#endif
