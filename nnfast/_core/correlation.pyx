"""Sums over the taps of a window.

    y[i, j, k] (+)= sum_t sum_c x[i * step + first + t * spacing, (likewise j), c] w[t, c, k]

A convolution is one such sum; its input gradient is one for every phase of the stride, over dy with the taps reversed.

    for a band of output rows:                  x's rows, copied with the zeros around them if there are any, stay in L2
        for a block of taps and channels:
            for a panel (NR channels of y):     the panel's block of w stays in L1
                for a row, for a tile (MR pixels):   y's tile stays in registers

With NHWC a tile's pixels are rows of A in place, of one row of y, or, where rows are so short that they would make low
tiles, of all rows of the band for which the same taps lie inside. The taps of one kernel row are one run of numbers where
they are next to each other, so A_i is a kernel row and not a tap. Where much of a row would be zeros, as in the input
gradient of a small image's large kernel, a tile is the pixels for which one tap of a kernel row lies inside, and A_i is
that tap in one kernel row. Where a kernel has one tap and much of x is 0, nonzeros.pyx makes the product. The cuts along
taps and channels depend on the shape alone: the bits do not depend on how the rows were shared out.
"""
from libc.stddef cimport ptrdiff_t
from libc.string cimport memcpy, memset

from nnfast._core.gemm cimport (
    CACHE_LINE, ONE_SET, TWO_SETS, multiply_rows, multiply_scattered, odd_lines, packed_size, panel_width, panels, parts,
    round_up,
)
from nnfast._core.nonzeros cimport Nonzeros, nonzeros_bytes, pays, skip_zeros
from nnfast._core.kernels cimport NN_RELU, nn_brgemm, nn_depthwise, nn_kernels
from nnfast._core.planar cimport prepare_planes, suits, sum_planes
from nnfast._core.window cimport clip, clip_run, first_output, last_output
from nnfast._core.winograd cimport strips, sum_scratch, sum_tiles, tiles

cdef enum:
    PANEL_BYTES = 98304     # one panel's block of w in L1
    BAND_BYTES = 262144     # what a band reads and writes, in L2
    LARGE_KERNEL = 1048576  # bytes
    LONG_ROW = 256          # pixels: longer rows are cut
    SEGMENT = 96
    WAYS = 8                # lines that a set of L1 holds
    MANY_TAPS = 9           # that pay for the copy
    FAR_ROWS = 8            # from the first tap's row to the last's: beyond that a copy is mostly of rows between them
    FEW_TERMS = 64          # of a column of taps: not worth another visit to y
    MOST_UNITS = 64


cdef struct Unit:           # of work: pixels of one output row, or of all for which the same taps lie inside
    const char *at          # where the first one reads x
    char *to                # and is stored
    Py_ssize_t pixels
    Py_ssize_t column       # of the first, in a row
    Py_ssize_t lo, hi       # taps_h that lie in the image
    const ptrdiff_t *a_rows # where each pixel lies from the first on, in x and in y; NULL: one beside the other
    const ptrdiff_t *c_rows


cdef inline Py_ssize_t depth(const nn_kernels *k) noexcept nogil:
    return PANEL_BYTES // (k.nr * k.real_size)


cdef inline Py_ssize_t segment_start(const Correlation *x, Py_ssize_t segment) noexcept nogil:
    return min(segment * SEGMENT, x.OW) if x.segments > 1 else segment * x.OW


cdef inline Py_ssize_t span(Py_ssize_t outputs, Py_ssize_t step, Py_ssize_t taps, Py_ssize_t spacing) noexcept nogil:
    """Inputs that a row of outputs covers."""
    return (outputs - 1) * step + (taps - 1) * spacing + 1


cdef bint much_padding(const Correlation *x) noexcept nogil:
    """A fifth or more of the taps of a row of outputs lies outside."""
    cdef Py_ssize_t inside = 0, s
    for s in range(x.taps_w):
        inside += max(0, last_column(x, s) - first_column(x, s))
    return 5 * inside <= 4 * x.OW * x.taps_w


