/* The part of test_kernels.c about tiles of matrix products and transposition. */

typedef void (*brgemm_fn)(const nn_brgemm *, ptrdiff_t, ptrdiff_t, const void *, const void *, const void *, void *);

/* by_column: 1, or 2 for columns of A that begin one number apart. */
static void check_brgemm(brgemm_fn brgemm, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, ptrdiff_t count, int by_column,
                         int accumulate, int relu, int with_bias)
{
    const ptrdiff_t padded = (n + K->vl - 1) / K->vl * K->vl, ldb = padded + 3, ldc = n + 2;
    const ptrdiff_t lda = by_column == 2 ? 1 : (by_column ? m : k) + 1, a_size = span(by_column ? k : m, by_column ? m : k, lda);
    ptrdiff_t offset[8];
    nn_brgemm op = {0};
    void *a = array(a_size * count), *b = array(span(k * count, padded, ldb)), *bias = array(padded);
    void *c = random_matrix(m, n, ldc, -1, 1), *before = copy(c, span(m, n, ldc));
    about("%s m %ld n %ld k %ld count %ld%s%s%s%s", brgemm == K->brgemm ? "brgemm" : "brgemm_few", (long)m, (long)n,
          (long)k, (long)count, by_column == 2 ? " overlapping" : by_column ? " columns" : "", accumulate ? " accumulate" : "", relu ? " relu" : "", with_bias ? " bias" : "");
    op.k = k;
    op.count = count;
    op.a_row = by_column ? 1 : lda;
    op.a_col = by_column ? lda : 1;
    op.ldb = ldb;
    op.ldc = ldc;
    op.b_step = k * ldb;
    op.accumulate = accumulate;
    op.relu = relu;
    for (ptrdiff_t q = 0; q < count; q++) {
        offset[q] = (count - 1 - q) * a_size;
        for (ptrdiff_t i = 0; i < m; i++)
            for (ptrdiff_t p = 0; p < k; p++)
                put(a, offset[q] + i * op.a_row + p * op.a_col, between(-1, 1));
    }
    op.a_offset = count > 1 ? offset : NULL;
    for (ptrdiff_t p = 0; p < k * count; p++)
        for (ptrdiff_t j = 0; j < n; j++)
            put(b, p * ldb + j, between(-1, 1));
    for (ptrdiff_t j = 0; j < n; j++)
        put(bias, j, between(-1, 1));

    brgemm(&op, m, n, a, b, with_bias ? bias : NULL, c);
    expect_gaps(c, m, n, ldc);
    for (ptrdiff_t i = 0; i < m; i++)
        for (ptrdiff_t j = 0; j < n; j++) {
            wide sum = accumulate ? get(before, i * ldc + j) : 0, size = 2;
            for (ptrdiff_t q = 0; q < count; q++)
                for (ptrdiff_t p = 0; p < k; p++) {
                    const wide a_ip = get(a, offset[q] + i * op.a_row + p * op.a_col);
                    const wide x = a_ip * get(b, q * op.b_step + p * ldb + j);
                    sum += x;
                    size += fabsl(x);
                }
            sum += with_bias ? get(bias, j) : 0;
            expect_near(c, i * ldc + j, relu && sum < 0 ? 0 : sum, epsilon() * size * (4 + sqrtl((wide)(k * count))));
        }
    /* A row by itself has the bits that it has in the tile, and in a tile of the usual kind. */
    void *row = copy(at(before, (m - 1) * ldc), n);
    void *usual = copy(row, n);
    for (ptrdiff_t q = 0; q < count && op.a_offset; q++)
        offset[q] += (m - 1) * op.a_row;
    brgemm(&op, 1, n, op.a_offset ? a : at(a, (m - 1) * op.a_row), b, with_bias ? bias : NULL, row);
    K->brgemm(&op, 1, n, op.a_offset ? a : at(a, (m - 1) * op.a_row), b, with_bias ? bias : NULL, usual);
    expect(same_bits(row, at(c, (m - 1) * ldc), n), "other bits as a tile of one row");
    expect(same_bits(usual, row, n), "other bits than a tile of the usual kind");
    if (n > K->vl) {    /* the rows in reverse, each by its place */
        ptrdiff_t a_rows[16], c_rows[16];
        for (ptrdiff_t i = 0; i < m; i++) {
            a_rows[i] = (m - 1 - i) * op.a_row;
            c_rows[i] = (m - 1 - i) * ldc;
        }
        for (ptrdiff_t q = 0; q < count && op.a_offset; q++)
            offset[q] -= (m - 1) * op.a_row;
        op.a_row = op.ldc = -1;
        K->brgemm_scattered(&op, a_rows, c_rows, m, n, a, b, with_bias ? bias : NULL, before);
        expect(same_bits(before, c, span(m, n, ldc)), "other bits where rows are scattered");
    }
    release();
}

