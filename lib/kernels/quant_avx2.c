/* quant_avx2.c -- quant_ref.c for this instruction set. */
#include "v16_avx2.h"

#include "quant_body.h"
