/* coded_hqq.c -- HQQ: the weight as a matrix of groups, packed along its rows by parts of a byte,
 * with float zero points (formats.md 4.g). Groups are the rows of that matrix (axis 1) or its
 * columns: with axis 0 and a group smaller than a column of the weight, the outputs that are equal
 * modulo the number of groups. Scales and zero points may be such matrices themselves;
 * their groups cross those of the weight, so that the stream gets the values alone, as the package
 * computes them. */
#include <formats/coded.h>

#include <stdlib.h>
#include <string.h>

/* Of a matrix; those of the scales and of the zero points stand behind those of the weight. */
enum part { CODES, SCALE, ZERO, NBITS, GROUP, AXIS, SHAPE, COMPUTE, N_MATRIX };
enum { OF_SCALE = N_MATRIX, OF_ZERO = 2 * N_MATRIX };

/* Rows of the group matrix lie one behind another in the parts of a word, the first part in the
 * highest bits; of 3 bits ten in 32. */
struct packing {
    size_t rows, cols;     /* of the group matrix */
    size_t n_parts, words; /* rows that share a word; rows of words */
    unsigned bits, top;    /* of a part; how far the first one is shifted */
    size_t word_bytes;
};

static bool packing_init(struct packing *p, int bits, size_t rows, size_t cols)
{
    static const uint8_t n_parts[] = { 0, 8, 4, 10, 2, 1, 1, 0, 1 };

    if (bits < 1 || bits > 8 || !n_parts[bits] || !rows || !cols)
        return false;
    p->rows = rows;
    p->cols = cols;
    p->n_parts = n_parts[bits];
    p->words = rows / p->n_parts + (rows % p->n_parts != 0);
    p->bits = (unsigned)bits;
    p->top = (unsigned)bits * (unsigned)(p->n_parts - 1);
    p->word_bytes = bits == 3 ? 4 : 1;
    return bits == 3 || rows % p->n_parts == 0;
}

static uint32_t word_at(const uint8_t *data, size_t i, size_t word_bytes)
{
    uint32_t w;

    if (word_bytes == 1)
        return data[i];
    memcpy(&w, data + 4 * i, sizeof w);
    return w;
}

/* codes in the order of the group matrix, which is that of the weight. */
static void unpack(uint8_t *codes, const struct packing *p, const uint8_t *data)
{
    const uint32_t mask = (1u << p->bits) - 1;

    for (size_t r = 0; r < p->rows; r++) {
        const unsigned shift = p->top - p->bits * (unsigned)(r / p->words);
        for (size_t c = 0; c < p->cols; c++)
            codes[r * p->cols + c] =
                (uint8_t)(word_at(data, r % p->words * p->cols + c, p->word_bytes) >> shift & mask);
    }
}

static void pack(uint8_t *data, const struct packing *p, const uint8_t *codes)
{
    for (size_t w = 0; w < p->words; w++)
        for (size_t c = 0; c < p->cols; c++) {
            uint32_t word = 0;
            for (size_t k = 0, r = w; k < p->n_parts && r < p->rows; k++, r += p->words)
                word |= (uint32_t)codes[r * p->cols + c] << (p->top - p->bits * (unsigned)k);
            if (p->word_bytes == 1)
                data[w * p->cols + c] = (uint8_t)word;
            else
                memcpy(data + 4 * (w * p->cols + c), &word, sizeof word);
        }
}

/* --- reading --- */
static int read_int(const struct woq_linear *l, size_t part, int64_t lo, int64_t hi, int64_t *out,
                    struct woq_error *err)
{
    float x;
    const int rc = woq_coded_want(l, part, "I32 I64 F32", 1, err);

    if (rc || woq_coded_floats(&x, l->part[part], err))
        return rc ? rc : WOQ_ENOMEM;
    if (!(x >= (float)lo && x <= (float)hi) || x != (float)(int64_t)x)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "'%s' is %g, want %lld..%lld",
                        l->part[part]->name, (double)x, (long long)lo, (long long)hi);
    *out = (int64_t)x;
    return WOQ_OK;
}

