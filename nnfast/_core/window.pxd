"""The geometry of a convolution or a pooling layer over the pixels of one sample. 1-D is H = R = 1."""

cdef struct Window:
    Py_ssize_t H, W             # input
    Py_ssize_t OH, OW           # output
    Py_ssize_t R, S             # taps
    Py_ssize_t stride_h, stride_w
    Py_ssize_t pad_top, pad_left, pad_bottom, pad_right
    Py_ssize_t dilation_h, dilation_w


cdef inline int read_window(Window *x, object numbers) except -1:
    """From the tuple that nnfast/geometry.py makes and has checked."""
    (x.H, x.W, x.OH, x.OW, x.R, x.S, x.stride_h, x.stride_w, x.pad_top, x.pad_left, x.pad_bottom, x.pad_right,
     x.dilation_h, x.dilation_w) = numbers
    return 0
