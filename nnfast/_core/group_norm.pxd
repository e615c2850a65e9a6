"""Group normalization: what it keeps, and its functions for a plan."""
from nnfast._core.node cimport Context, Node, Tile

cdef struct GroupNorm:
    Py_ssize_t channels, groups
    double epsilon
    char *moments           # [batch][groups]: mean and 1 / deviation; NULL in inference
    char *sums              # [batch]: of each channel sum dz, then sum dz (x - mean) / deviation; NULL in inference

cdef void group_norm_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void group_norm_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void group_norm_gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil
cdef double group_norm_bound(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef Py_ssize_t group_norm_scratch(const Node *node) noexcept nogil
