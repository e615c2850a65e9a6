/* exp, expm1, log, log1p, tanh, sigmoid and the normal distribution on vectors, in the precision of REAL_BITS.
 *
 * The two precisions share every line but the tables. These are minimax fits in the relative error of the function they
 * serve, polynomials by Remez exchange and the one quotient by Lawson iteration, in 50 digits; each names its interval
 * and error. The quotient has positive coefficients and arguments only, so that nothing cancels and it keeps its
 * accuracy where v_fma rounds twice. Measured errors are below 2.7 units in the last place, 8 for the normal tail.
 *
 * NaN comes back as NaN: clamps put the bound first, v_max(bound, x), because the second operand survives a NaN.
 * Subnormal numbers count as zero, in arguments and results. */

#ifndef NNFAST_VECTOR_MATH_H
#define NNFAST_VECTOR_MATH_H

#define v_exp NAME(v_exp)
#define v_exp_brief NAME(v_exp_brief)
#define v_expm1 NAME(v_expm1)
#define v_log NAME(v_log)
#define v_log1p NAME(v_log1p)
#define v_log1p_unit NAME(v_log1p_unit)
#define v_tanh NAME(v_tanh)
#define v_sigmoid NAME(v_sigmoid)
#define v_normal_tail NAME(v_normal_tail)
#define horner NAME(horner)

#define DEGREE(table) ((int)(sizeof(table) / sizeof(table[0])) - 1)

#endif

#undef LOG2_E
#undef LN2
#undef LN2_HIGH
#undef LN2_LOW
#undef SQRT2
#undef INV_SQRT_2PI
#undef LEAST_NORMAL
#undef EXP_OVERFLOW
#undef EXP_VANISHES
#undef EXPM1_IS_MINUS_ONE
#undef TANH_IS_ONE
#undef TAIL_VANISHES
#undef SPLIT

#define LOG2_E ((real)1.44269504088896340736)
#define LN2 ((real)0.69314718055994530942)
#define SQRT2 ((real)1.41421356237309504880)
#define INV_SQRT_2PI ((real)0.39894228040143267794)

#if REAL_BITS == 32

/* ln 2 in two parts; the first has 17 bits, so that its products with exponents are exact. */
#define LN2_HIGH 6.931381226e-01f
#define LN2_LOW 9.058000614e-06f
#define LEAST_NORMAL 1.17549435e-38f
#define EXP_OVERFLOW 89.0f
#define EXP_VANISHES -105.0f
#define EXPM1_IS_MINUS_ONE -20.0f
#define TANH_IS_ONE 10.0f
#define TAIL_VANISHES 13.268f               /* exp(-x^2/2) is 2^-127 */
#define SPLIT 49152.0f                      /* 1.5 * 2^15: adding it rounds |x| < 2^14 to a multiple of 2^-8 */

/* (exp(r) - 1 - r) / r^2 on |r| <= ln(2)/2; error of expm1 1.4e-8, of exp below 4e-9. */
static const real NAME(expm1_c)[] = {
    4.999999702e-01f, 1.666654348e-01f, 4.166720062e-02f, 8.366527036e-03f, 1.388252247e-03f
};

/* (2 atanh(s) - 2 s) / s^3 as a function of s^2 on |s| <= (sqrt(2) - 1) / (sqrt(2) + 1); error of atanh 8.1e-10. */
static const real NAME(atanh_c)[] = {
    6.666677594e-01f, 3.997756839e-01f, 2.987107337e-01f
};

/* Phi(-x) exp(x^2/2) on 0 <= x <= 13.3; error 5.0e-9. */
static const real NAME(tail_p)[] = {
    5.000000000e-01f, 4.357700348e-01f, 1.813715398e-01f, 4.000682011e-02f, 4.023791291e-03f
};
static const real NAME(tail_q)[] = {
    1.0f, 1.669425011e+00f, 1.194747329e+00f, 4.645520747e-01f, 1.002895832e-01f, 1.008600555e-02f
};

#else

/* As above; the first part of ln 2 has 32 bits. */
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define LEAST_NORMAL 2.2250738585072014e-308
#define EXP_OVERFLOW 710.0
#define EXP_VANISHES -746.0
#define EXPM1_IS_MINUS_ONE -40.0
#define TANH_IS_ONE 20.0
#define TAIL_VANISHES 37.6587
#define SPLIT 6442450944.0                  /* 1.5 * 2^32: adding it rounds |x| < 2^31 to a multiple of 2^-20 */

/* On the same interval; error of expm1 1.8e-17, of exp below 5e-18. */
static const real NAME(expm1_c)[] = {
    5.00000000000000555e-01, 1.66666666666665880e-01, 4.16666666665766808e-02, 8.33333333338959724e-03,
    1.38888889315904348e-03, 1.98412697189319891e-04, 2.48015052410030454e-05, 2.75574075797687428e-06,
    2.76260516362032661e-07, 2.50537746629676003e-08
};

