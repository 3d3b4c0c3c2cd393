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
    char name[64];

    if (woq_json_parse(&json, (const char *)data, bytes, &err) < 0)
        return 0;
    if (woq_config_init(&c, json, &err) == WOQ_OK)
        for (unsigned r = 1; r < WOQ_N_ROLES; r++) {
            (void)woq_arch_shape(&c, (enum woq_role)r, false, &n_dims, shape);
            (void)woq_arch_name(c.arch, (enum woq_role)r, c.n_layers - 1, true, name, sizeof name);
        }
    woq_json_free(json);
    return 0;
}
