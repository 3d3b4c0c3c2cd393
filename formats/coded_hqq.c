/* coded_hqq.c -- HQQ: the weight as a matrix of groups, packed along its rows by parts of a byte,
 * with float zero points (formats.md 4.g). */
#include <formats/coded.h>

#include <stdlib.h>
#include <string.h>

enum part { CODES, SCALE, ZERO, NBITS, GROUP, AXIS, SHAPE, COMPUTE };

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
static void read_compute_dtype(struct woq_linear *l)
{
    const struct woq_st_tensor *t = l->part[COMPUTE];
    const size_t skip = strlen("torch.");

    if (t && t->bytes > skip && t->bytes - skip < sizeof l->compute_dtype &&
        memcmp(t->data, "torch.", skip) == 0 && !memchr(t->data, 0, t->bytes))
        memcpy(l->compute_dtype, t->data + skip, t->bytes - skip);
}

static int check_axis(struct woq_linear *l, int64_t axis, struct woq_error *err)
{
    l->by_column = axis == 0;
    if (l->by_column && l->group != l->n_out)
        return woq_fail(err, WOQ_EUNSUPPORTED, "quantize it with axis 1",
                        "'%s' has axis 0 with groups of %zu, %zu outputs: only whole columns have "
                        "a form here",
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
    read_compute_dtype(l);
    if ((rc = check_axis(l, axis, err)))
        return rc;
    p = packing_of(l, &ok);
    if (!ok || l->codes->bytes != p.words * p.cols * p.word_bytes)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "'%s' has %zu bytes: not %zu x %zu codes of %d bits in groups of %zu",
                        l->codes->name, l->codes->bytes, l->n_out, l->n_in, l->bits, l->group);
    n = (uint64_t)l->n_out * l->n_in / l->group;
    if ((rc = woq_coded_want(l, SCALE, "F16 BF16 F32", n, err)) ||
        (rc = woq_coded_want(l, ZERO, "F16 BF16 F32", n, err)))
        return rc;
    return woq_coded_item(l, "hqq");
}

static int load_values(float *to, const struct woq_linear *l, size_t part, size_t width,
                       struct woq_error *err)
{
    const size_t n = l->n_out * l->n_in / l->group;
    float *value = woq_alloc(n * sizeof *value, err);
    int rc = value ? woq_coded_floats(value, l->part[part], err) : WOQ_ENOMEM;

    if (rc == WOQ_OK && l->by_column)
        memcpy(to, value, n * sizeof *value);
    else if (rc == WOQ_OK)
        woq_coded_spread(to, value, l, width);
    free(value);
    return rc;
}

static int load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                struct woq_error *err)
{
    const size_t width = woq_coded_width(l);
    const uint64_t groups[2] = { l->by_column ? 1 : l->n_out,
                                 l->by_column ? l->n_in : l->n_in / width };
    struct woq_scheme s;
    struct woq_qarrays a;
    struct packing p;
    void *zero;
    bool ok;
    int rc;

    (void)scratch;
    if ((rc = woq_coded_begin(f, l, l->n_in / width, &a, err)) ||
        (rc = woq_frame_alloc(f, "zero", WOQ_F32, 2, groups, &zero, err)) ||
        (rc = load_values(a.scale, l, SCALE, width, err)) ||
        (rc = load_values(zero, l, ZERO, width, err)))
        return rc;
    p = packing_of(l, &ok);
    unpack(a.codes, &p, l->codes->data);
    woq_scheme_init(&s);
    s.bits = l->bits;
    s.sym = false;
    s.group_dim = l->by_column ? 0 : 1;
    s.group_size = l->by_column ? -1 : (int64_t)width;
    return woq_coded_meta(f, l, &s, err);
}

const struct woq_linear_kind woq_hqq_kind = {
    .suffix = { "W_q", "scale", "zero", "nbits", "group_size", "axis", "shape", "compute_dtype",
                "packing", "view_as_float", "channel_wise", "encoded_state_dict", "offload_meta",
                "optimize", "quant_scale", "quant_zero", "round_zero", "stores_quant_config",
                "unpack_view_dtype" },
    .measure = measure,
    .load = load
};

/* --- writing --- */
static int check(const struct woq_qview *q, struct woq_error *err)
{
    static const char hint[] = "quantize with --bits 8, 4, 3, 2 or 1 and a group size that divides "
                               "the inputs, or leave it alone";

    if (q->lut)
        return woq_fail(err, WOQ_ETYPE, hint, "a codebook has no form in HQQ");
    if (q->group_dim == 1 ? q->n_cols % q->group_elems != 0 : q->n_groups != 1)
        return woq_fail(err, WOQ_ETYPE, hint, "%zu %s in groups of %zu: HQQ wants whole groups%s",
                        q->group_dim ? q->n_cols : q->n_rows, q->group_dim ? "inputs" : "outputs",
                        q->group_elems, q->group_dim ? "" : ", of all outputs");
    return WOQ_OK;
}

/* Scales or zero points (NULL: the middle) in the dtype that the file computes in. */
static int put_values(struct woq_coded_writer *w, const char *suffix, const struct woq_qview *q,
                      const float *from, struct woq_error *err)
{
    const enum woq_dtype d = strcmp(w->compute_dtype, "bfloat16") == 0  ? WOQ_BF16
                             : strcmp(w->compute_dtype, "float32") == 0 ? WOQ_F32
                                                                        : WOQ_F16;
    const size_t n = q->group_dim ? q->n_rows * q->n_groups : q->n_cols;
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
    const uint64_t groups = rows * woq_scheme_groups(s, (size_t)cols);
    const uint64_t codes = s->bits == 3 ? (rows * cols + 9) / 10 * 4
                                        : rows * cols * (uint64_t)(s->bits > 4 ? 8 : s->bits) / 8;

    return codes + 4 * groups + 80; /* what the package keeps of a layer, see put_meta */
}