cdef bint crowded(const Correlation *x) noexcept nogil:
    """Rows of a depthwise kernel's taps fall into one or two sets of L1, more than twice what these hold: it would not stay
    there until the next line needs it, too."""
    cdef Py_ssize_t pixel = x.C * x.k.real_size, sets = 1 if pixel % ONE_SET == 0 else 2
    return x.OH > 1 and pixel % TWO_SETS == 0 and x.taps_h * x.W > 2 * WAYS * sets


cdef bint low_tiles(const Correlation *x) noexcept nogil:
    """Cut into tiles, rows leave a sixth of the registers or more without work."""
    cdef Py_ssize_t count = (x.OW + x.k.mr - 1) // x.k.mr
    return 6 * x.OW < 5 * x.k.mr * count


cdef inline Py_ssize_t table_bytes(const Correlation *x) noexcept nogil:
    """The lists of taps, and of pixels, at the beginning of scratch."""
    return round_up(3 * x.taps_h * x.taps_w * sizeof(ptrdiff_t)
                    + (2 * x.units * x.OW * sizeof(ptrdiff_t) if x.short_rows else 0), CACHE_LINE)


cdef inline Py_ssize_t first_column(const Correlation *x, Py_ssize_t s) noexcept nogil:
    """The first output of a row for which tap s of a kernel row lies inside."""
    return first_output(-x.first_w, s * x.spacing_w, x.step_w)


cdef inline Py_ssize_t last_column(const Correlation *x, Py_ssize_t s) noexcept nogil:
    """One beyond the last."""
    return min(x.OW, last_output(x.W, -x.first_w, s * x.spacing_w, x.step_w))


cdef inline Py_ssize_t pitch(const Correlation *x) noexcept nogil:
    """Numbers from row to row of what the tiles read: of x, or its copy."""
    if x.copied:
        return span(x.OW if x.segments == 1 else SEGMENT, x.step_w, x.taps_w, x.spacing_w) * x.pixel
    return x.W * (x.pixel if x.by_panels else x.C)


cdef inline Py_ssize_t x_line(const Correlation *x) noexcept nogil:
    """Numbers in x from one row of outputs to the next."""
    return x.step_h * pitch(x)


