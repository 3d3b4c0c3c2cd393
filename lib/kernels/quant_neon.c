/* quant_neon.c -- quant_ref.c for this instruction set. */
#include "v16_neon.h"

#include "quant_body.h"
