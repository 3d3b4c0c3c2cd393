/* decoder_avx512.c -- decoder_ref.c for this instruction set. */
#include "v16_avx512.h"

#include "decoder_body.h"
