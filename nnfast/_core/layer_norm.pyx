"""Layer normalization (Ba, Kiros and Hinton 2016): y = act(gamma (x - mean) / sqrt(variance + epsilon) + beta).

mean and variance are of a row, the numbers of the last axis: a sample's features, or a pixel's channels. Samples do not meet.

    forward   a row at a time (csrc/layer_norm.c), which leaves its mean and 1 / deviation behind
    backward  dz = dy * act'(y); dx, a row at a time
    gradient  of gamma and beta, sums over rows and samples
"""
from libc.math cimport sqrt
from libc.string cimport memset

from nnfast._core.activation cimport apply, apply_backward
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.node cimport Context, Node, Tile, Value, piece_size


cdef inline char *moments_of(const Node *node, Py_ssize_t sample) noexcept nogil:
    cdef const LayerNorm *n = <const LayerNorm *>node.extra
    return NULL if n.moments == NULL else n.moments + 2 * sample * node.outer * node.k.real_size


cdef inline Py_ssize_t rows_of(const Node *node, Py_ssize_t samples) noexcept nogil:
    """That lie equally far apart: those of samples that are one row, or of one sample."""
    return samples if node.outer == 1 else node.outer


cdef inline Py_ssize_t distance(const Node *node) noexcept nogil:
    return node.output.ld if node.outer == 1 else node.output.size // node.outer


cdef void layer_norm_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, b = lo
    cdef char *z = y.y if y.z == NULL else y.z
    while b < hi:
        node.k.layer_norm(rows_of(node, hi - lo), y.size // node.outer, x.y + b * x.ld * size, distance(node),
                          (<const LayerNorm *>node.extra).epsilon, NULL if node.kernel == NULL else node.kernel.w,
                          NULL if node.bias == NULL else node.bias.w, z + b * y.ld * size, moments_of(node, b))
        b += hi - lo if node.outer == 1 else 1
    apply(node, ctx, lo, hi)


cdef void layer_norm_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, b = lo
    apply_backward(node, ctx, lo, hi)
    while b < hi and x.dy != NULL:
        node.k.layer_norm_backward(rows_of(node, hi - lo), y.size // node.outer, y.dy + b * y.ld * size,
                                   x.y + b * x.ld * size, distance(node), moments_of(node, b),
                                   NULL if node.kernel == NULL else node.kernel.w, node.adds[0], x.dy + b * x.ld * size)
        b += hi - lo if node.outer == 1 else 1


cdef void layer_norm_gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil:
    cdef const nn_kernels *k = node.k
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = k.real_size, ld = distance(node), rows = rows_of(node, ctx.batch), b = 0
    cdef Py_ssize_t first = tile.lo if tile.parameter == node.bias else tile.panel * k.nr
    cdef Py_ssize_t columns = min(piece_size(tile, 0), y.size // node.outer - first)
    cdef char *sums = to
    memset(to, 0, piece_size(tile, 0) * size)       # with the padding: it is measured, too
    while b < ctx.batch:
        if tile.parameter == node.bias:
            k.column_sum(rows, columns, y.dy + (b * y.ld + first) * size, ld, sums)
        else:
            k.layer_norm_gradient(rows, columns, y.dy + (b * y.ld + first) * size, x.y + (b * x.ld + first) * size, ld,
                                  moments_of(node, b), sums)
        if sums != to:
            k.add(columns, to, sums, to)
        sums = ctx.scratch
        b += ctx.batch if node.outer == 1 else 1


cdef double layer_norm_bound(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """A normalized number is at most the square root of a row's length."""
    cdef const Value *y = node.output
    cdef double dy = node.k.absolute_maximum((hi - lo) * y.ld, y.dy + lo * y.ld * node.k.real_size)
    return sqrt(<double>(y.size // node.outer)) * dy * ctx.batch * node.outer
