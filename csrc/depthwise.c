/* Convolution of every channel by itself: y[i, c] = sum_t x_t[i, c] w[t, c], pixels i in a row, taps t.
 *
 * A vector holds channels of one pixel. Two vectors of four pixels are summed together: enough independent sums to keep
 * the multipliers busy, and a load of w serves four pixels.
 */

#define PIXELS 4

/* pixels and vectors are constants wherever this is inlined; n: channels in the last vector. */
nn_inline void NAME(depthwise_block)(const int pixels, const int vectors, const int ldw, const nn_depthwise *op,
                                     ptrdiff_t n, const real *x, const real *w, const real *bias, real *y)
{
    vec sum[PIXELS][2];
    const ptrdiff_t step = op->x_step;
    NN_UNROLL
    for (int v = 0; v < vectors; v++) {
        const vec start = bias ? v_load(bias + v * VL) : v_zero();
        NN_UNROLL
        for (int i = 0; i < pixels; i++) sum[i][v] = start;
    }
    for (ptrdiff_t t = 0; t < op->taps; t++) {
        const real *at = x + op->x_offset[t];
        NN_UNROLL
        for (int v = 0; v < vectors; v++) {
            const vec tap = v_load(w + op->row[t] * ldw + v * VL);
            NN_UNROLL
            for (int i = 0; i < pixels; i++) {
                const real *p = at + i * step + v * VL;
                sum[i][v] = v_fma(v + 1 < vectors || n == VL ? v_load(p) : v_load_n(p, n), tap, sum[i][v]);
            }
        }
    }
    NN_UNROLL
    for (int i = 0; i < pixels; i++)
        NN_UNROLL
        for (int v = 0; v < vectors; v++) {
            real *to = y + i * op->y_step + v * VL;
            const int whole = v + 1 < vectors || n == VL;
            vec a = sum[i][v];
            if (op->accumulate) a = v_add(a, whole ? v_load(to) : v_load_n(to, n));
            if (op->relu) a = v_max(v_zero(), a);      /* nan comes through */
            if (whole) v_store(to, a);
            else v_store_n(to, a, n);
        }
}

/* All channels of a few pixels, panel by panel: their lines of x are next to each other. */
nn_inline void NAME(depthwise_pixels)(const int pixels, const nn_depthwise *op, ptrdiff_t channels, const real *x,
                                      const real *w, const real *bias, real *y)
{
    ptrdiff_t c = 0;
    for (; c + NR <= channels; c += NR)
        NAME(depthwise_block)(pixels, 2, NR, op, VL, x + c, w + c * op->rows, bias ? bias + c : NULL, y + c);
    if (channels - c > VL)
        NAME(depthwise_block)(pixels, 2, NR, op, channels - c - VL, x + c, w + c * op->rows, bias ? bias + c : NULL, y + c);
    else if (channels > c)
        NAME(depthwise_block)(pixels, 1, VL, op, channels - c, x + c, w + c * op->rows, bias ? bias + c : NULL, y + c);
}

static void NAME(depthwise)(const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels, const void *x_,
                            const void *w_, const void *bias_, void *y_)
{
    const real *x = x_, *w = w_, *bias = bias_;
    real *y = y_;
    ptrdiff_t i = 0;
    for (; i + PIXELS <= pixels; i += PIXELS)
        NAME(depthwise_pixels)(PIXELS, op, channels, x + i * op->x_step, w, bias, y + i * op->y_step);
    for (; i < pixels; i++)
        NAME(depthwise_pixels)(1, op, channels, x + i * op->x_step, w, bias, y + i * op->y_step);
}

/* The gradient of a few taps, whose sums over all the pixels are in registers: of two vectors of channels, which share
 * lines of x and dy, and of six taps, so that dy is read twice for a kernel of 3 x 3. n: channels in the last vector. */
#define TAPS 6

nn_inline void NAME(depthwise_taps)(const int taps, const int vectors, const nn_depthwise *op, ptrdiff_t first,
                                    ptrdiff_t pixels, ptrdiff_t n, const real *x, const real *dy, real *dw)
{
    vec sum[TAPS][2];
    const real *at[TAPS];
    real *to[TAPS];
    NN_UNROLL
    for (int t = 0; t < taps; t++) {
        at[t] = x + op->x_offset[first + t];
        to[t] = dw + op->row[first + t] * vectors * VL;
        NN_UNROLL
        for (int v = 0; v < vectors; v++) sum[t][v] = v_load(to[t] + v * VL);
    }
    for (ptrdiff_t i = 0; i < pixels; i++) {
        NN_UNROLL
        for (int v = 0; v < vectors; v++) {
            const int whole = v + 1 < vectors || n == VL;
            const real *from = dy + i * op->y_step + v * VL;
            const vec g = whole ? v_load(from) : v_load_n(from, n);
            NN_UNROLL
            for (int t = 0; t < taps; t++) {
                const real *p = at[t] + i * op->x_step + v * VL;
                sum[t][v] = v_fma(whole ? v_load(p) : v_load_n(p, n), g, sum[t][v]);
            }
        }
    }
    NN_UNROLL
    for (int t = 0; t < taps; t++)
        NN_UNROLL
        for (int v = 0; v < vectors; v++) v_store(to[t] + v * VL, sum[t][v]);
}

nn_inline void NAME(depthwise_panel)(const int vectors, const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t n, const real *x,
                                     const real *dy, real *dw)
{
    ptrdiff_t t = 0;
    for (; t + TAPS <= op->taps; t += TAPS) NAME(depthwise_taps)(TAPS, vectors, op, t, pixels, n, x, dy, dw);
    for (; t + 3 <= op->taps; t += 3) NAME(depthwise_taps)(3, vectors, op, t, pixels, n, x, dy, dw);
    for (; t < op->taps; t++) NAME(depthwise_taps)(1, vectors, op, t, pixels, n, x, dy, dw);
}

static void NAME(depthwise_gradient)(const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels, const void *x_,
                                     const void *dy_, void *dw_)
{
    const real *x = x_, *dy = dy_;
    real *dw = dw_;
    ptrdiff_t c = 0;
    for (; c + NR <= channels; c += NR)
        NAME(depthwise_panel)(2, op, pixels, VL, x + c, dy + c, dw + c * op->rows);
    if (channels - c > VL)
        NAME(depthwise_panel)(2, op, pixels, channels - c - VL, x + c, dy + c, dw + c * op->rows);
    else if (channels > c)
        NAME(depthwise_panel)(1, op, pixels, channels - c, x + c, dy + c, dw + c * op->rows);
}
