/* torch.c -- fuzz target: a file of torch.save from memory beside a fixed config.json, read to its
 * end; and the same bytes as a bare pickle, which needs no archive around it to be reached. */
#include <formats/extract.h>
#include <formats/pickle.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":4,\"intermediate_size\":6,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"vocab_size\":5,\"rms_norm_eps\":1e-5,"
    "\"rope_theta\":10000,\"max_position_embeddings\":16,\"tie_word_embeddings\":true}";

static void read_pickle(const uint8_t *data, size_t bytes)
{
    struct woq_error err = { 0 };
    struct woq_pickle p;

    if (woq_pickle_parse(&p, data, bytes, &err) < 0)
        return;
    (void)woq_pickle_get(p.root, "state_dict");
    woq_pickle_release(&p);
}

static void read_archive(const uint8_t *data, size_t bytes)
{
    struct woq_st_opts opts = { .check_crc = bytes % 2 };
    struct woq_error err = { 0 };
    struct woq_buf buf = { 0 };
    struct woq_st st;

    if (woq_st_parse(&st, "x", data, bytes, &opts, &err) < 0)
        return;
    for (size_t i = 0; i < st.n_tensors; i++) {
        const uint8_t *rows = woq_st_rows(&st.tensors[i], &buf, &err);

        if (rows && st.tensors[i].bytes)
            (void)*(const volatile uint8_t *)&rows[st.tensors[i].bytes - 1];
    }
    (void)woq_st_settle(&st, &err);
    woq_buf_release(&buf);
    woq_st_release(&st);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct woq_source *s = NULL;
    struct woq_plan p = { 0 };
    struct woq_frame f = { 0 };
    struct woq_error err = { 0 };

    read_pickle(data, bytes);
    read_archive(data, bytes);
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