cdef void prepare(Correlation *x) noexcept nogil:
    """Derive how to loop from the shape."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t last, run, width, row, rows, fewest, kernel
    if x.OH == 0 or x.OW == 0:
        x.per_sample = x.scratch = 0
        return
    if x.tile_w > 0:
        x.segments = strips(x)
        x.per_sample = tiles(x.tile_h, x.OH) * x.segments
        x.scratch = sum_scratch(x)
        return
    x.planar = suits(x)
    x.segments = 1
    if x.planar:
        prepare_planes(x)
        return
    x.copied = x.first_h < 0 or x.first_w < 0
    last = x.first_h + span(x.OH, x.step_h, x.taps_h, x.spacing_h)
    x.copied |= last > x.H
    last = x.first_w + span(x.OW, x.step_w, x.taps_w, x.spacing_w)
    x.copied |= last > x.W
    if x.depthwise:     # leaves out the taps that lie in zeros
        x.copied = x.repeat > 1
    x.by_columns = (not x.depthwise and x.OW <= LONG_ROW and much_padding(x)
                    and FEW_TERMS <= x.taps_h * x.C // x.groups <= depth(k))
    if x.by_columns:
        x.copied = False
    x.pixel = x.C * x.repeat
    if (k.mr > WAYS and not x.depthwise and not x.by_columns and x.step_w * x.pixel * k.real_size % ONE_SET == 0
            and x.K // x.groups > k.vl):
        x.copied = True
        x.pixel += CACHE_LINE // k.real_size
    x.by_panels = (x.depthwise and x.repeat == x.step_h == x.step_w == 1 and x.taps_h * x.taps_w >= MANY_TAPS
                   and (x.taps_h - 1) * x.spacing_h <= FAR_ROWS and max(x.W, x.OW) <= LONG_ROW and crowded(x))
    if x.by_panels:
        x.pixel = odd_lines(k, min(x.C, COPIED_PANELS * k.nr))
    x.merged = x.groups == 1 and not x.depthwise and (x.spacing_w == 1 and x.pixel == x.C or x.taps_w == 1)
    x.short_rows = (not x.depthwise and not x.by_columns and x.OW <= LONG_ROW and x.K // x.groups > k.vl
                    and low_tiles(x))
    x.pointwise = (x.skips_zeros and x.taps_h == x.taps_w == x.groups == 1 and not x.depthwise and not x.short_rows
                   and pays(k, min(x.OW, SEGMENT), x.K, min(x.C, depth(k))))
    if x.OW > LONG_ROW:
        x.segments = (x.OW + SEGMENT - 1) // SEGMENT
    x.per_sample = x.OH * x.segments
    width = x.OW if x.segments == 1 else SEGMENT
    run = x.pixel if x.depthwise else min(depth(k), x.taps_h * x.taps_w * x.C // x.groups)
    # A kernel beyond the caches is read anew for every band: then the bands are larger.
    kernel = x.taps_h * x.taps_w * x.C * (1 if x.depthwise else x.K // x.groups) * k.real_size
    row = width * (run + (run if x.by_panels else x.K)) * k.real_size
    x.units = max(1, min(<Py_ssize_t>MOST_UNITS, max(<Py_ssize_t>BAND_BYTES, kernel // 8) // row))
    x.units = parts(x.OH, x.units) if x.units < x.OH else min(x.units, max(x.OH, MOST_UNITS if kernel > LARGE_KERNEL else 4))
    x.scratch = CACHE_LINE + table_bytes(x)
    if x.copied:
        # Units share rows if they belong to the same sample: at best as many as it has, at worst none.
        fewest = (x.units + x.OH - 1) // x.OH
        rows = max((x.units - fewest) * x.step_h + fewest * span(1, x.step_h, x.taps_h, x.spacing_h),
                   x.units * span(1, x.step_h, x.taps_h, x.spacing_h))
        x.scratch += rows * span(width, x.step_w, x.taps_w, x.spacing_w) * x.pixel * k.real_size
    elif x.by_panels:
        x.scratch += min(x.H, span(min(x.units, x.OH), 1, x.taps_h, x.spacing_h)) * pitch(x) * k.real_size
    if x.pointwise:
        x.lists = round_up(x.scratch, CACHE_LINE)
        x.scratch = x.lists + nonzeros_bytes(k)


cdef void copy_pixels(const nn_kernels *k, const char *x, Py_ssize_t H, Py_ssize_t W, Py_ssize_t C, Py_ssize_t repeat,
                      Py_ssize_t row, Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns, Py_ssize_t first,
                      Py_ssize_t channels, char *to, Py_ssize_t pixel) noexcept nogil:
    """A rectangle of one sample's pixels, zeros where it reaches beyond the image: channels first.. of each, after
    repeating every one of them. pixel: numbers from one to the next there."""
    cdef Py_ssize_t size = k.real_size, pitch = columns * pixel * size
    cdef Py_ssize_t left = min(max(-column, 0), columns), right = max(min(W - column, columns), left), i, j, c
    cdef const char *source
    cdef char *at
    for i in range(row, row + rows):
        if i < 0 or i >= H or left == right:
            memset(to, 0, pitch)
            to += pitch
            continue
        if left > 0:
            memset(to, 0, left * pixel * size)
        if right < columns:
            memset(to + right * pixel * size, 0, (columns - right) * pixel * size)
        source = x + (i * W + column + left) * C * size
        at = to + left * pixel * size
        if repeat == 1 and channels == C == pixel:
            memcpy(at, source, (right - left) * pixel * size)
        elif repeat == 1:
            k.copy(right - left, channels, source + first * size, C, at, pixel)
        else:
            for j in range(right - left):
                for c in range(channels):
                    memcpy(at + (j * pixel + c) * size, source + (j * C + (first + c) // repeat) * size, size)
        to += pitch


cdef void correlate(const Correlation *x, Py_ssize_t lo, Py_ssize_t hi, char *scratch) noexcept nogil:
    """Output units lo..hi, x.per_sample of every sample, on this thread.

    scratch: x.scratch bytes of this thread's own.
    """
    cdef Unit units[MOST_UNITS]
    cdef Unit *one
    cdef Py_ssize_t size = x.k.real_size
    cdef ptrdiff_t *offset = <ptrdiff_t *>scratch
    cdef Py_ssize_t unit = lo, n, i, j, sample, row, segment, start, rows, columns, run, row_pitch, t, taps, top = 0
    cdef char *band
    cdef char *copy
    if x.tile_w > 0:
        sum_tiles(x, lo, hi, scratch)
        return
    if x.planar:
        sum_planes(x, lo, hi, scratch)
        return
    taps = x.taps_w if not x.merged else 1
    band = scratch + table_bytes(x)
    row_pitch = pitch(x)
    if x.by_columns:
        for t in range(x.taps_h * x.taps_w):
            offset[t] = t % x.taps_h * x.spacing_h * row_pitch + t // x.taps_h * x.spacing_w * x.pixel
    else:
        for t in range(x.taps_h * taps):
            offset[t] = t // taps * x.spacing_h * row_pitch + t % taps * x.spacing_w * x.pixel
    while unit < hi:
        n = min(x.units, hi - unit)
        copy = band
        i = 0
        while i < n:
            row = (unit + i) // x.segments
            segment = (unit + i) - row * x.segments
            sample = row // x.OH
            row -= sample * x.OH
            start = segment_start(x, segment)
            columns = segment_start(x, segment + 1) - start
            # Units that read the same rectangle: the rows of one sample.
            run = 1
            if x.segments == 1:
                run = min(n - i, x.OH - row)
            if x.copied:
                rows = span(run, x.step_h, x.taps_h, x.spacing_h)
                copy_pixels(x.k, x.x + sample * x.x_sample * size, x.H, x.W, x.C, x.repeat,
                            row * x.step_h + x.first_h, rows, start * x.step_w + x.first_w, row_pitch // x.pixel, 0,
                            x.C * x.repeat, copy, x.pixel)
            if x.by_panels:
                top = max(0, row + x.first_h)
            for j in range(run):
                one = &units[i + j]
                if x.copied:
                    one.at = copy + j * x.step_h * row_pitch * size
                elif x.by_panels:
                    one.at = copy + ((row + j + x.first_h - top) * row_pitch + x.first_w * x.pixel) * size
                else:
                    one.at = x.x + (sample * x.x_sample + ((row + j) * x.step_h + x.first_h) * row_pitch
                                    + (start * x.step_w + x.first_w) * x.C) * size
                one.to = x.y + (sample * x.y_sample + (row + j) * x.y_row + start * x.y_pixel) * size
                one.pixels = columns
                one.column = start
                one.a_rows = one.c_rows = NULL
                rows_inside(x, row + j, &one.lo, &one.hi)
            if x.copied:
                copy += rows * row_pitch * size
            if x.by_panels:
                rows = max(0, min(x.H, row + x.first_h + span(run, 1, x.taps_h, x.spacing_h)) - top)
                depthwise_by_panels(x, run, &units[i], x.x + (sample * x.x_sample + top * x.W * x.C) * size, rows, offset,
                                    copy)
            i += run
        if x.depthwise:
            if not x.by_panels:
                depthwise_units(x, n, units, 0, x.K, offset)
        elif x.by_columns:
            band_by_columns(x, n, units, offset)
        else:
            band_of_tiles(x, n, units, offset, scratch + x.lists)
        unit += n


cdef void rows_inside(const Correlation *x, Py_ssize_t row, Py_ssize_t *lo, Py_ssize_t *hi) noexcept nogil:
    """Taps lo..hi of an output row lie inside the image; tiles get all of them if none does, to have a sum to make."""
    clip(row * x.step_h + x.first_h, x.taps_h, x.spacing_h, x.H, lo, hi)
    if lo[0] == hi[0] and not x.depthwise and not x.by_columns:
        lo[0] = 0
        hi[0] = x.taps_h


cdef Py_ssize_t join(const Correlation *x, Py_ssize_t n, const Unit *rows, Unit *units, ptrdiff_t *places) noexcept nogil:
    """Rows for which the same taps lie inside as one unit; how many of these there are. places: room for two of every
    pixel."""
    cdef Py_ssize_t size = x.k.real_size, count = 0, u, i, j
    cdef ptrdiff_t *c_places = places + n * x.OW
    cdef Unit *unit
    for i in range(n):
        u = 0
        while u < count and (units[u].lo != rows[i].lo or units[u].hi != rows[i].hi):
            u += 1
        if u < count:
            continue
        unit = &units[count]
        count += 1
        unit[0] = rows[i]
        unit.pixels = 0
        unit.a_rows, unit.c_rows = places, c_places
        for u in range(i, n):
            if rows[u].lo == unit.lo and rows[u].hi == unit.hi:
                for j in range(rows[u].pixels):
                    places[j] = (rows[u].at - unit.at) // size + j * x.step_w * x.pixel
                    c_places[j] = (rows[u].to - unit.to) // size + j * x.y_pixel
                places += rows[u].pixels
                c_places += rows[u].pixels
                unit.pixels += rows[u].pixels
    return count


cdef Py_ssize_t panels_of_nonzeros(const Correlation *x, const Unit *unit, Py_ssize_t p, Py_ssize_t count,
                                   char *scratch) noexcept nogil:
    """y of a pointwise convolution's unit from those of count channels of x, from p on, that are not 0: all panels but a
    narrow last one; how many, none if few are."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, whole = x.K // k.nr
    cdef bint last = p + count == x.C
    cdef Nonzeros y
    if panel_width(k, x.K, whole) == k.nr and x.K % k.nr != 0:
        whole += 1
    y.k, y.rows, y.n, y.depth = k, unit.pixels, min(x.K, whole * k.nr), count
    y.a, y.a_row = unit.at + p * size, x.step_w * x.pixel
    y.b, y.ldb, y.panel_step = x.w + p * k.nr * size, k.nr, x.C * k.nr
    y.bias = x.bias if last else NULL
    y.c, y.ldc = unit.to, x.y_pixel
    y.accumulate = x.accumulate or p > 0
    y.relu = x.relu and last
    return whole if skip_zeros(&y, scratch) else 0


