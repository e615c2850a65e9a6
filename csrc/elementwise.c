/* Flat runs of numbers: sums and norms, conversion to this precision, dropout. */

/* The lanes of a double-precision sum: their number is the same for every instruction set, and the additions have no
 * products to contract, so a run of numbers has one sum of squares everywhere. */
#undef SUM_LANES
#define SUM_LANES 16

nn_inline double NAME(add_lanes)(const double *s)
{
    double half[SUM_LANES / 2];
    for (int j = 0; j < SUM_LANES / 2; j++)
        half[j] = s[j] + s[j + SUM_LANES / 2];
    return ((half[0] + half[4]) + (half[2] + half[6])) + ((half[1] + half[5]) + (half[3] + half[7]));
}

static void NAME(add)(ptrdiff_t n, const void *a_, const void *b_, void *y_)
{
    const real *a = a_, *b = b_;
    real *y = y_;
    ptrdiff_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(y + i, v_add(v_load(a + i), v_load(b + i)));
    if (i < n)
        v_store_n(y + i, v_add(v_load_n(a + i, n - i), v_load_n(b + i, n - i)), n - i);
}

static void NAME(affine)(ptrdiff_t n, const void *x_, double scale_, double offset_, void *y_)
{
    const real *x = x_;
    real *y = y_;
    const vec scale = v_set1((real)scale_), offset = v_set1((real)offset_);
    ptrdiff_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(y + i, v_fma(v_load(x + i), scale, offset));
    if (i < n)
        v_store_n(y + i, v_fma(v_load_n(x + i, n - i), scale, offset), n - i);
}

/* Of squares or of absolute values. */
nn_inline double NAME(sum_of)(const int squares, ptrdiff_t n, const real *x)
{
    double s[SUM_LANES] = {0};
    ptrdiff_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        for (int j = 0; j < SUM_LANES; j++)
            s[j] += squares ? (double)x[i + j] * x[i + j] : fabs((double)x[i + j]);
    for (int j = 0; i + j < n; j++)
        s[j] += squares ? (double)x[i + j] * x[i + j] : fabs((double)x[i + j]);
    return NAME(add_lanes)(s);
}

static double NAME(sum_squares)(ptrdiff_t n, const void *x)
{
    return NAME(sum_of)(1, n, x);
}

static double NAME(absolute_maximum)(ptrdiff_t n, const void *x_)
{
    const real *x = x_;
    /* x * 0 is 0 for finite x and NaN otherwise: one sum tells whether any was not. */
    vec largest[4] = {v_zero(), v_zero(), v_zero(), v_zero()}, taint[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    ptrdiff_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        NN_UNROLL
        for (int k = 0; k < 4; k++) {
            const vec a = v_load(x + i + k * VL);
            largest[k] = v_max(v_abs(a), largest[k]);
            taint[k] = v_fma(a, v_zero(), taint[k]);
        }
    }
    for (; i < n; i += VL) {
        const vec a = v_load_n(x + i, n - i < VL ? n - i : VL);
        largest[0] = v_max(v_abs(a), largest[0]);
        taint[0] = v_fma(a, v_zero(), taint[0]);
    }
    if (v_any(v_isnan(v_add(v_add(taint[0], taint[1]), v_add(taint[2], taint[3])))))
        return INFINITY;
    return v_hmax(v_max(v_max(largest[0], largest[1]), v_max(largest[2], largest[3])));
}

nn_inline real NAME(sign)(real w) { return (real)((w > 0) - (w < 0)); }

/* Only what the two factors ask for: most networks have one of them. */
static double NAME(penalty)(ptrdiff_t n, const void *w, double l1, double l2)
{
    return (l2 == 0 ? 0 : 0.5 * l2 * NAME(sum_of)(1, n, w)) + (l1 == 0 ? 0 : l1 * NAME(sum_of)(0, n, w));
}

static void NAME(penalty_backward)(ptrdiff_t n, const void *w_, void *g_, double l1, double l2)
{
    const real *restrict w = w_;
    real *restrict g = g_;
    const real slope1 = (real)l1, slope2 = (real)l2;
    if (l1 == 0)
        for (ptrdiff_t i = 0; i < n; i++)
            g[i] += slope2 * w[i];
    else
        for (ptrdiff_t i = 0; i < n; i++)
            g[i] += slope2 * w[i] + slope1 * NAME(sign)(w[i]);
}

static void NAME(gather_float32)(ptrdiff_t n, const void *src_, void *dst_)
{
    const float *restrict src = src_;
    real *restrict dst = dst_;
    for (ptrdiff_t i = 0; i < n; i++)
        dst[i] = (real)src[i];
}

static void NAME(gather_float64)(ptrdiff_t n, const void *src_, void *dst_)
{
    const double *restrict src = src_;
    real *restrict dst = dst_;
    for (ptrdiff_t i = 0; i < n; i++)
        dst[i] = (real)src[i];
}

static void NAME(gather_uint8)(ptrdiff_t n, const void *src_, void *dst_)
{
    const uint8_t *restrict src = src_;
    real *restrict dst = dst_;
    for (ptrdiff_t i = 0; i < n; i++)
        dst[i] = (real)src[i];
}

/* Element e is kept if its 32 random bits, read as a fraction of 2^32, are not below the rate:
 * bits(e) = mix32(mix32(low32(e) ^ k1) + k2), where k1 and k2 are the halves of a mix of the key and high32(e). Two
 * rounds with a key each: after one, streams whose keys differ in few bits would be permutations of each other. */
static void NAME(dropout)(ptrdiff_t n, const void *x_, void *y_, double rate, const nn_random_key *key,
                          ptrdiff_t start)
{
    enum { CHUNK = 128 };
    const real *x = x_;
    real *y = y_;
    const uint32_t threshold = (uint32_t)(rate * 4294967296.0);
    const real kept = (real)(1.0 / (1.0 - rate));
    for (ptrdiff_t i = 0; i < n;) {
        const uint64_t element = (uint64_t)start + (uint64_t)i, block_left = (UINT64_C(1) << 32) - (uint32_t)element;
        const uint64_t mixed = nn_mix_key(key, element >> 32);
        const uint32_t k1 = (uint32_t)mixed, k2 = (uint32_t)(mixed >> 32), low = (uint32_t)element;
        const ptrdiff_t run = (uint64_t)(n - i) < block_left ? n - i : (ptrdiff_t)block_left;
        for (ptrdiff_t c = 0; c < run; c += CHUNK) {
            /* A chunk of factors first: the integer loop then vectorises, whether or not y is x. */
            real factor[CHUNK];
            const ptrdiff_t length = run - c < CHUNK ? run - c : CHUNK;
            for (int j = 0; j < (int)length; j++) {
                const uint32_t bits = nn_mix32(nn_mix32((low + (uint32_t)c + (uint32_t)j) ^ k1) + k2);
                factor[j] = bits >= threshold ? kept : 0;
            }
            ptrdiff_t j = 0;
            for (; j + VL <= length; j += VL)
                v_store(y + i + c + j, v_mul(v_load(x + i + c + j), v_load(factor + j)));
            if (j < length)
                v_store_n(y + i + c + j,
                          v_mul(v_load_n(x + i + c + j, length - j), v_load_n(factor + j, length - j)), length - j);
        }
        i += run;
    }
}
