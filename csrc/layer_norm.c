/* Layer normalization (Ba, Kiros and Hinton 2016): every row of a matrix by its own mean and variance.
 *
 *     y = (x - mean) h gamma + beta,   h = 1 / sqrt(variance + epsilon)
 *
 * A row's sums are of vectors, two chains of them, then over the lanes: its bits do not depend on the other rows. */

/* The row's sum of F(j, n), a vector of n numbers from j on; lanes beyond n count, too, and must be zero. */
#undef ROW_SUM
#define ROW_SUM(result, F) do {                                                                                      \
    vec even = v_zero(), odd = v_zero();                                                                             \
    ptrdiff_t j = 0;                                                                                                 \
    for (; j + 2 * VL <= cols; j += 2 * VL) {                                                                        \
        even = v_add(even, F(j, VL));                                                                                \
        odd = v_add(odd, F(j + VL, VL));                                                                             \
    }                                                                                                                \
    for (; j < cols; j += VL) even = v_add(even, F(j, cols - j < VL ? cols - j : VL));                               \
    result = v_sum(v_add(even, odd));                                                                                \
} while (0)

/* The square of d, but zero in the lanes beyond n. */
nn_inline vec NAME(square_to)(vec d, ptrdiff_t n)
{
    real kept[VL];
    if (n < VL) {
        v_store(kept, d);
        d = v_load_n(kept, n);
    }
    return v_mul(d, d);
}

static void NAME(layer_norm)(ptrdiff_t rows, ptrdiff_t cols, const void *x_, ptrdiff_t ld, double epsilon,
                             const void *gamma_, const void *beta_, void *y_, void *moments_)
{
    const real *x = x_, *gamma = gamma_, *beta = beta_;
    real *y = y_, *moments = moments_;
    for (ptrdiff_t i = 0; i < rows; i++, x += ld, y += ld) {
        real sum, squares;
#undef TERM
#define TERM(j, n) AT(x + (j), n)
        ROW_SUM(sum, TERM);
        const real mean = sum / (real)cols;
        const vec center = v_set1(mean);
#undef TERM
#define TERM(j, n) NAME(square_to)(v_sub(AT(x + (j), n), center), n)
        ROW_SUM(squares, TERM);
        const real h = (real)(1 / sqrt((double)squares / (double)cols + epsilon));
        const vec factor = v_set1(h);
        for (ptrdiff_t j = 0; j < cols; j += VL) {
            const ptrdiff_t n = cols - j < VL ? cols - j : VL;
            vec a = v_mul(v_sub(AT(x + j, n), center), factor);
            if (gamma) a = v_mul(a, AT(gamma + j, n));
            if (beta) a = v_add(a, AT(beta + j, n));
            PUT(y + j, a, n);
        }
        if (moments) {
            moments[2 * i] = mean;
            moments[2 * i + 1] = h;
        }
    }
}

static void NAME(layer_norm_backward)(ptrdiff_t rows, ptrdiff_t cols, const void *dy_, const void *x_, ptrdiff_t ld,
                                      const void *moments_, const void *gamma_, int accumulate, void *dx_)
{
    const real *dy = dy_, *x = x_, *moments = moments_, *gamma = gamma_;
    real *dx = dx_;
    for (ptrdiff_t i = 0; i < rows; i++, dy += ld, x += ld, dx += ld) {
        const vec center = v_set1(moments[2 * i]), h = v_set1(moments[2 * i + 1]);
        real sum, product;
        /* Of the scaled gradient g, which is zero beyond the row; and of g times the normalized x. */
#undef SCALED
#define SCALED(j, n) (gamma ? v_mul(AT(dy + (j), n), AT(gamma + (j), n)) : AT(dy + (j), n))
#undef NORMALIZED
#define NORMALIZED(j, n) v_mul(v_sub(AT(x + (j), n), center), h)
        ROW_SUM(sum, SCALED);
#undef TERM
#define TERM(j, n) v_mul(SCALED(j, n), NORMALIZED(j, n))
        ROW_SUM(product, TERM);
        const vec mean = v_set1(sum / (real)cols), share = v_set1(product / (real)cols);
        for (ptrdiff_t j = 0; j < cols; j += VL) {
            const ptrdiff_t n = cols - j < VL ? cols - j : VL;
            const vec a = v_mul(h, v_fnma(NORMALIZED(j, n), share, v_sub(SCALED(j, n), mean)));
            PUT(dx + j, accumulate ? v_add(a, AT(dx + j, n)) : a, n);
        }
    }
}

/* Four sums at a time, as in columns.c: no addition waits for the one before. */
static void NAME(layer_norm_gradient)(ptrdiff_t rows, ptrdiff_t cols, const void *dy_, const void *x_, ptrdiff_t ld,
                                      const void *moments_, void *sum_)
{
    const real *dy = dy_, *x = x_, *moments = moments_;
    real *sum = sum_;
    for (ptrdiff_t j = 0; j < cols; j += VL) {
        const ptrdiff_t n = cols - j < VL ? cols - j : VL;
        vec total[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
        ptrdiff_t i = 0;
#undef TERM
#define TERM(i) v_mul(AT(dy + (i) * ld + j, n), v_mul(v_sub(AT(x + (i) * ld + j, n), v_set1(moments[2 * (i)])),             \
                                                      v_set1(moments[2 * (i) + 1])))
        for (; i + 4 <= rows; i += 4) {
            NN_UNROLL
            for (int t = 0; t < 4; t++) total[t] = v_add(total[t], TERM(i + t));
        }
        for (; i < rows; i++) total[0] = v_add(total[0], TERM(i));
        PUT(sum + j, v_add(v_add(total[0], total[1]), v_add(total[2], total[3])), n);
    }
}
