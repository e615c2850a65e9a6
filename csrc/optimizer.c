/* One optimizer step on a run of parameters w with gradients g, by PyTorch's formulas (torch.optim, single-tensor
 * form), t counting steps from 1. g stands for the gradient times u->scale, then cut to [-clip, clip].
 *
 *   sgd      no momentum (s0 NULL): w -= lr g
 *            b = momentum b + g (so b = g in the first step);  w -= lr b, or nesterov: w -= lr (g + momentum b)
 *   adam     m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
 *            w -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 *   adamw    w *= 1 - lr weight_decay, then adam
 *   rmsprop  v = rho v + (1 - rho) g^2;  d = g / (sqrt(v) + eps)
 *            w -= lr d, or with momentum: b = momentum b + d;  w -= lr b
 *   adagrad  v += g^2;  w -= lr g / (sqrt(v) + eps)
 *
 * State: sgd s0 = b or NULL; adam, adamw s0 = m, s1 = v; rmsprop s0 = v, s1 = b or NULL; adagrad s0 = v.
 *
 * The rule and the number of state slots are constants wherever the loop over a run is inlined, so each optimizer
 * gets a loop of its own without branches.
 */

/* The scalars of a step, spread over vectors once a run. */
typedef struct NAME(step) {
    vec lr, scale, low, high, momentum, beta1, one_minus_beta1, beta2, one_minus_beta2, root_scale, eps, keep;
    int nesterov;
} NAME(step);

nn_inline NAME(step) NAME(step_of)(const nn_update *u)
{
    /* Without a clip the bounds are infinite: cutting at them changes nothing and needs no branch. */
    const double clip = u->clip > 0 ? u->clip : INFINITY;
    NAME(step) s;
    s.lr = v_set1((real)u->lr);
    s.scale = v_set1((real)u->scale);
    s.low = v_set1((real)-clip);
    s.high = v_set1((real)clip);
    s.momentum = v_set1((real)u->momentum);
    s.eps = v_set1((real)u->eps);
    s.nesterov = u->nesterov;
    s.keep = v_set1(1);
    s.root_scale = v_set1(1);
    s.beta1 = s.one_minus_beta1 = s.beta2 = s.one_minus_beta2 = v_zero();
    return s;
}

nn_inline NAME(step) NAME(adam_step_of)(const nn_update *u, double weight_decay)
{
    NAME(step) s = NAME(step_of)(u);
    s.lr = v_set1((real)(u->lr / u->correction1));
    s.beta1 = v_set1((real)u->beta1);
    s.one_minus_beta1 = v_set1((real)(1 - u->beta1));
    s.beta2 = v_set1((real)u->beta2);
    s.one_minus_beta2 = v_set1((real)(1 - u->beta2));
    s.root_scale = v_set1((real)(1 / sqrt(u->correction2)));
    s.keep = v_set1((real)(1 - u->lr * weight_decay));
    return s;
}

/* The order of the operands lets NaN through: a broken gradient must not become a small one. */
nn_inline vec NAME(gradient)(const NAME(step) *s, vec g)
{
    return v_min(s->high, v_max(s->low, v_mul(g, s->scale)));
}

/* One vector of parameters: returns the new w; a and b are its s0 and s1, used as far as there are slots. */
nn_inline vec NAME(updated)(const int kind, const int slots, const NAME(step) *s, vec w, vec g, vec *a, vec *b)
{
    vec d;
    switch (kind) {
    case NN_SGD:
        if (slots == 0)
            return v_fnma(s->lr, g, w);
        *a = v_fma(s->momentum, *a, g);
        return v_fnma(s->lr, s->nesterov ? v_fma(s->momentum, *a, g) : *a, w);
    case NN_ADAM:
        *a = v_fma(s->beta1, *a, v_mul(s->one_minus_beta1, g));
        *b = v_fma(s->beta2, *b, v_mul(s->one_minus_beta2, v_mul(g, g)));
        d = v_div(*a, v_fma(v_sqrt(*b), s->root_scale, s->eps));
        return v_fnma(s->lr, d, v_mul(w, s->keep));
    case NN_RMSPROP:
        *a = v_fma(s->beta2, *a, v_mul(s->one_minus_beta2, v_mul(g, g)));
        d = v_div(g, v_add(v_sqrt(*a), s->eps));
        if (slots == 2)
            d = *b = v_fma(s->momentum, *b, d);
        return v_fnma(s->lr, d, w);
    default: /* NN_ADAGRAD */
        *a = v_fma(g, g, *a);
        return v_fnma(s->lr, v_div(g, v_add(v_sqrt(*a), s->eps)), w);
    }
}

