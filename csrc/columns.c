/* Columns of a matrix: sums over its rows, and rows times numbers of each column. Bias gradients and batch normalization.
 *
 * A sum takes four rows at a time, (r0 + r1) + (r2 + r3), and adds them to what stands in memory: no addition waits for
 * the one before, and rows are read from end to end. The rows that are left are added one by one. So a column's bits do
 * not depend on the columns beside it, but for a matrix of at most half a vector's width, which is summed whole.
 */

/* n lanes at p, mostly all of them. */
#undef AT
#undef PUT
#define AT(p, n) ((n) == VL ? v_load(p) : v_load_n(p, n))
#define PUT(p, a, n) do { if ((n) == VL) v_store(p, a); else v_store_n(p, a, n); } while (0)

/* y (+)= the sum of a row, or of four. */
nn_inline void NAME(add_rows)(const ptrdiff_t rows, const vec *r, int accumulate, real *y, ptrdiff_t n)
{
    const vec sum = rows == 1 ? r[0] : v_add(v_add(r[0], r[1]), v_add(r[2], r[3]));
    PUT(y, accumulate ? v_add(AT(y, n), sum) : sum, n);
}

/* f(4 or 1, ..., whether there were rows before) until i has come to the last row. */
#undef BY_FOURS
#define BY_FOURS(rows, i, f, ...) do {                                                                               \
    ptrdiff_t i = 0;                                                                                                 \
    for (; i + 4 <= (rows); i += 4) f(4, __VA_ARGS__, i > 0);                                                        \
    for (; i < (rows); i++) f(1, __VA_ARGS__, i > 0);                                                                \
} while (0)

nn_inline void NAME(sum_of_rows)(const ptrdiff_t rows, ptrdiff_t cols, const real *x, ptrdiff_t ld, real *y,
                                 int accumulate)
{
    for (ptrdiff_t j = 0; j < cols; j += VL) {
        const ptrdiff_t n = cols - j < VL ? cols - j : VL;
        vec r[4];
        NN_UNROLL
        for (ptrdiff_t t = 0; t < rows; t++) r[t] = AT(x + t * ld + j, n);
        NAME(add_rows)(rows, r, accumulate, y + j, n);
    }
}

/* The same, of few columns, with the sums in registers. `vectors` is a constant wherever this is inlined. */
nn_inline void NAME(sum_of_vectors)(const int vectors, ptrdiff_t rows, ptrdiff_t cols, const real *x, ptrdiff_t ld, real *y)
{
    const ptrdiff_t last = cols - (vectors - 1) * VL;
    vec sum[4];
    ptrdiff_t i = 0;
    NN_UNROLL
    for (int j = 0; j < vectors; j++) sum[j] = v_zero();
    for (; i + 4 <= rows; i += 4, x += 4 * ld) {
        NN_UNROLL
        for (int j = 0; j < vectors; j++) {
            const ptrdiff_t n = j + 1 < vectors ? VL : last;
            const real *at = x + j * VL;
            sum[j] = v_add(sum[j], v_add(v_add(AT(at, n), AT(at + ld, n)), v_add(AT(at + 2 * ld, n), AT(at + 3 * ld, n))));
        }
    }
    for (; i < rows; i++, x += ld) {
        NN_UNROLL
        for (int j = 0; j < vectors; j++) sum[j] = v_add(sum[j], AT(x + j * VL, j + 1 < vectors ? VL : last));
    }
    NN_UNROLL
    for (int j = 0; j < vectors; j++) PUT(y + j * VL, sum[j], j + 1 < vectors ? VL : last);
}

/* Where several rows fill a vector: as of a matrix whose rows are that much longer. */
static void NAME(sum_together)(ptrdiff_t together, ptrdiff_t rows, ptrdiff_t cols, const real *x, real *y)
{
    const ptrdiff_t many = rows / together, width = together * cols;
    real sums[VL];
    v_store(sums, v_zero());        /* more than is needed, but compilers cannot tell what is */
    NAME(sum_of_vectors)(1, many, width, x, width, sums);
    for (ptrdiff_t j = 0; j < cols; j++) {
        y[j] = sums[j];
        for (ptrdiff_t t = 1; t < together; t++) y[j] += sums[t * cols + j];
        for (ptrdiff_t i = many * together; i < rows; i++) y[j] += x[i * cols + j];
    }
}

static void NAME(column_sum)(ptrdiff_t rows, ptrdiff_t cols, const void *x_, ptrdiff_t ld, void *y_)
{
    const real *x = x_;
    real *y = y_;
    if (cols > 0 && ld == cols && 2 * cols <= VL) {
        NAME(sum_together)(VL / cols, rows, cols, x, y);
        return;
    }
    switch ((cols + VL - 1) / VL) {
    case 1: NAME(sum_of_vectors)(1, rows, cols, x, ld, y); return;
    case 2: NAME(sum_of_vectors)(2, rows, cols, x, ld, y); return;
    case 3: NAME(sum_of_vectors)(3, rows, cols, x, ld, y); return;
    case 4: NAME(sum_of_vectors)(4, rows, cols, x, ld, y); return;
    }
    if (rows == 0) memset(y, 0, (size_t)cols * sizeof(real));
    BY_FOURS(rows, i, NAME(sum_of_rows), cols, x + i * ld, ld, y);
}

