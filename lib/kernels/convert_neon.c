/* convert_neon.c -- convert_ref.c for this instruction set. */
#include "v16_neon.h"

#include "convert_body.h"
