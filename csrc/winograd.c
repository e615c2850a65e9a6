/* Transforms of Winograd's minimal filtering F(2 x 2, 3 x 3): four outputs of a 3 x 3 convolution from 16 products a
 * channel pair instead of 36 (Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural Networks", section 4.1).
 *
 *     y = A' [(G w G') * (B' x B)] A        per 4 x 4 tile of x, 3 x 3 kernel w, 2 x 2 tile of y
 *
 * summed over channels in between, which makes the 16 elementwise products 16 products of matrices. Each transform here
 * goes over whole vectors of channels; `step` leads from one of the 16 positions to the next.
 */

/* t = B' d for four vectors, in place. */
nn_inline void NAME(winograd_b)(vec *d0, vec *d1, vec *d2, vec *d3)
{
    const vec t0 = v_sub(*d0, *d2), t1 = v_add(*d1, *d2), t2 = v_sub(*d2, *d1), t3 = v_sub(*d1, *d3);
    *d0 = t0, *d1 = t1, *d2 = t2, *d3 = t3;
}

static void NAME(winograd_input)(ptrdiff_t channels, const void *x_, ptrdiff_t row_pitch, ptrdiff_t pixel_pitch, void *v_,
                                 ptrdiff_t step)
{
    const real *x = x_;
    real *v = v_;
    for (ptrdiff_t c = 0; c < channels; c += VL) {
        vec d[4][4];
        NN_UNROLL
        for (int s = 0; s < 4; s++) {
            NN_UNROLL
            for (int r = 0; r < 4; r++) d[r][s] = v_load(x + r * row_pitch + s * pixel_pitch + c);
            NAME(winograd_b)(&d[0][s], &d[1][s], &d[2][s], &d[3][s]);
        }
        NN_UNROLL
        for (int r = 0; r < 4; r++) {
            NAME(winograd_b)(&d[r][0], &d[r][1], &d[r][2], &d[r][3]);
            NN_UNROLL
            for (int s = 0; s < 4; s++) v_store(v + (4 * r + s) * step + c, d[r][s]);
        }
    }
}

static void NAME(winograd_output)(const nn_winograd *op, ptrdiff_t channels, const void *m_, ptrdiff_t step,
                                  const void *bias_, void *y_)
{
    const real *m = m_, *bias = bias_;
    real *y = y_;
    for (ptrdiff_t c = 0; c < channels; c += VL) {
        vec t[2][4];
        NN_UNROLL
        for (int s = 0; s < 4; s++) {
            const vec m0 = v_load(m + s * step + c), m1 = v_load(m + (4 + s) * step + c);
            const vec m2 = v_load(m + (8 + s) * step + c), m3 = v_load(m + (12 + s) * step + c);
            t[0][s] = v_add(v_add(m0, m1), m2);
            t[1][s] = v_sub(v_sub(m1, m2), m3);
        }
        NN_UNROLL
        for (int r = 0; r < 2; r++) {
            vec out[2];
            if (r >= op->rows) break;
            out[0] = v_add(v_add(t[r][0], t[r][1]), t[r][2]);
            out[1] = v_sub(v_sub(t[r][1], t[r][2]), t[r][3]);
            NN_UNROLL
            for (int s = 0; s < 2; s++) {
                real *to = y + r * op->row_pitch + s * op->pixel_pitch + c;
                if (s >= op->columns) break;
                if (op->accumulate) out[s] = v_add(out[s], v_load(to));
                if (bias) out[s] = v_add(out[s], v_load(bias + c));
                if (op->relu) out[s] = v_max(v_zero(), out[s]);        /* nan comes through */
                v_store(to, out[s]);
            }
        }
    }
}

