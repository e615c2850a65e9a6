/* Each operation of csrc/simd.h against scalar arithmetic, on every pair of some awkward numbers. Compiled with one of
 * NN_ISA_BASELINE, ... defined, like the kernels; includes itself once per precision. */
#ifndef REAL_BITS

#include <float.h>
#include <math.h>
#include <stdio.h>

int simd_ops(void);
static int failures;

#define EXPECT(condition, ...)                                                                                      \
    do {                                                                                                            \
        if (!(condition) && failures++ < 20) {                                                                      \
            printf("simd.h: " __VA_ARGS__);                                                                         \
            printf("\n");                                                                                           \
        }                                                                                                           \
    } while (0)

static int same(double a, double b) { return (a != a && b != b) || (a == b && !signbit(a) == !signbit(b)); }

#define REAL_BITS 32
#include "simd.h"
#include "simd_ops.c"
#undef REAL_BITS
#define REAL_BITS 64
#include "simd.h"
#include "simd_ops.c"

int simd_ops(void)
{
    check_f32();
    check_f64();
    return failures;
}

#else

static real NAME(lane)(vec v, int i)
{
    real lanes[VL];
    v_store(lanes, v);
    return lanes[i];
}

static int NAME(set)(mask m, int i)
{
    return NAME(lane)(v_select(m, v_set1(1), v_zero()), i) == 1;
}

