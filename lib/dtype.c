/* dtype.c -- names, sizes and conversions of element types. */
#include <woq/dtype.h>
#include <woq/kernels.h>

#include <string.h>

static const struct {
    const char *name;
    unsigned char bytes;
} types[WOQ_N_DTYPES] = {
    [WOQ_NO_DTYPE] = { "?", 0 }, [WOQ_U8] = { "u8", 1 },     [WOQ_I8] = { "i8", 1 },
    [WOQ_U16] = { "u16", 2 },    [WOQ_I16] = { "i16", 2 },   [WOQ_U32] = { "u32", 4 },
    [WOQ_I32] = { "i32", 4 },    [WOQ_U64] = { "u64", 8 },   [WOQ_I64] = { "i64", 8 },
    [WOQ_F16] = { "f16", 2 },    [WOQ_BF16] = { "bf16", 2 }, [WOQ_F32] = { "f32", 4 },
    [WOQ_F64] = { "f64", 8 },    [WOQ_BOOL] = { "bool", 1 },
};

const char *woq_dtype_name(enum woq_dtype d)
{
    return (unsigned)d < WOQ_N_DTYPES ? types[d].name : "?";
}

enum woq_dtype woq_dtype_from_name(const char *name)
{
    for (int d = 1; d < WOQ_N_DTYPES; d++)
        if (name && strcmp(name, types[d].name) == 0)
            return (enum woq_dtype)d;
    return WOQ_NO_DTYPE;
}

size_t woq_dtype_bytes(enum woq_dtype d)
{
    return (unsigned)d < WOQ_N_DTYPES ? types[d].bytes : 0;
}

bool woq_dtype_is_float(enum woq_dtype d)
{
    return d == WOQ_F16 || d == WOQ_BF16 || d == WOQ_F32 || d == WOQ_F64;
}

#define CONVERT(type)                                                                              \
    do {                                                                                           \
        const type *x = src;                                                                       \
        for (size_t i = 0; i < n; i++)                                                             \
            dst[i] = (float)x[i];                                                                  \
    } while (0)

void woq_to_f32(float *restrict dst, const void *restrict src, enum woq_dtype d, size_t n)
{
    switch (d) {
    case WOQ_F32:
        memcpy(dst, src, n * sizeof *dst);
        break;
    case WOQ_F16:
        woq_kernels()->f16_to_f32(dst, src, n);
        break;
    case WOQ_BF16:
        woq_kernels()->bf16_to_f32(dst, src, n);
        break;
    case WOQ_F64:
        CONVERT(double);
        break;
    case WOQ_U8:
    case WOQ_BOOL:
        CONVERT(uint8_t);
        break;
    case WOQ_I8:
        CONVERT(int8_t);
        break;
    case WOQ_U16:
        CONVERT(uint16_t);
        break;
    case WOQ_I16:
        CONVERT(int16_t);
        break;
    case WOQ_U32:
        CONVERT(uint32_t);
        break;
    case WOQ_I32:
        CONVERT(int32_t);
        break;
    case WOQ_U64:
        CONVERT(uint64_t);
        break;
    case WOQ_I64:
        CONVERT(int64_t);
        break;
    case WOQ_NO_DTYPE:
    case WOQ_N_DTYPES:
        break;
    }
}

void woq_from_f32(void *restrict dst, enum woq_dtype d, const float *restrict src, size_t n)
{
    if (d == WOQ_F32) {
        memcpy(dst, src, n * sizeof *src);
    } else if (d == WOQ_F16) {
        woq_kernels()->f32_to_f16(dst, src, n);
    } else if (d == WOQ_BF16) {
        woq_kernels()->f32_to_bf16(dst, src, n);
    } else if (d == WOQ_F64) {
        double *out = dst;

        for (size_t i = 0; i < n; i++)
            out[i] = (double)src[i];
    }
}
