/* level_neon.c -- level_ref.c for this instruction set. */
#include "v16_neon.h"

#include "level_body.h"
