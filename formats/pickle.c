/* pickle.c -- see pickle.h: the stack machine. Opcodes: formats.md 2.2 (CPython's pickletools).
 * The size of the file and MAX_VALUES bound the memory; nothing here is recursive. */
#include "pickle_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)64 << 20)
enum { MAX_VALUES = 4 << 20, MEMO_GAP = 1024, MAX_GLOBAL = 128 };

const char woq_pickle_hint[] =
    "only plain state dicts are read: torch.save(model.state_dict(), ...)";
static const char hint_damaged[] = "the file is damaged or cut short: copy or download it again";

struct machine {
    const uint8_t *data;
    size_t at, bytes, op_at; /* next byte; of how many; the opcode being run */
    struct woq_pickle *out;
    struct woq_pickle_value **stack, **memo;
    size_t n_stack, cap_stack, n_memo, cap_memo;
    size_t *marks;
    size_t n_marks, cap_marks;
    struct woq_error *err;
};

#define FAIL(m, status, hint, fmt, ...)                                                            \
    woq_fail((m)->err, status, hint, "pickle byte %zu: " fmt, (m)->op_at, __VA_ARGS__)

/* Room for one more element of an array that grows by doubling. */
static int grow(void *array, size_t n, size_t *cap, size_t elem, struct woq_error *err)
{
    void **p = array;

    if (n < *cap)
        return WOQ_OK;
    const size_t more = *cap ? 2 * *cap : 64;
    void *grown = realloc(*p, more * elem);
    if (!grown)
        return woq_fail_nomem(err, more * elem);
    memset((char *)grown + *cap * elem, 0, (more - *cap) * elem);
    *p = grown;
    *cap = more;
    return WOQ_OK;
}

/* Values and references to them, also those that a call copies. */
static int count(struct woq_pickle *p, struct woq_error *err)
{
    if (++p->n_values <= MAX_VALUES)
        return WOQ_OK;
    return woq_fail(err, WOQ_EDATA, woq_pickle_hint, "the pickle makes more than %d values",
                    MAX_VALUES);
}

struct woq_pickle_value *woq_pickle_new(struct woq_pickle *p, enum woq_pickle_kind kind,
                                        struct woq_error *err)
{
    struct woq_pickle_value *v =
        count(p, err) == WOQ_OK ? woq_arena_alloc(&p->arena, sizeof *v, err) : NULL;

    if (v) {
        memset(v, 0, sizeof *v);
        v->kind = kind;
    }
    return v;
}

int woq_pickle_append(struct woq_pickle *p, struct woq_pickle_value *seq,
                      struct woq_pickle_value *item, struct woq_error *err)
{
    const int rc = count(p, err);

    if (rc < 0)
        return rc;
    if (seq->seq.n == seq->seq.cap) {
        const size_t cap = seq->seq.cap ? 2 * seq->seq.cap : 8;
        struct woq_pickle_value **grown =
            woq_arena_alloc(&p->arena, cap * sizeof(struct woq_pickle_value *), err);

        if (!grown)
            return WOQ_ENOMEM;
        if (seq->seq.n)
            memcpy(grown, seq->seq.items, seq->seq.n * sizeof *grown);
        seq->seq.items = grown;
        seq->seq.cap = cap;
    }
    seq->seq.items[seq->seq.n++] = item;
    return WOQ_OK;
}

static int push(struct machine *m, struct woq_pickle_value *v)
{
    int rc;

    if (!v)
        return m->err->status < 0 ? (int)m->err->status : WOQ_EDATA;
    if ((rc = grow(&m->stack, m->n_stack, &m->cap_stack, sizeof *m->stack, m->err)) == WOQ_OK)
        m->stack[m->n_stack++] = v;
    return rc;
}

static struct woq_pickle_value *make(struct machine *m, enum woq_pickle_kind kind)
{
    return woq_pickle_new(m->out, kind, m->err);
}

static int push_int(struct machine *m, enum woq_pickle_kind kind, int64_t i)
{
    struct woq_pickle_value *v = make(m, kind);

    if (v)
        v->i = i;
    return push(m, v);
}

/* The top of the stack; what lies below the last MARK belongs to somebody else. */
static struct woq_pickle_value *pop(struct machine *m)
{
    if (m->n_stack > (m->n_marks ? m->marks[m->n_marks - 1] : 0))
        return m->stack[--m->n_stack];
    FAIL(m, WOQ_EDATA, hint_damaged, "opcode 0x%02x finds nothing on the stack", m->data[m->op_at]);
    return NULL;
}

/* The next n bytes, or NULL with a message. */
static const uint8_t *take(struct machine *m, uint64_t n)
{
    const uint8_t *p = m->data + m->at;

    if (n > m->bytes - m->at) {
        FAIL(m, WOQ_ETRUNC, hint_damaged,
             "truncated: opcode 0x%02x needs %" PRIu64 " bytes, %zu are left", m->data[m->op_at], n,
             m->bytes - m->at);
        return NULL;
    }
    m->at += (size_t)n;
    return p;
}

