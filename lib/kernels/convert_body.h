/* convert_body.h -- convert_ref.c on sixteen floats at a time; included after a v16_*.h. */
#include "parts.h"

/* The last n % 16 elements go through a padded copy. */
#define CONVERT(name, from_t, load, to_t, store)                                                   \
    static void name(to_t *dst, const from_t *src, size_t n)                                       \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + 16 <= n; i += 16)                                                               \
            store(dst + i, load(src + i));                                                         \
        if (i < n) {                                                                               \
            from_t in[16] = { 0 };                                                                 \
            to_t out[16];                                                                          \
            memcpy(in, src + i, (n - i) * sizeof *src);                                            \
            store(out, load(in));                                                                  \
            memcpy(dst + i, out, (n - i) * sizeof *dst);                                           \
        }                                                                                          \
    }
CONVERT(f16_to_f32, uint16_t, v_load_f16, float, v_store)
CONVERT(f32_to_f16, float, v_load, uint16_t, v_store_f16)
CONVERT(bf16_to_f32, uint16_t, v_load_bf16, float, v_store)
CONVERT(f32_to_bf16, float, v_load, uint16_t, v_store_bf16)

const struct woq_kernels WOQ_PART(convert) = {
    .f16_to_f32 = f16_to_f32,
    .f32_to_f16 = f32_to_f16,
    .bf16_to_f32 = bf16_to_f32,
    .f32_to_bf16 = f32_to_bf16,
};
