/* Transforms of Winograd's minimal filtering F(m x m, r x r), m = 7 - r, for kernels of r = 2 to 5 taps each way: m^2
 * outputs from 36 products a channel pair instead of (m r)^2, with 3 x 3 taps 36 instead of 144 (Lavin and Gray 2015, "Fast
 * Algorithms for Convolutional Neural Networks", section 4.1).
 *
 *     y = A' [(G w G') * (B' x B)] A        per 6 x 6 tile of x, r x r kernel w, m x m tile of y
 *
 * summed over channels in between, which makes the 36 elementwise products 36 products of matrices. Each transform here
 * goes over vectors of channels: of pixels it takes and gives as many channels as there are, of tiles whole vectors, zeros
 * beyond. `step` leads from one of the 36 positions to the next.
 *
 * In one dimension it multiplies polynomials by their values at 0, p, -p, q, -q and infinity (Toom and Cook). With p = 5/8
 * and q = 3/2 the error is, for r = 2 to 5 and 64 channels, 2.8, 1.7, 1.4 and 1.0 times that of the plain sum, with 1 and 2
 * about twice as much; powers of both are exact.
 *
 *     B' = | p^2 q^2     0       -(p^2 + q^2)     0       1  0 |      A' = | 1   1    1    1    1   0 |
 *          |  0      -+ p q^2       -q^2        +- p      1  0 |           | 0   p   -p    q   -q   0 |
 *          |  0      -+ q p^2       -p^2        +- q      1  0 |           | 0  p^2  p^2  q^2  q^2  0 |
 *          |  0       p^2 q^2         0     -(p^2 + q^2)  0  1 |           | 0  p^3 -p^3  q^3 -q^3  1 |
 *
 * Kernels of one row of taps need only one of the two: tiles of one row, 6 positions, F(m, r).
 *
 * A' is that of m = 4: m rows of powers, and the last ends in 1. Rows of G: (1, 0, ...) / p^2 q^2, (1, +- p, p^2, ...) / P,
 * (1, +- q, q^2, ...) / Q, (..., 0, 1), where P = 2 p^2 (p^2 - q^2) and Q = 2 q^2 (q^2 - p^2).
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

/* p^i and q^i; i is a constant once the loops are unrolled. */
#undef POWER_OF_P
#undef POWER_OF_Q
#define POWER_OF_P(i) ((i) == 0 ? 1 : (i) == 1 ? WINO_P : (i) == 2 ? WINO_P2 : (i) == 3 ? WINO_P * WINO_P2 : WINO_P2 * WINO_P2)
#define POWER_OF_Q(i) ((i) == 0 ? 1 : (i) == 1 ? WINO_Q : (i) == 2 ? WINO_Q2 : (i) == 3 ? WINO_Q * WINO_Q2 : WINO_Q2 * WINO_Q2)

/* y = A' m, of `tile` numbers */
nn_inline void NAME(winograd_a)(const int tile, const vec *m, vec *y)
{
    const vec even_p = v_add(m[1], m[2]), odd_p = v_sub(m[1], m[2]);
    const vec even_q = v_add(m[3], m[4]), odd_q = v_sub(m[3], m[4]);
    y[0] = v_add(m[0], v_add(even_p, even_q));
    NN_UNROLL
    for (int i = 1; i < tile; i++) {
        const vec of_p = i % 2 ? odd_p : even_p, of_q = i % 2 ? odd_q : even_q, q = CONSTANT(POWER_OF_Q(i));
        y[i] = v_fma(CONSTANT(POWER_OF_P(i)), of_p, i + 1 == tile ? v_fma(q, of_q, m[5]) : v_mul(q, of_q));
    }
}

/* Values of a polynomial of n coefficients at p and -p, or at q and -q. */
nn_inline void NAME(winograd_values)(const int n, const int at_q, const vec *y, vec *values)
{
    vec even = y[0], odd = v_mul(CONSTANT(at_q ? WINO_Q : WINO_P), y[1]);
    NN_UNROLL
    for (int i = 2; i < n; i++) {
        const vec power = CONSTANT(at_q ? POWER_OF_Q(i) : POWER_OF_P(i));
        if (i % 2) odd = v_fma(power, y[i], odd);
        else even = v_fma(power, y[i], even);
    }
    values[0] = v_add(even, odd);
    values[1] = v_sub(even, odd);
}

