/* Sums over taps with pixels, not channels, in the lanes of a vector: of a convolution with few output channels, whose
 * vectors of channels would be mostly empty.
 *
 *   for each tap, for each channel of x:  for each vector of pixels, for each channel of y:  acc += x[pixels] * w[channel]
 *
 * A plane holds one channel of an image. A tap's pixels lie next to one another in it, at any alignment. All counts of
 * vectors sum in the same order: the bits of y do not depend on how the pixels were cut into tiles.
 */

/* Sums that leave registers for a vector of x and the numbers of w. */
#undef SUMS
#if defined(NN_ISA_AVX512) || defined(NN_ISA_NEON)
#define SUMS 24
#else
#define SUMS 12
#endif
#define MOST_VECTORS(rows) (SUMS / (rows) < 8 ? SUMS / (rows) : 8)

/* Up to half a vector. */
#undef FOR_ROWS
#if VL == 2
#define FOR_ROWS(X) X(1)
#elif VL == 4
#define FOR_ROWS(X) X(1) X(2)
#elif VL == 8
#define FOR_ROWS(X) X(1) X(2) X(3) X(4)
#else
#define FOR_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#endif

/* rows (of y) and vectors are constants wherever this is inlined. */
nn_inline void NAME(planes_tile)(const int rows, const int vectors, const nn_planes *op, const real *x, const real *w,
                                 const real *bias, real *y)
{
    const ptrdiff_t taps = op->taps, channels = op->channels, x_step = op->x_step, w_step = op->w_step;
    vec acc[8][8];
    NN_UNROLL
    for (int i = 0; i < rows; i++) {
        const vec start = bias ? v_set1(bias[i]) : v_zero();
        NN_UNROLL
        for (int j = 0; j < vectors; j++) acc[i][j] = start;
    }
    for (ptrdiff_t t = 0; t < taps; t++) {
        const real *at = x + op->x_offset[t];
        for (ptrdiff_t c = 0; c < channels; c++) {
            vec a[8];
            NN_UNROLL
            for (int j = 0; j < vectors; j++) a[j] = v_load(at + j * VL);
            NN_UNROLL
            for (int i = 0; i < rows; i++) {
                const vec tap = v_set1(w[i]);
                NN_UNROLL
                for (int j = 0; j < vectors; j++) acc[i][j] = v_fma(a[j], tap, acc[i][j]);
            }
            at += x_step;
            w += w_step;
        }
    }
    NN_UNROLL
    for (int i = 0; i < rows; i++) {
        NN_UNROLL
        for (int j = 0; j < vectors; j++)
            v_store(y + i * op->y_step + j * VL, op->relu ? v_max(v_zero(), acc[i][j]) : acc[i][j]); /* nan comes through */
    }
}

#define ROWS(M) \
    static void NAME(planes_of_##M)(const nn_planes *op, ptrdiff_t n, const real *x, const real *w, const real *bias, \
                                    real *y) \
    { \
        enum { MOST = MOST_VECTORS(M) }; \
        ptrdiff_t j = 0; \
        for (; j + (MOST - 1) * VL < n; j += MOST * VL) NAME(planes_tile)(M, MOST, op, x + j, w, bias, y + j); \
        for (; j + VL < n; j += 2 * VL) NAME(planes_tile)(M, 2, op, x + j, w, bias, y + j); \
        for (; j < n; j += VL) NAME(planes_tile)(M, 1, op, x + j, w, bias, y + j); \
    }
FOR_ROWS(ROWS)
#undef ROWS

static void NAME(planes)(const nn_planes *op, ptrdiff_t n, const void *x, const void *w, const void *bias, void *y)
{
    typedef void (*rows_fn)(const nn_planes *, ptrdiff_t, const real *, const real *, const real *, real *);
#define ROWS(M) NAME(planes_of_##M),
    static const rows_fn of[] = {FOR_ROWS(ROWS)};
#undef ROWS
    of[op->rows - 1](op, n, x, w, bias, y);
}

/* The gradient: a dot product over pixels for each tap and channel of dy, its lanes added up at the end. A vector of dy
 * serves several taps, one of x all channels of dy. */
nn_inline void NAME(gradient_tile)(const int rows, const int taps, const nn_planes_gradient *op, ptrdiff_t n,
                                   const ptrdiff_t *x_offset, const real *x, const real *dy, real *sums)
{
    const ptrdiff_t y_step = op->y_step;
    vec acc[8][8];
    ptrdiff_t from[8];
    NN_UNROLL
    for (int t = 0; t < taps; t++) {
        from[t] = x_offset[t];
        NN_UNROLL
        for (int i = 0; i < rows; i++) acc[t][i] = v_load(sums + (t * rows + i) * VL);
    }
    for (ptrdiff_t q = 0; q < op->samples; q++) {
        const real *at = x + q * op->x_sample, *g = dy + q * op->y_sample;
        for (ptrdiff_t j = 0; j < n; j += VL) {
            vec b[8];
            NN_UNROLL
            for (int i = 0; i < rows; i++) b[i] = v_load(g + i * y_step + j);
            NN_UNROLL
            for (int t = 0; t < taps; t++) {
                const vec a = v_load(at + from[t] + j);
                NN_UNROLL
                for (int i = 0; i < rows; i++) acc[t][i] = v_fma(a, b[i], acc[t][i]);
            }
        }
    }
    NN_UNROLL
    for (int t = 0; t < taps; t++) {
        NN_UNROLL
        for (int i = 0; i < rows; i++) v_store(sums + (t * rows + i) * VL, acc[t][i]);
    }
}

#define ROWS(M) \
    static void NAME(planes_gradient_of_##M)(const nn_planes_gradient *op, ptrdiff_t n, const real *x, const real *dy, \
                                             real *sums) \
    { \
        enum { MOST = MOST_VECTORS(M) }; \
        const ptrdiff_t *at = op->x_offset; \
        ptrdiff_t t = 0; \
        for (; t + MOST <= op->taps; t += MOST) NAME(gradient_tile)(M, MOST, op, n, at + t, x, dy, sums + t * M * VL); \
        for (; t + 2 <= op->taps; t += 2) NAME(gradient_tile)(M, 2, op, n, at + t, x, dy, sums + t * M * VL); \
        for (; t < op->taps; t++) NAME(gradient_tile)(M, 1, op, n, at + t, x, dy, sums + t * M * VL); \
    }
FOR_ROWS(ROWS)
#undef ROWS

static void NAME(planes_gradient)(const nn_planes_gradient *op, ptrdiff_t n, const void *x, const void *dy, void *sums)
{
    typedef void (*rows_fn)(const nn_planes_gradient *, ptrdiff_t, const real *, const real *, real *);
#define ROWS(M) NAME(planes_gradient_of_##M),
    static const rows_fn of[] = {FOR_ROWS(ROWS)};
#undef ROWS
    of[op->rows - 1](op, n, x, dy, sums);
}

static void NAME(sum_lanes)(ptrdiff_t n, const void *x_, void *y_)
{
    const real *x = x_;
    real *y = y_;
    for (ptrdiff_t i = 0; i < n; i++) y[i] = v_sum(v_load(x + i * VL));
}
