"""Group normalization (Wu and He 2018): y = act(gamma (x - mean) / sqrt(variance + epsilon) + beta).

mean and variance are of a sample's group of neighbouring channels, over all pixels. Samples do not meet. The passes over
pixels are those of batch normalization (csrc/columns.c), of one sample, with numbers for each channel:

    forward   sums of channels, and of squared deviations from the group's mean; y = x * scale + shift
    backward  sums of dz and dz (x - mean); dx = dz * p + x * q + r
    gradient  of gamma and beta, those sums over the samples
"""
from libc.math cimport sqrt
from libc.string cimport memset

from nnfast._core.activation cimport apply, apply_backward
from nnfast._core.gemm cimport round_up, scratch_bytes
from nnfast._core.kernels cimport NN_RELU, get, nn_kernels, put
from nnfast._core.node cimport Context, Node, Tile, Value, piece_size

cdef enum Room:             # rows of a thread's scratch memory
    MEAN, SCALE, SHIFT, X_FACTOR, CONSTANT, ROWS

cdef enum:
    PIXELS = 1024           # whose sums are in the arrays' precision; those of blocks are added in double


cdef inline Py_ssize_t room_length(const Node *node) noexcept nogil:
    return round_up((<const GroupNorm *>node.extra).channels, node.k.vl)


cdef inline char *room(const Node *node, const Context *ctx, Room which) noexcept nogil:
    return ctx.scratch + which * room_length(node) * node.k.real_size


cdef Py_ssize_t group_norm_scratch(const Node *node) noexcept nogil:
    """Rows of channels, moments of the groups, which inference does not keep, and sums."""
    cdef Py_ssize_t groups = (<const GroupNorm *>node.extra).groups
    return max((ROWS * room_length(node) + 2 * groups) * node.k.real_size + groups * <Py_ssize_t>sizeof(double),
               scratch_bytes(node.k))


cdef inline double *totals(const Node *node, const Context *ctx) noexcept nogil:
    cdef Py_ssize_t groups = (<const GroupNorm *>node.extra).groups
    return <double *>(room(node, ctx, ROWS) + 2 * groups * node.k.real_size)


cdef inline char *moments_of(const Node *node, const Context *ctx, Py_ssize_t sample) noexcept nogil:
    cdef const GroupNorm *n = <const GroupNorm *>node.extra
    if n.moments == NULL:
        return room(node, ctx, ROWS)
    return n.moments + 2 * sample * n.groups * node.k.real_size


cdef void add_up(const Node *node, const Context *ctx, const char *x, const char *mean) noexcept nogil:
    """Each group's sum of x, or of squared deviations from the mean. A long sum of floats would lose digits."""
    cdef const GroupNorm *n = <const GroupNorm *>node.extra
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t width = n.channels // n.groups, left = node.outer, rows, g, c
    cdef double *total = totals(node, ctx)
    cdef char *sums = room(node, ctx, SCALE)
    for g in range(n.groups):
        total[g] = 0
    while left > 0:
        rows = min(left, <Py_ssize_t>PIXELS)
        if mean == NULL:
            k.column_sum(rows, n.channels, x, n.channels, sums)
        else:
            k.column_squares(rows, n.channels, x, n.channels, mean, sums)
        for g in range(n.groups):
            for c in range(g * width, (g + 1) * width):
                total[g] += get(k, sums, c)
        x += rows * n.channels * k.real_size
        left -= rows


cdef void find_moments(const Node *node, const Context *ctx, const char *x, char *moments) noexcept nogil:
    """Mean and 1 / deviation of each group of a sample."""
    cdef const GroupNorm *n = <const GroupNorm *>node.extra
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t width = n.channels // n.groups, g, c
    cdef double numbers = <double>width * node.outer
    cdef char *mean = room(node, ctx, MEAN)
    add_up(node, ctx, x, NULL)
    for g in range(n.groups):
        put(k, moments, 2 * g, totals(node, ctx)[g] / numbers)
        for c in range(g * width, (g + 1) * width):
            put(k, mean, c, get(k, moments, 2 * g))
    add_up(node, ctx, x, mean)
    for g in range(n.groups):
        put(k, moments, 2 * g + 1, 1 / sqrt(totals(node, ctx)[g] / numbers + n.epsilon))


