"""Dropout (Srivastava et al. 2014), inverted: y = x * keep / (1 - rate) in training, y = x otherwise.

What is kept is a function of (seed, step, sample, layer, element), so the mask is not stored: the backward pass draws
the same one again, and neither batch position nor thread matters.
"""
from libc.string cimport memcpy

from nnfast._core.kernels cimport nn_random_key
from nnfast._core.merge cimport pass_gradient
from nnfast._core.node cimport Context, Node, Value


cdef void draw(const Node *node, const Context *ctx, Py_ssize_t b, const char *x, char *y) noexcept nogil:
    cdef nn_random_key key
    key.seed = ctx.seed
    key.step = ctx.step
    key.sample = ctx.sample[b] if ctx.sample != NULL else ctx.first_sample + b
    key.layer = node.layer
    node.k.dropout(node.output.size, x, y, node.rate, &key, 0)


cdef void dropout_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, b
    if not ctx.training:
        memcpy(y.y + lo * y.ld * size, x.y + lo * x.ld * size, (hi - lo) * y.ld * size)
        return
    for b in range(lo, hi):
        draw(node, ctx, b, x.y + b * x.ld * size, y.y + b * y.ld * size)


cdef void dropout_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, b
    if node.inputs[0].dy == NULL:
        return
    if ctx.training:
        for b in range(lo, hi):
            draw(node, ctx, b, y.dy + b * y.ld * size, y.dy + b * y.ld * size)
    pass_gradient(node, 0, y.dy + lo * y.ld * size, (hi - lo) * y.ld, lo * y.ld)