/* m = A dy A', zeros for what of the 2 x 2 tile lies outside. */
static void NAME(winograd_output_backward)(const nn_winograd *op, ptrdiff_t channels, const void *dy_, void *m_,
                                           ptrdiff_t step)
{
    const real *dy = dy_;
    real *m = m_;
    for (ptrdiff_t c = 0; c < channels; c += VL) {
        vec t[4][2];
        NN_UNROLL
        for (int s = 0; s < 2; s++) {
            const real *at = dy + s * op->pixel_pitch + c;
            const vec d0 = s < op->columns ? v_load(at) : v_zero();
            const vec d1 = s < op->columns && op->rows > 1 ? v_load(at + op->row_pitch) : v_zero();
            t[0][s] = d0;
            t[1][s] = v_add(d0, d1);
            t[2][s] = v_sub(d0, d1);
            t[3][s] = v_neg(d1);
        }
        NN_UNROLL
        for (int r = 0; r < 4; r++) {
            v_store(m + 4 * r * step + c, t[r][0]);
            v_store(m + (4 * r + 1) * step + c, v_add(t[r][0], t[r][1]));
            v_store(m + (4 * r + 2) * step + c, v_sub(t[r][0], t[r][1]));
            v_store(m + (4 * r + 3) * step + c, v_neg(t[r][1]));
        }
    }
}

/* u = G w G' for n numbers of each of the nine taps, and its transpose dw = G' du G. */
static void NAME(winograd_kernel)(ptrdiff_t n, const void *w_, ptrdiff_t w_step, void *u_, ptrdiff_t u_step)
{
    const real *w = w_;
    real *u = u_;
    const vec half = v_set1((real)0.5);
    for (ptrdiff_t i = 0; i < n; i += VL) {
        vec t[4][3];
        NN_UNROLL
        for (int s = 0; s < 3; s++) {
            const vec w0 = v_load(w + s * w_step + i), w1 = v_load(w + (3 + s) * w_step + i);
            const vec w2 = v_load(w + (6 + s) * w_step + i), sum = v_add(w0, w2);
            t[0][s] = w0;
            t[1][s] = v_mul(half, v_add(sum, w1));
            t[2][s] = v_mul(half, v_sub(sum, w1));
            t[3][s] = w2;
        }
        NN_UNROLL
        for (int r = 0; r < 4; r++) {
            const vec sum = v_add(t[r][0], t[r][2]);
            v_store(u + 4 * r * u_step + i, t[r][0]);
            v_store(u + (4 * r + 1) * u_step + i, v_mul(half, v_add(sum, t[r][1])));
            v_store(u + (4 * r + 2) * u_step + i, v_mul(half, v_sub(sum, t[r][1])));
            v_store(u + (4 * r + 3) * u_step + i, t[r][2]);
        }
    }
}

static void NAME(winograd_kernel_backward)(ptrdiff_t n, const void *u_, ptrdiff_t u_step, void *w_, ptrdiff_t w_step)
{
    const real *u = u_;
    real *w = w_;
    const vec half = v_set1((real)0.5);
    for (ptrdiff_t i = 0; i < n; i += VL) {
        vec t[3][4];
        NN_UNROLL
        for (int s = 0; s < 4; s++) {
            const vec u0 = v_load(u + s * u_step + i), u1 = v_load(u + (4 + s) * u_step + i);
            const vec u2 = v_load(u + (8 + s) * u_step + i), u3 = v_load(u + (12 + s) * u_step + i);
            const vec mean = v_mul(half, v_add(u1, u2));
            t[0][s] = v_add(u0, mean);
            t[1][s] = v_mul(half, v_sub(u1, u2));
            t[2][s] = v_add(mean, u3);
        }
        NN_UNROLL
        for (int r = 0; r < 3; r++) {
            const vec mean = v_mul(half, v_add(t[r][1], t[r][2]));
            v_store(w + 3 * r * w_step + i, v_add(t[r][0], mean));
            v_store(w + (3 * r + 1) * w_step + i, v_mul(half, v_sub(t[r][1], t[r][2])));
            v_store(w + (3 * r + 2) * w_step + i, v_add(mean, t[r][3]));
        }
    }
}