cdef void spread(const Node *node, const Context *ctx, const char *moments) noexcept nogil:
    """Each channel's mean, scale and shift; the same bits whenever it is called."""
    cdef const GroupNorm *n = <const GroupNorm *>node.extra
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t width = n.channels // n.groups, c
    cdef double mean, scale
    for c in range(n.channels):
        mean, scale = get(k, moments, 2 * (c // width)), get(k, moments, 2 * (c // width) + 1)
        if node.kernel != NULL:
            scale *= get(k, node.kernel.w, c)
        put(k, room(node, ctx, MEAN), c, mean)
        put(k, room(node, ctx, SCALE), c, scale)
        put(k, room(node, ctx, SHIFT), c, (0 if node.bias == NULL else get(k, node.bias.w, c)) - mean * scale)


cdef void group_norm_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, channels = (<const GroupNorm *>node.extra).channels, b
    cdef char *z = y.y if y.z == NULL else y.z
    cdef char *moments
    for b in range(lo, hi):
        moments = moments_of(node, ctx, b)
        find_moments(node, ctx, x.y + b * x.ld * size, moments)
        spread(node, ctx, moments)
        node.k.normalize(node.outer, channels, x.y + b * x.ld * size, room(node, ctx, SCALE), room(node, ctx, SHIFT),
                         node.activation == NN_RELU, z + b * y.ld * size)
    if node.activation != NN_RELU:
        apply(node, ctx, lo, hi)


cdef void find_factors(const Node *node, const Context *ctx, const char *moments, const char *sums,
                       char *products) noexcept nogil:
    """Of dx. With N numbers in a group, h = 1 / deviation, s = sum dz, t = sum dz (x - mean), s' and t' the sums of
    gamma s and gamma t over the group: dx = gamma h dz - h s' / N - (x - mean) h^3 t' / N. t becomes h t."""
    cdef const GroupNorm *n = <const GroupNorm *>node.extra
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t width = n.channels // n.groups, g, c
    cdef double numbers = <double>width * node.outer, mean, h, s, t, gamma, factor
    for g in range(n.groups):
        mean, h, s, t = get(k, moments, 2 * g), get(k, moments, 2 * g + 1), 0, 0
        for c in range(g * width, (g + 1) * width):
            gamma = 1 if node.kernel == NULL else get(k, node.kernel.w, c)
            s += gamma * get(k, sums, c)
            t += gamma * get(k, products, c)
            put(k, products, c, h * get(k, products, c))
        factor = -h * h * h * t / numbers
        for c in range(g * width, (g + 1) * width):
            put(k, room(node, ctx, X_FACTOR), c, factor)
            put(k, room(node, ctx, CONSTANT), c, -h * s / numbers - factor * mean)


cdef void group_norm_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const GroupNorm *n = <const GroupNorm *>node.extra
    cdef const nn_kernels *k = node.k
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = k.real_size, b
    cdef const char *from_x
    cdef const char *dy
    cdef char *scale = NULL
    cdef char *sums
    cdef char *products
    if node.activation == NN_RELU:
        scale = room(node, ctx, SCALE)
    else:
        apply_backward(node, ctx, lo, hi)
    for b in range(lo, hi):
        from_x, dy = x.y + b * x.ld * size, y.dy + b * y.ld * size
        sums = n.sums + 2 * b * n.channels * size
        products = sums + n.channels * size
        spread(node, ctx, moments_of(node, ctx, b))
        k.normalize_sums(node.outer, n.channels, from_x, n.channels, scale, room(node, ctx, SHIFT), room(node, ctx, MEAN),
                         dy, sums, products)
        find_factors(node, ctx, moments_of(node, ctx, b), sums, products)
        if x.dy != NULL:
            k.normalize_backward(node.outer, n.channels, dy, from_x, scale, room(node, ctx, SHIFT),
                                 room(node, ctx, SCALE), room(node, ctx, X_FACTOR), room(node, ctx, CONSTANT),
                                 node.adds[0], x.dy + b * x.ld * size)


cdef void group_norm_gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil:
    cdef const GroupNorm *n = <const GroupNorm *>node.extra
    cdef Py_ssize_t size = node.k.real_size
    cdef Py_ssize_t first = tile.lo if tile.parameter == node.bias else tile.panel * node.k.nr
    cdef Py_ssize_t columns = min(piece_size(tile, 0), n.channels - first)
    memset(to, 0, piece_size(tile, 0) * size)       # with the padding: it is measured, too
    node.k.column_sum(ctx.batch, columns, n.sums + (first if tile.parameter == node.bias else n.channels + first) * size,
                      2 * n.channels, to)


cdef double group_norm_bound(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const GroupNorm *n = <const GroupNorm *>node.extra
    cdef Py_ssize_t row = 2 * n.channels
    return node.k.absolute_maximum((hi - lo) * row, n.sums + lo * row * node.k.real_size) * ctx.batch
