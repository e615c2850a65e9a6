"""Convolution with few output channels: with pixels, not channels, in the lanes of a vector.

A tile of correlation.pyx holds channels of y in a vector; half of it or more would be empty.

    for a band of output rows:      x's rows under it and y's stay in L1 and L2
        copy x as planes, one for each channel, with zeros between its rows
        for rows of y for which the same taps lie inside:   one run of numbers in every plane, what is between rows as well
            sums for a few vectors of pixels and all channels of y stay in registers (csrc/planes.c)
        copy y's planes as pixels

Needs a step of 1: then each tap's pixels lie next to one another. The kernel's gradient is a dot product of planes of x and
dz for each tap, summed in vectors over the whole batch.
"""
from libc.stddef cimport ptrdiff_t
from libc.string cimport memcpy, memset

from nnfast._core.convolution cimport Convolution
from nnfast._core.correlation cimport Correlation
from nnfast._core.gemm cimport CACHE_LINE, packed_size, round_up
from nnfast._core.kernels cimport nn_kernels, nn_planes, nn_planes_gradient
from nnfast._core.window cimport Window, clip, first_output, last_output

cdef enum:
    BAND_BYTES = 131072     # of planes
    SUMS_BYTES = 262144     # of a gradient, a vector for each number of the kernel
    LONGEST_ROW = 4096      # pixels
    PART = 8                # rows and columns of the squares in which planes become pixels

# Measured cycles.
cdef double SQUARE = 40         # of the copy of a part of a square
cdef double MASKED_SQUARE = 22  # the same with vectors of 64 bytes, which have masks
cdef double PIXEL = 4           # of a pixel in tiles, besides its sums
cdef double GRADIENT_PIXEL = 5  # the same of the kernel's gradient
cdef double GRADIENT_SUM = 0.8  # of a vector's multiply-add of the gradient in planes, whose runs are short


cdef inline Py_ssize_t shared(const Correlation *x) noexcept nogil:
    """Zeros at the right of a row that are also those at the left of the next."""
    cdef Py_ssize_t reach = (x.taps_w - 1) * x.spacing_w
    return max(0, min(min(-x.first_w, x.first_w + x.OW + reach - x.W), reach))


cdef inline Py_ssize_t pitch(const Correlation *x) noexcept nogil:
    """Numbers of a plane's row, with the zeros at its sides."""
    return x.OW + (x.taps_w - 1) * x.spacing_w - shared(x)


cdef inline Py_ssize_t vectors(const Correlation *x) noexcept nogil:
    """Of a plane of y, at best."""
    return round_up((x.OH - 1) * pitch(x) + x.OW, x.k.vl) // x.k.vl


cdef inline Py_ssize_t rows_under(const Correlation *x, Py_ssize_t rows) noexcept nogil:
    return rows + (x.taps_h - 1) * x.spacing_h


