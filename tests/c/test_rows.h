/* The second half of test_kernels.c: kernels on rows, softmax and the losses. */

static const ptrdiff_t widths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 100};
enum { N_WIDTHS = sizeof widths / sizeof widths[0] };

/* p[i, :] = softmax of row i; returns log sum exp of the row. */
static wide softmax_row(const void *x, ptrdiff_t n, wide *p)
{
    wide top = -INFINITY, sum = 0;
    for (ptrdiff_t j = 0; j < n; j++)
        top = fmaxl(top, get(x, j));
    for (ptrdiff_t j = 0; j < n; j++)
        sum += p[j] = expl(get(x, j) - top);
    for (ptrdiff_t j = 0; j < n; j++)
        p[j] /= sum;
    return top + logl(sum);
}

static void check_softmax(ptrdiff_t m, ptrdiff_t n, double size)
{
    const ptrdiff_t ldx = n + 1, ldy = n + 3, ld_dy = n + 2;
    void *x = random_matrix(m, n, ldx, -size, size), *y = array(span(m, n, ldy));
    void *dy = random_matrix(m, n, ld_dy, -1, 1), *dx = array(span(m, n, ldx)), *row = array(n);
    wide *p = fenced((size_t)n * sizeof *p);
    about("softmax %ld x %ld, logits to %g", (long)m, (long)n, size);
    K->softmax(m, n, x, ldx, y, ldy);
    K->softmax_backward(m, n, y, ldy, dy, ld_dy, dx, ldx);
    expect_gaps(y, m, n, ldy);
    expect_gaps(dx, m, n, ldx);
    for (ptrdiff_t i = 0; i < m; i++) {
        wide mean = 0, terms = 0;
        softmax_row(at(x, i * ldx), n, p);
        for (ptrdiff_t j = 0; j < n; j++) {
            /* The argument of exp is a rounded difference. */
            const wide below = fabsl(get(x, i * ldx + j)) + size;
            expect_near(y, i * ldy + j, p[j], p[j] * epsilon() * (8 + sqrtl((wide)n) + below) + 2 * least());
            mean += get(y, i * ldy + j) * get(dy, i * ld_dy + j);
            terms += fabsl(get(y, i * ldy + j) * get(dy, i * ld_dy + j));
        }
        for (ptrdiff_t j = 0; j < n; j++) {
            const wide yj = get(y, i * ldy + j);
            const wide error = 8 * epsilon() * (1 + terms) * yj + 2 * least();
            expect_near(dx, i * ldx + j, (get(dy, i * ld_dy + j) - mean) * yj, error);
        }
        K->softmax(1, n, at(x, i * ldx), n, row, n);
        expect(same_bits(row, at(y, i * ldy), n), "other bits as a row by itself");
        K->softmax_backward(1, n, row, n, at(dy, i * ld_dy), n, row, n);
        expect(same_bits(row, at(dx, i * ldx), n), "backward: other bits as a row by itself, in place of y");
        K->softmax_backward(1, n, at(y, i * ldy), n, at(dy, i * ld_dy), n, at(dy, i * ld_dy), n);
        expect(same_bits(at(dy, i * ld_dy), at(dx, i * ldx), n), "backward: other bits in place of dy");
    }
    K->softmax(m, n, x, ldx, x, ldx);
    for (ptrdiff_t i = 0; i < m; i++)
        expect(same_bits(at(x, i * ldx), at(y, i * ldy), n), "other bits in place");
    expect_gaps(x, m, n, ldx);
    release();
}

static void test_softmax(void)
{
    for (int s = 0; s < N_WIDTHS; s++) {
        check_softmax(1, widths[s], 3);
        check_softmax(5, widths[s], 30);
        check_softmax(3, widths[s], 1e4);
        about("softmax of NaN, width %ld", (long)widths[s]);
        for (ptrdiff_t j = 0; j < widths[s]; j++) {
            void *x = random_array(widths[s], -1, 1);
            put(x, j, NAN);
            K->softmax(1, widths[s], x, widths[s], x, widths[s]);
            expect(isnan(get(x, 0)) && isnan(get(x, widths[s] - 1)), "NaN at %ld does not fill the row", (long)j);
            release();
        }
    }
}

static const char *const losses[] = {
    "softmax_cross_entropy", "sigmoid_cross_entropy", "binary_cross_entropy", "squared_error", "absolute_error",
    "huber",
};

