/* ggml_search.h -- the block types whose numbers are searched for: Q2_K .. Q6_K, IQ4_NL, IQ4_XS,
 * and Q4_0, Q4_1, Q5_0, Q5_1 where there is an importance. */
#ifndef WOQ_FORMATS_GGML_SEARCH_H
#define WOQ_FORMATS_GGML_SEARCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n_elem values (whole blocks) as blocks of the type with this id, codes chosen for the least
 * squared error weighted by `weight` (n_elem, > 0; NULL: all alike). False if a unit is beyond f16.
 */
bool woq_ggml_search(uint8_t *dst, uint32_t id, const float *src, const float *weight,
                     size_t n_elem);
bool woq_ggml_is_searched(uint32_t id);

#endif
