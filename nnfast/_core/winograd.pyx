"""Convolution by Winograd's minimal filtering: sums over r = 2 to 5 taps each way from 6 x 6 tiles of x and m x m tiles of
y, m = 7 - r.

    for a block of tiles, through rows and samples:     v_p, m_p stay in L2
        v = B' x B of every tile                        [36][tiles][C padded]
        for a position p of 36:     m_p = v_p u_p       a product of matrices; u = G w G', [36] packed matrices [C][K]
        y = A' m A of every tile, bias and relu

So 36 products a channel pair give m x m outputs: instead of 144 with 3 x 3 taps, of 100 with 5 x 5. Where the kernel has one
row, so have the tiles: 6 products instead of 12 or 10, and with a dilation a tile's pixels are that far apart.

A larger kernel falls into pieces. With a stride, the pixels of x at one offset of it meet every stride-th tap of the kernel:
sums of stride 1 over fewer taps. More than five taps in a row are cut; which r is best, an estimate says. Pieces have zeros
where they lack a tap. They are channels side by side: [36][tiles][piece][C], and u has a row for each.

The input gradient is the same sum over dy with the kernel flipped. The kernel's gradient runs it backwards:
du_p = v_p' (A dy A')_p over all tiles of the batch, dw = G' du G.

The rounding error is up to three times that of the plain sum (csrc/winograd.c says why), in proportion to the largest number
of a tile, all of which meet all others: a nan or inf spreads over the tile, also to outputs that do not see it. An element's
bits depend on the shape alone: a tile's numbers meet only in its own rows of the products.
"""
from libc.math cimport INFINITY
from libc.string cimport memset

from nnfast._core.convolution cimport Convolution
from nnfast._core.correlation cimport Correlation
from nnfast._core.gemm cimport ONE_SET, multiply_rows, packed_size, panel_width, panels, parts, round_up
from nnfast._core.kernels cimport nn_brgemm, nn_kernels, nn_winograd
from nnfast._core.window cimport Window, first_output, last_output

import os

cdef enum:
    SIDE = 6                # of x's tile
    LEAST_CHANNELS = 8
    MOST_PIECES = 16
    TRANSFORMS = 176        # of a tile take as long as so many multiply-adds for every channel of x and y,
    LINE_TRANSFORMS = 24    # of a tile of one row
    STORED = 2              # a number of m that is stored, as long as so many multiply-adds
    LARGE_KERNEL = 8388608  # bytes of u that L2 does not hold: to write and to read a number of it
    FAR = 20                # takes as long as so many multiply-adds,
    FARTHER = 40            # as so many where L3 does not hold u, either:
    LARGEST_KERNEL = 67108864
    TYPICAL_BATCH = 16      # samples of a step
    BLOCK_BYTES = 262144    # of v and m
    LEAST_TILES = 48        # in a block: they share a load of u
    MOST_TILES = 96
    STRIP = 48              # tiles of one row that are a unit of work
    GRADIENT_TILES = 48
    GRADIENT_ROWS = 64      # channels c of a gradient's tile
    SPARE = 16              # numbers between positions, which would otherwise fall into few sets of the L1 cache


cdef bint allowed = True


def read_environment():
    global allowed
    wanted = os.environ.get("NNFAST_WINOGRAD") or "1"
    if wanted not in ("0", "1"):
        raise ImportError(f"NNFAST_WINOGRAD={wanted}: must be 0 or 1")
    allowed = wanted == "1"


read_environment()


def is_allowed():
    """Whether convolutions are computed in this way where it is faster."""
    return allowed


cdef inline double lanes(const nn_kernels *k, Py_ssize_t channels) noexcept nogil:
    """That the plain sum needs for its outputs: planar.pyx wastes none, but takes longer."""
    return 1.2 * channels if 2 * channels <= k.vl else round_up(channels, k.vl)


