/* rules.h -- which weight gets which scheme: what woq-scheme writes into the meta of tensors. */
#ifndef WOQ_RULES_H
#define WOQ_RULES_H
#include <woq/frame.h>

struct woq_rules; /* an ordered list; a later rule wins field by field */

enum woq_rule_kind {
    WOQ_RULE_GLOB,  /* shell pattern over the whole name of the tensor */
    WOQ_RULE_REGEX, /* PCRE, anywhere in the name unless anchored */
    WOQ_RULE_ROLE,  /* a role such as mlp.down, or "linear" = every linear weight of a block */
    WOQ_RULE_NAME,  /* name of a tensor or of its layer (without .weight), else a regular expression
                     * that matches one of the two as a whole: keys of INC's and AutoRound's files */
};

int woq_rules_open(struct woq_rules **r, struct woq_error *err);
void woq_rules_close(struct woq_rules *r); /* NULL is fine */

/* "PATTERN key=value ..." as woq_scheme_set takes them, at least one. */
int woq_rules_add(struct woq_rules *r, enum woq_rule_kind kind, const char *text,
                  struct woq_error *err);
/* A JSON file: an array of {"match" | "regex" | "role" | "name": PATTERN, KEY: VALUE, ...}, or an
 * object {NAME: {KEY: VALUE, ...}}, in order. */
int woq_rules_add_file(struct woq_rules *r, const char *path, struct woq_error *err);
size_t woq_rules_count(const struct woq_rules *r);

/* Merges what the rules say about this weight into its meta "quant"; fields that no rule names stay
 * as they are. Only float matrices can match. WOQ_ITEM if a rule matched, WOQ_OK if none did and
 * the frame is as it was. */
int woq_rules_apply(struct woq_rules *r, struct woq_frame *f, struct woq_error *err);
/* Rule i as it was given, and how many weights it matched. */
const char *woq_rules_text(const struct woq_rules *r, size_t i, size_t *n_matched);

#endif
