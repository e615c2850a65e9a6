/* Transforms of Winograd's minimal filtering F(4 x 4, 3 x 3): sixteen outputs of a 3 x 3 convolution from 36 products a
 * channel pair instead of 144 (Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural Networks", section 4.1).
 *
 *     y = A' [(G w G') * (B' x B)] A        per 6 x 6 tile of x, 3 x 3 kernel w, 4 x 4 tile of y
 *
 * summed over channels in between, which makes the 36 elementwise products 36 products of matrices. Each transform here
 * goes over vectors of channels: of pixels it takes and gives as many channels as there are, of tiles whole vectors, zeros
 * beyond. `step` leads from one of the 36 positions to the next.
 *
 * In one dimension it multiplies polynomials by their values at 0, p, -p, q, -q and infinity (Toom and Cook). p = 5/8 and
 * q = 3/2 round to an error about four times that of the plain sum, 1 and 2 to eight times; powers of both are exact.
 *
 *     B' = | p^2 q^2     0       -(p^2 + q^2)     0       1  0 |      A' = | 1   1    1    1    1   0 |
 *          |  0      -+ p q^2       -q^2        +- p      1  0 |           | 0   p   -p    q   -q   0 |
 *          |  0      -+ q p^2       -p^2        +- q      1  0 |           | 0  p^2  p^2  q^2  q^2  0 |
 *          |  0       p^2 q^2         0     -(p^2 + q^2)  0  1 |           | 0  p^3 -p^3  q^3 -q^3  1 |
 *
 * with rows of G: (1, 0, 0) / p^2 q^2, (1, +- p, p^2) / P, (1, +- q, q^2) / Q, (0, 0, 1), where P = 2 p^2 (p^2 - q^2) and
 * Q = 2 q^2 (q^2 - p^2).
 */
#ifndef NN_WINOGRAD_POINTS
#define NN_WINOGRAD_POINTS
#define WINO_P 0.625
#define WINO_Q 1.5
#define WINO_P2 (WINO_P * WINO_P)
#define WINO_Q2 (WINO_Q * WINO_Q)
#define WINO_NORM_P (2 * WINO_P2 * (WINO_P2 - WINO_Q2))
#define WINO_NORM_Q (2 * WINO_Q2 * (WINO_Q2 - WINO_P2))
#endif

#define CONSTANT(x) v_set1((real)(x))

/* t = B' d */
nn_inline void NAME(winograd_b)(const vec *d, vec *t)
{
    const vec p = CONSTANT(WINO_P), q = CONSTANT(WINO_Q), p2 = CONSTANT(WINO_P2), q2 = CONSTANT(WINO_Q2);
    const vec sum = CONSTANT(WINO_P2 + WINO_Q2), product = CONSTANT(WINO_P2 * WINO_Q2);
    const vec even_p = v_fnma(q2, d[2], d[4]), odd_p = v_fnma(q2, d[1], d[3]);
    const vec even_q = v_fnma(p2, d[2], d[4]), odd_q = v_fnma(p2, d[1], d[3]);
    t[0] = v_fma(product, d[0], v_fnma(sum, d[2], d[4]));
    t[1] = v_fma(p, odd_p, even_p);
    t[2] = v_fnma(p, odd_p, even_p);
    t[3] = v_fma(q, odd_q, even_q);
    t[4] = v_fnma(q, odd_q, even_q);
    t[5] = v_fma(product, d[1], v_fnma(sum, d[3], d[5]));
}

/* y = A' m */
nn_inline void NAME(winograd_a)(const vec *m, vec *y)
{
    const vec even_p = v_add(m[1], m[2]), odd_p = v_sub(m[1], m[2]);
    const vec even_q = v_add(m[3], m[4]), odd_q = v_sub(m[3], m[4]);
    y[0] = v_add(m[0], v_add(even_p, even_q));
    y[1] = v_fma(CONSTANT(WINO_P), odd_p, v_mul(CONSTANT(WINO_Q), odd_q));
    y[2] = v_fma(CONSTANT(WINO_P2), even_p, v_mul(CONSTANT(WINO_Q2), even_q));
    y[3] = v_fma(CONSTANT(WINO_P * WINO_P2), odd_p, v_fma(CONSTANT(WINO_Q * WINO_Q2), odd_q, m[5]));
}

/* m = A y */
nn_inline void NAME(winograd_a_backward)(const vec *y, vec *m)
{
    const vec even_p = v_fma(CONSTANT(WINO_P2), y[2], y[0]), even_q = v_fma(CONSTANT(WINO_Q2), y[2], y[0]);
    const vec odd_p = v_fma(CONSTANT(WINO_P * WINO_P2), y[3], v_mul(CONSTANT(WINO_P), y[1]));
    const vec odd_q = v_fma(CONSTANT(WINO_Q * WINO_Q2), y[3], v_mul(CONSTANT(WINO_Q), y[1]));
    m[0] = y[0];
    m[1] = v_add(even_p, odd_p);
    m[2] = v_sub(even_p, odd_p);
    m[3] = v_add(even_q, odd_q);
    m[4] = v_sub(even_q, odd_q);
    m[5] = y[3];
}

