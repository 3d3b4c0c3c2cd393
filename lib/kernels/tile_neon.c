/* tile_neon.c -- tile_body.h for this instruction set. */
#include "v16_neon.h"

#include "tile_body.h"
