/* Random changes of a sample that is about to be trained with: what nnfast/_core/augment.pyx does to its numbers. */

/* The same numbers in the opposite order of items: the rows of an image, or the pixels of a row. */
static void NAME(reverse)(ptrdiff_t items, ptrdiff_t n, void *x_)
{
    real *x = x_;
    for (ptrdiff_t i = 0; i < items / 2; i++) {
        real *restrict a = x + i * n, *restrict b = x + (items - 1 - i) * n;
        for (ptrdiff_t j = 0; j < n; j++) {
            const real held = a[j];
            a[j] = b[j];
            b[j] = held;
        }
    }
}

/* sin(a) / a and cos(a) as functions of a^2. */
static const real NAME(sine_c)[] = {
    1, (real)(-1.0 / 6), (real)(1.0 / 120), (real)(-1.0 / 5040), (real)(1.0 / 362880)
};
static const real NAME(cosine_c)[] = {
    1, (real)(-1.0 / 2), (real)(1.0 / 24), (real)(-1.0 / 720), (real)(1.0 / 40320)
};

/* Box and Muller 1958: with u, v uniform in (0, 1), sqrt(-2 log u) times the cosine and the sine of 2 pi v are two
 * independent normal numbers. The bits of u and v are those of dropout (csrc/elementwise.c), 32 each, so the largest
 * normal number is 6.7. The angle is a fourth of itself first, within pi/4 of 0, where Taylor's polynomials are exact to
 * 3e-8, and is doubled twice. */
static void NAME(noise)(ptrdiff_t n, void *x_, double deviation_, const nn_random_key *key)
{
    enum { PAIRS = 64 };
    real *x = x_;
    const uint64_t mixed = nn_mix_key(key, 0);
    const uint32_t k1 = (uint32_t)mixed, k2 = (uint32_t)(mixed >> 32);
    const real to_unit = (real)(1.0 / 2147483648.0), half_unit = (real)(0.5 / 2147483648.0);
    const real eighth = (real)0.78539816339744830962, to_angle = (real)(1.57079632679489661923 / 2147483648.0);
    const vec one = v_set1(1), minus_two = v_set1(-2), deviation = v_set1((real)deviation_);
    for (ptrdiff_t i = 0; i < n; i += 2 * PAIRS) {
        real u[PAIRS], quarter[PAIRS], normal[2 * PAIRS];
        const ptrdiff_t length = n - i < 2 * PAIRS ? n - i : 2 * PAIRS;
        for (int j = 0; j < PAIRS; j++) {
            const uint32_t bits = nn_mix32(nn_mix32(((uint32_t)i + (uint32_t)j) ^ k1) + k2);
            u[j] = (real)(int32_t)(bits >> 1) * to_unit + half_unit;
        }
        for (int j = 0; j < PAIRS; j++) {
            const uint32_t bits = nn_mix32(nn_mix32(((uint32_t)i + PAIRS + (uint32_t)j) ^ k1) + k2);
            quarter[j] = (real)(int32_t)(bits >> 1) * to_angle - eighth;
        }
        for (int j = 0; j < PAIRS; j += VL) {
            const vec radius = v_mul(deviation, v_sqrt(v_mul(minus_two, v_log(v_load(u + j)))));
            const vec a = v_load(quarter + j), z = v_mul(a, a);
            const vec s = v_mul(a, horner(z, NAME(sine_c), DEGREE(NAME(sine_c))));
            const vec c = horner(z, NAME(cosine_c), DEGREE(NAME(cosine_c)));
            const vec s2 = v_mul(v_add(s, s), c), c2 = v_fnma(v_add(s, s), s, one);
            v_store(normal + j, v_mul(radius, v_fnma(v_add(s2, s2), s2, one)));
            v_store(normal + PAIRS + j, v_mul(radius, v_mul(v_add(s2, s2), c2)));
        }
        NAME(add)(length, x + i, normal, x + i);
    }
}
