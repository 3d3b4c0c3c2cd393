/* config.c -- fuzz target: config.json, and the names and shapes that follow from it. */
#include <stdint.h>
#include <woq/arch.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct woq_json *json = NULL;
    struct woq_config c;
    struct woq_error err = { 0 };
    uint64_t shape[2];
    unsigned n_dims;
    struct woq_place p = { 0 };
    char name[64];

    if (woq_json_parse(&json, (const char *)data, bytes, &err) < 0)
        return 0;
    if (woq_config_init(&c, json, &err) == WOQ_OK)
        for (int i = 0; i < 5000 && woq_config_next(&c, &p); i++) {
            (void)woq_config_shape(&c, &p, &n_dims, shape);
            (void)woq_config_name(&c, &p, name, sizeof name);
            if (n_dims > 0 && woq_config_moves_rows(&c, p.role) &&
                woq_config_row(&c, &p, (size_t)shape[0] - 1) >= shape[0])
                __builtin_trap();
        }
    woq_json_free(json);
    return 0;
}