static int read_shape(struct woq_linear *l, struct woq_error *err)
{
    int64_t dim[2];
    const int rc = woq_coded_want(l, SHAPE, "I64", 2, err);

    if (rc)
        return rc;
    memcpy(dim, l->part[SHAPE]->data, sizeof dim);
    if (dim[0] < 1 || dim[1] < 1 || dim[0] > INT32_MAX || dim[1] > INT32_MAX)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s': sizes out of range", l->part[SHAPE]->name);
    l->n_out = (size_t)dim[0];
    l->n_in = (size_t)dim[1];
    return WOQ_OK;
}

/* "torch.float16" as characters. */
static void read_compute_dtype(char dtype[16], const struct woq_st_tensor *t)
{
    const size_t skip = strlen("torch.");

    if (t && t->bytes > skip && t->bytes - skip < 16 && memcmp(t->data, "torch.", skip) == 0 &&
        !memchr(t->data, 0, t->bytes))
        memcpy(dtype, t->data + skip, t->bytes - skip);
}

/* The type of PyTorch's name for it; float16, which is the package's default, for any other. */
static enum woq_dtype compute_dtype(const char *name)
{
    return strcmp(name, "bfloat16") == 0  ? WOQ_BF16
           : strcmp(name, "float32") == 0 ? WOQ_F32
                                          : WOQ_F16;
}

static int check_axis(struct woq_linear *l, int64_t axis, struct woq_error *err)
{
    l->by_column = axis == 0;
    if (l->by_column && l->n_out % l->group)
        return woq_fail(err, WOQ_EUNSUPPORTED, "quantize it with axis 1",
                        "'%s' has axis 0 with groups of %zu, %zu outputs: only groups that divide "
                        "them have a form here",
                        l->codes->name, l->group, l->n_out);
    return WOQ_OK;
}

static struct packing packing_of(const struct woq_linear *l, bool *ok)
{
    const size_t n = l->n_out * l->n_in, other = n / l->group;
    struct packing p = { 0 };

    *ok = n % l->group == 0 && packing_init(&p, l->bits, l->by_column ? l->group : other,
                                            l->by_column ? other : l->group);
    return p;
}

/* --- scales and zero points that are quantized --- */

struct nested {
    const struct woq_linear *l;
    size_t of; /* OF_SCALE or OF_ZERO */
    struct packing p;
    size_t n_steps; /* 1, or one for each row (axis 1) or column */
    bool by_row;
    enum woq_dtype dtype; /* that it computes in */
};

static bool is_nested(const struct woq_linear *l, size_t of)
{
    for (size_t i = 0; i < N_MATRIX; i++)
        if (l->part[of + i])
            return true;
    return false;
}

/* Rows and columns of its groups: those of its shape where it has none. */
static int read_matrix(const struct woq_linear *l, size_t of, size_t n, int64_t axis, size_t dim[2],
                       struct woq_error *err)
{
    int64_t group = 0, shape[2];
    int rc = woq_coded_want(l, of + SHAPE, "I64", 2, err);

    if (rc || (l->part[of + GROUP] && (rc = read_int(l, of + GROUP, 1, 1 << 24, &group, err))))
        return rc;
    memcpy(shape, l->part[of + SHAPE]->data, sizeof shape);
    if (shape[0] < 1 || shape[1] < 1 || (uint64_t)shape[0] > n || (uint64_t)shape[1] > n ||
        (uint64_t)shape[0] * (uint64_t)shape[1] != n || (group && n % (uint64_t)group))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "'%s' says %lld x %lld in groups of %lld, want %zu values in whole groups",
                        l->part[of + SHAPE]->name, (long long)shape[0], (long long)shape[1],
                        (long long)group, n);
    dim[axis] = group ? (size_t)group : (size_t)shape[axis];
    dim[!axis] = n / dim[axis];
    return WOQ_OK;
}

/* n values; checks all of its tensors. */
static int nested_init(struct nested *m, const struct woq_linear *l, size_t of, size_t n,
                       struct woq_error *err)
{
    const struct woq_st_tensor *codes = l->part[of + CODES], *scale = l->part[of + SCALE];
    int64_t bits = 0, axis = 0;
    char compute[16] = "";
    size_t dim[2];
    int rc;

