/* stream.c -- reader and writer: round trips, and every way in which a stream can be bad. */
#include <woq/filter.h>
#include <woq/fsck.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

struct bytes {
    uint8_t *data;
    size_t n;
};

static const float w_data[4] = { 1.0f, 2.0f, 3.0f, 4.0f };

static struct woq_json *new_head(void)
{
    struct woq_json *head = woq_json_object();

    woq_json_set_str(head, "wts", "1.0");
    return head;
}

/* Three frames: a tensor with two arrays, a marker, a zeroed tensor that zstd shrinks. */
static int put_frames(struct woq_writer *w, int level)
{
    struct woq_error err = { 0 };
    struct woq_frame f = { 0 };
    const uint64_t shape[2] = { 2, 2 }, one = 3, many = 500;
    void *zeros;

    woq_frame_begin(&f, "TENS");
    woq_json_set_str(woq_frame_edit(&f), "name", "w");
    assert_int_equal(woq_frame_add(&f, "data", WOQ_F32, 2, shape, w_data, &err), 0);
    assert_int_equal(woq_frame_add(&f, "more", WOQ_U8, 1, &one, "abc", &err), 0);
    assert_int_equal(woq_writer_put(w, &f, &err), 0);
    woq_frame_begin(&f, "BLKB");
    assert_int_equal(woq_writer_put(w, &f, &err), 0);
    woq_frame_begin(&f, "TENS");
    woq_json_set_str(woq_frame_edit(&f), "name", "z");
    assert_int_equal(woq_frame_alloc(&f, "data", WOQ_F32, 1, &many, &zeros, &err), 0);
    memset(zeros, 0, 2000);
    f.flags = 0;
    assert_int_equal(level ? woq_writer_put_zstd(w, &f, level, &err) : woq_writer_put(w, &f, &err),
                     0);
    woq_frame_release(&f);
    return 0;
}

static struct bytes slurp(FILE *file)
{
    struct bytes b;
    const off_t end = lseek(fileno(file), 0, SEEK_END);

    b.n = (size_t)end;
    b.data = woq_alloc(b.n, NULL);
    assert_int_equal(pread(fileno(file), b.data, b.n, 0), end);
    fclose(file);
    return b;
}

static struct bytes make_stream(int level)
{
    struct woq_error err = { 0 };
    struct woq_json *head = new_head();
    struct woq_writer *w = NULL;
    FILE *file = tmpfile();

    assert_non_null(file);
    assert_int_equal(woq_writer_open_fd(&w, fileno(file), "tmp", head, &err), 0);
    put_frames(w, level);
    assert_int_equal(woq_writer_finish(w, &err), 0);
    woq_writer_close(w);
    woq_json_free(head);
    return slurp(file);
}

/* Reads all of it; the last status, and how many frames came before. */
static int read_mem(const void *data, size_t n, const struct woq_reader_opts *opts, int *n_frames,
                    struct woq_error *err)
{
    struct woq_reader *r = NULL;
    struct woq_frame *f;
    int rc;

    *n_frames = 0;
    memset(err, 0, sizeof *err);
    assert_int_equal(woq_reader_open_mem(&r, data, n, "mem", opts, err), 0);
    while ((rc = woq_reader_next(r, &f, err)) > 0)
        (*n_frames)++;
    woq_reader_close(r);
    return rc;
}

