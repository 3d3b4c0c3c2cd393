/* tile_avx512.c -- tile_body.h for this instruction set. */
#include "v16_avx512.h"

#include "tile_body.h"