    if ((rc = read_int(l, of + NBITS, 1, 8, &bits, err)) ||
        (rc = read_int(l, of + AXIS, 0, 1, &axis, err)) ||
        (rc = read_matrix(l, of, n, axis, dim, err)))
        return rc;
    read_compute_dtype(compute, l->part[of + COMPUTE]);
    *m = (struct nested){ .l = l, .of = of, .by_row = axis == 1, .dtype = compute_dtype(compute) };
    if (!packing_init(&m->p, (int)bits, dim[0], dim[1]))
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' is %lld: not a width that packs %zu rows",
                        l->part[of + NBITS]->name, (long long)bits, dim[0]);
    m->n_steps = scale && scale->bytes == woq_dtype_bytes(scale->dtype) ? 1 : dim[!axis];
    if ((rc = woq_coded_want(l, of + CODES, m->p.word_bytes == 4 ? "I32" : "U8",
                             m->p.words * m->p.cols, err)) ||
        (rc = woq_coded_want(l, of + SCALE, "F16 BF16 F32", m->n_steps, err)))
        return rc;
    if (codes->n_dims != 2 || codes->shape[0] != m->p.words)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has %llu rows, want %zu by its axis and group",
                        codes->name, (unsigned long long)(codes->n_dims ? codes->shape[0] : 1),
                        m->p.words);
    return woq_coded_want(l, of + ZERO, "F16 BF16 F32", m->n_steps, err);
}

/* To the nearest value of the type, as f32; `buf` has room for n of them. */
static void round_to(float *x, void *buf, enum woq_dtype dtype, size_t n)
{
    if (dtype == WOQ_F32)
        return;
    woq_from_f32(buf, dtype, x, n);
    woq_to_f32(x, buf, dtype, n);
}

/* (code - zero) * scale, each step in the type that it computes in. `to`, `scale`, `zero` and `buf`
 * have room for all values; the codes come in `to`. */
static void decode(float *to, float *scale, float *zero, void *buf, const struct nested *m)
{
    const size_t n = m->p.rows * m->p.cols;

    round_to(scale, buf, m->dtype, m->n_steps);
    round_to(zero, buf, m->dtype, m->n_steps);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < n; i++) {
            const size_t s = m->n_steps == 1 ? 0 : m->by_row ? i / m->p.cols : i % m->p.cols;
            to[i] = pass == 0 ? to[i] - zero[s] : to[i] * scale[s];
        }
        round_to(to, buf, m->dtype, n);
    }
}

static int nested_load(float *to, const struct nested *m, struct woq_error *err)
{
    const size_t n = m->p.rows * m->p.cols;
    float *scale = woq_alloc(3 * n * sizeof *scale, err), *zero = scale ? scale + n : NULL;
    uint8_t *codes = scale ? (uint8_t *)(zero + n) : NULL;
    int rc = scale ? woq_coded_floats(scale, m->l->part[m->of + SCALE], err) : WOQ_ENOMEM;

    if (rc == WOQ_OK)
        rc = woq_coded_floats(zero, m->l->part[m->of + ZERO], err);
    if (rc == WOQ_OK) {
        unpack(codes, &m->p, m->l->part[m->of + CODES]->data);
        for (size_t i = 0; i < n; i++)
            to[i] = codes[i];
        decode(to, scale, zero, codes, m);
    }
    free(scale);
    return rc;
}

/* Of one kind, n of them. */
static int measure_values(const struct woq_linear *l, size_t part, size_t of, size_t n,
                          struct woq_error *err)
{
    struct nested m;

    if (!is_nested(l, of))
        return woq_coded_want(l, part, "F16 BF16 F32", n, err);
    if (l->part[part])
        return woq_fail(err, WOQ_EDATA, "the checkpoint is not one",
                        "'%s' stands beside tensors of '%s' in quantized form", l->part[part]->name,
                        l->kind->suffix[part]);
    return nested_init(&m, l, of, n, err);
}

