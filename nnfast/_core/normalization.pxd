"""Batch normalization: its buffers, and its functions for a plan."""
from nnfast._core.node cimport Context, Node, Parameter, Tile

cdef enum Row:              # of Normalization.rows
    MEAN
    VARIANCE
    DEVIATION_INVERSE
    SCALE                   # y = x * SCALE + SHIFT
    SHIFT
    DY_FACTOR               # dx = dy * DY_FACTOR + x * X_FACTOR + CONSTANT
    X_FACTOR
    CONSTANT
    GAMMA_GRADIENT
    BETA_GRADIENT
    ROWS

cdef struct Normalization:
    Py_ssize_t channels, ld         # of a pixel; with its padding
    Parameter *mean                 # running
    Parameter *variance
    double momentum, epsilon
    bint frozen                     # uses and keeps the running statistics even in training
    char *sums                      # [batch][blocks][2][ld] over pixels, where a sample has several
    char *rows                      # [ROWS][ld], not the batch's

cdef struct Folding:        # a normalization with running statistics in the weights of the layer before it
    const Parameter *kernel         # that layer's
    const Parameter *bias           # or NULL
    const Parameter *gamma          # or NULL
    const Parameter *beta           # or NULL
    const Parameter *mean
    const Parameter *variance
    double epsilon
    Parameter folded_kernel, folded_bias
    Py_ssize_t bytes_held           # of both, from folded_kernel.w on

cdef Py_ssize_t blocks(const Node *node) noexcept nogil
cdef void sample_moments(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void combine_moments(const Node *node, const Context *ctx, int part, int team) noexcept nogil
cdef void normalize_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void sample_gradients(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void combine_gradients(const Node *node, const Context *ctx, int part, int team) noexcept nogil
cdef void normalize_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void normalize_gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil
cdef void update_running(const Node *node, const Context *ctx, int part, int team) noexcept nogil
cdef bint finite_variance(const Node *node) noexcept nogil
cdef double normalize_bound(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void fold(const Node *node, const Context *ctx, int part, int team) noexcept nogil
