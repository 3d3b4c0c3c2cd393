/* dtype.h -- element types of arrays in a stream. */
#ifndef WOQ_DTYPE_H
#define WOQ_DTYPE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum woq_dtype {
    WOQ_NO_DTYPE = 0,
    WOQ_U8,
    WOQ_I8,
    WOQ_U16,
    WOQ_I16,
    WOQ_U32,
    WOQ_I32,
    WOQ_U64,
    WOQ_I64,
    WOQ_F16,
    WOQ_BF16,
    WOQ_F32,
    WOQ_F64,
    WOQ_BOOL,
    WOQ_N_DTYPES
};

const char *woq_dtype_name(enum woq_dtype d);         /* "u8" ... "bf16"; "?" if unknown */
enum woq_dtype woq_dtype_from_name(const char *name); /* WOQ_NO_DTYPE if unknown */
size_t woq_dtype_bytes(enum woq_dtype d);             /* 0 if unknown */
bool woq_dtype_is_float(enum woq_dtype d);            /* f16 bf16 f32 f64 */

/* dst[i] = (float)src[i] for any numeric dtype; exact for f16 and bf16. */
void woq_to_f32(float *restrict dst, const void *restrict src, enum woq_dtype d, size_t n_elem);
/* Rounds to nearest even; f16 overflow becomes inf. d is f16, bf16, f32 or f64. */
void woq_from_f32(void *restrict dst, enum woq_dtype d, const float *restrict src, size_t n_elem);

#endif
