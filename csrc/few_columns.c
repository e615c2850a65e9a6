/* brgemm for a few columns: the last ones of a matrix, or all of a layer of few outputs, which leave most lanes of a
 * tile's vectors empty. The lanes hold several rows of C instead, a group of 4 or 8 lanes for each:
 *
 *   for p < k:  for each vector of rows:  acc += (A[row, p] in the row's group) * (B[p, :] in every group)
 *
 * A's numbers come four p at a time where its rows are contiguous (forward), and for a vector's rows at once where its
 * columns are (a kernel's gradient). Two rows of 8 lanes do not pay for the former. Any number of rows. An element's sum
 * has the order, and so the bits, of brgemm's.
 */

#undef FEW_BY_ROW
#undef FEW_BY_COLUMN
#if defined(NN_ISA_AVX512)
#define FEW_BY_ROW 4
#define FEW_BY_COLUMN (VL / 2)
#elif defined(NN_ISA_AVX2) && REAL_BITS == 32
#define FEW_BY_ROW 4
#define FEW_BY_COLUMN 4
#else
#define FEW_BY_ROW 0
#define FEW_BY_COLUMN 0
#endif

#if FEW_BY_ROW

/* Vectors of sums that leave registers for four of B and two of A. */
#undef FEW_SUMS
#if defined(NN_ISA_AVX512)
#define FEW_SUMS 12
#else
#define FEW_SUMS 8
#endif

/* `group` is a constant wherever these are inlined: 4 or 8 lanes. Only AVX-512 has vectors of twice 8. */

/* Lane l is p[l % group]. */
nn_inline vec NAME(repeat)(const int group, const real *p)
{
#if REAL_BITS == 64
    (void)group;
    return _mm512_broadcast_f64x4(_mm256_loadu_pd(p));
#elif defined(NN_ISA_AVX2)
    (void)group;
    return _mm256_broadcast_ps((const __m128 *)(const void *)p);
#else
    return group == 8 ? _mm512_broadcast_f32x8(_mm256_loadu_ps(p)) : _mm512_broadcast_f32x4(_mm_loadu_ps(p));
#endif
}

/* Lane l is p[l / group], of n numbers: zero behind them. */
nn_inline vec NAME(spread)(const int group, const real *p, ptrdiff_t n)
{
    const vec part = n < VL / group ? v_load_n(p, n) : v_zero();
    const int whole = n >= VL / group;
#if REAL_BITS == 64
    const __m128d two = whole ? _mm_loadu_pd(p) : _mm512_castpd512_pd128(part);
    (void)group;
    return _mm512_permutevar_pd(_mm512_broadcast_f64x2(two), _mm512_set_epi64(2, 2, 2, 2, 0, 0, 0, 0));
#elif defined(NN_ISA_AVX2)
    const __m128 two = whole ? _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(const void *)p))
                             : _mm256_castps256_ps128(part);
    (void)group;
    return _mm256_permutevar_ps(_mm256_castpd_ps(_mm256_broadcastsd_pd(_mm_castps_pd(two))),
                                _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0));
#else
    if (group == 8) {
        const __m128 two = whole ? _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(const void *)p))
                                 : _mm512_castps512_ps128(part);
        return _mm512_permutevar_ps(_mm512_castpd_ps(_mm512_broadcastsd_pd(_mm_castps_pd(two))),
                                    _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0));
    }
    const __m128 four = whole ? _mm_loadu_ps(p) : _mm512_castps512_ps128(part);
    return _mm512_permutevar_ps(_mm512_broadcast_f32x4(four),
                                _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0));
#endif
}

/* Four numbers of each row of a vector, n of them there to be read; of rows behind the last one that one's. */
nn_inline vec NAME(four_of_rows)(const real *p, ptrdiff_t ld, ptrdiff_t rows, ptrdiff_t n)
{
#define ROW(g) (p + ((g) < rows ? (g) : rows - 1) * ld)
#if REAL_BITS == 64
#define FOUR(g) (n >= 4 ? _mm256_loadu_pd(ROW(g)) : _mm512_castpd512_pd256(v_load_n(ROW(g), n)))
    return _mm512_insertf64x4(_mm512_castpd256_pd512(FOUR(0)), FOUR(1), 1);
#elif defined(NN_ISA_AVX2)
#define FOUR(g) (n >= 4 ? _mm_loadu_ps(ROW(g)) : _mm256_castps256_ps128(v_load_n(ROW(g), n)))
    return _mm256_insertf128_ps(_mm256_castps128_ps256(FOUR(0)), FOUR(1), 1);
#else
#define FOUR(g) (n >= 4 ? _mm_loadu_ps(ROW(g)) : _mm512_castps512_ps128(v_load_n(ROW(g), n)))
    const __m512 two = _mm512_insertf32x4(_mm512_castps128_ps512(FOUR(0)), FOUR(1), 1);
    return _mm512_insertf32x4(_mm512_insertf32x4(two, FOUR(2), 2), FOUR(3), 3);
#endif
#undef FOUR
#undef ROW
}

/* The first, second, third or fourth of them in all lanes of each row. */
#undef ONE_OF_FOUR
#if REAL_BITS == 64
#define ONE_OF_FOUR(a, t) _mm512_permutex_pd(a, (t) * 0x55)
#else
#define ONE_OF_FOUR(a, t) MM(permute)(a, (t) * 0x55)
#endif

