/* torch.c -- files of torch.save: what real torch wrote reads as its twin in safetensors, and what
 * a hostile hand could write is refused with a message (run it with SAN=address,undefined). */
#include <formats/extract.h>
#include <formats/pickle.h>
#include <formats/safetensors_write.h>
#include <formats/zip.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *golden(const char *file)
{
    static char path[2][512];
    static int at;
    const char *root = getenv("WOQ_ROOT");

    at = !at;
    snprintf(path[at], sizeof path[at], "%s/tests/golden/%s", root ? root : ".", file);
    return path[at];
}

/* --- what real torch wrote --- */

static void same_tensors(const struct woq_st *a, const struct woq_st *b)
{
    struct woq_error err = { 0 };
    struct woq_buf buf = { 0 };

    assert_int_equal(a->n_tensors, b->n_tensors);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const struct woq_st_tensor *x = &a->tensors[i], *y = &b->tensors[i];

        assert_string_equal(x->name, y->name);
        if (strcmp(x->stored, y->stored) != 0 || x->n_dims != y->n_dims || x->bytes != y->bytes ||
            memcmp(x->shape, y->shape, sizeof x->shape) != 0)
            fail_msg("'%s': %s of %zu bytes, want %s of %zu", x->name, x->stored, x->bytes,
                     y->stored, y->bytes);
        const void *rows = woq_st_rows(x, &buf, &err);
        if (!rows || memcmp(rows, y->data, y->bytes) != 0)
            fail_msg("'%s': other bytes", x->name);
    }
    woq_buf_release(&buf);
}

static void test_dtypes_and_strides(void **state)
{
    const struct woq_st_opts crc = { .check_crc = true };
    struct woq_error err = { 0 };
    struct woq_st a, b;
    size_t n = 0;

    (void)state;
    if (woq_st_open(&a, golden("torch/dtypes.pt"), &crc, &err) < 0 ||
        woq_st_open(&b, golden("torch/dtypes.safetensors"), NULL, &err) < 0)
        fail_msg("%s: %s", err.where, err.what);
    for (size_t i = 0; i < a.n_tensors; i++)
        n += a.tensors[i].strided;
    assert_int_equal(n, 7);
    same_tensors(&a, &b);
    assert_int_equal(woq_st_settle(&a, &err), WOQ_OK);
    for (size_t i = 0; i < a.n_tensors; i++)
        assert_false(a.tensors[i].strided);
    same_tensors(&a, &b);
    woq_st_release(&a);
    woq_st_release(&b);
}

/* --- pickles --- */

struct bytes {
    uint8_t *p;
    size_t n, cap;
};

static void add(struct bytes *b, const void *data, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n);
        b->p = realloc(b->p, b->cap);
        assert_non_null(b->p);
    }
    if (n)
        memcpy(b->p + b->n, data, n);
    b->n += n;
}

static void add_text(struct bytes *b, const char *s)
{
    add(b, s, strlen(s));
}

/* Parses a copy of exactly these bytes. */
static int parse(const void *data, size_t n, struct woq_error *err)
{
    uint8_t *copy = malloc(n ? n : 1);
    struct woq_pickle p;

    assert_non_null(copy);
    memcpy(copy, data, n);
    memset(err, 0, sizeof *err);
    const int rc = woq_pickle_parse(&p, copy, n, err);
    if (rc == WOQ_OK)
        woq_pickle_release(&p);
    free(copy);
    return rc;
}

static void refused(const void *data, size_t n, const char *why)
{
    struct woq_error err;

    if (parse(data, n, &err) >= 0)
        fail_msg("was read, want '%s'", why);
    if (!strstr(err.what, why))
        fail_msg("'%s', want '%s'", err.what, why);
}

#define REFUSED(text, why) refused("\x80\2" text, sizeof("\x80\2" text) - 1, why)
#define STORAGE                                                                                    \
    "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\000"                                           \
    "0X\3\0\0\0cpuK\6tQ"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"