/* Value of one row, its gradient d and probabilities p; `size`: the sum of its terms' magnitudes. */
static wide reference_loss(int kind, ptrdiff_t n, const void *y, const void *t, int label, wide delta, wide *d, wide *p,
                           wide *size)
{
    wide loss = 0, mass = 0, lse = 0;
    *size = 1;
    if (kind == NN_SOFTMAX_CROSS_ENTROPY) {
        lse = softmax_row(y, n, p);
        *size += fabsl(lse);
    }
    for (ptrdiff_t j = 0; j < n; j++)
        mass += t ? get(t, j) : j == label;
    for (ptrdiff_t j = 0; j < n; j++) {
        const wide z = get(y, j), tj = t ? get(t, j) : j == label, e = z - tj;
        wide term = 0;
        switch (kind) {
        case NN_SOFTMAX_CROSS_ENTROPY:
            term = tj == 0 ? 0 : tj * (lse - z);
            *size += fabsl(tj * z);
            d[j] = p[j] * mass - tj;
            break;
        case NN_SIGMOID_CROSS_ENTROPY:
            term = (z > 0 ? z : 0) - z * tj + log1pl(expl(-fabsl(z)));
            *size += fabsl(z);
            p[j] = sigmoid(z);
            d[j] = p[j] - tj;
            break;
        case NN_BINARY_CROSS_ENTROPY:
            term = -tj * fmaxl(logl(z), -100) - (1 - tj) * fmaxl(log1pl(-z), -100);
            d[j] = e / fmaxl(z * (1 - z), rounded(1e-12));
            break;
        case NN_SQUARED_ERROR:
            term = e * e;
            d[j] = 2 * e;
            break;
        case NN_ABSOLUTE_ERROR:
            term = fabsl(e);
            d[j] = (e > 0) - (e < 0);
            break;
        default:
            term = fabsl(e) <= delta ? 0.5L * e * e : delta * (fabsl(e) - 0.5L * delta);
            d[j] = fabsl(e) <= delta ? e : copysignl(delta, e);
        }
        loss += term;
        *size += fabsl(term);
    }
    return loss;
}

