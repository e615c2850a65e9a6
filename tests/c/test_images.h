/* The part of test_kernels.c about pixels of an image: copies, normalization, pooling, depthwise convolution and
 * Winograd's transforms. Arrays end at a fence, so whole vectors that reach too far end the program. */

static void test_copy(void)
{
    for (int r = 1; r < 12; r += 2)
        for (int s = 1; s < N_SOME; s++) {
            const ptrdiff_t rows = some[r], cols = some[s], ld = cols + 2, dst_ld = cols + 5;
            void *src = random_matrix(rows, cols, ld, -1, 1), *dst = array(span(rows, cols, dst_ld));
            about("copy %ld x %ld", (long)rows, (long)cols);
            K->copy(rows, cols, src, ld, dst, dst_ld);
            expect_gaps(dst, rows, cols, dst_ld);
            for (ptrdiff_t i = 0; i < rows; i++)
                expect(same_bits(at(src, i * ld), at(dst, i * dst_ld), cols), "row %ld", (long)i);
            release();
        }
}

static void test_take_rows(void)
{
    for (int s = 1; s < N_SOME; s++)
        for (int gap = 0; gap < 3; gap++) {
            const ptrdiff_t rows = 6, cols = some[s], next = (cols / K->vl + 1) * K->vl;
            const ptrdiff_t ld = gap == 0 ? cols : gap == 1 ? cols + 1 : next;
            const ptrdiff_t index[] = {3, 0, 8, 8, 1, 7};
            void *src = random_array(9 * cols, -1, 1), *dst = array(rows * ld);
            about("take_rows %ld, ld %ld", (long)cols, (long)ld);
            K->take_rows(rows, cols, src, index, dst, ld);
            for (ptrdiff_t i = 0; i < rows; i++) {
                expect(same_bits(at(src, index[i] * cols), at(dst, i * ld), cols), "row %ld", (long)i);
                for (ptrdiff_t j = cols; cols % K->vl && ld >= next && j < next; j++)
                    expect(get(dst, i * ld + j) == 0, "behind row %ld", (long)i);
            }
            if (ld < next) expect_gaps(dst, rows, cols, ld);
            release();
        }
}

static void test_affine(void)
{
    for (int s = 0; s < N_SOME; s++) {
        const ptrdiff_t n = some[s];
        void *x = random_array(n, -9, 9), *y = array(n);
        about("affine %ld", (long)n);
        K->affine(n, x, 0.25, -3, y);
        for (ptrdiff_t i = 0; i < n; i++)
            expect_near(y, i, 0.25L * get(x, i) - 3, 8 * epsilon());
        release();
    }
}

static void test_normalization(void)
{
    for (int r = 1; r < 14; r += 3)
        for (int s = 1; s < N_SOME; s++)
            for (int mode = 0; mode < 2; mode++) {
                const ptrdiff_t rows = some[r], cols = some[s], n = rows * cols;
                void *x = random_array(n, -1, 1), *dy = random_array(n, -1, 1), *p = random_array(cols, -1, 1);
                void *q = random_array(cols, -1, 1), *shift = random_array(cols, -1, 1), *y = array(n), *scale = mode ? p : NULL;
                void *dx = random_array(n, -1, 1), *before = copy(dx, n);
                void *squares = array(cols), *sum = array(cols), *moment = array(cols);
                about("normalization %ld x %ld mode %d", (long)rows, (long)cols, mode);
                K->normalize(rows, cols, x, p, shift, mode, y);
                K->column_squares(rows, cols, x, cols, p, squares);
                K->normalize_sums(rows, cols, x, cols, scale, shift, p, dy, sum, moment);
                K->normalize_backward(rows, cols, dy, x, scale, shift, p, q, shift, mode, dx);
                for (ptrdiff_t j = 0; j < cols; j++) {
                    wide deviations = 0, total = 0, product = 0;
                    for (ptrdiff_t i = j; i < n; i += cols) {
                        const wide a = get(x, i), away = a - get(p, j), z = a * get(p, j) + get(shift, j);
                        const wide dz = mode && get(y, i) <= 0 ? 0 : get(dy, i);   /* the relu stops just where y is 0 */
                        const wide dx_of = dz * get(p, j) + a * get(q, j) + get(shift, j);
                        expect_near(y, i, mode && z < 0 ? 0 : z, 8 * epsilon());
                        expect_near(dx, i, dx_of + (mode ? get(before, i) : 0), 8 * epsilon());
                        deviations += away * away;
                        total += dz;
                        product += dz * away;
                    }
                    expect_near(squares, j, deviations, 8 * epsilon() * (wide)rows);
                    expect_near(sum, j, total, 8 * epsilon() * (wide)rows);
                    expect_near(moment, j, product, 8 * epsilon() * (wide)rows);
                }
                release();
            }
}

