"""Layer normalization: what it keeps, and its functions for a plan."""
from nnfast._core.node cimport Context, Node, Tile

cdef struct LayerNorm:
    double epsilon
    char *moments           # [batch][rows of a sample]: mean and 1 / deviation; NULL in inference

cdef void layer_norm_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void layer_norm_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void layer_norm_gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil
cdef double layer_norm_bound(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
