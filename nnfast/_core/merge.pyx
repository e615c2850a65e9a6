"""Several values become one: their sum, the product of two, or their concatenation along an axis.

add          y = act(x_0 + x_1 + ...)     dx_i = dy * act'(z)
multiply     y = x_0 * x_1                dx_0 = dy * x_1; of a factor with fewer numbers the sums of that
concatenate  a sample is `outer` blocks (the axes before the joined one); a block of y is the inputs' blocks in a row
"""
from libc.string cimport memcpy

from nnfast._core.activation cimport apply, apply_backward
from nnfast._core.node cimport Context, Node, Value


cdef void pass_gradient(const Node *node, Py_ssize_t i, const char *dy, Py_ssize_t n, Py_ssize_t at) noexcept nogil:
    """n numbers of dy go to input i's gradient, `at` elements from its start: set, or added if others came before."""
    cdef const Value *x = node.inputs[i]
    cdef char *dx = x.dy + at * node.k.real_size
    if node.adds[i]:
        node.k.add(n, dx, dy, dx)
    else:
        memcpy(dx, dy, n * node.k.real_size)


cdef void add_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *y = node.output
    cdef Py_ssize_t start = lo * y.ld * node.k.real_size, n = (hi - lo) * y.ld, i
    cdef char *z = (y.y if y.z == NULL else y.z) + start
    node.k.add(n, node.inputs[0].y + start, node.inputs[1].y + start, z)
    for i in range(2, node.n_inputs):
        node.k.add(n, z, node.inputs[i].y + start, z)
    apply(node, ctx, lo, hi)


cdef void add_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *y = node.output
    cdef Py_ssize_t i
    apply_backward(node, ctx, lo, hi)
    for i in range(node.n_inputs):
        if node.inputs[i].dy != NULL:
            pass_gradient(node, i, y.dy + lo * y.ld * node.k.real_size, (hi - lo) * y.ld, lo * y.ld)


cdef void multiply_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Product *product = <const Product *>node.extra
    cdef Py_ssize_t size = node.k.real_size, b
    cdef int first = 0 if product.column[0] else 1, second = 1 - first
    cdef const Value *y = node.output
    cdef const Value *x = node.inputs[first]
    cdef const Value *factor = node.inputs[second]
    for b in range(lo, hi):
        node.k.multiply(product.rows, product.columns, x.y + b * x.ld * size, product.row[first],
                        factor.y + b * factor.ld * size, product.row[second], product.column[second], False,
                        y.y + b * y.ld * size)


cdef void multiply_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Product *product = <const Product *>node.extra
    cdef Py_ssize_t rows = product.rows, columns = product.columns, size = node.k.real_size, b, row
    cdef int i, column
    cdef const Value *x
    cdef const Value *factor
    cdef const char *dy
    cdef const char *by
    cdef char *dx
    for i in range(2):
        x, factor = node.inputs[i], node.inputs[1 - i]
        row, column = product.row[1 - i], product.column[1 - i]
        if x.dy == NULL:
            continue
        for b in range(lo, hi):
            dy, by = node.output.dy + b * node.output.ld * size, factor.y + b * factor.ld * size
            dx = x.dy + b * x.ld * size
            if product.row[i] == columns:
                node.k.multiply(rows, columns, dy, columns, by, row, column, node.adds[i], dx)
            elif product.column[i]:
                node.k.multiply_columns(rows, columns, dy, by, row, column, node.adds[i], dx)
            elif product.row[i] == 0:       # one number; the other factor is whole
                node.k.multiply_rows(1, rows * columns, dy, by, 0, node.adds[i], dx)
            else:
                node.k.multiply_rows(rows, columns, dy, by, row, node.adds[i], dx)


cdef void concatenate_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef Py_ssize_t size = node.k.real_size, b, o, i, n
    cdef const Value *x
    cdef char *to
    for b in range(lo, hi):
        to = node.output.y + b * node.output.ld * size
        for o in range(node.outer):
            for i in range(node.n_inputs):
                x = node.inputs[i]
                n = x.size // node.outer
                memcpy(to, x.y + (b * x.ld + o * n) * size, n * size)
                to += n * size


cdef void concatenate_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef Py_ssize_t size = node.k.real_size, b, o, i, n
    cdef const Value *x
    cdef const char *dy
    for b in range(lo, hi):
        dy = node.output.dy + b * node.output.ld * size
        for o in range(node.outer):
            for i in range(node.n_inputs):
                x = node.inputs[i]
                n = x.size // node.outer
                if x.dy != NULL:
                    pass_gradient(node, i, dy, n, b * x.ld + o * n)
                dy += n * size