static void test_forbidden(void **state)
{
    (void)state;
    REFUSED("cos\nsystem\n(X\2\0\0\0lstR.", "global 'os.system' has no place in a state dict");
    REFUSED("c__builtin__\neval\n.", "global '__builtin__.eval'");
    REFUSED("cbuiltins\ngetattr\n.", "global 'builtins.getattr'");
    REFUSED("ctorch\nload\n.", "global 'torch.load'");
    REFUSED("ctorch.FloatStorage\nx\n.", "global 'torch.FloatStorage.x'");
    REFUSED("(ios\nsystem\n.", "opcode 0x69 has no place");
    REFUSED("(cos\n", "ends nowhere");
    REFUSED("(cos", "ends nowhere");
    REFUSED("}(o.", "opcode 0x6f has no place");
    REFUSED("X\2\0\0\0osX\6\0\0\0system\x93.", "opcode 0x93 has no place");
    REFUSED(")\x92.", "opcode 0x92 has no place");
    REFUSED("}\x94.", "opcode 0x94 has no place");
    REFUSED("\x82\1.", "opcode 0x82 has no place");
    REFUSED("Pid\n.", "opcode 0x50 has no place");
    REFUSED("S'x'\n.", "opcode 0x53 has no place");
    REFUSED("}2.", "opcode 0x32 has no place");
    REFUSED("\x80\6}.", "protocol 6");
    REFUSED("ctorch\nFloatStorage\n)R.", "a call of torch.FloatStorage");
    REFUSED("ctorch\nTensor\n)R.", "a call of torch.Tensor");
    REFUSED("X\1\0\0\000o)R.", "a call of what is no function");
    REFUSED("ccollections\nOrderedDict\n]R.", "without a tuple of arguments");
    REFUSED("ccollections\nOrderedDict\n)R)b)b]K\1b.", "BUILD of what is neither");
}

static void test_stack_and_memo(void **state)
{
    (void)state;
    refused("", 0, "has no end");
    REFUSED("", "has no end");
    REFUSED("}", "has no end");
    REFUSED(".", "finds nothing on the stack");
    REFUSED("(.", "finds nothing on the stack");
    REFUSED("}(.", "finds nothing on the stack");
    REFUSED("}.}", "1 bytes behind");
    REFUSED("}t.", "without a MARK");
    REFUSED("}u.", "without a MARK");
    REFUSED("}(K\1u.", "want pairs");
    REFUSED("](K\1K\2u.", "adds to what is no dict");
    REFUSED("}(K\1K\2e.", "adds to what is no list");
    REFUSED(")(K\1e.", "adds to what is no list");
    REFUSED("](K\1a.", "too little on the stack");
    REFUSED("K\1s.", "too little on the stack");
    REFUSED("K\1\x86.", "a tuple of 2, 1 are on the stack");
    REFUSED("h\0.", "memo slot 0 was never set");
    REFUSED("}q\5h\4.", "memo slot 4 was never set");
    REFUSED("}r\377\377\377\377.", "memo slot 4294967295, 0 are in use");
    REFUSED("j\0\0\0\200.", "memo slot 2147483648 was never set");
    REFUSED("X\377\377\377\377abc", "needs 4294967295 bytes");
    REFUSED("U\5ab", "needs 5 bytes");
    REFUSED("\x8a\11"
            "123456789.",
            "an integer of 9 bytes");
    REFUSED("G1234", "needs 8 bytes");
}

static void test_calls(void **state)
{
    struct woq_error err;
    static const char good[] =
        "\x80\2}X\1\0\0\000w" REBUILD "(" STORAGE "K\0K\2K\3\x86K\3K\1\x86\x89)tRs.";

    (void)state;
    assert_int_equal(parse(good, sizeof good - 1, &err), WOQ_OK);
    REFUSED(REBUILD ")R.", "_rebuild_tensor_v2 with 0 arguments");
    REFUSED(REBUILD "(K\0K\0K\2\x85K\1\x85\x89)tR.", "a tensor without a storage");
    REFUSED(REBUILD "(" STORAGE "J\377\377\377\377K\2\x85K\1\x85\x89)tR.", "offset is no size");
    REFUSED(REBUILD "(" STORAGE "K\0K\2\x85]\x89)tR.", "shape and strides are not tuples");
    REFUSED(REBUILD "(" STORAGE "K\0J\377\377\377\377\x85K\1\x85\x89)tR.", "of at most 8 sizes");
    REFUSED(REBUILD "(" STORAGE "K\0K\2\x85K\1K\1\x86\x89)tR.", "of at most 8 sizes");
    REFUSED(REBUILD "(" STORAGE
                    "K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1t(K\1K\1K\1K\1K\1K\1K\1K\1K\1t\x89)tR.",
            "of at most 8 sizes");
    REFUSED("(X\7\0\0\0storagectorch\nfloat32\nX\1\0\0\000"
            "0X\3\0\0\0cpuK\6tQ.",
            "names no storage");
    REFUSED("(X\7\0\0\0storagectorch\nFloatStorage\nK\1X\3\0\0\0cpuK\6tQ.", "names no storage");
    REFUSED("(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\000"
            "0X\3\0\0\0cpuJ\377\377\377\377tQ.",
            "names no storage");
    REFUSED("K\1Q.", "names no storage");
    REFUSED("ctorch._utils\n_rebuild_parameter\n(K\1\x88)tR.", "a parameter without a tensor");
    REFUSED("ctorch\nSize\n]\x85R.", "a torch.Size of what is no tuple");
    REFUSED("ccollections\nOrderedDict\nK\1\x85R.", "an OrderedDict of what is no list");
    REFUSED("ccollections\nOrderedDict\n](K\1e\x85R.", "an OrderedDict of what are no pairs");
}