static int measure(struct woq_linear *l, const struct woq_linear_told *told, struct woq_error *err)
{
    int64_t bits, group, axis;
    struct packing p;
    uint64_t n;
    bool ok;
    int rc;

    (void)told;
    if ((rc = read_shape(l, err)) || (rc = read_int(l, NBITS, 1, 8, &bits, err)) ||
        (rc = read_int(l, AXIS, 0, 1, &axis, err)) ||
        (rc = read_int(l, GROUP, 1, 1 << 24, &group, err)))
        return rc;
    l->bits = (int)bits;
    l->group = (size_t)group;
    memcpy(l->dtype, "int", sizeof "int");
    read_compute_dtype(l->compute_dtype, l->part[COMPUTE]);
    if ((rc = check_axis(l, axis, err)))
        return rc;
    p = packing_of(l, &ok);
    if (!ok || l->codes->bytes != p.words * p.cols * p.word_bytes)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "'%s' has %zu bytes: not %zu x %zu codes of %d bits in groups of %zu",
                        l->codes->name, l->codes->bytes, l->n_out, l->n_in, l->bits, l->group);
    n = (uint64_t)l->n_out * l->n_in / l->group;
    if ((rc = measure_values(l, SCALE, OF_SCALE, n, err)) ||
        (rc = measure_values(l, ZERO, OF_ZERO, n, err)))
        return rc;
    return woq_coded_item(l, "hqq");
}

static int load_values(float *to, const struct woq_linear *l, size_t part, size_t of, size_t width,
                       struct woq_error *err)
{
    const size_t n = l->n_out * l->n_in / l->group;
    float *value = woq_alloc(n * sizeof *value, err);
    struct nested m;
    int rc = value ? WOQ_OK : WOQ_ENOMEM;

    if (rc == WOQ_OK && !is_nested(l, of))
        rc = woq_coded_floats(value, l->part[part], err);
    else if (rc == WOQ_OK && (rc = nested_init(&m, l, of, n, err)) == WOQ_OK)
        rc = nested_load(value, &m, err);

    if (rc == WOQ_OK && l->by_column)
        memcpy(to, value, n * sizeof *value);
    else if (rc == WOQ_OK)
        woq_coded_spread(to, value, l, width);
    free(value);
    return rc;
}

/* With axis 0 the weight, row after row, goes through all columns of the group matrix in turn. */
static int load_g_idx(struct woq_frame *f, uint64_t n_rows, size_t n_groups, struct woq_error *err)
{
    void *data;
    int32_t *g_idx;
    const int rc = woq_frame_alloc(f, "g_idx", WOQ_I32, 1, &n_rows, &data, err);

    if (rc)
        return rc;
    g_idx = data;
    for (size_t r = 0; r < n_rows; r++)
        g_idx[r] = (int32_t)(r % n_groups);
    return WOQ_OK;
}

static int load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                struct woq_error *err)
{
    const size_t width = l->by_column ? l->group : woq_coded_width(l);
    const size_t n_groups = (l->by_column ? l->n_out : l->n_in) / width;
    const uint64_t groups[2] = { l->by_column ? n_groups : l->n_out,
                                 l->by_column ? l->n_in : n_groups };
    struct woq_scheme s;
    struct woq_qarrays a;
    struct packing p;
    void *zero;
    bool ok;
    int rc;

    (void)scratch;
    if ((rc = woq_coded_begin(f, l, n_groups, &a, err)) ||
        (rc = woq_frame_alloc(f, "zero", WOQ_F32, 2, groups, &zero, err)) ||
        (l->by_column && n_groups > 1 && (rc = load_g_idx(f, l->n_out, n_groups, err))) ||
        (rc = load_values(a.scale, l, SCALE, OF_SCALE, width, err)) ||
        (rc = load_values(zero, l, ZERO, OF_ZERO, width, err)))
        return rc;
    p = packing_of(l, &ok);
    unpack(a.codes, &p, l->codes->data);
    woq_scheme_init(&s);
    s.bits = l->bits;
    s.sym = false;
    s.group_dim = l->by_column ? 0 : 1;
    s.group_size = l->by_column && n_groups == 1 ? -1 : (int64_t)width;
    return woq_coded_meta(f, l, &s, err);
}

/* clang-format off */
#define MATRIX(codes, p)                                                                           \
    codes, p "scale", p "zero", p "nbits", p "group_size", p "axis", p "shape", p "compute_dtype"
#define FORM(p) p "packing", p "view_as_float", p "unpack_view_dtype"
const struct woq_linear_kind woq_hqq_kind = {
    .suffix = { MATRIX("W_q", ""), MATRIX("scale_q", "meta_scale."), MATRIX("zero_q", "meta_zero."),
                FORM(""), FORM("meta_scale."), FORM("meta_zero."), "channel_wise", "encoded_state_dict",
                "offload_meta", "optimize", "quant_scale", "quant_zero", "round_zero",
                "stores_quant_config" },
    .measure = measure,
    .load = load
};
/* clang-format on */

