/* Losses of m rows of n outputs and their gradients, in one pass over the rows.
 *
 *   loss[i] = l(y[i, :], t[i, :]),   dy[i, :] = scale * weight[i] * dl/dy[i, :]
 *
 * weight NULL: ones. dy NULL: values only. Targets are rows of t; softmax_cross_entropy also takes one label a row
 * instead, which the elementwise losses do not: they ignore `labels`. `p` is written by the two losses on logits.
 * A row is summed in the order of its vectors, each lane by itself, then over the lanes. */

/* What is kept of a row until the logarithms of VL sums are taken in one go: loss = mass * log(sum) + linear. */
typedef struct NAME(loss_parts) {
    real sum[VL], mass[VL], linear[VL];
} NAME(loss_parts);

/* l = sum_j t_j (log(sum_k e^{z_k}) - z_j),  dl/dz = p sum(t) - t,  p = softmax(z); a label stands for t = 1 there
 * and 0 elsewhere. Terms with t_j = 0 are left out, so that a logit of -inf costs nothing where it is not asked for. */
nn_inline void NAME(softmax_cross_entropy_row)(ptrdiff_t n, const vec outside, const real *z, const real *t,
                                               int32_t label, real scale_, real *p, real *dz,
                                               NAME(loss_parts) *parts, ptrdiff_t row)
{
    const ptrdiff_t full = (n - 1) / VL * VL, lanes = n - full;
    const vec zero = v_zero();

    /* The last lanes stay in registers: a short row is nothing else. */
    const vec last = v_add(v_load_n(z + full, lanes), outside);
    vec top = last;
    for (ptrdiff_t j = 0; j < full; j += VL) top = v_max(top, v_load(z + j));
    const vec shift = v_set1(v_hmax(top));

    real *powers = p ? p : dz;
    const real label_logit = t ? 0 : z[label];      /* read before p, which may be z, is written */
    const vec last_power = v_exp_brief(v_sub(last, shift));
    const vec last_t = t ? v_load_n(t + full, lanes) : zero;
    vec sum = last_power, mass = last_t;
    vec linear = v_select(v_eq(last_t, zero), zero, v_mul(last_t, v_sub(shift, last)));
    for (ptrdiff_t j = 0; j < full; j += VL) {
        const vec below = v_sub(v_load(z + j), shift);
        const vec power = v_exp_brief(below);
        sum = v_add(sum, power);
        if (t) {
            const vec tj = v_load(t + j);
            mass = v_add(mass, tj);
            linear = v_sub(linear, v_select(v_eq(tj, zero), zero, v_mul(tj, below)));
        }
        if (powers) v_store(powers + j, power);
    }

    const real total = v_sum(sum);
    real weight = 1;
    parts->sum[row] = total;
    if (t) {
        weight = v_sum(mass);
        parts->linear[row] = v_sum(linear);
    } else {
        parts->linear[row] = v_hmax(top) - label_logit;
    }
    parts->mass[row] = weight;
    if (!powers) return;

    const vec factor = v_set1(1 / total), scale = v_set1(scale_), masses = v_set1(weight);
    for (ptrdiff_t j = 0; j < full; j += VL) {
        const vec pj = v_mul(v_load(powers + j), factor);
        if (p) v_store(p + j, pj);
        if (dz) v_store(dz + j, v_mul(scale, t ? v_sub(v_mul(pj, masses), v_load(t + j)) : pj));
    }
    const vec last_p = v_mul(last_power, factor);
    if (p) v_store_n(p + full, last_p, lanes);
    if (dz) {
        v_store_n(dz + full, v_mul(scale, v_sub(v_mul(last_p, masses), last_t)), lanes);
        if (!t) dz[label] -= scale_;
    }
}

#define SHORT (2 * VL)

/* The same for up to VL rows of SHORT numbers at most: lane r is row r, so no lane of an exponential is wasted and no
 * vector is summed across. A row's sum runs over its numbers in order, whatever rows it is taken with. */
