/* safetensors.c -- fuzz target: a file from memory beside a fixed config.json, read to its end. */
#include <formats/extract.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":4,\"intermediate_size\":6,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"vocab_size\":5,\"rms_norm_eps\":1e-5,"
    "\"rope_theta\":10000,\"max_position_embeddings\":16,\"tie_word_embeddings\":true}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct woq_source *s = NULL;
    struct woq_plan p = { 0 };
    struct woq_frame f = { 0 };
    struct woq_error err = { 0 };

    if (woq_source_open_mem(&s, "x", data, bytes, config, strlen(config), &err) < 0)
        return 0;
    if (woq_plan_init(&p, s, true, &err) == WOQ_OK)
        for (size_t i = 0; i < p.n_steps; i++)
            if (woq_extract_load(&f, s, &p, i, &err) == WOQ_OK)
                (void)woq_extract_check_finite(&f, &err);
    woq_frame_release(&f);
    woq_plan_release(&p);
    woq_source_close(s);
    return 0;
}
