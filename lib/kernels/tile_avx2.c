/* tile_avx2.c -- tile_body.h for this instruction set. */
#include "v16_avx2.h"

#include "tile_body.h"
