/* convert_avx512.c -- convert_ref.c for this instruction set. */
#include "v16_avx512.h"

#include "convert_body.h"
