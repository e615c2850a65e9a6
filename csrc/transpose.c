/* dst[j, i] = src[i, j] for a tile, in squares that fit the registers, and parts of squares at the edges. */

#undef SQUARE

#if defined(NN_ISA_AVX2) || defined(NN_ISA_AVX512)

/* AVX-512 keeps the 256-bit squares: moving memory, not shuffling, is the limit. A square may be a part of one: rows and
 * cols say how much of it there is. */
#if REAL_BITS == 32

#define SQUARE 8
typedef __m256 NAME(square_row);

/* Rows i and i + 4 share a register, so that 128-bit lanes are crossed by the loads alone. */
nn_inline void NAME(turn_square)(const __m256 *r, __m256 *turned)
{
    __m256 s[8];
    for (int h = 0; h < 8; h += 4) {
        s[h] = _mm256_unpacklo_ps(r[h], r[h + 1]);
        s[h + 1] = _mm256_unpackhi_ps(r[h], r[h + 1]);
        s[h + 2] = _mm256_unpacklo_ps(r[h + 2], r[h + 3]);
        s[h + 3] = _mm256_unpackhi_ps(r[h + 2], r[h + 3]);
        turned[h] = _mm256_shuffle_ps(s[h], s[h + 2], 0x44);
        turned[h + 1] = _mm256_shuffle_ps(s[h], s[h + 2], 0xee);
        turned[h + 2] = _mm256_shuffle_ps(s[h + 1], s[h + 3], 0x44);
        turned[h + 3] = _mm256_shuffle_ps(s[h + 1], s[h + 3], 0xee);
    }
}

nn_inline void NAME(transpose_square)(const real *src, ptrdiff_t src_ld, real *dst, ptrdiff_t dst_ld)
{
    __m256 r[8], turned[8];
    for (int i = 0; i < 4; i++) {
        const real *low = src + i * src_ld, *high = low + 4 * src_ld;
        r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
        r[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low + 4)), _mm_loadu_ps(high + 4), 1);
    }
    NAME(turn_square)(r, turned);
    NN_UNROLL
    for (int j = 0; j < 8; j++) _mm256_storeu_ps(dst + j * dst_ld, turned[j]);
}

nn_inline void NAME(pair_rows)(const __m256 *row, __m256 *r)
{
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(row[i], row[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(row[i], row[i + 4], 0x31);
    }
}

#else

#define SQUARE 4
typedef __m256d NAME(square_row);

nn_inline void NAME(turn_square)(const __m256d *r, __m256d *turned)
{
    for (int h = 0; h < 4; h += 2) {
        turned[h] = _mm256_unpacklo_pd(r[h], r[h + 1]);
        turned[h + 1] = _mm256_unpackhi_pd(r[h], r[h + 1]);
    }
}

nn_inline void NAME(transpose_square)(const real *src, ptrdiff_t src_ld, real *dst, ptrdiff_t dst_ld)
{
    __m256d r[4], turned[4];
    for (int i = 0; i < 2; i++) {
        const real *low = src + i * src_ld, *high = low + 2 * src_ld;
        r[i] = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(low)), _mm_loadu_pd(high), 1);
        r[i + 2] = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(low + 2)), _mm_loadu_pd(high + 2), 1);
    }
    NAME(turn_square)(r, turned);
    NN_UNROLL
    for (int j = 0; j < 4; j++) _mm256_storeu_pd(dst + j * dst_ld, turned[j]);
}

nn_inline void NAME(pair_rows)(const __m256d *row, __m256d *r)
{
    for (int i = 0; i < 2; i++) {
        r[i] = _mm256_permute2f128_pd(row[i], row[i + 2], 0x20);
        r[i + 2] = _mm256_permute2f128_pd(row[i], row[i + 2], 0x31);
    }
}

#endif

#if defined(NN_ISA_AVX2)
#define LOAD_ROW(p, n) v_load_n(p, n)
#define STORE_ROW(p, a, n) v_store_n(p, a, n)
#elif REAL_BITS == 32
#define LOAD_ROW(p, n) _mm256_maskz_loadu_ps((__mmask8)((1 << (n)) - 1), p)
#define STORE_ROW(p, a, n) _mm256_mask_storeu_ps(p, (__mmask8)((1 << (n)) - 1), a)
#else
#define LOAD_ROW(p, n) _mm256_maskz_loadu_pd((__mmask8)((1 << (n)) - 1), p)
#define STORE_ROW(p, a, n) _mm256_mask_storeu_pd(p, (__mmask8)((1 << (n)) - 1), a)
#endif

nn_inline void NAME(transpose_part)(ptrdiff_t rows, ptrdiff_t cols, const real *src, ptrdiff_t src_ld, real *dst,
                                    ptrdiff_t dst_ld)
{
    NAME(square_row) row[SQUARE], r[SQUARE], turned[SQUARE];
    NN_UNROLL
    for (int i = 0; i < SQUARE; i++) row[i] = LOAD_ROW(src + (i < rows ? i : 0) * src_ld, i < rows ? cols : 0);
    NAME(pair_rows)(row, r);
    NAME(turn_square)(r, turned);
    NN_UNROLL
    for (int j = 0; j < SQUARE; j++) {
        if (j < cols) STORE_ROW(dst + j * dst_ld, turned[j], rows);
    }
}

