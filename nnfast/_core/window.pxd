"""The geometry of a convolution or a pooling layer over the pixels of one sample. 1-D is H = R = 1."""

cdef struct Window:
    Py_ssize_t H, W             # input
    Py_ssize_t OH, OW           # output
    Py_ssize_t R, S             # taps
    Py_ssize_t stride_h, stride_w
    Py_ssize_t pad_top, pad_left, pad_bottom, pad_right
    Py_ssize_t dilation_h, dilation_w


cdef inline void clip(Py_ssize_t start, Py_ssize_t taps, Py_ssize_t dilation, Py_ssize_t length, Py_ssize_t *lo,
                      Py_ssize_t *hi) noexcept nogil:
    """Taps lo..hi of a window that begins at `start` lie inside 0..length."""
    lo[0] = 0 if start >= 0 else min((-start + dilation - 1) // dilation, taps)
    hi[0] = max(min((length - start + dilation - 1) // dilation if length > start else 0, taps), lo[0])


cdef inline Py_ssize_t clip_run(Py_ssize_t j, Py_ssize_t end, Py_ssize_t step, Py_ssize_t first, Py_ssize_t taps,
                                Py_ssize_t dilation, Py_ssize_t length, Py_ssize_t *lo, Py_ssize_t *hi) noexcept nogil:
    """The same of window j, which begins at j * step + first; the end of a run of windows j.. with these taps inside."""
    clip(j * step + first, taps, dilation, length, lo, hi)
    if lo[0] > 0 or hi[0] < taps:
        return j + 1
    return min(end, (length - 1 - (taps - 1) * dilation - first) // step + 1)


cdef inline Py_ssize_t first_output(Py_ssize_t pad, Py_ssize_t tap, Py_ssize_t stride) noexcept nogil:
    """The first output whose tap (times dilation) lies inside the input."""
    return 0 if tap >= pad else (pad - tap + stride - 1) // stride


cdef inline Py_ssize_t last_output(Py_ssize_t length, Py_ssize_t pad, Py_ssize_t tap, Py_ssize_t stride) noexcept nogil:
    """One beyond the last."""
    return 0 if length + pad - tap <= 0 else (length + pad - tap - 1) // stride + 1


cdef inline int read_window(Window *x, object numbers) except -1:
    """From the tuple that nnfast/geometry.py makes and has checked."""
    (x.H, x.W, x.OH, x.OW, x.R, x.S, x.stride_h, x.stride_w, x.pad_top, x.pad_left, x.pad_bottom, x.pad_right,
     x.dilation_h, x.dilation_w) = numbers
    return 0
