/* AVX-512 on CPUs without it, through SIMDe: given to csrc/simd.h as NN_INTRINSICS. */
#ifndef NNFAST_AVX512_SIMDE_H
#define NNFAST_AVX512_SIMDE_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>

#include <string.h>

/* Masked loads and stores are not in SIMDe 0.7. The masks here are always the first n lanes. */

#define NN_MASKED(suffix, vector, element, bits)                                                                    \
    static inline vector nn_maskz_loadu_##suffix(bits k, const element *p)                                          \
    {                                                                                                               \
        element lanes[sizeof(vector) / sizeof(element)] = {0};                                                      \
        vector v;                                                                                                   \
        for (unsigned i = 0; i < sizeof lanes / sizeof lanes[0]; i++)                                               \
            if (k >> i & 1)                                                                                         \
                lanes[i] = p[i];                                                                                    \
        memcpy(&v, lanes, sizeof v);                                                                                \
        return v;                                                                                                   \
    }                                                                                                               \
    static inline void nn_mask_storeu_##suffix(element *p, bits k, vector v)                                        \
    {                                                                                                               \
        element lanes[sizeof(vector) / sizeof(element)];                                                            \
        memcpy(lanes, &v, sizeof v);                                                                                \
        for (unsigned i = 0; i < sizeof lanes / sizeof lanes[0]; i++)                                               \
            if (k >> i & 1)                                                                                         \
                p[i] = lanes[i];                                                                                    \
    }

NN_MASKED(ps, simde__m512, float, simde__mmask16)
NN_MASKED(pd, simde__m512d, double, simde__mmask8)
NN_MASKED(ps256, simde__m256, float, simde__mmask8)
NN_MASKED(pd256, simde__m256d, double, simde__mmask8)

#define _mm512_maskz_loadu_ps nn_maskz_loadu_ps
#define _mm512_maskz_loadu_pd nn_maskz_loadu_pd
#define _mm512_mask_storeu_ps nn_mask_storeu_ps
#define _mm512_mask_storeu_pd nn_mask_storeu_pd
#define _mm256_maskz_loadu_ps nn_maskz_loadu_ps256
#define _mm256_maskz_loadu_pd nn_maskz_loadu_pd256
#define _mm256_mask_storeu_ps nn_mask_storeu_ps256
#define _mm256_mask_storeu_pd nn_mask_storeu_pd256

#endif