cdef inline bint line(const Correlation *x) noexcept nogil:
    """Tiles of one row."""
    return x.taps_h == 1 and x.step_h == 1


cdef inline Py_ssize_t side(const Correlation *x) noexcept nogil:
    """Taps of a piece, each way."""
    return SIDE + 1 - x.tile_w


cdef inline Py_ssize_t pieces(const Correlation *x) noexcept nogil:
    return x.pieces_h * x.pieces_w


cdef inline Py_ssize_t first_tap(Py_ssize_t piece, Py_ssize_t step, Py_ssize_t side) noexcept nogil:
    """Of a piece, down or across: step, 2 step, ... further are the others."""
    return piece if piece < step else piece // step * side * step + piece % step


cdef inline Py_ssize_t positions(const Correlation *x) noexcept nogil:
    return SIDE if line(x) else SIDE * SIDE


cdef inline Py_ssize_t apart(const Correlation *x) noexcept nogil:
    """Columns of y from one of a tile to the next."""
    return x.spacing_w if line(x) and x.step_w == 1 else 1


cdef inline Py_ssize_t columns_from(const Correlation *x, Py_ssize_t column) noexcept nogil:
    """Of y that are a tile's distance apart."""
    cdef Py_ssize_t distance = apart(x)
    return x.OW - column if distance == 1 else (x.OW - column + distance - 1) // distance


cdef Py_ssize_t tiles_across(const Correlation *x) noexcept nogil:
    """A row of y."""
    cdef Py_ssize_t distance = apart(x), longer = x.OW % distance, least = x.OW // distance
    return longer * tiles(x.tile_w, least + 1) + (distance - longer) * tiles(x.tile_w, least)


