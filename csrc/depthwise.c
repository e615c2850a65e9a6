/* Convolution of every channel by itself: y[i, c] = sum_t x_t[i, c] w[t, c], pixels i in a row, taps t.
 *
 * A vector holds channels of one pixel. Two vectors of four pixels are summed together: enough independent sums to keep
 * the multipliers busy, and a load of w serves four pixels. Where kernel rows of three taps lie whole inside the image, a
 * load of x serves all the pixels that the vector is a tap of, too.
 */

#define PIXELS 4

/* Pixels from one to the next of y, if the taps are rows of three neighbours and that is 1 or 2; else 0. */
static int NAME(stride_of_triples)(const nn_depthwise *op)
{
    if (op->taps == 0 || op->taps % 3 != 0) return 0;
    const ptrdiff_t spacing = op->x_offset[1] - op->x_offset[0];
    for (ptrdiff_t t = 0; t < op->taps; t++) {
        if (t % 3 != 0 && (op->x_offset[t] - op->x_offset[t - 1] != spacing || op->row[t] != op->row[t - 1] + 1)) return 0;
    }
    return op->x_step == spacing ? 1 : op->x_step == 2 * spacing ? 2 : 0;
}

/* pixels, vectors and stride, see stride_of_triples, are constants wherever this is inlined; n: channels in the last
 * vector. */
nn_inline void NAME(depthwise_block)(const int pixels, const int vectors, const int stride, const int ldw,
                                     const nn_depthwise *op, ptrdiff_t n, const real *x, const real *w, const real *bias,
                                     real *y)
{
    vec sum[PIXELS][2];
    /* Stores to y might change *op, for all that the compiler knows. */
    const ptrdiff_t step = op->x_step, y_step = op->y_step, taps = op->taps;
    const int accumulate = op->accumulate, relu = op->relu;
    NN_UNROLL
    for (int v = 0; v < vectors; v++) {
        const vec start = bias ? v_load(bias + v * VL) : v_zero();
        NN_UNROLL
        for (int i = 0; i < pixels; i++) sum[i][v] = start;
    }
    for (ptrdiff_t t = 0; stride > 0 && t < taps; t += 3) {
        const real *at = x + op->x_offset[t], *from = w + op->row[t] * ldw;
        const ptrdiff_t spacing = stride == 2 ? step / 2 : step;
        vec tap[3][2];
        NN_UNROLL
        for (int s = 0; s < 3; s++) {
            NN_UNROLL
            for (int v = 0; v < vectors; v++) tap[s][v] = v_load(from + s * ldw + v * VL);
        }
        NN_UNROLL
        for (int j = 0; j < (pixels - 1) * stride + 3; j++) {
            NN_UNROLL
            for (int v = 0; v < vectors; v++) {
                const vec a = v + 1 < vectors || n == VL ? v_load(at + v * VL) : v_load_n(at + v * VL, n);
                NN_UNROLL
                for (int i = 0; i < pixels; i++) {
                    const int s = j - i * stride;
                    if (s >= 0 && s < 3) sum[i][v] = v_fma(a, tap[s][v], sum[i][v]);
                }
            }
            at += spacing;
        }
    }
    for (ptrdiff_t t = 0; stride == 0 && t < taps; t++) {
        /* One pixel's address from the last one's: computed singly they took as long as the sums. */
        const real *at = x + op->x_offset[t], *from = w + op->row[t] * ldw;
        vec tap[2];
        NN_UNROLL
        for (int v = 0; v < vectors; v++) tap[v] = v_load(from + v * VL);
        NN_UNROLL
        for (int i = 0; i < pixels; i++) {
            NN_UNROLL
            for (int v = 0; v < vectors; v++) {
                const real *p = at + v * VL;
                sum[i][v] = v_fma(v + 1 < vectors || n == VL ? v_load(p) : v_load_n(p, n), tap[v], sum[i][v]);
            }
            at += step;
        }
    }
    if (accumulate) {
        NN_UNROLL
        for (int i = 0; i < pixels; i++) {
            NN_UNROLL
            for (int v = 0; v < vectors; v++) {
                const real *from = y + i * y_step + v * VL;
                sum[i][v] = v_add(sum[i][v], v + 1 < vectors || n == VL ? v_load(from) : v_load_n(from, n));
            }
        }
    }
    if (relu) {
        NN_UNROLL
        for (int i = 0; i < pixels; i++) {
            NN_UNROLL
            for (int v = 0; v < vectors; v++) sum[i][v] = v_max(v_zero(), sum[i][v]);     /* nan comes through */
        }
    }
    NN_UNROLL
    for (int i = 0; i < pixels; i++) {
        NN_UNROLL
        for (int v = 0; v < vectors; v++) {
            real *to = y + i * y_step + v * VL;
            if (v + 1 < vectors || n == VL) v_store(to, sum[i][v]);
            else v_store_n(to, sum[i][v], n);
        }
    }
}

/* All channels of a few pixels, panel by panel: their lines of x are next to each other. */
nn_inline void NAME(depthwise_pixels)(const int pixels, const int stride, const nn_depthwise *op, ptrdiff_t channels,
                                      const real *x, const real *w, const real *bias, real *y)
{
    ptrdiff_t c = 0;
    for (; c + NR <= channels; c += NR)
        NAME(depthwise_block)(pixels, 2, stride, NR, op, VL, x + c, w + c * op->rows, bias ? bias + c : NULL, y + c);
    if (channels - c > VL)
        NAME(depthwise_block)(pixels, 2, stride, NR, op, channels - c - VL, x + c, w + c * op->rows,
                              bias ? bias + c : NULL, y + c);
    else if (channels > c)
        NAME(depthwise_block)(pixels, 1, stride, VL, op, channels - c, x + c, w + c * op->rows, bias ? bias + c : NULL,
                              y + c);
}

nn_inline void NAME(depthwise_row)(const int stride, const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels,
                                   const real *x, const real *w, const real *bias, real *y)
{
    ptrdiff_t i = 0;
    for (; i + PIXELS <= pixels; i += PIXELS)
        NAME(depthwise_pixels)(PIXELS, stride, op, channels, x + i * op->x_step, w, bias, y + i * op->y_step);
    for (; i < pixels; i++)
        NAME(depthwise_pixels)(1, stride, op, channels, x + i * op->x_step, w, bias, y + i * op->y_step);
}

static void NAME(depthwise)(const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels, const void *x, const void *w,
                            const void *bias, void *y)
{
    const int stride = NAME(stride_of_triples)(op);
    if (stride == 1) NAME(depthwise_row)(1, op, pixels, channels, x, w, bias, y);
    else if (stride == 2) NAME(depthwise_row)(2, op, pixels, channels, x, w, bias, y);
    else NAME(depthwise_row)(0, op, pixels, channels, x, w, bias, y);
}

/* The gradient of a few taps, whose sums over all the pixels are in registers: of two vectors of channels, which share
 * lines of x and dy, and of nine or six taps, as registers allow, so that dy is read once or twice for a kernel of 3 x 3.
 * n: channels in the last vector. */
#if defined(NN_ISA_AVX512) || defined(NN_ISA_NEON)
#define TAPS 9
#else
#define TAPS 6
#endif

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
