/* simd.h for 64-bit ARM, where NEON with fused multiply-add is part of every CPU. */

#undef Q
#undef Q_BITS

#if REAL_BITS == 32
#define VL 4
#define Q(op) v##op##q_f32
#define Q_BITS(op) v##op##q_u32
typedef float32x4_t vec;
typedef uint32x4_t mask;
#else
#define VL 2
#define Q(op) v##op##q_f64
#define Q_BITS(op) v##op##q_u64
typedef float64x2_t vec;
typedef uint64x2_t mask;
#endif

nn_inline vec v_load(const real *p) { return Q(ld1)(p); }
nn_inline void v_store(real *p, vec a) { Q(st1)(p, a); }
nn_inline vec v_add(vec a, vec b) { return Q(add)(a, b); }
nn_inline vec v_sub(vec a, vec b) { return Q(sub)(a, b); }
nn_inline vec v_mul(vec a, vec b) { return Q(mul)(a, b); }
nn_inline vec v_div(vec a, vec b) { return Q(div)(a, b); }
nn_inline vec v_sqrt(vec a) { return Q(sqrt)(a); }
nn_inline vec v_fma(vec a, vec b, vec c) { return Q(fma)(c, a, b); }
nn_inline vec v_fnma(vec a, vec b, vec c) { return Q(fms)(c, a, b); }
nn_inline mask v_lt(vec a, vec b) { return Q(clt)(a, b); }
nn_inline mask v_le(vec a, vec b) { return Q(cle)(a, b); }
nn_inline mask v_eq(vec a, vec b) { return Q(ceq)(a, b); }
nn_inline mask mask_and(mask a, mask b) { return Q_BITS(and)(a, b); }
nn_inline mask mask_or(mask a, mask b) { return Q_BITS(orr)(a, b); }
nn_inline vec v_select(mask choose, vec a, vec b) { return Q(bsl)(choose, a, b); }
/* fmax and fmin choose otherwise where an operand is NaN. */
nn_inline vec v_max(vec a, vec b) { return v_select(Q(cgt)(a, b), a, b); }
nn_inline vec v_min(vec a, vec b) { return v_select(v_lt(a, b), a, b); }
nn_inline vec v_abs(vec a) { return Q(abs)(a); }
nn_inline vec v_neg(vec a) { return Q(neg)(a); }
nn_inline vec v_round(vec a) { return Q(rndn)(a); }

#if REAL_BITS == 32

nn_inline vec v_set1(real a) { return vdupq_n_f32(a); }
nn_inline vec v_zero(void) { return vdupq_n_f32(0.0f); }
nn_inline mask v_isnan(vec a) { return vmvnq_u32(vceqq_f32(a, a)); }
nn_inline int v_any(mask a) { return vmaxvq_u32(a) != 0; }
nn_inline real v_sum(vec a) { return vaddvq_f32(a); }
nn_inline real v_hmax(vec a) { return vmaxvq_f32(a); }

nn_inline vec v_load_n(const real *p, ptrdiff_t n)
{
    if (n >= 4)
        return vld1q_f32(p);
    vec a = v_zero();
    if (n & 2)
        a = vcombine_f32(vld1_f32(p), vdup_n_f32(0.0f));
    if (n == 1)
        a = vld1q_lane_f32(p, a, 0);
    else if (n == 3)
        a = vld1q_lane_f32(p + 2, a, 2);
    return a;
}

nn_inline void v_store_n(real *p, vec a, ptrdiff_t n)
{
    if (n >= 4) {
        vst1q_f32(p, a);
        return;
    }
    if (n & 2)
        vst1_f32(p, vget_low_f32(a));
    if (n == 1)
        vst1q_lane_f32(p, a, 0);
    else if (n == 3)
        vst1q_lane_f32(p + 2, a, 2);
}

nn_inline vec v_copysign(vec magnitude, vec sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, magnitude); }

nn_inline vec v_pow2(vec n)
{
    const vec low = v_add(n, v_set1(REAL_TWO_MANTISSA + REAL_BIAS));
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(low), REAL_MANTISSA_BITS));
}

nn_inline vec v_exponent(vec x, vec *m)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    *m = vbslq_f32(vdupq_n_u32(0x7f800000u), v_set1(1.0f), x);
    return v_sub(vcvtq_f32_u32(vshrq_n_u32(bits, REAL_MANTISSA_BITS)), v_set1(REAL_BIAS));
}

#else

nn_inline vec v_set1(real a) { return vdupq_n_f64(a); }
nn_inline vec v_zero(void) { return vdupq_n_f64(0.0); }
nn_inline mask v_isnan(vec a) { return veorq_u64(vceqq_f64(a, a), vdupq_n_u64(UINT64_MAX)); }
nn_inline int v_any(mask a) { return vmaxvq_u32(vreinterpretq_u32_u64(a)) != 0; }
nn_inline real v_sum(vec a) { return vaddvq_f64(a); }
nn_inline real v_hmax(vec a) { return vmaxvq_f64(a); }

nn_inline vec v_load_n(const real *p, ptrdiff_t n)
{
    if (n >= 2)
        return vld1q_f64(p);
    return n == 1 ? vld1q_lane_f64(p, v_zero(), 0) : v_zero();
}

nn_inline void v_store_n(real *p, vec a, ptrdiff_t n)
{
    if (n >= 2)
        vst1q_f64(p, a);
    else if (n == 1)
        vst1q_lane_f64(p, a, 0);
}

nn_inline vec v_copysign(vec magnitude, vec sign)
{
    return vbslq_f64(vdupq_n_u64(0x8000000000000000u), sign, magnitude);
}

nn_inline vec v_pow2(vec n)
{
    const vec low = v_add(n, v_set1(REAL_TWO_MANTISSA + REAL_BIAS));
    return vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(low), REAL_MANTISSA_BITS));
}

nn_inline vec v_exponent(vec x, vec *m)
{
    const uint64x2_t bits = vreinterpretq_u64_f64(x);
    *m = vbslq_f64(vdupq_n_u64(0x7ff0000000000000u), v_set1(1.0), x);
    return v_sub(vcvtq_f64_u64(vshrq_n_u64(bits, REAL_MANTISSA_BITS)), v_set1(REAL_BIAS));
}

#endif
