/* gguf_family.h -- what a row of gguf_arch.c cannot say of one family: models that its graph lacks,
 * keys of its own. */
#ifndef WOQ_FORMATS_GGUF_FAMILY_H
#define WOQ_FORMATS_GGUF_FAMILY_H
#include <formats/gguf_arch.h>

int woq_gguf_check_baichuan(const struct woq_config *c, struct woq_error *err);
int woq_gguf_check_cohere(const struct woq_config *c, struct woq_error *err);
int woq_gguf_check_gemma(const struct woq_config *c, struct woq_error *err);
int woq_gguf_check_latent(const struct woq_config *c, struct woq_error *err);
int woq_gguf_check_olmoe(const struct woq_config *c, struct woq_error *err);
int woq_gguf_check_shared(const struct woq_config *c, struct woq_error *err);
int woq_gguf_check_smollm3(const struct woq_config *c, struct woq_error *err);

/* `config`: config.json. */
void woq_gguf_put_baichuan(struct woq_gguf_keys *k, const struct woq_config *c,
                           const struct woq_json *config);
void woq_gguf_put_falcon(struct woq_gguf_keys *k, const struct woq_config *c,
                         const struct woq_json *config);
void woq_gguf_put_latent(struct woq_gguf_keys *k, const struct woq_config *c,
                         const struct woq_json *config);
void woq_gguf_put_mpt(struct woq_gguf_keys *k, const struct woq_config *c,
                      const struct woq_json *config);
void woq_gguf_put_parallel(struct woq_gguf_keys *k, const struct woq_config *c,
                           const struct woq_json *config);

void woq_gguf_get_baichuan(struct woq_gguf_reader *r, struct woq_json *config);
void woq_gguf_get_bigcode(struct woq_gguf_reader *r, struct woq_json *config);
void woq_gguf_get_chatglm(struct woq_gguf_reader *r, struct woq_json *config);
void woq_gguf_get_experts(struct woq_gguf_reader *r, struct woq_json *config);
void woq_gguf_get_falcon(struct woq_gguf_reader *r, struct woq_json *config);
void woq_gguf_get_gemma(struct woq_gguf_reader *r, struct woq_json *config);
void woq_gguf_get_granite(struct woq_gguf_reader *r, struct woq_json *config);
void woq_gguf_get_latent(struct woq_gguf_reader *r, struct woq_json *config);
void woq_gguf_get_mpt(struct woq_gguf_reader *r, struct woq_json *config);

/* A size of one head of latent attention: KEY with "_mla" behind it, KEY itself in older files,
 * which have keys and values whole. */
uint64_t woq_gguf_latent_size(struct woq_gguf_reader *r, const char *key);

#endif
