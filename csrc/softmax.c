/* Softmax of rows and its gradient: y = exp(x - max x) / sum exp(x - max x).
 *
 * Rows are m x n, strides in elements. The last 1..VL numbers of a row stay in a register from the first pass to the
 * last, so a row of n <= VL, as small networks have them, is read once and written once. A row with NaN becomes all
 * NaN, for NaN reaches the sum whatever the maximum makes of it. */

/* 0 in the first n lanes, `value` in the others. */
nn_inline vec NAME(outside)(ptrdiff_t n, real value)
{
    real lanes[2 * VL];
    v_store(lanes, v_zero());
    v_store(lanes + VL, v_set1(value));
    return v_load(lanes + VL - n);
}

static void NAME(softmax)(ptrdiff_t m, ptrdiff_t n, const void *x_, ptrdiff_t ldx, void *y_, ptrdiff_t ldy)
{
    const ptrdiff_t full = (n - 1) / VL * VL, lanes = n - full;
    const vec outside = NAME(outside)(lanes, -(real)INFINITY);

    for (ptrdiff_t i = 0; i < m; i++) {
        const real *x = (const real *)x_ + i * ldx;
        real *y = (real *)y_ + i * ldy;

        const vec last = v_add(v_load_n(x + full, lanes), outside);
        vec top = last;
        for (ptrdiff_t j = 0; j < full; j += VL) top = v_max(top, v_load(x + j));
        const vec shift = v_set1(v_hmax(top));

        const vec last_power = v_exp_brief(v_sub(last, shift));
        vec sum = last_power;
        for (ptrdiff_t j = 0; j < full; j += VL) {
            const vec power = v_exp_brief(v_sub(v_load(x + j), shift));
            v_store(y + j, power);
            sum = v_add(sum, power);
        }

        const vec factor = v_set1(1 / v_sum(sum));
        for (ptrdiff_t j = 0; j < full; j += VL) v_store(y + j, v_mul(v_load(y + j), factor));
        v_store_n(y + full, v_mul(last_power, factor), lanes);
    }
}

/* dx = (dy - sum_j dy_j y_j) y */
static void NAME(softmax_backward)(ptrdiff_t m, ptrdiff_t n, const void *y_, ptrdiff_t ldy, const void *dy_,
                                   ptrdiff_t ld_dy, void *dx_, ptrdiff_t ldx)
{
    const ptrdiff_t full = (n - 1) / VL * VL, lanes = n - full;

    for (ptrdiff_t i = 0; i < m; i++) {
        const real *y = (const real *)y_ + i * ldy, *dy = (const real *)dy_ + i * ld_dy;
        real *dx = (real *)dx_ + i * ldx;

        const vec last_y = v_load_n(y + full, lanes), last_dy = v_load_n(dy + full, lanes);
        vec sum = v_mul(last_y, last_dy);
        for (ptrdiff_t j = 0; j < full; j += VL) sum = v_fma(v_load(y + j), v_load(dy + j), sum);

        const vec mean = v_set1(v_sum(sum));
        for (ptrdiff_t j = 0; j < full; j += VL)
            v_store(dx + j, v_mul(v_sub(v_load(dy + j), mean), v_load(y + j)));
        v_store_n(dx + full, v_mul(v_sub(last_dy, mean), last_y), lanes);
    }
}