/* On the same interval; error of atanh 1.3e-18. */
static const real NAME(atanh_c)[] = {
    6.66666666666673402e-01, 3.99999999994160083e-01, 2.85714287421041546e-01, 2.22221986009519396e-01,
    1.81835629517744735e-01, 1.53140839836048565e-01, 1.47956320668813979e-01
};

/* On 0 <= x <= 37.7; error 8.4e-19. */
static const real NAME(tail_p)[] = {
    5.00000000000000000e-01, 8.27173448634394903e-01, 6.78441278468745912e-01, 3.56447138689737486e-01,
    1.31607617234864221e-01, 3.55192034368492990e-02, 7.08679743693573991e-03, 1.03343781457375578e-03,
    1.05815029053577810e-04, 6.91794572625407805e-06, 2.22001409148348906e-07
};
static const real NAME(tail_q)[] = {
    1.0, 2.45223145807165555e+00, 2.81348017684795693e+00, 1.99757246384327947e+00, 9.77506580667224401e-01,
    3.47130420625466285e-01, 9.15892029462505031e-02, 1.80280928160217874e-02, 2.60778516466467344e-03,
    2.65795418712299030e-04, 1.73407183598244791e-05, 5.56475009179030754e-07
};

#endif

nn_inline vec horner(vec x, const real *c, const int degree)
{
    vec y = v_set1(c[degree]);
    NN_UNROLL       /* or every step would fetch its coefficient through a pointer */
    for (int i = degree - 1; i >= 0; i--) y = v_fma(y, x, v_set1(c[i]));
    return y;
}

/* exp(r) - 1 for |r| <= ln(2)/2. */
nn_inline vec NAME(expm1_of_rest)(vec r)
{
    return v_fma(v_mul(r, r), horner(r, NAME(expm1_c), DEGREE(NAME(expm1_c))), r);
}

/* x / ln(2), rounded to an integer by adding a number so large that no fraction has room beside it. */
nn_inline vec NAME(exponent_near)(vec x)
{
    const vec large = v_set1((real)1.5 * REAL_TWO_MANTISSA);
    return v_sub(v_fma(x, v_set1(LOG2_E), large), large);
}

/* x = n ln(2) + r, n an integer, |r| <= ln(2)/2; returns exp(r) - 1. */
nn_inline vec NAME(reduced_expm1)(vec x, vec *n)
{
    *n = NAME(exponent_near)(x);
    return NAME(expm1_of_rest)(v_fnma(*n, v_set1(LN2_LOW), v_fnma(*n, v_set1(LN2_HIGH), x)));
}

/* 2^n may overflow or vanish where exp(x) does not, so half of it is multiplied at a time. */
nn_inline vec v_exp(vec x)
{
    vec n;
    const vec p = NAME(reduced_expm1)(v_max(v_set1(EXP_VANISHES), v_min(v_set1(EXP_OVERFLOW), x)), &n);
    const vec half = v_round(v_mul(n, v_set1((real)0.5)));
    return v_mul(v_mul(v_add(p, v_set1(1)), v_pow2(half)), v_pow2(v_sub(n, half)));
}

/* exp(x) for x <= (REAL_BIAS + 1) ln(2), in fewer steps: infinity at that bound and half a power of two before it,
 * zero where exp(x) comes below the least normal number. v_pow2 is 0 at -REAL_BIAS and infinity at REAL_BIAS + 1,
 * because its sum leaves the exponent bits 0 and all ones there. */
nn_inline vec v_exp_brief(vec x)
{
    vec n;
    const vec p = NAME(reduced_expm1)(v_max(v_set1(-REAL_BIAS * LN2), x), &n);
    return v_mul(v_add(p, v_set1(1)), v_pow2(n));
}

/* 2^n (exp(r) - 1) + (2^n - 1): where n is not 0, the terms do not cancel to less than a third. */
nn_inline vec NAME(expm1_in_range)(vec x)
{
    vec n;
    const vec p = NAME(reduced_expm1)(x, &n);
    const vec power = v_pow2(n);
    return v_fma(power, p, v_sub(power, v_set1(1)));
}

/* For x up to half a power of two before exp(x) overflows. */
nn_inline vec v_expm1(vec x)
{
    return NAME(expm1_in_range)(v_max(v_set1(EXPM1_IS_MINUS_ONE), x));
}

/* u = 2^e (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2), for a normal u > 0; returns e. */
nn_inline vec NAME(split_at_one)(vec u, vec *f)
{
    vec m;
    const vec e = v_exponent(u, &m);
    const mask large = v_lt(v_set1(SQRT2), m);
    *f = v_sub(v_select(large, v_mul(m, v_set1((real)0.5)), m), v_set1(1));
    return v_select(large, v_add(e, v_set1(1)), e);
}

