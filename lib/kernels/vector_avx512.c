/* vector_avx512.c -- vector_ref.c for this instruction set. */
#include "v16_avx512.h"

#include "vector_body.h"