static void test_brgemm(void)
{
    static const ptrdiff_t ks[] = {1, 2, 7, 33};
    for (ptrdiff_t n = 1; n <= K->nr; n++) {
        const ptrdiff_t tallest = n <= K->vl ? K->mr_narrow : K->mr;
        for (ptrdiff_t m = 1; m <= tallest; m++)
            for (int form = 0; form < 4; form++) {
                const int mode = (int)(uniform() * 16);
                check_brgemm(K->brgemm, m, n, ks[form], form % 2 ? 3 : 1, mode & 1, mode >> 1 & 1, mode >> 2 & 1, mode >> 3 & 1);
            }
    }
    for (int mode = 0; mode < 16; mode++)
        for (ptrdiff_t n = K->nr - 1; n <= K->nr; n++)
            check_brgemm(K->brgemm, K->mr, n, 19, 1 + mode % 3, mode & 1, mode >> 1 & 1, mode >> 2 & 1, mode >> 3 & 1);
    check_brgemm(K->brgemm, K->mr, K->nr, 700, 1, 0, 0, 0, 0);

    about("brgemm");
    nn_brgemm op = {.k = 1, .count = 1, .a_row = 1, .a_col = 1, .ldb = K->nr, .ldc = K->nr, .relu = 1};
    void *a = array(1), *b = random_array(K->nr, -1, 1), *c = array(K->nr);
    put(a, 0, NAN);
    K->brgemm(&op, 1, K->nr, a, b, NULL, c);
    expect(isnan(get(c, 0)), "relu hides NaN");
    release();
}

static void test_brgemm_few(void)
{
    static const ptrdiff_t ms[] = {1, 2, 3, 4, 5, 7, 11, 12, 13, 16, 29, 47, 48, 49, 61, 131}, ks[] = {1, 4, 11, 38};
    for (ptrdiff_t n = 1; n <= K->few_by_column; n++)
        for (int i = 0; i < (int)(sizeof(ms) / sizeof(ms[0])); i++)
            for (int form = 0; form < 12; form++) {
                const int mode = (int)(uniform() * 16), by_column = n > K->few_by_row ? 1 + form % 2 : form / 4;
                check_brgemm(K->brgemm_few, ms[i], n, ks[form % 4], form % 2 ? 3 : 1, by_column, mode >> 1 & 1, mode >> 2 & 1,
                             mode >> 3 & 1);
            }
    for (int mode = 0; mode < 16 && K->brgemm_few; mode++)
        check_brgemm(K->brgemm_few, 14, 3, 20, 1 + mode % 3, mode & 1, mode >> 1 & 1, mode >> 2 & 1, mode >> 3 & 1);
    if (K->brgemm_few) {
        about("brgemm_few");
        nn_brgemm op = {.k = 4, .count = 1, .a_row = 4, .a_col = 1, .ldb = K->vl, .ldc = 1, .relu = 1};
        void *a = array(4), *b = random_array(4 * K->vl, -1, 1), *c = array(1);
        put(a, 0, NAN);
        K->brgemm_few(&op, 1, 1, a, b, NULL, c);
        expect(isnan(get(c, 0)), "relu hides NaN");
        release();
    }
}