/* The same bits from rows that lie apart. */
static void test_normalization_of_a_band(void)
{
    for (int r = 1; r < 14; r += 3)
        for (int s = 1; s < N_SOME; s++) {
            const ptrdiff_t rows = some[r], cols = some[s], ld = cols + 5, n = rows * cols;
            void *x = random_array(n, -1, 1), *dy = random_array(n, -1, 1), *mean = random_array(cols, -1, 1);
            void *scale = random_array(cols, -1, 1), *shift = random_array(cols, -1, 1), *sums[6];
            void *apart[2] = {array(span(rows, cols, ld)), array(span(rows, cols, ld))};
            about("normalization of a band %ld x %ld", (long)rows, (long)cols);
            K->copy(rows, cols, x, cols, apart[0], ld);
            K->copy(rows, cols, dy, cols, apart[1], ld);
            for (int i = 0; i < 6; i++) sums[i] = array(cols);
            K->column_squares(rows, cols, x, cols, mean, sums[0]);
            K->column_squares(rows, cols, apart[0], ld, mean, sums[1]);
            K->normalize_sums(rows, cols, x, cols, scale, shift, mean, dy, sums[2], sums[4]);
            K->normalize_sums(rows, cols, apart[0], ld, scale, shift, mean, apart[1], sums[3], sums[5]);
            for (int i = 0; i < 6; i += 2) expect(same_bits(sums[i], sums[i + 1], cols), "sum %d", i / 2);
            release();
        }
}

/* A row's moments, gradient and share of gamma's gradient, with and without gamma and beta. */
static void test_layer_normalization(void)
{
    for (int r = 1; r < 14; r += 3)
        for (int s = 1; s < N_SOME; s++)
            for (int mode = 0; mode < 2; mode++) {
                const ptrdiff_t rows = some[r], cols = some[s], ld = cols + 3;
                const wide e = 0.01L, n = (wide)cols, near = 32 * epsilon() * (1 + sqrtl(n));
                void *x = random_matrix(rows, cols, ld, -1, 1), *dy = random_matrix(rows, cols, ld, -1, 1);
                void *gamma = mode ? random_array(cols, -1, 1) : NULL, *beta = mode ? random_array(cols, -1, 1) : NULL;
                void *y = array(span(rows, cols, ld)), *moments = array(2 * rows), *sum = array(cols);
                void *dx = random_matrix(rows, cols, ld, -1, 1), *before = copy(dx, span(rows, cols, ld));
                about("layer normalization %ld x %ld mode %d", (long)rows, (long)cols, mode);
                K->layer_norm(rows, cols, x, ld, (double)e, gamma, beta, y, moments);
                K->layer_norm_backward(rows, cols, dy, x, ld, moments, gamma, mode, dx);
                K->layer_norm_gradient(rows, cols, dy, x, ld, moments, sum);
                expect_gaps(y, rows, cols, ld);
                for (ptrdiff_t i = 0; i < rows; i++) {
                    const ptrdiff_t row = i * ld;
                    wide mean = 0, squares = 0, total = 0, product = 0;
                    for (ptrdiff_t j = 0; j < cols; j++) mean += get(x, row + j) / n;
                    for (ptrdiff_t j = 0; j < cols; j++) squares += (get(x, row + j) - mean) * (get(x, row + j) - mean);
                    const wide h = 1 / sqrtl(squares / n + e);
                    expect_near(moments, 2 * i, mean, near);
                    expect_near(moments, 2 * i + 1, h, near * h);
                    for (ptrdiff_t j = 0; j < cols; j++) {
                        const wide g = get(dy, row + j) * (mode ? get(gamma, j) : 1);
                        total += g / n;
                        product += g * (get(x, row + j) - mean) * h / n;
                    }
                    for (ptrdiff_t j = 0; j < cols; j++) {
                        const wide normal = (get(x, row + j) - mean) * h, scale = mode ? get(gamma, j) : 1;
                        const wide slope = h * (get(dy, row + j) * scale - total - normal * product);
                        expect_near(y, row + j, normal * scale + (mode ? get(beta, j) : 0), near * h);
                        expect_near(dx, row + j, slope + (mode ? get(before, row + j) : 0), near * h * h);
                    }
                }
                for (ptrdiff_t j = 0; j < cols; j++) {
                    wide expected = 0;
                    for (ptrdiff_t i = 0; i < rows; i++)
                        expected += get(dy, i * ld + j) * (get(x, i * ld + j) - get(moments, 2 * i)) * get(moments, 2 * i + 1);
                    expect_near(sum, j, expected, near * 16 * (wide)rows);
                }
                release();
            }
}