/* Depth and size that a few bytes ask for. */
static void test_bombs(void **state)
{
    static const char wrap[] = "ctorch._tensor\n_rebuild_from_type_v2\n";
    struct woq_error err;
    struct bytes b = { 0 };

    (void)state;
    /* Lists in lists in lists: nothing walks down. */
    add_text(&b, "\x80\2");
    for (int i = 0; i < 500000; i++)
        add_text(&b, "]");
    for (int i = 0; i < 499999; i++)
        add_text(&b, "a");
    add_text(&b, ".");
    assert_int_equal(parse(b.p, b.n, &err), WOQ_OK);
    b.n = 2;
    for (int i = 0; i < 500000; i++)
        add_text(&b, "(");
    for (int i = 0; i < 500000; i++)
        add_text(&b, "t");
    add_text(&b, ".");
    assert_int_equal(parse(b.p, b.n, &err), WOQ_OK);
    /* A list in itself, a dict in itself. */
    refused("\x80\2]q\0h\0a", 7, "has no end");
    assert_int_equal(parse("\x80\2]q\0h\0a.", 9, &err), WOQ_OK);
    assert_int_equal(parse("\x80\2}q\0X\1\0\0\000kh\0s.", 15, &err), WOQ_OK);
    /* A wrapper of a wrapper. */
    b.n = 2;
    add_text(&b, wrap);
    add_text(&b, "(");
    add_text(&b, wrap);
    add_text(&b, "ctorch\nTensor\n)}tR.");
    refused(b.p, b.n, "_rebuild_from_type_v2 with 0 arguments");
    /* Ever more copies of a long list. */
    b.n = 2;
    add_text(&b, "ccollections\nOrderedDict\nq");
    add(&b, "\0](", 3);
    for (int i = 0; i < 2000; i++)
        add_text(&b, "K\1K\2\x86");
    add(&b, "e\x85q\1(", 5);
    for (int i = 0; i < 200000; i++)
        add(&b, "h\0h\1R", 5);
    add_text(&b, "t.");
    refused(b.p, b.n, "makes more than 4194304 values");
    free(b.p);
}

/* --- archives --- */

struct member {
    const char *name;
    const void *data;
    size_t n;
};

enum { LOCAL = 30, ENTRY = 46 };
/* Where things are in the archive that was made last. */
static size_t local_at[8], data_at[8], entry_at[8], directory_at, end_at;

static void put(struct bytes *b, uint64_t x, int n)
{
    for (int i = 0; i < n; i++) {
        const uint8_t byte = (uint8_t)(i < 8 ? x >> 8 * i : 0);
        add(b, &byte, 1);
    }
}

static void make_zip(struct bytes *b, const struct member *m, size_t n)
{
    b->n = 0;
    for (size_t i = 0; i < n; i++) {
        local_at[i] = b->n;
        add(b, "PK\3\4\24\0\0\0\0\0\0\0\0\0", 14);
        put(b, 0, 4);
        put(b, m[i].n, 4);
        put(b, m[i].n, 4);
        put(b, strlen(m[i].name), 2);
        put(b, 0, 2);
        add_text(b, m[i].name);
        data_at[i] = b->n;
        if (m[i].n)
            add(b, m[i].data, m[i].n);
    }
    directory_at = b->n;
    for (size_t i = 0; i < n; i++) {
        entry_at[i] = b->n;
        add(b, "PK\1\2\24\0\24\0\0\0\0\0\0\0\0\0", 16);
        put(b, 0, 4);
        put(b, m[i].n, 4);
        put(b, m[i].n, 4);
        put(b, strlen(m[i].name), 2);
        put(b, 0, 12);
        put(b, local_at[i], 4);
        add_text(b, m[i].name);
    }
    end_at = b->n;
    add(b, "PK\5\6\0\0\0\0", 8);
    put(b, n, 2);
    put(b, n, 2);
    put(b, end_at - directory_at, 4);
    put(b, directory_at, 4);
    put(b, 0, 2);
}

