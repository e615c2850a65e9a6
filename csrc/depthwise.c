/* Convolution of every channel by itself: y[i, c] = sum_t x_t[i, c] w[t, c], pixels i in a row, taps t.
 *
 * A vector holds channels of one pixel. Two vectors of four pixels are summed together: enough independent sums to keep
 * the multipliers busy, and a load of w serves four pixels. In kernel rows of three or five neighbours a load of x serves
 * all the pixels that the vector is a tap of, too, and columns beyond the image are passed over: pixels at its sides took
 * longer by themselves. Where all rows of a 3 x 3 kernel lie inside, a load serves two lines: then x comes from L2 twice
 * instead of three times, and half of its loads may cross a line of L1 (NumPy's arrays begin 16 bytes behind one) without
 * being what is waited for.
 */

#define PIXELS 4
/* Of the rows of x under a line of pixels, for as many channels at a time as leave them in L1: 25 taps read each so often
 * that it pays, nine do not. */
#define L1_BYTES 24576
/* What 32 registers hold at once, or 16: vectors of two lines, or of a gradient's rows of five taps; taps of a gradient, and
 * rows of three. */
#if defined(NN_ISA_AVX512) || defined(NN_ISA_NEON)
#define VECTORS_OF_PAIR 2
#define VECTORS_OF_FIVE 2
#define TAPS 9
#define TRIPLES 3
#else
#define VECTORS_OF_PAIR 1
#define VECTORS_OF_FIVE 1
#define TAPS 6
#define TRIPLES 1
#endif

/* Pixels from one to the next of y, if the taps are rows of `run` neighbours and that is 1 or 2; else 0. */
static int NAME(stride_of_runs)(const nn_depthwise *op, int run)
{
    if (op->taps == 0 || op->taps % run != 0) return 0;
    const ptrdiff_t spacing = op->x_offset[1] - op->x_offset[0];
    for (ptrdiff_t t = 0; t < op->taps; t++) {
        if (t % run != 0 && (op->x_offset[t] - op->x_offset[t - 1] != spacing || op->row[t] != op->row[t - 1] + 1)) return 0;
    }
    return op->x_step == spacing ? 1 : op->x_step == 2 * spacing ? 2 : 0;
}

nn_inline void NAME(depthwise_store)(int accumulate, int relu, int whole, ptrdiff_t n, vec sum, real *y)
{
    if (accumulate) sum = v_add(sum, whole ? v_load(y) : v_load_n(y, n));
    if (relu) sum = v_max(v_zero(), sum);       /* nan comes through */
    if (whole) v_store(y, sum);
    else v_store_n(y, sum, n);
}

/* pixels, vectors, run and stride, see stride_of_runs, are constants wherever this is inlined. lo, hi: columns of x, from
 * the first pixel's first tap on, that there are; n: channels in the last vector. */
nn_inline void NAME(depthwise_block)(const int pixels, const int vectors, const int run, const int stride, const int ldw,
                                     const nn_depthwise *op, ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t n, const real *x,
                                     const real *w, const real *bias, real *y)
{
    vec sum[PIXELS][2];
    /* Stores to y might change *op, for all that the compiler knows. */
    const ptrdiff_t step = op->x_step, y_step = op->y_step, taps = op->taps;
    const int accumulate = op->accumulate, relu = op->relu;
    NN_UNROLL
    for (int v = 0; v < vectors; v++) {
        const vec start = bias ? v_load(bias + v * VL) : v_zero();
        NN_UNROLL
        for (int i = 0; i < pixels; i++) sum[i][v] = start;
    }
    for (ptrdiff_t t = 0; stride > 0 && t < taps; t += run) {
        const real *at = x + op->x_offset[t], *from = w + op->row[t] * ldw;
        const ptrdiff_t spacing = stride == 2 ? step / 2 : step;
        vec tap[5][2];
        NN_UNROLL
        for (int s = 0; s < run; s++) {
            NN_UNROLL
            for (int v = 0; v < vectors; v++) tap[s][v] = v_load(from + s * ldw + v * VL);
        }
        NN_UNROLL
        for (int j = 0; j < (pixels - 1) * stride + run; j++) {
            NN_UNROLL
            for (int v = 0; v < vectors; v++) {
                if (j < lo || j >= hi) continue;
                vec a = v + 1 < vectors || n == VL ? v_load(at + v * VL) : v_load_n(at + v * VL, n);
                NN_IN_REGISTER(a);
                NN_UNROLL
                for (int i = 0; i < pixels; i++) {
                    const int s = j - i * stride;
                    if (s >= 0 && s < run) sum[i][v] = v_fma(a, tap[s][v], sum[i][v]);
                }
            }
            at += spacing;
        }
    }
    for (ptrdiff_t t = 0; stride == 0 && t < taps; t++) {
        /* One pixel's address from the last one's: computed singly they took as long as the sums. */
        const real *at = x + op->x_offset[t], *from = w + op->row[t] * ldw;
        vec tap[2];
        NN_UNROLL
        for (int v = 0; v < vectors; v++) tap[v] = v_load(from + v * VL);
        NN_UNROLL
        for (int i = 0; i < pixels; i++) {
            NN_UNROLL
            for (int v = 0; v < vectors; v++) {
                const real *p = at + v * VL;
                sum[i][v] = v_fma(v + 1 < vectors || n == VL ? v_load(p) : v_load_n(p, n), tap[v], sum[i][v]);
            }
            at += step;
        }
    }
    NN_UNROLL
    for (int i = 0; i < pixels; i++) {
        NN_UNROLL
        for (int v = 0; v < vectors; v++)
            NAME(depthwise_store)(accumulate, relu, v + 1 < vectors || n == VL, n, sum[i][v], y + i * y_step + v * VL);
    }
}

