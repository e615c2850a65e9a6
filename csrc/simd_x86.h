/* simd.h for AVX2 + FMA and for AVX-512 F, BW, DQ, VL. */

#undef MM
#undef MM_CAST
#undef MM_INT

#if defined(NN_ISA_AVX2)

#if REAL_BITS == 32
#define VL 8
#define MM(op) _mm256_##op##_ps
#define MM_CAST(to_from) _mm256_cast##to_from##256
typedef __m256 vec;
#else
#define VL 4
#define MM(op) _mm256_##op##_pd
typedef __m256d vec;
#endif
typedef vec mask;                   /* all bits of a lane set or clear */

#else

#if REAL_BITS == 32
#define VL 16
#define MM(op) _mm512_##op##_ps
typedef __m512 vec;
typedef __mmask16 mask;
#else
#define VL 8
#define MM(op) _mm512_##op##_pd
typedef __m512d vec;
typedef __mmask8 mask;
#endif

#endif

nn_inline vec v_load(const real *p) { return MM(loadu)(p); }
nn_inline void v_store(real *p, vec a) { MM(storeu)(p, a); }
nn_inline vec v_set1(real a) { return MM(set1)(a); }
nn_inline vec v_zero(void) { return MM(set1)((real)0); }
nn_inline vec v_add(vec a, vec b) { return MM(add)(a, b); }
nn_inline vec v_sub(vec a, vec b) { return MM(sub)(a, b); }
nn_inline vec v_mul(vec a, vec b) { return MM(mul)(a, b); }
nn_inline vec v_div(vec a, vec b) { return MM(div)(a, b); }
nn_inline vec v_sqrt(vec a) { return MM(sqrt)(a); }
nn_inline vec v_fma(vec a, vec b, vec c) { return MM(fmadd)(a, b, c); }
nn_inline vec v_fnma(vec a, vec b, vec c) { return MM(fnmadd)(a, b, c); }
nn_inline vec v_max(vec a, vec b) { return MM(max)(a, b); }
nn_inline vec v_min(vec a, vec b) { return MM(min)(a, b); }
nn_inline vec v_abs(vec a) { return MM(andnot)(v_set1((real)-0.0), a); }
nn_inline vec v_neg(vec a) { return MM(xor)(v_set1((real)-0.0), a); }

nn_inline vec v_copysign(vec magnitude, vec sign)
{
    const vec bit = v_set1((real)-0.0);
    return MM(or)(MM(andnot)(bit, magnitude), MM(and)(bit, sign));
}

#if defined(NN_ISA_AVX2)

/* The lanes of four that a mask chooses. */
#ifndef NN_CHOSEN
#define NN_CHOSEN
static const uint16_t nn_chosen[16][4] = {
    {0, 0, 0, 0}, {0, 0, 0, 0}, {1, 0, 0, 0}, {0, 1, 0, 0},
    {2, 0, 0, 0}, {0, 2, 0, 0}, {1, 2, 0, 0}, {0, 1, 2, 0},
    {3, 0, 0, 0}, {0, 3, 0, 0}, {1, 3, 0, 0}, {0, 1, 3, 0},
    {2, 3, 0, 0}, {0, 2, 3, 0}, {1, 2, 3, 0}, {0, 1, 2, 3},
};
#endif

nn_inline vec v_round(vec a) { return MM(round)(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
nn_inline mask v_lt(vec a, vec b) { return MM(cmp)(a, b, _CMP_LT_OQ); }
nn_inline mask v_le(vec a, vec b) { return MM(cmp)(a, b, _CMP_LE_OQ); }
nn_inline mask v_eq(vec a, vec b) { return MM(cmp)(a, b, _CMP_EQ_OQ); }
nn_inline mask v_isnan(vec a) { return MM(cmp)(a, a, _CMP_UNORD_Q); }
nn_inline mask mask_and(mask a, mask b) { return MM(and)(a, b); }
nn_inline mask mask_or(mask a, mask b) { return MM(or)(a, b); }
nn_inline int v_any(mask a) { return MM(movemask)(a) != 0; }
nn_inline vec v_select(mask choose, vec a, vec b) { return MM(blendv)(b, a, choose); }

#if REAL_BITS == 32

static const int32_t nn_first_lanes_f32[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

nn_inline vec v_load_n(const real *p, ptrdiff_t n)
{
    return _mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *)(nn_first_lanes_f32 + 8 - n)));
}

/* Halving stores: a masked store takes tens of cycles on AMD before Zen 4. */
nn_inline void v_store_n(real *p, vec a, ptrdiff_t n)
{
    __m128 rest = _mm256_castps256_ps128(a);
    if (n >= 8) {
        _mm256_storeu_ps(p, a);
        return;
    }
    if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps(a, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)(void *)p, rest);
        rest = _mm_movehl_ps(rest, rest);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss(p, rest);
}

nn_inline vec v_pow2(vec n)
{
    const vec low = v_add(n, v_set1(REAL_TWO_MANTISSA + REAL_BIAS));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(low), REAL_MANTISSA_BITS));
}

