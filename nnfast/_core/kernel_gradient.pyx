"""The gradient of a convolution's kernel: dw[r, s, c, k] = sum over samples and pixels of x[.., c] dz[.., k].

A tile is some rows (taps and channels c) by a few panels (channels k) of dw, summed over all samples by one thread, so the
bits do not depend on the number of threads (kernel_segments.pyx: over those of a segment of the batch).

    for PIXELS pixels of dz, through rows and samples:
        copy x at these pixels, the tile's rows of it, and dz, the tile's columns, side by side: both stay in L1 and L2
        for a panel, for MR rows:   a product x' dz over the pixels, in registers

A tile of many channels belongs to one tap: only pixels where that tap lies inside the image are copied, and where much of
x or of dz is 0 nonzeros.pyx makes the product. Where dz has few
columns a tile has all taps: dz is copied once for them, and each reads x in place. With few channels a tile takes in whole
kernel rows, of which the taps lie side by side in an image that is copied once with its padding. Everywhere the last columns
of dz that do not fill a vector may change places with x, whose numbers do: they are turned. Where dz has less than half a
vector of columns in all planar.pyx may take over. A depthwise kernel's gradient reads x in place, or a copy for a multiplier
and where pixels share few sets of L1.
"""
from libc.stddef cimport ptrdiff_t
from libc.string cimport memset

from nnfast._core.convolution cimport Convolution
from nnfast._core.correlation cimport COPIED_PANELS, copy_pixels
from nnfast._core.gemm cimport CACHE_LINE, TWO_SETS, multiply_rows, multiply_scattered, odd_lines, panels, parts, round_up
from nnfast._core.kernels cimport nn_brgemm, nn_depthwise, nn_kernels
from nnfast._core.nonzeros cimport Nonzeros, add_transposed, nonzero_share, nonzeros_bytes, pays, to_panels
from nnfast._core.window cimport Window, clip_run, first_output, last_output
from nnfast._core cimport planar, winograd

cdef enum:
    PIXELS = 192            # most at once
    TAP_BYTES = 1024        # of a row and of a column of one tap's tiles, for which little is copied
    TAP_ROOM = 214016       # bytes of x and dz for one, beside it in L2
    BAND = 128              # of rows of an image, or of a part of one row
    SHORT_PIXEL = 128       # bytes of dz: a band stays in L1 as it is
    ROWS = 128              # most rows of other tiles
    PANELS = 8              # most panels
    DEPTHWISE_PANELS = 16   # most of a depthwise kernel's
    FEW_CHANNELS = 64
    FEW_PANELS = 2          # that do not pay for a copy of x: it is read in place
    IN_PLACE = 12288        # numbers of x that a tap reads at once
    TILE_BYTES = 262144     # of a tile of all taps: it stays in L2
    LEAST_ROWS = 16         # of such a tile
    LONG_RUN = 192          # numbers in a kernel row
    JOINED = 64             # most rows of kernel rows that are multiplied together
    LONG_ROW = 256          # pixels: longer rows are cut
    DEPTHWISE_BYTES = 131072    # of x and dz, in L2


cdef inline bint whole_rows(const Convolution *c) noexcept nogil:
    """Tiles of whole kernel rows r."""
    cdef Py_ssize_t run = c.window.S * c.C
    return c.groups == 1 and c.window.dilation_w == 1 and c.C < FEW_CHANNELS and run <= LONG_RUN


