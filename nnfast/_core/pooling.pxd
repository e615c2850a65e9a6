"""Pooling: its geometry, and its functions for a plan."""
from nnfast._core.node cimport Context, Node
from nnfast._core.window cimport Window

cdef enum Divisor:          # of a window's sum
    TAPS_INSIDE             # the image: zeros of the padding do not count
    ALL_TAPS
    ONE                     # the window of an upsampling, of which each pixel has all of its gradient

cdef struct Pool:
    Window window
    Py_ssize_t channels
    Divisor divisor
    char *code              # maximum: which tap of its window each came from

cdef void max_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void max_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void average_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void average_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void pad_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void pad_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void upsample_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void upsample_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
