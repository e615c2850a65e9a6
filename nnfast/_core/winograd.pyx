"""3 x 3 convolution with stride 1 from 6 x 6 tiles of x and 4 x 4 tiles of y: 36 products a channel pair instead of 144.

    for a block of tiles, through rows and samples:     v_p, m_p stay in L2
        v = B' x B of every tile                        [36][tiles][C padded]
        for a position p of 36:     m_p = v_p u_p       a product of matrices; u = G w G', [36] packed matrices [C][K]
        y = A' m A of every tile, bias and relu

The input gradient is the same sum over dy with the kernel flipped. The kernel's gradient runs it backwards:
du_p = v_p' (A dy A')_p over all tiles of the batch, dw = G' du G.

The rounding error is about four times that of the plain sum (csrc/winograd.c says why). An element's bits depend on the
shape alone: a tile's numbers meet only in its own rows of the products.
"""
from libc.string cimport memset

from nnfast._core.convolution cimport Convolution
from nnfast._core.correlation cimport Correlation
from nnfast._core.gemm cimport multiply_rows, packed_size, panel_width, panels, round_up
from nnfast._core.kernels cimport nn_brgemm, nn_kernels, nn_winograd
from nnfast._core.window cimport Window

cdef enum:
    SIDE = 6                # of x
    POSITIONS = SIDE * SIDE
    LEAST_CHANNELS = 8
    TRANSFORMS = 176        # of a tile take as long as so many multiply-adds for every channel of x and y
    LARGE_KERNEL = 8388608  # bytes of u that the caches do not hold: reading and writing it takes
    MANY_TILES = 48         # as long as so many tiles save
    BLOCK_BYTES = 262144    # of v and m
    LEAST_TILES = 48        # in a block: they share a load of u
    MOST_TILES = 96
    GRADIENT_TILES = 48
    GRADIENT_ROWS = 64      # channels c of a gradient's tile
    SPARE = 16              # numbers between positions, which would otherwise fall into few sets of the L1 cache


cdef inline Py_ssize_t lanes(const nn_kernels *k, Py_ssize_t channels) noexcept nogil:
    """That the plain sum needs for its outputs: planar.pyx wastes none."""
    return channels if 2 * channels <= k.vl else round_up(channels, k.vl)


cdef bint suits(const nn_kernels *k, const Window *w, Py_ssize_t C, Py_ssize_t K, Py_ssize_t groups) noexcept nogil:
    """Multiply-adds of the plain sum against those of the products and, as measured, of the transforms."""
    cdef Py_ssize_t v_row = round_up(C, k.vl), m_row = round_up(K, k.vl)
    cdef double plain, minimal
    if (w.R != 3 or w.S != 3 or w.stride_h != 1 or w.stride_w != 1 or w.dilation_h != 1 or w.dilation_w != 1 or groups != 1
            or C < LEAST_CHANNELS or K < LEAST_CHANNELS or w.OH < 2 or w.OW < 2):
        return False
    plain = 9.0 * w.OH * w.OW * min(C * lanes(k, K), K * lanes(k, C))
    minimal = (36.0 * C * m_row + TRANSFORMS * (v_row + m_row)) * tiles(w.OH) * tiles(w.OW)
    return plain >= 1.15 * minimal


cdef bint pays(const nn_kernels *k, const Window *w, Py_ssize_t C, Py_ssize_t K, Py_ssize_t samples) noexcept nogil:
    """Whether it is worth its transforms in a single call for so many samples."""
    return (transformed_size(k, C, K) * k.real_size <= LARGE_KERNEL
            or samples * tiles(w.OH) * tiles(w.OW) >= MANY_TILES)


cdef Py_ssize_t transformed_size(const nn_kernels *k, Py_ssize_t C, Py_ssize_t K) noexcept nogil:
    """Of the kernel as of the flipped one."""
    return POSITIONS * max(packed_size(k, C, K), packed_size(k, K, C))


cdef void transform_kernel(const nn_kernels *k, Py_ssize_t C, Py_ssize_t K, const char *w, char *u, int part,
                           int team) noexcept nogil:
    """u of a packed kernel [9 C][K]; every team-th panel."""
    cdef Py_ssize_t size = k.real_size, j = part, width
    while j < panels(k, K):
        width = panel_width(k, K, j)
        k.winograd_kernel(C * width, w + j * k.nr * 9 * C * size, C * width, u + j * k.nr * C * size, packed_size(k, C, K))
        j += team