/* m = A y */
nn_inline void NAME(winograd_a_backward)(const int tile, const vec *y, vec *m)
{
    m[0] = y[0];
    NAME(winograd_values)(tile, 0, y, m + 1);
    NAME(winograd_values)(tile, 1, y, m + 3);
    m[5] = y[tile - 1];
}

/* u = G w, of `taps` numbers */
nn_inline void NAME(winograd_g)(const int taps, const vec *w, vec *u)
{
    vec of_p[5], of_q[5];
    NN_UNROLL
    for (int i = 0; i < taps; i++) {
        of_p[i] = v_mul(CONSTANT(1 / WINO_NORM_P), w[i]);
        of_q[i] = v_mul(CONSTANT(1 / WINO_NORM_Q), w[i]);
    }
    u[0] = v_mul(CONSTANT(1 / (WINO_P2 * WINO_Q2)), w[0]);
    NAME(winograd_values)(taps, 0, of_p, u + 1);
    NAME(winograd_values)(taps, 1, of_q, u + 3);
    u[5] = w[taps - 1];
}

/* w = G' u */
nn_inline void NAME(winograd_g_backward)(const int taps, const vec *u, vec *w)
{
    const vec even_p = v_mul(CONSTANT(1 / WINO_NORM_P), v_add(u[1], u[2]));
    const vec even_q = v_mul(CONSTANT(1 / WINO_NORM_Q), v_add(u[3], u[4]));
    const vec odd_p = v_mul(CONSTANT(1 / WINO_NORM_P), v_sub(u[1], u[2]));
    const vec odd_q = v_mul(CONSTANT(1 / WINO_NORM_Q), v_sub(u[3], u[4]));
    w[0] = v_fma(CONSTANT(1 / (WINO_P2 * WINO_Q2)), u[0], v_add(even_p, even_q));
    NN_UNROLL
    for (int i = 1; i < taps; i++) {
        const vec of_p = i % 2 ? odd_p : even_p, of_q = i % 2 ? odd_q : even_q, q = CONSTANT(POWER_OF_Q(i));
        w[i] = v_fma(CONSTANT(POWER_OF_P(i)), of_p, i + 1 == taps ? v_fma(q, of_q, u[5]) : v_mul(q, of_q));
    }
}

/* f(op->line, op->taps, ...) with both as constants. */
#undef BY_TAPS
#define BY_TAPS(f, ...) do {                                                                                         \
    switch (op->taps + (op->line ? 4 : 0)) {                                                                         \
    case 2: f(0, 2, __VA_ARGS__); break;                                                                             \
    case 3: f(0, 3, __VA_ARGS__); break;                                                                             \
    case 4: f(0, 4, __VA_ARGS__); break;                                                                             \
    case 5: f(0, 5, __VA_ARGS__); break;                                                                             \
    case 6: f(1, 2, __VA_ARGS__); break;                                                                             \
    case 7: f(1, 3, __VA_ARGS__); break;                                                                             \
    case 8: f(1, 4, __VA_ARGS__); break;                                                                             \
    default: f(1, 5, __VA_ARGS__);                                                                                   \
    }                                                                                                                \
} while (0)

nn_inline vec NAME(winograd_load)(ptrdiff_t n, const real *x) { return n == VL ? v_load(x) : v_load_n(x, n); }