nn_inline void NAME(softmax_cross_entropy_short)(ptrdiff_t rows, ptrdiff_t n, const real *z, ptrdiff_t ldz,
                                                 const real *t, ptrdiff_t ldt, const int32_t *labels,
                                                 const real *scale_, double *loss, real *p, ptrdiff_t ldp, real *dz,
                                                 ptrdiff_t ld_dz)
{
    real column[SHORT][VL], target[SHORT][VL], label_logit[VL], logarithm[VL], masses[VL], linears[VL];
    const vec zero = v_zero(), scale = v_load(scale_);
    vec mass = v_set1(1), linear, sum = zero;

    v_store(column[0], zero);       /* n > 0, which compilers do not know */
    for (ptrdiff_t j = 0; j < n; j++) v_store(column[j], zero);
    NAME(transpose)(rows, n, z, ldz, column, VL);
    vec top = v_load(column[0]);
    for (ptrdiff_t j = 1; j < n; j++) top = v_max(top, v_load(column[j]));
    if (t) {
        for (ptrdiff_t j = 0; j < n; j++) v_store(target[j], zero);
        NAME(transpose)(rows, n, t, ldt, target, VL);
        mass = linear = zero;
        for (ptrdiff_t j = 0; j < n; j++) {
            const vec tj = v_load(target[j]);
            mass = v_add(mass, tj);
            linear = v_add(linear, v_select(v_eq(tj, zero), zero, v_mul(tj, v_sub(top, v_load(column[j])))));
        }
    } else {
        v_store(label_logit, zero);
        for (ptrdiff_t r = 0; r < rows; r++) label_logit[r] = z[r * ldz + labels[r]];
        linear = v_sub(top, v_load(label_logit));
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        const vec power = v_exp_brief(v_sub(v_load(column[j]), top));
        v_store(column[j], power);
        sum = v_add(sum, power);
    }
    v_store(logarithm, v_log(sum));
    v_store(masses, mass);
    v_store(linears, linear);
    for (ptrdiff_t r = 0; r < rows; r++) loss[r] = (double)masses[r] * (double)logarithm[r] + (double)linears[r];

    const vec factor = v_div(v_set1(1), sum);
    for (ptrdiff_t j = 0; j < n; j++) v_store(column[j], v_mul(v_load(column[j]), factor));
    if (p) NAME(transpose)(n, rows, column, VL, p, ldp);
    if (!dz) return;
    for (ptrdiff_t j = 0; j < n; j++) {
        const vec pj = v_load(column[j]);
        v_store(column[j], v_mul(scale, t ? v_sub(v_mul(pj, mass), v_load(target[j])) : pj));
    }
    NAME(transpose)(n, rows, column, VL, dz, ld_dz);
    for (ptrdiff_t r = 0; !t && r < rows; r++) dz[r * ld_dz + labels[r]] -= scale_[r];
}

static void NAME(loss_softmax_cross_entropy)(ptrdiff_t m, ptrdiff_t n, const void *y_, ptrdiff_t ldy, const void *t_,
                                             ptrdiff_t ldt, const int32_t *labels, double scale,
                                             const double *weight, double delta, double *loss, void *p_,
                                             ptrdiff_t ldp, void *dy_, ptrdiff_t ld_dy)
{
    const real *y = y_, *t = labels ? NULL : t_;
    real *p = p_, *dy = dy_;
    const vec outside = NAME(outside)(n - (n - 1) / VL * VL, -(real)INFINITY);
    NAME(loss_parts) parts;
    real logarithm[VL];
    (void)delta;

    v_store(parts.sum, v_set1(1));
    for (ptrdiff_t i = 0; i < m; i += VL) {
        const ptrdiff_t rows = m - i < VL ? m - i : VL;
        if (n <= SHORT) {
            real scales[VL];
            v_store(scales, v_zero());
            for (ptrdiff_t r = 0; r < rows; r++) scales[r] = (real)(weight ? scale * weight[i + r] : scale);
            NAME(softmax_cross_entropy_short)(rows, n, y + i * ldy, ldy, t ? t + i * ldt : NULL, ldt,
                                              t ? NULL : labels + i, scales, loss + i,
                                              p ? p + i * ldp : NULL, ldp, dy ? dy + i * ld_dy : NULL, ld_dy);
            continue;
        }
        for (ptrdiff_t r = 0; r < rows; r++) {
            const ptrdiff_t at = i + r;
            NAME(softmax_cross_entropy_row)(n, outside, y + at * ldy, t ? t + at * ldt : NULL, t ? 0 : labels[at],
                                            (real)(weight ? scale * weight[at] : scale), p ? p + at * ldp : NULL,
                                            dy ? dy + at * ld_dy : NULL, &parts, r);
        }
        v_store(logarithm, v_log(v_load(parts.sum)));
        for (ptrdiff_t r = 0; r < rows; r++)
            loss[i + r] = (double)parts.mass[r] * (double)logarithm[r] + (double)parts.linear[r];
    }
}

