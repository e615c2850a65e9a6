"""Batch normalization (Ioffe and Szegedy 2015): y = act(gamma (x - mean) / sqrt(variance + epsilon) + beta).

mean and variance are each channel's over all samples and pixels of the batch; in inference mode the running ones. A batch
is the only thing that samples share in a forward pass, so this operation has a barrier on both sides:

    forward    mean and sum of squared deviations of each block     rows of the batch
               all of them combined, in order                       bands of channels, shared out among the threads
               y = x * scale + shift                                rows
    backward   each block's sums of dz and dz (x - mean)            rows
               the three factors of dx, and dgamma, dbeta           bands
               dx = dz * a + x * b + c                              rows

A block is some of a sample's pixels, which stay in cache for the second sum. A sample of one pixel (dense layers) has
nothing to sum up: there the band's thread takes GROUP samples together. Sums of a block or group are in the arrays'
precision, which long ones would lose digits in, and combined in double (Chan, Golub and LeVeque 1979, eq. 2.1). What they
belong to does not depend on the number of threads, nor do the bits. The running statistics change only when the step is
applied.

In inference scale and shift are known before the batch comes, and where a linear dense layer or convolution lies before
the normalization they go into its weights (fold): w' = w scale, b' = b scale + shift.
"""
from libc.math cimport INFINITY, sqrt
from libc.string cimport memcpy, memset

from nnfast._core.activation cimport apply, apply_backward
from nnfast._core.gemm cimport packed_size, panel_width, panels
from nnfast._core.kernels cimport NN_RELU, get, nn_kernels, put
from nnfast._core.node cimport Context, Node, Parameter, Tile, Value, piece_size


cdef inline char *row(const Node *node, Row which) noexcept nogil:
    cdef const Normalization *n = <const Normalization *>node.extra
    return n.rows + which * n.ld * node.k.real_size


cdef enum:
    BAND = 32       # channels whose statistics one thread makes
    GROUP = 64      # samples of one pixel that are summed up in single precision: 8 KB of a band
    BLOCK_BYTES = 131072
    FEWEST = 64     # pixels of a block
    MOST = 1024


