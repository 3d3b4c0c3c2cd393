/* regex_internal.h -- Oniguruma's syntax said in PCRE2's. */
#ifndef WOQ_REGEX_INTERNAL_H
#define WOQ_REGEX_INTERNAL_H
#include <woq/error.h>
#include <woq/util.h>

/* Appends the PCRE2 form of `pattern` to *out; WOQ_EUNSUPPORTED for what has none. */
int woq_onig_to_pcre(struct woq_str *out, const char *pattern, size_t bytes, struct woq_error *err);

#endif