/* As a file with one tensor 'w' of 2 x 3 floats; the pickle is given. */
static int open_zip(const struct bytes *b, struct woq_error *err)
{
    uint8_t *copy = malloc(b->n ? b->n : 1);
    struct woq_st st;

    assert_non_null(copy);
    if (b->n)
        memcpy(copy, b->p, b->n);
    memset(err, 0, sizeof *err);
    const int rc = woq_st_parse(&st, "x", copy, b->n, NULL, err);
    if (rc == WOQ_OK)
        woq_st_release(&st);
    free(copy);
    return rc;
}

static const char good_pickle[] =
    "\x80\2}X\1\0\0\000w" REBUILD "(" STORAGE "K\0K\2K\3\x86K\3K\1\x86\x89)tRs.";
static const float six[6] = { 1, 2, 3, 4, 5, 6 };

static const struct member good_members[] = {
    { "a/data.pkl", good_pickle, sizeof good_pickle - 1 },
    { "a/data/0", six, sizeof six },
    { "a/version", "3\n", 2 },
};

static void zip_refused(const struct bytes *b, const char *why)
{
    struct woq_error err;

    if (open_zip(b, &err) >= 0)
        fail_msg("was read, want '%s'", why);
    if (!strstr(err.what, why))
        fail_msg("'%s', want '%s'", err.what, why);
}

static void test_zip_headers(void **state)
{
    static const struct {
        char where; /* l: local header 1, c: directory entry 1, e: end record */
        size_t at;
        uint8_t byte;
        const char *why;
    } cases[] = {
        { 'l', 0, 'X', "no local header at byte" },
        { 'l', 8, 8, "the method of its local header" },
        { 'l', 6, 1, "the encryption flag of its local header" },
        { 'l', LOCAL, 'b', "the name of its local header" },
        { 'l', 26, 7, "the name of its local header" },
        { 'l', 18, 4, "the size of its local header" },
        { 'l', 22, 99, "the size of its local header" },
        { 'l', 29, 90, "ends beyond the members" },
        { 'c', 0, 'X', "no directory entry" },
        { 'c', 8, 1, "is encrypted" },
        { 'c', 10, 8, "is compressed (method 8)" },
        { 'c', 24, 25, "stored, but 24 bytes become 25" },
        { 'c', 29, 1, "is cut off" },
        { 'c', 45, 1, "no local header" },
        { 'c', ENTRY, 'b', "the name of its local header" },
        { 'e', 13, 1, "does not fit into the file" },
        { 'e', 18, 1, "does not fit into the file" },
        { 'e', 10, 200, "does not fit into the file" },
        { 'e', 10, 2, "behind its last entry" },
        { 'e', 20, 1, "has no directory at its end" },
    };
    struct bytes b = { 0 };
    struct woq_error err;

    (void)state;
    make_zip(&b, good_members, 3);
    if (open_zip(&b, &err) < 0)
        fail_msg("%s", err.what);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_zip(&b, good_members, 3);
        b.p[cases[i].at + (cases[i].where == 'l'   ? local_at[1]
                           : cases[i].where == 'c' ? entry_at[1]
                                                   : end_at)] = cases[i].byte;
        zip_refused(&b, cases[i].why);
    }
    free(b.p);
}

