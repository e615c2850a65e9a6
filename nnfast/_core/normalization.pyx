"""Batch normalization (Ioffe and Szegedy 2015): y = act(gamma (x - mean) / sqrt(variance + epsilon) + beta).

mean and variance are each channel's over all samples and pixels of the batch; in inference mode the running ones. A batch
is the only thing that samples share in a forward pass, so this operation has a barrier on both sides:

    forward    each sample's mean and sum of squared deviations     rows of the batch
               all of them combined, in order of the samples        channels, shared out among the threads
               y = x * scale + shift                                rows
    backward   each sample's sums of dz and dz (x - mean)           rows
               the three factors of dx, and dgamma, dbeta           channels
               dx = dz * a + x * b + c                              rows

Partial sums belong to a sample and are combined in double precision (Chan, Golub and LeVeque 1979, eq. 2.1): the bits do
not depend on the number of threads. The running statistics change only when the step is applied.

In inference scale and shift are known before the batch comes, and where a linear dense layer or convolution lies before
the normalization they go into its weights (fold): w' = w scale, b' = b scale + shift.
"""
from libc.math cimport INFINITY, sqrt
from libc.string cimport memcpy, memset

from nnfast._core.activation cimport apply, apply_backward
from nnfast._core.gemm cimport packed_size, panel_width, panels
from nnfast._core.kernels cimport NN_RELU, nn_kernels
from nnfast._core.node cimport Context, Node, Parameter, Tile, Value, piece_size


cdef inline double get(const nn_kernels *k, const char *x, Py_ssize_t i) noexcept nogil:
    return (<const float *>x)[i] if k.real_size == 4 else (<const double *>x)[i]


cdef inline void put(const nn_kernels *k, char *x, Py_ssize_t i, double value) noexcept nogil:
    if k.real_size == 4:
        (<float *>x)[i] = <float>value
    else:
        (<double *>x)[i] = value


cdef inline char *row(const Node *node, Row which) noexcept nogil:
    cdef const Normalization *n = <const Normalization *>node.extra
    return n.rows + which * n.ld * node.k.real_size


cdef inline Py_ssize_t border(const Node *node, int part, int team) noexcept nogil:
    return (<const Normalization *>node.extra).channels * part // team