/* e ln(2) + log(1 + f). With s = f / (2 + f), log(1 + f) = 2 atanh(s) = f - s (f - s^2 (2/3 + ...)), rearranged so
 * that f and f^2/2 are taken off unmultiplied, as in fdlibm (Sun Microsystems, 1993). */
nn_inline vec NAME(log_of_split)(vec e, vec f)
{
    const vec s = v_div(f, v_add(v_set1(2), f));
    const vec z = v_mul(s, s);
    const vec tail = v_mul(z, horner(z, NAME(atanh_c), DEGREE(NAME(atanh_c))));
    const vec half_square = v_mul(v_mul(v_set1((real)0.5), f), f);
    const vec low = v_fma(s, v_add(half_square, tail), v_mul(e, v_set1(LN2_LOW)));
    return v_fma(e, v_set1(LN2_HIGH), v_sub(f, v_sub(half_square, low)));
}

/* `y` where u is an ordinary positive number; -inf, NaN, inf elsewhere. */
nn_inline vec NAME(log_edges)(vec u, vec y)
{
    const vec least = v_set1(LEAST_NORMAL);
    const vec at_zero = v_select(v_le(u, v_neg(least)), v_set1((real)NAN), v_set1(-(real)INFINITY));
    y = v_select(v_lt(u, least), at_zero, y);
    return v_select(v_lt(u, v_set1((real)INFINITY)), y, u);
}

nn_inline vec v_log(vec x)
{
    vec f;
    const vec e = NAME(split_at_one)(x, &f);
    return NAME(log_edges)(x, NAME(log_of_split)(e, f));
}

/* 1 + x = u + rest exactly (Knuth's two-sum). The rest goes into f; where u comes near overflow its scale is cut off
 * at 0, and the rest no longer counts. */
nn_inline vec v_log1p(vec x)
{
    vec f;
    const vec one = v_set1(1);
    const vec u = v_add(one, x);
    const vec x_part = v_sub(u, one);
    const vec rest = v_add(v_sub(one, v_sub(u, x_part)), v_sub(x, x_part));
    const vec e = NAME(split_at_one)(u, &f);
    f = v_fma(rest, v_pow2(v_max(v_set1(-REAL_BIAS), v_neg(e))), f);
    return NAME(log_edges)(u, NAME(log_of_split)(e, f));
}

/* log(1 + x) for 0 <= x <= 1, where 1 + x = 2 (1 + (x - 1) / 2) needs no search for the exponent. */
nn_inline vec v_log1p_unit(vec x)
{
    const mask large = v_lt(v_set1(SQRT2 - 1), x);
    const vec f = v_select(large, v_mul(v_set1((real)0.5), v_sub(x, v_set1(1))), x);
    return NAME(log_of_split)(v_select(large, v_set1(1), v_zero()), f);
}

/* sign(x) a / (a + 2) with a = exp(2 |x|) - 1: accurate near 0, where a is, and near 1, where errors of a cancel. (A
 * quotient of polynomials in x^2 takes a third fewer steps, but rounds to 5 units in the last place near 1.) */
nn_inline vec v_tanh(vec x)
{
    const vec size = v_min(v_set1(TANH_IS_ONE), v_abs(x));
    const vec a = NAME(expm1_in_range)(v_add(size, size));
    return v_copysign(v_div(a, v_add(a, v_set1(2))), x);
}

/* The bound makes exp(-x) infinite and the quotient 0 where the true one comes below the least normal number. */
nn_inline vec v_sigmoid(vec x)
{
    const vec one = v_set1(1);
    const vec bound = v_set1((REAL_BIAS + 1) * LN2);
    return v_div(one, v_add(one, v_exp_brief(v_min(bound, v_neg(x)))));
}

/* For x >= 0 the upper tail of the normal distribution, Phi(-x) = density * ratio, in its two factors: density =
 * exp(-x^2/2), and ratio = p / q. x is cut off where the density is 0.
 * An error of x^2/2 is a relative error of the density, so the square is taken in two parts: of x rounded to half
 * its bits, which is exact, and the rest. */
nn_inline vec v_normal_tail(vec *x, vec *p, vec *q)
{
    const vec half = v_set1((real)-0.5);
    *x = v_min(v_set1(TAIL_VANISHES), *x);
    const vec high = v_sub(v_add(*x, v_set1(SPLIT)), v_set1(SPLIT));
    const vec square = v_mul(half, v_mul(high, high));
    const vec rest = v_mul(half, v_mul(v_sub(*x, high), v_add(*x, high)));

    const vec n = NAME(exponent_near)(v_add(square, rest));
    const vec r = v_fnma(n, v_set1(LN2_LOW), v_add(v_fnma(n, v_set1(LN2_HIGH), square), rest));
    *p = horner(*x, NAME(tail_p), DEGREE(NAME(tail_p)));
    *q = horner(*x, NAME(tail_q), DEGREE(NAME(tail_q)));
    return v_mul(v_add(NAME(expm1_of_rest)(r), v_set1(1)), v_pow2(n));
}