static bool take_int(struct machine *m, unsigned bytes, uint64_t *out)
{
    const uint8_t *p = take(m, bytes);

    *out = 0;
    for (unsigned i = bytes; p && i-- > 0;)
        *out = *out << 8 | p[i];
    return p != NULL;
}

/* Two's complement of n bytes, least first. */
static int op_int(struct machine *m, unsigned bytes, bool is_signed)
{
    uint64_t x;

    if (!take_int(m, bytes, &x))
        return WOQ_ETRUNC;
    if (is_signed && bytes > 0 && bytes < 8 && x >> (8 * bytes - 1))
        x |= ~(uint64_t)0 << 8 * bytes;
    return push_int(m, WOQ_PICKLE_INT, (int64_t)x);
}

static int op_long1(struct machine *m)
{
    uint64_t n;

    if (!take_int(m, 1, &n))
        return WOQ_ETRUNC;
    if (n > 8)
        return FAIL(m, WOQ_EDATA, woq_pickle_hint, "an integer of %" PRIu64 " bytes", n);
    return op_int(m, (unsigned)n, true);
}

static int op_float(struct machine *m)
{
    const uint8_t *p = take(m, 8);
    struct woq_pickle_value *v = p ? make(m, WOQ_PICKLE_FLOAT) : NULL;
    uint64_t bits = 0;

    for (int i = 0; p && i < 8; i++)
        bits = bits << 8 | p[i];
    if (v)
        memcpy(&v->f, &bits, sizeof bits);
    return push(m, v);
}

static int op_string(struct machine *m, unsigned length_bytes)
{
    struct woq_pickle_value *v;
    const uint8_t *p;
    uint64_t n;

    if (!take_int(m, length_bytes, &n) || !(p = take(m, n)))
        return WOQ_ETRUNC;
    if ((v = make(m, WOQ_PICKLE_STR))) {
        v->str.s = (const char *)p;
        v->str.bytes = (size_t)n;
    }
    return push(m, v);
}

static int op_put(struct machine *m, unsigned index_bytes)
{
    struct woq_pickle_value *v;
    uint64_t i;
    int rc;

    if (!take_int(m, index_bytes, &i))
        return WOQ_ETRUNC;
    if (!(v = pop(m)))
        return WOQ_EDATA;
    m->n_stack++;
    /* Picklers number their values one after the other. */
    if (i > m->n_memo + MEMO_GAP)
        return FAIL(m, WOQ_EDATA, hint_damaged, "memo slot %" PRIu64 ", %zu are in use", i,
                    m->n_memo);
    while (m->n_memo <= i) {
        if ((rc = grow(&m->memo, m->n_memo, &m->cap_memo, sizeof *m->memo, m->err)) < 0)
            return rc;
        m->memo[m->n_memo++] = NULL;
    }
    m->memo[i] = v;
    return WOQ_OK;
}

static int op_get(struct machine *m, unsigned index_bytes)
{
    uint64_t i;

    if (!take_int(m, index_bytes, &i))
        return WOQ_ETRUNC;
    if (i >= m->n_memo || !m->memo[i])
        return FAIL(m, WOQ_EDATA, hint_damaged, "memo slot %" PRIu64 " was never set", i);
    return push(m, m->memo[i]);
}

static int op_mark(struct machine *m)
{
    const int rc = grow(&m->marks, m->n_marks, &m->cap_marks, sizeof *m->marks, m->err);

    if (rc == WOQ_OK)
        m->marks[m->n_marks++] = m->n_stack;
    return rc;
}

/* Takes the last MARK away; what lies above it is stack[*from .. n_stack - 1]. */
static int unmark(struct machine *m, size_t *from)
{
    if (!m->n_marks)
        return FAIL(m, WOQ_EDATA, hint_damaged, "opcode 0x%02x without a MARK", m->data[m->op_at]);
    *from = m->marks[--m->n_marks];
    return WOQ_OK;
}

/* The top n values as a tuple. */
static int op_tuple(struct machine *m, size_t n)
{
    struct woq_pickle_value *v = make(m, WOQ_PICKLE_SEQ);
    const size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    int rc;

    if (!v)
        return push(m, NULL);
    if (n > m->n_stack - floor)
        return FAIL(m, WOQ_EDATA, hint_damaged, "a tuple of %zu, %zu are on the stack", n,
                    m->n_stack - floor);
    for (size_t i = m->n_stack - n; i < m->n_stack; i++)
        if ((rc = woq_pickle_append(m->out, v, m->stack[i], m->err)) < 0)
            return rc;
    m->n_stack -= n;
    return push(m, v);
}