static void test_joined_moments(void)
{
    for (int s = 0; s < N_SOME; s++) {
        const ptrdiff_t n = some[s];
        void *mean = random_array(n, -1, 1), *squares = random_array(n, 0, 1);
        double *joint = fenced((size_t)(3 * n) * sizeof *joint);
        about("joined moments of %ld", (long)n);
        for (ptrdiff_t j = 0; j < 3 * n; j++) joint[j] = (double)(j % 7);
        K->join_moments(n, mean, squares, 0.25, 1.5, joint, joint + n);
        K->join_sums(n, mean, joint + 2 * n);
        for (ptrdiff_t j = 0; j < n; j++) {
            const double before = (double)(j % 7), delta = (double)get(mean, j) - before;
            const double others = (double)((n + j) % 7);
            expect(fabs(joint[j] - (before + 0.25 * delta)) <= 1e-14, "mean %ld", (long)j);
            expect(fabs(joint[n + j] - (others + (double)get(squares, j) + 1.5 * delta * delta)) <= 1e-12, "squares %ld", (long)j);
            expect(joint[2 * n + j] == (double)((2 * n + j) % 7) + (double)get(mean, j), "sum %ld", (long)j);
        }
        release();
    }
}

static const ptrdiff_t channel_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 24, 33};
enum { N_CHANNELS = sizeof channel_counts / sizeof channel_counts[0] };

/* Windows of rows x columns taps, `stride` pixels apart, in an image of just the pixels that they cover. */
static void check_pool(ptrdiff_t channels, ptrdiff_t windows, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t stride)
{
    const ptrdiff_t width = (windows - 1) * stride + columns, n = rows * width * channels, m = windows * channels;
    const nn_window w = {.rows = rows, .columns = columns, .row_pitch = width * channels, .column_pitch = channels,
                         .step = stride * channels, .channels = channels, .accumulate = stride < columns};
    void *x = random_array(n, -1, 1), *y = array(m), *code = array(m), *sum = array(m), *dy = random_array(m, -1, 1);
    void *dx = array(n), *spread = array(n);
    wide *expected = fenced((size_t)n * sizeof *expected), *shared = fenced((size_t)n * sizeof *shared);
    about("pool %ld channels, %ld windows %ld x %ld, stride %ld", (long)channels, (long)windows, (long)rows, (long)columns,
          (long)stride);
    put(x, n / 2, NAN);
    if (n > 4) put(x, 3, get(x, 0));
    for (ptrdiff_t i = 0; i < n; i++) {
        put(dx, i, 0);
        put(spread, i, 0);
        expected[i] = shared[i] = 0;
    }
    K->max_pool(&w, windows, x, y, code);
    K->sum_pool(&w, windows, x, 0.5, sum);
    K->max_pool_backward(&w, windows, dy, code, dx);
    K->sum_pool_backward(&w, windows, dy, 0.5, spread);
    for (ptrdiff_t i = 0; i < windows; i++)
        for (ptrdiff_t c = 0; c < channels; c++) {
            ptrdiff_t best = -1, tap = 0;
            wide total = 0, size = 0;
            for (ptrdiff_t r = 0; r < rows; r++)
                for (ptrdiff_t s = 0; s < columns; s++) {
                    const ptrdiff_t here = (r * width + i * stride + s) * channels + c;
                    const wide a = get(x, here);
                    if (best < 0 || (!isnan(get(x, best)) && (isnan(a) || a > get(x, best)))) {
                        best = here;
                        tap = r * columns + s;
                    }
                    total += a;
                    size += fabsl(a);
                    shared[here] += 0.5L * get(dy, i * channels + c);
                }
            expected[best] += get(dy, i * channels + c);
            expect(same_bits(at(y, i * channels + c), at(x, best), 1), "window %ld, channel %ld: not its maximum", (long)i,
                   (long)c);
            expect(get(code, i * channels + c) == (wide)tap, "window %ld, channel %ld: code", (long)i, (long)c);
            expect_near(sum, i * channels + c, 0.5L * total, 4 * epsilon() * size);
        }
    for (ptrdiff_t i = 0; i < n; i++) {
        expect_near(dx, i, expected[i], 8 * epsilon());
        expect_near(spread, i, shared[i], 8 * epsilon());
    }
    release();
}

