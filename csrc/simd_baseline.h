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

/* GNU compilers take vectors as values: the same results as lane by lane, for a tenth of the time to compile. */
#undef LANE
#undef LANEWISE
#undef COMPARE
#if defined(__GNUC__)
typedef real vec __attribute__((vector_size(16)));
typedef REAL_UINT mask __attribute__((vector_size(16)));     /* all bits of a lane set or clear */
#define LANE(a, i) (a)[i]
#define LANEWISE(r, a, op, b) r = (a) op (b)
#define COMPARE(r, a, op, b) r = (mask)((a) op (b))
#else
typedef struct vec { real v[VL]; } vec;
typedef struct mask { REAL_UINT v[VL]; } mask;
#define LANE(a, i) (a).v[i]
#define LANEWISE(r, a, op, b) LANES (r).v[i] = (a).v[i] op (b).v[i]
#define COMPARE(r, a, op, b) LANES (r).v[i] = (a).v[i] op (b).v[i] ? (REAL_UINT)-1 : 0
#endif

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

nn_inline vec v_load(const real *p) { vec r; memcpy(&r, p, sizeof r); return r; }
nn_inline void v_store(real *p, vec a) { memcpy(p, &a, sizeof a); }
nn_inline vec v_load_n(const real *p, ptrdiff_t n) { vec r; LANES LANE(r, i) = i < n ? p[i] : 0; return r; }
nn_inline void v_store_n(real *p, vec a, ptrdiff_t n) { LANES if (i < n) p[i] = LANE(a, i); }
nn_inline vec v_set1(real a) { vec r; LANES LANE(r, i) = a; return r; }
nn_inline vec v_zero(void) { return v_set1(0); }
nn_inline vec v_add(vec a, vec b) { vec r; LANEWISE(r, a, +, b); return r; }
nn_inline vec v_sub(vec a, vec b) { vec r; LANEWISE(r, a, -, b); return r; }
nn_inline vec v_mul(vec a, vec b) { vec r; LANEWISE(r, a, *, b); return r; }
nn_inline vec v_div(vec a, vec b) { vec r; LANEWISE(r, a, /, b); return r; }
nn_inline vec v_fma(vec a, vec b, vec c) { return v_add(v_mul(a, b), c); }
nn_inline vec v_fnma(vec a, vec b, vec c) { return v_sub(c, v_mul(a, b)); }
nn_inline vec v_neg(vec a) { vec r; LANES LANE(r, i) = -LANE(a, i); return r; }

#if REAL_BITS == 32
nn_inline vec v_sqrt(vec a) { vec r; LANES LANE(r, i) = sqrtf(LANE(a, i)); return r; }
nn_inline vec v_abs(vec a) { vec r; LANES LANE(r, i) = fabsf(LANE(a, i)); return r; }
nn_inline vec v_copysign(vec a, vec sign) { vec r; LANES LANE(r, i) = copysignf(LANE(a, i), LANE(sign, i)); return r; }
#else
nn_inline vec v_sqrt(vec a) { vec r; LANES LANE(r, i) = sqrt(LANE(a, i)); return r; }
nn_inline vec v_abs(vec a) { vec r; LANES LANE(r, i) = fabs(LANE(a, i)); return r; }
nn_inline vec v_copysign(vec a, vec sign) { vec r; LANES LANE(r, i) = copysign(LANE(a, i), LANE(sign, i)); return r; }
#endif

nn_inline mask v_lt(vec a, vec b) { mask r; COMPARE(r, a, <, b); return r; }
nn_inline mask v_le(vec a, vec b) { mask r; COMPARE(r, a, <=, b); return r; }
nn_inline mask v_eq(vec a, vec b) { mask r; COMPARE(r, a, ==, b); return r; }
nn_inline mask v_isnan(vec a) { mask r; COMPARE(r, a, !=, a); return r; }
nn_inline mask mask_and(mask a, mask b) { LANEWISE(a, a, &, b); return a; }
nn_inline mask mask_or(mask a, mask b) { LANEWISE(a, a, |, b); return a; }
nn_inline int v_any(mask a) { REAL_UINT any = 0; LANES any |= LANE(a, i); return any != 0; }

nn_inline vec v_select(mask choose, vec a, vec b)
{
    mask x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    LANEWISE(x, x, ^, y);
    LANEWISE(x, x, &, choose);
    LANEWISE(x, x, ^, y);
    memcpy(&a, &x, sizeof a);
    return a;
}

nn_inline vec v_max(vec a, vec b) { return v_select(v_lt(b, a), a, b); }
nn_inline vec v_min(vec a, vec b) { return v_select(v_lt(a, b), a, b); }

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
    LANES LANE(r, i) = NAME(real_of)(NAME(bits_of)(LANE(n, i) + (REAL_TWO_MANTISSA + REAL_BIAS)) << REAL_MANTISSA_BITS);
    return r;
}

nn_inline vec v_exponent(vec x, vec *m)
{
    const REAL_UINT infinite = NAME(bits_of)((real)INFINITY), one = NAME(bits_of)(1);
    const REAL_UINT two = NAME(bits_of)(REAL_TWO_MANTISSA);
    vec r;
    LANES {
        const REAL_UINT bits = NAME(bits_of)(LANE(x, i));
        LANE(*m, i) = NAME(real_of)((bits & ~infinite) | one);
        LANE(r, i) = NAME(real_of)((bits >> REAL_MANTISSA_BITS) | two) - (REAL_TWO_MANTISSA + REAL_BIAS);
    }
    return r;
}

#if REAL_BITS == 32
nn_inline real v_sum(vec a) { return (LANE(a, 0) + LANE(a, 2)) + (LANE(a, 1) + LANE(a, 3)); }
#else
nn_inline real v_sum(vec a) { return LANE(a, 0) + LANE(a, 1); }
#endif

nn_inline real v_hmax(vec a)
{
    real m = LANE(a, 0);
    LANES m = LANE(a, i) > m ? LANE(a, i) : m;
    return m;
}