/* Whether lines of pixels share rows of x with their neighbours: all taps of 3 x 3, and stride 1. With stride 2 two lines
 * share one row of five: that gained nothing, and lost where pixels fall into few sets of L1. */
static int NAME(lines_share)(const nn_depthwise *op)
{
    return op->taps == 9 && op->rows == 9 && NAME(stride_of_runs)(op, 3) == 1
           && op->x_offset[3] - op->x_offset[0] == op->x_line && op->x_offset[6] - op->x_offset[3] == op->x_line;
}

/* The same of two lines, see lines_share. */
nn_inline void NAME(depthwise_pair)(const int pixels, const int vectors, const int ldw, const nn_depthwise *op,
                                    ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t n, const real *x, const real *w,
                                    const real *bias, real *y)
{
    vec sum[2][PIXELS][2];
    const ptrdiff_t step = op->x_step, line_step = op->x_line, y_step = op->y_step, y_line = op->y_line;
    const int accumulate = op->accumulate, relu = op->relu;
    NN_UNROLL
    for (int v = 0; v < vectors; v++) {
        const vec start = bias ? v_load(bias + v * VL) : v_zero();
        NN_UNROLL
        for (int i = 0; i < pixels; i++) sum[0][i][v] = sum[1][i][v] = start;
    }
    x += op->x_offset[0];
    NN_UNROLL
    for (int q = 0; q < 4; q++) {       /* rows of x: kernel row q of the first line, q - 1 of the second */
        vec tap[2][3][2];
        NN_UNROLL
        for (int line = 0; line < 2; line++) {
            const int r = q - line;
            NN_UNROLL
            for (int s = 0; s < 3; s++)
                NN_UNROLL
                for (int v = 0; v < vectors; v++)
                    if (r >= 0 && r < 3) tap[line][s][v] = v_load(w + (3 * r + s) * ldw + v * VL);
        }
        NN_UNROLL
        for (int j = 0; j < pixels + 2; j++) {
            NN_UNROLL
            for (int v = 0; v < vectors; v++) {
                if (j < lo || j >= hi) continue;
                const real *p = x + j * step + v * VL;
                vec a = v + 1 < vectors || n == VL ? v_load(p) : v_load_n(p, n);
                NN_IN_REGISTER(a);
                NN_UNROLL
                for (int line = 0; line < 2; line++) {
                    const int r = q - line;
                    NN_UNROLL
                    for (int i = 0; i < pixels; i++) {
                        const int s = j - i;
                        if (r >= 0 && r < 3 && s >= 0 && s < 3) sum[line][i][v] = v_fma(a, tap[line][s][v], sum[line][i][v]);
                    }
                }
            }
        }
        x += line_step;
    }
    NN_UNROLL
    for (int line = 0; line < 2; line++) {
        NN_UNROLL
        for (int i = 0; i < pixels; i++) {
            NN_UNROLL
            for (int v = 0; v < vectors; v++)
                NAME(depthwise_store)(accumulate, relu, v + 1 < vectors || n == VL, n, sum[line][i][v],
                                      y + line * y_line + i * y_step + v * VL);
        }
    }
}