cdef inline Py_ssize_t band_border(const Node *node, int part, int team) noexcept nogil:
    """First channel of a thread's bands."""
    cdef Py_ssize_t channels = (<const Normalization *>node.extra).channels, bands = (channels + BAND - 1) // BAND
    return min(channels, bands * part // team * BAND)


cdef inline Py_ssize_t pixels_of_block(const Node *node) noexcept nogil:
    cdef Py_ssize_t pixel = (<const Normalization *>node.extra).channels * node.k.real_size
    return min(<Py_ssize_t>MOST, max(<Py_ssize_t>FEWEST, BLOCK_BYTES // pixel))


cdef Py_ssize_t blocks(const Node *node) noexcept nogil:
    """Of a sample."""
    return (node.outer + pixels_of_block(node) - 1) // pixels_of_block(node)


cdef inline Py_ssize_t parts_of_batch(const Node *node, const Context *ctx) noexcept nogil:
    """Blocks, or groups."""
    return ctx.batch * blocks(node) if node.outer > 1 else (ctx.batch + GROUP - 1) // GROUP


cdef inline Py_ssize_t pixels_of_part(const Node *node, const Context *ctx, Py_ssize_t part) noexcept nogil:
    if node.outer == 1:
        return min(<Py_ssize_t>GROUP, ctx.batch - part * GROUP)
    return min(pixels_of_block(node), node.outer - part % blocks(node) * pixels_of_block(node))


cdef inline void matrix_moments(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t cols, const char *x, Py_ssize_t ld, char *mean,
                         char *squares) noexcept nogil:
    """Each column's mean, and sum of squared deviations from that."""
    k.column_sum(rows, cols, x, ld, mean)
    k.affine(cols, mean, 1.0 / rows, 0, mean)
    k.column_squares(rows, cols, x, ld, mean, squares)


cdef void sample_moments(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Of each block of samples that have several pixels."""
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef Py_ssize_t size = node.k.real_size, block = pixels_of_block(node), b, i
    cdef char *sums
    if not ctx.training or n.frozen or node.outer == 1:
        return
    sums = n.sums + lo * blocks(node) * 2 * n.ld * size
    for b in range(lo, hi):
        for i in range(blocks(node)):
            matrix_moments(node.k, min(block, node.outer - i * block), n.channels,
                           x.y + (b * x.ld + i * block * n.channels) * size, n.channels, sums, sums + n.ld * size)
            sums += 2 * n.ld * size


cdef void band_moments(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t width, double *mean,
                       double *squares) noexcept nogil:
    """Of the whole batch, mean and sum of squared deviations of the channels from lo on."""
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef Py_ssize_t size = node.k.real_size, part, pixels
    cdef double[2 * BAND] room
    cdef char *sums = <char *>room
    cdef char *deviations = sums + BAND * size
    cdef double rows, count = 0     # pixels of the part, of all before it
    memset(mean, 0, width * sizeof(double))
    memset(squares, 0, width * sizeof(double))
    for part in range(parts_of_batch(node, ctx)):
        pixels = pixels_of_part(node, ctx, part)
        if node.outer == 1:
            matrix_moments(node.k, pixels, width, x.y + (part * GROUP * x.ld + lo) * size, x.ld, sums, deviations)
        else:
            sums = n.sums + (2 * part * n.ld + lo) * size
            deviations = sums + n.ld * size
        rows = pixels
        node.k.join_moments(width, sums, deviations, rows / (count + rows), count * rows / (count + rows), mean, squares)
        count += rows


cdef void combine_moments(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t c, width, first = band_border(node, part, team), last = band_border(node, part + 1, team)
    cdef double pixels = <double>node.outer * ctx.batch, inverse, scale
    cdef double[BAND] mean
    cdef double[BAND] variance
    while first < last:
        width = min(<Py_ssize_t>BAND, last - first)
        if ctx.training and not n.frozen:
            band_moments(node, ctx, first, width, mean, variance)
        for c in range(first, first + width):
            if ctx.training and not n.frozen:
                variance[c - first] /= pixels
            else:
                mean[c - first] = get(k, n.mean.w, c)
                variance[c - first] = get(k, n.variance.w, c)
            inverse = 1 / sqrt(variance[c - first] + n.epsilon)
            scale = inverse * (1 if node.kernel == NULL else get(k, node.kernel.w, c))
            put(k, row(node, MEAN), c, mean[c - first])
            put(k, row(node, VARIANCE), c, variance[c - first])
            put(k, row(node, DEVIATION_INVERSE), c, inverse)
            put(k, row(node, SCALE), c, scale)
            put(k, row(node, SHIFT), c, (0 if node.bias == NULL else get(k, node.bias.w, c)) - mean[c - first] * scale)
        first += width


cdef void normalize_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, b
    cdef char *z = y.y if y.z == NULL else y.z
    for b in range(lo, hi):
        node.k.normalize(node.outer, n.channels, x.y + b * x.ld * size, row(node, SCALE), row(node, SHIFT),
                         node.activation == NN_RELU, z + b * y.ld * size)
    if node.activation != NN_RELU:
        apply(node, ctx, lo, hi)


cdef inline void matrix_sums(const Node *node, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t at, Py_ssize_t ld, Py_ssize_t lo,
                      char *sums, char *moments) noexcept nogil:
    """Sums over pixels, `at` being the first one's place in x and in y, of dz and of dz (x - mean); the channels from lo on."""
    cdef Py_ssize_t size = node.k.real_size
    node.k.normalize_sums(rows, width, node.inputs[0].y + at * size, ld,
                          row(node, SCALE) + lo * size if node.activation == NN_RELU else NULL, row(node, SHIFT) + lo * size,
                          row(node, MEAN) + lo * size, node.output.dy + at * size, sums, moments)


cdef void sample_gradients(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Of each sample that has several pixels, the blocks' sums. dz takes the place of dy where it is not that of a relu."""
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef Py_ssize_t size = node.k.real_size, block = pixels_of_block(node), b, i
    cdef char *sums
    if node.activation != NN_RELU:
        apply_backward(node, ctx, lo, hi)
    if node.outer == 1:
        return
    sums = n.sums + lo * blocks(node) * 2 * n.ld * size
    for b in range(lo, hi):
        for i in range(blocks(node)):
            matrix_sums(node, min(block, node.outer - i * block), n.channels, b * node.output.ld + i * block * n.channels,
                        n.channels, 0, sums, sums + n.ld * size)
            sums += 2 * n.ld * size


cdef void band_sums(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t width, double *total,
                    double *moment) noexcept nogil:
    """Over the whole batch, the sums of the channels from lo on."""
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef Py_ssize_t size = node.k.real_size, part
    cdef double[2 * BAND] room
    cdef char *sums = <char *>room
    cdef char *moments = sums + BAND * size
    memset(total, 0, width * sizeof(double))
    memset(moment, 0, width * sizeof(double))
    for part in range(parts_of_batch(node, ctx)):
        if node.outer == 1:
            matrix_sums(node, pixels_of_part(node, ctx, part), width, part * GROUP * node.output.ld + lo, node.output.ld, lo,
                        sums, moments)
        else:
            sums = n.sums + (2 * part * n.ld + lo) * size
            moments = sums + n.ld * size
        node.k.join_sums(width, sums, total)
        node.k.join_sums(width, moments, moment)


cdef void combine_gradients(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    """With N pixels in the batch, h = 1 / deviation, s = sum dz, t = sum dz (x - mean):
    dx = gamma h (dz - s / N - (x - mean) h^2 t / N); in inference mode mean and deviation are constants."""
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t c, width, first = band_border(node, part, team), last = band_border(node, part + 1, team)
    cdef double h, scale, factor, pixels = <double>node.outer * ctx.batch
    cdef double[BAND] s
    cdef double[BAND] t
    while first < last:
        width = min(<Py_ssize_t>BAND, last - first)
        band_sums(node, ctx, first, width, s, t)
        for c in range(first, first + width):
            h = get(k, row(node, DEVIATION_INVERSE), c)
            scale = get(k, row(node, SCALE), c)
            put(k, row(node, GAMMA_GRADIENT), c, t[c - first] * h)
            put(k, row(node, BETA_GRADIENT), c, s[c - first])
            put(k, row(node, DY_FACTOR), c, scale)
            if ctx.training and not n.frozen:
                factor = -scale * h * h * t[c - first] / pixels
                put(k, row(node, X_FACTOR), c, factor)
                put(k, row(node, CONSTANT), c, -scale * s[c - first] / pixels - factor * get(k, row(node, MEAN), c))
            else:
                put(k, row(node, X_FACTOR), c, 0)
                put(k, row(node, CONSTANT), c, 0)
        first += width


cdef void normalize_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Normalization *n = <const Normalization *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, b
    if x.dy == NULL:
        return
    for b in range(lo, hi):
        node.k.normalize_backward(node.outer, n.channels, y.dy + b * y.ld * size, x.y + b * x.ld * size,
                                  row(node, SCALE) if node.activation == NN_RELU else NULL, row(node, SHIFT),
                                  row(node, DY_FACTOR), row(node, X_FACTOR), row(node, CONSTANT), node.adds[0],
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
    cdef double count = <double>node.outer * ctx.batch
    cdef double unbiased = count / (count - 1) if count > 1 else 1
    for c in range(band_border(node, part, team), band_border(node, part + 1, team)):
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
