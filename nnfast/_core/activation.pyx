"""Activations within a plan: y = act(z) elementwise, or softmax over the last axis.

A layer with weights applies its activation itself, in place (apply); a layer that is only an activation reads another
value (activation_forward). gelu, silu, softplus, hard_swish and mish need z for their derivative, so z is kept beside
y for them; the others are derived from y.
"""
from libc.string cimport memcpy, memset

from nnfast._core.kernels cimport (
    NN_GELU, NN_HARD_SWISH, NN_LINEAR, NN_MISH, NN_RELU, NN_SILU, NN_SOFTPLUS, nn_kernels,
)
from nnfast._core.node cimport SOFTMAX, Context, Node, Value

# In the order of csrc/nnfast.h.
ACTIVATIONS = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "relu6",
               "hard_sigmoid", "hard_swish", "selu", "mish")


cdef int activation_index(object name) except -1:
    if name == "softmax":
        return SOFTMAX
    return ACTIVATIONS.index(name)


cdef bint needs_input(int activation) noexcept nogil:
    return activation in (NN_GELU, NN_SILU, NN_SOFTPLUS, NN_HARD_SWISH, NN_MISH)


cdef void apply(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """y = act(z) on the node's own output; z stands in y unless the value keeps it apart."""
    cdef const nn_kernels *k = node.k
    cdef const Value *y = node.output
    cdef Py_ssize_t size = k.real_size
    cdef char *to = y.y + lo * y.ld * size
    cdef const char *z = to if y.z == NULL else y.z + lo * y.ld * size
    if node.fused and ctx.has_loss:
        return
    if node.activation == SOFTMAX:
        softmax_rows(node, lo, hi)
    elif node.activation != NN_LINEAR:
        k.activation[node.activation]((hi - lo) * y.ld, z, to, node.alpha)


cdef void softmax_rows(const Node *node, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const nn_kernels *k = node.k
    cdef const Value *y = node.output
    cdef Py_ssize_t size = k.real_size, n = y.size // node.outer, b
    cdef char *at
    if node.outer == 1:
        at = y.y + lo * y.ld * size
        k.softmax(hi - lo, n, at, y.ld, at, y.ld)
        return
    for b in range(lo, hi):
        at = y.y + b * y.ld * size
        k.softmax(node.outer, n, at, n, at, n)


cdef void apply_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """dz = dy * act'(z) in place of dy."""
    cdef const nn_kernels *k = node.k
    cdef const Value *y = node.output
    cdef Py_ssize_t size = k.real_size, start = lo * y.ld * size, n, b
    if node.fused and ctx.has_loss:
        return
    if node.activation == SOFTMAX:
        n = y.size // node.outer
        if node.outer == 1:
            k.softmax_backward(hi - lo, n, y.y + start, y.ld, y.dy + start, y.ld, y.dy + start, y.ld)
            return
        for b in range(lo, hi):
            start = b * y.ld * size
            k.softmax_backward(node.outer, n, y.y + start, n, y.dy + start, n, y.dy + start, n)
    elif node.activation != NN_LINEAR:
        differentiate(node, lo, hi, y.dy)


cdef inline bint elementwise(const Node *node, const Context *ctx) noexcept nogil:
    return node.activation != SOFTMAX and node.activation != NN_LINEAR and not (node.fused and ctx.has_loss)


cdef void differentiate(const Node *node, Py_ssize_t lo, Py_ssize_t hi, char *dz) noexcept nogil:
    """dz = dy * act'(z), elementwise, with the row length of y; dz may be dy."""
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, start = lo * y.ld * size, b
    node.k.activation_backward[node.activation]((hi - lo) * y.ld, NULL if y.z == NULL else y.z + start, y.y + start,
                                                y.dy + start, dz + start, node.alpha)
    if y.ld > y.size and node.activation != NN_RELU:
        # Where x was not finite y's padding is nan, and 0 * nan is no zero. (relu's 0 is one.)
        for b in range(lo, hi):
            memset(dz + (b * y.ld + y.size) * size, 0, (y.ld - y.size) * size)


cdef void activation_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, start = lo * y.ld * size
    if y.z == NULL and elementwise(node, ctx):
        node.k.activation[node.activation]((hi - lo) * y.ld, x.y + start, y.y + start, node.alpha)
        return
    memcpy((y.y if y.z == NULL else y.z) + lo * y.ld * size, x.y + lo * x.ld * size, (hi - lo) * x.ld * size)
    apply(node, ctx, lo, hi)


cdef void activation_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, n = (hi - lo) * x.ld
    if x.dy == NULL:
        return
    if elementwise(node, ctx) and not node.adds[0]:
        differentiate(node, lo, hi, x.dy)
        return
    apply_backward(node, ctx, lo, hi)
    if node.adds[0]:
        node.k.add(n, x.dy + lo * x.ld * size, y.dy + lo * y.ld * size, x.dy + lo * x.ld * size)
    else:
        memcpy(x.dy + lo * x.ld * size, y.dy + lo * y.ld * size, n * size)