nn_inline void NAME(depthwise_vectors)(const int lines, const int pixels, const int vectors, const int run,
                                       const int stride, const int ldw, const nn_depthwise *op, ptrdiff_t lo,
                                       ptrdiff_t hi, ptrdiff_t n, const real *x, const real *w, const real *bias, real *y)
{
    if (lines == 1) NAME(depthwise_block)(pixels, vectors, run, stride, ldw, op, lo, hi, n, x, w, bias, y);
    else if (vectors <= VECTORS_OF_PAIR) NAME(depthwise_pair)(pixels, vectors, ldw, op, lo, hi, n, x, w, bias, y);
    else {
        NAME(depthwise_pair)(pixels, 1, ldw, op, lo, hi, VL, x, w, bias, y);
        NAME(depthwise_pair)(pixels, 1, ldw, op, lo, hi, n, x + VL, w + VL, bias ? bias + VL : NULL, y + VL);
    }
}

/* All channels of a few pixels, panel by panel: their lines of x are next to each other. */
nn_inline void NAME(depthwise_pixels)(const int lines, const int pixels, const int run, const int stride,
                                      const nn_depthwise *op, ptrdiff_t i, ptrdiff_t channels, const real *x, const real *w,
                                      const real *bias, real *y)
{
    const ptrdiff_t before = -op->column - i * stride;
    const ptrdiff_t lo = op->columns > 0 ? before : 0, hi = op->columns > 0 ? before + op->columns : PTRDIFF_MAX;
    ptrdiff_t c = 0;
    x += i * op->x_step;
    y += i * op->y_step;
    for (; c + NR <= channels; c += NR)
        NAME(depthwise_vectors)(lines, pixels, 2, run, stride, NR, op, lo, hi, VL, x + c, w + c * op->rows,
                                bias ? bias + c : NULL, y + c);
    if (channels - c > VL)
        NAME(depthwise_vectors)(lines, pixels, 2, run, stride, NR, op, lo, hi, channels - c - VL, x + c, w + c * op->rows,
                                bias ? bias + c : NULL, y + c);
    else if (channels > c)
        NAME(depthwise_vectors)(lines, pixels, 1, run, stride, VL, op, lo, hi, channels - c, x + c, w + c * op->rows,
                                bias ? bias + c : NULL, y + c);
}

nn_inline void NAME(depthwise_lines)(const int lines, const int run, const int stride, const nn_depthwise *op,
                                     ptrdiff_t pixels, ptrdiff_t channels, const real *x, const real *w,
                                     const real *bias, real *y)
{
    ptrdiff_t i = 0;
    for (; i + PIXELS <= pixels; i += PIXELS)
        NAME(depthwise_pixels)(lines, PIXELS, run, stride, op, i, channels, x, w, bias, y);
    for (; i + 2 <= pixels; i += 2) NAME(depthwise_pixels)(lines, 2, run, stride, op, i, channels, x, w, bias, y);
    if (i < pixels) NAME(depthwise_pixels)(lines, 1, run, stride, op, i, channels, x, w, bias, y);
}

/* Some channels of all pixels. */
static void NAME(depthwise_channels)(const nn_depthwise *op, int run, int stride, ptrdiff_t pixels, ptrdiff_t channels,
                                     const real *x, const real *w, const real *bias, real *y)
{
    ptrdiff_t lines = op->lines;
    for (; lines >= 2 && NAME(lines_share)(op); lines -= 2) {
        NAME(depthwise_lines)(2, 3, 1, op, pixels, channels, x, w, bias, y);
        x += 2 * op->x_line;
        y += 2 * op->y_line;
    }
    for (; lines > 0; lines--) {
        if (stride == 0) NAME(depthwise_lines)(1, 1, 0, op, pixels, channels, x, w, bias, y);
        else if (run == 3 && stride == 1) NAME(depthwise_lines)(1, 3, 1, op, pixels, channels, x, w, bias, y);
        else if (run == 3) NAME(depthwise_lines)(1, 3, 2, op, pixels, channels, x, w, bias, y);
        else if (run == 5 && stride == 1) NAME(depthwise_lines)(1, 5, 1, op, pixels, channels, x, w, bias, y);
        else NAME(depthwise_lines)(1, 5, 2, op, pixels, channels, x, w, bias, y);
        x += op->x_line;
        y += op->y_line;
    }
}

