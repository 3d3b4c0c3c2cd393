/* gguf_rope.h -- rope scaling: what config.json says, and the divisors and factors that GGUF has
 * instead (formats.md 3.4, models.md 5.2). */
#ifndef WOQ_FORMATS_GGUF_ROPE_H
#define WOQ_FORMATS_GGUF_ROPE_H
#include <woq/arch.h>

/* Tensors of divisors, [n_rot / 2] f32: "rope_freqs.weight" of llama3, "rope_factors_short.weight"
 * and "rope_factors_long.weight" of longrope. NULL: there is no number i. `x`: NULL, or the room
 * for its values. */
const char *woq_gguf_rope_tensor(const struct woq_config *c, size_t i, float *x);
bool woq_gguf_is_rope_tensor(const char *name);

/* Of a file's rope.scaling.attn_factor: what multiplies cos and sin beyond what llama.cpp takes for
 * yarn anyway. */
double woq_gguf_attn_factor(const struct woq_config *c);
double woq_gguf_yarn_factor(double factor);

/* The rope_scaling object for factors v[n] at `theta` (rope_freqs.weight), *scaling = NULL if all
 * are 1; WOQ_EUNSUPPORTED where they don't follow the llama3 formula. */
int woq_llama3_scaling(struct woq_json **scaling, const float *v, size_t n, double theta,
                       struct woq_error *err);

/* 1e-5 went through f32 as 9.99999975e-06: the shortest decimal with the same f32 is meant. */
double woq_shortest(double x);

#endif
