/* gen.h -- frames from text and whole synthetic models, for tests and benchmarks (woq-gen).
 *
 * Random values are exact integers scaled once (algorithms.md 11.10), so that every host, thread
 * count and ISA makes the same bytes. */
#ifndef WOQ_GEN_H
#define WOQ_GEN_H
#include <woq/frame.h>

/* One frame from one operand of woq-gen(1):
 *     NAME[{META}]:DTYPE[[SHAPE]]:VALUES    TENS; DTYPE raw: a frame `xtra` with the bytes VALUES
 *     @TYPE[{META}][;ARRAY:DTYPE[[SHAPE]]:VALUES]...
 *     hess:of=NAME;ARRAY..., stat:of=NAME;ARRAY..., BLKB:N, BLKE:N
 * The frame owns its arrays. WOQ_EUSAGE with the operand and the place in it. */
int woq_gen_frame(struct woq_frame *f, const char *text, struct woq_error *err);

/* dst[i] = bell-shaped value number k0 + i of 11.10, t4(k0 + i) * scale, rounded to dtype d (f16,
 * bf16, f32, f64). Its standard deviation is 37837.2 * scale. In parallel. */
void woq_gen_bell(void *dst, enum woq_dtype d, size_t n_elem, uint64_t k0, double scale,
                  double shift);
#define WOQ_GEN_BELL_STD 37837.22746846443 /* of t4: sqrt(4 * (65536^2 - 1) / 12) */
/* First k of an independent sequence for a seed. */
uint64_t woq_gen_sequence(uint64_t seed);

/* A model with random weights in the order in which woq-extract would send it. */
struct woq_gen_model;
/* text: "hidden=64,inter=128,layers=2,heads=4,kv=2,vocab=256,dtype=f16,seed=1,tie=0,ctx=2048";
 * missing keys have these defaults (kv = heads, inter = 4 * hidden). */
int woq_gen_model_open(struct woq_gen_model **m, const char *text, struct woq_error *err);
/* The same for any architecture: a config.json's text. */
int woq_gen_model_open_config(struct woq_gen_model **m, const char *config, enum woq_dtype dtype,
                              uint64_t seed, struct woq_error *err);
/* Frames and payload bytes that `next` will give. */
void woq_gen_model_total(const struct woq_gen_model *m, uint64_t *frames, uint64_t *bytes);
/* WOQ_ITEM and the next frame (MODL first), valid until the next call; WOQ_OK at the end. */
int woq_gen_model_next(struct woq_gen_model *m, struct woq_frame **f, struct woq_error *err);
void woq_gen_model_close(struct woq_gen_model *m);

#endif
