from nnfast._core.node cimport Context, Node

cdef void rescale_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void rescale_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
