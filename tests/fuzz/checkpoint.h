/* checkpoint.h -- what the fuzz targets of checkpoints share: a file from memory is read to its
 * end. */
#ifndef FUZZ_CHECKPOINT_H
#define FUZZ_CHECKPOINT_H
#include <formats/extract.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Every tensor of a source; whole: only of what makes a whole model. */
static inline void load_tensors(struct woq_source *s, bool whole)
{
    struct woq_plan p = { 0 };
    struct woq_frame f = { 0 };
    struct woq_error err = { 0 };

    if (woq_plan_init(&p, s, whole, &err) == WOQ_OK)
        for (size_t i = 0; i < p.n_steps; i++)
            if (woq_extract_load(&f, s, &p, i, &err) == WOQ_OK)
                (void)woq_extract_check_finite(&f, &err);
    woq_frame_release(&f);
    woq_plan_release(&p);
}

/* The tensors of a file beside a fixed config.json. */
static inline void load_model(const uint8_t *data, size_t bytes)
{
    static const char config[] =
        "{\"model_type\":\"llama\",\"hidden_size\":4,\"intermediate_size\":6,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
        "\"vocab_size\":5,\"rms_norm_eps\":1e-5,\"rope_theta\":10000,"
        "\"max_position_embeddings\":16,\"tie_word_embeddings\":true}";
    struct woq_source *s = NULL;
    struct woq_error err = { 0 };

    if (woq_source_open_mem(&s, "x", data, bytes, config, strlen(config), &err) == WOQ_OK)
        load_tensors(s, true);
    woq_source_close(s);
}

#endif
