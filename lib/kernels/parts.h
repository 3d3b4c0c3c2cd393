/* parts.h -- what each file of this folder contributes: a table with the members it implements,
 * the rest NULL. table.c lays them over one another. */
#ifndef WOQ_KERNELS_PARTS_H
#define WOQ_KERNELS_PARTS_H
#include <woq/kernels.h>

#define WOQ_PARTS(isa)                                                                             \
    extern const struct woq_kernels woq_convert_##isa, woq_quant_##isa, woq_vector_##isa,          \
        woq_decoder_##isa, woq_rank_##isa, woq_level_##isa, woq_tile_##isa

WOQ_PARTS(ref);
WOQ_PARTS(avx2);
WOQ_PARTS(avx512);
WOQ_PARTS(neon);

/* The name of a part in the file of one ISA, where ISA is a macro. */
#define WOQ_PASTE(topic, isa) woq_##topic##_##isa
#define WOQ_PASTE_VALUE(topic, isa) WOQ_PASTE(topic, isa)
#define WOQ_PART(topic) WOQ_PASTE_VALUE(topic, ISA)

#endif