/* A row from its nonzeros, in parts, has brgemm's bits. b: panels `gap` further apart than they are long. */
static void check_nonzeros(ptrdiff_t n, ptrdiff_t k, double share, ptrdiff_t gap, int accumulate, int relu, int with_bias)
{
    const ptrdiff_t padded = (n + K->vl - 1) / K->vl * K->vl, ldb = K->nr + gap, step = k * ldb + gap;
    const ptrdiff_t part = 1 + (ptrdiff_t)(uniform() * (double)k);
    void *a = array(k), *b = random_array((n + K->nr - 1) / K->nr * step, -1, 1), *bias = random_array(padded, -1, 1);
    void *sums = array(padded), *values = array(k + K->vl);
    void *c = random_array(n, -1, 1), *expected = copy(c, n);
    uint16_t *places = malloc((size_t)(k + K->vl) * sizeof *places);
    nn_nonzeros op = {.ldb = ldb, .panel_step = step, .accumulate = accumulate, .relu = relu};
    nn_brgemm tile = {.k = k, .count = 1, .a_row = k, .a_col = 1, .ldb = ldb, .ldc = n, .accumulate = accumulate,
                      .relu = relu};
    about("nonzeros n %ld k %ld share %g gap %ld part %ld%s%s%s", (long)n, (long)k, share, (long)gap, (long)part,
          accumulate ? " accumulate" : "", relu ? " relu" : "", with_bias ? " bias" : "");
    for (ptrdiff_t p = 0; p < k; p++)
        put(a, p, uniform() < share ? between(-1, 1) : p % 2 ? 0.0 : -0.0);
    for (ptrdiff_t p = 0; p < k; p += part) {
        const ptrdiff_t length = part < k - p ? part : k - p;
        const ptrdiff_t count = K->list_nonzeros(length, at(a, p), values, places);
        ptrdiff_t i = 0;
        for (ptrdiff_t q = 0; q < length; q++)
            if (get(a, p + q) != 0) {
                expect(i < count && places[i] == q && get(values, i) == get(a, p + q), "number %ld is listed wrongly", (long)q);
                i++;
            }
        expect(i == count, "%ld listed of %ld", (long)count, (long)i);
        op.begins = p == 0;
        op.ends = p + part >= k;
        op.ahead = p % 2 ? ldb : 0;
        K->multiply_nonzeros(&op, n, count, places, values, at(b, p * ldb), with_bias ? bias : NULL, sums, c);
    }
    for (ptrdiff_t j = 0; j < n; j += K->nr)
        K->brgemm(&tile, 1, n - j < K->nr ? n - j : K->nr, a, at(b, j / K->nr * step), with_bias ? at(bias, j) : NULL,
                  at(expected, j));
    expect(same_bits(c, expected, n), "other bits than brgemm");
    free(places);
    release();
}

static void test_nonzeros(void)
{
    static const ptrdiff_t ks[] = {1, 3, 16, 37, 100};
    for (ptrdiff_t n = 1; n <= K->nonzero_columns; n++)
        for (int i = 0; i < 5; i++) {
            const int mode = (int)(uniform() * 8);
            check_nonzeros(n, ks[i], i == 0 ? 1 : uniform(), i % 3, mode & 1, mode >> 1 & 1, mode >> 2 & 1);
        }
    for (int mode = 0; mode < 8; mode++)
        for (ptrdiff_t n = K->nonzero_columns - K->vl - 1; n <= K->nonzero_columns; n++)
            check_nonzeros(n, 200, mode < 4 ? 0 : 0.3, mode % 2, mode & 1, mode >> 1 & 1, mode >> 2 & 1);

    about("nonzeros");
    nn_nonzeros op = {.ldb = K->nr, .begins = 1, .ends = 1, .relu = 1};
    void *a = array(K->vl), *values = array(2 * K->vl), *b = random_array(2 * K->nr, -1, 1), *c = array(K->vl);
    uint16_t places[64];
    put(a, 0, 0);
    put(a, 1, NAN);
    expect(K->list_nonzeros(2, a, values, places) == 1 && places[0] == 1, "NaN is a nonzero");
    K->multiply_nonzeros(&op, K->vl, 1, places, values, b, NULL, NULL, c);
    expect(isnan(get(c, 0)), "relu hides NaN");
    release();
}

static void test_transpose(void)
{
    for (int r = 1; r < 15; r++)
        for (int s = 1; s < 15; s++) {
            const ptrdiff_t rows = some[r], cols = some[s], ld = cols + 3, dst_ld = rows + 2;
            void *src = random_matrix(rows, cols, ld, -1, 1), *dst = array(span(cols, rows, dst_ld));
            about("transpose %ld x %ld", (long)rows, (long)cols);
            K->transpose(rows, cols, src, ld, dst, dst_ld);
            expect_gaps(dst, cols, rows, dst_ld);
            for (ptrdiff_t i = 0; i < rows; i++)
                for (ptrdiff_t j = 0; j < cols; j++)
                    expect(same_bits(at(src, i * ld + j), at(dst, j * dst_ld + i), 1), "[%ld, %ld]", (long)j, (long)i);
            release();
        }
}