cdef void band_of_tiles(const Correlation *x, Py_ssize_t n, const Unit *rows, ptrdiff_t *offset, char *lists) noexcept nogil:
    """y of n rows, by blocks of taps and channels, panels, units and tiles. Rows of taps outside the image are left out.
    Behind `offset` there is room for two lists of taps more, and for those of pixels. lists: of a pointwise
    convolution."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, Cg = x.C // x.groups, Kg = x.K // x.groups
    cdef Py_ssize_t run = Cg * (x.taps_w if x.merged else 1), runs = x.taps_h * (1 if x.merged else x.taps_w)
    cdef Py_ssize_t block = packed_size(k, runs * run, Kg), most_depth = depth(k), count
    cdef Py_ssize_t piece = run if run <= most_depth else parts(run, most_depth)
    cdef Py_ssize_t together = parts(runs, most_depth // run) if run <= most_depth else 1
    cdef Py_ssize_t q = 0, p, g, j, width, columns, i, n_units, n_joined = 0
    cdef Unit joined[MOST_UNITS]
    cdef const Unit *units
    cdef const Unit *unit
    cdef Py_ssize_t runs_in_row = runs // x.taps_h, q0, q1
    cdef Py_ssize_t done[MOST_UNITS]    # panels of each unit
    cdef const char *a
    cdef const char *b
    cdef const char *bias
    cdef char *c
    cdef nn_brgemm op
    op.a_row = x.step_w * x.pixel
    op.a_col = 1
    op.ldc = x.y_pixel
    if x.short_rows:
        n_joined = join(x, n, rows, joined, offset + 3 * x.taps_h * x.taps_w)
    while q < runs:
        count = min(together, runs - q)
        p = 0
        while p < run:
            op.k = min(piece, run - p)
            for i in range(n if x.pointwise else 0):
                done[i] = panels_of_nonzeros(x, &rows[i], p, op.k, lists)
            for g in range(x.groups):
                for j in range(panels(k, Kg)):
                    width = panel_width(k, Kg, j)
                    columns = min(Kg - j * k.nr, width)
                    op.ldb = width
                    op.b_step = run * width
                    units, n_units = rows, n
                    if x.short_rows and columns > k.vl:
                        units, n_units = &joined[0], n_joined
                    for i in range(n_units):
                        if x.pointwise and j < done[i]:
                            continue
                        unit = &units[i]
                        q0 = max(q, unit.lo * runs_in_row)
                        q1 = min(q + count, unit.hi * runs_in_row)
                        if q0 >= q1:
                            continue
                        op.count = q1 - q0
                        op.a_offset = offset + q0 if op.count > 1 else NULL
                        op.accumulate = x.accumulate or q0 > unit.lo * runs_in_row or p > 0
                        bias = NULL
                        op.relu = False
                        if q1 == unit.hi * runs_in_row and p + op.k == run:      # the last of this unit
                            op.relu = x.relu
                            if x.bias != NULL:
                                bias = x.bias + (g * Kg + j * k.nr) * size
                        a = unit.at + ((0 if op.count > 1 else offset[q0]) + g * Cg + p) * size
                        b = x.w + (g * block + j * k.nr * runs * run + (q0 * run + p) * width) * size
                        c = unit.to + (g * Kg + j * k.nr) * size
                        if unit.a_rows == NULL:
                            multiply_rows(k, &op, unit.pixels, columns, a, b, bias, c)
                        else:
                            multiply_scattered(k, &op, unit.a_rows, unit.c_rows, unit.pixels, columns, a, b, bias, c)
            p += op.k
        q += count


cdef void band_by_columns(const Correlation *x, Py_ssize_t n, const Unit *rows, const ptrdiff_t *offset) noexcept nogil:
    """y of n rows. `offset` has one column of taps after another."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, Cg = x.C // x.groups, Kg = x.K // x.groups
    cdef Py_ssize_t block = packed_size(k, x.taps_h * x.taps_w * Cg, Kg), g, j, s, i, lo, hi, width, columns, first
    cdef nn_brgemm op
    for i in range(n if not x.accumulate else 0):
        if x.bias != NULL:
            k.copy(x.OW, x.K, x.bias, 0, rows[i].to, x.y_pixel)
        else:
            for j in range(x.OW):
                memset(rows[i].to + j * x.y_pixel * size, 0, x.K * size)
    op.a_row = x.step_w * x.C
    op.a_col = 1
    op.k = Cg
    op.ldc = x.y_pixel
    op.accumulate = True
    op.relu = False
    for g in range(x.groups):
        for j in range(panels(k, Kg)):
            width = panel_width(k, Kg, j)
            columns = min(Kg - j * k.nr, width)
            op.ldb = width
            op.b_step = x.taps_w * Cg * width
            for s in range(x.taps_w):
                lo = first_column(x, s)
                hi = last_column(x, s)
                for i in range(n if lo < hi else 0):
                    op.count = rows[i].hi - rows[i].lo
                    if op.count == 0:
                        continue
                    op.a_offset = offset + s * x.taps_h + rows[i].lo
                    first = (rows[i].lo * x.taps_w + s) * Cg    # row of w
                    multiply_rows(k, &op, hi - lo, columns, rows[i].at + (lo * op.a_row + g * Cg) * size,
                                  x.w + (g * block + j * k.nr * x.taps_h * x.taps_w * Cg + first * width) * size, NULL,
                                  rows[i].to + (lo * x.y_pixel + g * Kg + j * k.nr) * size)
    for i in range(n if x.relu else 0):
        for j in range(x.OW):
            k.activation[NN_RELU](x.K, rows[i].to + j * x.y_pixel * size, rows[i].to + j * x.y_pixel * size, 0)


