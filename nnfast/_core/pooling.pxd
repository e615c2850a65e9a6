"""Pooling: its geometry, and its functions for a plan."""
from nnfast._core.node cimport Context, Node
from nnfast._core.window cimport Window

cdef struct Pool:
    Window window
    Py_ssize_t channels
    bint include_pad        # average: zeros of the padding count
    char *code              # maximum: which tap of its window each came from

cdef void max_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void max_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void average_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void average_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void pad_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void pad_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
