/* Batch-reduce GEMM on one register tile: C[m x n] (+)= sum_i A_i[m x k] B_i[k x n], then bias and relu.
 *
 *   for each product i:  for p < k:  load one or two vectors of B[p, :];  for each row: acc += broadcast(A[row, p]) * B
 *
 * A is read in place by strides (rows of activations with a_col = 1, columns with a_row = 1), B is a panel of one or
 * two vectors. The m x n sums stay in registers, so every height m is compiled by itself with its loops unrolled.
 * All heights sum in the same order: the bits of C do not depend on how the rows were cut into tiles.
 *
 * Rows of A and C that are not evenly spaced (pixels of several rows of an image) are given by a list of places.
 *
 * Tile sizes leave registers for one row of B and a broadcast of A: 16 registers carry 6 x 2 sums, 32 carry 14 x 2
 * (AVX-512) or 12 x 2 (NEON, whose fused multiply-adds take two cycles' worth of independent sums less).
 */
#ifndef NN_TILE_HEIGHTS
#define NN_TILE_HEIGHTS
#define NN_UP_TO_1(X, V) X(1, V)
#define NN_UP_TO_2(X, V) NN_UP_TO_1(X, V) X(2, V)
#define NN_UP_TO_3(X, V) NN_UP_TO_2(X, V) X(3, V)
#define NN_UP_TO_4(X, V) NN_UP_TO_3(X, V) X(4, V)
#define NN_UP_TO_5(X, V) NN_UP_TO_4(X, V) X(5, V)
#define NN_UP_TO_6(X, V) NN_UP_TO_5(X, V) X(6, V)
#define NN_UP_TO_7(X, V) NN_UP_TO_6(X, V) X(7, V)
#define NN_UP_TO_8(X, V) NN_UP_TO_7(X, V) X(8, V)
#define NN_UP_TO_9(X, V) NN_UP_TO_8(X, V) X(9, V)
#define NN_UP_TO_10(X, V) NN_UP_TO_9(X, V) X(10, V)
#define NN_UP_TO_11(X, V) NN_UP_TO_10(X, V) X(11, V)
#define NN_UP_TO_12(X, V) NN_UP_TO_11(X, V) X(12, V)
#define NN_UP_TO_13(X, V) NN_UP_TO_12(X, V) X(13, V)
#define NN_UP_TO_14(X, V) NN_UP_TO_13(X, V) X(14, V)

#if defined(NN_ISA_AVX512)
#define MR 14
#define MR_NARROW 14
#define NN_WIDE_TILES(X) NN_UP_TO_14(X, 2)
#define NN_NARROW_TILES(X) NN_UP_TO_14(X, 1)
#elif defined(NN_ISA_NEON)
#define MR 12
#define MR_NARROW 12
#define NN_WIDE_TILES(X) NN_UP_TO_12(X, 2)
#define NN_NARROW_TILES(X) NN_UP_TO_12(X, 1)
#elif defined(NN_ISA_AVX2)
#define MR 6
#define MR_NARROW 12
#define B_AHEAD 12
#define NN_WIDE_TILES(X) NN_UP_TO_6(X, 2)
#define NN_NARROW_TILES(X) NN_UP_TO_12(X, 1)
#else
#define MR 4
#define MR_NARROW 8
#define NN_WIDE_TILES(X) NN_UP_TO_4(X, 2)
#define NN_NARROW_TILES(X) NN_UP_TO_8(X, 1)
#endif

/* Rows of B that tiles of few registers, which go through it fast, ask for before they need them. */
#ifndef B_AHEAD
#define B_AHEAD 0
#endif

#define NN_MAX_ROWS (MR > MR_NARROW ? MR : MR_NARROW)

#if defined(__GNUC__)
#define NN_PREFETCH(p) __builtin_prefetch(p, 1)
#define NN_PREFETCH_TO_READ(p) __builtin_prefetch(p, 0)
#else
#define NN_PREFETCH(p) ((void)(p))
#define NN_PREFETCH_TO_READ(p) ((void)(p))
#endif
#endif

#define NR (2 * VL)