static void test_zip_members(void **state)
{
    struct member m[4];
    struct bytes b = { 0 };

    (void)state;
    memcpy(m, good_members, sizeof good_members);
    for (size_t i = 0; i < 5; i++) { /* one that has no place */
        static const char *const bad[] = { "b/x", "/a/x", "a/../x", "a//x", "../x" };

        m[3] = (struct member){ bad[i], "x", 1 };
        make_zip(&b, m, 4);
        zip_refused(&b, i == 0 ? "lies outside of 'a/'" : "want a plain name");
    }
    m[3] = (struct member){ "a/version", "x", 1 };
    make_zip(&b, m, 4);
    zip_refused(&b, "'a/version' is there twice");
    make_zip(&b, m, 3); /* two entries, one member */
    memcpy(b.p + entry_at[2] + 42, b.p + entry_at[1] + 42, 4);
    zip_refused(&b, "the name of its local header");
    m[3] = (struct member){ "a/data/1", "PK\3\4", 4 }; /* a member inside another one */
    make_zip(&b, m, 4);
    memcpy(b.p + data_at[1], b.p + local_at[3], 4);
    b.p[entry_at[3] + 42] = (uint8_t)data_at[1];
    b.p[entry_at[3] + 43] = (uint8_t)(data_at[1] >> 8);
    zip_refused(&b, "'a/data/1'");
    m[0].name = "a/other";
    make_zip(&b, m, 3);
    zip_refused(&b, "without 'a/data.pkl'");
    m[0].name = "data.pkl";
    make_zip(&b, m, 3);
    zip_refused(&b, "lies in no folder");
    memcpy(m, good_members, sizeof good_members);
    m[3] = (struct member){ "a/byteorder", "big", 3 };
    make_zip(&b, m, 4);
    zip_refused(&b, "the byte order is 'big'");
    m[3] = (struct member){ "a/constants.pkl", "", 0 };
    make_zip(&b, m, 4);
    zip_refused(&b, "a TorchScript archive");
    make_zip(&b, m, 0);
    add(&b, "", 0);
    zip_refused(&b, "header length"); /* no PK 3 4 at its begin: taken for safetensors */
    free(b.p);
}

static void test_zip64(void **state)
{
    struct bytes b = { 0 };
    struct woq_error err;

    (void)state;
    for (int wrong = 0; wrong < 3; wrong++) {
        make_zip(&b, good_members, 3);
        const size_t end64 = end_at;

        b.n = end64;
        add(&b, "PK\6\6", 4);
        put(&b, 44, 8);
        put(&b, 0, 12);
        put(&b, 3, 8);
        put(&b, wrong == 1 ? 4 : 3, 8);
        put(&b, end64 - directory_at, 8);
        put(&b, directory_at, 8);
        add(&b, "PK\6\7\0\0\0\0", 8);
        put(&b, wrong == 2 ? end64 + 1 : end64, 8);
        put(&b, 1, 4);
        add(&b, "PK\5\6\0\0\0\0", 8);
        put(&b, 3, 2);
        put(&b, wrong ? 3 : 0xffff, 2);
        put(&b, 0xffffffff, 4);
        put(&b, 0xffffffff, 4);
        put(&b, 0, 2);
        if (!wrong && open_zip(&b, &err) < 0)
            fail_msg("%s", err.what);
        if (wrong)
            zip_refused(&b, wrong == 1 ? "its zip64 form disagree" : "no zip64 end record");
    }
    free(b.p);
}