static void check_column_sum(ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t ld)
{
    void *x = rows ? random_matrix(rows, cols, ld, -1, 1) : array(0), *y = array(cols), *sum = array(1);
    about("column_sum %ld x %ld of %ld", (long)rows, (long)cols, (long)ld);
    K->column_sum(rows, cols, x, ld, y);
    for (ptrdiff_t j = 0; j < cols; j++) {
        wide exact = 0;
        put(sum, 0, 0);
        for (ptrdiff_t i = 0; i < rows; i++) exact += get(x, i * ld + j);
        for (ptrdiff_t i = 0; i < rows;) {
            const int four = i + 4 <= rows;
            if (f64) {
                const double *r = (double *)x + i * ld + j;
                *(double *)sum += four ? (r[0] + r[ld]) + (r[2 * ld] + r[3 * ld]) : r[0];
            } else {
                const float *r = (float *)x + i * ld + j;
                *(float *)sum += four ? (r[0] + r[ld]) + (r[2 * ld] + r[3 * ld]) : r[0];
            }
            i += four ? 4 : 1;
        }
        if (ld == cols && 2 * cols <= K->vl)
            expect_near(y, j, exact, epsilon() * (1 + rows));
        else
            expect(same_bits(at(y, j), sum, 1), "column %ld is not its rows, summed four at a time", (long)j);
    }
    release();
}

static void test_column_sum(void)
{
    for (int r = 0; r < N_SOME; r += 3)
        for (int s = 1; s < N_SOME; s++) {
            check_column_sum(some[r], some[s], some[s] + 1);
            check_column_sum(some[r], some[s], some[s]);
        }
    about("column_sum of no columns");
    void *y = array(1);
    put(y, 0, 3);
    K->column_sum(2, 0, y, 0, y);
    expect(get(y, 0) == 3, "a number was written");
    release();
}

/* --- products ----------------------------------------------------------------------------------------------------- */

/* All three products, of a whole a and of b: whole, or a number for each column, for each row or a single one. */
static void check_products(ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t b_row, int b_column, int accumulate)
{
    const ptrdiff_t n_b = (rows - 1) * b_row + (b_column ? cols : 1);
    void *a = random_array(rows * cols, -1, 1), *b = random_array(n_b, -1, 1), *y = random_array(rows * cols, -1, 1);
    void *of_columns = random_array(cols, -1, 1), *of_rows = random_array(rows, -1, 1);
    void *y0 = copy(y, rows * cols), *columns0 = copy(of_columns, cols), *rows0 = copy(of_rows, rows);
    about("products %td x %td, b [%td, %d], accumulate %d", rows, cols, b_row, b_column, accumulate);
    K->multiply(rows, cols, a, cols, b, b_row, b_column, accumulate, y);
    K->multiply_columns(rows, cols, a, b, b_row, b_column, accumulate, of_columns);
    if (b_column) K->multiply_rows(rows, cols, a, b, b_row, accumulate, of_rows);
    for (ptrdiff_t i = 0; i < rows; i++) {
        wide sum = accumulate ? get(rows0, i) : 0;
        for (ptrdiff_t j = 0; j < cols; j++) {
            const wide by = get(a, i * cols + j) * get(b, i * b_row + j * b_column);
            const wide expected = by + (accumulate ? get(y0, i * cols + j) : 0);
            sum += by;
            expect(fabsl(get(y, i * cols + j) - expected) <= 2 * epsilon(), "wrong at %td, %td", i, j);
        }
        if (b_column) expect(fabsl(get(of_rows, i) - sum) <= (cols + 2) * epsilon(), "wrong sum of row %td", i);
    }
    for (ptrdiff_t j = 0; j < cols; j++) {
        wide sum = accumulate ? get(columns0, j) : 0;
        for (ptrdiff_t i = 0; i < rows; i++)
            sum += get(a, i * cols + j) * get(b, i * b_row + j * b_column);
        expect(fabsl(get(of_columns, j) - sum) <= (rows + 2) * epsilon(), "wrong sum of column %td", j);
    }
    release();
}

static void test_products(void)
{
    for (int r = 1; r < N_SOME; r += 2)
        for (int s = 1; s < N_SOME; s++)
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                check_products(some[r], some[s], some[s], 1, accumulate);
                check_products(some[r], some[s], 0, 1, accumulate);
                check_products(some[r], some[s], 1, 0, accumulate);
                check_products(some[r], some[s], 0, 0, accumulate);
            }
}
