/* Activations y = act(z) and their gradients dz = dy * act'(z) on runs of n numbers; exp and log of runs.
 *
 * A line below is one activation; the macros put the loop around it: two vectors at a time, whose dependent chains
 * run side by side, then the rest by masked vectors. A lane's arithmetic is the same in all of them. */

#ifndef NN_MAP
#define NN_MAP

#define SIXTH (1 / (real)6)
#define SELU_SLOPE ((real)1.05070098735548049342)
#define SELU_DEPTH ((real)1.75809934084737685994)      /* times its alpha, 1.6732632423543772848 */

/* y = f(z, alpha) */
#define ACTIVATION(name, expression)                                                                                 \
    nn_inline vec NAME(name##_of)(vec z, vec alpha)                                                                  \
    {                                                                                                                \
        (void)alpha;                                                                                                 \
        return expression;                                                                                           \
    }                                                                                                                \
    static void NAME(activation_##name)(ptrdiff_t n, const void *z_, void *y_, double alpha_)                        \
    {                                                                                                                \
        const real *z = z_;                                                                                          \
        real *y = y_;                                                                                                \
        const vec alpha = v_set1((real)alpha_);                                                                      \
        ptrdiff_t i = 0;                                                                                             \
        for (; i + 2 * VL <= n; i += 2 * VL) {                                                                       \
            const vec y0 = NAME(name##_of)(v_load(z + i), alpha);                                                    \
            const vec y1 = NAME(name##_of)(v_load(z + i + VL), alpha);                                               \
            v_store(y + i, y0);                                                                                      \
            v_store(y + i + VL, y1);                                                                                 \
        }                                                                                                            \
        for (; i < n; i += VL) {                                                                                     \
            const ptrdiff_t lanes = n - i < VL ? n - i : VL;                                                         \
            v_store_n(y + i, NAME(name##_of)(v_load_n(z + i, lanes), alpha), lanes);                                 \
        }                                                                                                            \
    }

/* dz = f(a, dy, alpha), `a` the name of the run that f needs besides dy: z or y */
#define ACTIVATION_BACKWARD(name, a, expression)                                                                     \
    nn_inline vec NAME(name##_backward_of)(vec a, vec dy, vec alpha)                                                 \
    {                                                                                                                \
        (void)alpha;                                                                                                 \
        return expression;                                                                                           \
    }                                                                                                                \
    static void NAME(activation_##name##_backward)(ptrdiff_t n, const void *z, const void *y, const void *dy_,       \
                                                   void *dz_, double alpha_)                                         \
    {                                                                                                                \
        const real *from = a, *dy = dy_;                                                                             \
        real *dz = dz_;                                                                                              \
        const vec alpha = v_set1((real)alpha_);                                                                      \
        ptrdiff_t i = 0;                                                                                             \
        (void)y, (void)z;                                                                                            \
        for (; i + 2 * VL <= n; i += 2 * VL) {                                                                       \
            const vec dz0 = NAME(name##_backward_of)(v_load(from + i), v_load(dy + i), alpha);                       \
            const vec dz1 = NAME(name##_backward_of)(v_load(from + i + VL), v_load(dy + i + VL), alpha);             \
            v_store(dz + i, dz0);                                                                                    \
            v_store(dz + i + VL, dz1);                                                                               \
        }                                                                                                            \
        for (; i < n; i += VL) {                                                                                     \
            const ptrdiff_t lanes = n - i < VL ? n - i : VL;                                                         \
            const vec dz0 = NAME(name##_backward_of)(v_load_n(from + i, lanes), v_load_n(dy + i, lanes), alpha);     \
            v_store_n(dz + i, dz0, lanes);                                                                           \
        }                                                                                                            \
    }

#endif

static void NAME(activation_linear)(ptrdiff_t n, const void *z, void *y, double alpha)
{
    (void)alpha;
    if (y != z) memmove(y, z, (size_t)n * sizeof(real));
}

static void NAME(activation_linear_backward)(ptrdiff_t n, const void *z, const void *y, const void *dy, void *dz,
                                             double alpha)
{
    (void)z, (void)y, (void)alpha;
    if (dz != dy) memmove(dz, dy, (size_t)n * sizeof(real));
}

ACTIVATION(sigmoid, v_sigmoid(z))
ACTIVATION_BACKWARD(sigmoid, y, v_mul(dy, v_mul(y, v_sub(v_set1(1), y))))

ACTIVATION(tanh, v_tanh(z))
ACTIVATION_BACKWARD(tanh, y, v_mul(dy, v_fnma(y, y, v_set1(1))))

/* The comparisons are false for NaN: a NaN gives NaN and passes the gradient on, as in PyTorch. */
ACTIVATION(relu, v_max(v_zero(), z))
ACTIVATION_BACKWARD(relu, y, v_select(v_le(y, v_zero()), v_zero(), dy))

ACTIVATION(leaky_relu, v_select(v_lt(v_zero(), z), z, v_mul(alpha, z)))
ACTIVATION_BACKWARD(leaky_relu, y, v_select(v_lt(v_zero(), y), dy, v_mul(alpha, dy)))

/* elu: z above 0, alpha (e^z - 1) below, where the derivative alpha e^z is y + alpha. */
ACTIVATION(elu, v_select(v_lt(v_zero(), z), z, v_mul(alpha, v_expm1(v_min(v_zero(), z)))))
ACTIVATION_BACKWARD(elu, y, v_select(v_lt(v_zero(), y), dy, v_mul(dy, v_add(y, alpha))))

/* gelu: z Phi(z) = max(z, 0) - |z| Phi(-|z|), which keeps the relative accuracy of the tail. The density, which may
 * be tiny, is multiplied last: |z| * ratio is about 0.4. */
nn_inline vec NAME(gelu)(vec z)
{
    vec x = v_abs(z), p, q;
    const vec density = v_normal_tail(&x, &p, &q);
    return v_fnma(v_div(v_mul(x, p), q), density, v_max(v_zero(), z));
}

/* Phi(z) + z density / sqrt(2 pi), where Phi(z) is Phi(-|z|) below 0 and 1 - Phi(-|z|) above. */
nn_inline vec NAME(gelu_derivative)(vec z)
{
    vec x = v_abs(z), p, q;
    const vec density = v_normal_tail(&x, &p, &q);
    const vec half = v_set1((real)0.5);
    const vec odd = v_sub(v_mul(x, v_set1(INV_SQRT_2PI)), v_div(p, q));
    return v_fma(v_copysign(density, z), odd, v_add(half, v_copysign(half, z)));
}

ACTIVATION(gelu, NAME(gelu)(z))
ACTIVATION_BACKWARD(gelu, z, v_mul(dy, NAME(gelu_derivative)(z)))

/* silu: z sigmoid(z). Cut off where the sigmoid has become 0, z gives 0 for -inf. */
nn_inline vec NAME(silu)(vec z)
{
    const vec bounded = v_max(v_set1(-(REAL_BIAS + 1) * LN2), z);
    return v_div(bounded, v_add(v_set1(1), v_exp_brief(v_neg(bounded))));
}

/* s + z s (1 - s); z is cut off where s (1 - s) is 0, so that infinity gives no NaN. */
nn_inline vec NAME(silu_derivative)(vec z)
{
    const vec bound = v_set1((REAL_BIAS + 1) * LN2);
    const vec s = v_sigmoid(z);
    z = v_max(v_neg(bound), v_min(bound, z));
    return v_fma(v_mul(z, s), v_sub(v_set1(1), s), s);
}

ACTIVATION(silu, NAME(silu)(z))
ACTIVATION_BACKWARD(silu, z, v_mul(dy, NAME(silu_derivative)(z)))

/* softplus: log(1 + e^z) without overflow. */
nn_inline vec NAME(softplus)(vec z)
{
    return v_add(v_max(v_zero(), z), v_log1p_unit(v_exp_brief(v_neg(v_abs(z)))));
}

ACTIVATION(softplus, NAME(softplus)(z))
ACTIVATION_BACKWARD(softplus, z, v_mul(dy, v_sigmoid(z)))

/* relu6, PyTorch's hardtanh from 0 to 6: constant, with derivative 0, at both ends. */
ACTIVATION(relu6, v_min(v_set1(6), v_max(v_zero(), z)))
ACTIVATION_BACKWARD(relu6, y, v_select(mask_or(v_le(y, v_zero()), v_le(v_set1(6), y)), v_zero(), dy))

/* hard_sigmoid: relu6(z + 3) / 6, computed from the nearer end: (z + 3) / 6 would already round to 1 at the number
 * before 3, and the derivative, which is 0 from 3 on, could not be told from y. Times the rounded 1/6, 3 is 1/2. */
nn_inline vec NAME(hard_sigmoid)(vec z)
{
    const vec t = v_mul(v_max(v_zero(), v_sub(v_set1(3), v_abs(z))), v_set1(SIXTH));
    return v_select(v_lt(v_zero(), z), v_sub(v_set1(1), t), t);
}

ACTIVATION(hard_sigmoid, NAME(hard_sigmoid)(z))
ACTIVATION_BACKWARD(hard_sigmoid, y, v_select(mask_or(v_le(y, v_zero()), v_le(v_set1(1), y)), v_zero(),
                                              v_mul(dy, v_set1(SIXTH))))

/* hard_swish: z relu6(z + 3) / 6. Cut off at -3, z gives 0 for -inf. Times the rounded 1/6, 6 is 1. */
nn_inline vec NAME(hard_swish)(vec z)
{
    const vec bounded = v_max(v_set1(-3), z);
    return v_mul(bounded, v_mul(v_min(v_set1(6), v_add(bounded, v_set1(3))), v_set1(SIXTH)));
}

/* 0 up to -3, 1 from 3 on and z/3 + 1/2 between: as PyTorch's, it jumps at both ends. */
nn_inline vec NAME(hard_swish_derivative)(vec z)
{
    const vec between = v_fma(z, v_set1(1 / (real)3), v_set1((real)0.5));
    return v_select(v_le(z, v_set1(-3)), v_zero(), v_select(v_le(v_set1(3), z), v_set1(1), between));
}

ACTIVATION(hard_swish, NAME(hard_swish)(z))
ACTIVATION_BACKWARD(hard_swish, z, v_mul(dy, NAME(hard_swish_derivative)(z)))

/* selu: a multiple of elu (Klambauer et al. 2017). */
ACTIVATION(selu, v_select(v_lt(v_zero(), z), v_mul(v_set1(SELU_SLOPE), z),
                          v_mul(v_set1(SELU_DEPTH), v_expm1(v_min(v_zero(), z)))))
ACTIVATION_BACKWARD(selu, y, v_mul(dy, v_select(v_lt(v_zero(), y), v_set1(SELU_SLOPE), v_add(y, v_set1(SELU_DEPTH)))))

/* mish: z tanh(softplus(z)) = z n / (n + 2) with n = e (e + 2), e = exp(z); nothing cancels. In e, z is cut off where
 * the quotient has become 1, and everywhere where e is 0, so that -inf gives 0. */
nn_inline vec NAME(mish)(vec z)
{
    const vec bounded = v_max(v_set1(-REAL_BIAS * LN2), z);
    const vec e = v_exp_brief(v_min(v_set1(TANH_IS_ONE), bounded));
    const vec n = v_mul(e, v_add(e, v_set1(2)));
    return v_mul(bounded, v_div(n, v_add(n, v_set1(2))));
}

/* n / d + 4 z (n - e) / d^2, d = n + 2. */
nn_inline vec NAME(mish_derivative)(vec z)
{
    z = v_max(v_set1(-REAL_BIAS * LN2), v_min(v_set1(TANH_IS_ONE), z));
    const vec e = v_exp_brief(z);
    const vec n = v_mul(e, v_add(e, v_set1(2)));
    const vec inverse = v_div(v_set1(1), v_add(n, v_set1(2)));
    const vec rest = v_mul(v_mul(v_set1(4), v_fma(e, e, e)), inverse);
    return v_mul(inverse, v_fma(z, rest, n));
}

ACTIVATION(mish, NAME(mish)(z))
ACTIVATION_BACKWARD(mish, z, v_mul(dy, NAME(mish_derivative)(z)))

static void NAME(exp_run)(ptrdiff_t n, const void *x_, void *y_)
{
    const real *x = x_;
    real *y = y_;
    for (ptrdiff_t i = 0; i < n; i += VL) {
        const ptrdiff_t lanes = n - i < VL ? n - i : VL;
        v_store_n(y + i, v_exp(v_load_n(x + i, lanes)), lanes);
    }
}

static void NAME(log_run)(ptrdiff_t n, const void *x_, void *y_)
{
    const real *x = x_;
    real *y = y_;
    for (ptrdiff_t i = 0; i < n; i += VL) {
        const ptrdiff_t lanes = n - i < VL ? n - i : VL;
        v_store_n(y + i, v_log(v_load_n(x + i, lanes)), lanes);
    }
}
