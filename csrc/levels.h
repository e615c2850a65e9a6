/* What each isa_*.c exports: its table for a precision, or NULL on machines the level is not for. */
#ifndef NNFAST_LEVELS_H
#define NNFAST_LEVELS_H

#include "nnfast.h"

const nn_kernels *nn_kernels_baseline(int precision);
const nn_kernels *nn_kernels_avx2(int precision);
const nn_kernels *nn_kernels_avx512(int precision);
const nn_kernels *nn_kernels_neon(int precision);

#endif