static void NAME(depthwise)(const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels, const void *x_, const void *w_,
                            const void *bias_, void *y_)
{
    const real *x = x_, *w = w_, *bias = bias_;
    real *y = y_;
    nn_depthwise turned;
    if (op->columns == 0 && pixels < PIXELS && op->lines > pixels) {    /* one line of many pixels, not many of one */
        turned = *op;
        turned.x_step = op->x_line, turned.x_line = op->x_step;
        turned.y_step = op->y_line, turned.y_line = op->y_step;
        turned.lines = pixels, pixels = op->lines;
        op = &turned;
    }
    int run = op->columns > 0 ? op->run : 3, stride = NAME(stride_of_runs)(op, run);
    if (stride == 0) run = 5, stride = NAME(stride_of_runs)(op, run);
    ptrdiff_t some = channels;
    if (run == 5 && stride > 0) {
        const ptrdiff_t fit = L1_BYTES / (ptrdiff_t)sizeof(real) / ((op->taps / run + 1) * pixels * stride) / NR * NR;
        if (fit > 0) some = fit;
    }
    for (ptrdiff_t c = 0; c < channels; c += some)
        NAME(depthwise_channels)(op, run, stride, pixels, channels - c < some ? channels - c : some, x + c,
                                 w + c * op->rows, bias ? bias + c : NULL, y + c);
}

/* The gradient of a few taps, whose sums over all the pixels are in registers: of two vectors of channels, which share
 * lines of x and dy, and of nine or six taps, as registers allow.
 * n: channels in the last vector. */
nn_inline void NAME(depthwise_taps)(const int taps, const int vectors, const nn_depthwise *op, ptrdiff_t first,
                                    ptrdiff_t lines, ptrdiff_t pixels, ptrdiff_t n, const real *x, const real *dy,
                                    real *dw)
{
    vec sum[TAPS][2];
    const real *at[TAPS];
    real *to[TAPS];
    NN_UNROLL
    for (int t = 0; t < taps; t++) {
        at[t] = x + op->x_offset[first + t];
        to[t] = dw + op->row[first + t] * vectors * VL;
        NN_UNROLL
        for (int v = 0; v < vectors; v++) sum[t][v] = v_load(to[t] + v * VL);
    }
    for (ptrdiff_t line = 0; line < lines; line++) {
        for (ptrdiff_t i = 0; i < pixels; i++) {
            NN_UNROLL
            for (int v = 0; v < vectors; v++) {
                const int whole = v + 1 < vectors || n == VL;
                const real *from = dy + line * op->y_line + i * op->y_step + v * VL;
                const vec g = whole ? v_load(from) : v_load_n(from, n);
                NN_UNROLL
                for (int t = 0; t < taps; t++) {
                    const real *p = at[t] + line * op->x_line + i * op->x_step + v * VL;
                    sum[t][v] = v_fma(whole ? v_load(p) : v_load_n(p, n), g, sum[t][v]);
                }
            }
        }
    }
    NN_UNROLL
    for (int t = 0; t < taps; t++)
        NN_UNROLL
        for (int v = 0; v < vectors; v++) v_store(to[t] + v * VL, sum[t][v]);
}

/* From one column of x to the next: what was dy of its tap s is that of tap s + 1. */
nn_inline void NAME(depthwise_next)(const int run, const int vectors, vec g[5][2])
{
    NN_UNROLL
    for (int s = run - 1; s > 0; s--)
        NN_UNROLL
        for (int v = 0; v < vectors; v++) g[s][v] = g[s - 1][v];
}

nn_inline void NAME(depthwise_load)(const int vectors, ptrdiff_t n, const real *from, vec to[2])
{
    NN_UNROLL
    for (int v = 0; v < vectors; v++) to[v] = v + 1 < vectors || n == VL ? v_load(from + v * VL) : v_load_n(from + v * VL, n);
}

/* What a column of x adds to taps s_lo..s_hi, every `apart`-th, of each kernel row: one load for all of them. g[s]: dy of the
 * pixel that it is tap s of. */