cdef inline Py_ssize_t tiles_at_once(const Correlation *x) noexcept nogil:
    cdef Py_ssize_t n = BLOCK_BYTES // (POSITIONS * (x.C + x.K) * x.k.real_size)
    return max(<Py_ssize_t>LEAST_TILES, min(<Py_ssize_t>MOST_TILES, n))


cdef Py_ssize_t sum_scratch(const Correlation *x) noexcept nogil:
    """Bytes of v and m."""
    cdef Py_ssize_t vl = x.k.vl
    return POSITIONS * (tiles_at_once(x) * (round_up(x.C, vl) + round_up(x.K, vl)) + 2 * SPARE) * x.k.real_size


cdef void transform_input(const nn_kernels *k, const char *x, Py_ssize_t H, Py_ssize_t W, Py_ssize_t C, Py_ssize_t row,
                          Py_ssize_t column, Py_ssize_t first, Py_ssize_t channels, char *v,
                          Py_ssize_t step) noexcept nogil:
    """The tile of one sample that begins at a pixel, or beyond the image."""
    cdef nn_winograd op
    op.first_row, op.first_column = max(-row, 0), max(-column, 0)
    op.rows, op.columns = min(H - row, SIDE), min(W - column, SIDE)
    op.row_pitch, op.pixel_pitch = W * C, C
    k.winograd_input(&op, channels, x + ((row * W + column) * C + first) * k.real_size, v, step)


cdef void sum_tiles(const Correlation *x, Py_ssize_t lo, Py_ssize_t hi, char *scratch) noexcept nogil:
    """Rows of tiles lo..hi, counted through the samples."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, most = tiles_at_once(x), unit, sample, j, n = 0, t
    cdef Py_ssize_t down = tiles(x.OH), row, column
    cdef Py_ssize_t v_row = round_up(x.C, k.vl), m_row = round_up(x.K, k.vl)
    cdef Py_ssize_t v_step = most * v_row + SPARE, m_step = most * m_row + SPARE
    cdef char *m = scratch + POSITIONS * v_step * size
    cdef char *to[MOST_TILES]
    cdef Py_ssize_t rows[MOST_TILES]
    cdef Py_ssize_t columns[MOST_TILES]
    cdef nn_winograd op
    op.row_pitch, op.pixel_pitch = x.y_row, x.y_pixel
    op.accumulate, op.relu = x.accumulate, x.relu
    for unit in range(lo, hi):
        sample = unit // down
        row = (unit - sample * down) * TILE
        for j in range(tiles(x.OW)):
            column = j * TILE
            transform_input(k, x.x + sample * x.x_sample * size, x.H, x.W, x.C, row + x.first_h, column + x.first_w, 0,
                            x.C, scratch + n * v_row * size, v_step)
            to[n] = x.y + (sample * x.y_sample + row * x.y_row + column * x.y_pixel) * size
            rows[n] = min(x.OH - row, TILE)
            columns[n] = min(x.OW - column, TILE)
            n += 1
            if n == most or (unit + 1 == hi and column + TILE >= x.OW):
                multiply(x, n, scratch, v_step, m, m_step)
                for t in range(n):
                    op.rows, op.columns = rows[t], columns[t]
                    k.winograd_output(&op, x.K, m + t * m_row * size, m_step, x.bias, to[t])
                n = 0


cdef void multiply(const Correlation *x, Py_ssize_t n, const char *v, Py_ssize_t v_step, char *m,
                   Py_ssize_t m_step) noexcept nogil:
    """m_p = v_p u_p for n tiles."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, block = packed_size(k, x.C, x.K), p, j
    cdef nn_brgemm op
    op.k = x.C
    op.count = 1
    op.a_offset = NULL
    op.b_step = 0
    op.a_row, op.a_col = round_up(x.C, k.vl), 1
    op.ldc = round_up(x.K, k.vl)
    op.accumulate = op.relu = False
    for p in range(POSITIONS):
        for j in range(panels(k, x.K)):
            op.ldb = panel_width(k, x.K, j)
            multiply_rows(k, &op, n, op.ldb, v + p * v_step * size, x.u + (p * block + j * k.nr * x.C) * size, NULL,
                          m + (p * m_step + j * k.nr) * size)