/* --- writing --- */

/* Whole groups of inputs, or of outputs as axis 0 has them. */
static bool groups_fit(const struct woq_qview *q)
{
    if (q->group_dim == 1)
        return q->n_cols % q->group_elems == 0;
    for (size_t r = 0; r < q->n_rows; r++)
        if ((q->g_idx ? (size_t)q->g_idx[r] : r / q->group_elems) != r % q->n_groups)
            return false;
    return q->n_rows % q->group_elems == 0;
}

static int check(const struct woq_qview *q, struct woq_error *err)
{
    static const char hint[] = "quantize with --bits 8, 4, 3, 2 or 1 and a group size that divides "
                               "the inputs, or leave it alone";

    if (q->lut)
        return woq_fail(err, WOQ_ETYPE, hint, "a codebook has no form in HQQ");
    if (!groups_fit(q))
        return woq_fail(err, WOQ_ETYPE, hint, "%zu %s in groups of %zu: HQQ wants whole groups%s",
                        q->group_dim ? q->n_cols : q->n_rows, q->group_dim ? "inputs" : "outputs",
                        q->group_elems,
                        q->group_dim ? "" : ", of the outputs that are equal modulo their number");
    return WOQ_OK;
}

/* Scales or zero points (NULL: the middle) in the dtype that the file computes in. */
static int put_values(struct woq_coded_writer *w, const char *suffix, const struct woq_qview *q,
                      const float *from, struct woq_error *err)
{
    const enum woq_dtype d = compute_dtype(w->compute_dtype);
    const size_t n = q->n_groups * (q->group_dim ? q->n_rows : q->n_cols);
    const uint64_t shape[2] = { q->group_dim ? n : 1, q->group_dim ? 1 : n };
    float *x = woq_buf_need(&w->values, 2 * n * sizeof *x, err), *back = x ? x + n : NULL;
    void *out = woq_buf_need(&w->bytes, n * sizeof *x, err);

    if (!x || !out)
        return WOQ_ENOMEM;
    for (size_t i = 0; i < n; i++)
        x[i] = from ? from[i] : (float)(1 << q->bits >> 1);
    woq_from_f32(out, d, x, n);
    woq_to_f32(back, out, d, n);
    for (size_t i = 0; i < n; i++)
        if (!(back[i] - back[i] == 0.0f) ||
            (back[i] == 0.0f && x[i] != 0.0f && !strcmp(suffix, "scale")))
            return woq_fail(err, WOQ_ETYPE, "write it with --dtype bf16",
                            "%s %zu is %g: does not fit in %s", suffix, i, (double)x[i],
                            w->compute_dtype);
    return woq_coded_tensor(w, suffix, NULL, d, 2, shape, out, err);
}

static int put_codes(struct woq_coded_writer *w, const struct woq_qview *q, size_t group,
                     struct woq_error *err)
{
    const size_t other = q->n_rows * q->n_cols / group;
    uint64_t shape[2];
    struct packing p;
    void *data;

    if (!packing_init(&p, q->bits, q->group_dim ? other : group, q->group_dim ? group : other))
        return woq_fail(err, WOQ_ETYPE, "quantize with --bits 8, 4, 3, 2 or 1, or leave it alone",
                        "%d bits, %zu groups of %zu: HQQ does not pack them", q->bits, other,
                        group);
    data = woq_buf_need(&w->bytes, p.words * p.cols * p.word_bytes, err);
    if (!data)
        return WOQ_ENOMEM;
    pack(data, &p, q->codes);
    shape[0] = p.words;
    shape[1] = p.cols;
    return woq_coded_tensor(w, "W_q", NULL, q->bits == 3 ? WOQ_I32 : WOQ_U8, 2, shape, data, err);
}

static int put_text(struct woq_coded_writer *w, const char *suffix, const char *text,
                    struct woq_error *err)
{
    const uint64_t n = strlen(text);

    return woq_coded_tensor(w, suffix, NULL, WOQ_U8, 1, &n, text, err);
}