nn_inline void NAME(depthwise_column)(const int run, const int rows, const int vectors, const int s_lo, const int s_hi,
                                      const int apart, ptrdiff_t n, const real *const at[3], ptrdiff_t column, vec g[5][2],
                                      vec sum[9][2])
{
    NN_UNROLL
    for (int r = 0; r < rows; r++) {
        vec a[2];
        NAME(depthwise_load)(vectors, n, at[r] + column, a);
        NN_UNROLL
        for (int v = 0; v < vectors; v++) {
            NN_IN_REGISTER(a[v]);
            NN_UNROLL
            for (int s = s_lo; s < s_hi; s += apart) sum[run * r + s][v] = v_fma(a[v], g[s][v], sum[run * r + s][v]);
        }
    }
}

#undef READ_AHEAD
#if defined(__GNUC__)
#define READ_AHEAD(p) __builtin_prefetch(p, 0, 2)
#else
#define READ_AHEAD(p) ((void)(p))
#endif

/* Ask for the panel's piece of a pixel of the next line: pieces lie too far apart for the processor to guess. */
nn_inline void NAME(depthwise_ahead)(const int vectors, const real *pixel)
{
    READ_AHEAD(pixel);
    if (vectors > 1) READ_AHEAD(pixel + VL);
}

/* The gradient of a few kernel rows of `run` neighbours, by columns of x: dy stays in registers for the columns that it
 * meets. At least (run - 1) / stride pixels. ldw: channels of the panel. */
nn_inline void NAME(depthwise_runs)(const int run, const int rows, const int vectors, const int stride, const int ahead,
                                    ptrdiff_t ldw, const nn_depthwise *op, ptrdiff_t first, ptrdiff_t lines,
                                    ptrdiff_t pixels, ptrdiff_t n, const real *x, const real *dy, real *dw)
{
    vec sum[9][2], g[5][2];
    const ptrdiff_t spacing = op->x_step / stride, y_step = op->y_step;
    const real *at[3];
    NN_UNROLL
    for (int r = 0; r < rows; r++) at[r] = x + op->x_offset[first + run * r];
    NN_UNROLL
    for (int t = 0; t < run * rows; t++) NAME(depthwise_load)(vectors, VL, dw + op->row[first + t] * ldw, sum[t]);
    for (ptrdiff_t line = 0; line < lines; line++) {
        /* Columns before the last tap of the first pixel, columns that all taps meet, and those behind the last pixel. */
        NN_UNROLL
        for (int j = 0; j < run - 1; j++) {
            if (j > 0) NAME(depthwise_next)(run, vectors, g);
            if (j % stride == 0) NAME(depthwise_load)(vectors, n, dy + j / stride * y_step, g[0]);
            NAME(depthwise_column)(run, rows, vectors, j % stride, j + 1, stride, n, at, j * spacing, g, sum);
        }
        for (ptrdiff_t i = (run - 1) / stride; i < pixels; i++) {
            if (ahead) {
                NAME(depthwise_ahead)(vectors, at[rows - 1] + op->x_line + i * stride * spacing);
                NAME(depthwise_ahead)(vectors, dy + op->y_line + i * y_step);
            }
            NAME(depthwise_next)(run, vectors, g);
            NAME(depthwise_load)(vectors, n, dy + i * y_step, g[0]);
            NAME(depthwise_column)(run, rows, vectors, 0, run, stride, n, at, i * stride * spacing, g, sum);
            if (stride == 2) {
                NAME(depthwise_next)(run, vectors, g);
                NAME(depthwise_column)(run, rows, vectors, 1, run, stride, n, at, (2 * i + 1) * spacing, g, sum);
            }
        }
        NN_UNROLL
        for (int j = 0; j < run - stride; j++) {
            NAME(depthwise_next)(run, vectors, g);
            NAME(depthwise_column)(run, rows, vectors, j + stride, run, stride, n, at, (pixels * stride + j) * spacing, g,
                                   sum);
        }
        NN_UNROLL
        for (int r = 0; r < rows; r++) at[r] += op->x_line;
        dy += op->y_line;
    }
    NN_UNROLL
    for (int t = 0; t < run * rows; t++)
        NN_UNROLL
        for (int v = 0; v < vectors; v++) v_store(dw + op->row[first + t] * ldw + v * VL, sum[t][v]);
}

