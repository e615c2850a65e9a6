from nnfast._core.node cimport Context, Node

cdef void add_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void add_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void concatenate_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void concatenate_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void pass_gradient(const Node *node, Py_ssize_t i, const char *dy, Py_ssize_t n, Py_ssize_t at) noexcept nogil