static void NAME(check_pair)(real x, real y)
{
    /* Other lanes hold other numbers, so that a lane that leaks into its neighbour shows. */
    real xs[VL], ys[VL];
    for (int i = 0; i < VL; i++) {
        xs[i] = i % 2 ? x : y + 1;
        ys[i] = i % 2 ? y : x - 1;
    }
    const vec a = v_load(xs), b = v_load(ys);
    for (int i = 0; i < VL; i++) {
        const real p = xs[i], q = ys[i];
#define BINARY(op, expected)                                                                                        \
        EXPECT(same(NAME(lane)(op(a, b), i), (expected)), "%s(%g, %g) is %g", #op, (double)p, (double)q,            \
               (double)NAME(lane)(op(a, b), i))
#define TRUTH(op, expected)                                                                                         \
        EXPECT(NAME(set)(op, i) == (expected), "%s is wrong for %g, %g", #op, (double)p, (double)q)
#define UNARY(op, expected)                                                                                         \
        EXPECT(same(NAME(lane)(op(a), i), (expected)), "%s(%g) is %g", #op, (double)p, (double)NAME(lane)(op(a), i))
        BINARY(v_add, p + q);
        BINARY(v_sub, p - q);
        BINARY(v_mul, p * q);
        BINARY(v_div, p / q);
        BINARY(v_max, p > q ? p : q);
        BINARY(v_min, p < q ? p : q);
        BINARY(v_copysign, (real)copysign(p, q));
        TRUTH(v_lt(a, b), p < q);
        TRUTH(v_le(a, b), p <= q);
        TRUTH(v_eq(a, b), p == q);
        TRUTH(v_isnan(a), p != p);
        TRUTH(mask_and(v_lt(a, b), v_isnan(v_sub(a, a))), p < q && p - p != 0);
        TRUTH(mask_or(v_lt(a, b), v_isnan(a)), p < q || p != p);
        UNARY(v_abs, (real)fabs(p));
        UNARY(v_neg, -p);
        UNARY(v_sqrt, REAL_BITS == 32 ? sqrtf((float)p) : sqrt(p));
        UNARY(v_round, (real)nearbyint(p));
#if defined(NN_ISA_BASELINE)
        const real sum = p * q + 3, difference = 3 - p * q;
#else
        const real sum = REAL_BITS == 32 ? fmaf((float)p, (float)q, 3) : (real)fma(p, q, 3);
        const real difference = REAL_BITS == 32 ? fmaf((float)-p, (float)q, 3) : (real)fma(-p, q, 3);
#endif
        EXPECT(same(NAME(lane)(v_fma(a, b, v_set1(3)), i), sum), "v_fma(%g, %g, 3)", (double)p, (double)q);
        EXPECT(same(NAME(lane)(v_fnma(a, b, v_set1(3)), i), difference), "v_fnma(%g, %g, 3)", (double)p, (double)q);
    }
}

static void NAME(check)(void)
{
    const real largest = REAL_BITS == 32 ? FLT_MAX : (real)DBL_MAX, least = REAL_BITS == 32 ? FLT_MIN : (real)DBL_MIN;
    const real numbers[] = {
        0, -(real)0.0, 1, -1, (real)0.5, (real)-0.5, (real)1.5, (real)2.5, (real)-2.5, (real)0.49999997, (real)1e-3,
        (real)3.7, (real)-7.3, (real)1e10, (real)-1e10, REAL_TWO_MANTISSA, REAL_TWO_MANTISSA / 2 + (real)0.5,
        REAL_TWO_MANTISSA + 1, -REAL_TWO_MANTISSA / 2 - (real)0.5, largest, -largest, least, -least,
        (real)INFINITY, -(real)INFINITY, (real)NAN,
    };
    const int count = sizeof numbers / sizeof numbers[0];
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++)
            NAME(check_pair)(numbers[i], numbers[j]);

    for (int n = 1 - REAL_BIAS; n <= REAL_BIAS; n++)
        EXPECT(NAME(lane)(v_pow2(v_set1((real)n)), VL - 1) == (real)ldexp(1, n), "v_pow2(%d)", n);
    /* The edges that exp is built on. */
    EXPECT(NAME(lane)(v_pow2(v_set1((real)-REAL_BIAS)), 0) == 0, "v_pow2 one below the range is not 0");
    EXPECT(NAME(lane)(v_pow2(v_set1((real)(REAL_BIAS + 1))), 0) == (real)INFINITY, "v_pow2 one above is not infinite");

    for (int e = 1 - REAL_BIAS; e <= REAL_BIAS; e++) {
        const real m = (real)1 + (real)((e & 15) / 16.0);
        vec mantissa;
        const vec exponent = v_exponent(v_set1((real)ldexp(m, e)), &mantissa);
        EXPECT(NAME(lane)(exponent, VL - 1) == e && NAME(lane)(mantissa, VL - 1) == m, "v_exponent(%g * 2^%d)", m, e);
    }

    real lanes[VL], copy[VL + 1];
    for (int i = 0; i < VL; i++)
        lanes[i] = (real)(i * i % 11 - 3);
    for (int n = 0; n <= VL; n++) {
        const vec v = v_load_n(lanes, n);
        real sum = 0, top = n < VL ? 0 : lanes[0];
        for (int i = 0; i <= VL; i++)
            copy[i] = 77;
        v_store_n(copy, v_load(lanes), n);
        for (int i = 0; i < VL; i++) {
            EXPECT(NAME(lane)(v, i) == (i < n ? lanes[i] : 0), "v_load_n(%d), lane %d", n, i);
            EXPECT(copy[i] == (i < n ? lanes[i] : 77), "v_store_n(%d), lane %d", n, i);
            sum += i < n ? lanes[i] : 0;
            top = i < n && lanes[i] > top ? lanes[i] : top;
        }
        EXPECT(copy[VL] == 77, "v_store_n(%d) beyond the vector", n);
        EXPECT(v_sum(v) == sum, "v_sum of %d", n);
        EXPECT(v_hmax(v) == top, "v_hmax of %d", n);
    }
    for (int i = 0; i < VL; i++) {
        for (int j = 0; j < VL; j++)
            copy[j] = i == j ? 1 : -1;
        EXPECT(v_any(v_lt(v_zero(), v_load(copy))), "v_any misses lane %d", i);
        EXPECT(v_hmax(v_load(copy)) == 1, "v_hmax misses lane %d", i);
    }
    EXPECT(!v_any(v_lt(v_zero(), v_zero())), "v_any of nothing");
}

#undef BINARY
#undef TRUTH
#undef UNARY

#endif
