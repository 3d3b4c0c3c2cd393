/* convert_avx2.c -- convert_ref.c for this instruction set. */
#include "v16_avx2.h"

#include "convert_body.h"