cdef Py_ssize_t lines_of(const Correlation *x, Py_ssize_t n, const Unit *units) noexcept nogil:
    """Units from the first on that are rows of equal length and distance with the same taps inside."""
    cdef Py_ssize_t size = x.k.real_size, count = 1
    cdef const Unit *last
    cdef const Unit *next
    while count < n:
        last, next = &units[count - 1], &units[count]
        if (next.at - last.at != x_line(x) * size or next.to - last.to != x.y_row * size or next.lo != last.lo
                or next.hi != last.hi or next.column != last.column or next.pixels != last.pixels):
            break
        count += 1
    return count


cdef void depthwise_by_panels(const Correlation *x, Py_ssize_t n, const Unit *units, const char *image, Py_ssize_t rows,
                              ptrdiff_t *offset, char *copy) noexcept nogil:
    """Units of one sample. image: the first of the rows that they read. In x pixels lie such that a tap's row would put
    out of L1 what the next tap needs."""
    cdef Py_ssize_t size = x.k.real_size, some = COPIED_PANELS * x.k.nr, first = 0, channels
    while first < x.C:
        channels = min(some, x.C - first)
        x.k.copy(rows * x.W, channels, image + first * size, x.C, copy, x.pixel)
        depthwise_units(x, n, units, first, channels, offset)
        first += channels