/* tight: no gaps between rows. */
static void check_loss(int kind, ptrdiff_t m, ptrdiff_t n, int with_labels, int with_weight, int with_p, int tight,
                       double top)
{
    const int logits = kind == NN_SOFTMAX_CROSS_ENTROPY || kind == NN_SIGMOID_CROSS_ENTROPY;
    const int probabilities = kind == NN_BINARY_CROSS_ENTROPY;
    const ptrdiff_t ldy = n + !tight, ldt = n + 2 * !tight, ldp = n + 3 * !tight, ld_dy = n + 4 * !tight;
    const double scale = 0.3, delta = 0.7;
    void *y = random_matrix(m, n, ldy, probabilities ? 0 : -top, probabilities ? 1 : top);
    void *t = random_matrix(m, n, ldt, logits || probabilities ? 0 : -top, logits || probabilities ? 1 : top);
    void *p = array(span(m, n, ldp)), *dy = array(span(m, n, ld_dy)), *row = array(n);
    int32_t *labels = fenced((size_t)m * sizeof *labels);
    double *weight = fenced((size_t)m * sizeof *weight), *loss = fenced((size_t)m * sizeof *loss), one;
    wide *d = fenced((size_t)n * sizeof *d), *q = fenced((size_t)n * sizeof *q);

    about("%s %ld x %ld to %g%s%s%s%s", losses[kind], (long)m, (long)n, top, with_labels ? " labels" : "",
          with_weight ? " weight" : "", with_p ? " p" : "", tight ? " tight" : "");
    for (ptrdiff_t i = 0; i < m; i++) {
        labels[i] = (int32_t)(uniform() * (double)n);
        weight[i] = i == 1 ? 0 : 2 * uniform();
        if (!with_labels && uniform() < 0.5)            /* a hard target */
            put(t, i * ldt + labels[i], 1);
        if (probabilities && uniform() < 0.5)
            put(y, i * ldy + labels[i], uniform() < 0.5);
        if (kind == NN_ABSOLUTE_ERROR)                  /* no difference */
            put(y, i * ldy + labels[i], get(t, i * ldt + labels[i]));
    }
    const void *kept = copy(y, span(m, n, ldy));
    K->loss[kind](m, n, y, ldy, with_labels ? NULL : t, ldt, with_labels ? labels : NULL, scale,
                  with_weight ? weight : NULL, delta, loss, with_p ? p : NULL, ldp, dy, ld_dy);
    expect_gaps(dy, m, n, ld_dy);
    expect(same_bits(y, kept, span(m, n, ldy)), "changes y");
    if (with_p && logits)
        expect_gaps(p, m, n, ldp);
    else
        expect(filled(p, (size_t)(span(m, n, ldp) * K->real_size)), "writes p");
    for (ptrdiff_t i = 0; i < m; i++) {
        const void *y_i = at(y, i * ldy), *t_i = with_labels ? NULL : at(t, i * ldt);
        const int32_t *label_i = with_labels ? labels + i : NULL;
        const double *weight_i = with_weight ? weight + i : NULL;
        const wide factor = scale * (with_weight ? weight[i] : 1);
        wide size;
        const wide due = reference_loss(kind, n, y_i, t_i, labels[i], rounded(delta), d, q, &size);
        expect(fabsl(loss[i] - due) <= epsilon() * size * (8 + sqrtl((wide)n)), "loss[%ld] is %.17g, expected %.17Lg",
               (long)i, loss[i], due);
        for (ptrdiff_t j = 0; j < n; j++) {
            wide reach = fmaxl(1, fabsl(d[j]));
            if (kind == NN_SOFTMAX_CROSS_ENTROPY)       /* p's error is the rounding of its argument's */
                reach += q[j] * (fabsl(get(y_i, j)) + top + (wide)n);
            expect_near(dy, i * ld_dy + j, factor * d[j], 8 * epsilon() * factor * reach + 2 * least());
            if (with_p && logits)
                expect_near(p, i * ldp + j, q[j],
                            epsilon() * q[j] * (8 + sqrtl((wide)n) + fabsl(get(y_i, j)) + top) + 2 * least());
        }
        K->loss[kind](1, n, y_i, n, t_i, n, label_i, scale, weight_i, delta, &one, NULL, 0, row, n);
        expect(same_bits(row, at(dy, i * ld_dy), n) && one == loss[i], "other bits as a row by itself, without p");
        K->loss[kind](1, n, y_i, n, t_i, n, label_i, scale, weight_i, delta, &one, with_p ? row : NULL, n, NULL, 0);
        expect((!with_p || !logits || same_bits(row, at(p, i * ldp), n)) && one == loss[i], "other bits without dy");
    }
    if (logits) {
        K->loss[kind](m, n, y, ldy, with_labels ? NULL : t, ldt, with_labels ? labels : NULL, scale,
                      with_weight ? weight : NULL, delta, loss, y, ldy, dy, ld_dy);
        for (ptrdiff_t i = 0; i < m && with_p; i++)
            expect(same_bits(at(y, i * ldy), at(p, i * ldp), n), "other bits with p in place of y");
        expect_gaps(y, m, n, ldy);
    }
    release();
}

static void test_losses(void)
{
    for (int kind = 0; kind < NN_LOSS_COUNT; kind++)
        for (int s = 0; s < N_WIDTHS; s++)
            for (int mode = 0; mode < 16; mode++) {
                const int with_labels = kind == NN_SOFTMAX_CROSS_ENTROPY && mode & 1;
                const ptrdiff_t m = mode == 5 || s == 0 ? 2 * K->vl + 1 : 1 + mode % 4;
                check_loss(kind, m, widths[s], with_labels, mode & 2, mode & 4, mode & 8, mode % 5 == 4 ? 1e4 : 4);
            }
    for (int kind = 0; kind < NN_LOSS_COUNT; kind++)
        for (ptrdiff_t n = 1; n < 2 * K->vl + 2; n++) {
            void *y = random_array(n, 0, 1), *t = random_array(n, 0, 1), *dy = array(n);
            double loss = 0;
            about("%s of NaN, width %ld", losses[kind], (long)n);
            put(y, n / 2, NAN);
            K->loss[kind](1, n, y, n, t, n, NULL, 1, NULL, 1, &loss, NULL, 0, dy, n);
            expect(isnan(loss), "hides it in the loss");
            /* The sign of NaN is one; the loss is what stops the step. */
            expect(kind == NN_ABSOLUTE_ERROR || isnan(get(dy, n / 2)), "hides it in the gradient");
            release();
        }
}