cdef inline Py_ssize_t plane(const Correlation *x, Py_ssize_t rows) noexcept nogil:
    """Numbers from plane to plane: an odd number of cache lines, with the last row's zeros and a vector to spare."""
    return (((rows * pitch(x) + shared(x) + x.k.vl) * x.k.real_size // CACHE_LINE | 1) * CACHE_LINE // x.k.real_size
            + CACHE_LINE // x.k.real_size * 2)


cdef inline Py_ssize_t band_bytes(const Correlation *x, Py_ssize_t rows) noexcept nogil:
    return (plane(x, rows_under(x, rows)) * (x.C // x.groups) + plane(x, rows) * (x.K // x.groups)) * x.k.real_size


cdef inline double copy_cycles(const nn_kernels *k, Py_ssize_t pixels, Py_ssize_t Cg, Py_ssize_t Kg) noexcept nogil:
    """Of a row of x and of y between pixels and planes. One channel is a plane already."""
    return ((MASKED_SQUARE if k.vl * k.real_size == 64 else SQUARE) * ((pixels + PART - 1) // PART)
            * <double>((Cg + PART - 1) // PART * (Cg > 1) + (Kg + PART - 1) // PART * (Kg > 1)))


cdef bint suits(const Correlation *x) noexcept nogil:
    """Whether it takes less time than tiles with channels in their vectors, by an estimate for a row of y."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t Cg = x.C // x.groups, Kg = x.K // x.groups, inside = 0, s
    cdef double narrow, planar
    if (x.depthwise or x.step_h != 1 or x.step_w != 1 or 2 * Kg > k.vl or x.OW > LONGEST_ROW
            or band_bytes(x, 1) > 2 * BAND_BYTES):
        return False
    for s in range(x.taps_w):       # tiles leave out what lies in zeros, at best
        inside += max(0, min(x.OW, last_output(x.W, -x.first_w, s * x.spacing_w, 1))
                      - first_output(-x.first_w, s * x.spacing_w, 1))
    narrow = narrow_cycles() * inside * Cg
    planar = wide_cycles() * vectors(x) / x.OH * x.taps_w * Cg * Kg
    return PIXEL * x.OW + x.taps_h * (narrow - planar) > copy_cycles(k, x.OW, Cg, Kg)


cdef void prepare_planes(Correlation *x) noexcept nogil:
    x.per_sample = x.OH
    x.units = x.OH
    while x.units > 1 and band_bytes(x, x.units) > BAND_BYTES:
        x.units = (x.units + 1) // 2
    x.scratch = CACHE_LINE + round_up(x.taps_h * x.taps_w * sizeof(ptrdiff_t), CACHE_LINE) + band_bytes(x, x.units)


cdef void copy_planes(const Correlation *x, const char *image, Py_ssize_t H, Py_ssize_t W, Py_ssize_t C, Py_ssize_t channels,
                      Py_ssize_t row, Py_ssize_t column, Py_ssize_t rows, Py_ssize_t step, bint zeros, char *to) noexcept nogil:
    """Rows of some channels of an image of C channels as planes, from a row and column on that may lie before the image.
    step: from plane to plane. zeros: where they reach beyond the image; otherwise what was there stays."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, width = pitch(x), i
    cdef Py_ssize_t left = min(max(-column, 0), width), right = max(min(W - column, width), left)
    if zeros:
        memset(to, 0, step * channels * size)
    image += (column + left) * C * size
    to += left * size
    for i in range(max(row, 0), min(row + rows, H)):
        if C == 1:
            memcpy(to + (i - row) * width * size, image + i * W * size, (right - left) * size)
        else:
            k.transpose(right - left, channels, image + i * W * C * size, C, to + (i - row) * width * size, step)


cdef void store_row(const Correlation *x, const char *planes, Py_ssize_t step, char *to) noexcept nogil:
    """A row of y from its planes."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, Kg = x.K // x.groups, i, j, n
    cdef double pixels[16 * PART]
    if Kg == 1 and x.y_pixel == 1:
        if x.accumulate:
            k.add(x.OW, to, planes, to)
        else:
            memcpy(to, planes, x.OW * size)
        return
    if not x.accumulate:
        k.transpose(Kg, x.OW, planes, step, to, x.y_pixel)
        return
    for j in range(0, x.OW, 16):
        n = min(<Py_ssize_t>16, x.OW - j)
        k.transpose(Kg, n, planes + j * size, step, pixels, Kg)
        for i in range(n):
            k.add(Kg, to + (j + i) * x.y_pixel * size, <char *>pixels + i * Kg * size, to + (j + i) * x.y_pixel * size)


cdef void sum_planes(const Correlation *x, Py_ssize_t lo, Py_ssize_t hi, char *scratch) noexcept nogil:
    """Output rows lo..hi, x.per_sample of every sample, on this thread. scratch: x.scratch bytes of this thread's own."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, taps = x.taps_h * x.taps_w, Cg = x.C // x.groups, Kg = x.K // x.groups
    cdef Py_ssize_t width = pitch(x), w_step = round_up(Kg, k.vl), block = packed_size(k, taps * Cg, Kg)
    cdef Py_ssize_t unit = lo, sample, row, rows, g, i, j, first, last, next_first, next_last, t
    cdef bint zeros = True      # at the sides of rows: they stay. Taps above and below the image are left out
    cdef ptrdiff_t *offset = <ptrdiff_t *>scratch
    cdef char *planes = scratch + round_up(taps * sizeof(ptrdiff_t), CACHE_LINE)
    cdef const char *image
    cdef char *sums
    cdef nn_planes op
    op.rows = Kg
    op.channels = Cg
    op.x_step = plane(x, rows_under(x, x.units))
    op.y_step = plane(x, x.units)
    op.w_step = w_step
    op.relu = x.relu
    sums = planes + op.x_step * Cg * size
    for t in range(taps):
        offset[t] = t // x.taps_w * x.spacing_h * width + t % x.taps_w * x.spacing_w
    while unit < hi:
        sample = unit // x.OH
        row = unit - sample * x.OH
        rows = min(x.units, min(hi - unit, x.OH - row))
        for g in range(x.groups):
            image = x.x + (sample * x.x_sample + g * Cg) * size
            copy_planes(x, image, x.H, x.W, x.C, Cg, row + x.first_h, x.first_w, rows_under(x, rows), op.x_step,
                        zeros, planes)
            zeros = False
            i = 0
            while i < rows:
                clip(row + i + x.first_h, x.taps_h, x.spacing_h, x.H, &first, &last)
                j = i + 1
                while j < rows:
                    clip(row + j + x.first_h, x.taps_h, x.spacing_h, x.H, &next_first, &next_last)
                    if next_first != first or next_last != last:
                        break
                    j += 1
                op.taps = (last - first) * x.taps_w
                op.x_offset = offset + first * x.taps_w
                k.planes(&op, (j - i - 1) * width + x.OW, planes + i * width * size,
                         x.w + (g * block + first * x.taps_w * Cg * w_step) * size,
                         x.bias + g * Kg * size if x.bias != NULL else NULL, sums + i * width * size)
                i = j
            for i in range(rows):
                store_row(x, sums + i * width * size, op.y_step,
                          x.y + (sample * x.y_sample + (row + i) * x.y_row + g * Kg) * size)
        unit += rows


# ---------------------------------------------------------------- the kernel's gradient

cdef void planes_of(const Convolution *c, Correlation *x) noexcept nogil:
    """What planes of x and dz need to know, and how many rows of dz there are in a band."""
    memset(x, 0, sizeof(Correlation))
    x.k = c.k
    x.C, x.K, x.groups = c.C, c.K, c.groups
    x.OH, x.OW = c.window.OH, c.window.OW
    x.W, x.first_w = c.window.W, -c.window.pad_left
    x.spacing_h, x.spacing_w = c.window.dilation_h, c.window.dilation_w
    x.taps_h, x.taps_w = c.window.R, c.window.S
    prepare_planes(x)


cdef inline Py_ssize_t samples_together(const Correlation *x) noexcept nogil:
    return max(1, BAND_BYTES // band_bytes(x, x.units)) if x.units == x.OH else 1


cdef inline Py_ssize_t sums(const Convolution *c) noexcept nogil:
    """Numbers of a group's kernel."""
    return c.window.R * c.window.S * (c.C // c.groups) * (c.K // c.groups)


cdef bint gradient_suits(const Convolution *c, double cycles) noexcept nogil:
    """As `suits`, for a sample. cycles: that the other way takes for a pixel."""
    cdef const nn_kernels *k = c.k
    cdef const Window *w = &c.window
    cdef Py_ssize_t Cg = c.C // c.groups, Kg = c.K // c.groups
    cdef Correlation x
    cdef double planar
    # One number of x for each pixel: it is read once either way.
    if (w.stride_h != 1 or w.stride_w != 1 or 2 * Kg > k.vl or w.OW > LONGEST_ROW or w.OH == 0 or w.OW == 0
            or sums(c) == Kg or sums(c) * k.vl * k.real_size > SUMS_BYTES):
        return False
    planes_of(c, &x)
    if band_bytes(&x, 1) > 2 * BAND_BYTES:
        return False
    planar = GRADIENT_SUM * sums(c) * vectors(&x) + 2 * sums(c) // samples_together(&x)
    return (cycles + GRADIENT_PIXEL) * w.OH * w.OW > planar + w.OH * copy_cycles(k, w.OW, Cg, Kg)


cdef Py_ssize_t gradient_scratch(const Convolution *c) noexcept nogil:
    """Bytes of a thread."""
    cdef Correlation x
    planes_of(c, &x)
    return (CACHE_LINE + round_up(sums(c) * sizeof(ptrdiff_t), CACHE_LINE) + sums(c) * c.k.vl * c.k.real_size
            + samples_together(&x) * band_bytes(&x, x.units))


cdef void gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld, Py_ssize_t batch,
                   Py_ssize_t channels, Py_ssize_t first, Py_ssize_t last, char *to, char *scratch) noexcept nogil:
    """Kernel rows first..last, [S][channels][padded columns] each, for some channels of x and a group's of dz, which x and
    dz point to. scratch: gradient_scratch bytes."""
    cdef const nn_kernels *k = c.k
    cdef const Window *w = &c.window
    cdef Py_ssize_t size = k.real_size, Kg = c.K // c.groups, taps = (last - first) * w.S * channels, width, most
    cdef Py_ssize_t b = 0, n, i, rows, q, t, tap
    cdef ptrdiff_t *offset = <ptrdiff_t *>scratch
    cdef char *total = scratch + round_up(taps * sizeof(ptrdiff_t), CACHE_LINE)
    cdef char *x_planes = total + taps * Kg * k.vl * size
    cdef char *dz_planes
    cdef Correlation p
    cdef nn_planes_gradient op
    planes_of(c, &p)
    width = pitch(&p)
    most = samples_together(&p)
    op.rows = Kg
    op.taps = taps
    op.x_offset = offset
    op.y_step = plane(&p, p.units)
    op.x_sample = plane(&p, rows_under(&p, p.units)) * channels
    op.y_sample = op.y_step * Kg
    dz_planes = x_planes + most * op.x_sample * size
    for t in range(taps):
        tap = t // channels + first * w.S
        offset[t] = (tap // w.S * w.dilation_h * width + tap % w.S * w.dilation_w
                     + t % channels * (op.x_sample // channels))
    memset(total, 0, taps * Kg * k.vl * size)
    while b < batch:
        n = min(most, batch - b)
        i = 0
        while i < w.OH:
            rows = min(p.units, w.OH - i)
            op.samples = n
            for q in range(n):
                copy_planes(&p, x + (b + q) * x_ld * size, w.H, w.W, c.C, channels, i - w.pad_top, -w.pad_left,
                            rows_under(&p, rows), op.x_sample // channels, b == 0 or p.units < w.OH,
                            x_planes + q * op.x_sample * size)
                copy_planes(&p, dz + (b + q) * dz_ld * size, w.OH, w.OW, c.K, Kg, i, 0, rows, op.y_step,
                            b == 0 or p.units < w.OH, dz_planes + q * op.y_sample * size)
            k.planes_gradient(&op, (rows - 1) * width + w.OW, x_planes, dz_planes, total)
            i += rows
        b += n
    for t in range(taps):
        k.sum_lanes(Kg, total + t * Kg * k.vl * size, to + t * round_up(Kg, k.vl) * size)