/* rows and vectors are constants wherever this is inlined, and whether a_rows and c_rows are NULL. */
nn_inline void NAME(tile)(const int rows, const int vectors, const nn_brgemm *op, const ptrdiff_t *a_rows,
                          const ptrdiff_t *c_rows, ptrdiff_t n, const real *a, const real *b, const real *bias, real *c)
{
/* Evenly spaced rows from two places on: of the distances between up to 14 rows some would not fit the general registers
 * and be loaded again for every p, which tiles of one vector have no time for. */
#define A_AT(i) (a_rows ? ap[from[i]] : (i) < half ? ap[(i) * a_row] : second[((i) - half) * a_row])
#define C_ROW(i) (c_rows ? c_rows[i] : (i) * ldc)
    const ptrdiff_t k = op->k, a_row = op->a_row, a_col = op->a_col, ldb = op->ldb, ldc = op->ldc;
    const ptrdiff_t last = n - (vectors - 1) * VL;      /* columns of the last vector */
    const int half = (rows + 1) / 2;
    vec acc[NN_MAX_ROWS][2];
    ptrdiff_t from[NN_MAX_ROWS];    /* in registers */

    NN_UNROLL
    for (int i = 0; i < rows; i++) from[i] = a_rows ? a_rows[i] : 0;
    /* C is needed only at the end; asking for it now hides its latency behind the sums. Its second line, too, where it may
     * come from memory, which a C to be added to does not, and the sums take long enough. */
    NN_UNROLL
    for (int i = 0; i < rows; i++) NN_PREFETCH(c + C_ROW(i));
    if (vectors == 2 && VL * sizeof(real) == 64 && !op->accumulate && op->count * k >= 16) {
        NN_UNROLL
        for (int i = 0; i < rows; i++) NN_PREFETCH(c + C_ROW(i) + VL);
    }
    NN_UNROLL
    for (int i = 0; i < rows; i++) {
        NN_UNROLL
        for (int j = 0; j < vectors; j++) acc[i][j] = v_zero();
    }

    for (ptrdiff_t q = 0; q < op->count; q++) {
        const real *ap = a + (op->a_offset ? op->a_offset[q] : 0), *second = ap + half * a_row;
        const real *bp = b + q * op->b_step;
        for (ptrdiff_t p = 0; p < k; p++) {
            vec row[2];
            NN_UNROLL
            for (int j = 0; j < vectors; j++) row[j] = v_load(bp + j * VL);
            if (B_AHEAD > 0) NN_PREFETCH_TO_READ(bp + B_AHEAD * ldb);
            NN_UNROLL
            for (int i = 0; i < rows; i++) {
                const vec x = v_set1(A_AT(i));
                NN_UNROLL
                for (int j = 0; j < vectors; j++) acc[i][j] = v_fma(x, row[j], acc[i][j]);
            }
            ap += a_col;
            second += a_col;
            bp += ldb;
        }
    }

    if (op->accumulate) {
        NN_UNROLL
        for (int i = 0; i < rows; i++) {
            NN_UNROLL
            for (int j = 0; j < vectors; j++) {
                const real *at = c + C_ROW(i) + j * VL;
                acc[i][j] = v_add(acc[i][j], j + 1 < vectors || last == VL ? v_load(at) : v_load_n(at, last));
            }
        }
    }
    if (bias) {
        NN_UNROLL
        for (int j = 0; j < vectors; j++) {
            const vec shift = v_load(bias + j * VL);
            NN_UNROLL
            for (int i = 0; i < rows; i++) acc[i][j] = v_add(acc[i][j], shift);
        }
    }
    if (op->relu) {
        NN_UNROLL
        for (int i = 0; i < rows; i++) {
            NN_UNROLL
            for (int j = 0; j < vectors; j++) acc[i][j] = v_max(v_zero(), acc[i][j]);   /* nan comes through */
        }
    }
    /* Where rows follow one another the next ones write over what is too much of a vector: but for the last rows whole
     * vectors may be stored, which takes a fraction of the time. */
    const ptrdiff_t whole = last == VL ? rows : !c_rows && ldc == n ? rows - (vectors * VL + n - 1) / n + 1 : 0;
    NN_UNROLL
    for (int i = 0; i < rows; i++) {
        NN_UNROLL
        for (int j = 0; j < vectors; j++) {
            real *at = c + C_ROW(i) + j * VL;
            if (j + 1 < vectors || i < whole) v_store(at, acc[i][j]);
            else v_store_n(at, acc[i][j], last);
        }
    }
#undef A_AT
#undef C_ROW
}

#define TILE(M, V) \
    static void NAME(tile_##M##x##V)(const nn_brgemm *op, ptrdiff_t n, const real *a, const real *b, \
                                     const real *bias, real *c) \
    { \
        NAME(tile)(M, V, op, NULL, NULL, n, a, b, bias, c); \
    }
NN_WIDE_TILES(TILE)
NN_NARROW_TILES(TILE)
#undef TILE
#define TILE(M, V) \
    static void NAME(scattered_##M##x##V)(const nn_brgemm *op, const ptrdiff_t *a_rows, const ptrdiff_t *c_rows, \
                                          ptrdiff_t n, const real *a, const real *b, const real *bias, real *c) \
    { \
        NAME(tile)(M, V, op, a_rows, c_rows, n, a, b, bias, c); \
    }
NN_WIDE_TILES(TILE)
#undef TILE

static void NAME(brgemm)(const nn_brgemm *op, ptrdiff_t m, ptrdiff_t n, const void *a, const void *b, const void *bias,
                         void *c)
{
    typedef void (*tile_fn)(const nn_brgemm *, ptrdiff_t, const real *, const real *, const real *, real *);
#define TILE(M, V) NAME(tile_##M##x##V),
    static const tile_fn wide[] = {NN_WIDE_TILES(TILE)};
    static const tile_fn narrow[] = {NN_NARROW_TILES(TILE)};
#undef TILE
    (n > VL ? wide[m - 1] : narrow[m - 1])(op, n, a, b, bias, c);
}

static void NAME(brgemm_scattered)(const nn_brgemm *op, const ptrdiff_t *a_rows, const ptrdiff_t *c_rows, ptrdiff_t m,
                                   ptrdiff_t n, const void *a, const void *b, const void *bias, void *c)
{
    typedef void (*tile_fn)(const nn_brgemm *, const ptrdiff_t *, const ptrdiff_t *, ptrdiff_t, const real *, const real *,
                            const real *, real *);
#define TILE(M, V) NAME(scattered_##M##x##V),
    static const tile_fn wide[] = {NN_WIDE_TILES(TILE)};
#undef TILE
    wide[m - 1](op, a_rows, c_rows, n, a, b, bias, c);
}