cdef Py_ssize_t first_column(const Correlation *x, Py_ssize_t t) noexcept nogil:
    """Of tile t of a row: tiles of columns 0, apart, ... come first, then those of 1, 1 + apart, ..."""
    cdef Py_ssize_t distance = apart(x), longer, each
    if distance == 1:
        return t * x.tile_w
    longer = x.OW % distance
    each = tiles(x.tile_w, x.OW // distance + 1)
    if t < longer * each:
        return t // each + t % each * x.tile_w * distance
    t -= longer * each
    each = tiles(x.tile_w, x.OW // distance)
    return longer + t // each + t % each * x.tile_w * distance


cdef Py_ssize_t strips(const Correlation *x) noexcept nogil:
    """Units of a row of tiles: one, unless the tiles' rows are one pixel high."""
    return (tiles_across(x) + STRIP - 1) // STRIP if line(x) else 1


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
    cdef double down = taps_inside(x.OH, x.step_h, x.first_h, x.taps_h, x.spacing_h, x.H), across = x.taps_w * x.OW
    cdef double inside = taps_inside(x.OW, x.step_w, x.first_w, x.taps_w, x.spacing_w, x.W)
    if 5 * inside <= 4 * across:
        across = inside
    return down * across * min(x.C * lanes(x.k, x.K), x.K * lanes(x.k, x.C))


cdef double minimal_cost(const Correlation *x) noexcept nogil:
    """Multiply-adds of the products and, as measured, what the transforms take."""
    cdef Py_ssize_t m_row = round_up(x.K, x.k.vl)
    return ((<double>positions(x) * (pieces(x) * x.C + STORED) * m_row
             + (LINE_TRANSFORMS if line(x) else TRANSFORMS) * (pieces(x) * round_up(x.C, x.k.vl) + m_row))
            * tiles(x.tile_h, x.OH) * tiles_across(x))


cdef double kernel_cost(const Correlation *x) noexcept nogil:
    """Multiply-adds that making and reading u takes as long as, which may be sixteen times as large as the kernel; for all
    samples together."""
    cdef double size = transformed_size(x)
    if size * x.k.real_size <= LARGE_KERNEL:
        return 0
    return size * (FAR if size * x.k.real_size <= LARGEST_KERNEL else FARTHER)


cdef void set_tile(Correlation *x, Py_ssize_t tile) noexcept nogil:
    """Columns of y that are made at once, or 0, and as many rows."""
    x.tile_h, x.tile_w = 1 if tile > 0 and line(x) else tile, tile
    x.pieces_h = x.step_h * ((x.taps_h + x.step_h * side(x) - 1) // (x.step_h * side(x)))
    x.pieces_w = x.step_w * ((x.taps_w + x.step_w * side(x) - 1) // (x.step_w * side(x)))


cdef void choose_tile(Correlation *x, Py_ssize_t samples) noexcept nogil:
    """Rows and columns of y that are made at once; 0 where the plain sum is faster. samples: of the only call that there will
    be, or 0, where a sample's bits must not depend on their number."""
    cdef Py_ssize_t tile, best = 0
    cdef double cost, least = 0
    set_tile(x, 0)
    if (not allowed or x.depthwise or x.groups != 1 or x.K < LEAST_CHANNELS or max(x.step_h, x.step_w) > MOST_PIECES
            or (x.taps_h > 1 and x.spacing_h > 1) or (x.taps_w > 1 and x.spacing_w > 1 and apart(x) == 1)
            or max((x.taps_h - 1) // x.step_h, (x.taps_w - 1) // x.step_w) == 0 or (x.OH < 2 and not line(x)) or x.OW < 2):
        return
    for tile in range(2, SIDE):
        set_tile(x, tile)
        cost = minimal_cost(x) if pieces(x) <= MOST_PIECES and pieces(x) * x.C >= LEAST_CHANNELS else INFINITY
        if pieces(x) > 1:       # deep products wait for u
            cost *= 1.2
        cost += kernel_cost(x) / (samples if samples > 0 else TYPICAL_BATCH)
        if best == 0 or cost < least:
            best, least = tile, cost
    set_tile(x, best if plain_cost(x) >= 1.1 * least else 0)


cdef Py_ssize_t transformed_size(const Correlation *x) noexcept nogil:
    return positions(x) * packed_size(x.k, pieces(x) * x.C, x.K)


cdef inline Py_ssize_t steps_to(Py_ssize_t end, Py_ssize_t start, Py_ssize_t step, Py_ssize_t most) noexcept nogil:
    """How many of start, start + step, ... lie before `end`, of the first `most`."""
    if start >= end:
        return 0
    if start + (most - 1) * step < end:     # mostly: divisions take as long as a small tile
        return most
    return (end - start + step - 1) // step


cdef Py_ssize_t taps_of(const Correlation *x, nn_winograd *op, Py_ssize_t piece, Py_ssize_t size) noexcept nogil:
    """A piece's taps of a kernel where each has `size` numbers; where the first begins."""
    cdef Py_ssize_t r = first_tap(piece // x.pieces_w, x.step_h, side(x))
    cdef Py_ssize_t s = first_tap(piece % x.pieces_w, x.step_w, side(x))
    op.taps, op.line = side(x), line(x)
    op.rows = steps_to(x.taps_h, r, x.step_h, op.taps)
    op.columns = steps_to(x.taps_w, s, x.step_w, op.taps)
    op.row_pitch, op.pixel_pitch = x.step_h * x.taps_w * size, x.step_w * size
    return (r * x.taps_w + s) * size


cdef void transform_kernel(const Correlation *x, const char *w, char *u, int part, int team) noexcept nogil:
    """u of a packed kernel [taps C][K]; every team-th panel."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, depth = pieces(x) * x.C, j = part, n, piece, first
    cdef nn_winograd op
    while j < panels(k, x.K):
        n = x.C * panel_width(k, x.K, j)
        for piece in range(pieces(x)):
            first = taps_of(x, &op, piece, n)
            k.winograd_kernel(&op, n, w + (j * k.nr * x.taps_h * x.taps_w * x.C + first) * size,
                              u + (j * k.nr * depth + piece * n) * size, packed_size(k, depth, x.K))
        j += team


cdef inline Py_ssize_t row_of_v(const Correlation *x) noexcept nogil:
    """From one tile's channels to the next tile's: the last piece's are whole vectors."""
    cdef Py_ssize_t row = round_up((pieces(x) - 1) * x.C + round_up(x.C, x.k.vl), x.k.vl)
    return row + x.k.vl if row * x.k.real_size % ONE_SET == 0 else row


cdef inline Py_ssize_t tiles_at_once(const Correlation *x) noexcept nogil:
    cdef Py_ssize_t n = BLOCK_BYTES // (positions(x) * (pieces(x) * x.C + x.K) * x.k.real_size)
    return max(<Py_ssize_t>LEAST_TILES, min(<Py_ssize_t>MOST_TILES, n))


cdef Py_ssize_t sum_scratch(const Correlation *x) noexcept nogil:
    """Bytes of v and m."""
    return positions(x) * (tiles_at_once(x) * (row_of_v(x) + round_up(x.K, x.k.vl)) + 2 * SPARE) * x.k.real_size


cdef void transform_input(const Correlation *x, const char *sample, Py_ssize_t row, Py_ssize_t column, Py_ssize_t first,
                          Py_ssize_t channels, char *v, Py_ssize_t v_piece, Py_ssize_t step) noexcept nogil:
    """The tile of x, or what of it lies inside, for the tile of y at a row and column; v_piece: numbers from the channels of
    one piece to those of the next."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t across = x.step_w * apart(x), r, s, i, j
    cdef nn_winograd op
    op.line = line(x)
    op.row_pitch, op.pixel_pitch = x.step_h * x.W * x.C, across * x.C
    for r in range(x.pieces_h):
        i = row * x.step_h + x.first_h + first_tap(r, x.step_h, side(x))
        for s in range(x.pieces_w):   # in this order: each overwrites the zeros behind the one before
            j = column * x.step_w + x.first_w + first_tap(s, x.step_w, side(x)) * apart(x)
            op.first_row, op.first_column = steps_to(0, i, x.step_h, SIDE), steps_to(0, j, across, SIDE)
            op.rows, op.columns = steps_to(x.H, i, x.step_h, SIDE), steps_to(x.W, j, across, SIDE)
            if op.line and (i < 0 or i >= x.H):
                op.columns = 0
            k.winograd_input(&op, channels, sample + ((i * x.W + j) * x.C + first) * k.real_size, v, step)
            v += v_piece * k.real_size


cdef void sum_tiles(const Correlation *x, Py_ssize_t lo, Py_ssize_t hi, char *scratch) noexcept nogil:
    """Strips of rows of tiles lo..hi, counted through the samples."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, most = tiles_at_once(x), unit, sample, n = 0, i, t, row, column
    cdef Py_ssize_t across = tiles_across(x), v_row = row_of_v(x), m_row = round_up(x.K, k.vl), first, last
    cdef Py_ssize_t v_step = most * v_row + SPARE, m_step = most * m_row + SPARE
    cdef Py_ssize_t strip = STRIP if x.segments > 1 else across, together = parts((hi - lo) * strip, most)
    cdef char *m = scratch + positions(x) * v_step * size
    cdef char *to[MOST_TILES]
    cdef Py_ssize_t rows[MOST_TILES]
    cdef Py_ssize_t columns[MOST_TILES]
    cdef nn_winograd op
    op.taps, op.line = side(x), line(x)
    op.row_pitch, op.pixel_pitch = x.y_row, x.y_pixel * apart(x)
    op.accumulate, op.relu = x.accumulate, x.relu
    for unit in range(lo, hi):
        sample = unit // x.per_sample
        row = (unit - sample * x.per_sample) // x.segments * x.tile_h
        first = unit % x.segments * strip
        last = min(first + strip, across)
        for t in range(first, last):
            column = first_column(x, t)
            transform_input(x, x.x + sample * x.x_sample * size, row, column, 0, x.C, scratch + n * v_row * size, x.C, v_step)
            to[n] = x.y + (sample * x.y_sample + row * x.y_row + column * x.y_pixel) * size
            rows[n] = min(x.OH - row, x.tile_h)
            columns[n] = min(columns_from(x, column), x.tile_w)
            n += 1
            if n == together or (unit + 1 == hi and t + 1 == last):
                multiply(x, n, scratch, v_step, m, m_step)
                for i in range(n):
                    op.rows, op.columns = rows[i], columns[i]
                    k.winograd_output(&op, x.K, m + i * m_row * size, m_step, x.bias, to[i])
                n = 0


cdef void multiply(const Correlation *x, Py_ssize_t n, const char *v, Py_ssize_t v_step, char *m,
                   Py_ssize_t m_step) noexcept nogil:
    """m_p = v_p u_p for n tiles."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, depth = pieces(x) * x.C, block = packed_size(k, depth, x.K), p, j
    cdef nn_brgemm op
    op.k = depth
    op.count = 1
    op.a_offset = NULL
    op.b_step = 0
    op.a_row, op.a_col = row_of_v(x), 1
    op.ldc = round_up(x.K, k.vl)
    op.accumulate = op.relu = False
    for p in range(positions(x)):
        for j in range(panels(k, x.K)):
            op.ldb = panel_width(k, x.K, j)
            multiply_rows(k, &op, n, op.ldb, v + p * v_step * size, x.u + (p * block + j * k.nr * depth) * size, NULL,
                          m + (p * m_step + j * k.nr) * size)


# ---------------------------------------------------------------- the kernel's gradient

cdef Correlation sum_of(const Convolution *c) noexcept nogil:
    """The forward pass, without its arrays."""
    cdef const Window *w = &c.window
    cdef Correlation x
    memset(&x, 0, sizeof(Correlation))
    x.k, x.C, x.K = c.k, c.C, c.K
    x.H, x.W, x.OH, x.OW = w.H, w.W, w.OH, w.OW
    x.step_h, x.step_w = w.stride_h, w.stride_w
    x.first_h, x.first_w = -w.pad_top, -w.pad_left
    x.spacing_h, x.spacing_w = w.dilation_h, w.dilation_w
    x.taps_h, x.taps_w = w.R, w.S
    set_tile(&x, c.tile_w)
    return x


cdef Py_ssize_t gradient_rows(const Convolution *c) noexcept nogil:
    """Channels c of a tile: vectors that divide those of C."""
    cdef Correlation x = sum_of(c)
    cdef Py_ssize_t C = round_up(c.C, c.k.vl), rows = c.k.vl, n = c.k.vl
    while n <= min(C, GRADIENT_ROWS // pieces(&x)):
        if C % n == 0:
            rows = n
        n += c.k.vl
    return rows


cdef Py_ssize_t gradient_tiles(const Convolution *c) noexcept nogil:
    """Of a sample."""
    cdef Correlation x = sum_of(c)
    return tiles(x.tile_h, x.OH) * tiles_across(&x)


cdef double gradient_cost(const Convolution *c, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """Of a tile for one sample, in multiply-adds."""
    cdef Correlation x = sum_of(c)
    return ((<double>positions(&x) * pieces(&x) * rows * columns
             + (LINE_TRANSFORMS if line(&x) else TRANSFORMS) * (pieces(&x) * rows + columns)) * gradient_tiles(c))


cdef Py_ssize_t gradient_scratch(const Convolution *c) noexcept nogil:
    """Bytes of v, m and the gradient of u, for tiles of at most four panels."""
    cdef Correlation x = sum_of(c)
    cdef Py_ssize_t rows = gradient_rows(c), columns = min(4 * c.k.nr, round_up(c.K, c.k.vl))
    return positions(&x) * (pieces(&x) * (GRADIENT_TILES * rows + rows * columns + 2 * SPARE)
                            + GRADIENT_TILES * columns + SPARE) * c.k.real_size


cdef void gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld,
                   Py_ssize_t batch, Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t lo, Py_ssize_t hi, char *to,
                   char *scratch) noexcept nogil:
    """dw for channels lo..hi of x and some panels, all taps: to[tap][panel][hi - lo][width]."""
    cdef Correlation f = sum_of(c)
    cdef const nn_kernels *k = c.k
    cdef Py_ssize_t size = k.real_size, rows = hi - lo, columns = min(c.K - panel * k.nr, n_panels * k.nr), n = 0
    cdef Py_ssize_t v_row = round_up(rows, k.vl), m_row = round_up(columns, k.vl)
    cdef Py_ssize_t v_step = GRADIENT_TILES * v_row + SPARE, m_step = GRADIENT_TILES * m_row + SPARE
    cdef Py_ssize_t u_step = rows * m_row + SPARE, b, i, t, piece, first, row, column
    cdef char *m = scratch + pieces(&f) * positions(&f) * v_step * size
    cdef char *du = m + positions(&f) * m_step * size
    cdef nn_winograd op
    op.taps, op.line = side(&f), line(&f)
    op.row_pitch, op.pixel_pitch = f.OW * f.K, apart(&f) * f.K
    memset(du, 0, pieces(&f) * positions(&f) * u_step * size)
    dz += panel * k.nr * size
    for b in range(batch):
        for i in range(tiles(f.tile_h, f.OH)):
            row = i * f.tile_h
            op.rows = min(f.OH - row, f.tile_h)
            for t in range(tiles_across(&f)):
                column = first_column(&f, t)
                op.columns = min(columns_from(&f, column), f.tile_w)
                transform_input(&f, x + b * x_ld * size, row, column, lo, rows, scratch + n * v_row * size,
                                positions(&f) * v_step, v_step)
                k.winograd_output_backward(&op, columns, dz + (b * dz_ld + (row * f.OW + column) * f.K) * size,
                                           m + n * m_row * size, m_step)
                n += 1
                if n == GRADIENT_TILES:
                    add_products(&f, n, rows, m_row, scratch, v_step, m, m_step, du, u_step)
                    n = 0
    if n > 0:
        add_products(&f, n, rows, m_row, scratch, v_step, m, m_step, du, u_step)
    for piece in range(pieces(&f)):
        first = taps_of(&f, &op, piece, rows * m_row)
        i = 0
        while i < m_row:
            k.winograd_kernel_backward(&op, rows * min(k.nr, m_row - i), du + i * rows * size, u_step,
                                       to + (first + i * rows) * size)
            i += k.nr
        du += positions(&f) * u_step * size


cdef void add_products(const Correlation *f, Py_ssize_t n, Py_ssize_t rows, Py_ssize_t columns, const char *v,
                       Py_ssize_t v_step, const char *m, Py_ssize_t m_step, char *du, Py_ssize_t u_step) noexcept nogil:
    """du_p += v_p' m_p over n tiles, for every piece; columns: whole vectors."""
    cdef const nn_kernels *k = f.k
    cdef Py_ssize_t size = k.real_size, p, j
    cdef nn_brgemm op
    op.k = n
    op.count = 1
    op.a_offset = NULL
    op.b_step = 0
    op.a_row, op.a_col = 1, round_up(rows, k.vl)
    op.ldb = columns
    op.accumulate, op.relu = True, False
    for p in range(pieces(f) * positions(f)):
        j = 0
        while j < columns:
            op.ldc = min(k.nr, columns - j)
            multiply_rows(k, &op, rows, op.ldc, v + p * v_step * size, m + (p % positions(f) * m_step + j) * size, NULL,
                          du + (p * u_step + j * rows) * size)
            j += k.nr
