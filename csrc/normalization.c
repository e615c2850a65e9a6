/* Rows of channels against numbers per channel: what batch normalization is made of. */

/* n lanes at p, mostly all of them. */
#undef AT
#undef PUT
#define AT(p, n) ((n) == VL ? v_load(p) : v_load_n(p, n))
#define PUT(p, a, n) do { if ((n) == VL) v_store(p, a); else v_store_n(p, a, n); } while (0)

/* y[j] = sum_i (x[i, j] - mean[j]) * (dy ? dy[i, j] : x[i, j] - mean[j]), i ascending. */
static void NAME(column_moment)(ptrdiff_t rows, ptrdiff_t columns, const void *x_, ptrdiff_t ldx, const void *dy_,
                                ptrdiff_t ld_dy, const void *mean_, void *y_)
{
    const real *x = x_, *dy = dy_, *mean = mean_;
    real *y = y_;
    for (ptrdiff_t j = 0; j < columns; j += VL) {
        const ptrdiff_t n = columns - j < VL ? columns - j : VL;
        const vec center = AT(mean + j, n);
        vec sum = v_zero();
        for (ptrdiff_t i = 0; i < rows; i++) {
            const vec a = v_sub(AT(x + i * ldx + j, n), center);
            sum = v_fma(a, dy ? AT(dy + i * ld_dy + j, n) : a, sum);
        }
        PUT(y + j, sum, n);
    }
}

/* y[i, j] (+)= x[i, j] * p[j] + r[j] + (z ? z[i, j] * q[j] : 0). y may be x or z. */
static void NAME(scale_columns)(ptrdiff_t rows, ptrdiff_t columns, const void *x_, ptrdiff_t ldx, const void *p_,
                                const void *r_, const void *z_, ptrdiff_t ldz, const void *q_, int accumulate,
                                void *y_, ptrdiff_t ldy)
{
    const real *x = x_, *p = p_, *r = r_, *z = z_, *q = q_;
    real *y = y_;
    for (ptrdiff_t i = 0; i < rows; i++) {
        for (ptrdiff_t j = 0; j < columns; j += VL) {
            const ptrdiff_t n = columns - j < VL ? columns - j : VL;
            vec a = v_fma(AT(x + j, n), AT(p + j, n), AT(r + j, n));
            if (z) a = v_fma(AT(z + j, n), AT(q + j, n), a);
            if (accumulate) a = v_add(a, AT(y + j, n));
            PUT(y + j, a, n);
        }
        x += ldx;
        y += ldy;
        if (z) z += ldz;
    }
}