cdef inline Py_ssize_t turned_columns(const Convolution *c, Py_ssize_t columns, Py_ssize_t run) noexcept nogil:
    """The last of some columns of dz, up to a vector, where a run of x's numbers fills vectors so much better than they do
    that the two change places; 0: nowhere. Two vectors at once keep the multipliers busier than one."""
    cdef Py_ssize_t last = columns % c.k.vl, tenths = 9
    if columns <= c.k.vl:
        last, tenths = columns, 11
    elif (columns - last) % c.k.nr != 0:        # one would remain
        tenths = 7
    return last if 10 * last * (round_up(run, c.k.vl) // c.k.vl) <= tenths * run else 0


cdef bint by_planes(const Convolution *c) noexcept nogil:
    """Whether planar.pyx takes less time than tiles, which take so many cycles a pixel."""
    cdef Py_ssize_t run = c.window.S * c.C
    cdef double cycles = planar.narrow_cycles() * c.window.R * c.window.S * (c.C // c.groups)
    if whole_rows(c) and turned_columns(c, c.K, run) == c.K:
        cycles = min(cycles, planar.wide_cycles() * c.window.R * c.K * (round_up(run, c.k.vl) // c.k.vl))
    return not c.depthwise and c.tile_w == 0 and planar.gradient_suits(c, cycles)


cdef inline Py_ssize_t turned_room(const Convolution *c, Py_ssize_t run) noexcept nogil:
    """Numbers that a run's sums take at most before they change places."""
    return min(c.K, c.k.vl) * round_up(run, c.k.vl)


cdef inline bint few_columns(const Convolution *c) noexcept nogil:
    """Tiles of all taps: a tile of one tap would do little with what it reads of x."""
    return (c.tile_w == 0 and not c.depthwise and not whole_rows(c)
            and panels(c.k, c.K // c.groups) <= FEW_PANELS)


cdef inline Py_ssize_t tap_rows(const Convolution *c) noexcept nogil:
    return TAP_BYTES // c.k.real_size


cdef inline Py_ssize_t tap_panels(const Convolution *c) noexcept nogil:
    return TAP_BYTES // (c.k.nr * c.k.real_size)


cdef inline Py_ssize_t tap_pixels(const Convolution *c) noexcept nogil:
    """The same however tiles are cut for the threads: sums end where they end in one thread's."""
    cdef Py_ssize_t rows = min(c.C // c.groups, tap_rows(c)), columns = min(c.K // c.groups, tap_panels(c) * c.k.nr)
    return min(<Py_ssize_t>PIXELS, TAP_ROOM // (c.k.real_size * (odd_lines(c.k, rows) + odd_lines(c.k, columns))))


cdef inline Py_ssize_t few_pixels(const Convolution *c) noexcept nogil:
    """Pixels of dz for all taps: what these read of x stays in L1 and L2."""
    return min(<Py_ssize_t>PIXELS, max(<Py_ssize_t>16, IN_PLACE // min(c.C // c.groups, <Py_ssize_t>ROWS)))


cdef Py_ssize_t image_size(const Convolution *c) noexcept nogil:
    """Numbers of the image under a band of rows, with a vector to spare."""
    cdef const Window *w = &c.window
    cdef Py_ssize_t columns = min(w.OW, BAND), rows = min(w.OH, max(1, BAND // columns))
    return (((rows - 1) * w.stride_h + (w.R - 1) * w.dilation_h + 1)
            * ((columns - 1) * w.stride_w + (w.S - 1) * w.dilation_w + 1) * c.C + 16)


cdef inline bint depthwise_copied(const Convolution *c) noexcept nogil:
    """Whether a depthwise kernel's gradient copies x: for a multiplier, and where rows of pixels fall into so few sets of L1
    that they would not stay there until the next line needs them, too; strides leave little to need."""
    return c.K != c.C or (c.window.stride_h == c.window.stride_w == 1 and c.C * c.k.real_size % TWO_SETS == 0)


cdef inline Py_ssize_t depthwise_panels(const Convolution *c) noexcept nogil:
    """Most of a tile."""
    return COPIED_PANELS if depthwise_copied(c) else DEPTHWISE_PANELS


cdef inline Py_ssize_t depthwise_band(const Convolution *c) noexcept nogil:
    """Rows of dz whose pixels and those of x under them stay in L2, however tiles are cut: sums end where they end."""
    cdef Py_ssize_t columns = min(c.K, depthwise_panels(c) * c.k.nr), pixels = c.window.stride_h * c.window.W + c.window.OW
    return max(1, min(c.window.OH, DEPTHWISE_BYTES // (pixels * columns * c.k.real_size)))


cdef inline Py_ssize_t depthwise_image(const Convolution *c) noexcept nogil:
    """Numbers of the copy under a band, and of a run of its pixels."""
    cdef const Window *w = &c.window
    cdef Py_ssize_t columns = min(w.OW, LONG_ROW)
    return (((depthwise_band(c) - 1) * w.stride_h + (w.R - 1) * w.dilation_h + 1)
            * ((columns - 1) * w.stride_w + (w.S - 1) * w.dilation_w + 1) * odd_lines(c.k, COPIED_PANELS * c.k.nr))


cdef Py_ssize_t tile_count(const Convolution *c, const TileShape *shape) noexcept nogil:
    cdef Py_ssize_t in_matrix = panels(c.k, c.K // c.matrices)
    return c.matrices * tile_blocks(shape, c.rows // shape.taps) * ((in_matrix + shape.panels - 1) // shape.panels)


cdef TileShape tile_shape(const Convolution *c) noexcept nogil:
    cdef TileShape shape
    cdef Py_ssize_t Cg = c.C // c.groups, pieces
    shape.panels = PANELS
    shape.taps = 1
    shape.within = c.rows
    if c.tile_w > 0:
        shape.rows, shape.panels, shape.taps = winograd.gradient_rows(c), 4, c.window.R * c.window.S
        shape.within = c.C
        # Smaller ones repeat transforms, but something for every thread saves more.
        while shape.panels > 1 and tile_count(c, &shape) < c.team:
            shape.panels //= 2
        while shape.rows % (2 * c.k.vl) == 0 and tile_count(c, &shape) < c.team:
            shape.rows //= 2
    elif c.depthwise:
        shape.rows, shape.panels = c.rows, depthwise_panels(c)
        while shape.panels > 1 and tile_count(c, &shape) < c.team:
            shape.panels //= 2
    elif whole_rows(c):
        # Each copies the image, but threads need their share.
        pieces = TILE_BYTES // c.k.real_size // round_up(min(c.K, shape.panels * c.k.nr), c.k.vl) if c.team == 1 else ROWS
        pieces = max(1, pieces // (c.window.S * c.C))
        pieces = (c.window.R + pieces - 1) // pieces
        shape.rows = (c.window.R + pieces - 1) // pieces * c.window.S * c.C
        while shape.panels > 1 and tile_count(c, &shape) < c.team:
            shape.panels //= 2
    elif few_columns(c):
        shape.taps, shape.panels = c.window.R * c.window.S, FEW_PANELS
        shape.rows = parts(Cg, max(<Py_ssize_t>LEAST_ROWS, TILE_BYTES // (shape.taps * c.k.real_size * round_up(c.K // c.groups, c.k.vl))))
        shape.within = Cg
        while shape.rows > LEAST_ROWS and tile_count(c, &shape) < c.team:
            shape.rows = max(<Py_ssize_t>LEAST_ROWS, (shape.rows + 1) // 2)
    else:
        shape.rows, shape.panels = parts(Cg, tap_rows(c)), parts(panels(c.k, c.K // c.groups), tap_panels(c))
        shape.within = Cg
        while tile_count(c, &shape) < c.team and (shape.panels > 1 or shape.rows > LEAST_ROWS):
            if shape.rows > LEAST_ROWS and (shape.panels == 1 or shape.rows > shape.panels * c.k.nr):
                shape.rows = max(<Py_ssize_t>LEAST_ROWS, (shape.rows + 1) // 2)
            else:
                shape.panels = (shape.panels + 1) // 2
    return shape


cdef Py_ssize_t tile_room(const Convolution *c) noexcept nogil:
    """Elements of the largest tile."""
    cdef TileShape shape = tile_shape(c)
    return shape.taps * shape.rows * shape.panels * c.k.nr


cdef double tile_cost(const Convolution *c, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """For one sample, in multiply-adds; copying and transforms, which are measured, count, too."""
    cdef Py_ssize_t taps = c.window.R * c.window.S
    if c.tile_w > 0:
        return winograd.gradient_cost(c, rows, columns)
    if few_columns(c):
        return (<double>taps * rows * columns + 4 * columns + 64 * taps) * c.window.OH * c.window.OW
    return (<double>rows * columns + 4 * (rows + columns) + 64) * c.window.OH * c.window.OW


cdef inline Py_ssize_t tap_nonzeros_bytes(const Convolution *c) noexcept nogil:
    """Room for a tap's rows or columns over its pixels, for their products, and for the lists."""
    cdef Py_ssize_t rows = min(c.C // c.groups, tap_rows(c)), columns = min(c.K // c.groups, tap_panels(c) * c.k.nr)
    return ((max(rows, columns) * round_up(PIXELS, c.k.vl)
             + round_up(rows, c.k.vl) * round_up(columns, c.k.vl)) * c.k.real_size + nonzeros_bytes(c.k))


cdef Py_ssize_t gradient_scratch(const Convolution *c) noexcept nogil:
    """Bytes of a thread."""
    cdef Py_ssize_t size = c.k.real_size
    if c.tile_w > 0:
        return winograd.gradient_scratch(c)
    if c.depthwise:
        return 2 * c.rows * sizeof(ptrdiff_t) + CACHE_LINE + (depthwise_image(c) * size if depthwise_copied(c) else 0)
    if by_planes(c):
        return planar.gradient_scratch(c)
    if whole_rows(c):
        return (BAND * odd_lines(c.k, PANELS * c.k.nr) + image_size(c)
                + c.window.R * turned_room(c, c.window.S * c.C)) * size
    if few_columns(c):
        return (PIXELS * (odd_lines(c.k, FEW_PANELS * c.k.nr) + c.k.nr)
                + c.window.R * c.window.S * turned_room(c, tile_shape(c).rows)) * size
    return TAP_ROOM + turned_room(c, tap_rows(c)) * size + (tap_nonzeros_bytes(c) if c.skips_zeros else 0)


cdef void kernel_gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld,
                          Py_ssize_t batch, Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t lo, Py_ssize_t hi, char *to,
                          char *scratch) noexcept nogil:
    """Rows lo..hi of some panels of dw, each [hi - lo][width], for every one of tile_shape's taps. scratch:
    gradient_scratch bytes."""
    cdef const nn_kernels *k = c.k
    cdef Py_ssize_t size = k.real_size, Kg = c.K // c.matrices, in_group = panels(k, Kg), g = panel // in_group
    cdef Py_ssize_t k0 = panel % in_group * k.nr, columns = min(Kg - k0, n_panels * k.nr)
    cdef const char *dz_end = dz + ((batch - 1) * dz_ld + c.window.OH * c.window.OW * c.K) * size
    if c.tile_w > 0:
        winograd.gradient(c, x, x_ld, dz, dz_ld, batch, panel, n_panels, lo, hi, to, scratch)
        return
    dz += (g * Kg + k0) * size
    if not c.depthwise and not whole_rows(c) and not few_columns(c):
        tap_gradient(c, x, x_ld, dz, dz_ld, batch, columns, g * (c.C // c.groups), lo, hi, to, scratch, dz_end)
        return
    memset(to, 0, tile_shape(c).taps * (hi - lo) * round_up(columns, k.vl) * size)
    if by_planes(c) and whole_rows(c):
        planar.gradient(c, x, x_ld, dz, dz_ld, batch, c.C, lo // (c.window.S * c.C), hi // (c.window.S * c.C), to, scratch)
    elif by_planes(c):
        planar.gradient(c, x + (g * (c.C // c.groups) + lo) * size, x_ld, dz, dz_ld, batch, hi - lo, 0, c.window.R, to, scratch)
    elif c.depthwise:
        depthwise_gradient(c, x, x_ld, dz, dz_ld, batch, k0, columns, to, scratch)
    elif whole_rows(c):
        rows_gradient(c, x, x_ld, dz, dz_ld, batch, columns, lo, hi, to, scratch, dz_end)
    else:
        few_gradient(c, x, x_ld, dz, dz_ld, batch, columns, g * (c.C // c.groups), lo, hi, to, scratch, dz_end)


cdef void multiply(const nn_kernels *k, nn_brgemm *op, Py_ssize_t lo, Py_ssize_t hi, Py_ssize_t rows, Py_ssize_t columns,
                   Py_ssize_t direct, const char *x, const char *dz, char *to) noexcept nogil:
    """Rows lo..hi of a tile = x' dz over pixels, or += if op accumulates; op says where these lie. direct: columns before
    those that are turned."""
    cdef Py_ssize_t size = k.real_size, j = 0
    op.a_row = 1
    op.relu = False
    while j < direct:
        op.ldc = min(k.nr, round_up(columns - j, k.vl))
        multiply_rows(k, op, hi - lo, min(direct - j, <Py_ssize_t>k.nr), x, dz + j * size, NULL,
                      to + (j * rows + lo * op.ldc) * size)
        j += k.nr


cdef void multiply_joined(const nn_kernels *k, nn_brgemm *op, Py_ssize_t run, Py_ssize_t rows, Py_ssize_t columns,
                          Py_ssize_t direct, const ptrdiff_t *x_rows, const char *x, const char *dz, char *to) noexcept nogil:
    """As multiply, for a tile of up to JOINED rows in runs that are each too low for the registers: x_rows says where its
    rows lie in x."""
    cdef Py_ssize_t size = k.real_size, j = 0, i
    cdef ptrdiff_t to_rows[JOINED]
    op.a_row = 1
    op.relu = False
    while j < direct:
        op.ldc = min(k.nr, round_up(columns - j, k.vl))
        if direct - j > k.vl:
            for i in range(rows):
                to_rows[i] = i * op.ldc
            multiply_scattered(k, op, x_rows, to_rows, rows, min(direct - j, <Py_ssize_t>k.nr), x, dz + j * size, NULL,
                               to + j * rows * size)
        else:
            i = 0
            while i < rows:
                multiply_rows(k, op, run, direct - j, x + x_rows[i] * size, dz + j * size, NULL,
                              to + (j * rows + i * op.ldc) * size)
                i += run
        j += k.nr


cdef void multiply_turned(const nn_kernels *k, nn_brgemm *op, Py_ssize_t turned, Py_ssize_t lo, Py_ssize_t hi, Py_ssize_t run,
                          const char *x, const char *dz, char *sums) noexcept nogil:
    """Numbers lo..hi of sums[turned][run padded] += dz' x over pixels; op says where these lie, with x and dz as its B and
    A."""
    cdef Py_ssize_t n = lo
    op.a_row = 1
    op.relu = False
    op.accumulate = True
    op.ldc = round_up(run, k.vl)
    while n < hi:
        multiply_rows(k, op, turned, min(hi - n, <Py_ssize_t>k.nr), dz, x + n * k.real_size, NULL, sums + n * k.real_size)
        n += k.nr


cdef void turn(const nn_kernels *k, Py_ssize_t lo, Py_ssize_t hi, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t direct,
               const char *sums, char *to) noexcept nogil:
    """Rows lo..hi of a tile's columns from `direct` on."""
    cdef Py_ssize_t size = k.real_size, j = direct // k.nr * k.nr, ld = min(k.nr, round_up(columns - j, k.vl))
    k.transpose(columns - direct, hi - lo, sums, round_up(hi - lo, k.vl), to + (j * rows + lo * ld + direct - j) * size, ld)


cdef void copy_vectors(const nn_kernels *k, Py_ssize_t pixels, Py_ssize_t n, const char *source, Py_ssize_t ld, char *to,
                       Py_ssize_t to_ld, const char *end) noexcept nogil:
    """n numbers of every pixel, as whole vectors where these do not reach beyond `end`."""
    cdef Py_ssize_t size = k.real_size, whole = round_up(n, k.vl), safe = pixels
    while safe > 0 and source + ((safe - 1) * ld + whole) * size > end:
        safe -= 1
    k.copy(safe, whole, source, ld, to, to_ld)
    if safe < pixels:
        k.copy(pixels - safe, n, source + safe * ld * size, ld, to + safe * to_ld * size, to_ld)


cdef double share_of_pixels(const nn_kernels *k, Py_ssize_t batch, const char *x, Py_ssize_t ld, Py_ssize_t pixels,
                            Py_ssize_t pixel, Py_ssize_t n, char *scratch) noexcept nogil:
    """How many of n channels are not 0, as pixels here and there in some samples have it, or in the only ones."""
    if batch < 4:
        return nonzero_share(k, pixels, n, x, pixel, scratch)
    return nonzero_share(k, batch, n, x, ld + pixels // batch * pixel, scratch)


cdef bint lists_pay(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld, Py_ssize_t batch,
                    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t pixels, char *scratch, Nonzeros *y,
                    bint *of_x) noexcept nogil:
    """Whether a tile is better made from those numbers of x, or of dz, that are not 0; then sets up the product."""
    cdef const nn_kernels *k = c.k
    cdef const Window *w = &c.window
    cdef double x_share = 1, dz_share = 1
    if pays(k, rows, columns, pixels):
        x_share = share_of_pixels(k, batch, x, x_ld, w.H * w.W, c.C, rows, scratch)
    if pays(k, columns, rows, pixels):
        dz_share = share_of_pixels(k, batch, dz, dz_ld, w.OH * w.OW, c.K, columns, scratch)
    of_x[0] = x_share < dz_share
    y.k, y.panel_step, y.share = k, k.nr, min(x_share, dz_share)
    y.rows, y.n = rows if of_x[0] else columns, columns if of_x[0] else rows
    y.bias, y.accumulate, y.relu = NULL, False, False
    return y.share < 1


cdef void tap_gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld,
                       Py_ssize_t batch, Py_ssize_t columns, Py_ssize_t c0, Py_ssize_t lo, Py_ssize_t hi, char *to,
                       char *scratch, const char *dz_end) noexcept nogil:
    """Rows of one tap, by the pixels for which it lies inside the image. c0: the group's first channel of x."""
    cdef const nn_kernels *k = c.k
    cdef const Window *w = &c.window
    cdef Py_ssize_t size = k.real_size, Cg = c.C // c.groups, tap = lo // Cg, r = tap // w.S, s = tap % w.S
    cdef Py_ssize_t i0 = first_output(w.pad_top, r * w.dilation_h, w.stride_h)
    cdef Py_ssize_t i1 = min(w.OH, last_output(w.H, w.pad_top, r * w.dilation_h, w.stride_h))
    cdef Py_ssize_t j0 = first_output(w.pad_left, s * w.dilation_w, w.stride_w)
    cdef Py_ssize_t j1 = min(w.OW, last_output(w.W, w.pad_left, s * w.dilation_w, w.stride_w))
    cdef Py_ssize_t rows = hi - lo, turned = turned_columns(c, columns, rows), direct = columns - turned
    cdef Py_ssize_t x_pitch = odd_lines(k, rows), dz_pitch = odd_lines(k, columns), n = 0, b, i, j, m, at
    cdef Py_ssize_t most = parts(batch * max(<Py_ssize_t>0, i1 - i0) * max(<Py_ssize_t>0, j1 - j0), tap_pixels(c))
    cdef char *dz_copy = scratch + most * x_pitch * size
    cdef char *sums = scratch + TAP_ROOM
    cdef const char *x_end = x + ((batch - 1) * x_ld + w.H * w.W * c.C) * size
    cdef char *listed = sums + turned_room(c, tap_rows(c)) * size
    cdef char *product
    cdef char *lists
    cdef bint of_x = False, of_nonzeros = False
    cdef Nonzeros y
    cdef nn_brgemm op, other
    c0 += lo - tap * Cg
    if c.skips_zeros and i0 < i1 and j0 < j1:
        of_nonzeros = lists_pay(c, x + c0 * size, x_ld, dz, dz_ld, batch, rows, columns, most, listed, &y, &of_x)
        y.a_row, y.ldc = round_up(most, k.vl), round_up(y.n, k.vl)
        product = listed + y.rows * y.a_row * size
        lists = product + y.rows * y.ldc * size
        y.c = product
    op.accumulate = False
    op.count = other.count = 1
    op.a_offset = other.a_offset = NULL
    op.b_step = other.b_step = 0
    op.a_col = other.ldb = x_pitch
    op.ldb = other.a_col = dz_pitch
    if columns % k.vl != 0 or i0 >= i1 or j0 >= j1:     # products do not touch the padding, and there may be none
        memset(to, 0, rows * round_up(columns, k.vl) * size)
    memset(sums, 0, turned * round_up(rows, k.vl) * size)
    for b in range(batch):
        for i in range(i0, i1):
            j = j0
            while j < j1:
                m = min(j1 - j, most - n)
                at = ((i * w.stride_h + r * w.dilation_h - w.pad_top) * w.W
                      + j * w.stride_w + s * w.dilation_w - w.pad_left) * c.C + c0
                copy_vectors(k, m, rows, x + (b * x_ld + at) * size, w.stride_w * c.C, scratch + n * x_pitch * size, x_pitch,
                             x_end)
                copy_vectors(k, m, columns, dz + (b * dz_ld + (i * w.OW + j) * c.K) * size, c.K,
                             dz_copy + n * dz_pitch * size, dz_pitch, dz_end)
                n += m
                j += m
                if n == most or (b == batch - 1 and i == i1 - 1 and j == j1):
                    if of_nonzeros:
                        y.b, y.ldb = (dz_copy, dz_pitch) if of_x else (scratch, x_pitch)
                        add_transposed(&y, n, scratch if of_x else dz_copy, x_pitch if of_x else dz_pitch, listed, lists)
                        n = 0
                        continue
                    op.k = other.k = n
                    multiply(k, &op, 0, rows, rows, columns, direct, scratch, dz_copy, to)
                    if turned > 0:
                        multiply_turned(k, &other, turned, 0, rows, rows, scratch, dz_copy + direct * size, sums)
                    op.accumulate = True
                    n = 0
    if of_nonzeros:
        to_panels(k, rows, columns, product, y.ldc, not of_x, to)
    elif turned > 0:
        turn(k, 0, rows, rows, columns, direct, sums, to)


cdef void few_gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld,
                       Py_ssize_t batch, Py_ssize_t columns, Py_ssize_t c0, Py_ssize_t lo, Py_ssize_t hi, char *to,
                       char *scratch, const char *dz_end) noexcept nogil:
    """Channels lo..hi of every tap, for few columns of dz: they are copied once for all taps, and x is read in place. The
    last ones may be turned. c0: the group's first channel of x."""
    cdef const nn_kernels *k = c.k
    cdef const Window *w = &c.window
    cdef Py_ssize_t size = k.real_size, rows = hi - lo, dz_pitch = odd_lines(k, columns), tap_size = rows * round_up(columns, k.vl)
    cdef Py_ssize_t most = few_pixels(c), piece = parts(w.OW, most), band = max(1, most // piece)
    cdef Py_ssize_t turned = turned_columns(c, columns, rows), direct = columns - turned
    cdef Py_ssize_t b, i, j, m, n, q, r, s, r_lo, r_hi, s_lo, s_hi
    cdef ptrdiff_t x_offset[PIXELS]
    cdef ptrdiff_t dz_offset[PIXELS]
    cdef char *x_copy = scratch + PIXELS * odd_lines(k, FEW_PANELS * k.nr) * size
    cdef char *sums = x_copy + PIXELS * k.nr * size     # of the turned columns: [tap][turned][rows]
    cdef const char *x_end = x + ((batch - 1) * x_ld + w.H * w.W * c.C) * size
    cdef const char *x_at
    cdef const char *dz_at
    cdef char *tap_sums
    cdef Py_ssize_t whole
    cdef nn_brgemm op, other, last
    op.accumulate = True
    op.a_offset = x_offset
    op.a_col = w.stride_w * c.C
    op.ldb = dz_pitch
    other.a_offset = dz_offset
    other.a_col = dz_pitch
    other.ldb = op.a_col
    other.b_step = w.stride_h * w.W * c.C
    memset(sums, 0, w.R * w.S * turned * round_up(rows, k.vl) * size)
    for b in range(batch):
        i = 0
        while i < w.OH:
            n = min(band, w.OH - i)
            j = 0
            while j < w.OW:
                m = min(piece, w.OW - j)
                op.b_step = m * dz_pitch
                for q in range(n):
                    x_offset[q] = q * other.b_step
                    dz_offset[q] = q * op.b_step
                    copy_vectors(k, m, columns, dz + (b * dz_ld + ((i + q) * w.OW + j) * c.K) * size, c.K,
                                 scratch + dz_offset[q] * size, dz_pitch, dz_end)
                for r in range(w.R):
                    r_lo = max(i, first_output(w.pad_top, r * w.dilation_h, w.stride_h))
                    r_hi = min(i + n, last_output(w.H, w.pad_top, r * w.dilation_h, w.stride_h))
                    for s in range(w.S):
                        s_lo = max(j, first_output(w.pad_left, s * w.dilation_w, w.stride_w))
                        s_hi = min(j + m, last_output(w.W, w.pad_left, s * w.dilation_w, w.stride_w))
                        if r_lo >= r_hi or s_lo >= s_hi:
                            continue
                        op.count = other.count = r_hi - r_lo
                        op.k = other.k = s_hi - s_lo
                        x_at = x + (b * x_ld + ((r_lo * w.stride_h + r * w.dilation_h - w.pad_top) * w.W
                                                + s_lo * w.stride_w + s * w.dilation_w - w.pad_left) * c.C + c0 + lo) * size
                        dz_at = scratch + ((r_lo - i) * op.b_step + (s_lo - j) * dz_pitch) * size
                        multiply(k, &op, 0, rows, rows, columns, direct, x_at, dz_at, to + (r * w.S + s) * tap_size * size)
                        if turned > 0:
                            whole = rows
                            if x_at + ((other.count - 1) * other.b_step + (other.k - 1) * other.ldb
                                       + round_up(rows, k.vl)) * size > x_end:
                                whole = rows // k.nr * k.nr     # the rest from a copy: products read whole vectors
                            tap_sums = sums + (r * w.S + s) * turned * round_up(rows, k.vl) * size
                            multiply_turned(k, &other, turned, 0, whole, rows, x_at, dz_at + direct * size, tap_sums)
                            if whole < rows:
                                last = other
                                last.ldb = k.nr
                                last.b_step = other.k * last.ldb
                                for q in range(other.count):
                                    k.copy(other.k, rows - whole, x_at + (x_offset[q] + whole) * size, other.ldb,
                                           x_copy + q * last.b_step * size, last.ldb)
                                multiply_turned(k, &last, turned, whole, rows, rows, x_copy - whole * size,
                                                dz_at + direct * size, tap_sums)
                j += m
            i += n
    for r in range(w.R * w.S if turned > 0 else 0):
        turn(k, 0, rows, rows, columns, direct, sums + r * turned * round_up(rows, k.vl) * size, to + r * tap_size * size)


cdef void rows_gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld,
                        Py_ssize_t batch, Py_ssize_t columns, Py_ssize_t lo, Py_ssize_t hi, char *to,
                        char *scratch, const char *dz_end) noexcept nogil:
    """Whole kernel rows of few channels: a row's taps are one run of numbers in the copied image. dz is read in place where
    its pixels are short, or its columns turned."""
    cdef const nn_kernels *k = c.k
    cdef const Window *w = &c.window
    cdef Py_ssize_t size = k.real_size, run = w.S * c.C, r0 = lo // run, r1 = hi // run, r, b, i, i_end, j, q
    cdef Py_ssize_t rows = hi - lo, band = max(1, BAND // w.OW), piece = parts(w.OW, BAND), pitch, m
    cdef Py_ssize_t whole = round_up(columns, k.vl), row = w.OW * c.K
    cdef Py_ssize_t turned = turned_columns(c, columns, run), direct = columns - turned
    cdef bint joined = r1 - r0 > 1 and 2 * run <= k.mr and rows <= JOINED
    cdef ptrdiff_t x_rows[JOINED]
    cdef ptrdiff_t x_offset[BAND]
    cdef ptrdiff_t dz_offset[BAND]
    cdef char *dz_copy = scratch
    cdef char *image = scratch + BAND * odd_lines(k, PANELS * k.nr) * size
    cdef char *sums = image + image_size(c) * size      # of the turned columns: [r][turned][run]
    cdef Py_ssize_t sums_size = turned * round_up(run, k.vl)
    cdef const char *source
    cdef nn_brgemm op, other
    op.accumulate = True
    op.a_offset = x_offset
    op.a_col = w.stride_w * c.C
    other.a_offset = dz_offset
    other.a_col = c.K
    other.ldb = op.a_col
    memset(sums, 0, (r1 - r0) * sums_size * size)
    for q in range(band):
        dz_offset[q] = q * row
    for b in range(batch):
        i = 0
        while i < w.OH:
            i_end = min(i + band, w.OH)
            j = 0
            while j < w.OW:
                m = min(piece, w.OW - j)
                pitch = ((m - 1) * w.stride_w + w.S) * c.C
                copy_pixels(k, x + b * x_ld * size, w.H, w.W, c.C, 1,
                            i * w.stride_h + r0 * w.dilation_h - w.pad_top,
                            (i_end - 1 - i) * w.stride_h + (r1 - 1 - r0) * w.dilation_h + 1, j * w.stride_w - w.pad_left,
                            pitch // c.C, 0, c.C, image, c.C)
                op.k = other.k = m
                op.count = other.count = i_end - i
                other.b_step = w.stride_h * pitch
                source = dz + (b * dz_ld + i * row + j * c.K) * size
                for r in range(r1 - r0 if turned > 0 else 0):
                    multiply_turned(k, &other, turned, 0, run, run, image + r * w.dilation_h * pitch * size,
                                    source + direct * size, sums + r * sums_size * size)
                op.ldb, op.b_step = c.K, row
                if direct > 0 and (c.K * size > SHORT_PIXEL
                                   or source + ((op.count - 1) * row + (m - 1) * c.K + whole) * size > dz_end):
                    op.ldb = odd_lines(k, columns)
                    op.b_step = m * op.ldb
                    for q in range(op.count):
                        copy_vectors(k, m, direct, source + q * row * size, c.K, dz_copy + q * op.b_step * size, op.ldb,
                                     dz_end)
                    source = dz_copy
                for q in range(op.count):
                    x_offset[q] = q * other.b_step
                for q in range(rows if joined else 0):
                    x_rows[q] = q // run * w.dilation_h * pitch + q % run
                if joined:
                    multiply_joined(k, &op, run, rows, columns, direct, x_rows, image, source, to)
                for r in range(r1 - r0 if not joined else 0):
                    multiply(k, &op, r * run, (r + 1) * run, rows, columns, direct, image + r * w.dilation_h * pitch * size,
                             source, to)
                j += m
            i = i_end
    for r in range(r1 - r0 if turned > 0 else 0):
        turn(k, r * run, (r + 1) * run, rows, columns, direct, sums + r * sums_size * size, to)


cdef void depthwise_gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld,
                             Py_ssize_t batch, Py_ssize_t first, Py_ssize_t columns, char *to, char *scratch) noexcept nogil:
    """Some panels' channels, all taps, by rectangles of pixels for which the same ones lie inside: of x in place or copied,
    with each channel repeated for a multiplier."""
    cdef const nn_kernels *k = c.k
    cdef const Window *w = &c.window
    cdef Py_ssize_t size = k.real_size, band = depthwise_band(c), b, i, j, i_end, j_end, r, s, r_lo, r_hi, s_lo, s_hi
    cdef Py_ssize_t pixel = c.C, pitch = w.W * c.C, top, left, rows, across
    cdef ptrdiff_t *row = <ptrdiff_t *>scratch
    cdef ptrdiff_t *offset = row + c.rows
    cdef char *image = <char *>round_up(<Py_ssize_t>(offset + c.rows), CACHE_LINE)
    cdef const char *at
    cdef bint copied = depthwise_copied(c)
    cdef nn_depthwise op
    op.rows = c.rows
    op.row = row
    op.x_offset = offset
    op.y_step = c.K
    op.y_line = w.OW * c.K
    op.ahead = not copied
    for b in range(batch):
        i = 0
        while i < w.OH:
            i_end = clip_run(i, min(w.OH, i + band), w.stride_h, -w.pad_top, w.R, w.dilation_h, w.H, &r_lo, &r_hi)
            top = i * w.stride_h - w.pad_top
            j = 0
            while j < w.OW:
                j_end = clip_run(j, min(w.OW, j + LONG_ROW), w.stride_w, -w.pad_left, w.S, w.dilation_w, w.W, &s_lo, &s_hi)
                left = j * w.stride_w - w.pad_left
                if copied:
                    pixel = odd_lines(k, columns)
                    rows = (i_end - 1 - i) * w.stride_h + (w.R - 1) * w.dilation_h + 1
                    across = (j_end - 1 - j) * w.stride_w + (w.S - 1) * w.dilation_w + 1
                    pitch = across * pixel
                    copy_pixels(k, x + b * x_ld * size, w.H, w.W, c.C, c.K // c.C, top, rows, left, across, first, columns,
                                image, pixel)
                    at = image
                else:
                    at = x + (b * x_ld + top * pitch + left * c.C + first) * size
                op.x_step = w.stride_w * pixel
                op.x_line = w.stride_h * pitch
                op.lines = i_end - i
                op.taps = 0
                for r in range(r_lo, r_hi):
                    for s in range(s_lo, s_hi):
                        row[op.taps] = r * w.S + s
                        offset[op.taps] = r * w.dilation_h * pitch + s * w.dilation_w * pixel
                        op.taps += 1
                k.depthwise_gradient(&op, j_end - j, columns, at, dz + (b * dz_ld + (i * w.OW + j) * c.K) * size, to)
                j = j_end
            i = i_end