/* Rows of C from their sums. */
nn_inline void NAME(finish_rows)(const int group, const nn_brgemm *op, ptrdiff_t rows, ptrdiff_t n, const real *sums,
                                 const real *bias, real *c)
{
    const vec shift = bias ? v_load(bias) : v_zero();
    for (ptrdiff_t i = 0; i < rows; i++, c += op->ldc) {
        vec sum = v_load_n(sums + i * group, n);
        if (op->accumulate) sum = v_add(sum, v_load_n(c, n));
        if (bias) sum = v_add(sum, shift);
        if (op->relu) sum = v_max(v_zero(), sum);   /* nan comes through */
        v_store_n(c, sum, n);
    }
}

/* `vectors` times VL / group rows; in the last vector `last` of them. */
nn_inline void NAME(few_rows)(const int group, const int vectors, const int by_column, ptrdiff_t last, const nn_brgemm *op,
                              ptrdiff_t n, const real *a, const real *b, const real *bias, real *c)
{
    const ptrdiff_t step = VL / group, k = op->k, a_row = op->a_row, a_col = op->a_col, ldb = op->ldb;
    vec acc[FEW_SUMS];
    real sums[FEW_SUMS * VL];
    NN_UNROLL
    for (int i = 0; i < vectors; i++) acc[i] = v_zero();
    for (ptrdiff_t q = 0; q < op->count; q++) {
        const real *ap = a + (op->a_offset ? op->a_offset[q] : 0);
        const real *bp = b + q * op->b_step;
        ptrdiff_t p = 0;
#define ROWS_OF(i) ((i) + 1 < vectors ? step : last)
        for (; !by_column && p + 4 <= k; p += 4, bp += 4 * ldb) {
            const vec b0 = NAME(repeat)(group, bp), b1 = NAME(repeat)(group, bp + ldb);
            const vec b2 = NAME(repeat)(group, bp + 2 * ldb), b3 = NAME(repeat)(group, bp + 3 * ldb);
            NN_UNROLL
            for (int i = 0; i < vectors; i++) {
                const vec x = NAME(four_of_rows)(ap + i * step * a_row + p, a_row, ROWS_OF(i), 4);
                acc[i] = v_fma(ONE_OF_FOUR(x, 0), b0, acc[i]);
                acc[i] = v_fma(ONE_OF_FOUR(x, 1), b1, acc[i]);
                acc[i] = v_fma(ONE_OF_FOUR(x, 2), b2, acc[i]);
                acc[i] = v_fma(ONE_OF_FOUR(x, 3), b3, acc[i]);
            }
        }
        if (!by_column && p < k) {
            NN_UNROLL
            for (int i = 0; i < vectors; i++) {
                const vec x = NAME(four_of_rows)(ap + i * step * a_row + p, a_row, ROWS_OF(i), k - p);
                acc[i] = v_fma(ONE_OF_FOUR(x, 0), NAME(repeat)(group, bp), acc[i]);
                if (p + 1 < k) acc[i] = v_fma(ONE_OF_FOUR(x, 1), NAME(repeat)(group, bp + ldb), acc[i]);
                if (p + 2 < k) acc[i] = v_fma(ONE_OF_FOUR(x, 2), NAME(repeat)(group, bp + 2 * ldb), acc[i]);
            }
        }
        for (; by_column && p < k; p++, bp += ldb) {
            const vec lanes = NAME(repeat)(group, bp);
            NN_UNROLL
            for (int i = 0; i < vectors; i++)
                acc[i] = v_fma(NAME(spread)(group, ap + p * a_col + i * step, ROWS_OF(i)), lanes, acc[i]);
        }
#undef ROWS_OF
    }
    NN_UNROLL
    for (int i = 0; i < vectors; i++) v_store(sums + i * VL, acc[i]);
    NAME(finish_rows)(group, op, (vectors - 1) * step + last, n, sums, bias, c);
}

nn_inline void NAME(few_of_group)(const int group, const int by_column, const nn_brgemm *op, ptrdiff_t m, ptrdiff_t n,
                                  const real *a, const real *b, const real *bias, real *c)
{
    const ptrdiff_t step = VL / group;
    ptrdiff_t i = 0;
    /* As long as at least a part of the last vector's rows is there. */
#define VECTORS(V) \
    for (; i + ((V) - 1) * step < m; i += (V) * step) \
        NAME(few_rows)(group, V, by_column, m - i < (V) * step ? m - i - ((V) - 1) * step : step, op, n, \
                       a + i * op->a_row, b, bias, c + i * op->ldc)
    VECTORS(FEW_SUMS);
    VECTORS(4);
    VECTORS(2);
    VECTORS(1);
#undef VECTORS
}

static void NAME(brgemm_few)(const nn_brgemm *op, ptrdiff_t m, ptrdiff_t n, const void *a, const void *b, const void *bias,
                             void *c)
{
#if FEW_BY_COLUMN > 4
    if (n > 4) {
        NAME(few_of_group)(8, 1, op, m, n, a, b, bias, c);
        return;
    }
#endif
    if (op->a_row == 1) NAME(few_of_group)(4, 1, op, m, n, a, b, bias, c);
    else NAME(few_of_group)(4, 0, op, m, n, a, b, bias, c);
}

#endif
