/* torch.c -- fuzz target: a file of torch.save from memory beside a fixed config.json, read to its
 * end; and the same bytes as a bare pickle, which needs no archive around it to be reached. */
#include "checkpoint.h"

#include <formats/pickle.h>

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
    read_pickle(data, bytes);
    read_archive(data, bytes);
    load_model(data, bytes);
    return 0;
}
