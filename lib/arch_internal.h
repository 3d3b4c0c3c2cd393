/* arch_internal.h -- what arch.c, arch_table.c and config*.c share. */
#ifndef WOQ_ARCH_INTERNAL_H
#define WOQ_ARCH_INTERNAL_H
#include <woq/arch.h>

/* What does not fit a column of the table (config_refine.c). */
int woq_refine_baichuan(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_bigcode(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_chatglm(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_codegen(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_cohere(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_deepseek(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_falcon(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_gemma(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_gpt_neo(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_granite(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_mpt(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_opt(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_refine_smollm3(struct woq_config *c, const struct woq_json *j, struct woq_error *err);

/* --- values of a config.json (config_values.c) --- */

/* Limits well above any model; products of any two stay below 2^53. */
enum {
    WOQ_MAX_WIDTH = 1 << 22,
    WOQ_MAX_VOCAB = 1 << 24,
    WOQ_MAX_HEADS = 1 << 14,
    WOQ_MAX_EXPERTS = 1 << 12
};
#define WOQ_MAX_POSITIONS ((uint64_t)1 << 40)

/* The value of a key, or of its alias; NULL if neither is there. */
const struct woq_json *woq_config_get(const struct woq_json *j, const char *const keys[2]);
int woq_config_u64(const struct woq_json *v, const char *key, uint64_t lo, uint64_t hi,
                   uint64_t *out, struct woq_error *err);
/* A size that must be there; a size with a default for an absent key or null. */
int woq_config_need(const struct woq_json *j, const char *key, uint64_t hi, size_t *out,
                    struct woq_error *err);
int woq_config_maybe(const struct woq_json *j, const char *key, uint64_t hi, uint64_t otherwise,
                     size_t *out, struct woq_error *err);
/* A real number with a default (NAN: must be there); range lo < x <= hi. */
int woq_config_real(const struct woq_json *j, const char *key, double lo, double hi,
                    double otherwise, double *out, struct woq_error *err);
int woq_config_flag(const struct woq_json *j, const char *key, bool otherwise, bool *out,
                    struct woq_error *err);

/* --- parts of woq_config_init --- */
int woq_config_read_rope(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_config_read_windows(struct woq_config *c, const struct woq_json *j, struct woq_error *err);
int woq_config_read_experts(struct woq_config *c, const struct woq_json *j, struct woq_error *err);

static inline void woq_bits_set(uint64_t *bits, size_t i)
{
    bits[i / 64] |= (uint64_t)1 << (i % 64);
}

static inline bool woq_bits_get(const uint64_t *bits, size_t i)
{
    return i < WOQ_MAX_BLOCKS && (bits[i / 64] >> (i % 64) & 1);
}

#endif
