/* decoder_avx2.c -- decoder_ref.c for this instruction set. */
#include "v16_avx2.h"

#include "decoder_body.h"
