/* tile_ref.c -- tile_body.h in plain C: the definition. */
#include "v16_ref.h"

#include "tile_body.h"
