/* internal.h -- tokens, tree, values and the running state of a template.
 *
 * Errors are sticky: whoever fails sets run.rc (or parse.rc) and returns anything; callers look at
 * rc before they use what they got. Values are immutable but for namespaces and for generators,
 * which are empty after one pass, so all of them lie in one arena that ends with the rendering. */
#ifndef WOQ_TEMPLATE_INTERNAL_H
#define WOQ_TEMPLATE_INTERNAL_H
#include <woq/template.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* ------------------------------------------------------------------ values */
enum tpl_type {
    TPL_UNDEFINED, /* s: what it would have been, for the message */
    TPL_NONE,
    TPL_BOOL,
    TPL_INT,
    TPL_FLOAT,
    TPL_STRING,
    TPL_LIST,
    TPL_TUPLE,
    TPL_RANGE,
    TPL_VIEW, /* of a dict: keys(), values(), items() */
    TPL_GENERATOR,
    TPL_DICT,
    TPL_NAMESPACE,
    TPL_MACRO,
    TPL_FUNCTION, /* global */
    TPL_METHOD,
    TPL_LOOP,
    TPL_N_TYPES
};

struct tpl_val {
    enum tpl_type type;
    bool safe; /* a string: Python's Markup */
    union {
        bool b;
        int64_t i;
        double f;
        struct {
            const char *s;
            size_t len;
        };
        struct tpl_seq *seq;
        struct tpl_dict *dict;
        struct tpl_macro *macro;
        const struct tpl_function *function;
        const struct tpl_bound *bound;
        struct tpl_loop *loop;
    };
};

struct tpl_seq {
    size_t n;
    unsigned depth; /* of what is in it, bounded by TPL_MAX_NESTED */
    struct tpl_val *v;
};

struct tpl_pair {
    struct tpl_val key, value;
};

struct tpl_dict { /* in order of insertion */
    size_t n, cap;
    unsigned depth;
    struct tpl_pair *pairs;
};

/* ------------------------------------------------------------------ tree */
enum tpl_kind {
    /* expressions */
    TPL_CONST,
    TPL_NAME,
    TPL_LIST_OF,
    TPL_TUPLE_OF,
    TPL_DICT_OF, /* list: key, value, key ... */
    TPL_ATTR,    /* a.name */
    TPL_ITEM,    /* a[b] */
    TPL_SLICE,   /* a[list[0]:list[1]:list[2]], NULL where absent */
    TPL_CALL,    /* a(list): TPL_KWARG where named */
    TPL_KWARG,   /* name=a */
    TPL_FILTER,  /* a|name(list); a NULL: the text of a block */
    TPL_TEST,    /* a is name(list) */
    TPL_UNARY,   /* op a */
    TPL_BINARY,  /* a op b */
    TPL_CONCAT,  /* list with ~ */
    TPL_COMPARE, /* a, then list of TPL_OPERAND */
    TPL_OPERAND, /* op a */
    TPL_AND,
    TPL_OR,
    TPL_NOT,
    TPL_CHOICE, /* a if b else c */
    /* statements */
    TPL_TEXT,     /* value */
    TPL_PRINT,    /* a */
    TPL_BLOCK,    /* list */
    TPL_IF,       /* a: condition, b: block, c: else or NULL */
    TPL_FOR,      /* a: target, b: iterable, list: body, else, condition (NULL where absent) */
    TPL_SET,      /* a: target, b: value */
    TPL_CAPTURE,  /* a: target, b: block, c: filters or NULL */
    TPL_FILTERED, /* b: block, c: filters */
    TPL_DEFINE,   /* macro: name, list: parameters (TPL_KWARG, a NULL without default), b: block */
    TPL_WITH,     /* list: TPL_KWARG ..., b: block */
    TPL_SCOPED,   /* b: block in a scope of its own */
    TPL_BREAK,
    TPL_CONTINUE,
};

struct tpl_node {
    enum tpl_kind kind;
    int op; /* TPL_OP */
    unsigned line, col;
    struct tpl_node *a, *b, *c, **list;
    size_t n;
    const char *name;
    struct tpl_val value;
};

#define TPL_OP2(a, b) ((a) << 8 | (b)) /* the code of an operator: its characters */
enum { TPL_OP_IN = 1, TPL_OP_NOT_IN };

