"""Several values become one: what a product knows of its factors, and the functions for a plan."""
from nnfast._core.node cimport Context, Node

cdef struct Product:            # of a sample's two factors
    Py_ssize_t rows, columns    # pixels and channels, or 1 and all numbers
    # Element (i, j) of a factor is at [i * row + j * column]: row is `columns` of a whole matrix, 0 of one that has a number
    # for each column or a single one, 1 of one with a number for each row.
    Py_ssize_t row[2]
    int column[2]               # 0 or 1

cdef void multiply_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void multiply_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void add_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void add_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void concatenate_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void concatenate_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void pass_gradient(const Node *node, Py_ssize_t i, const char *dy, Py_ssize_t n, Py_ssize_t at) noexcept nogil
