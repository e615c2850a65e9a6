/* Convolution of every channel by itself: y[i, c] = sum_t x_t[i, c] w[t, c], pixels i in a row, taps t.
 *
 * A vector holds channels of one pixel. Four pixels share a load of w, as long as registers last: the sum is bound by
 * loads, of which a pixel and tap need one for x and a quarter for w.
 */

#define PIXELS 4

nn_inline void NAME(depthwise_block)(const int pixels, const nn_depthwise *op, ptrdiff_t n, const real *x,
                                     const real *w, const real *bias, real *y)
{
    vec sum[PIXELS];
    const vec start = bias ? v_load(bias) : v_zero();
    NN_UNROLL
    for (int i = 0; i < pixels; i++) sum[i] = start;
    for (ptrdiff_t t = 0; t < op->taps; t++) {
        const vec tap = v_load(w + t * op->ldw);
        const real *at = x + op->x_offset[t];
        NN_UNROLL
        for (int i = 0; i < pixels; i++) {
            const vec a = n == VL ? v_load(at + i * op->x_step) : v_load_n(at + i * op->x_step, n);
            sum[i] = v_fma(a, tap, sum[i]);
        }
    }
    NN_UNROLL
    for (int i = 0; i < pixels; i++) {
        real *to = y + i * op->y_step;
        vec a = sum[i];
        if (op->accumulate) a = v_add(a, n == VL ? v_load(to) : v_load_n(to, n));
        if (op->relu) a = v_max(v_zero(), a);      /* nan comes through */
        if (n == VL) v_store(to, a);
        else v_store_n(to, a, n);
    }
}

static void NAME(depthwise)(const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels, const void *x_,
                            const void *w_, const void *bias_, void *y_)
{
    const real *x = x_, *w = w_, *bias = bias_;
    real *y = y_;
    for (ptrdiff_t j = 0; j < channels; j += VL) {
        const ptrdiff_t n = channels - j < VL ? channels - j : VL;
        ptrdiff_t i = 0;
        for (; i + PIXELS <= pixels; i += PIXELS)
            NAME(depthwise_block)(PIXELS, op, n, x + i * op->x_step + j, w + j, bias ? bias + j : NULL,
                                  y + i * op->y_step + j);
        for (; i < pixels; i++)
            NAME(depthwise_block)(1, op, n, x + i * op->x_step + j, w + j, bias ? bias + j : NULL,
                                  y + i * op->y_step + j);
    }
}

/* A few taps at a time, their sums in registers over all the pixels. */
#define TAPS 5

nn_inline void NAME(depthwise_taps)(const int taps, const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t n,
                                    const ptrdiff_t *offset, const real *x, const real *dy, real *dw)
{
    vec sum[TAPS];
    NN_UNROLL
    for (int t = 0; t < taps; t++) sum[t] = n == VL ? v_load(dw + t * op->ldw) : v_load_n(dw + t * op->ldw, n);
    for (ptrdiff_t i = 0; i < pixels; i++) {
        const vec g = n == VL ? v_load(dy + i * op->y_step) : v_load_n(dy + i * op->y_step, n);
        NN_UNROLL
        for (int t = 0; t < taps; t++) {
            const real *at = x + offset[t] + i * op->x_step;
            sum[t] = v_fma(n == VL ? v_load(at) : v_load_n(at, n), g, sum[t]);
        }
    }
    NN_UNROLL
    for (int t = 0; t < taps; t++) {
        if (n == VL) v_store(dw + t * op->ldw, sum[t]);
        else v_store_n(dw + t * op->ldw, sum[t], n);
    }
}

static void NAME(depthwise_gradient)(const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels, const void *x_,
                                     const void *dy_, void *dw_)
{
    const real *x = x_, *dy = dy_;
    real *dw = dw_;
    for (ptrdiff_t j = 0; j < channels; j += VL) {
        const ptrdiff_t n = channels - j < VL ? channels - j : VL;
        ptrdiff_t t = 0;
        for (; t + TAPS <= op->taps; t += TAPS)
            NAME(depthwise_taps)(TAPS, op, pixels, n, op->x_offset + t, x + j, dy + j, dw + t * op->ldw + j);
        for (; t + 2 <= op->taps; t += 2)
            NAME(depthwise_taps)(2, op, pixels, n, op->x_offset + t, x + j, dy + j, dw + t * op->ldw + j);
        for (; t < op->taps; t++)
            NAME(depthwise_taps)(1, op, pixels, n, op->x_offset + t, x + j, dy + j, dw + t * op->ldw + j);
    }
}
