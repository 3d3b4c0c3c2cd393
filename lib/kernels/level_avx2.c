/* level_avx2.c -- level_ref.c for this instruction set. */
#include "v16_avx2.h"

#include "level_body.h"