/* Two vectors an iteration, so that one's square root and division overlap the other's. */
nn_inline void NAME(update_run)(const int kind, const int slots, const NAME(step) *s, ptrdiff_t n, real *w,
                                const real *g, real *s0, real *s1)
{
    ptrdiff_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        vec x[2], a[2], b[2];
        for (int k = 0; k < 2; k++) {
            const ptrdiff_t j = i + k * VL;
            a[k] = slots > 0 ? v_load(s0 + j) : v_zero();
            b[k] = slots > 1 ? v_load(s1 + j) : v_zero();
            x[k] = NAME(updated)(kind, slots, s, v_load(w + j), NAME(gradient)(s, v_load(g + j)), &a[k], &b[k]);
        }
        for (int k = 0; k < 2; k++) {
            const ptrdiff_t j = i + k * VL;
            v_store(w + j, x[k]);
            if (slots > 0)
                v_store(s0 + j, a[k]);
            if (slots > 1)
                v_store(s1 + j, b[k]);
        }
    }
    for (; i < n; i += VL) {
        const ptrdiff_t m = n - i < VL ? n - i : VL;
        vec a = slots > 0 ? v_load_n(s0 + i, m) : v_zero(), b = slots > 1 ? v_load_n(s1 + i, m) : v_zero();
        const vec g_i = NAME(gradient)(s, v_load_n(g + i, m));
        v_store_n(w + i, NAME(updated)(kind, slots, s, v_load_n(w + i, m), g_i, &a, &b), m);
        if (slots > 0)
            v_store_n(s0 + i, a, m);
        if (slots > 1)
            v_store_n(s1 + i, b, m);
    }
}

static void NAME(update_sgd)(ptrdiff_t n, void *w, const void *g, void *s0, void *s1, const nn_update *u)
{
    const NAME(step) s = NAME(step_of)(u);
    (void)s1;
    if (s0 == NULL)
        NAME(update_run)(NN_SGD, 0, &s, n, w, g, NULL, NULL);
    else
        NAME(update_run)(NN_SGD, 1, &s, n, w, g, s0, NULL);
}

static void NAME(update_adam)(ptrdiff_t n, void *w, const void *g, void *s0, void *s1, const nn_update *u)
{
    const NAME(step) s = NAME(adam_step_of)(u, 0);
    NAME(update_run)(NN_ADAM, 2, &s, n, w, g, s0, s1);
}

static void NAME(update_adamw)(ptrdiff_t n, void *w, const void *g, void *s0, void *s1, const nn_update *u)
{
    const NAME(step) s = NAME(adam_step_of)(u, u->weight_decay);
    NAME(update_run)(NN_ADAM, 2, &s, n, w, g, s0, s1);
}

static void NAME(update_rmsprop)(ptrdiff_t n, void *w, const void *g, void *s0, void *s1, const nn_update *u)
{
    NAME(step) s = NAME(step_of)(u);
    s.beta2 = v_set1((real)u->rho);
    s.one_minus_beta2 = v_set1((real)(1 - u->rho));
    if (s1 == NULL)
        NAME(update_run)(NN_RMSPROP, 1, &s, n, w, g, s0, NULL);
    else
        NAME(update_run)(NN_RMSPROP, 2, &s, n, w, g, s0, s1);
}

static void NAME(update_adagrad)(ptrdiff_t n, void *w, const void *g, void *s0, void *s1, const nn_update *u)
{
    const NAME(step) s = NAME(step_of)(u);
    (void)s1;
    NAME(update_run)(NN_ADAGRAD, 1, &s, n, w, g, s0, NULL);
}
