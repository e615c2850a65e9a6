/* The kernels for x86-64 with AVX-512 F, BW, DQ, VL. The build compiles this file, and no other, with those enabled. */
#define NN_ISA_AVX512
#define NN_ISA_NAME "avx512"
#include "levels.h"

#if defined(__x86_64__) || defined(_M_X64)

#define REAL_BITS 32
#include "kernels.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "kernels.h"

const nn_kernels *nn_kernels_avx512(int precision)
{
    return precision == NN_FLOAT32 ? &table_f32 : &table_f64;
}

#else

const nn_kernels *nn_kernels_avx512(int precision)
{
    (void)precision;
    return NULL;
}

#endif