static void test_pools(void)
{
    for (int c = 0; c < N_CHANNELS; c++)
        for (ptrdiff_t windows = 1; windows < 8; windows++) {
            check_pool(channel_counts[c], windows, 2, 2, 2);
            check_pool(channel_counts[c], windows, 3, 3, 1);
            check_pool(channel_counts[c], windows, 1, 3, 4);
        }
}

/* taps_h rows of taps_w neighbours, for lines of pixels; negative taps_w: neighbours from the last to the first.
 * mode 8: the image's columns begin after the first two and end before the last. */
static void check_depthwise(ptrdiff_t channels, ptrdiff_t lines, ptrdiff_t pixels, ptrdiff_t taps_h, ptrdiff_t taps_w,
                            ptrdiff_t stride, int mode)
{
    const ptrdiff_t turned = taps_w < 0, across = turned ? -taps_w : taps_w, taps = taps_h * across;
    const ptrdiff_t padded = (channels + K->vl - 1) / K->vl * K->vl, step = channels + 1;
    const ptrdiff_t width = (pixels - 1) * stride + across + 1, height = (lines - 1) * stride + taps_h;
    const ptrdiff_t first = mode >> 2 & 1, rows = taps + 2 * first;     /* of w: the taps may leave out first and last */
    const ptrdiff_t y_step = channels + 2, y_line = (pixels + 1) * y_step, y_span = (lines - 1) * y_line
                                                                                    + span(pixels, channels, y_step);
    ptrdiff_t offset[25], row[25];
    nn_depthwise op = {.rows = rows, .taps = taps, .row = row, .x_offset = offset, .x_step = stride * step,
                       .y_step = y_step, .lines = lines, .x_line = stride * width * step, .y_line = y_line,
                       .accumulate = mode & 1, .relu = mode >> 1 & 1};
    if (mode & 8) op.run = (int)across, op.column = -2, op.columns = width - 4;     /* one more is between lines */
    void *x = random_matrix(height * width, channels, step, -1, 1), *w = random_array(rows * padded, -1, 1);
    void *bias = random_array(padded, -1, 1), *y = random_array(y_span, -1, 1);
    void *before = copy(y, y_span), *dw = random_array(rows * padded, -1, 1), *dw_before = copy(dw, rows * padded);
    about("depthwise %ld channels, %ld lines of %ld pixels, %ld x %ld taps, stride %ld, mode %d", (long)channels,
          (long)lines, (long)pixels, (long)taps_h, (long)taps_w, (long)stride, mode);
    for (ptrdiff_t t = 0; t < taps; t++) {
        offset[t] = (t / across * width + t % across) * step;
        row[t] = first + (turned ? taps - 1 - t : t);
    }
    K->depthwise(&op, pixels, channels, x, w, bias, y);
    if (!(mode & 8)) K->depthwise_gradient(&op, pixels, channels, x, before, dw);
    for (ptrdiff_t i = 0; i < y_span; i++)      /* between pixels, and behind a line's last */
        if (i % y_line % y_step >= channels || i % y_line >= pixels * y_step) expect_near(y, i, get(before, i), 0);
    for (ptrdiff_t c = 0; c < channels; c++) {
        const ptrdiff_t panel = c / K->nr * K->nr, ld = padded - panel < K->nr ? padded - panel : K->nr;
        for (ptrdiff_t i = 0; i < lines * pixels; i++) {
            const ptrdiff_t to = i / pixels * y_line + i % pixels * y_step + c;
            const ptrdiff_t from = i / pixels * op.x_line + i % pixels * op.x_step + c;
            wide sum = get(bias, c) + (mode & 1 ? get(before, to) : 0);
            for (ptrdiff_t t = 0; t < taps; t++) {
                const ptrdiff_t column = i % pixels * stride + t % across + op.column;
                if ((mode & 8) && (column < 0 || column >= op.columns)) continue;
                sum += get(x, from + offset[t]) * get(w, panel * rows + row[t] * ld + c - panel);
            }
            expect_near(y, to, (mode >> 1 & 1) && sum < 0 ? 0 : sum, 8 * epsilon() * (wide)taps);
        }
        for (ptrdiff_t t = 0; t < taps && !(mode & 8); t++) {
            const ptrdiff_t at = panel * rows + row[t] * ld + c - panel;
            wide sum = get(dw_before, at);
            for (ptrdiff_t i = 0; i < lines * pixels; i++)
                sum += get(x, i / pixels * op.x_line + i % pixels * op.x_step + c + offset[t])
                       * get(before, i / pixels * y_line + i % pixels * y_step + c);
            expect_near(dw, at, sum, 8 * epsilon() * (wide)(lines * pixels + 1));
        }
    }
    release();
}

