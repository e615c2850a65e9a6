/* Windows over the pixels of an image: maximum and sum, and their gradients. A pixel is a run of channels, one vector of
 * channels at a time goes over the taps of a window, and a call takes a row of windows of one shape.
 *
 * The maximum notes which tap it came from, 0, 1, ... row by row, as a number of this precision: `code`. The gradient
 * goes to that tap alone, so equal values, and NaN, need no second look: the first maximum has it.
 *
 * Fewer channels than a vector has lanes: a whole vector reaches into the next pixels, which a row's last windows must
 * not do, and what it writes there the next window writes once more.
 */

/* The first of a row's windows that may not reach beyond its own channels. */
nn_inline ptrdiff_t NAME(exact_from)(const nn_window *w, ptrdiff_t windows)
{
    const ptrdiff_t beyond = (VL - 1) / w->channels;
    return windows > beyond ? windows - beyond : 0;
}

/* n channels of one window. rows and columns are constants where this is inlined for a common shape. */
nn_inline void NAME(max_of_window)(const ptrdiff_t rows, const ptrdiff_t columns, const nn_window *w, ptrdiff_t n,
                                   const real *x, real *y, real *code)
{
    const vec one = v_set1(1);
    vec best = AT(x, n), from = v_zero(), here = from;
    NN_UNROLL
    for (ptrdiff_t r = 0; r < rows; r++) {
        NN_UNROLL
        for (ptrdiff_t s = 0; s < columns; s++) {
            if (r + s > 0) {
                const vec a = AT(x + r * w->row_pitch + s * w->column_pitch, n);
                /* A NaN beats every number, and nothing beats a NaN. */
                const mask stays = mask_or(v_le(a, best), v_isnan(best));
                from = v_select(stays, from, here);
                best = v_select(stays, best, a);
            }
            here = v_add(here, one);
        }
    }
    PUT(y, best, n);
    if (code) PUT(code, from, n);
}

nn_inline void NAME(max_of_windows)(const ptrdiff_t rows, const ptrdiff_t columns, const nn_window *w, ptrdiff_t windows,
                                    const real *x, real *y, real *code)
{
    const ptrdiff_t exact = NAME(exact_from)(w, windows);
    for (ptrdiff_t i = 0; i < windows; i++) {
        ptrdiff_t j = 0;
        for (; j + VL <= w->channels || (j == 0 && i < exact); j += VL)
            NAME(max_of_window)(rows, columns, w, VL, x + j, y + j, code ? code + j : NULL);
        if (j < w->channels)
            NAME(max_of_window)(rows, columns, w, w->channels - j, x + j, y + j, code ? code + j : NULL);
        x += w->step;
        y += w->channels;
        if (code) code += w->channels;
    }
}

static void NAME(max_pool)(const nn_window *w, ptrdiff_t windows, const void *x, void *y, void *code)
{
    if (w->rows == 2 && w->columns == 2) NAME(max_of_windows)(2, 2, w, windows, x, y, code);
    else if (w->rows == 3 && w->columns == 3) NAME(max_of_windows)(3, 3, w, windows, x, y, code);
    else NAME(max_of_windows)(w->rows, w->columns, w, windows, x, y, code);
}

/* The same of dx. Taps are set from left to right: what one writes too much, its right neighbour corrects. */
nn_inline ptrdiff_t NAME(exact_backward)(const nn_window *w, ptrdiff_t windows, ptrdiff_t columns, int accumulate)
{
    return !accumulate && w->step == columns * w->column_pitch && w->column_pitch == w->channels
           ? NAME(exact_from)(w, windows) : 0;
}

nn_inline void NAME(max_of_window_backward)(const ptrdiff_t rows, const ptrdiff_t columns, const int accumulate,
                                            const nn_window *w, ptrdiff_t n, const real *dy, const real *code, real *dx)
{
    const vec g = AT(dy, n), from = AT(code, n), one = v_set1(1);
    vec here = v_zero();
    NN_UNROLL
    for (ptrdiff_t r = 0; r < rows; r++) {
        NN_UNROLL
        for (ptrdiff_t s = 0; s < columns; s++) {
            real *to = dx + r * w->row_pitch + s * w->column_pitch;
            const vec part = v_select(v_eq(from, here), g, v_zero());
            PUT(to, accumulate ? v_add(part, AT(to, n)) : part, n);
            here = v_add(here, one);
        }
    }
}

nn_inline void NAME(max_of_windows_backward)(const ptrdiff_t rows, const ptrdiff_t columns, const int accumulate,
                                             const nn_window *w, ptrdiff_t windows, const real *dy, const real *code,
                                             real *dx)
{
    const ptrdiff_t exact = NAME(exact_backward)(w, windows, columns, accumulate);
    for (ptrdiff_t i = 0; i < windows; i++) {
        ptrdiff_t j = 0;
        for (; j + VL <= w->channels || (j == 0 && i < exact); j += VL)
            NAME(max_of_window_backward)(rows, columns, accumulate, w, VL, dy + j, code + j, dx + j);
        if (j < w->channels)
            NAME(max_of_window_backward)(rows, columns, accumulate, w, w->channels - j, dy + j, code + j, dx + j);
        dx += w->step;
        dy += w->channels;
        code += w->channels;
    }
}