/* What only pickle and archive together show. */
static void test_tensors(void **state)
{
#define TENSOR(rest) "\x80\2}X\1\0\0\000w" REBUILD "(" STORAGE rest "\x89)tRs."
#define CASE(text, why)                                                                            \
    {                                                                                              \
        text, sizeof(text) - 1, why                                                                \
    }
#define BIG "\x8a\10\0\0\0\0\0\0\0\100" /* 2^62 */
    static const struct {
        const char *pickle;
        size_t n;
        const char *why;
    } cases[] = {
        CASE(TENSOR("K\1K\2K\3\x86K\3K\1\x86"), "reaches element 6 of a storage of 6"),
        CASE(TENSOR("K\0K\2K\3\x86K\4K\1\x86"), "reaches element 6 of a storage of 6"),
        CASE(TENSOR("K\0" BIG BIG "\x86K\1K\1\x86"), "more than 2^64 elements"),
        CASE(TENSOR("K\0" BIG "\x85" BIG "\x85"), "reach beyond 2^64"),
        CASE(TENSOR(BIG "K\2\x85K\1\x85"), "reaches element"),
        CASE(TENSOR("K\0" BIG "\x85K\0\x85"), "larger than the file"),
        CASE(TENSOR("K\0M\377\377\x85K\0\x85"), "larger than the file"),
        CASE("\x80\2}X\1\0\0\000w" REBUILD "((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\000"
             "7"
             "X\3\0\0\0cpuK\6tQK\0K\2\x85K\1\x85\x89)tRs.",
             "the archive has no storage 'data/7'"),
        CASE("\x80\2}X\1\0\0\000w" REBUILD "((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\000"
             "0"
             "X\3\0\0\0cpuK\7tQK\0K\2\x85K\1\x85\x89)tRs.",
             "storage 'data/0' has 24 bytes, want 7 x 4"),
        CASE("\x80\2}X\1\0\0\000w" REBUILD "((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\000"
             "0"
             "X\3\0\0\0cpu" BIG "tQK\0K\2\x85K\1\x85\x89)tRs.",
             "storage 'data/0' has 24 bytes"),
        CASE("\x80\2}K\1" REBUILD "(" STORAGE "K\0K\2\x85K\1\x85\x89)tRs.", "no UTF-8 text"),
        CASE("\x80\2}X\2\0\0\0\377w" REBUILD "(" STORAGE "K\0K\2\x85K\1\x85\x89)tRs.",
             "no UTF-8 text"),
        CASE("\x80\2}X\2\0\0\0w\0" REBUILD "(" STORAGE "K\0K\2\x85K\1\x85\x89)tRs.",
             "no UTF-8 text"),
        CASE("\x80\2}X\1\0\0\000w" REBUILD "(" STORAGE "K\0K\2\x85K\1\x85\x89)tRq\1s"
             "X\1\0\0\000wh\1s.",
             "tensor 'w' is there twice"),
        CASE("\x80\2}.", "no dict of tensors"),
        CASE("\x80\2K\1.", "no dict of tensors"),
        CASE("\x80\2}X\1\0\0\000w}X\1\0\0\000w" REBUILD "(" STORAGE "K\0K\2\x85K\1\x85\x89)tRss.",
             "holds no tensor itself"),
        CASE("\x80\2}q\0X\1\0\0\000wh\0s.", "no dict of tensors"),
    };
    struct member m[3];
    struct bytes b = { 0 };

    (void)state;
    memcpy(m, good_members, sizeof good_members);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        m[0].data = cases[i].pickle;
        m[0].n = cases[i].n;
        make_zip(&b, m, 3);
        zip_refused(&b, cases[i].why);
    }
    free(b.p);
}

static void test_crc(void **state)
{
    struct woq_error err = { 0 };
    struct woq_zip z;
    char *data;
    size_t n;

    (void)state;
    assert_int_equal(woq_file_read(golden("torch/f32.bin"), 0, &data, &n, &err), WOQ_OK);
    assert_int_equal(woq_zip_parse(&z, (uint8_t *)data, n, &err), WOQ_OK);
    assert_string_equal(z.top, "f32/");
    for (size_t i = 0; i < z.n; i++)
        assert_int_equal(woq_zip_check_crc(&z.members[i], &err), WOQ_OK);
    const struct woq_zip_member *m = woq_zip_find(&z, "data/0");
    data[m->data + m->bytes / 2 - (uint8_t *)data] ^= 1;
    assert_int_equal(woq_zip_check_crc(m, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "its CRC-32 is"));
    assert_null(woq_zip_find(&z, "data/x"));
    woq_zip_release(&z);
    free(data);
}

/* Every cut is refused; flipped bits are refused or read, never a crash. */
static void test_damage(void **state)
{
    struct woq_error err = { 0 };
    struct bytes b = { 0 };
    uint64_t x = 88172645463325252u;
    char *data;
    size_t n;

    (void)state;
    assert_int_equal(woq_file_read(golden("torch/dtypes.pt"), 0, &data, &n, &err), WOQ_OK);
    for (size_t cut = 0; cut < n; cut += 7) {
        b.n = 0;
        add(&b, data, cut);
        if (open_zip(&b, &err) >= 0)
            fail_msg("read whole, cut at byte %zu", cut);
    }
    b.n = 0;
    add(&b, data, n);
    for (int i = 0; i < 4000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        /* Half of them where the pickle is, at the begin. */
        const size_t at = (size_t)(x >> 8) % (i % 2 ? n : n < 3000 ? n : 3000);

        b.p[at] ^= (uint8_t)(1 << (x & 7));
        if (open_zip(&b, &err) < 0 && !err.what[0])
            fail_msg("refused without a message");
        b.p[at] ^= (uint8_t)(1 << (x & 7));
    }
    free(b.p);
    free(data);
}

