/* Products of two matrices, number by number, and sums of them over columns or rows: gates and their gradients.
 *
 * The second may have a number for each column only, whose step from row to row is 0, or for each row, whose `column`, the
 * step within a row, is 0 instead of 1. `column` and `accumulate` are constants wherever they are inlined.
 */

nn_inline vec NAME(factor)(const real *b, const int column, ptrdiff_t j, ptrdiff_t n)
{
    return column ? AT(b + j, n) : v_set1(*b);
}

nn_inline void NAME(products)(const int column, const int accumulate, ptrdiff_t rows, ptrdiff_t cols, const real *a,
                              ptrdiff_t a_row, const real *b, ptrdiff_t b_row, real *y)
{
    for (ptrdiff_t i = 0; i < rows; i++, a += a_row, b += b_row, y += cols)
        for (ptrdiff_t j = 0; j < cols; j += VL) {
            const ptrdiff_t n = cols - j < VL ? cols - j : VL;
            const vec by = NAME(factor)(b, column, j, n);
            PUT(y + j, accumulate ? v_fma(AT(a + j, n), by, AT(y + j, n)) : v_mul(AT(a + j, n), by), n);
        }
}

static void NAME(multiply)(ptrdiff_t rows, ptrdiff_t cols, const void *a, ptrdiff_t a_row, const void *b, ptrdiff_t b_row,
                           int b_column, int accumulate, void *y)
{
    if (b_column && accumulate) NAME(products)(1, 1, rows, cols, a, a_row, b, b_row, y);
    else if (b_column) NAME(products)(1, 0, rows, cols, a, a_row, b, b_row, y);
    else if (accumulate) NAME(products)(0, 1, rows, cols, a, a_row, b, b_row, y);
    else NAME(products)(0, 0, rows, cols, a, a_row, b, b_row, y);
}

/* As sums of rows in columns.c: four at a time. */
nn_inline void NAME(products_of_rows)(const ptrdiff_t rows, const int column, ptrdiff_t cols, const real *a,
                                      const real *b, ptrdiff_t b_row, real *y, int accumulate)
{
    for (ptrdiff_t j = 0; j < cols; j += VL) {
        const ptrdiff_t n = cols - j < VL ? cols - j : VL;
        vec r[4];
        NN_UNROLL
        for (ptrdiff_t t = 0; t < rows; t++)
            r[t] = v_mul(AT(a + t * cols + j, n), NAME(factor)(b + t * b_row, column, j, n));
        NAME(add_rows)(rows, r, accumulate, y + j, n);
    }
}

static void NAME(multiply_columns)(ptrdiff_t rows, ptrdiff_t cols, const void *a_, const void *b_, ptrdiff_t b_row,
                                   int b_column, int accumulate, void *y_)
{
    const real *a = a_, *b = b_;
    real *y = y_;
    ptrdiff_t i = 0;
    for (; i + 4 <= rows; i += 4, a += 4 * cols, b += 4 * b_row, accumulate = 1) {
        if (b_column) NAME(products_of_rows)(4, 1, cols, a, b, b_row, y, accumulate);
        else NAME(products_of_rows)(4, 0, cols, a, b, b_row, y, accumulate);
    }
    for (; i < rows; i++, a += cols, b += b_row, accumulate = 1) {
        if (b_column) NAME(products_of_rows)(1, 1, cols, a, b, b_row, y, accumulate);
        else NAME(products_of_rows)(1, 0, cols, a, b, b_row, y, accumulate);
    }
}

static void NAME(multiply_rows)(ptrdiff_t rows, ptrdiff_t cols, const void *a_, const void *b_, ptrdiff_t b_row,
                                int accumulate, void *y_)
{
    const real *a = a_, *b = b_;
    real *y = y_;
    for (ptrdiff_t i = 0; i < rows; i++, a += cols, b += b_row) {
        vec sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
        ptrdiff_t j = 0;
        for (; j + 4 * VL <= cols; j += 4 * VL) {
            NN_UNROLL
            for (int k = 0; k < 4; k++) sum[k] = v_fma(v_load(a + j + k * VL), v_load(b + j + k * VL), sum[k]);
        }
        for (; j < cols; j += VL) {
            const ptrdiff_t n = cols - j < VL ? cols - j : VL;
            sum[0] = v_fma(AT(a + j, n), AT(b + j, n), sum[0]);
        }
        const real total = v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
        y[i] = accumulate ? y[i] + total : total;
    }
}
