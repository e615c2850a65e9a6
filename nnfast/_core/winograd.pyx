"""Convolution by Winograd's minimal filtering: sums over 2 x 2 to 5 x 5 taps from 6 x 6 tiles of x and m x m tiles of y.

    for a block of tiles, through rows and samples:     v_p, m_p stay in L2
        v = B' x B of every tile                        [36][tiles][C padded]
        for a position p of 36:     m_p = v_p u_p       a product of matrices; u = G w G', [36] packed matrices [C][K]
        y = A' m A of every tile, bias and relu

So 36 products a channel pair give m x m outputs, m = 7 - taps: instead of 144 with 3 x 3 taps, of 100 with 5 x 5.

With a stride, the pixels of x at one offset of it are a phase, and meet every stride-th tap of the kernel: sums of
stride 1 over fewer taps, zeros where a phase has one less than the others. Phases are channels side by side: [36][tiles]
[phase][C], and u has a row for each.

The input gradient is the same sum over dy with the kernel flipped. The kernel's gradient runs it backwards:
du_p = v_p' (A dy A')_p over all tiles of the batch, dw = G' du G.

The rounding error is up to three times that of the plain sum (csrc/winograd.c says why). An element's bits depend on the
shape alone: a tile's numbers meet only in its own rows of the products.
"""
from libc.string cimport memset

from nnfast._core.convolution cimport Convolution
from nnfast._core.correlation cimport Correlation
from nnfast._core.gemm cimport multiply_rows, packed_size, panel_width, panels, parts, round_up
from nnfast._core.kernels cimport nn_brgemm, nn_kernels, nn_winograd
from nnfast._core.window cimport Window, first_output, last_output

cdef enum:
    SIDE = 6                # of x's tile
    POSITIONS = SIDE * SIDE
    LEAST_CHANNELS = 8
    MOST_PHASES = 16
    TRANSFORMS = 176        # of a tile take as long as so many multiply-adds for every channel of x and y
    STORED = 2              # a number of m that is stored, as long as so many multiply-adds
    LARGE_KERNEL = 8388608  # bytes of u that the caches do not hold: reading and writing it takes
    MANY_TILES = 48         # as long as so many tiles save
    BLOCK_BYTES = 262144    # of v and m
    LEAST_TILES = 48        # in a block: they share a load of u
    MOST_TILES = 96
    GRADIENT_TILES = 48
    GRADIENT_ROWS = 64      # channels c of a gradient's tile
    SPARE = 16              # numbers between positions, which would otherwise fall into few sets of the L1 cache,
    ONE_SET = 4096          # as rows do that are so many bytes apart


cdef inline double lanes(const nn_kernels *k, Py_ssize_t channels) noexcept nogil:
    """That the plain sum needs for its outputs: planar.pyx wastes none, but takes longer."""
    return 1.2 * channels if 2 * channels <= k.vl else round_up(channels, k.vl)


cdef inline Py_ssize_t phases(const Correlation *x) noexcept nogil:
    return x.step_h * x.step_w


