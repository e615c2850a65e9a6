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

/* Nor are these conversions and permutations. */

#define NN_NARROWED(bits, vector, half, lanes)                                                                      \
    static inline half nn_cvtepi32_epi16_##bits(vector v)                                                           \
    {                                                                                                               \
        int32_t wide[lanes];                                                                                        \
        int16_t narrow[lanes];                                                                                      \
        half result;                                                                                                \
        memcpy(wide, &v, sizeof v);                                                                                 \
        for (int i = 0; i < lanes; i++)                                                                             \
            narrow[i] = (int16_t)wide[i];                                                                           \
        memcpy(&result, narrow, sizeof result);                                                                     \
        return result;                                                                                              \
    }

NN_NARROWED(512, simde__m512i, simde__m256i, 16)
NN_NARROWED(256, simde__m256i, simde__m128i, 8)

/* Lane i is one of those in its own group, as the pattern's lane i, or its bits 2i and 2i + 1, say. */
#define NN_PERMUTED(name, vector, element, lanes, group, choice)                                                    \
    static inline vector name(vector v, PATTERN pattern)                                                            \
    {                                                                                                               \
        element from[lanes], to[lanes];                                                                             \
        memcpy(from, &v, sizeof v);                                                                                 \
        for (int i = 0; i < lanes; i++)                                                                             \
            to[i] = from[i / group * group + (choice)];                                                             \
        memcpy(&v, to, sizeof v);                                                                                   \
        return v;                                                                                                   \
    }

static inline int64_t nn_lane(simde__m512i pattern, int bits, int i)
{
    int32_t narrow[16];
    int64_t wide[8];
    memcpy(narrow, &pattern, sizeof pattern);
    memcpy(wide, &pattern, sizeof pattern);
    return bits == 32 ? narrow[i] : wide[i];
}

#define PATTERN simde__m512i
NN_PERMUTED(nn_permutevar_ps, simde__m512, float, 16, 4, nn_lane(pattern, 32, i) & 3)
NN_PERMUTED(nn_permutevar_pd, simde__m512d, double, 8, 2, nn_lane(pattern, 64, i) >> 1 & 1)
#undef PATTERN
#define PATTERN int
NN_PERMUTED(nn_permute_ps, simde__m512, float, 16, 4, pattern >> i % 4 * 2 & 3)
NN_PERMUTED(nn_permutex_pd, simde__m512d, double, 8, 4, pattern >> i % 4 * 2 & 3)
#undef PATTERN

#undef _mm512_permute_ps
#undef _mm512_permutex_pd
#undef _mm512_permutevar_ps
#undef _mm512_permutevar_pd
#define _mm512_cvtepi32_epi16 nn_cvtepi32_epi16_512
#define _mm256_cvtepi32_epi16 nn_cvtepi32_epi16_256
#define _mm512_permutevar_ps nn_permutevar_ps
#define _mm512_permutevar_pd nn_permutevar_pd
#define _mm512_permute_ps nn_permute_ps
#define _mm512_permutex_pd nn_permutex_pd

#endif