cdef void sample_moments(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """A sample's mean over its pixels, and its sum of squared deviations from that."""
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef Py_ssize_t size = node.k.real_size, b, pixels = x.size // n.channels, c
    cdef char *sums
    if not ctx.training or n.frozen:
        return
    for b in range(lo, hi):
        sums = n.sums + 2 * b * n.ld * size
        node.k.column_sum(pixels, n.channels, x.y + b * x.ld * size, n.channels, sums)
        node.k.affine(n.channels, sums, 1.0 / pixels, 0, sums)
        node.k.column_squares(pixels, n.channels, x.y + b * x.ld * size, sums, sums + n.ld * size)


cdef void combine_moments(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t size = k.real_size, b, c, pixels = node.inputs[0].size // n.channels
    cdef double mean, squares, delta, inverse, scale, count
    cdef const char *sums
    for c in range(border(node, part, team), border(node, part + 1, team)):
        if ctx.training and not n.frozen:
            mean = squares = count = 0
            for b in range(ctx.batch):
                sums = n.sums + 2 * b * n.ld * size
                delta = get(k, sums, c) - mean
                mean += delta * pixels / (count + pixels)
                squares += get(k, sums, n.ld + c) + delta * delta * count * pixels / (count + pixels)
                count += pixels
            squares /= count
        else:
            mean = get(k, n.mean.w, c)
            squares = get(k, n.variance.w, c)
        inverse = 1 / sqrt(squares + n.epsilon)
        scale = inverse * (1 if node.kernel == NULL else get(k, node.kernel.w, c))
        put(k, row(node, MEAN), c, mean)
        put(k, row(node, VARIANCE), c, squares)
        put(k, row(node, DEVIATION_INVERSE), c, inverse)
        put(k, row(node, SCALE), c, scale)
        put(k, row(node, SHIFT), c, (0 if node.bias == NULL else get(k, node.bias.w, c)) - mean * scale)


cdef void normalize_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, b
    cdef char *z = y.y if y.z == NULL else y.z
    for b in range(lo, hi):
        node.k.normalize(x.size // n.channels, n.channels, x.y + b * x.ld * size, row(node, SCALE), row(node, SHIFT),
                         node.activation == NN_RELU, z + b * y.ld * size)
    if node.activation != NN_RELU:
        apply(node, ctx, lo, hi)


cdef void sample_gradients(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """A sample's sums over its pixels of dz, and of dz (x - mean)."""
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, b, pixels = x.size // n.channels
    cdef char *sums
    if node.activation != NN_RELU:
        apply_backward(node, ctx, lo, hi)
    for b in range(lo, hi):
        sums = n.sums + 2 * b * n.ld * size
        node.k.normalize_sums(pixels, n.channels, x.y + b * x.ld * size, row(node, MEAN),
                              y.y + b * y.ld * size if node.activation == NN_RELU else NULL, y.dy + b * y.ld * size,
                              sums, sums + n.ld * size)


cdef void combine_gradients(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    """With N pixels in the batch, h = 1 / deviation, s = sum dz, t = sum dz (x - mean):
    dx = gamma h (dz - s / N - (x - mean) h^2 t / N); in inference mode mean and deviation are constants."""
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t size = k.real_size, b, c
    cdef double s, t, h, scale, pixels = <double>(node.inputs[0].size // n.channels) * ctx.batch, factor = 0
    cdef const char *sums
    for c in range(border(node, part, team), border(node, part + 1, team)):
        s = t = 0
        for b in range(ctx.batch):
            sums = n.sums + 2 * b * n.ld * size
            s += get(k, sums, c)
            t += get(k, sums, n.ld + c)
        h = get(k, row(node, DEVIATION_INVERSE), c)
        scale = get(k, row(node, SCALE), c)
        put(k, row(node, GAMMA_GRADIENT), c, t * h)
        put(k, row(node, BETA_GRADIENT), c, s)
        put(k, row(node, DY_FACTOR), c, scale)
        if ctx.training and not n.frozen:
            factor = -scale * h * h * t / pixels
            put(k, row(node, X_FACTOR), c, factor)
            put(k, row(node, CONSTANT), c, -scale * s / pixels - factor * get(k, row(node, MEAN), c))
        else:
            put(k, row(node, X_FACTOR), c, 0)
            put(k, row(node, CONSTANT), c, 0)


cdef void normalize_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, b
    if x.dy == NULL:
        return
    for b in range(lo, hi):
        node.k.normalize_backward(x.size // n.channels, n.channels, y.dy + b * y.ld * size, row(node, DY_FACTOR),
                                  x.y + b * x.ld * size, row(node, X_FACTOR), row(node, CONSTANT), node.adds[0],
                                  x.dy + b * x.ld * size)


cdef void normalize_gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil:
    cdef Py_ssize_t size = node.k.real_size
    if tile.parameter == node.bias:
        memcpy(to, row(node, BETA_GRADIENT) + tile.lo * size, piece_size(tile, 0) * size)
    else:
        memcpy(to, row(node, GAMMA_GRADIENT) + tile.panel * node.k.nr * size, piece_size(tile, 0) * size)


cdef void update_running(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    """running = (1 - momentum) running + momentum batch, with the batch's unbiased variance, as PyTorch has it."""
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t c
    cdef double count = <double>(node.inputs[0].size // n.channels) * ctx.batch
    cdef double unbiased = count / (count - 1) if count > 1 else 1
    for c in range(border(node, part, team), border(node, part + 1, team)):
        put(k, n.mean.w, c, (1 - n.momentum) * get(k, n.mean.w, c) + n.momentum * get(k, row(node, MEAN), c))
        put(k, n.variance.w, c, (1 - n.momentum) * get(k, n.variance.w, c)
            + n.momentum * unbiased * get(k, row(node, VARIANCE), c))


cdef bint finite_variance(const Node *node) noexcept nogil:
    """Whether the batch's variance, which update_running keeps, is a number of this precision."""
    return node.k.absolute_maximum((<const Normalization *>node.extra).channels, row(node, VARIANCE)) < INFINITY


cdef double normalize_bound(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """The gradients are known by now."""
    cdef Py_ssize_t channels = (<const Normalization *>node.extra).channels
    return max(node.k.absolute_maximum(channels, row(node, GAMMA_GRADIENT)),
               node.k.absolute_maximum(channels, row(node, BETA_GRADIENT)))


cdef void fold(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    """The weights with the normalization in them; every team-th panel of the kernel."""
    cdef const Folding *f = <const Folding *>node.folding
    cdef const Parameter *p = f.kernel
    cdef Py_ssize_t panel = part
    while panel < p.matrices * panels(node.k, p.columns):
        fold_panel(node.k, f, panel // panels(node.k, p.columns), panel % panels(node.k, p.columns), ctx.scratch)
        panel += team


cdef void fold_panel(const nn_kernels *k, const Folding *f, Py_ssize_t matrix, Py_ssize_t panel, char *scratch) noexcept nogil:
    cdef const Parameter *p = f.kernel
    cdef Py_ssize_t size = k.real_size, width = panel_width(k, p.columns, panel), i
    cdef Py_ssize_t first = matrix * p.columns + panel * k.nr       # its first channel
    cdef Py_ssize_t at = (matrix * packed_size(k, p.rows, p.columns) + panel * k.nr * p.rows) * size
    cdef char *scale = scratch
    cdef char *zero = scale + width * size
    cdef double factor, shift
    memset(scratch, 0, 2 * width * size)
    for i in range(min(width, p.columns - panel * k.nr)):
        factor = 1 / sqrt(get(k, f.variance.w, first + i) + f.epsilon)
        if f.gamma != NULL:
            factor *= get(k, f.gamma.w, first + i)
        shift = (0 if f.bias == NULL else get(k, f.bias.w, first + i)) - get(k, f.mean.w, first + i)
        shift = shift * factor + (0 if f.beta == NULL else get(k, f.beta.w, first + i))
        put(k, scale, i, factor)
        put(k, f.folded_bias.w, first + i, shift)
    k.normalize(p.rows, width, p.w + at, scale, zero, False, f.folded_kernel.w + at)
