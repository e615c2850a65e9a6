"""Transposed convolution, 1-D and 2-D: the input gradient of a convolution as an operation of its own.

    y[n, i', j', c] = act(b[c] + sum of x[n, i, j, k] w[r, s, c, k] over k and all i, r with i' = i * stride - pad + r *
    dilation, (likewise j, s))

Layout: x [N][OH][OW][K], w [R][S][C][K], y [N][H][W][C], by the names of the convolution that makes x's pixels of y's. It is
described like any other (convolution.pyx), and its passes have changed places:

    forward   its input gradient at x; bias and relu in the tile
    backward  dz = dy * act'(y); sums of dz over a sample's pixels for db; dx = the convolution of dz
    gradient  its kernel's gradient, with dz for x and x for dz
"""
from nnfast._core.activation cimport apply, apply_backward
from nnfast._core.convolution cimport (
    Convolution, fill_gaps, flip, flipped_without_winograd, forward_sum, input_gradient, segments, sum_pixels,
    transform_flipped,
)
from nnfast._core.correlation cimport Correlation, correlate
from nnfast._core.gemm cimport round_up
from nnfast._core.kernel_gradient cimport kernel_gradient
from nnfast._core.kernel_segments cimport add_segments, sum_segments
from nnfast._core.kernels cimport NN_RELU
from nnfast._core.node cimport CHUNK_BYTES, Context, Node, Tile, Value
from nnfast._core cimport winograd


cdef bint takes_chunks(const Node *node) noexcept:
    """As for a convolution, but here the flipped kernel makes the sums."""
    cdef const Convolution *c = <const Convolution *>node.extra
    return flipped_without_winograd(c) and node.kernel.size * c.k.real_size <= CHUNK_BYTES // 2


cdef void prepare_kernel(const Node *node, const Context *ctx, bint gradient, int part, int team) noexcept nogil:
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef Correlation x
    flip(c, node.kernel.w, True, c.flipped, part, team)
    transform_flipped(c, part, team)
    if gradient and node.inputs[0].dy != NULL and c.tile_w > 0:
        forward_sum(c, &x)
        winograd.transform_kernel(&x, node.kernel.w, c.transformed, part, team)


# ---------------------------------------------------------------- forward

cdef inline char *sums_of(const Value *out) noexcept nogil:
    """y before its activation."""
    return out.y if out.z == NULL else out.z


cdef inline const char *bias_of(const Node *node) noexcept nogil:
    return NULL if node.bias == NULL else node.bias.w


cdef void before_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *out = node.output
    fill_gaps(<const Convolution *>node.extra, bias_of(node), node.activation == NN_RELU,
              sums_of(out) + lo * out.ld * node.k.real_size, out.ld, hi - lo)


cdef void sums(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi, int part, int team) noexcept nogil:
    """A team's part of the rows of pixels."""
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef const Value *out = node.output
    cdef Py_ssize_t size = c.k.real_size
    input_gradient(c, x.y + lo * x.ld * size, x.ld, c.flipped, bias_of(node), node.activation == NN_RELU,
                   sums_of(out) + lo * out.ld * size, out.ld, hi - lo, False, part, team, ctx.scratch)


cdef void forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    before_forward(node, ctx, lo, hi)
    sums(node, ctx, lo, hi, 0, 1)
    after_team_forward(node, ctx, lo, hi)


cdef void team_forward(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    sums(node, ctx, 0, ctx.batch, part, team)


cdef void after_team_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    if node.activation != NN_RELU:
        apply(node, ctx, lo, hi)


# ---------------------------------------------------------------- backward

cdef void before_input_gradient(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """dz and its sums for db."""
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef const Value *out = node.output
    apply_backward(node, ctx, lo, hi)
    if node.bias != NULL and node.bias.trainable:
        sum_pixels(c.k, c.window.H * c.window.W, c.C, out.dy, out.ld, lo, hi, c.bias_sums)


cdef void convolve(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi, int part, int team) noexcept nogil:
    """dx of samples lo..hi, a team's part of their rows of pixels."""
    cdef const Value *in_ = node.inputs[0]
    cdef Py_ssize_t units
    cdef Correlation x
    if in_.dy == NULL:
        return
    forward_sum(<const Convolution *>node.extra, &x)
    x.x, x.x_sample = node.output.dy, node.output.ld
    x.y, x.y_sample = in_.dy, in_.ld
    x.w = node.kernel.w
    x.accumulate = node.adds[0]
    units = (hi - lo) * x.per_sample
    lo *= x.per_sample
    correlate(&x, lo + units * part // team, lo + units * (part + 1) // team, ctx.scratch)


cdef void backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    before_input_gradient(node, ctx, lo, hi)
    convolve(node, ctx, lo, hi, 0, 1)


cdef void team_backward(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    convolve(node, ctx, 0, ctx.batch, part, team)


cdef void segment_gradients(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef const Value *out = node.output
    sum_segments(<const Convolution *>node.extra, out.dy, out.ld, x.y, x.ld, ctx.batch, part, team, ctx.gradient,
                 ctx.scratch)


cdef void gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil:
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef const Value *out = node.output
    cdef Py_ssize_t n_segments = segments(node, ctx.batch) if node.segments != NULL else 1
    if tile.parameter == node.bias:
        c.k.column_sum(ctx.batch, tile.rows, c.bias_sums + tile.lo * c.k.real_size, round_up(c.C, c.k.vl), to)
    elif n_segments > 1:
        add_segments(c, n_segments, tile, to)
    else:
        kernel_gradient(c, out.dy, out.ld, x.y, x.ld, ctx.batch, tile.panel, tile.n_panels, tile.lo, tile.hi, to, ctx.scratch)