# ---------------------------------------------------------------- the kernel's gradient

cdef Py_ssize_t gradient_rows(const Convolution *c) noexcept nogil:
    """Channels c of a tile: vectors that divide those of C."""
    cdef Py_ssize_t C = round_up(c.C, c.k.vl), rows = c.k.vl, n = c.k.vl
    while n <= min(C, <Py_ssize_t>GRADIENT_ROWS):
        if C % n == 0:
            rows = n
        n += c.k.vl
    return rows


cdef Py_ssize_t gradient_scratch(const Convolution *c) noexcept nogil:
    """Bytes of v, m and the gradient of u, for tiles of at most four panels."""
    cdef Py_ssize_t rows = gradient_rows(c), columns = 4 * c.k.nr
    return POSITIONS * (GRADIENT_TILES * (rows + columns) + 3 * SPARE + rows * columns) * c.k.real_size


cdef void gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld,
                   Py_ssize_t batch, Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t lo, Py_ssize_t hi, char *to,
                   char *scratch) noexcept nogil:
    """dw for channels lo..hi of x and some panels, all taps: to[tap][panel][hi - lo][width]."""
    cdef const nn_kernels *k = c.k
    cdef const Window *w = &c.window
    cdef Py_ssize_t size = k.real_size, rows = hi - lo, columns = min(c.K - panel * k.nr, n_panels * k.nr), n = 0
    cdef Py_ssize_t v_row = round_up(rows, k.vl), m_row = round_up(columns, k.vl)
    cdef Py_ssize_t v_step = GRADIENT_TILES * v_row + SPARE, m_step = GRADIENT_TILES * m_row + SPARE
    cdef Py_ssize_t u_step = rows * m_row + SPARE, b, i, j, row, column, width
    cdef char *m = scratch + POSITIONS * v_step * size
    cdef char *du = m + POSITIONS * m_step * size
    cdef nn_winograd op
    op.row_pitch, op.pixel_pitch = w.OW * c.K, c.K
    memset(du, 0, POSITIONS * u_step * size)
    dz += panel * k.nr * size
    for b in range(batch):
        for i in range(tiles(w.OH)):
            row = i * TILE
            op.rows = min(w.OH - row, TILE)
            for j in range(tiles(w.OW)):
                column = j * TILE
                op.columns = min(w.OW - column, TILE)
                transform_input(k, x + b * x_ld * size, w.H, w.W, c.C, row - w.pad_top, column - w.pad_left, lo, rows,
                                scratch + n * v_row * size, v_step)
                k.winograd_output_backward(&op, columns, dz + (b * dz_ld + (row * w.OW + column) * c.K) * size,
                                           m + n * m_row * size, m_step)
                n += 1
                if n == GRADIENT_TILES:
                    add_products(k, n, rows, m_row, scratch, v_step, m, m_step, du, u_step)
                    n = 0
    if n > 0:
        add_products(k, n, rows, m_row, scratch, v_step, m, m_step, du, u_step)
    j = 0
    while j < m_row:
        width = min(k.nr, m_row - j)
        k.winograd_kernel_backward(rows * width, du + j * rows * size, u_step, to + j * rows * size, rows * m_row)
        j += k.nr


cdef void add_products(const nn_kernels *k, Py_ssize_t n, Py_ssize_t rows, Py_ssize_t columns, const char *v,
                       Py_ssize_t v_step, const char *m, Py_ssize_t m_step, char *du, Py_ssize_t u_step) noexcept nogil:
    """du_p += v_p' m_p over n tiles; columns: whole vectors."""
    cdef Py_ssize_t size = k.real_size, p, j
    cdef nn_brgemm op
    op.k = n
    op.count = 1
    op.a_offset = NULL
    op.b_step = 0
    op.a_row, op.a_col = 1, round_up(rows, k.vl)
    op.ldb = columns
    op.accumulate, op.relu = True, False
    for p in range(POSITIONS):
        j = 0
        while j < columns:
            op.ldc = min(k.nr, columns - j)
            multiply_rows(k, &op, rows, op.ldc, v + p * v_step * size, m + (p * m_step + j) * size, NULL,
                          du + (p * u_step + j * rows) * size)
            j += k.nr
