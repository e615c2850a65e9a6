/* simd.h in portable C11: 16 bytes of lanes, written so that compilers find the vector instructions of any machine.
 * Multiply and add round separately. */

#undef LANES
#undef REAL_UINT
#define LANES for (int i = 0; i < VL; i++)

#if REAL_BITS == 32
#define VL 4
#define REAL_UINT uint32_t
#else
#define VL 2
#define REAL_UINT uint64_t
#endif

typedef struct vec { real v[VL]; } vec;
typedef struct mask { REAL_UINT v[VL]; } mask;      /* all bits of a lane set or clear */

nn_inline REAL_UINT NAME(bits_of)(real a)
{
    REAL_UINT bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}

nn_inline real NAME(real_of)(REAL_UINT bits)
{
    real a;
    memcpy(&a, &bits, sizeof a);
    return a;
}

nn_inline vec v_load(const real *p) { vec r; LANES r.v[i] = p[i]; return r; }
nn_inline void v_store(real *p, vec a) { LANES p[i] = a.v[i]; }
nn_inline vec v_load_n(const real *p, ptrdiff_t n) { vec r; LANES r.v[i] = i < n ? p[i] : 0; return r; }
nn_inline void v_store_n(real *p, vec a, ptrdiff_t n) { LANES if (i < n) p[i] = a.v[i]; }
nn_inline vec v_set1(real a) { vec r; LANES r.v[i] = a; return r; }
nn_inline vec v_zero(void) { return v_set1(0); }
nn_inline vec v_add(vec a, vec b) { vec r; LANES r.v[i] = a.v[i] + b.v[i]; return r; }
nn_inline vec v_sub(vec a, vec b) { vec r; LANES r.v[i] = a.v[i] - b.v[i]; return r; }
nn_inline vec v_mul(vec a, vec b) { vec r; LANES r.v[i] = a.v[i] * b.v[i]; return r; }
nn_inline vec v_div(vec a, vec b) { vec r; LANES r.v[i] = a.v[i] / b.v[i]; return r; }
nn_inline vec v_fma(vec a, vec b, vec c) { vec r; LANES r.v[i] = a.v[i] * b.v[i] + c.v[i]; return r; }
nn_inline vec v_fnma(vec a, vec b, vec c) { vec r; LANES r.v[i] = c.v[i] - a.v[i] * b.v[i]; return r; }
nn_inline vec v_max(vec a, vec b) { vec r; LANES r.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i]; return r; }
nn_inline vec v_min(vec a, vec b) { vec r; LANES r.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i]; return r; }
nn_inline vec v_neg(vec a) { vec r; LANES r.v[i] = -a.v[i]; return r; }

#if REAL_BITS == 32
nn_inline vec v_sqrt(vec a) { vec r; LANES r.v[i] = sqrtf(a.v[i]); return r; }
nn_inline vec v_abs(vec a) { vec r; LANES r.v[i] = fabsf(a.v[i]); return r; }
nn_inline vec v_copysign(vec a, vec sign) { vec r; LANES r.v[i] = copysignf(a.v[i], sign.v[i]); return r; }
#else
nn_inline vec v_sqrt(vec a) { vec r; LANES r.v[i] = sqrt(a.v[i]); return r; }
nn_inline vec v_abs(vec a) { vec r; LANES r.v[i] = fabs(a.v[i]); return r; }
nn_inline vec v_copysign(vec a, vec sign) { vec r; LANES r.v[i] = copysign(a.v[i], sign.v[i]); return r; }
#endif

nn_inline mask v_lt(vec a, vec b) { mask r; LANES r.v[i] = a.v[i] < b.v[i] ? (REAL_UINT)-1 : 0; return r; }
nn_inline mask v_le(vec a, vec b) { mask r; LANES r.v[i] = a.v[i] <= b.v[i] ? (REAL_UINT)-1 : 0; return r; }
nn_inline mask v_eq(vec a, vec b) { mask r; LANES r.v[i] = a.v[i] == b.v[i] ? (REAL_UINT)-1 : 0; return r; }
nn_inline mask v_isnan(vec a) { mask r; LANES r.v[i] = a.v[i] != a.v[i] ? (REAL_UINT)-1 : 0; return r; }
nn_inline mask mask_and(mask a, mask b) { LANES a.v[i] &= b.v[i]; return a; }
nn_inline mask mask_or(mask a, mask b) { LANES a.v[i] |= b.v[i]; return a; }
nn_inline int v_any(mask a) { REAL_UINT any = 0; LANES any |= a.v[i]; return any != 0; }

nn_inline vec v_select(mask choose, vec a, vec b)
{
    vec r;
    LANES r.v[i] = choose.v[i] ? a.v[i] : b.v[i];
    return r;
}

/* Adding 2^mantissa leaves no room for a fraction, so the addition itself rounds; rint would be a call a lane. */
nn_inline vec v_round(vec a)
{
    const vec two = v_copysign(v_set1(REAL_TWO_MANTISSA), a);
    const vec rounded = v_copysign(v_sub(v_add(a, two), two), a);
    return v_select(v_lt(v_abs(a), v_set1(REAL_TWO_MANTISSA)), rounded, a);
}

nn_inline vec v_pow2(vec n)
{
    vec r;
    LANES r.v[i] = NAME(real_of)(NAME(bits_of)(n.v[i] + (REAL_TWO_MANTISSA + REAL_BIAS)) << REAL_MANTISSA_BITS);
    return r;
}

nn_inline vec v_exponent(vec x, vec *m)
{
    const REAL_UINT infinite = NAME(bits_of)((real)INFINITY), one = NAME(bits_of)(1);
    const REAL_UINT two = NAME(bits_of)(REAL_TWO_MANTISSA);
    vec r;
    LANES {
        const REAL_UINT bits = NAME(bits_of)(x.v[i]);
        m->v[i] = NAME(real_of)((bits & ~infinite) | one);
        r.v[i] = NAME(real_of)((bits >> REAL_MANTISSA_BITS) | two) - (REAL_TWO_MANTISSA + REAL_BIAS);
    }
    return r;
}

#if REAL_BITS == 32
nn_inline real v_sum(vec a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
#else
nn_inline real v_sum(vec a) { return a.v[0] + a.v[1]; }
#endif

nn_inline real v_hmax(vec a)
{
    real m = a.v[0];
    LANES m = a.v[i] > m ? a.v[i] : m;
    return m;
}