/* u = G w */
nn_inline void NAME(winograd_g)(const vec *w, vec *u)
{
    const vec even_p = v_fma(CONSTANT(WINO_P2 / WINO_NORM_P), w[2], v_mul(CONSTANT(1 / WINO_NORM_P), w[0]));
    const vec even_q = v_fma(CONSTANT(WINO_Q2 / WINO_NORM_Q), w[2], v_mul(CONSTANT(1 / WINO_NORM_Q), w[0]));
    const vec odd_p = CONSTANT(WINO_P / WINO_NORM_P), odd_q = CONSTANT(WINO_Q / WINO_NORM_Q);
    u[0] = v_mul(CONSTANT(1 / (WINO_P2 * WINO_Q2)), w[0]);
    u[1] = v_fma(odd_p, w[1], even_p);
    u[2] = v_fnma(odd_p, w[1], even_p);
    u[3] = v_fma(odd_q, w[1], even_q);
    u[4] = v_fnma(odd_q, w[1], even_q);
    u[5] = w[2];
}

/* w = G' u */
nn_inline void NAME(winograd_g_backward)(const vec *u, vec *w)
{
    const vec even_p = v_mul(CONSTANT(1 / WINO_NORM_P), v_add(u[1], u[2]));
    const vec even_q = v_mul(CONSTANT(1 / WINO_NORM_Q), v_add(u[3], u[4]));
    const vec odd_p = v_sub(u[1], u[2]), odd_q = v_sub(u[3], u[4]);
    w[0] = v_fma(CONSTANT(1 / (WINO_P2 * WINO_Q2)), u[0], v_add(even_p, even_q));
    w[1] = v_fma(CONSTANT(WINO_P / WINO_NORM_P), odd_p, v_mul(CONSTANT(WINO_Q / WINO_NORM_Q), odd_q));
    w[2] = v_fma(CONSTANT(WINO_P2), even_p, v_fma(CONSTANT(WINO_Q2), even_q, u[5]));
}

nn_inline vec NAME(winograd_load)(ptrdiff_t n, const real *x) { return n == VL ? v_load(x) : v_load_n(x, n); }

/* A vector of which n lanes are channels: VL, a constant where this is inlined for all but the last. */
nn_inline void NAME(winograd_input_of)(const int whole, ptrdiff_t n, const nn_winograd *op, const real *x, real *v,
                                       ptrdiff_t step)
{
    vec columns[6][6], d[6], t[6];
    NN_UNROLL
    for (int s = 0; s < 6; s++) {
        NN_UNROLL
        for (int r = 0; r < 6; r++) {
            const int inside = whole || (r >= op->first_row && r < op->rows && s >= op->first_column && s < op->columns);
            d[r] = inside ? NAME(winograd_load)(n, x + r * op->row_pitch + s * op->pixel_pitch) : v_zero();
        }
        NAME(winograd_b)(d, t);
        NN_UNROLL
        for (int r = 0; r < 6; r++) columns[r][s] = t[r];
    }
    NN_UNROLL
    for (int r = 0; r < 6; r++) {
        NAME(winograd_b)(columns[r], t);
        NN_UNROLL
        for (int s = 0; s < 6; s++) v_store(v + (6 * r + s) * step, t[s]);
    }
}

static void NAME(winograd_input)(const nn_winograd *op, ptrdiff_t channels, const void *x_, void *v_, ptrdiff_t step)
{
    const real *x = x_;
    real *v = v_;
    const int whole = op->first_row == 0 && op->first_column == 0 && op->rows == 6 && op->columns == 6;
    ptrdiff_t c = 0;
    for (; whole && c + VL <= channels; c += VL) NAME(winograd_input_of)(1, VL, op, x + c, v + c, step);
    for (; c + VL <= channels; c += VL) NAME(winograd_input_of)(0, VL, op, x + c, v + c, step);
    if (c < channels) NAME(winograd_input_of)(0, channels - c, op, x + c, v + c, step);
}