cdef inline Py_ssize_t side(const Correlation *x) noexcept nogil:
    """Taps each way of a phase."""
    return max((x.taps_h + x.step_h - 1) // x.step_h, (x.taps_w + x.step_w - 1) // x.step_w)


cdef Py_ssize_t taps_inside(Py_ssize_t outputs, Py_ssize_t step, Py_ssize_t first, Py_ssize_t taps, Py_ssize_t spacing,
                            Py_ssize_t length) noexcept nogil:
    """Of a column of outputs, or a row: how many do not fall on zeros around the image."""
    cdef Py_ssize_t inside = 0, t
    for t in range(taps):
        inside += max(0, min(outputs, last_output(length, -first, t * spacing, step))
                      - first_output(-first, t * spacing, step))
    return inside


cdef double plain_cost(const Correlation *x) noexcept nogil:
    """Multiply-adds of the plain sum, which leaves out rows of zeros, and columns where these are many."""
    cdef double down = taps_inside(x.OH, x.step_h, x.first_h, x.taps_h, x.spacing_h, x.H), across = x.taps_w * x.OW, inside
    if x.gradient:
        inside = taps_inside(x.OW, x.step_w, x.first_w, x.taps_w, x.spacing_w, x.W)
        if 5 * inside <= 4 * across:
            across = inside
    return down * across * min(x.C * lanes(x.k, x.K), x.K * lanes(x.k, x.C))


cdef Py_ssize_t tile_of(const Correlation *x, Py_ssize_t samples) noexcept nogil:
    """Rows and columns of y that are made at once; 0 where the plain sum is faster. Its multiply-adds are compared with
    those of the products and, as measured, of the transforms. samples: of the only call that there will be, or 0, where a
    sample's bits must not depend on their number."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t tile = SIDE + 1 - side(x), n, m_row = round_up(x.K, k.vl)
    cdef double minimal
    if (x.depthwise or x.groups != 1 or tile < 2 or side(x) < 2 or max(x.step_h, x.step_w, phases(x)) > MOST_PHASES
            or phases(x) * x.C < LEAST_CHANNELS or x.K < LEAST_CHANNELS
            or (x.taps_h > 1 and x.spacing_h > 1) or (x.taps_w > 1 and x.spacing_w > 1) or x.OH < 2 or x.OW < 2):
        return 0
    n = tiles(tile, x.OH) * tiles(tile, x.OW)
    minimal = (<double>POSITIONS * (phases(x) * x.C + STORED) * m_row
               + TRANSFORMS * (phases(x) * round_up(x.C, k.vl) + m_row))
    if plain_cost(x) < (1.1 if phases(x) == 1 else 1.3) * minimal * n:     # deep products wait for u
        return 0
    # A large u must be worth while in a single call; with phases it is up to sixteen times as large as the kernel.
    if (transformed_size(x) * k.real_size > LARGE_KERNEL
            and (phases(x) > 1 or 0 < samples and samples * n < MANY_TILES)):
        return 0
    return tile


cdef Py_ssize_t transformed_size(const Correlation *x) noexcept nogil:
    return POSITIONS * packed_size(x.k, phases(x) * x.C, x.K)


cdef void taps_of(nn_winograd *op, Py_ssize_t tile, Py_ssize_t phase, Py_ssize_t step_h, Py_ssize_t step_w,
                  Py_ssize_t taps_h, Py_ssize_t taps_w, Py_ssize_t tap) noexcept nogil:
    """A phase's taps of a kernel; `tap`: numbers from tap to tap there. The first one is phase_tap's."""
    op.taps = SIDE + 1 - tile
    op.rows = (taps_h - phase // step_w + step_h - 1) // step_h
    op.columns = (taps_w - phase % step_w + step_w - 1) // step_w
    op.row_pitch, op.pixel_pitch = step_h * taps_w * tap, step_w * tap


cdef inline Py_ssize_t phase_tap(Py_ssize_t phase, Py_ssize_t step_w, Py_ssize_t taps_w) noexcept nogil:
    return phase // step_w * taps_w + phase % step_w


cdef void transform_kernel(const Correlation *x, const char *w, char *u, int part, int team) noexcept nogil:
    """u of a packed kernel [taps C][K]; every team-th panel."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, j = part, n, phase
    cdef nn_winograd op
    while j < panels(k, x.K):
        n = x.C * panel_width(k, x.K, j)
        for phase in range(phases(x)):
            taps_of(&op, x.tile, phase, x.step_h, x.step_w, x.taps_h, x.taps_w, n)
            k.winograd_kernel(&op, n, w + (j * k.nr * x.taps_h * x.taps_w * x.C + phase_tap(phase, x.step_w, x.taps_w) * n) * size,
                              u + (j * k.nr * phases(x) * x.C + phase * n) * size, packed_size(k, phases(x) * x.C, x.K))
        j += team


cdef inline Py_ssize_t row_of_v(const nn_kernels *k, Py_ssize_t phases, Py_ssize_t C) noexcept nogil:
    """From one tile's channels to the next tile's: the last phase's are whole vectors."""
    cdef Py_ssize_t row = round_up((phases - 1) * C + round_up(C, k.vl), k.vl)
    return row + k.vl if row * k.real_size % ONE_SET == 0 else row


cdef inline Py_ssize_t tiles_at_once(const Correlation *x) noexcept nogil:
    cdef Py_ssize_t n = BLOCK_BYTES // (POSITIONS * (phases(x) * x.C + x.K) * x.k.real_size)
    return max(<Py_ssize_t>LEAST_TILES, min(<Py_ssize_t>MOST_TILES, n))


cdef Py_ssize_t sum_scratch(const Correlation *x) noexcept nogil:
    """Bytes of v and m."""
    cdef Py_ssize_t rows = row_of_v(x.k, phases(x), x.C) + round_up(x.K, x.k.vl)
    return POSITIONS * (tiles_at_once(x) * rows + 2 * SPARE) * x.k.real_size


cdef inline Py_ssize_t steps_to(Py_ssize_t end, Py_ssize_t start, Py_ssize_t step) noexcept nogil:
    """How many of start, start + step, ... lie before `end`."""
    if start >= end:
        return 0
    return end - start if step == 1 else (end - start + step - 1) // step      # a division takes as long as a small tile


cdef void transform_input(const nn_kernels *k, const char *x, Py_ssize_t H, Py_ssize_t W, Py_ssize_t C, Py_ssize_t row,
                          Py_ssize_t column, Py_ssize_t step_h, Py_ssize_t step_w, Py_ssize_t first, Py_ssize_t channels,
                          char *v, Py_ssize_t step) noexcept nogil:
    """The tile of one sample's phase that begins at a pixel, or beyond the image."""
    cdef nn_winograd op
    op.first_row, op.first_column = steps_to(0, row, step_h), steps_to(0, column, step_w)
    op.rows, op.columns = min(steps_to(H, row, step_h), SIDE), min(steps_to(W, column, step_w), SIDE)
    op.row_pitch, op.pixel_pitch = step_h * W * C, step_w * C
    k.winograd_input(&op, channels, x + ((row * W + column) * C + first) * k.real_size, v, step)


cdef void sum_tiles(const Correlation *x, Py_ssize_t lo, Py_ssize_t hi, char *scratch) noexcept nogil:
    """Rows of tiles lo..hi, counted through the samples."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, most = tiles_at_once(x), unit, sample, j, n = 0, t, r, s, tile = x.tile
    cdef Py_ssize_t down = tiles(tile, x.OH), row, column
    cdef Py_ssize_t v_row = row_of_v(k, phases(x), x.C), m_row = round_up(x.K, k.vl)
    cdef Py_ssize_t v_step = most * v_row + SPARE, m_step = most * m_row + SPARE
    cdef Py_ssize_t together = parts((hi - lo) * tiles(tile, x.OW), most)
    cdef char *m = scratch + POSITIONS * v_step * size
    cdef char *to[MOST_TILES]
    cdef Py_ssize_t rows[MOST_TILES]
    cdef Py_ssize_t columns[MOST_TILES]
    cdef nn_winograd op
    op.taps = SIDE + 1 - tile
    op.row_pitch, op.pixel_pitch = x.y_row, x.y_pixel
    op.accumulate, op.relu = x.accumulate, x.relu
    for unit in range(lo, hi):
        sample = unit // down
        row = (unit - sample * down) * tile
        for j in range(tiles(tile, x.OW)):
            column = j * tile
            for r in range(x.step_h):
                for s in range(x.step_w):       # in this order: each phase overwrites the zeros behind the one before
                    transform_input(k, x.x + sample * x.x_sample * size, x.H, x.W, x.C, row * x.step_h + x.first_h + r,
                                    column * x.step_w + x.first_w + s, x.step_h, x.step_w, 0, x.C,
                                    scratch + (n * v_row + (r * x.step_w + s) * x.C) * size, v_step)
            to[n] = x.y + (sample * x.y_sample + row * x.y_row + column * x.y_pixel) * size
            rows[n] = min(x.OH - row, tile)
            columns[n] = min(x.OW - column, tile)
            n += 1
            if n == together or (unit + 1 == hi and column + tile >= x.OW):
                multiply(x, n, scratch, v_step, m, m_step)
                for t in range(n):
                    op.rows, op.columns = rows[t], columns[t]
                    k.winograd_output(&op, x.K, m + t * m_row * size, m_step, x.bias, to[t])
                n = 0


cdef void multiply(const Correlation *x, Py_ssize_t n, const char *v, Py_ssize_t v_step, char *m,
                   Py_ssize_t m_step) noexcept nogil:
    """m_p = v_p u_p for n tiles."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, depth = phases(x) * x.C, block = packed_size(k, depth, x.K), p, j
    cdef nn_brgemm op
    op.k = depth
    op.count = 1
    op.a_offset = NULL
    op.b_step = 0
    op.a_row, op.a_col = row_of_v(k, phases(x), x.C), 1
    op.ldc = round_up(x.K, k.vl)
    op.accumulate = op.relu = False
    for p in range(POSITIONS):
        for j in range(panels(k, x.K)):
            op.ldb = panel_width(k, x.K, j)
            multiply_rows(k, &op, n, op.ldb, v + p * v_step * size, x.u + (p * block + j * k.nr * depth) * size, NULL,
                          m + (p * m_step + j * k.nr) * size)


# ---------------------------------------------------------------- the kernel's gradient

cdef inline Py_ssize_t phases_of(const Convolution *c) noexcept nogil:
    return c.window.stride_h * c.window.stride_w


cdef Py_ssize_t gradient_rows(const Convolution *c) noexcept nogil:
    """Channels c of a tile: vectors that divide those of C."""
    cdef Py_ssize_t C = round_up(c.C, c.k.vl), rows = c.k.vl, n = c.k.vl
    while n <= min(C, GRADIENT_ROWS // phases_of(c)):
        if C % n == 0:
            rows = n
        n += c.k.vl
    return rows


cdef double gradient_cost(const Convolution *c, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """Of a tile for one sample, in multiply-adds."""
    cdef const Window *w = &c.window
    return ((<double>POSITIONS * phases_of(c) * rows * columns + TRANSFORMS * (phases_of(c) * rows + columns))
            * tiles(c.tile, w.OH) * tiles(c.tile, w.OW))


cdef Py_ssize_t gradient_scratch(const Convolution *c) noexcept nogil:
    """Bytes of v, m and the gradient of u, for tiles of at most four panels."""
    cdef Py_ssize_t rows = gradient_rows(c), columns = min(4 * c.k.nr, round_up(c.K, c.k.vl))
    return POSITIONS * (phases_of(c) * (GRADIENT_TILES * rows + rows * columns + 2 * SPARE)
                        + GRADIENT_TILES * columns + SPARE) * c.k.real_size


cdef void gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld,
                   Py_ssize_t batch, Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t lo, Py_ssize_t hi, char *to,
                   char *scratch) noexcept nogil:
    """dw for channels lo..hi of x and some panels, all taps: to[tap][panel][hi - lo][width]."""
    cdef const nn_kernels *k = c.k
    cdef const Window *w = &c.window
    cdef Py_ssize_t size = k.real_size, rows = hi - lo, columns = min(c.K - panel * k.nr, n_panels * k.nr), n = 0
    cdef Py_ssize_t v_row = round_up(rows, k.vl), m_row = round_up(columns, k.vl)
    cdef Py_ssize_t v_step = GRADIENT_TILES * v_row + SPARE, m_step = GRADIENT_TILES * m_row + SPARE
    cdef Py_ssize_t u_step = rows * m_row + SPARE, b, i, j, r, s, row, column, phase
    cdef char *m = scratch + phases_of(c) * POSITIONS * v_step * size
    cdef char *du = m + POSITIONS * m_step * size
    cdef nn_winograd op
    op.taps = SIDE + 1 - c.tile
    op.row_pitch, op.pixel_pitch = w.OW * c.K, c.K
    memset(du, 0, phases_of(c) * POSITIONS * u_step * size)
    dz += panel * k.nr * size
    for b in range(batch):
        for i in range(tiles(c.tile, w.OH)):
            row = i * c.tile
            op.rows = min(w.OH - row, c.tile)
            for j in range(tiles(c.tile, w.OW)):
                column = j * c.tile
                op.columns = min(w.OW - column, c.tile)
                for r in range(w.stride_h):
                    for s in range(w.stride_w):
                        transform_input(k, x + b * x_ld * size, w.H, w.W, c.C, row * w.stride_h - w.pad_top + r,
                                        column * w.stride_w - w.pad_left + s, w.stride_h, w.stride_w, lo, rows,
                                        scratch + ((r * w.stride_w + s) * POSITIONS * v_step + n * v_row) * size, v_step)
                k.winograd_output_backward(&op, columns, dz + (b * dz_ld + (row * w.OW + column) * c.K) * size,
                                           m + n * m_row * size, m_step)
                n += 1
                if n == GRADIENT_TILES:
                    add_products(c, n, rows, m_row, scratch, v_step, m, m_step, du, u_step)
                    n = 0
    if n > 0:
        add_products(c, n, rows, m_row, scratch, v_step, m, m_step, du, u_step)
    for phase in range(phases_of(c)):
        taps_of(&op, c.tile, phase, w.stride_h, w.stride_w, w.R, w.S, rows * m_row)
        j = 0
        while j < m_row:
            k.winograd_kernel_backward(&op, rows * min(k.nr, m_row - j), du + (phase * POSITIONS * u_step + j * rows) * size,
                                       u_step, to + (phase_tap(phase, w.stride_w, w.S) * m_row + j) * rows * size)
            j += k.nr


cdef void add_products(const Convolution *c, Py_ssize_t n, Py_ssize_t rows, Py_ssize_t columns, const char *v,
                       Py_ssize_t v_step, const char *m, Py_ssize_t m_step, char *du, Py_ssize_t u_step) noexcept nogil:
    """du_p += v_p' m_p over n tiles, for every phase; columns: whole vectors."""
    cdef const nn_kernels *k = c.k
    cdef Py_ssize_t size = k.real_size, p, j
    cdef nn_brgemm op
    op.k = n
    op.count = 1
    op.a_offset = NULL
    op.b_step = 0
    op.a_row, op.a_col = 1, round_up(rows, k.vl)
    op.ldb = columns
    op.accumulate, op.relu = True, False
    for p in range(phases_of(c) * POSITIONS):
        j = 0
        while j < columns:
            op.ldc = min(k.nr, columns - j)
            multiply_rows(k, &op, rows, op.ldc, v + p * v_step * size, m + (p % POSITIONS * m_step + j) * size, NULL,
                          du + (p * u_step + j * rows) * size)
            j += k.nr
