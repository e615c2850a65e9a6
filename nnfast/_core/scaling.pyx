"""Fixed change of scale: y = scale x + offset, dx = scale dy. A node keeps scale in alpha and offset in rate."""
from nnfast._core.node cimport Context, Node, Value


cdef void rescale_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, b
    for b in range(lo, hi):     # sample by sample: the padding of a row stays zero
        node.k.affine(x.size, x.y + b * x.ld * size, node.alpha, node.rate, y.y + b * y.ld * size)


cdef void rescale_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, n = (hi - lo) * x.ld
    cdef char *dy = y.dy + lo * y.ld * size
    cdef char *dx = x.dy + lo * x.ld * size
    if x.dy == NULL:
        return
    node.k.affine(n, dy, node.alpha, 0, dy)
    if node.adds[0]:
        node.k.add(n, dx, dy, dx)
    else:
        node.k.affine(n, dy, 1, 0, dx)