/* What the package keeps of a layer beside its numbers: scalars and words as tensors. */
static int put_meta(struct woq_coded_writer *w, const struct woq_qview *q, size_t group,
                    struct woq_error *err)
{
    static const char *const packings[] = { "",        "1bit_u8", "2bit_u8", "3bit_32", "4bit_u8",
                                            "8bit_u8", "8bit_u8", "",        "8bit_u8" };
    const int32_t axis = q->group_dim, group_size = (int32_t)group, bits = q->bits;
    const int64_t shape[2] = { (int64_t)q->n_rows, (int64_t)q->n_cols };
    const uint64_t two = 2, none = 0;
    const struct {
        const char *name;
        uint8_t value;
    } flags[] = {
        { "channel_wise", 1 },       { "encoded_state_dict", 1 },  { "offload_meta", 0 },
        { "optimize", 1 },           { "quant_scale", 0 },         { "quant_zero", 0 },
        { "round_zero", bits == 4 }, { "stores_quant_config", 1 }, { "view_as_float", 0 },
    };
    char compute[32] = "torch.";
    int rc;

    strncat(compute, w->compute_dtype, sizeof compute - 8);
    if ((rc = woq_coded_tensor(w, "axis", NULL, WOQ_I32, 0, &none, &axis, err)) ||
        (rc = woq_coded_tensor(w, "group_size", NULL, WOQ_I32, 0, &none, &group_size, err)) ||
        (rc = woq_coded_tensor(w, "nbits", NULL, WOQ_I32, 0, &none, &bits, err)) ||
        (rc = woq_coded_tensor(w, "shape", NULL, WOQ_I64, 1, &two, shape, err)) ||
        (rc = put_text(w, "packing", packings[bits], err)) ||
        (rc = put_text(w, "unpack_view_dtype", bits == 3 ? "torch.int32" : "torch.uint8", err)) ||
        (rc = put_text(w, "compute_dtype", compute, err)))
        return rc;
    for (size_t i = 0; i < sizeof flags / sizeof *flags && rc == WOQ_OK; i++)
        rc = woq_coded_tensor(w, flags[i].name, NULL, WOQ_U8, 0, &none, &flags[i].value, err);
    return rc;
}

int woq_hqq_put(struct woq_coded_writer *w, const struct woq_frame *f, const struct woq_qview *q,
                struct woq_error *err)
{
    const size_t group = q->group_elems;
    int rc = check(q, err);

    (void)f;
    if (rc || (rc = put_codes(w, q, group, err)) ||
        (rc = put_values(w, "scale", q, q->scale, err)) ||
        (rc = put_values(w, "zero", q, q->zero, err)) || (rc = put_meta(w, q, group, err)))
        return rc;
    if (!w->any) { /* the configuration tells of the first, each layer of itself */
        w->bits = q->bits;
        w->cols = (int64_t)group;
        w->rows = q->group_dim;
    }
    return WOQ_OK;
}

int woq_hqq_config(const struct woq_coded_writer *w, struct woq_json *c)
{
    struct woq_json *quant = woq_json_object(), *weight = woq_json_object();

    if (!quant || !weight) {
        woq_json_free(quant);
        woq_json_free(weight);
        return WOQ_ENOMEM;
    }
    woq_json_set_num(weight, "nbits", w->bits);
    woq_json_set_bool(weight, "channel_wise", true);
    woq_json_set_num(weight, "group_size", (double)w->cols);
    woq_json_set_bool(weight, "optimize", true);
    woq_json_set_bool(weight, "round_zero", w->bits == 4);
    woq_json_set_num(weight, "axis", (double)w->rows);
    woq_json_set_bool(weight, "view_as_float", false);
    woq_json_set(quant, "weight_quant_params", weight);
    woq_json_set(quant, "scale_quant_params", woq_json_of_null());
    woq_json_set(quant, "zero_quant_params", woq_json_of_null());
    woq_json_set_bool(quant, "offload_meta", false);
    woq_json_set(c, "quant_config", quant);
    return WOQ_OK;
}

uint64_t woq_hqq_bytes(const struct woq_scheme *s, uint64_t rows, uint64_t cols)
{
    const uint64_t groups = s->group_dim ? rows * woq_scheme_groups(s, (size_t)cols)
                                         : cols * woq_scheme_groups(s, (size_t)rows);
    const uint64_t codes = s->bits == 3 ? (rows * cols + 9) / 10 * 4
                                        : rows * cols * (uint64_t)(s->bits > 4 ? 8 : s->bits) / 8;

    return codes + 4 * groups + 80; /* what the package keeps of a layer, see put_meta */
}