/* ------------------------------------------------------------------ tokens */
enum tpl_token_type {
    TPL_T_DATA,
    TPL_T_PRINT_BEGIN,
    TPL_T_PRINT_END,
    TPL_T_BLOCK_BEGIN,
    TPL_T_BLOCK_END,
    TPL_T_NAME,
    TPL_T_STRING,
    TPL_T_INT,
    TPL_T_FLOAT,
    TPL_T_OP,
    TPL_T_EOF
};

struct tpl_token {
    enum tpl_token_type type;
    int op;
    unsigned line, col;
    const char *s; /* of names and strings, NUL-terminated; `len` bytes of data */
    size_t len;
    int64_t i;
    double f;
};

struct tpl_tokens {
    struct tpl_token *t;
    size_t n, cap;
};

/* Every message about a place in a template; returns `status`. */
int tpl_fail_at(struct woq_error *err, enum woq_status status, const char *hint, unsigned line,
                unsigned col, const char *what);
/* Text with the newlines of Jinja2 (\n, none at the end) to tokens; strings lie in the arena. */
int tpl_lex(struct tpl_tokens *out, const char *text, size_t bytes, struct woq_arena *arena,
            struct woq_error *err);

struct tpl_parse {
    const struct tpl_token *t; /* the current one */
    struct woq_arena *arena;
    struct woq_error *err;
    int rc;
    unsigned depth, n_loops;
    struct tpl_node none; /* what is returned once rc is set */
};
struct tpl_node *tpl_parse_template(struct tpl_parse *p);
/* expr.c. choice: may `x if y` stand at the top? */
struct tpl_node *tpl_parse_expr(struct tpl_parse *p, bool choice);
struct tpl_node *tpl_parse_tuple(struct tpl_parse *p, bool choice);
struct tpl_node *tpl_parse_target(struct tpl_parse *p, bool attributes);
struct tpl_node *tpl_parse_filters(struct tpl_parse *p, struct tpl_node *a, bool first);

