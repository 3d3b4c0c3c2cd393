/* template.h -- chat templates: the part of Jinja2 that they are written in, rendered as
 * transformers does (ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks, loop controls
 * and its own tojson).
 *
 * Nothing but the variables can be reached from a template: no file, no clock, no environment.
 * Steps, memory, output and nesting are bounded. What the engine does not know is an error that
 * names it, its line and its column; it is never rendered as something else. */
#ifndef WOQ_TEMPLATE_H
#define WOQ_TEMPLATE_H
#include <woq/error.h>
#include <woq/util.h>

struct woq_template; /* immutable: one may serve many threads */

/* text: `bytes` of UTF-8; it is copied. WOQ_EDATA: wrong syntax, WOQ_EUNSUPPORTED: a statement that
 * is not rendered here (include, extends ...). */
int woq_template_open(struct woq_template **t, const char *text, size_t bytes,
                      struct woq_error *err);
void woq_template_close(struct woq_template *t); /* NULL is fine */

/* Appends what the template makes of `vars`, a JSON object of n bytes whose members are its
 * variables (numbers without fraction or exponent are Python's int). date: what strftime_now()
 * tells, "YYYY-MM-DD", "YYYY-MM-DD HH:MM" or with seconds; NULL: a template that asks for it
 * fails. The message of raise_exception() is WOQ_EDATA with hint "the template says so". */
int woq_template_render(const struct woq_template *t, const char *vars, size_t n, const char *date,
                        struct woq_str *out, struct woq_error *err);

#endif