static int op_tuple_mark(struct machine *m)
{
    size_t from = 0;
    const int rc = unmark(m, &from);

    return rc < 0 ? rc : op_tuple(m, m->n_stack - from);
}

static int op_empty(struct machine *m, enum woq_pickle_kind kind, bool is_list)
{
    struct woq_pickle_value *v = make(m, kind);

    if (v)
        v->is_list = is_list;
    return push(m, v);
}

/* Moves stack[from ...] into the dict or list below it. */
static int op_fill(struct machine *m, size_t from, enum woq_pickle_kind kind)
{
    const size_t n = m->n_stack - from, each = kind == WOQ_PICKLE_DICT ? 2 : 1;
    struct woq_pickle_value *v;
    int rc;

    if (n % each)
        return FAIL(m, WOQ_EDATA, hint_damaged, "%zu values for a dict, want pairs", n);
    m->n_stack = from;
    if (!(v = pop(m)))
        return WOQ_EDATA;
    m->n_stack++;
    if (v->kind != kind || (kind == WOQ_PICKLE_SEQ && !v->is_list))
        return FAIL(m, WOQ_EDATA, woq_pickle_hint, "opcode 0x%02x adds to what is no %s",
                    m->data[m->op_at], kind == WOQ_PICKLE_DICT ? "dict" : "list");
    for (size_t i = 0; i < n; i++)
        if ((rc = woq_pickle_append(m->out, v, m->stack[from + i], m->err)) < 0)
            return rc;
    return WOQ_OK;
}

static int op_fill_mark(struct machine *m, enum woq_pickle_kind kind)
{
    size_t from = 0;
    const int rc = unmark(m, &from);

    return rc < 0 ? rc : op_fill(m, from, kind);
}

/* One element, without a MARK: the container and it must both lie above the last one. */
static int op_fill_top(struct machine *m, enum woq_pickle_kind kind)
{
    const size_t n = kind == WOQ_PICKLE_DICT ? 2 : 1;
    const size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;

    if (m->n_stack - floor < n + 1)
        return FAIL(m, WOQ_EDATA, hint_damaged, "opcode 0x%02x finds too little on the stack",
                    m->data[m->op_at]);
    return op_fill(m, m->n_stack - n, kind);
}

/* A line of at most MAX_GLOBAL bytes as text. */
static bool take_line(struct machine *m, char line[MAX_GLOBAL + 1])
{
    const size_t left = m->bytes - m->at, most = left < MAX_GLOBAL ? left : MAX_GLOBAL;
    const uint8_t *p = m->data + m->at, *end = memchr(p, '\n', most);

    if (!end) {
        FAIL(m, WOQ_EDATA, hint_damaged, "the name of a global ends nowhere in %zu bytes", most);
        return false;
    }
    memcpy(line, p, (size_t)(end - p));
    line[end - p] = '\0';
    m->at += (size_t)(end - p) + 1;
    return true;
}

static int op_global(struct machine *m)
{
    char module[MAX_GLOBAL + 1], name[MAX_GLOBAL + 1];

    if (!take_line(m, module) || !take_line(m, name))
        return WOQ_EDATA;
    const int row = woq_pickle_global(module, name);
    if (row < 0)
        return FAIL(m, WOQ_EDATA, woq_pickle_hint, "global '%s.%s' has no place in a state dict",
                    module, name);
    return push_int(m, WOQ_PICKLE_GLOBAL, row);
}

static int op_call(struct machine *m)
{
    const struct woq_pickle_value *args = pop(m), *callee = args ? pop(m) : NULL;

    if (!callee)
        return WOQ_EDATA;
    if (callee->kind != WOQ_PICKLE_GLOBAL || args->kind != WOQ_PICKLE_SEQ || args->is_list)
        return FAIL(m, WOQ_EDATA, woq_pickle_hint, "%s",
                    "a call of what is no function, or without a tuple of arguments");
    struct woq_pickle_value *v = woq_pickle_call(m->out, callee, args, m->err);
    if (!v)
        woq_error_at(m->err, "pickle byte %zu", m->op_at);
    return push(m, v);
}

static int op_persistent(struct machine *m)
{
    const struct woq_pickle_value *id = pop(m);

    if (!id)
        return WOQ_EDATA;
    struct woq_pickle_value *v = woq_pickle_persistent(m->out, id, m->err);
    if (!v)
        woq_error_at(m->err, "pickle byte %zu", m->op_at);
    return push(m, v);
}

/* Attributes of a dict (_metadata) or of a parameter: nothing that a weight needs. */
static int op_build(struct machine *m)
{
    struct woq_pickle_value *state = pop(m), *v = state ? pop(m) : NULL;

    if (!v)
        return WOQ_EDATA;
    if (v->kind != WOQ_PICKLE_DICT && v->kind != WOQ_PICKLE_TENSOR)
        return FAIL(m, WOQ_EDATA, woq_pickle_hint, "%s",
                    "BUILD of what is neither a dict nor a tensor");
    return push(m, v);
}