/* The same of all kernel rows, as many vectors at a time as registers hold. */
nn_inline void NAME(depthwise_run_panel)(const int run, const int vectors, const int stride, const int ahead,
                                         const nn_depthwise *op, ptrdiff_t lines, ptrdiff_t pixels, ptrdiff_t n,
                                         const real *x, const real *dy, real *dw)
{
    const int rows = run == 3 ? TRIPLES : 1, some = run == 5 && vectors > VECTORS_OF_FIVE ? VECTORS_OF_FIVE : vectors;
    NN_UNROLL
    for (int v = 0; v < vectors; v += some) {
        const ptrdiff_t own = v + some < vectors ? VL : n;
        ptrdiff_t t = 0;
        for (; t + rows * run <= op->taps; t += rows * run)
            NAME(depthwise_runs)(run, rows, some, stride, ahead, vectors * VL, op, t, lines, pixels, own, x + v * VL,
                                 dy + v * VL, dw + v * VL);
        for (; t < op->taps; t += run)
            NAME(depthwise_runs)(run, 1, some, stride, ahead, vectors * VL, op, t, lines, pixels, own, x + v * VL,
                                 dy + v * VL, dw + v * VL);
    }
}

nn_inline void NAME(depthwise_panel)(const int run, const int vectors, const int stride, const int ahead,
                                     const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t n, const real *x, const real *dy,
                                     real *dw)
{
    const int runs = stride > 0 && pixels >= (run - 1) / stride;
    /* Kernels that take several passes over x take them while a line is in L1. */
    const ptrdiff_t lines = op->taps <= TAPS ? op->lines : 1;
    for (ptrdiff_t line = 0; line < op->lines; line += lines, x += op->x_line, dy += op->y_line) {
        if (runs) {
            NAME(depthwise_run_panel)(run, vectors, stride, ahead, op, lines, pixels, n, x, dy, dw);
            continue;
        }
        ptrdiff_t t = 0;
        for (; t + TAPS <= op->taps; t += TAPS) NAME(depthwise_taps)(TAPS, vectors, op, t, lines, pixels, n, x, dy, dw);
        for (; t + 3 <= op->taps; t += 3) NAME(depthwise_taps)(3, vectors, op, t, lines, pixels, n, x, dy, dw);
        for (; t < op->taps; t++) NAME(depthwise_taps)(1, vectors, op, t, lines, pixels, n, x, dy, dw);
    }
}

nn_inline void NAME(depthwise_panels)(const int run, const int stride, const int ahead, const nn_depthwise *op,
                                      ptrdiff_t pixels, ptrdiff_t channels, const real *x, const real *dy, real *dw)
{
    ptrdiff_t c = 0;
    for (; c + NR <= channels; c += NR)
        NAME(depthwise_panel)(run, 2, stride, ahead, op, pixels, VL, x + c, dy + c, dw + c * op->rows);
    if (channels - c > VL)
        NAME(depthwise_panel)(run, 2, stride, ahead, op, pixels, channels - c - VL, x + c, dy + c, dw + c * op->rows);
    else if (channels > c)
        NAME(depthwise_panel)(run, 1, stride, ahead, op, pixels, channels - c, x + c, dy + c, dw + c * op->rows);
}

static void NAME(depthwise_gradient)(const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels, const void *x,
                                     const void *dy, void *dw)
{
    int run = 3, stride = NAME(stride_of_runs)(op, run);
    if (stride == 0) run = 5, stride = NAME(stride_of_runs)(op, run);
    if (stride == 0) NAME(depthwise_panels)(1, 0, 0, op, pixels, channels, x, dy, dw);
    else if (run == 3 && stride == 1 && op->ahead) NAME(depthwise_panels)(3, 1, 1, op, pixels, channels, x, dy, dw);
    else if (run == 3 && stride == 1) NAME(depthwise_panels)(3, 1, 0, op, pixels, channels, x, dy, dw);
    else if (run == 3) NAME(depthwise_panels)(3, 2, 0, op, pixels, channels, x, dy, dw);
    else if (stride == 1) NAME(depthwise_panels)(5, 1, 0, op, pixels, channels, x, dy, dw);
    else NAME(depthwise_panels)(5, 2, 0, op, pixels, channels, x, dy, dw);
}