static void check_frames(struct woq_reader *r)
{
    struct woq_error err = { 0 };
    const struct woq_json *head;
    struct woq_frame *f;
    struct woq_tensor t;

    assert_int_equal(woq_reader_head(r, &head, &err), 0);
    assert_string_equal(woq_json_get_str(head, "wts"), "1.0");
    assert_int_equal(woq_reader_next(r, &f, &err), WOQ_ITEM);
    assert_int_equal(f->seq, 1);
    assert_int_equal(woq_frame_view(f, &t, &err), 0);
    assert_string_equal(t.name, "w");
    assert_memory_equal(t.data, w_data, sizeof w_data);
    assert_int_equal((uintptr_t)t.data % 64, 0);
    assert_memory_equal(woq_frame_array(f, "more")->data, "abc", 3);
    assert_int_equal(woq_frame_array(f, "more")->offset, 64);
    assert_int_equal(woq_reader_next(r, &f, &err), WOQ_ITEM);
    assert_true(woq_frame_is(f, "BLKB"));
    assert_int_equal(woq_reader_next(r, &f, &err), WOQ_ITEM);
    assert_int_equal(woq_frame_view(f, &t, &err), 0);
    assert_int_equal(t.n_elem, 500);
    for (size_t i = 0; i < t.n_elem; i++)
        assert_true(((const float *)t.data)[i] == 0.0f);
    assert_int_equal(woq_reader_next(r, &f, &err), WOQ_OK);
    assert_int_equal(woq_reader_next(r, &f, &err), WOQ_OK); /* and stays at the end */
}

static void test_round_trip(void **state)
{
    (void)state;
    for (int level = 0; level <= 3; level += 3) {
        struct bytes b = make_stream(level);
        struct woq_reader *r = NULL;
        struct woq_error err = { 0 };
        int pipe_fd[2];

        assert_int_equal(b.n % 64, 0);
        assert_true(level == 0 || b.n < 2000);
        assert_int_equal(woq_reader_open_mem(&r, b.data, b.n, "mem", NULL, &err), 0);
        check_frames(r);
        woq_reader_close(r);
        assert_int_equal(pipe(pipe_fd), 0); /* a pipe holds more than this stream */
        assert_int_equal(write(pipe_fd[1], b.data, b.n), (ssize_t)b.n);
        close(pipe_fd[1]);
        assert_int_equal(woq_reader_open_fd(&r, pipe_fd[0], "pipe", NULL, &err), 0);
        check_frames(r);
        woq_reader_close(r);
        close(pipe_fd[0]);
        free(b.data);
    }
}

/* What was read and is put again unchanged has the same bytes, compressed frames too. */
static void test_pass_through(void **state)
{
    (void)state;
    for (int level = 0; level <= 3; level += 3) {
        struct bytes b = make_stream(level), again;
        struct woq_json *head = new_head();
        struct woq_reader *r = NULL;
        struct woq_writer *w = NULL;
        struct woq_frame *f, kept = { 0 };
        FILE *file = tmpfile();

        assert_int_equal(woq_reader_open_mem(&r, b.data, b.n, "mem", NULL, NULL), 0);
        assert_int_equal(woq_writer_open_fd(&w, fileno(file), "tmp", head, NULL), 0);
        while (woq_reader_next(r, &f, NULL) > 0) {
            woq_frame_move(&kept, f); /* moved frames are whole */
            assert_int_equal(woq_writer_put(w, &kept, NULL), 0);
        }
        assert_int_equal(woq_writer_finish(w, NULL), 0);
        woq_frame_release(&kept);
        woq_reader_close(r);
        woq_writer_close(w);
        woq_json_free(head);
        again = slurp(file);
        assert_int_equal(again.n, b.n);
        assert_memory_equal(again.data, b.data, b.n);
        free(again.data);
        free(b.data);
    }
}

static void test_every_cut(void **state)
{
    struct bytes b = make_stream(0);
    struct woq_error err;
    int n;

    (void)state;
    for (size_t cut = 0; cut < b.n; cut++) {
        uint8_t *copy = malloc(cut ? cut : 1); /* its end is where a sanitizer looks */
        memcpy(copy, b.data, cut);
        assert_int_equal(read_mem(copy, cut, NULL, &n, &err), WOQ_ETRUNC);
        assert_non_null(strstr(err.where, "mem: frame "));
        assert_int_equal(woq_exit_status(err.status), 3);
        free(copy);
    }
    free(b.data);
}

