/* The kernels for any machine, in portable C. */
#define NN_ISA_BASELINE
#define NN_ISA_NAME "baseline"
#include "levels.h"

#define REAL_BITS 32
#include "kernels.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "kernels.h"

const nn_kernels *nn_kernels_baseline(int precision)
{
    return precision == NN_FLOAT32 ? &table_f32 : &table_f64;
}