static void NAME(max_pool_backward)(const nn_window *w, ptrdiff_t windows, const void *dy, const void *code, void *dx)
{
    if (w->rows == 2 && w->columns == 2 && !w->accumulate)
        NAME(max_of_windows_backward)(2, 2, 0, w, windows, dy, code, dx);
    else if (w->rows == 3 && w->columns == 3 && w->accumulate)
        NAME(max_of_windows_backward)(3, 3, 1, w, windows, dy, code, dx);
    else
        NAME(max_of_windows_backward)(w->rows, w->columns, w->accumulate, w, windows, dy, code, dx);
}

/* Of large windows, say a whole image, parts are summed with compensation (Kahan 1965): otherwise 10^6 equal numbers make a
 * mean that is wrong in the third digit. */
#undef TERMS
#define TERMS 64

nn_inline void NAME(sum_of_window)(const ptrdiff_t rows, const ptrdiff_t columns, const nn_window *w, ptrdiff_t n,
                                   vec scale, const real *x, real *y)
{
    vec sum = v_zero(), part = v_zero(), lost = v_zero();
    ptrdiff_t terms = 0;
    NN_UNROLL
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t s = 0; s < columns; s += TERMS) {
            const ptrdiff_t end = columns - s < TERMS ? columns : s + TERMS;
            NN_UNROLL
            for (ptrdiff_t t = s; t < end; t++) part = v_add(part, AT(x + r * w->row_pitch + t * w->column_pitch, n));
            terms += end - s;
            if (rows * columns > TERMS && terms >= TERMS) {
                const vec term = v_sub(part, lost), total = v_add(sum, term);
                lost = v_sub(v_sub(total, sum), term);
                lost = v_select(v_lt(v_abs(lost), v_set1((real)INFINITY)), lost, v_zero());     /* of what is finite */
                sum = total;
                part = v_zero();
                terms = 0;
            }
        }
    PUT(y, v_mul(v_add(sum, v_sub(part, lost)), scale), n);
}

nn_inline void NAME(sum_of_windows)(const ptrdiff_t rows, const ptrdiff_t columns, const nn_window *w, ptrdiff_t windows,
                                    vec scale, const real *x, real *y)
{
    /* In place, a whole vector would overwrite what is still to be read. */
    const ptrdiff_t exact = x != y ? NAME(exact_from)(w, windows) : 0;
    for (ptrdiff_t i = 0; i < windows; i++) {
        ptrdiff_t j = 0;
        for (; j + VL <= w->channels || (j == 0 && i < exact); j += VL)
            NAME(sum_of_window)(rows, columns, w, VL, scale, x + j, y + j);
        if (j < w->channels) NAME(sum_of_window)(rows, columns, w, w->channels - j, scale, x + j, y + j);
        x += w->step;
        y += w->channels;
    }
}

static void NAME(sum_pool)(const nn_window *w, ptrdiff_t windows, const void *x, double scale, void *y)
{
    const vec factor = v_set1((real)scale);
    if (w->rows == 2 && w->columns == 2) NAME(sum_of_windows)(2, 2, w, windows, factor, x, y);
    else NAME(sum_of_windows)(w->rows, w->columns, w, windows, factor, x, y);
}

nn_inline void NAME(sum_of_window_backward)(const ptrdiff_t rows, const ptrdiff_t columns, const int accumulate,
                                            const nn_window *w, ptrdiff_t n, vec scale, const real *dy, real *dx)
{
    const vec g = v_mul(AT(dy, n), scale);
    NN_UNROLL
    for (ptrdiff_t r = 0; r < rows; r++) {
        NN_UNROLL
        for (ptrdiff_t s = 0; s < columns; s++) {
            real *to = dx + r * w->row_pitch + s * w->column_pitch;
            PUT(to, accumulate ? v_add(AT(to, n), g) : g, n);
        }
    }
}

nn_inline void NAME(sum_of_windows_backward)(const ptrdiff_t rows, const ptrdiff_t columns, const int accumulate,
                                             const nn_window *w, ptrdiff_t windows, vec scale, const real *dy, real *dx)
{
    const ptrdiff_t exact = NAME(exact_backward)(w, windows, columns, accumulate);
    for (ptrdiff_t i = 0; i < windows; i++) {
        ptrdiff_t j = 0;
        for (; j + VL <= w->channels || (j == 0 && i < exact); j += VL)
            NAME(sum_of_window_backward)(rows, columns, accumulate, w, VL, scale, dy + j, dx + j);
        if (j < w->channels)
            NAME(sum_of_window_backward)(rows, columns, accumulate, w, w->channels - j, scale, dy + j, dx + j);
        dx += w->step;
        dy += w->channels;
    }
}

static void NAME(sum_pool_backward)(const nn_window *w, ptrdiff_t windows, const void *dy, double scale, void *dx)
{
    const vec factor = v_set1((real)scale);
    if (w->rows == 2 && w->columns == 2 && !w->accumulate)
        NAME(sum_of_windows_backward)(2, 2, 0, w, windows, factor, dy, dx);
    else
        NAME(sum_of_windows_backward)(w->rows, w->columns, w->accumulate, w, windows, factor, dy, dx);
}
