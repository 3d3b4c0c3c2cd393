/* level_avx512.c -- level_ref.c for this instruction set. */
#include "v16_avx512.h"

#include "level_body.h"