/* The elementwise losses: a function gives the value and the derivative of a vector of terms, and of logits the
 * probability, and the macro puts the rows around it. Lanes beyond a row are filled with t = 0 and y = `blank`, for
 * which the value is 0. A column of single outputs is taken VL rows at a time. */
typedef struct NAME(loss_term) {
    vec value, slope, p;
} NAME(loss_term);

/* l = z (s - t) + log(1 + e^-|z|),  s = 0 for z < 0, else 1;  dl/dz = p - t,  p = sigmoid(z)
 * A term with s = t is left out, so that an infinite logit on the target's side costs nothing. */
nn_inline NAME(loss_term) NAME(sigmoid_cross_entropy_term)(vec z, vec t, vec delta)
{
    const vec one = v_set1(1), zero = v_zero();
    const vec power = v_exp_brief(v_neg(v_abs(z)));
    const vec side = v_select(v_lt(z, zero), zero, one), apart = v_sub(side, t);
    NAME(loss_term) r;
    (void)delta;
    r.p = v_div(v_max(side, power), v_add(one, power));
    r.value = v_add(v_select(v_eq(apart, zero), zero, v_mul(z, apart)), v_log1p_unit(power));
    r.slope = v_sub(r.p, t);
    return r;
}

/* l = -t log(p) - (1 - t) log(1 - p), the logarithms cut off at -100, the denominator of dl/dp = (p - t) / (p (1 - p))
 * at 1e-12, all as in PyTorch's BCELoss. */
nn_inline NAME(loss_term) NAME(binary_cross_entropy_term)(vec p, vec t, vec delta)
{
    const vec one = v_set1(1), least = v_set1(-100);
    const vec log_p = v_max(least, v_log(p)), log_q = v_max(least, v_log1p(v_neg(p)));
    NAME(loss_term) r;
    (void)delta;
    r.p = p;
    r.value = v_sub(v_mul(v_sub(t, one), log_q), v_mul(t, log_p));
    r.slope = v_div(v_sub(p, t), v_max(v_set1((real)1e-12), v_mul(p, v_sub(one, p))));
    return r;
}

/* l = (y - t)^2 */
nn_inline NAME(loss_term) NAME(squared_error_term)(vec y, vec t, vec delta)
{
    const vec d = v_sub(y, t);
    const NAME(loss_term) r = {v_mul(d, d), v_add(d, d), y};
    (void)delta;
    return r;
}

/* l = |y - t|, with slope 0 where they are equal, and nan of nan */
nn_inline NAME(loss_term) NAME(absolute_error_term)(vec y, vec t, vec delta)
{
    const vec d = v_sub(y, t), size = v_abs(d);
    const NAME(loss_term) r = {size, v_select(v_lt(v_zero(), size), v_copysign(v_set1(1), d), size), y};
    (void)delta;
    return r;
}

/* l = d^2 / 2 for |d| <= delta, delta (|d| - delta / 2) beyond; with c = |d| cut off at delta, c (|d| - c / 2). */
nn_inline NAME(loss_term) NAME(huber_term)(vec y, vec t, vec delta)
{
    const vec d = v_sub(y, t), size = v_abs(d);
    const vec c = v_min(delta, size);
    const NAME(loss_term) r = {v_mul(c, v_fnma(v_set1((real)0.5), c, size)), v_copysign(c, d), y};
    return r;
}

