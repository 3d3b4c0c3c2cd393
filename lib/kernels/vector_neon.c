/* vector_neon.c -- vector_ref.c for this instruction set. */
#include "v16_neon.h"

#include "vector_body.h"