nn_inline void NAME(winograd_output_of)(ptrdiff_t n, const nn_winograd *op, const real *m, ptrdiff_t step,
                                        const real *bias, real *y)
{
    const vec shift = bias ? v_load(bias) : v_zero();
    vec columns[4][6], d[6], t[4];
    NN_UNROLL
    for (int s = 0; s < 6; s++) {
        NN_UNROLL
        for (int r = 0; r < 6; r++) d[r] = v_load(m + (6 * r + s) * step);
        NAME(winograd_a)(d, t);
        NN_UNROLL
        for (int r = 0; r < 4; r++) columns[r][s] = t[r];
    }
    NN_UNROLL
    for (int r = 0; r < 4; r++) {
        if (r >= op->rows) break;
        NAME(winograd_a)(columns[r], t);
        NN_UNROLL
        for (int s = 0; s < 4; s++) {
            real *to = y + r * op->row_pitch + s * op->pixel_pitch;
            vec out = v_add(t[s], shift);
            if (s >= op->columns) break;
            if (op->accumulate) out = v_add(out, NAME(winograd_load)(n, to));
            if (op->relu) out = v_max(v_zero(), out);       /* nan comes through */
            if (n == VL) v_store(to, out);
            else v_store_n(to, out, n);
        }
    }
}

static void NAME(winograd_output)(const nn_winograd *op, ptrdiff_t channels, const void *m_, ptrdiff_t step,
                                  const void *bias_, void *y_)
{
    const real *m = m_, *bias = bias_;
    real *y = y_;
    ptrdiff_t c = 0;
    for (; c + VL <= channels; c += VL) NAME(winograd_output_of)(VL, op, m + c, step, bias ? bias + c : NULL, y + c);
    if (c < channels) NAME(winograd_output_of)(channels - c, op, m + c, step, bias ? bias + c : NULL, y + c);
}

/* m = A dy A', zeros for what of the 4 x 4 tile lies outside. */
nn_inline void NAME(winograd_output_backward_of)(ptrdiff_t n, const nn_winograd *op, const real *dy, real *m,
                                                 ptrdiff_t step)
{
    vec columns[6][4], d[4], t[6];
    NN_UNROLL
    for (int s = 0; s < 4; s++) {
        NN_UNROLL
        for (int r = 0; r < 4; r++) {
            const int inside = r < op->rows && s < op->columns;
            d[r] = inside ? NAME(winograd_load)(n, dy + r * op->row_pitch + s * op->pixel_pitch) : v_zero();
        }
        NAME(winograd_a_backward)(d, t);
        NN_UNROLL
        for (int r = 0; r < 6; r++) columns[r][s] = t[r];
    }
    NN_UNROLL
    for (int r = 0; r < 6; r++) {
        NAME(winograd_a_backward)(columns[r], t);
        NN_UNROLL
        for (int s = 0; s < 6; s++) v_store(m + (6 * r + s) * step, t[s]);
    }
}

static void NAME(winograd_output_backward)(const nn_winograd *op, ptrdiff_t channels, const void *dy_, void *m_,
                                           ptrdiff_t step)
{
    const real *dy = dy_;
    real *m = m_;
    ptrdiff_t c = 0;
    for (; c + VL <= channels; c += VL) NAME(winograd_output_backward_of)(VL, op, dy + c, m + c, step);
    if (c < channels) NAME(winograd_output_backward_of)(channels - c, op, dy + c, m + c, step);
}

/* u = G w G' for n numbers of each of the nine taps, and its transpose dw = G' du G. */
static void NAME(winograd_kernel)(ptrdiff_t n, const void *w_, ptrdiff_t w_step, void *u_, ptrdiff_t u_step)
{
    const real *w = w_;
    real *u = u_;
    for (ptrdiff_t i = 0; i < n; i += VL) {
        vec columns[6][3], d[3], t[6];
        NN_UNROLL
        for (int s = 0; s < 3; s++) {
            NN_UNROLL
            for (int r = 0; r < 3; r++) d[r] = v_load(w + (3 * r + s) * w_step + i);
            NAME(winograd_g)(d, t);
            NN_UNROLL
            for (int r = 0; r < 6; r++) columns[r][s] = t[r];
        }
        NN_UNROLL
        for (int r = 0; r < 6; r++) {
            NAME(winograd_g)(columns[r], t);
            NN_UNROLL
            for (int s = 0; s < 6; s++) v_store(u + (6 * r + s) * u_step + i, t[s]);
        }
    }
}

static void NAME(winograd_kernel_backward)(ptrdiff_t n, const void *u_, ptrdiff_t u_step, void *w_, ptrdiff_t w_step)
{
    const real *u = u_;
    real *w = w_;
    for (ptrdiff_t i = 0; i < n; i += VL) {
        vec columns[3][6], d[6], t[3];
        NN_UNROLL
        for (int s = 0; s < 6; s++) {
            NN_UNROLL
            for (int r = 0; r < 6; r++) d[r] = v_load(u + (6 * r + s) * u_step + i);
            NAME(winograd_g_backward)(d, t);
            NN_UNROLL
            for (int r = 0; r < 3; r++) columns[r][s] = t[r];
        }
        NN_UNROLL
        for (int r = 0; r < 3; r++) {
            NAME(winograd_g_backward)(columns[r], t);
            NN_UNROLL
            for (int s = 0; s < 3; s++) v_store(w + (3 * r + s) * w_step + i, t[s]);
        }
    }
}

#undef CONSTANT
