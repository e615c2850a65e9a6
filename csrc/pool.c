/* Windows over the pixels of an image: maximum and sum, and their gradients. A pixel is a run of channels, one vector of
 * channels at a time goes over the taps of a window, and a call takes a row of windows of one shape.
 *
 * The maximum notes which tap it came from, as a number of this precision: `code`. The gradient goes to that tap alone,
 * so equal values, and NaN, need no second look: the first maximum has it.
 *
 * Fewer channels than a vector has lanes: a whole vector reaches into the next pixels, which a row's last windows must
 * not do, and what it writes there the next window writes once more.
 */

/* The first of a row's windows that may not reach beyond its own channels. */
nn_inline ptrdiff_t NAME(exact_from)(const nn_window *w, ptrdiff_t windows)
{
    const ptrdiff_t beyond = w->channels < VL ? (VL - w->channels + w->channels - 1) / w->channels : 0;
    return windows > beyond ? windows - beyond : 0;
}

static void NAME(max_pool)(const nn_window *w, ptrdiff_t windows, const void *x_, void *y_, void *code_)
{
    const real *x = x_;
    real *y = y_, *code = code_;
    const ptrdiff_t exact = w->channels < VL ? NAME(exact_from)(w, windows) : 0;
    for (ptrdiff_t i = 0; i < windows; i++) {
        for (ptrdiff_t j = 0; j < w->channels; j += VL) {
            const ptrdiff_t n = i < exact || w->channels - j >= VL ? VL : w->channels - j;
            vec best = AT(x + j, n), from = v_set1((real)w->first_code);
            for (ptrdiff_t r = 0; r < w->rows; r++)
                for (ptrdiff_t s = r == 0; s < w->columns; s++) {
                    const vec a = AT(x + r * w->row_pitch + s * w->column_pitch + j, n);
                    /* A NaN beats every number, and nothing beats a NaN. */
                    const mask stays = mask_or(v_le(a, best), v_isnan(best));
                    const vec here = v_set1((real)(w->first_code + r * w->code_pitch + s));
                    from = v_select(stays, from, here);
                    best = v_select(stays, best, a);
                }
            PUT(y + j, best, n);
            if (code) PUT(code + j, from, n);
        }
        x += w->step;
        y += w->channels;
        if (code) code += w->channels;
    }
}

static void NAME(max_pool_backward)(const nn_window *w, ptrdiff_t windows, const void *dy_, const void *code_, void *dx_)
{
    const real *dy = dy_, *code = code_;
    real *dx = dx_;
    /* Taps are set from left to right: what one writes too much, its right neighbour corrects. */
    const ptrdiff_t exact = w->channels < VL && !w->accumulate && w->step == w->columns * w->column_pitch
                            && w->column_pitch == w->channels ? NAME(exact_from)(w, windows) : 0;
    for (ptrdiff_t i = 0; i < windows; i++) {
        for (ptrdiff_t j = 0; j < w->channels; j += VL) {
            const ptrdiff_t n = i < exact || w->channels - j >= VL ? VL : w->channels - j;
            const vec g = AT(dy + j, n), from = AT(code + j, n);
            for (ptrdiff_t r = 0; r < w->rows; r++)
                for (ptrdiff_t s = 0; s < w->columns; s++) {
                    real *to = dx + r * w->row_pitch + s * w->column_pitch + j;
                    const vec here = v_set1((real)(w->first_code + r * w->code_pitch + s));
                    vec part = v_select(v_eq(from, here), g, v_zero());
                    if (w->accumulate) part = v_add(part, AT(to, n));
                    PUT(to, part, n);
                }
        }
        dx += w->step;
        dy += w->channels;
        code += w->channels;
    }
}

static void NAME(sum_pool)(const nn_window *w, ptrdiff_t windows, const void *x_, double scale, void *y_)
{
    const real *x = x_;
    real *y = y_;
    const vec factor = v_set1((real)scale);
    for (ptrdiff_t i = 0; i < windows; i++) {
        for (ptrdiff_t j = 0; j < w->channels; j += VL) {
            const ptrdiff_t n = w->channels - j < VL ? w->channels - j : VL;
            vec sum = v_zero();
            for (ptrdiff_t r = 0; r < w->rows; r++)
                for (ptrdiff_t s = 0; s < w->columns; s++)
                    sum = v_add(sum, AT(x + r * w->row_pitch + s * w->column_pitch + j, n));
            PUT(y + j, v_mul(sum, factor), n);
        }
        x += w->step;
        y += w->channels;
    }
}

static void NAME(sum_pool_backward)(const nn_window *w, ptrdiff_t windows, const void *dy_, double scale, void *dx_)
{
    const real *dy = dy_;
    real *dx = dx_;
    const vec factor = v_set1((real)scale);
    for (ptrdiff_t i = 0; i < windows; i++) {
        for (ptrdiff_t j = 0; j < w->channels; j += VL) {
            const ptrdiff_t n = w->channels - j < VL ? w->channels - j : VL;
            const vec g = v_mul(AT(dy + j, n), factor);
            for (ptrdiff_t r = 0; r < w->rows; r++)
                for (ptrdiff_t s = 0; s < w->columns; s++) {
                    real *to = dx + r * w->row_pitch + s * w->column_pitch + j;
                    PUT(to, w->accumulate ? v_add(AT(to, n), g) : g, n);
                }
        }
        dx += w->step;
        dy += w->channels;
    }
}