static void test_depthwise(void)
{
    for (int c = 0; c < N_CHANNELS; c++)
        for (int mode = 0; mode < 8; mode++) {
            for (ptrdiff_t pixels = 1; pixels < 11; pixels += 3) {
                check_depthwise(channel_counts[c], 1, pixels, 3, -3, 1, mode);
                check_depthwise(channel_counts[c], 2, pixels, 2, 7, 1, mode);
                for (ptrdiff_t lines = 1; lines < 6; lines += 2) {
                    check_depthwise(channel_counts[c], lines, pixels, 3, 3, 1, mode);
                    check_depthwise(channel_counts[c], lines, pixels, 3, 3, 2, mode);
                }
            }
            check_depthwise(channel_counts[c], 3, 2, 2, 3, 1, mode);
            check_depthwise(channel_counts[c], 2, 3, 3, 2, 1, mode);
            check_depthwise(channel_counts[c], 2, 2, 5, 3, 2, mode);
            for (ptrdiff_t pixels = 4; pixels < 8; pixels++)
                for (ptrdiff_t stride = 1; stride < 3; stride++) {
                    check_depthwise(channel_counts[c], 2, pixels, 3, 3, stride, mode + 8);
                    check_depthwise(channel_counts[c], 2, pixels, 5, 5, stride, mode);
                    check_depthwise(channel_counts[c], 2, pixels, 5, 5, stride, mode + 8);
                }
        }
}