/* One opcode; WOQ_ITEM at STOP. */
static int step(struct machine *m, uint8_t op)
{
    uint64_t version;

    /* clang-format off */
    switch (op) {
    case 0x80:
        if (!take_int(m, 1, &version))
            return WOQ_ETRUNC;
        if (version >= 2 && version <= 5)
            return WOQ_OK;
        return FAIL(m, WOQ_EDATA, woq_pickle_hint, "protocol %" PRIu64 ", want 2 to 5", version);
    case '}': return op_empty(m, WOQ_PICKLE_DICT, false);
    case ']': return op_empty(m, WOQ_PICKLE_SEQ, true);
    case 0x8f: /* a set, to which nothing can be added */
    case ')': return op_empty(m, WOQ_PICKLE_SEQ, false);
    case '(': return op_mark(m);
    case 't': return op_tuple_mark(m);
    case 0x85: return op_tuple(m, 1);
    case 0x86: return op_tuple(m, 2);
    case 0x87: return op_tuple(m, 3);
    case 'X': return op_string(m, 4);
    case 'U': return op_string(m, 1);
    case 'K': return op_int(m, 1, false);
    case 'M': return op_int(m, 2, false);
    case 'J': return op_int(m, 4, true);
    case 0x8a: return op_long1(m);
    case 'G': return op_float(m);
    case 'N': return op_empty(m, WOQ_PICKLE_NONE, false);
    case 0x88: return push_int(m, WOQ_PICKLE_BOOL, 1);
    case 0x89: return push_int(m, WOQ_PICKLE_BOOL, 0);
    case 'q': return op_put(m, 1);
    case 'r': return op_put(m, 4);
    case 'h': return op_get(m, 1);
    case 'j': return op_get(m, 4);
    case 'c': return op_global(m);
    case 'R': case 0x81: return op_call(m);
    case 'Q': return op_persistent(m);
    case 's': return op_fill_top(m, WOQ_PICKLE_DICT);
    case 'u': return op_fill_mark(m, WOQ_PICKLE_DICT);
    case 'a': return op_fill_top(m, WOQ_PICKLE_SEQ);
    case 'e': return op_fill_mark(m, WOQ_PICKLE_SEQ);
    case 'b': return op_build(m);
    case '.': return WOQ_ITEM;
    default: break;
    }
    /* clang-format on */
    return FAIL(m, WOQ_EDATA, woq_pickle_hint, "opcode 0x%02x has no place in a state dict", op);
}

static int run(struct machine *m)
{
    int rc = WOQ_OK;

    if (m->bytes > MAX_BYTES)
        return woq_fail(m->err, WOQ_EDATA, NULL, "a pickle of %zu bytes, want at most %zu",
                        m->bytes, MAX_BYTES);
    while (rc == WOQ_OK) {
        m->op_at = m->at;
        if (m->at == m->bytes)
            return woq_fail(m->err, WOQ_ETRUNC, hint_damaged,
                            "truncated: the pickle of %zu bytes has no end", m->bytes);
        m->at++;
        rc = step(m, m->data[m->op_at]);
    }
    if (rc < 0)
        return rc;
    if (!(m->out->root = pop(m)))
        return WOQ_EDATA;
    if (m->at != m->bytes)
        return FAIL(m, WOQ_EDATA, hint_damaged, "%zu bytes behind its end", m->bytes - m->at);
    return WOQ_OK;
}

int woq_pickle_parse(struct woq_pickle *p, const uint8_t *data, size_t bytes, struct woq_error *err)
{
    struct woq_error own = { 0 }; /* err may be NULL; the machine looks at it */
    struct machine m = { .data = data, .bytes = bytes, .out = p, .err = err ? err : &own };

    memset(p, 0, sizeof *p);
    const int rc = run(&m);
    free(m.stack);
    free(m.memo);
    free(m.marks);
    if (rc < 0)
        woq_pickle_release(p);
    return rc;
}

void woq_pickle_release(struct woq_pickle *p)
{
    woq_arena_release(&p->arena);
    memset(p, 0, sizeof *p);
}

const struct woq_pickle_value *woq_pickle_get(const struct woq_pickle_value *dict, const char *key)
{
    for (size_t i = 0; dict->kind == WOQ_PICKLE_DICT && i + 1 < dict->seq.n; i += 2) {
        const struct woq_pickle_value *k = dict->seq.items[i];

        if (k->kind == WOQ_PICKLE_STR && k->str.bytes == strlen(key) &&
            memcmp(k->str.s, key, k->str.bytes) == 0)
            return dict->seq.items[i + 1];
    }
    return NULL;
}
