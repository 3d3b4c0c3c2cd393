/* opt.h -- options as data. The table is the only description: parsing, ranges, defaults, --help,
 * --help=mdoc, --help=complete and the record in the stream's history come from it. */
#ifndef WOQ_OPT_H
#define WOQ_OPT_H
#include <stdbool.h>
#include <stdint.h>
#include <woq/error.h>
#include <woq/util.h>

enum woq_opt_type {
    WOQ_OPT_END = 0,
    WOQ_OPT_FLAG, /* bool *: present or not */
    WOQ_OPT_INT,  /* long *: within lo..hi where lo < hi */
    WOQ_OPT_SIZE, /* uint64_t *: bytes or a count, suffix K M G (powers of 1024) */
    WOQ_OPT_F64,  /* double *: finite; within lo..hi where lo < hi */
    WOQ_OPT_STR,  /* const char ** */
    WOQ_OPT_ENUM, /* const char **: one of choices "a|b|c" */
    WOQ_OPT_LIST, /* struct woq_list *: may be repeated */
};

struct woq_list {
    const char **items;
    size_t n;
};

/* The value that `ptr` holds before parsing is the default that --help shows. */
struct woq_opt {
    enum woq_opt_type type;
    char short_name;       /* 0 if none */
    const char *long_name; /* without dashes */
    const char *arg;       /* placeholder in the help, NULL for WOQ_OPT_FLAG */
    void *ptr;
    bool required;
    const char *help;
    const char *choices; /* WOQ_OPT_ENUM */
    double lo, hi;       /* WOQ_OPT_INT, WOQ_OPT_F64 */
    bool local;          /* does not change the result: left out of the history */
    bool *given;         /* set when the option is on the command line; may be NULL */
};

/* Parses argv[1..]; options and operands may mix, "--" ends options, --opt=value and --opt value,
 * unique prefixes of long names are refused with a suggestion. Operands are moved to the front of
 * argv (from index 0) and *n_operands set. *seen (may be NULL) receives one bool per table row of
 * the joined tables. */
int woq_opt_parse(const struct woq_opt *const *tables, size_t n_tables, int argc, char **argv,
                  int *n_operands, bool *seen, struct woq_error *err);
/* Options that were given, as one command line without `local` ones, for the history. */
int woq_opt_record(const struct woq_opt *const *tables, size_t n_tables, const bool *seen,
                   struct woq_str *out);
void woq_opt_help(const struct woq_opt *const *tables, size_t n_tables, struct woq_str *out);
void woq_opt_mdoc(const struct woq_opt *const *tables, size_t n_tables, struct woq_str *out);
/* One line per option: --name TAB type TAB choices TAB help with default, for shells and for
 * woq(1). The choices of a number are its range, "1..8". */
void woq_opt_complete(const struct woq_opt *const *tables, size_t n_tables, struct woq_str *out);
/* "3", "64K", "1.5G" -> bytes. */
int woq_parse_size(const char *text, uint64_t *out, struct woq_error *err);

#endif
