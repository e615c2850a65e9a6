"""Sums over the taps of a window, for a range of output pixels: what convolution and its input gradient are made of."""
from nnfast._core.kernels cimport nn_kernels

cdef enum:
    COPIED_PANELS = 4       # of channels that are copied together for a depthwise kernel: a tile's most, in its gradient

cdef struct Correlation:
    const nn_kernels *k
    Py_ssize_t C, K                     # channels of a pixel of x and of y
    Py_ssize_t groups                   # channels c of x and k of y meet only within a group
    Py_ssize_t repeat                   # of each channel of x as it is read: 1, or more for a depthwise multiplier
    bint depthwise                      # every channel by itself: K = C * repeat
    const char *x                       # [sample][H][W][C]
    Py_ssize_t x_sample, H, W
    # Output pixel (i, j) reads x at (i * step_h + first_h + t * spacing_h, likewise w) for taps t; zeros outside.
    Py_ssize_t step_h, step_w, first_h, first_w, spacing_h, spacing_w, taps_h, taps_w
    char *y                             # pixel (i, j) of a sample at i * y_row + j * y_pixel
    Py_ssize_t y_sample, y_row, y_pixel, OH, OW
    Py_ssize_t tile_h, tile_w           # rows and columns of y that winograd.pyx makes at once, or 0: plain sums
    Py_ssize_t pieces_h, pieces_w       # into which winograd.pyx cuts the kernel
    const char *u                       # then: the transformed kernel
    const char *w                       # a packed matrix [taps_h * taps_w * C / groups][K / groups] for each group
    const char *bias                    # K values with a vector of padding, or NULL
    bint accumulate, relu
    bint skips_zeros                    # of x, where there are many; they then make no nan of a w that is not finite
    # by `prepare`
    bint planar                         # by planar.pyx
    bint copied                         # x is copied to scratch, with its zeros around it
    Py_ssize_t pixel                    # numbers from pixel to pixel, where it is read
    bint by_panels                      # depthwise: x is copied without zeros, a few panels of channels after the others
    bint by_columns                     # y is summed in memory, taps of one column after another, without zeros of x
    bint merged                         # the taps of a row are one run of numbers
    bint pointwise                      # skips zeros, having one tap
    bint short_rows                     # tiles go through the pixels of several rows
    Py_ssize_t segments                 # pieces of an output row
    Py_ssize_t per_sample               # units of work in a sample: pieces of rows, or rows of tiles
    Py_ssize_t units                    # of them that are worked on together
    Py_ssize_t lists                    # where the lists of a pointwise one begin in scratch
    Py_ssize_t scratch                  # bytes

cdef void prepare(Correlation *x) noexcept nogil
cdef void correlate(const Correlation *x, Py_ssize_t lo, Py_ssize_t hi, char *scratch) noexcept nogil
cdef void copy_pixels(const nn_kernels *k, const char *x, Py_ssize_t H, Py_ssize_t W, Py_ssize_t C, Py_ssize_t repeat, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns, Py_ssize_t first, Py_ssize_t channels, char *to, Py_ssize_t pixel) noexcept nogil
