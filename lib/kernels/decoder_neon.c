/* decoder_neon.c -- decoder_ref.c for this instruction set. */
#include "v16_neon.h"

#include "decoder_body.h"
