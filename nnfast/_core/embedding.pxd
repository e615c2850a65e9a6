"""Rows of a table that ids choose, see embedding.pyx."""
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.node cimport Context, Node, Tile

cdef void embedding_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void embedding_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void embedding_gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil
cdef double embedding_bound(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef Py_ssize_t embedding_tile_rows(const nn_kernels *k) noexcept nogil
cdef double embedding_tile_cost(const Node *node, const Tile *tile) noexcept nogil