static void test_every_bit(void **state)
{
    (void)state;
    for (int level = 0; level <= 3; level += 3) {
        struct bytes b = make_stream(level);
        struct woq_error err;
        int n;

        for (size_t bit = 0; bit < b.n * 8; bit++) {
            b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_true(read_mem(b.data, b.n, NULL, &n, &err) < 0);
            assert_true(err.what[0] && err.where[0]);
            b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_int_equal(read_mem(b.data, b.n, NULL, &n, &err), WOQ_OK);
        free(b.data);
    }
}

static void fix_hash(uint8_t *header)
{
    const uint64_t h = woq_hash64(header, 56);
    memcpy(header + 56, &h, sizeof h);
}

/* A header with right hashes and wrong promises. */
static void expect(struct bytes *b, size_t at, const void *bytes, size_t n, int status,
                   const char *text)
{
    uint8_t kept[WOQ_HEADER_BYTES], *header = b->data + at / 64 * 64;
    struct woq_error err;
    int n_frames;

    memcpy(kept, header, sizeof kept);
    memcpy(b->data + at, bytes, n);
    fix_hash(header);
    assert_int_equal(read_mem(b->data, b->n, NULL, &n_frames, &err), status);
    assert_true(strstr(err.what, text));
    memcpy(header, kept, sizeof kept);
}

static void test_headers(void **state)
{
    static const uint64_t lengths[] = { UINT64_MAX,       UINT64_MAX - 62, UINT64_MAX - 64,
                                        UINT64_MAX / 2,   UINT64_MAX / 4,  (uint64_t)1 << 40,
                                        WOQ_MAX_FRAME + 1 };
    static const uint32_t metas[] = { UINT32_MAX, UINT32_MAX - 62, WOQ_MAX_META + 1 };
    struct bytes b = make_stream(0);
    const size_t one = 128; /* HEAD takes 64 + 64 */
    const uint64_t seq = 7;
    struct woq_error err;
    uint8_t two = 2;
    int n;

    (void)state;
    expect(&b, one + 12, &two, 1, WOQ_EDATA, "header version 2, this program knows version 1");
    expect(&b, one + 13, &two, 1, WOQ_EDATA, "reserved header bits are set");
    expect(&b, one + 14, &two, 1, WOQ_EDATA, "reserved header bits are set");
    expect(&b, one + 28, &two, 1, WOQ_EDATA, "reserved header bits are set");
    expect(&b, one + 16, &seq, 8, WOQ_EDATA, "frame carries number 7, want 1");
    expect(&b, one + 8, "ABCD", 4, WOQ_EUNSUPPORTED, "frame type ABCD is not known");
    expect(&b, one + 8, "HEAD", 4, WOQ_EUNSUPPORTED, "not allowed here");
    expect(&b, one + 8, "A\n\0D", 4, WOQ_EDATA, "frame type is not four letters");
    expect(&b, 8, "TENS", 4, WOQ_EDATA, "the first frame is TENS, want HEAD");
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(b.data + one + 32, &lengths[i], 8);
        fix_hash(b.data + one);
        assert_true(read_mem(b.data, b.n, NULL, &n, &err) < 0);
        assert_true(err.status == WOQ_EDATA || err.status == WOQ_ENOMEM);
    }
    for (size_t i = 0; i < sizeof metas / sizeof *metas; i++) {
        memcpy(b.data + one + 24, &metas[i], 4);
        fix_hash(b.data + one);
        assert_int_equal(read_mem(b.data, b.n, NULL, &n, &err), WOQ_EDATA);
        assert_non_null(strstr(err.what, "meta of"));
    }
    free(b.data);
    b = make_stream(0);
    expect(&b, one + 8, "abcd", 4, WOQ_EDATA,
           "TAIL does not match");      /* unknown passes, the fold not */
    memset(b.data + one + 48, 0xff, 8); /* unused bytes may hold anything */
    fix_hash(b.data + one);
    assert_int_equal(read_mem(b.data, b.n, NULL, &n, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "TAIL does not match")); /* ... but the header hashes count */
    free(b.data);
}

