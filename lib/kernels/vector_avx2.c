/* vector_avx2.c -- vector_ref.c for this instruction set. */
#include "v16_avx2.h"

#include "vector_body.h"