/* Slopes of what does not count may have overflowed, as with a target like -3.4e38 that stands for no data. */
nn_inline vec NAME(weighed)(vec slope, vec factor)
{
    return v_select(v_eq(factor, v_zero()), v_zero(), v_mul(slope, factor));
}

#ifndef ELEMENTWISE_LOSS
#define ELEMENTWISE_LOSS(name, blank, writes_p)                                                                      \
    static void NAME(loss_##name)(ptrdiff_t m, ptrdiff_t n, const void *y_, ptrdiff_t ldy, const void *t_,           \
                                  ptrdiff_t ldt, const int32_t *labels, double scale, const double *weight,          \
                                  double delta_, double *loss, void *p_, ptrdiff_t ldp, void *dy_, ptrdiff_t ld_dy)  \
    {                                                                                                                \
        const ptrdiff_t full = (n - 1) / VL * VL, lanes = n - full;                                                  \
        const vec outside = NAME(outside)(lanes, blank), delta = v_set1((real)delta_);                               \
        const int single = n == 1 && ldy == 1 && ldt == 1 && (!p_ || ldp == 1) && (!dy_ || ld_dy == 1);              \
        (void)labels;                                                                                                \
                                                                                                                     \
        for (ptrdiff_t i = 0; single && i < m; i += VL) {                                                            \
            const ptrdiff_t rows = m - i < VL ? m - i : VL;                                                          \
            real value[VL], factor[VL];                                                                              \
            const vec y = v_load_n((const real *)y_ + i, rows), t = v_load_n((const real *)t_ + i, rows);            \
            const NAME(loss_term) r = NAME(name##_term)(y, t, delta);                                                \
            v_store(value, r.value);                                                                                 \
            v_store(factor, v_set1((real)scale));                                                                    \
            for (ptrdiff_t k = 0; k < rows; k++) loss[i + k] = value[k];                                             \
            for (ptrdiff_t k = 0; weight && k < rows; k++) factor[k] = (real)(scale * weight[i + k]);                \
            if (writes_p && p_) v_store_n((real *)p_ + i, r.p, rows);                                                \
            if (dy_) v_store_n((real *)dy_ + i, NAME(weighed)(r.slope, v_load(factor)), rows);                       \
        }                                                                                                            \
        for (ptrdiff_t i = 0; !single && i < m; i++) {                                                               \
            const real *y = (const real *)y_ + i * ldy, *t = (const real *)t_ + i * ldt;                             \
            real *p = p_ && writes_p ? (real *)p_ + i * ldp : NULL, *dy = dy_ ? (real *)dy_ + i * ld_dy : NULL;      \
            const vec factor = v_set1((real)(weight ? scale * weight[i] : scale));                                   \
            const vec y_last = v_add(v_load_n(y + full, lanes), outside), t_last = v_load_n(t + full, lanes);        \
            const NAME(loss_term) last = NAME(name##_term)(y_last, t_last, delta);                                   \
            vec sum = last.value;                                                                                    \
            for (ptrdiff_t j = 0; j < full; j += VL) {                                                               \
                const NAME(loss_term) r = NAME(name##_term)(v_load(y + j), v_load(t + j), delta);                    \
                sum = v_add(sum, r.value);                                                                           \
                if (p) v_store(p + j, r.p);                                                                          \
                if (dy) v_store(dy + j, NAME(weighed)(r.slope, factor));                                             \
            }                                                                                                        \
            loss[i] = v_sum(sum);                                                                                    \
            if (p) v_store_n(p + full, last.p, lanes);                                                               \
            if (dy) v_store_n(dy + full, NAME(weighed)(last.slope, factor), lanes);                                  \
        }                                                                                                            \
    }
#endif

/* At a logit of -1e4 the probability is 0 in both precisions. */
ELEMENTWISE_LOSS(sigmoid_cross_entropy, (real)-1e4, 1)
ELEMENTWISE_LOSS(binary_cross_entropy, 0, 0)
ELEMENTWISE_LOSS(squared_error, 0, 0)
ELEMENTWISE_LOSS(absolute_error, 0, 0)
ELEMENTWISE_LOSS(huber, 0, 0)
