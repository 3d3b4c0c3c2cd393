/* regex.h -- regular expressions over UTF-8. The only room that knows PCRE2.
 *
 * Patterns see code points: '.', \w, \d, \s and [[:alpha:]] follow Unicode properties. A match that
 * backtracks without end is cut off and is an error, never a wrong answer. */
#ifndef WOQ_REGEX_H
#define WOQ_REGEX_H
#include <stdbool.h>
#include <stddef.h>
#include <woq/error.h>

struct woq_regex; /* immutable: one may serve many threads */

enum woq_regex_syntax {
    WOQ_REGEX_PCRE, /* as written: what people type on a command line */
    /* Oniguruma's Ruby syntax, which tokenizer.json uses: ^ and $ are line anchors, (?m) is "dot
     * matches newline", \h a hex digit, [a[b]] a union, \s is White_Space, scripts without
     * extensions. Constructs that cannot be said in PCRE2 ([a&&b], absent groups) are refused. */
    WOQ_REGEX_ONIGURUMA,
};

/* pattern: `bytes` bytes, need not end in NUL. The error names pattern, place and reason. */
int woq_regex_open(struct woq_regex **re, const char *pattern, size_t bytes,
                   enum woq_regex_syntax syntax, struct woq_error *err);
void woq_regex_close(struct woq_regex *re); /* NULL is fine */

/* Scratch of one thread, for any number of expressions. */
struct woq_match;
int woq_match_open(struct woq_match **m, struct woq_error *err);
void woq_match_close(struct woq_match *m); /* NULL is fine */

/* First match at or after byte `from`; text before it is visible to look-behind. `text` must be
 * valid UTF-8 and `from` on a character. WOQ_ITEM with [*start, *end), WOQ_OK when there is none.
 */
int woq_regex_match(const struct woq_regex *re, struct woq_match *m, const char *text, size_t bytes,
                    size_t from, size_t *start, size_t *end, struct woq_error *err);

/* Does it match anywhere in this string? 1, 0, or an error (invalid UTF-8, limits). */
int woq_regex_search(const struct woq_regex *re, const char *text, struct woq_error *err);

#endif
