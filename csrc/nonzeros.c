/* Products C = A B where many numbers of A are 0: what a relu or a dropout leaves, pixels without ink, columns that mark a
 * category. First the others are listed, then
 *
 *   for each row of C:  for each number listed of its row of A:  sums[:] += number * B[its place, :]
 *
 * with up to NONZERO_VECTORS vectors of sums in registers and a part of B in L1 that serves some rows. brgemm, which fills
 * its registers with sums of several rows, reads B from L1 once for all of them; here every multiplication reads it, so
 * one takes about half as long again, and it pays to list where four in ten numbers of A are 0
 * (nnfast/_core/nonzeros.pyx).
 *
 * An element's sum has the order of brgemm's. What is left out would have added zeros: the bits are the same, unless B
 * is inf or nan there, and but for the sign of a zero that an underflow left.
 */
#ifndef NN_NONZEROS
#define NN_NONZEROS
#define NN_PANEL (NR / VL)      /* vectors */
#define NONZERO_VECTORS 8       /* of 16 registers, too: B is read from memory by the multiplication */
#define NN_NONZERO_VECTORS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#if defined(__GNUC__)
#define NN_PREFETCH_TO_L2(p) __builtin_prefetch(p, 0, 2)
#else
#define NN_PREFETCH_TO_L2(p) ((void)(p))
#endif
#endif

static ptrdiff_t NAME(list_nonzeros)(ptrdiff_t n, const void *x_, void *values_, uint16_t *places)
{
    const real *x = x_;
    real *values = values_;
    ptrdiff_t count = 0, i = 0;

#if defined(NN_ISA_AVX512) || defined(NN_ISA_AVX2)
    for (; i + VL <= n; i += VL) count += NAME(nn_nonzeros)(v_load(x + i), (int)i, values + count, places + count);
    if (i < n) count += NAME(nn_nonzeros)(v_load_n(x + i, n - i), (int)i, values + count, places + count);
#else
    for (; i < n; i++) {        /* without a branch that could not be foreseen */
        values[count] = x[i];
        places[count] = (uint16_t)i;
        count += x[i] != 0;
    }
#endif
    return count;
}

nn_inline void NAME(nonzero_row)(const int vectors, const nn_nonzeros *op, ptrdiff_t n, ptrdiff_t count,
                                 const uint16_t *places, const real *values, const real *b, const real *bias, real *sums,
                                 real *c)
{
    const ptrdiff_t ldb = op->ldb, last = n - (vectors - 1) * VL;   /* columns of the last vector */
    const real *panel[NONZERO_VECTORS];
    vec acc[NONZERO_VECTORS];

    NN_UNROLL
    for (int j = 0; j * NN_PANEL < vectors; j++) panel[j] = b + j * op->panel_step;
    NN_UNROLL
    for (int j = 0; j < vectors; j++) acc[j] = op->begins ? v_zero() : v_load(sums + j * VL);

    if (op->ahead) {
        NN_UNROLL
        for (int j = 0; j < vectors; j++) NN_PREFETCH_TO_L2(panel[j / NN_PANEL] + op->ahead + j % NN_PANEL * VL);
    }
    for (ptrdiff_t i = 0; i < count; i++) {
        const ptrdiff_t at = places[i] * ldb;
        const vec x = v_set1(values[i]);
        NN_UNROLL
        for (int j = 0; j < vectors; j++) acc[j] = v_fma(x, v_load(panel[j / NN_PANEL] + at + j % NN_PANEL * VL), acc[j]);
    }

    if (!op->ends) {
        NN_UNROLL
        for (int j = 0; j < vectors; j++) v_store(sums + j * VL, acc[j]);
        return;
    }
    NN_UNROLL
    for (int j = 0; j < vectors; j++) {
        real *at = c + j * VL;
        const int whole = j + 1 < vectors || last == VL;
        if (op->accumulate) acc[j] = v_add(acc[j], whole ? v_load(at) : v_load_n(at, last));
        if (bias) acc[j] = v_add(acc[j], v_load(bias + j * VL));
        if (op->relu) acc[j] = v_max(v_zero(), acc[j]);     /* nan comes through */
        if (whole) v_store(at, acc[j]);
        else v_store_n(at, acc[j], last);
    }
}

#define ROW(V) \
    static void NAME(nonzero_row_##V)(const nn_nonzeros *op, ptrdiff_t n, ptrdiff_t count, const uint16_t *places, \
                                      const real *values, const real *b, const real *bias, real *sums, real *c) \
    { \
        NAME(nonzero_row)(V, op, n, count, places, values, b, bias, sums, c); \
    }
NN_NONZERO_VECTORS(ROW)
#undef ROW

static void NAME(multiply_nonzeros)(const nn_nonzeros *op, ptrdiff_t n, ptrdiff_t count, const uint16_t *places,
                                    const void *values, const void *b, const void *bias, void *sums, void *c)
{
    typedef void (*row_fn)(const nn_nonzeros *, ptrdiff_t, ptrdiff_t, const uint16_t *, const real *, const real *,
                           const real *, real *, real *);
#define ROW(V) NAME(nonzero_row_##V),
    static const row_fn rows[] = {NN_NONZERO_VECTORS(ROW)};
#undef ROW
    rows[(n + VL - 1) / VL - 1](op, n, count, places, values, b, bias, sums, c);
}