static void check_planes(ptrdiff_t rows, ptrdiff_t channels, ptrdiff_t taps, ptrdiff_t n, int mode)
{
    const ptrdiff_t whole = (n + K->vl - 1) / K->vl * K->vl, plane = whole + 3 * taps, w_step = rows + 2;
    const ptrdiff_t samples = 1 + mode % 3, terms = taps * channels;
    ptrdiff_t offset[9 * 5];
    nn_planes op = {.rows = rows, .taps = taps, .x_offset = offset, .channels = channels, .x_step = plane,
                    .y_step = whole + 1, .w_step = w_step, .relu = mode & 1};
    void *x = random_array(samples * channels * plane, -1, 1), *w = random_array(span(terms, rows, w_step), -1, 1);
    void *bias = random_array(rows, -1, 1), *y = random_matrix(rows, whole, op.y_step, -1, 1);
    void *dy = random_array(samples * rows * whole, -1, 1), *sums = random_array(terms * rows * K->vl, -1, 1);
    void *before = copy(sums, terms * rows * K->vl), *dw = array(terms * rows);
    about("planes of %ld and %ld channels, %ld taps, %ld pixels, mode %d", (long)rows, (long)channels, (long)taps, (long)n,
          mode);
    for (ptrdiff_t t = 0; t < taps; t++)
        offset[t] = (taps - 1 - t) * 3;
    K->planes(&op, n, x, w, mode & 2 ? bias : NULL, y);
    expect_gaps(y, rows, whole, op.y_step);
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < n; j++) {
            wide sum = mode & 2 ? get(bias, i) : 0;
            for (ptrdiff_t t = 0; t < taps; t++)
                for (ptrdiff_t c = 0; c < channels; c++)
                    sum += get(x, offset[t] + c * plane + j) * get(w, (t * channels + c) * w_step + i);
            expect_near(y, i * op.y_step + j, mode & 1 && sum < 0 ? 0 : sum, 8 * epsilon() * (wide)terms);
        }

    nn_planes_gradient gradient = {.rows = rows, .taps = terms, .x_offset = offset, .y_step = whole, .samples = samples,
                                   .x_sample = channels * plane, .y_sample = rows * whole};
    for (ptrdiff_t t = 0; t < terms; t++)
        offset[t] = t % channels * plane + t / channels * 3;
    K->planes_gradient(&gradient, n, x, dy, sums);
    K->sum_lanes(terms * rows, sums, dw);
    for (ptrdiff_t t = 0; t < terms; t++)
        for (ptrdiff_t i = 0; i < rows; i++) {
            wide sum = 0;
            for (ptrdiff_t lane = 0; lane < K->vl; lane++)
                sum += get(before, (t * rows + i) * K->vl + lane);
            for (ptrdiff_t q = 0; q < samples; q++)
                for (ptrdiff_t j = 0; j < whole; j++)
                    sum += get(x, q * channels * plane + offset[t] + j) * get(dy, (q * rows + i) * whole + j);
            expect_near(dw, t * rows + i, sum, 8 * epsilon() * (wide)(samples * whole + K->vl));
        }
    release();
}

static void test_planes(void)
{
    for (ptrdiff_t rows = 1; rows <= K->vl / 2; rows++)
        for (ptrdiff_t n = 1; n <= 10 * K->vl + 1; n += 1 + n / 3) {
            check_planes(rows, 1 + n % 5, 1 + (n + rows) % 9, n, (int)(uniform() * 12));
            check_planes(rows, 5, 9, n, (int)(uniform() * 12));
        }
}

/* The transforms together are a convolution of one channel with itself, and each backward is a transpose: for the same
 * random numbers, <forward a, b> = <a, backward b>. The kernel has one row of taps less than it could, in mode 1; with
 * `line` it has one, and so have the tiles. */