static void test_limits_and_ends(void **state)
{
    const struct woq_reader_opts small = { .max_frame_bytes = 1999 },
                                 fits = { .max_frame_bytes = 2000 };
    struct bytes b = make_stream(3);
    struct woq_error err;
    uint8_t *longer = malloc(b.n + 1);
    int n;

    (void)state;
    assert_int_equal(read_mem(b.data, b.n, &fits, &n, &err), WOQ_OK);
    assert_int_equal(n, 3);
    assert_int_equal(read_mem(b.data, b.n, &small, &n, &err), WOQ_ENOMEM); /* also when expanded */
    assert_non_null(strstr(err.what, "frame of 2000 bytes is over the limit of 1999"));
    memcpy(longer, b.data, b.n);
    longer[b.n] = 0;
    assert_int_equal(read_mem(longer, b.n + 1, NULL, &n, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "bytes follow the TAIL frame"));
    free(longer);
    free(b.data);
}

static void test_fail_frame(void **state)
{
    struct woq_error why = { 0 }, err;
    struct woq_json *head = new_head();
    struct woq_writer *w = NULL;
    FILE *file = tmpfile();
    struct bytes b;
    int n;

    (void)state;
    assert_int_equal(woq_writer_open_fd(&w, fileno(file), "tmp", head, NULL), 0);
    put_frames(w, 0);
    woq_fail(&why, WOQ_EDATA, "try this", "tensor is bad");
    woq_writer_fail(w, "woq-x", &why);
    woq_writer_close(w);
    woq_json_free(head);
    b = slurp(file);
    assert_int_equal(read_mem(b.data, b.n, NULL, &n, &err), WOQ_EUPSTREAM);
    assert_int_equal(n, 3);
    assert_string_equal(err.what, "woq-x failed: tensor is bad");
    assert_string_equal(err.hint, "try this");
    assert_int_equal(woq_exit_status(err.status), 3);
    free(b.data);
}

/* Every golden stream stays readable for ever. */
static void test_golden(void **state)
{
    const char *root = getenv("WOQ_ROOT");
    struct woq_error err = { 0 };
    struct woq_reader *r = NULL;
    struct woq_frame *f;
    char path[512];
    int rc, n = 0;

    (void)state;
    snprintf(path, sizeof path, "%s/tests/golden/stream/v1.wts", root ? root : ".");
    assert_int_equal(woq_reader_open(&r, path, NULL, &err), 0);
    while ((rc = woq_reader_next(r, &f, &err)) > 0) {
        n++;
        if (!strcmp(woq_frame_name(f), "c.weight"))
            assert_true(((const float *)woq_frame_array(f, "data")->data)[1599] == 1599.0f);
    }
    assert_int_equal(rc, WOQ_OK);
    assert_int_equal(n, 13);
    woq_reader_close(r);
}

static void test_salvage(void **state)
{
    struct bytes b = make_stream(0);
    struct woq_salvage s;
    struct woq_str text = { 0 };

    (void)state;
    for (size_t cut = 0; cut <= b.n; cut += 16) {
        assert_int_equal(woq_salvage_scan(&s, b.data, cut, NULL), 0);
        assert_true(s.n_found == 5 || cut < b.n);
        woq_salvage_release(&s);
    }
    b.data[128 + 64] ^= 1;
    assert_int_equal(woq_salvage_scan(&s, b.data, b.n, NULL), 0);
    assert_int_equal(s.n_found, 4);
    assert_int_equal(woq_salvage_report(&s, &text), 1);
    assert_non_null(strstr(text.s, "frame 1 is missing"));
    woq_salvage_release(&s);
    woq_str_release(&text);
    free(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_pass_through),
        cmocka_unit_test(test_every_cut),  cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_headers),    cmocka_unit_test(test_limits_and_ends),
        cmocka_unit_test(test_fail_frame), cmocka_unit_test(test_golden),
        cmocka_unit_test(test_salvage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
