/* quant_avx512.c -- quant_ref.c for this instruction set. */
#include "v16_avx512.h"

#include "quant_body.h"