#undef LOAD_ROW
#undef STORE_ROW

#elif defined(NN_ISA_NEON)

#if REAL_BITS == 32

#define SQUARE 4

nn_inline void NAME(transpose_square)(const real *src, ptrdiff_t src_ld, real *dst, ptrdiff_t dst_ld)
{
    const float32x4x2_t low = vtrnq_f32(vld1q_f32(src), vld1q_f32(src + src_ld));
    const float32x4x2_t high = vtrnq_f32(vld1q_f32(src + 2 * src_ld), vld1q_f32(src + 3 * src_ld));
    for (int i = 0; i < 2; i++) {
        vst1q_f32(dst + i * dst_ld, vcombine_f32(vget_low_f32(low.val[i]), vget_low_f32(high.val[i])));
        vst1q_f32(dst + (i + 2) * dst_ld, vcombine_f32(vget_high_f32(low.val[i]), vget_high_f32(high.val[i])));
    }
}

#else

#define SQUARE 2

nn_inline void NAME(transpose_square)(const real *src, ptrdiff_t src_ld, real *dst, ptrdiff_t dst_ld)
{
    const float64x2_t r0 = vld1q_f64(src), r1 = vld1q_f64(src + src_ld);
    vst1q_f64(dst, vtrn1q_f64(r0, r1));
    vst1q_f64(dst + dst_ld, vtrn2q_f64(r0, r1));
}

#endif

#else

#define SQUARE 4

nn_inline void NAME(transpose_square)(const real *src, ptrdiff_t src_ld, real *dst, ptrdiff_t dst_ld)
{
    for (int j = 0; j < SQUARE; j++)
        for (int i = 0; i < SQUARE; i++)
            dst[j * dst_ld + i] = src[i * src_ld + j];
}

#endif

#if !defined(NN_ISA_AVX2) && !defined(NN_ISA_AVX512)
nn_inline void NAME(transpose_part)(ptrdiff_t rows, ptrdiff_t cols, const real *src, ptrdiff_t src_ld, real *dst,
                                    ptrdiff_t dst_ld)
{
    for (ptrdiff_t j = 0; j < cols; j++)
        for (ptrdiff_t i = 0; i < rows; i++)
            dst[j * dst_ld + i] = src[i * src_ld + j];
}
#endif

static void NAME(transpose)(ptrdiff_t rows, ptrdiff_t cols, const void *src_, ptrdiff_t src_ld, void *dst_,
                            ptrdiff_t dst_ld)
{
    const real *src = src_;
    real *dst = dst_;
    for (ptrdiff_t j = 0; j < cols; j += SQUARE) {
        const ptrdiff_t across = cols - j < SQUARE ? cols - j : SQUARE;
        ptrdiff_t i = 0;
        for (; across == SQUARE && i + SQUARE <= rows; i += SQUARE)
            NAME(transpose_square)(src + i * src_ld + j, src_ld, dst + j * dst_ld + i, dst_ld);
        for (; i < rows; i += SQUARE)
            NAME(transpose_part)(rows - i < SQUARE ? rows - i : SQUARE, across, src + i * src_ld + j, src_ld,
                                 dst + j * dst_ld + i, dst_ld);
    }
}

static void NAME(copy)(ptrdiff_t rows, ptrdiff_t cols, const void *src_, ptrdiff_t src_ld, void *dst_, ptrdiff_t dst_ld)
{
    const real *src = src_;
    real *dst = dst_;
    const ptrdiff_t whole = cols - cols % VL, rest = cols - whole;
    if (cols == VL) {       /* short rows: their loop would cost more than they do */
        for (ptrdiff_t i = 0; i < rows; i++) v_store(dst + i * dst_ld, v_load(src + i * src_ld));
        return;
    }
    for (ptrdiff_t i = 0; i < rows; i++, src += src_ld, dst += dst_ld) {
        for (ptrdiff_t j = 0; j < whole; j += VL) v_store(dst + j, v_load(src + j));
        if (rest) v_store_n(dst + whole, v_load_n(src + whole, rest), rest);
    }
}

static void NAME(take_rows)(ptrdiff_t rows, ptrdiff_t cols, const void *src_, const ptrdiff_t *index, void *dst_,
                            ptrdiff_t dst_ld)
{
    real *dst = dst_;
    const ptrdiff_t whole = cols - cols % VL, rest = cols - whole;
    const int room = dst_ld - whole >= VL;      /* whole vectors are stored in a fraction of the time */
    for (ptrdiff_t i = 0; i < rows; i++, dst += dst_ld) {
        const real *src = (const real *)src_ + index[i] * cols;
        for (ptrdiff_t j = 0; j < whole; j += VL) v_store(dst + j, v_load(src + j));
        if (!rest) continue;
        const vec last = v_load_n(src + whole, rest);
        if (room) v_store(dst + whole, last);
        else v_store_n(dst + whole, last, rest);
    }
}
