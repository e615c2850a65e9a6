"""Embedding: y[i] = the row of the table that id x[i] chooses, the product of a one-hot vector with a matrix.

The table is packed as every kernel is: panels of columns, so a row is a piece of each of them.

    forward   copies
    backward  nothing goes back to the ids
    gradient  of a tile, some rows of a panel: dy of each place whose id is one of them is added to its row, in order of
              the samples. Every tile reads all ids of the batch, so tiles are tall.

nnfast/arrays.py has checked the ids; whatever comes here nevertheless chooses a row, be it the first.
"""
from libc.string cimport memcpy, memset

from nnfast._core.gemm cimport panel_width, panels
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.node cimport Context, Node, Tile, Value, piece_size, piece_width

cdef enum:
    TILE_BYTES = 131072     # beside the parameters and the optimizer's state of as many rows, within L2


cdef inline double number(const Value *x, Py_ssize_t at, int size) noexcept nogil:
    return (<const float *>x.y)[at] if size == 4 else (<const double *>x.y)[at]


cdef inline Py_ssize_t row_of(double id, Py_ssize_t rows) noexcept nogil:
    return <Py_ssize_t>id if 0 <= id < rows else 0


cdef void embedding_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const nn_kernels *k = node.k
    cdef const Value *x = node.inputs[0]
    cdef Py_ssize_t size = k.real_size, rows = node.kernel.rows, columns = node.kernel.columns
    cdef Py_ssize_t b, i, j, row, width
    cdef char *to
    cdef const char *panel
    for b in range(lo, hi):
        to = node.output.y + b * node.output.ld * size
        for i in range(x.size):
            row = row_of(number(x, b * x.ld + i, size), rows)
            panel = node.kernel.w
            for j in range(panels(k, columns)):
                width = panel_width(k, columns, j)
                memcpy(to + j * k.nr * size, panel + row * width * size, min(width, columns - j * k.nr) * size)
                panel += rows * width * size
            to += columns * size


cdef void embedding_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    if x.dy != NULL and not node.adds[0]:
        memset(x.dy + lo * x.ld * node.k.real_size, 0, (hi - lo) * x.ld * node.k.real_size)


cdef void embedding_gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil:
    cdef const nn_kernels *k = node.k
    cdef const Value *x = node.inputs[0]
    cdef Py_ssize_t size = k.real_size, columns = node.kernel.columns, first = tile.panel * k.nr
    cdef Py_ssize_t width = piece_width(tile, 0), wanted = min(width, columns - first), b, i
    cdef double lo = tile.lo, hi = tile.hi, rows = node.kernel.rows, id
    cdef const char *dy
    cdef char *sums
    memset(to, 0, piece_size(tile, 0) * size)
    for b in range(ctx.batch):
        dy = node.output.dy + (b * node.output.ld + first) * size
        for i in range(x.size):
            id = number(x, b * x.ld + i, size)      # which nearly always is that of another tile
            if lo <= id < hi or (lo == 0 and not 0 <= id < rows):
                sums = to + (row_of(id, node.kernel.rows) - tile.lo) * width * size
                k.add(wanted, sums, dy + i * columns * size, sums)


cdef double embedding_bound(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """A row is the sum of dy at all places of one id, at most all of them."""
    cdef const Value *y = node.output
    return node.k.absolute_maximum((hi - lo) * y.ld, y.dy + lo * y.ld * node.k.real_size) * ctx.batch * node.outer


cdef Py_ssize_t embedding_tile_rows(const nn_kernels *k) noexcept nogil:
    return TILE_BYTES // (k.nr * k.real_size)


cdef double embedding_tile_cost(const Node *node, const Tile *tile) noexcept nogil:
    """In multiply-adds for a sample: to read its ids and to add its share of rows, and a part of the update."""
    cdef double share = <double>tile.rows / node.kernel.rows
    return node.outer * (1 + share * tile.width) + 0.1 * tile.rows * tile.width