/* node.c */
struct tpl_node *tpl_node_new(struct tpl_parse *p, enum tpl_kind kind);
void tpl_node_push(struct tpl_parse *p, struct tpl_node *list, struct tpl_node *item);
void tpl_parse_fail(struct tpl_parse *p, enum woq_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void tpl_unexpected(struct tpl_parse *p, const char *wanted);
bool tpl_at_op(const struct tpl_parse *p, int op);
bool tpl_at_name(const struct tpl_parse *p, const char *name);
bool tpl_skip_op(struct tpl_parse *p, int op);
bool tpl_skip_name(struct tpl_parse *p, const char *name);
void tpl_want_op(struct tpl_parse *p, int op);
const char *tpl_want_name(struct tpl_parse *p);
const char *tpl_op_text(int op, char text[3]);
const char *tpl_token_text(const struct tpl_token *t); /* for messages */

/* ------------------------------------------------------------------ running */
#define TPL_MAX_NESTED 200 /* lists in lists */
#define TPL_MAX_DEPTH 600  /* nodes within nodes, macros within macros */
#define TPL_MAX_PARSED 150 /* parentheses within parentheses */
#define TPL_MAX_RANGE 100000

struct tpl_limits {
    size_t steps, bytes; /* nodes and comparisons; memory of values and output */
};

struct tpl_scope { /* names that were set in it, newest first */
    struct tpl_scope *up;
    struct tpl_name *names;
};

struct tpl_macro {
    const struct tpl_node *node;
    struct tpl_scope *scope;
};

struct tpl_loop {
    const struct tpl_seq *items;
    size_t at;
    struct tpl_val changed; /* what changed() saw last, a tuple; TPL_UNDEFINED before */
};

struct tpl_run {
    const struct tpl_node *at; /* whose line and column a message names */
    struct tpl_scope *scope;
    struct woq_str *out; /* the current sink */
    struct woq_arena arena;
    char *block; /* what is left of the arena's last piece */
    size_t block_left, used_bytes, n_steps;
    struct tpl_limits limits;
    unsigned depth;
    const char *date;
    struct woq_error *err;
    int rc;
    struct tpl_seq no_items; /* what is returned once rc is set */
    struct tpl_dict no_pairs;
    int jump; /* TPL_BREAK, TPL_CONTINUE on their way to a loop */
};

struct tpl_args {
    const struct tpl_val *v; /* positional */
    size_t n;
    const struct tpl_pair *named; /* keys are strings */
    size_t n_named;
};

void tpl_fail(struct tpl_run *r, enum woq_status status, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void tpl_unsupported(struct tpl_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Zeroed memory; NULL and rc on failure. */
void *tpl_alloc(struct tpl_run *r, size_t n, size_t size);
bool tpl_step(struct tpl_run *r, size_t n); /* false and rc when there were too many */

/* value.c */
extern const struct tpl_val tpl_none, tpl_undefined;
struct tpl_val tpl_bool(bool b);
struct tpl_val tpl_int(int64_t i);
struct tpl_val tpl_float(double f);
struct tpl_val tpl_text(const char *s, size_t len); /* borrowed */
struct tpl_val tpl_text_copy(struct tpl_run *r, const char *s, size_t len);
struct tpl_val tpl_text_of(struct tpl_run *r, struct woq_str *s); /* releases s */
struct tpl_val tpl_missing(struct tpl_run *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct tpl_val tpl_seq_new(struct tpl_run *r, enum tpl_type type, size_t n);
void tpl_seq_set(struct tpl_run *r, struct tpl_val seq, size_t i, struct tpl_val v);
/* Appends to a list of tpl_seq_new(.., 0) that nobody else has yet. */
void tpl_seq_push(struct tpl_run *r, struct tpl_val list, struct tpl_val v);
struct tpl_val tpl_dict_new(struct tpl_run *r, enum tpl_type type);
void tpl_dict_set(struct tpl_run *r, struct tpl_val dict, struct tpl_val key, struct tpl_val v);
const struct tpl_val *tpl_dict_get(struct tpl_run *r, const struct tpl_dict *d, struct tpl_val key);
const struct tpl_val *tpl_dict_text(const struct tpl_dict *d, const char *key);
bool tpl_is_seq(struct tpl_val v);
bool tpl_is_number(struct tpl_val v); /* bool, int, float */
bool tpl_text_is(struct tpl_val v, const char *s);
double tpl_number(struct tpl_val v);
bool tpl_truth(struct tpl_val v);
bool tpl_equal(struct tpl_run *r, struct tpl_val a, struct tpl_val b);
/* -1, 0, 1; rc for what has no order. */
int tpl_order(struct tpl_run *r, struct tpl_val a, struct tpl_val b, const char *op);
const char *tpl_type_name(struct tpl_val v);         /* as Python calls it */
size_t tpl_len(struct tpl_run *r, struct tpl_val v); /* rc for what has none */
/* The items of anything that can be iterated, as a list; empties a generator. */
const struct tpl_seq *tpl_items(struct tpl_run *r, struct tpl_val v);
struct tpl_val tpl_pairs(struct tpl_run *r, const struct tpl_dict *d, enum tpl_type type);

/* print.c: str() and repr() as Python has them, JSON. */
void tpl_print(struct tpl_run *r, struct woq_str *out, struct tpl_val v);
void tpl_repr(struct tpl_run *r, struct woq_str *out, struct tpl_val v);
struct tpl_val tpl_str(struct tpl_run *r, struct tpl_val v);
void tpl_add(struct tpl_run *r, struct woq_str *out, const char *s, size_t n);
struct tpl_val tpl_tojson(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args);
struct tpl_val tpl_from_json(struct tpl_run *r, const char *text, size_t bytes);

/* text.c: strings of code points */
bool tpl_is_space(uint32_t cp);
size_t tpl_text_len(struct tpl_val s);
size_t tpl_text_at(struct tpl_val s, size_t i); /* byte of character i */
struct tpl_val tpl_strip(struct tpl_run *r, struct tpl_val s, const struct tpl_val *chars,
                         int ends);
struct tpl_val tpl_replace(struct tpl_run *r, struct tpl_val s, struct tpl_val from,
                           struct tpl_val to, int64_t count);
enum tpl_case { TPL_LOWER, TPL_UPPER, TPL_CAPITALIZE, TPL_TITLE_METHOD, TPL_TITLE_FILTER };
struct tpl_val tpl_case_of(struct tpl_run *r, struct tpl_val s, enum tpl_case to);
size_t tpl_find(struct tpl_val s, size_t from, struct tpl_val part); /* byte, SIZE_MAX if none */

/* eval.c */
struct tpl_val tpl_eval(struct tpl_run *r, const struct tpl_node *n);
struct tpl_val tpl_attr(struct tpl_run *r, struct tpl_val v, struct tpl_val name, bool dot);
struct tpl_val tpl_call(struct tpl_run *r, struct tpl_val f, const struct tpl_args *args);
struct tpl_val tpl_filters(struct tpl_run *r, const struct tpl_node *n, struct tpl_val text);
bool tpl_contains(struct tpl_run *r, struct tpl_val v, struct tpl_val item);
/* False for what is undefined, which is an error with its own message then. */
bool tpl_is_defined(struct tpl_run *r, struct tpl_val v);

/* arith.c: rc where Python raises, or for a result beyond 64 bits */
struct tpl_val tpl_binary(struct tpl_run *r, int op, struct tpl_val a, struct tpl_val b);

/* run.c */
void tpl_exec(struct tpl_run *r, const struct tpl_node *n);
struct tpl_val tpl_macro_call(struct tpl_run *r, const struct tpl_macro *m,
                              const struct tpl_args *args);
void tpl_name_set(struct tpl_run *r, const char *name, struct tpl_val v);
const struct tpl_val *tpl_name_get(const struct tpl_run *r, const char *name);

/* run.c too: arguments against the names of a function's parameters. */
#define TPL_MAX_PARAMS 4
/* out[i] = the argument of the i-th of `names` ("a,b=,c="; '=': may be absent, then undefined with
 * has[i] false). `what` names the function in messages. */
struct tpl_params {
    struct tpl_val v[TPL_MAX_PARAMS];
    bool has[TPL_MAX_PARAMS];
};
bool tpl_bind(struct tpl_run *r, struct tpl_params *out, const char *names, const char *what,
              const struct tpl_args *args);

typedef struct tpl_val tpl_filter_fn(struct tpl_run *r, struct tpl_val v,
                                     const struct tpl_args *args);
struct tpl_val tpl_escape(struct tpl_run *r, struct tpl_val v); /* to Markup */
struct tpl_filter_row {
    const char *name; /* NULL ends a table */
    tpl_filter_fn *fn;
};
extern const struct tpl_filter_row tpl_list_filters[]; /* sift.c */
struct tpl_val tpl_filter(struct tpl_run *r, const char *name, struct tpl_val v,
                          const struct tpl_args *args); /* filter.c */
bool tpl_test(struct tpl_run *r, const char *name, struct tpl_val v,
              const struct tpl_args *args); /* test.c */

/* method.c: what Python's types have, and the functions that are always there */
struct tpl_bound {
    struct tpl_val self;
    const struct tpl_method *method;
};
bool tpl_method_find(struct tpl_run *r, struct tpl_val self, struct tpl_val name,
                     struct tpl_val *out);
struct tpl_val tpl_method_call(struct tpl_run *r, const struct tpl_bound *b,
                               const struct tpl_args *args);
struct tpl_val tpl_lines(struct tpl_run *r, struct tpl_val s, bool keep); /* str.splitlines() */
/* format.c: '...' % values (named: by name), and str.format() */
struct tpl_val tpl_percent(struct tpl_run *r, struct tpl_val s, const struct tpl_args *args);
struct tpl_val tpl_str_format(struct tpl_run *r, struct tpl_val s, const struct tpl_args *args);
bool tpl_global(struct tpl_run *r, const char *name, struct tpl_val *out);
struct tpl_val tpl_function_call(struct tpl_run *r, const struct tpl_function *f,
                                 const struct tpl_args *args);
bool tpl_loop_attr(struct tpl_run *r, struct tpl_loop *loop, struct tpl_val name,
                   struct tpl_val *out); /* loop.c; false: there is none */

int tpl_render(const struct woq_template *t, const char *vars, size_t n, const char *date,
               struct tpl_limits limits, struct woq_str *out, struct woq_error *err);

#endif