/* A vector of which n lanes are channels: VL, a constant where this is inlined for all but the last. */
nn_inline void NAME(winograd_input_of)(const int line, const int whole, ptrdiff_t n, const nn_winograd *op, const real *x, real *v,
                                       ptrdiff_t step)
{
    vec columns[6][6], d[6], t[6];
    if (line) {
        NN_UNROLL
        for (int s = 0; s < 6; s++) {
            const int inside = whole || (s >= op->first_column && s < op->columns);
            d[s] = inside ? NAME(winograd_load)(n, x + s * op->pixel_pitch) : v_zero();
        }
        NAME(winograd_b)(d, t);
        NN_UNROLL
        for (int s = 0; s < 6; s++) v_store(v + s * step, t[s]);
        return;
    }
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

nn_inline void NAME(winograd_input_by)(const int line, const nn_winograd *op, ptrdiff_t channels, const real *x, real *v,
                                       ptrdiff_t step)
{
    const int whole = op->first_column == 0 && op->columns == 6 && (line || (op->first_row == 0 && op->rows == 6));
    ptrdiff_t c = 0;
    for (; whole && c + VL <= channels; c += VL) NAME(winograd_input_of)(line, 1, VL, op, x + c, v + c, step);
    for (; c + VL <= channels; c += VL) NAME(winograd_input_of)(line, 0, VL, op, x + c, v + c, step);
    if (c < channels) NAME(winograd_input_of)(line, 0, channels - c, op, x + c, v + c, step);
}

static void NAME(winograd_input)(const nn_winograd *op, ptrdiff_t channels, const void *x, void *v, ptrdiff_t step)
{
    if (op->line) NAME(winograd_input_by)(1, op, channels, x, v, step);
    else NAME(winograd_input_by)(0, op, channels, x, v, step);
}

/* A row of y's tile, of which m has the values. */
nn_inline void NAME(winograd_output_row)(const int tile, ptrdiff_t n, const nn_winograd *op, const vec *m, vec shift, real *y)
{
    vec t[5];
    NAME(winograd_a)(tile, m, t);
    NN_UNROLL
    for (int s = 0; s < tile; s++) {
        real *to = y + s * op->pixel_pitch;
        vec out = v_add(t[s], shift);
        if (s >= op->columns) break;
        if (op->accumulate) out = v_add(out, NAME(winograd_load)(n, to));
        if (op->relu) out = v_max(v_zero(), out);       /* nan comes through */
        if (n == VL) v_store(to, out);
        else v_store_n(to, out, n);
    }
}

nn_inline void NAME(winograd_output_of)(const int line, const int tile, ptrdiff_t n, const nn_winograd *op, const real *m,
                                        ptrdiff_t step, const real *bias, real *y)
{
    const vec shift = bias ? v_load(bias) : v_zero();
    vec columns[5][6], d[6], t[5];
    if (line) {
        NN_UNROLL
        for (int s = 0; s < 6; s++) d[s] = v_load(m + s * step);
        NAME(winograd_output_row)(tile, n, op, d, shift, y);
        return;
    }
    NN_UNROLL
    for (int s = 0; s < 6; s++) {
        NN_UNROLL
        for (int r = 0; r < 6; r++) d[r] = v_load(m + (6 * r + s) * step);
        NAME(winograd_a)(tile, d, t);
        NN_UNROLL
        for (int r = 0; r < tile; r++) columns[r][s] = t[r];
    }
    NN_UNROLL
    for (int r = 0; r < tile; r++) {
        if (r >= op->rows) break;
        NAME(winograd_output_row)(tile, n, op, columns[r], shift, y + r * op->row_pitch);
    }
}

nn_inline void NAME(winograd_output_by)(const int line, const int taps, const nn_winograd *op, ptrdiff_t channels,
                                        const real *m, ptrdiff_t step, const real *bias, real *y)
{
    const int tile = 7 - taps;
    ptrdiff_t c = 0;
    for (; c + VL <= channels; c += VL)
        NAME(winograd_output_of)(line, tile, VL, op, m + c, step, bias ? bias + c : NULL, y + c);
    if (c < channels)
        NAME(winograd_output_of)(line, tile, channels - c, op, m + c, step, bias ? bias + c : NULL, y + c);
}

static void NAME(winograd_output)(const nn_winograd *op, ptrdiff_t channels, const void *m, ptrdiff_t step,
                                  const void *bias, void *y)
{
    BY_TAPS(NAME(winograd_output_by), op, channels, m, step, bias, y);
}

/* m = A dy A', zeros for what of the tile lies outside. */
nn_inline void NAME(winograd_output_backward_of)(const int line, const int tile, ptrdiff_t n, const nn_winograd *op,
                                                 const real *dy, real *m, ptrdiff_t step)
{
    vec columns[6][5], d[5], t[6];
    if (line) {
        NN_UNROLL
        for (int s = 0; s < tile; s++)
            d[s] = s < op->columns ? NAME(winograd_load)(n, dy + s * op->pixel_pitch) : v_zero();
        NAME(winograd_a_backward)(tile, d, t);
        NN_UNROLL
        for (int s = 0; s < 6; s++) v_store(m + s * step, t[s]);
        return;
    }
    NN_UNROLL
    for (int s = 0; s < tile; s++) {
        NN_UNROLL
        for (int r = 0; r < tile; r++) {
            const int inside = r < op->rows && s < op->columns;
            d[r] = inside ? NAME(winograd_load)(n, dy + r * op->row_pitch + s * op->pixel_pitch) : v_zero();
        }
        NAME(winograd_a_backward)(tile, d, t);
        NN_UNROLL
        for (int r = 0; r < 6; r++) columns[r][s] = t[r];
    }
    NN_UNROLL
    for (int r = 0; r < 6; r++) {
        NAME(winograd_a_backward)(tile, columns[r], t);
        NN_UNROLL
        for (int s = 0; s < 6; s++) v_store(m + (6 * r + s) * step, t[s]);
    }
}

nn_inline void NAME(winograd_output_backward_by)(const int line, const int taps, const nn_winograd *op, ptrdiff_t channels,
                                                 const real *dy, real *m, ptrdiff_t step)
{
    const int tile = 7 - taps;
    ptrdiff_t c = 0;
    for (; c + VL <= channels; c += VL) NAME(winograd_output_backward_of)(line, tile, VL, op, dy + c, m + c, step);
    if (c < channels) NAME(winograd_output_backward_of)(line, tile, channels - c, op, dy + c, m + c, step);
}

static void NAME(winograd_output_backward)(const nn_winograd *op, ptrdiff_t channels, const void *dy, void *m,
                                           ptrdiff_t step)
{
    BY_TAPS(NAME(winograd_output_backward_by), op, channels, dy, m, step);
}

/* u = G w G' for n numbers of each tap, and its transpose dw = G' du G. */
nn_inline void NAME(winograd_kernel_of)(const int line, const int taps, const nn_winograd *op, ptrdiff_t n, const real *w,
                                        real *u, ptrdiff_t step)
{
    for (ptrdiff_t i = 0; i < n; i += VL) {
        vec columns[6][5], d[5], t[6];
        if (line) {
            NN_UNROLL
            for (int s = 0; s < taps; s++) d[s] = s < op->columns ? v_load(w + s * op->pixel_pitch + i) : v_zero();
            NAME(winograd_g)(taps, d, t);
            NN_UNROLL
            for (int s = 0; s < 6; s++) v_store(u + s * step + i, t[s]);
            continue;
        }
        NN_UNROLL
        for (int s = 0; s < taps; s++) {
            NN_UNROLL
            for (int r = 0; r < taps; r++) {
                const int inside = r < op->rows && s < op->columns;
                d[r] = inside ? v_load(w + r * op->row_pitch + s * op->pixel_pitch + i) : v_zero();
            }
            NAME(winograd_g)(taps, d, t);
            NN_UNROLL
            for (int r = 0; r < 6; r++) columns[r][s] = t[r];
        }
        NN_UNROLL
        for (int r = 0; r < 6; r++) {
            NAME(winograd_g)(taps, columns[r], t);
            NN_UNROLL
            for (int s = 0; s < 6; s++) v_store(u + (6 * r + s) * step + i, t[s]);
        }
    }
}

static void NAME(winograd_kernel)(const nn_winograd *op, ptrdiff_t n, const void *w, void *u, ptrdiff_t step)
{
    BY_TAPS(NAME(winograd_kernel_of), op, n, w, u, step);
}

nn_inline void NAME(winograd_kernel_backward_of)(const int line, const int taps, const nn_winograd *op, ptrdiff_t n,
                                                 const real *u, ptrdiff_t step, real *w)
{
    for (ptrdiff_t i = 0; i < n; i += VL) {
        vec columns[5][6], d[6], t[5];
        if (line) {
            NN_UNROLL
            for (int s = 0; s < 6; s++) d[s] = v_load(u + s * step + i);
            NAME(winograd_g_backward)(taps, d, t);
            NN_UNROLL
            for (int s = 0; s < taps; s++) {
                if (s >= op->columns) break;
                v_store(w + s * op->pixel_pitch + i, t[s]);
            }
            continue;
        }
        NN_UNROLL
        for (int s = 0; s < 6; s++) {
            NN_UNROLL
            for (int r = 0; r < 6; r++) d[r] = v_load(u + (6 * r + s) * step + i);
            NAME(winograd_g_backward)(taps, d, t);
            NN_UNROLL
            for (int r = 0; r < taps; r++) columns[r][s] = t[r];
        }
        NN_UNROLL
        for (int r = 0; r < taps; r++) {
            if (r >= op->rows) break;
            NAME(winograd_g_backward)(taps, columns[r], t);
            NN_UNROLL
            for (int s = 0; s < taps; s++) {
                if (s >= op->columns) break;
                v_store(w + r * op->row_pitch + s * op->pixel_pitch + i, t[s]);
            }
        }
    }
}

static void NAME(winograd_kernel_backward)(const nn_winograd *op, ptrdiff_t n, const void *u, ptrdiff_t step, void *w)
{
    BY_TAPS(NAME(winograd_kernel_backward_of), op, n, u, step, w);
}

#undef CONSTANT