nn_inline void NAME(squares_of_rows)(const ptrdiff_t rows, ptrdiff_t cols, const real *x, ptrdiff_t ld, const real *mean,
                                     real *y, int accumulate)
{
    for (ptrdiff_t j = 0; j < cols; j += VL) {
        const ptrdiff_t n = cols - j < VL ? cols - j : VL;
        const vec center = AT(mean + j, n);
        vec r[4];
        NN_UNROLL
        for (ptrdiff_t t = 0; t < rows; t++) {
            const vec away = v_sub(AT(x + t * ld + j, n), center);
            r[t] = v_mul(away, away);
        }
        NAME(add_rows)(rows, r, accumulate, y + j, n);
    }
}

static void NAME(column_squares)(ptrdiff_t rows, ptrdiff_t cols, const void *x_, ptrdiff_t ld, const void *mean, void *y)
{
    const real *x = x_;
    BY_FOURS(rows, i, NAME(squares_of_rows), cols, x + i * ld, ld, mean, y);
}

static void NAME(join_moments)(ptrdiff_t n, const void *mean_, const void *squares_, double share, double weight,
                               double *restrict joint_mean, double *restrict joint_squares)
{
    const real *mean = mean_, *squares = squares_;
    for (ptrdiff_t j = 0; j < n; j++) {
        const double delta = (double)mean[j] - joint_mean[j];
        joint_mean[j] += delta * share;
        joint_squares[j] += (double)squares[j] + delta * delta * weight;
    }
}

static void NAME(join_sums)(ptrdiff_t n, const void *x_, double *restrict sum)
{
    const real *x = x_;
    for (ptrdiff_t j = 0; j < n; j++) sum[j] += (double)x[j];
}

static void NAME(normalize)(ptrdiff_t rows, ptrdiff_t cols, const void *x_, const void *scale_, const void *shift_,
                            int relu, void *y_)
{
    const real *x = x_, *scale = scale_, *shift = shift_;
    real *y = y_;
    for (ptrdiff_t i = 0; i < rows; i++, x += cols, y += cols)
        for (ptrdiff_t j = 0; j < cols; j += VL) {
            const ptrdiff_t n = cols - j < VL ? cols - j : VL;
            const vec a = v_fma(AT(x + j, n), AT(scale + j, n), AT(shift + j, n));
            PUT(y + j, relu ? v_max(v_zero(), a) : a, n);   /* nan comes through */
        }
}

/* The gradient before the relu that was made of x, or dy itself. scale: NULL or not is a constant where this is inlined. */
nn_inline vec NAME(before_relu)(const vec dy, const vec x, const real *scale, const real *shift, ptrdiff_t n)
{
    if (!scale) return dy;
    return v_select(v_le(v_fma(x, AT(scale, n), AT(shift, n)), v_zero()), v_zero(), dy);
}

nn_inline void NAME(gradient_of_rows)(const ptrdiff_t rows, ptrdiff_t cols, const real *x, ptrdiff_t ld, const real *scale,
                                      const real *shift, const real *mean, const real *dy, real *sum, real *moment,
                                      int accumulate)
{
    for (ptrdiff_t j = 0; j < cols; j += VL) {
        const ptrdiff_t n = cols - j < VL ? cols - j : VL;
        const vec center = AT(mean + j, n);
        vec dz[4], product[4];
        NN_UNROLL
        for (ptrdiff_t t = 0; t < rows; t++) {
            const vec a = AT(x + t * ld + j, n);
            dz[t] = NAME(before_relu)(AT(dy + t * ld + j, n), a, scale ? scale + j : NULL, shift + j, n);
            product[t] = v_mul(dz[t], v_sub(a, center));
        }
        NAME(add_rows)(rows, dz, accumulate, sum + j, n);
        NAME(add_rows)(rows, product, accumulate, moment + j, n);
    }
}

static void NAME(normalize_sums)(ptrdiff_t rows, ptrdiff_t cols, const void *x_, ptrdiff_t ld, const void *scale,
                                 const void *shift, const void *mean, const void *dy_, void *sum, void *moment)
{
    const real *x = x_, *dy = dy_;
    if (scale)
        BY_FOURS(rows, i, NAME(gradient_of_rows), cols, x + i * ld, ld, scale, shift, mean, dy + i * ld, sum, moment);
    else
        BY_FOURS(rows, i, NAME(gradient_of_rows), cols, x + i * ld, ld, NULL, mean, mean, dy + i * ld, sum, moment);
}

nn_inline void NAME(gradient_of_normalized)(ptrdiff_t rows, ptrdiff_t cols, const real *dy, const real *x,
                                            const real *scale, const real *shift, const real *p, const real *q,
                                            const real *r, int accumulate, real *dx)
{
    for (ptrdiff_t i = 0; i < rows; i++, dy += cols, x += cols, dx += cols)
        for (ptrdiff_t j = 0; j < cols; j += VL) {
            const ptrdiff_t n = cols - j < VL ? cols - j : VL;
            const vec a = AT(x + j, n);
            const vec dz = NAME(before_relu)(AT(dy + j, n), a, scale ? scale + j : NULL, shift + j, n);
            const vec sum = v_fma(a, AT(q + j, n), v_fma(dz, AT(p + j, n), AT(r + j, n)));
            PUT(dx + j, accumulate ? v_add(sum, AT(dx + j, n)) : sum, n);
        }
}

static void NAME(normalize_backward)(ptrdiff_t rows, ptrdiff_t cols, const void *dy, const void *x, const void *scale,
                                     const void *shift, const void *p, const void *q, const void *r, int accumulate,
                                     void *dx)
{
    if (scale) NAME(gradient_of_normalized)(rows, cols, dy, x, scale, shift, p, q, r, accumulate, dx);
    else NAME(gradient_of_normalized)(rows, cols, dy, x, NULL, p, p, q, r, accumulate, dx);
}
