/* gen_values.c -- DTYPE[SHAPE]:VALUES of woq-gen: lists, constants, ramps, files, random numbers.
 */
#include "gen_internal.h"

#include <woq/threads.h>

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ELEMS ((size_t)1 << 15)

struct spec {
    enum woq_dtype dtype;
    bool has_shape;
    unsigned n_dims;
    uint64_t shape[WOQ_MAX_DIMS];
    size_t n_elem;
    const char *values;
};

/* --- random numbers (algorithms.md 11.10) --- */

static inline uint64_t splitmix(uint64_t k)
{
    uint64_t z = k * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline int32_t t4(uint64_t k)
{
    const uint64_t z = splitmix(k);
    return (int32_t)((z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) + (z >> 48)) - 131070;
}

uint64_t woq_gen_sequence(uint64_t seed)
{
    return splitmix(seed ^ 0x776f712d67656e31u); /* "woq-gen1": apart from the sequence of t4=K */
}

struct bell {
    unsigned char *dst;
    enum woq_dtype dtype;
    size_t n_elem;
    uint64_t k0;
    double scale, shift;
};

static void bell_chunk(void *ctx, size_t item, int thread)
{
    const struct bell *b = ctx;
    const size_t first = item * CHUNK_ELEMS, step = 1024;
    const size_t end = first + CHUNK_ELEMS < b->n_elem ? first + CHUNK_ELEMS : b->n_elem;
    float x[1024];

    (void)thread;
    for (size_t at = first; at < end; at += step) {
        const size_t n = end - at < step ? end - at : step;
        if (b->dtype == WOQ_F64) {
            double *d = (double *)(void *)b->dst + at;
            for (size_t i = 0; i < n; i++)
                d[i] = t4(b->k0 + at + i) * b->scale + b->shift;
            continue;
        }
        for (size_t i = 0; i < n; i++)
            x[i] = (float)(t4(b->k0 + at + i) * b->scale + b->shift);
        woq_from_f32(b->dst + at * woq_dtype_bytes(b->dtype), b->dtype, x, n);
    }
}

void woq_gen_bell(void *dst, enum woq_dtype d, size_t n_elem, uint64_t k0, double scale,
                  double shift)
{
    struct bell b = { dst, d, n_elem, k0, scale, shift };
    woq_parallel((n_elem + CHUNK_ELEMS - 1) / CHUNK_ELEMS, bell_chunk, &b);
}

/* --- one number into an element --- */

static int bad_value(const char *name, const char *text, enum woq_dtype d, struct woq_error *err)
{
    return woq_fail(err, WOQ_EUSAGE, NULL, "'%s': value '%.40s' is no %s", name, text,
                    woq_dtype_name(d));
}

static bool int_range(enum woq_dtype d, int64_t *lo, uint64_t *hi)
{
    const unsigned bits = (unsigned)woq_dtype_bytes(d) * 8;
    switch (d) {
    case WOQ_U8:
    case WOQ_U16:
    case WOQ_U32:
    case WOQ_U64:
        *lo = 0;
        *hi = UINT64_MAX >> (64 - bits);
        return true;
    case WOQ_BOOL:
        *lo = 0;
        *hi = 1;
        return true;
    case WOQ_I8:
    case WOQ_I16:
    case WOQ_I32:
    case WOQ_I64:
        *hi = UINT64_MAX >> (65 - bits);
        *lo = -(int64_t)*hi - 1;
        return true;
    default:
        return false;
    }
}

/* Little endian: the low bytes of a 64-bit two's complement number are the narrower number. */
static void store_int(unsigned char *dst, enum woq_dtype d, uint64_t v)
{
    for (size_t i = 0; i < woq_dtype_bytes(d); i++)
        dst[i] = (unsigned char)(v >> (8 * i));
}

static void store_float(unsigned char *dst, enum woq_dtype d, double v)
{
    const float f = (float)v;
    if (d == WOQ_F64)
        memcpy(dst, &v, sizeof v);
    else
        woq_from_f32(dst, d, &f, 1);
}

/* Parses one value at *text and moves behind it. */
static bool store_text(unsigned char *dst, enum woq_dtype d, const char **text)
{
    char *end;
    int64_t lo;
    uint64_t hi, v;

    errno = 0;
    if (!int_range(d, &lo, &hi)) {
        const double x = strtod(*text, &end);
        if (end == *text || isspace((unsigned char)**text))
            return false;
        store_float(dst, d, x);
    } else {
        const bool negative = **text == '-';
        if (!isdigit((unsigned char)(*text)[negative]))
            return false;
        v = strtoull(*text + negative, &end, 0);
        if (errno || v > (negative ? (uint64_t)0 - (uint64_t)lo : hi))
            return false;
        store_int(dst, d, negative ? (uint64_t)0 - v : v);
    }
    *text = end;
    return true;
}

static int fill_list(unsigned char *dst, const char *name, const struct spec *s,
                     struct woq_error *err)
{
    const char *at = s->values;

    for (size_t i = 0; i < s->n_elem; i++) {
        const char *item = at;
        if (!store_text(dst + i * woq_dtype_bytes(s->dtype), s->dtype, &at) ||
            *at != (i + 1 < s->n_elem ? ',' : '\0'))
            return bad_value(name, item, s->dtype, err);
        at++;
    }
    return WOQ_OK;
}

static size_t count_list(const char *values)
{
    size_t n = *values != '\0';
    for (const char *c = values; *c; c++)
        n += *c == ',';
    return n;
}

/* --- generated values --- */

static int fill_const(unsigned char *dst, const char *name, const struct spec *s, const char *text,
                      struct woq_error *err)
{
    const size_t size = woq_dtype_bytes(s->dtype);
    unsigned char one[8];
    const char *at = text;

    if (!store_text(one, s->dtype, &at) || *at)
        return bad_value(name, text, s->dtype, err);
    for (size_t i = 0; i < s->n_elem; i++)
        memcpy(dst + i * size, one, size);
    return WOQ_OK;
}

static int fill_ramp(unsigned char *dst, const struct spec *s)
{
    int64_t lo;
    uint64_t hi;
    const bool is_int = int_range(s->dtype, &lo, &hi);

    for (size_t i = 0; i < s->n_elem; i++) {
        unsigned char *at = dst + i * woq_dtype_bytes(s->dtype);
        if (is_int)
            store_int(at, s->dtype, hi == UINT64_MAX ? i : i % (hi + 1));
        else
            store_float(at, s->dtype, (double)i);
    }
    return WOQ_OK;
}

/* rand=SEED[,X]: floats bell-shaped with standard deviation X (0.02), integers uniform in 0..X. */
static int fill_rand(unsigned char *dst, const char *name, const struct spec *s, const char *text,
                     struct woq_error *err)
{
    char *end;
    int64_t lo;
    uint64_t hi;
    const uint64_t k0 = woq_gen_sequence(strtoull(text, &end, 0));
    const char *arg = *end == ',' ? end + 1 : NULL;

    if (end == text || (*end && !arg))
        return bad_value(name, text, s->dtype, err);
    if (!int_range(s->dtype, &lo, &hi)) {
        const double std = arg ? strtod(arg, &end) : 0.02;
        if ((arg && end == arg) || *end || !isfinite(std))
            return bad_value(name, text, s->dtype, err);
        woq_gen_bell(dst, s->dtype, s->n_elem, k0, std / WOQ_GEN_BELL_STD, 0.0);
        return WOQ_OK;
    }
    if (arg) {
        const uint64_t max = strtoull(arg, &end, 0);
        if (end == arg || *end || max > hi)
            return bad_value(name, text, s->dtype, err);
        hi = max;
    }
    for (size_t i = 0; i < s->n_elem; i++) {
        const uint64_t z = splitmix(k0 + i);
        store_int(dst + i * woq_dtype_bytes(s->dtype), s->dtype,
                  hi == UINT64_MAX ? z : z % (hi + 1));
    }
    return WOQ_OK;
}

/* t4=K: the very numbers of algorithms.md 11.10, t4(K + i) / 2^20. */
static int fill_t4(unsigned char *dst, const char *name, const struct spec *s, const char *text,
                   struct woq_error *err)
{
    char *end;
    const uint64_t k0 = strtoull(text, &end, 0);

    if (end == text || *end || !woq_dtype_is_float(s->dtype))
        return bad_value(name, text, s->dtype, err);
    woq_gen_bell(dst, s->dtype, s->n_elem, k0, 1.0 / (1 << 20), 0.0);
    return WOQ_OK;
}

static int fill(unsigned char *dst, const char *name, const struct spec *s, struct woq_error *err)
{
    if (!strncmp(s->values, "fill=", 5))
        return fill_const(dst, name, s, s->values + 5, err);
    if (!strncmp(s->values, "rand=", 5))
        return fill_rand(dst, name, s, s->values + 5, err);
    if (!strncmp(s->values, "t4=", 3))
        return fill_t4(dst, name, s, s->values + 3, err);
    if (!strcmp(s->values, "ramp"))
        return fill_ramp(dst, s);
    return fill_list(dst, name, s, err);
}

/* --- the head: DTYPE[SHAPE]: --- */

static int parse_shape(struct spec *s, const char **text, const char *name, struct woq_error *err)
{
    const char *at = *text;
    char *end;

    s->has_shape = true;
    s->n_elem = 1;
    do {
        at++;
        if (s->n_dims == WOQ_MAX_DIMS)
            return woq_fail(err, WOQ_EUSAGE, NULL, "'%s': more than %d dimensions", name,
                            WOQ_MAX_DIMS);
        errno = 0;
        s->shape[s->n_dims] = strtoull(at, &end, 10);
        if (end == at || errno || *at == '-' ||
            !woq_mul_size(s->n_elem, s->shape[s->n_dims], &s->n_elem))
            return woq_fail(err, WOQ_EUSAGE, NULL, "'%s': bad shape '%.40s', want [N,M,...]", name,
                            *text);
        s->n_dims++;
        at = end;
    } while (*at == ',' || *at == 'x');
    if (*at != ']')
        return woq_fail(err, WOQ_EUSAGE, NULL, "'%s': bad shape '%.40s', want [N,M,...]", name,
                        *text);
    *text = at + 1;
    return WOQ_OK;
}

static int parse_spec(struct spec *s, const char *name, const char *text, struct woq_error *err)
{
    char dtype[8] = "";
    const size_t n = strcspn(text, "[:");
    int rc;

    memset(s, 0, sizeof *s);
    if (n < sizeof dtype)
        memcpy(dtype, text, n);
    s->dtype = woq_dtype_from_name(dtype);
    if (s->dtype == WOQ_NO_DTYPE)
        return woq_fail(err, WOQ_EUSAGE,
                        "one of u8 i8 u16 i16 u32 i32 u64 i64 f16 bf16 f32 f64 bool",
                        "'%s': unknown dtype '%.*s'", name, (int)(n < 40 ? n : 40), text);
    text += n;
    if (*text == '[' && (rc = parse_shape(s, &text, name, err)) < 0)
        return rc;
    if (*text != ':')
        return woq_fail(err, WOQ_EUSAGE, NULL, "'%s': want DTYPE[SHAPE]:VALUES, found '%.40s'",
                        name, text);
    s->values = text + 1;
    return WOQ_OK;
}

static bool is_list(const char *values)
{
    return strncmp(values, "fill=", 5) != 0 && strncmp(values, "rand=", 5) != 0 &&
           strncmp(values, "t4=", 3) != 0 && strcmp(values, "ramp") != 0;
}

/* Checks the shape against the count of values, or takes it from there. */
static int settle_shape(struct spec *s, const char *name, size_t n_values, struct woq_error *err)
{
    size_t bytes;

    if (!s->has_shape) {
        s->n_dims = 1;
        s->shape[0] = s->n_elem = n_values;
    }
    if (s->n_elem != n_values)
        return woq_fail(err, WOQ_EUSAGE, NULL, "'%s': %zu values for a shape of %zu", name,
                        n_values, s->n_elem);
    if (!woq_mul_size(s->n_elem, woq_dtype_bytes(s->dtype), &bytes))
        return woq_fail(err, WOQ_EUSAGE, NULL, "'%s': shape of %zu elements is too large", name,
                        s->n_elem);
    return WOQ_OK;
}

/* VALUES = @PATH: the bytes of a file, or =TEXT: the bytes of the text itself. */
static int array_of_bytes(struct woq_frame *f, const char *name, struct spec *s,
                          struct woq_error *err)
{
    char *file = NULL;
    const char *src = s->values + 1;
    const size_t size = woq_dtype_bytes(s->dtype);
    size_t bytes = strlen(src);
    void *data;
    int rc;

    if (s->values[0] == '@' && (rc = woq_file_read(s->values + 1, 0, &file, &bytes, err)) < 0)
        return rc;
    if (bytes % size)
        rc = woq_fail(err, WOQ_EUSAGE, NULL, "'%s': %zu bytes are no multiple of %s", name, bytes,
                      woq_dtype_name(s->dtype));
    else if ((rc = settle_shape(s, name, bytes / size, err)) == WOQ_OK &&
             (rc = woq_frame_alloc(f, name, s->dtype, s->n_dims, s->shape, &data, err)) == WOQ_OK)
        memcpy(data, file ? file : src, bytes);
    free(file);
    return rc;
}

int woq_gen_array(struct woq_frame *f, const char *name, const char *text, struct woq_error *err)
{
    struct spec s;
    void *data;
    int rc;

    rc = parse_spec(&s, name, text, err);
    if (rc < 0 || !s.values)
        return rc;
    if (s.values[0] == '@' || s.values[0] == '=')
        return array_of_bytes(f, name, &s, err);
    if (is_list(s.values))
        rc = settle_shape(&s, name, count_list(s.values), err);
    else
        rc = settle_shape(&s, name, s.has_shape ? s.n_elem : 1, err);
    if (rc < 0 || (rc = woq_frame_alloc(f, name, s.dtype, s.n_dims, s.shape, &data, err)) < 0)
        return rc;
    return fill(data, name, &s, err);
}