cdef void depthwise_units(const Correlation *x, Py_ssize_t n, const Unit *units, Py_ssize_t first, Py_ssize_t channels,
                          ptrdiff_t *offset) noexcept nogil:
    """Channels first.., which are the first ones where the units read."""
    cdef Py_ssize_t i = 0, lines
    while i < n:
        lines = lines_of(x, n - i, &units[i])
        depthwise_rows(x, lines, &units[i], first, channels, offset)
        i += lines


cdef void depthwise_rows(const Correlation *x, Py_ssize_t lines, const Unit *unit, Py_ssize_t first, Py_ssize_t channels,
                         ptrdiff_t *offset) noexcept nogil:
    """The lines from `unit` on, see lines_of. Behind `offset` there is room for two lists of taps."""
    cdef Py_ssize_t size = x.k.real_size, taps = x.taps_h * x.taps_w, j = 0, end, s_lo = 0, s_hi = x.taps_w, r, s
    cdef ptrdiff_t *row = offset + taps
    cdef ptrdiff_t *x_offset = row + taps
    cdef nn_depthwise op
    op.rows = taps
    op.row = row
    op.x_offset = x_offset
    op.x_step = x.step_w * x.pixel
    op.y_step = x.y_pixel
    op.lines = lines
    op.x_line = x_line(x)
    op.y_line = x.y_row
    op.accumulate = x.accumulate
    op.relu = x.relu
    op.run = x.taps_w
    op.column = unit.column * x.step_w + x.first_w
    op.columns = x.W if not x.copied and x.taps_w in (3, 5) and x.step_w <= 2 and x.spacing_w == 1 else 0
    while j < unit.pixels:
        end = unit.pixels
        if not x.copied and op.columns == 0:
            end = clip_run(unit.column + j, unit.column + end, x.step_w, x.first_w, x.taps_w, x.spacing_w, x.W, &s_lo,
                           &s_hi) - unit.column
        op.taps = 0
        for r in range(unit.lo, unit.hi):
            for s in range(s_lo, s_hi):
                row[op.taps] = r * x.taps_w + s
                x_offset[op.taps] = offset[r * x.taps_w + s]
                op.taps += 1
        x.k.depthwise(&op, end - j, channels, unit.at + j * op.x_step * size, x.w + first * taps * size,
                      x.bias + first * size if x.bias != NULL else NULL, unit.to + (j * x.y_pixel + first) * size)
        j = end
