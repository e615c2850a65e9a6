/* The kernels for 64-bit ARM. */
#define NN_ISA_NEON
#define NN_ISA_NAME "neon"
#include "levels.h"

#if defined(__aarch64__) || defined(_M_ARM64)

#define REAL_BITS 32
#include "kernels.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "kernels.h"

const nn_kernels *nn_kernels_neon(int precision)
{
    return precision == NN_FLOAT32 ? &table_f32 : &table_f64;
}

#else

const nn_kernels *nn_kernels_neon(int precision)
{
    (void)precision;
    return NULL;
}

#endif