static void check_winograd(int line, ptrdiff_t taps, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t columns, int mode)
{
    const ptrdiff_t tile = 7 - taps, padded = (n + K->vl - 1) / K->vl * K->vl, pitch = 7 * n, step = padded + 3;
    const ptrdiff_t down = line ? 1 : taps, high = line ? 1 : 6, positions = 6 * high, outputs = tile * tile;
    const ptrdiff_t area = down * taps;
    const nn_winograd op = {.taps = taps, .line = line, .rows = rows, .columns = columns, .row_pitch = tile * n,
                            .pixel_pitch = n, .accumulate = mode & 1, .relu = mode >> 1};
    const nn_winograd kernel = {.taps = taps, .line = line, .rows = down - (mode == 1 && !line), .columns = taps,
                                .row_pitch = taps * padded, .pixel_pitch = padded};
    void *x = random_array(5 * pitch + 6 * n, -1, 1), *seen = copy(x, 5 * pitch + 6 * n), *w = array(area * padded);
    void *v = array(36 * step), *u = array(36 * step), *m = array(36 * step), *dm = array(36 * step);
    void *bias = random_array(padded, -1, 1), *dw = array(area * padded);
    void *y = random_array(outputs * n, -1, 1), *before = copy(y, outputs * n);
    about("winograd %s %ld taps, %ld channels, %ld x %ld, mode %d", line ? "line" : "square", (long)taps, (long)n,
          (long)rows, (long)columns, mode);
    /* All of what these outputs see lies inside, or all but the first and the last row or column of it. */
    const nn_winograd part = {.line = line, .first_row = line ? 0 : mode & 1, .first_column = mode >> 1,
                              .rows = down - 1 + rows - (line ? 0 : mode & 1),
                              .columns = taps - 1 + columns - (mode >> 1), .row_pitch = pitch, .pixel_pitch = n};
    for (ptrdiff_t t = 0; t < area; t++)        /* the padding stays 0 */
        for (ptrdiff_t c = 0; c < n; c++)
            put(w, t * padded + c, t / taps < kernel.rows ? between(-1, 1) : 99);
    for (ptrdiff_t i = 0; i < high; i++)
        for (ptrdiff_t j = 0; j < 6 * n; j++)
            if (i < part.first_row || i >= part.rows || j < part.first_column * n || j >= part.columns * n)
                put(seen, i * pitch + j, 0);
    K->winograd_input(&part, n, x, v, step);
    K->winograd_kernel(&kernel, padded, w, u, step);
    for (ptrdiff_t t = kernel.rows * taps; t < area; t++)
        for (ptrdiff_t c = 0; c < n; c++) {
            put(w, t * padded + c, 0);
            put(dw, t * padded + c, 7);
        }
    for (int p = 0; p < positions; p++)
        for (ptrdiff_t c = 0; c < padded; c++)
            put(m, p * step + c, get(u, p * step + c) * get(v, p * step + c));
    K->winograd_output(&op, n, m, step, bias, y);
    K->winograd_output_backward(&op, n, before, dm, step);
    K->winograd_kernel_backward(&kernel, padded, m, step, dw);
    for (ptrdiff_t c = n; c < padded; c++)
        expect(get(v, c) == 0 && get(v, (positions - 1) * step + c) == 0 && get(dm, (positions - 1) * step + c) == 0,
               "channels beyond the last");
    for (ptrdiff_t c = 0; c < n; c++) {
        wide left = 0, right = 0, sum = 0, other = 0;
        for (ptrdiff_t i = 0; i < (line ? 1 : tile); i++)
            for (ptrdiff_t j = 0; j < tile; j++) {
                const ptrdiff_t here = (tile * i + j) * n + c;
                wide conv = 0;
                for (ptrdiff_t t = 0; t < area; t++)
                    conv += get(w, t * padded + c) * get(seen, (i + t / taps) * pitch + (j + t % taps) * n + c);
                if (i >= rows || j >= columns) {
                    expect(same_bits(at(y, here), at(before, here), 1), "wrote beyond the tile");
                    continue;
                }
                right += conv * get(before, here);
                conv += get(bias, c) + (mode & 1 ? get(before, here) : 0);
                expect_near(y, here, mode >> 1 && conv < 0 ? 0 : conv, 200 * epsilon());
            }
        for (int p = 0; p < positions; p++) {
            left += get(m, p * step + c) * get(dm, p * step + c);
            sum += get(m, p * step + c) * get(u, p * step + c);
        }
        for (ptrdiff_t t = 0; t < area; t++) {
            if (t / taps < kernel.rows) other += get(w, t * padded + c) * get(dw, t * padded + c);
            else expect(get(dw, t * padded + c) == 7, "wrote a tap that the kernel does not have");
        }
        expect(fabsl(left - right) < 600 * epsilon(), "output_backward is not the transpose of output");
        expect(fabsl(sum - other) < 600 * epsilon(), "kernel_backward is not the transpose of kernel");
    }
    release();
}

static void test_winograd(void)
{
    for (int taps = 2; taps <= 5; taps++)
        for (int vectors = 1; vectors < 4; vectors++)
            for (int mode = 0; mode < 4; mode++)
                for (int i = 0; i < (7 - taps) * (7 - taps); i++) {
                    check_winograd(0, taps, vectors * K->vl - i % 3, 1 + i / (7 - taps), 1 + i % (7 - taps), mode);
                    if (i < 7 - taps) check_winograd(1, taps, vectors * K->vl - i % 3, 1, 1 + i, mode);
                }
}