/* --- what we write --- */

/* The tensors of `st` that PyTorch has storages for, in one file of its own. */
static void write_torch(const struct woq_st *st, const char *folder, uint64_t limit,
                        struct woq_st *back)
{
    const struct woq_st_opts crc = { .check_crc = true };
    struct woq_error err = { 0 };
    struct woq_st_writer w;
    struct woq_out out;
    char path[256];
    int rc = woq_out_open(&out, folder, true, false, &err);

    woq_st_writer_init(&w, &out, 1, 1);
    woq_st_writer_torch(&w, "quantized_weight.pt");
    for (size_t i = 0; i < st->n_tensors && rc == WOQ_OK; i++) {
        const struct woq_st_tensor *t = &st->tensors[i];
        const uint64_t half = t->bytes / 2;

        rc = woq_st_begin(&w, t->name, t->dtype, t->n_dims, t->shape, &err);
        if (i == 0)
            w.zip.limit = limit;
        if (rc == WOQ_OK)
            rc = woq_st_data(&w, t->data, half, &err);
        if (rc == WOQ_OK)
            rc = woq_st_data(&w, t->data + half, t->bytes - half, &err);
    }
    if (rc == WOQ_OK)
        rc = woq_st_seal(&w, &err);
    if (rc == WOQ_OK)
        rc = woq_st_finish(&w, &err);
    if (rc == WOQ_OK)
        rc = woq_out_commit(&out, &err);
    snprintf(path, sizeof path, "%s/quantized_weight.pt", folder);
    if (rc < 0 || woq_st_open(back, path, &crc, &err) < 0)
        fail_msg("%s: %s", err.where, err.what);
    woq_st_writer_release(&w);
    woq_out_release(&out);
    unlink(path);
    rmdir(folder);
}

/* Every dtype, no dimension, no element; with zip64 where sizes and offsets are beyond `limit`. */
static void test_written(void **state)
{
    static const uint64_t limits[] = { UINT32_MAX, 200, 1 };
    char temp[] = "/tmp/woq-torch-XXXXXX", folder[64];
    struct woq_error err = { 0 };
    struct woq_st st, back;

    (void)state;
    assert_non_null(mkdtemp(temp));
    snprintf(folder, sizeof folder, "%s/out", temp);
    if (woq_st_open(&st, golden("torch/dtypes.safetensors"), NULL, &err) < 0)
        fail_msg("%s: %s", err.where, err.what);
    const size_t all = st.n_tensors;
    size_t kept = 0;
    for (size_t i = 0; i < all; i++) { /* others behind: PyTorch has no storages for them */
        const struct woq_st_tensor t = st.tensors[i];

        if (!woq_dtype_bytes(t.dtype) || !woq_pickle_storage_name(t.stored))
            continue;
        st.tensors[i] = st.tensors[kept];
        st.tensors[kept++] = t;
    }
    assert_true(kept >= 10);
    st.n_tensors = kept;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        write_torch(&st, folder, limits[i], &back);
        same_tensors(&back, &st);
        woq_st_release(&back);
    }
    st.n_tensors = all;
    woq_st_release(&st);
    rmdir(temp);
}

static void test_no_storage(void **state)
{
    const uint64_t shape[1] = { 1 };
    char temp[] = "/tmp/woq-torch-XXXXXX", folder[64];
    struct woq_error err = { 0 };
    struct woq_st_writer w;
    struct woq_out out;

    (void)state;
    assert_non_null(mkdtemp(temp));
    snprintf(folder, sizeof folder, "%s/out", temp);
    assert_int_equal(woq_out_open(&out, folder, true, false, &err), WOQ_OK);
    woq_st_writer_init(&w, &out, 0, 1);
    woq_st_writer_torch(&w, "quantized_weight.pt");
    assert_int_equal(woq_st_begin(&w, "x", WOQ_U16, 1, shape, &err), WOQ_ETYPE);
    assert_string_equal(err.what, "'x' is U16: a PyTorch file has no storage of that type");
    woq_st_writer_release(&w);
    woq_out_release(&out);
    rmdir(temp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dtypes_and_strides),
        cmocka_unit_test(test_forbidden),
        cmocka_unit_test(test_stack_and_memo),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_zip_headers),
        cmocka_unit_test(test_zip_members),
        cmocka_unit_test(test_zip64),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_no_storage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