nn_inline vec v_exponent(vec x, vec *m)
{
    const __m256i exponent = _mm256_srli_epi32(_mm256_castps_si256(x), REAL_MANTISSA_BITS);
    const vec one = v_set1(1.0f), infinite = v_set1(INFINITY);
    *m = _mm256_or_ps(_mm256_andnot_ps(infinite, x), one);
    return v_sub(_mm256_cvtepi32_ps(exponent), v_set1(REAL_BIAS));
}

nn_inline real v_sum(vec a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

nn_inline real v_hmax(vec a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* The lanes of x that are not 0, one after another, and their numbers from `first` on; how many. Writes whole vectors. */
nn_inline ptrdiff_t nn_nonzeros_f32(vec x, int first, float *values, uint16_t *places)
{
    const unsigned chosen = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x, v_zero(), _CMP_NEQ_UQ));
    const int count = _mm_popcnt_u32(chosen & 15);
    const __m128i low = _mm_loadl_epi64((const __m128i *)(const void *)nn_chosen[chosen & 15]);
    const __m128i high = _mm_loadl_epi64((const __m128i *)(const void *)nn_chosen[chosen >> 4]);
    _mm_storeu_ps(values, _mm_permutevar_ps(_mm256_castps256_ps128(x), _mm_cvtepu16_epi32(low)));
    _mm_storel_epi64((__m128i *)(void *)places, _mm_add_epi16(low, _mm_set1_epi16((short)first)));
    _mm_storeu_ps(values + count, _mm_permutevar_ps(_mm256_extractf128_ps(x, 1), _mm_cvtepu16_epi32(high)));
    _mm_storel_epi64((__m128i *)(void *)(places + count), _mm_add_epi16(high, _mm_set1_epi16((short)(first + 4))));
    return count + _mm_popcnt_u32(chosen >> 4);
}

#else

static const int64_t nn_first_lanes_f64[8] = {-1, -1, -1, -1, 0, 0, 0, 0};

nn_inline vec v_load_n(const real *p, ptrdiff_t n)
{
    return _mm256_maskload_pd(p, _mm256_loadu_si256((const __m256i *)(nn_first_lanes_f64 + 4 - n)));
}

nn_inline void v_store_n(real *p, vec a, ptrdiff_t n)
{
    __m128d rest = _mm256_castpd256_pd128(a);
    if (n >= 4) {
        _mm256_storeu_pd(p, a);
        return;
    }
    if (n & 2) {
        _mm_storeu_pd(p, rest);
        rest = _mm256_extractf128_pd(a, 1);
        p += 2;
    }
    if (n & 1)
        _mm_store_sd(p, rest);
}

nn_inline vec v_pow2(vec n)
{
    const vec low = v_add(n, v_set1(REAL_TWO_MANTISSA + REAL_BIAS));
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(low), REAL_MANTISSA_BITS));
}

/* AVX2 converts no 64-bit integers: the exponent becomes the low mantissa bits of 2^52, which is then taken off. */
nn_inline vec v_exponent(vec x, vec *m)
{
    const __m256i exponent = _mm256_srli_epi64(_mm256_castpd_si256(x), REAL_MANTISSA_BITS);
    const vec one = v_set1(1.0), infinite = v_set1(INFINITY), two52 = v_set1(REAL_TWO_MANTISSA);
    *m = _mm256_or_pd(_mm256_andnot_pd(infinite, x), one);
    return v_sub(_mm256_or_pd(_mm256_castsi256_pd(exponent), two52), v_set1(REAL_TWO_MANTISSA + REAL_BIAS));
}

nn_inline real v_sum(vec a)
{
    const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

nn_inline real v_hmax(vec a)
{
    const __m128d s = _mm_max_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_max_sd(s, _mm_unpackhi_pd(s, s)));
}

nn_inline ptrdiff_t nn_nonzeros_f64(vec x, int first, double *values, uint16_t *places)
{
    const unsigned chosen = (unsigned)_mm256_movemask_pd(_mm256_cmp_pd(x, v_zero(), _CMP_NEQ_UQ));
    const __m128i lanes = _mm_loadl_epi64((const __m128i *)(const void *)nn_chosen[chosen]);
    const __m256i half = _mm256_slli_epi64(_mm256_cvtepu16_epi64(lanes), 1);    /* of a lane, the first of two */
    const __m256i halves = _mm256_or_si256(half, _mm256_slli_epi64(_mm256_or_si256(half, _mm256_set1_epi64x(1)), 32));
    _mm256_storeu_pd(values, _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(x), halves)));
    _mm_storel_epi64((__m128i *)(void *)places, _mm_add_epi16(lanes, _mm_set1_epi16((short)first)));
    return _mm_popcnt_u32(chosen);
}

#endif

#else /* AVX-512 */

