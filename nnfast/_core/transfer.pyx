"""Between the user's arrays and a network's values: a sample's conversion to the network's precision, to channels last,
and to its scale, in one pass over the data; and the way back.

    for a run of pixels:
        for a block of channels:    numbers of another type are converted to scratch memory, in L1, and turned from there
        scaled while it is in L1
"""
from libc.string cimport memcpy

from nnfast._core.kernels cimport NN_FROM_FLOAT32, NN_FROM_FLOAT64, nn_kernels

cdef enum:
    PIXELS = 256            # in a run
    CHANNELS = 16           # in a block
    RUN = 4096              # numbers, where nothing is turned


cdef inline Py_ssize_t bytes_of(int kind) noexcept nogil:
    return 4 if kind == NN_FROM_FLOAT32 else 8 if kind == NN_FROM_FLOAT64 else 1


cdef inline bint same_type(const nn_kernels *k, int kind) noexcept nogil:
    return kind == (NN_FROM_FLOAT32 if k.real_size == 4 else NN_FROM_FLOAT64)


cdef bint read_as_it_is(const nn_kernels *k, const Port *port, int kind) noexcept nogil:
    """Whether a sample's numbers need no conversion, no scale and no other order."""
    return port.channels <= 1 and same_type(k, kind) and not port.scaled


cdef void read_sample(const nn_kernels *k, const Port *port, int kind, const char *data, char *to, char *scratch) noexcept nogil:
    """One sample of the user's array into its value. scratch: scratch_bytes(k) of gemm.pxd."""
    cdef Py_ssize_t size = k.real_size, start = 0, n
    if port.channels > 1:
        turn_sample(k, port, kind, data, to, scratch)
    elif same_type(k, kind) and port.scaled:
        k.affine(port.size, data, port.scale, port.offset, to)
    elif same_type(k, kind):
        memcpy(to, data, port.size * size)
    else:
        while start < port.size:
            n = min(RUN, port.size - start)
            k.gather[kind](n, data + start * bytes_of(kind), to + start * size)
            if port.scaled:
                k.affine(n, to + start * size, port.scale, port.offset, to + start * size)
            start += n


cdef void turn_sample(const nn_kernels *k, const Port *port, int kind, const char *data, char *to, char *scratch) noexcept nogil:
    """[channels][pixels] of any type to [pixels][channels]."""
    cdef Py_ssize_t size = k.real_size, each = bytes_of(kind), C = port.channels, total = port.size // C
    cdef Py_ssize_t pixel = 0, pixels, channel, channels, c
    cdef const char *source
    while pixel < total:
        pixels = min(PIXELS, total - pixel)
        channel = 0
        while channel < C:
            channels = min(CHANNELS, C - channel)
            source = data + (channel * total + pixel) * each
            if same_type(k, kind):
                k.transpose(channels, pixels, source, total, to + (pixel * C + channel) * size, C)
            else:
                for c in range(channels):
                    k.gather[kind](pixels, source + c * total * each, scratch + c * pixels * size)
                k.transpose(channels, pixels, scratch, pixels, to + (pixel * C + channel) * size, C)
            channel += channels
        if port.scaled:
            k.affine(pixels * C, to + pixel * C * size, port.scale, port.offset, to + pixel * C * size)
        pixel += pixels


cdef void write_sample(const nn_kernels *k, const Port *port, const char *value, char *to) noexcept nogil:
    """A value, or its gradient, as a sample of the user's array."""
    cdef Py_ssize_t C = port.channels
    if C > 1:
        k.transpose(port.size // C, C, value, C, to, port.size // C)
    else:
        memcpy(to, value, port.size * k.real_size)


cdef void write_gradient(const nn_kernels *k, const Port *port, char *dy, char *to) noexcept nogil:
    """The gradient with respect to a sample of the user's array. It leaves dy scaled."""
    if port.scaled:
        k.affine(port.size, dy, port.scale, 0, dy)
    write_sample(k, port, dy, to)
