/* gguf_config.h -- what the keys of a GGUF file say, as an HF config.json (formats.md 3.4). */
#ifndef WOQ_GGUF_CONFIG_H
#define WOQ_GGUF_CONFIG_H
#include <formats/gguf.h>
#include <woq/arch.h>

/* config and generation config, owned by the caller; *a is the row of the table. A model that
 * config.json can't describe exactly (odd rope factors, widths that differ per layer) is refused.
 */
int woq_gguf_config(const struct woq_gguf *g, const struct woq_arch **a, struct woq_json **config,
                    struct woq_json **generation, struct woq_error *err);

#endif