nn_inline mask NAME(first_lanes)(ptrdiff_t n) { return (mask)((1u << n) - 1u); }
nn_inline vec v_load_n(const real *p, ptrdiff_t n) { return MM(maskz_loadu)(NAME(first_lanes)(n), p); }
nn_inline void v_store_n(real *p, vec a, ptrdiff_t n) { MM(mask_storeu)(p, NAME(first_lanes)(n), a); }
nn_inline vec v_round(vec a) { return MM(roundscale)(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
nn_inline mask mask_and(mask a, mask b) { return (mask)(a & b); }
nn_inline mask mask_or(mask a, mask b) { return (mask)(a | b); }
nn_inline int v_any(mask a) { return a != 0; }
nn_inline vec v_select(mask choose, vec a, vec b) { return MM(mask_blend)(choose, b, a); }

#if REAL_BITS == 32

nn_inline mask v_lt(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
nn_inline mask v_le(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
nn_inline mask v_eq(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
nn_inline mask v_isnan(vec a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }

nn_inline vec v_pow2(vec n)
{
    const vec low = v_add(n, v_set1(REAL_TWO_MANTISSA + REAL_BIAS));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(low), REAL_MANTISSA_BITS));
}

/* Shift and mask rather than vgetexp and vgetmant, whose results for numbers outside the domain differ from the
 * other instruction sets'. */
nn_inline vec v_exponent(vec x, vec *m)
{
    const __m512i exponent = _mm512_srli_epi32(_mm512_castps_si512(x), REAL_MANTISSA_BITS);
    const vec one = v_set1(1.0f), infinite = v_set1(INFINITY), two23 = v_set1(REAL_TWO_MANTISSA);
    *m = _mm512_or_ps(_mm512_andnot_ps(infinite, x), one);
    return v_sub(_mm512_or_ps(_mm512_castsi512_ps(exponent), two23), v_set1(REAL_TWO_MANTISSA + REAL_BIAS));
}

/* The lanes of x that are not 0, one after another, and their numbers from `first` on; how many. Writes whole vectors. */
nn_inline ptrdiff_t nn_nonzeros_f32(vec x, int first, float *values, uint16_t *places)
{
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __mmask16 chosen = _mm512_cmp_ps_mask(x, v_zero(), _CMP_NEQ_UQ);
    const __m512i at = _mm512_maskz_compress_epi32(chosen, _mm512_add_epi32(lanes, _mm512_set1_epi32(first)));
    _mm512_storeu_ps(values, _mm512_maskz_compress_ps(chosen, x));
    _mm256_storeu_si256((__m256i *)(void *)places, _mm512_cvtepi32_epi16(at));
    return _mm_popcnt_u32(chosen);
}

nn_inline __m256 nn_upper_f32(vec a) { return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1)); }

nn_inline real v_sum(vec a)
{
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), nn_upper_f32(a));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

nn_inline real v_hmax(vec a)
{
    const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a), nn_upper_f32(a));
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

#else

nn_inline mask v_lt(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
nn_inline mask v_le(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ); }
nn_inline mask v_eq(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
nn_inline mask v_isnan(vec a) { return _mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q); }

nn_inline vec v_pow2(vec n)
{
    const vec low = v_add(n, v_set1(REAL_TWO_MANTISSA + REAL_BIAS));
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(low), REAL_MANTISSA_BITS));
}

nn_inline vec v_exponent(vec x, vec *m)
{
    const __m512i exponent = _mm512_srli_epi64(_mm512_castpd_si512(x), REAL_MANTISSA_BITS);
    const vec one = v_set1(1.0), infinite = v_set1(INFINITY), two52 = v_set1(REAL_TWO_MANTISSA);
    *m = _mm512_or_pd(_mm512_andnot_pd(infinite, x), one);
    return v_sub(_mm512_or_pd(_mm512_castsi512_pd(exponent), two52), v_set1(REAL_TWO_MANTISSA + REAL_BIAS));
}

nn_inline ptrdiff_t nn_nonzeros_f64(vec x, int first, double *values, uint16_t *places)
{
    const __m256i lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    const __mmask8 chosen = _mm512_cmp_pd_mask(x, v_zero(), _CMP_NEQ_UQ);
    const __m256i at = _mm256_maskz_compress_epi32(chosen, _mm256_add_epi32(lanes, _mm256_set1_epi32(first)));
    _mm512_storeu_pd(values, _mm512_maskz_compress_pd(chosen, x));
    _mm_storeu_si128((__m128i *)(void *)places, _mm256_cvtepi32_epi16(at));
    return _mm_popcnt_u32(chosen);
}

nn_inline real v_sum(vec a)
{
    const __m256d h = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(h), _mm256_extractf128_pd(h, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

nn_inline real v_hmax(vec a)
{
    const __m256d h = _mm256_max_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    const __m128d s = _mm_max_pd(_mm256_castpd256_pd128(h), _mm256_extractf128_pd(h, 1));
    return _mm_cvtsd_f64(_mm_max_sd(s, _mm_unpackhi_pd(s, s)));
}

#endif

#endif
