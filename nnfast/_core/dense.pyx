"""Fully connected layer: y = act(x W + b).

Layout: x [batch][in], W [in][out] packed in panels of output columns (gemm.pxd), b [out], y [batch][out].
Rows of a batch are independent in the forward pass and in dx; a tile of dW is a few rows of W in some panels and sums over
the whole batch in order, so no partial gradients exist and the bits do not depend on the number of threads. Products skip
the zeros of x and dz where there are many (nonzeros.pyx).

    forward   z = x W + b, y = act(z)           bias and relu in the tile, other activations while z is in cache
    backward  dz = dy * act'(z), in place;      dx = dz W'    (W' is packed tile by tile)
    gradient  dW = x' dz,  db = sum_b dz        x read in columns, dz in rows: both in place, or a copy of x's columns
"""
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from nnfast._core.activation cimport apply, apply_backward
from nnfast._core.gemm cimport (
    COLUMNS, HIGH_TILE, PANELS, PANELS_TRANSPOSED, ROWS, Block, Product, block_of, multiply, multiply_block,
    multiply_parallel, multiply_rows, odd_lines, pack_panel, panel_width, panels, round_up, scratch_bytes,
)
from nnfast._core.kernels cimport NN_LINEAR, NN_RELU, kernels_of, nn_brgemm, nn_kernels
from nnfast._core.memory cimport address
from nnfast._core.node cimport SOFTMAX, Columns, Context, Node, Tile, Value, piece_start, piece_width
from nnfast._core.nonzeros cimport Nonzeros, add_transposed, nonzero_share, pays, to_panels
from nnfast._core.sparse cimport multiply_sparse, sparse_gradient
from nnfast._core.threads cimport nn_flush_subnormals, nn_restore_subnormals

from nnfast._core.elementwise import activation_forward, softmax_forward

cdef enum:
    GRADIENT_DEPTH = 128    # samples summed in one pass: their rows of dz in a panel, and of x in a tile, stay in L1,
    LONG_GRADIENT_DEPTH = 256   # or in L2, for high tiles
    MANY_PANELS = 32        # that a thread makes of the same columns of x: for lower tiles they are copied
    MANY_COLUMNS = 256      # of x, whose rows lie so far apart that no prefetcher follows them
    COLUMNS_BYTES = 425984  # most of a copy, in L2


cdef void forward_product(const Node *node, Product *product) noexcept nogil:
    """z = x W + b, or y where the tile does the whole activation, but for the rows."""
    cdef const nn_kernels *k = node.k
    product.k = k
    product.K = node.kernel.rows
    product.N = node.kernel.columns
    product.a_row, product.a_col = product.K, 1
    product.storage, product.b = PANELS, node.kernel.w
    product.ldc = product.N
    if node.outer == 1:
        if (product.N - 1) % k.nr >= k.few_by_row:    # few are not stored as vectors
            product.N = round_up(product.N, k.vl)     # into the padding: whole vectors only
        product.a_row, product.ldc = node.inputs[0].ld, node.output.ld
    product.bias = NULL if node.bias == NULL else node.bias.w
    product.accumulate = False
    product.relu = node.activation == NN_RELU
    product.skips_zeros = True


cdef void backward_product(const Node *node, Product *product) noexcept nogil:
    """dx = dz W', but for the rows."""
    product.k = node.k
    product.K = node.kernel.columns
    product.N = node.kernel.rows
    product.a_row, product.a_col = product.K, 1
    product.storage, product.b, product.b_rows = PANELS_TRANSPOSED, node.kernel.w, node.kernel.rows
    product.ldc = product.N
    if node.outer == 1:
        product.a_row, product.ldc = node.output.ld, node.inputs[0].ld
    product.bias = NULL
    product.accumulate = node.adds[0]
    product.relu = False
    product.skips_zeros = True


cdef void multiply_samples(const Node *node, const Context *ctx, Product *product, const char *a, Py_ssize_t a_sample,
                           char *c, Py_ssize_t c_sample, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """The product for rows lo..hi of the batch, of one row each or of several."""
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t size = k.real_size, many = hi - lo if node.outer == 1 else 1, b = lo
    product.M = many * node.outer
    while b < hi:
        product.a = a + b * a_sample * size
        product.c = c + b * c_sample * size
        multiply(product, 0, product.M, 0, panels(k, product.N), ctx.scratch)
        b += many


cdef void forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Product product
    forward_product(node, &product)
    product.c = y.y if y.z == NULL else y.z
    if x.sparse != NULL:
        multiply_sparse(&product, x.sparse, lo, hi, 0, panels(node.k, product.N), ctx.scratch)
    else:
        multiply_samples(node, ctx, &product, x.y, x.ld, product.c, y.ld, lo, hi)
    if node.activation != NN_RELU:
        apply(node, ctx, lo, hi)


cdef void backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Product product
    apply_backward(node, ctx, lo, hi)
    if x.dy != NULL:
        backward_product(node, &product)
        multiply_samples(node, ctx, &product, y.dy, y.ld, x.dy, x.ld, lo, hi)


# Layer-parallel, where weights are too many for every thread to read them all: each takes a block of the whole batch's
# output, of which the columns are a part of the weights.

cdef bint by_columns(const Node *node, int team) noexcept nogil:
    """Whether each thread makes some columns of y, of about equal number. It then is the only one to read its weights in the
    forward pass and the one to update them (network.pyx): where nothing is passed back they never leave its caches."""
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t most = (panels(k, node.kernel.columns) + team - 1) // team * k.nr
    return 5 * node.kernel.columns >= 4 * team * most


cdef void team_forward(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    """y but for a softmax."""
    cdef const nn_kernels *k = node.k
    cdef const Value *y = node.output
    cdef Py_ssize_t size = k.real_size, b, at, columns
    cdef char *z = y.y if y.z == NULL else y.z
    cdef Product product
    cdef Block block
    forward_product(node, &product)
    product.M = ctx.batch
    product.a, product.c = node.inputs[0].y, z
    block = block_of(&product, part, team, by_columns(node, team))
    if node.inputs[0].sparse != NULL:
        multiply_sparse(&product, node.inputs[0].sparse, block.row_lo, block.row_hi, block.panel_lo, block.panel_hi,
                        ctx.scratch)
    else:
        multiply_block(&product, &block, ctx.scratch)
    if node.activation not in (NN_LINEAR, NN_RELU, SOFTMAX) and not (node.fused and ctx.has_loss):
        columns = min(product.N, block.panel_hi * k.nr) - block.panel_lo * k.nr
        for b in range(block.row_lo, block.row_hi if columns > 0 else block.row_lo):
            at = (b * y.ld + block.panel_lo * k.nr) * size
            k.activation[node.activation](columns, z + at, y.y + at, node.alpha)


cdef void team_backward(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    """dx of dz."""
    cdef Product product
    cdef Block block
    if node.inputs[0].dy == NULL:
        return
    backward_product(node, &product)
    product.M = ctx.batch
    product.a, product.c = node.output.dy, node.inputs[0].dy
    block = block_of(&product, part, team, False)
    multiply_block(&product, &block, ctx.scratch)


cdef void gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil:
    if tile.parameter == node.bias:
        bias_gradient(node, ctx, tile, to)
    elif node.inputs[0].sparse != NULL:
        sparse_gradient(node.k, node.inputs[0].sparse, gradient_depth(node.k), tile,
                        node.output.dy + tile.panel * node.k.nr * node.k.real_size, node.output.ld, ctx.scratch, to)
    elif node.outer == 1:
        kernel_gradient(node, ctx, tile, to)
    else:
        kernel_gradient_many_rows(node, ctx, tile, to)


cdef void bias_gradient(const Node *node, const Context *ctx, const Tile *tile, char *db) noexcept nogil:
    cdef const nn_kernels *k = node.k
    cdef const Value *y = node.output
    cdef Py_ssize_t size = k.real_size, columns = node.bias.columns, b
    if node.outer == 1:
        k.column_sum(ctx.batch, tile.rows, y.dy + tile.lo * size, y.ld, db)     # with the padding: it is measured, too
        return
    memset(db, 0, tile.rows * size)
    for b in range(ctx.batch):
        k.column_sum(node.outer, tile.hi - tile.lo, y.dy + (b * y.ld + tile.lo) * size, columns, ctx.scratch)
        k.add(tile.hi - tile.lo, db, ctx.scratch, db)


cdef Py_ssize_t columns_to_store(const nn_kernels *k, const Tile *tile, Py_ssize_t columns, Py_ssize_t width,
                                 char *dw) noexcept nogil:
    """Of a panel of dW. All that its padding holds is updated with the rest: whole vectors, or zeros beside few columns."""
    if columns > k.few_by_column:
        return width
    memset(dw, 0, tile.rows * width * k.real_size)
    return columns


cdef inline Py_ssize_t gradient_depth(const nn_kernels *k) noexcept nogil:
    return GRADIENT_DEPTH if k.mr < HIGH_TILE else LONG_GRADIENT_DEPTH


cdef bint many_panels(const Node *node, int team) noexcept nogil:
    """Whether a thread makes so much of dW that x's columns may be copied for it."""
    return (node.k.mr < HIGH_TILE and node.outer == 1 and node.kernel.rows >= MANY_COLUMNS
            and panels(node.k, node.kernel.columns) >= MANY_PANELS * team)


cdef Py_ssize_t columns_bytes(const Node *node) noexcept nogil:
    """The room to copy them to."""
    return COLUMNS_BYTES if many_panels(node, 1) else 0


cdef const char *columns_of_x(const Node *node, const Context *ctx, const Tile *tile, Py_ssize_t *ld) noexcept nogil:
    """x's columns lo..hi, and how far apart its rows are there."""
    cdef const Value *x = node.inputs[0]
    cdef Columns *columns = ctx.columns
    cdef Py_ssize_t size = node.k.real_size, pitch = odd_lines(node.k, tile.rows)
    ld[0] = x.ld
    if not many_panels(node, columns.team) or ctx.batch * pitch * size > columns.bytes:
        return x.y + tile.lo * size
    ld[0] = pitch
    if columns.node != node or columns.lo != tile.lo:
        node.k.copy(ctx.batch, tile.rows, x.y + tile.lo * size, x.ld, columns.at, pitch)
        columns.node, columns.lo = node, tile.lo
    return columns.at


cdef double tile_share(const nn_kernels *k, Py_ssize_t batch, const char *a, Py_ssize_t ld, Py_ssize_t listed,
                       Py_ssize_t others, char *scratch) noexcept nogil:
    """How many of these columns of x or dz are not 0, or 1 where a list of them would not pay."""
    return nonzero_share(k, batch, listed, a, ld, scratch) if pays(k, listed, others, batch) else 1


cdef void gradient_of_nonzeros(const Node *node, const Context *ctx, const Tile *tile, bint of_x, double share,
                               const char *x, Py_ssize_t ldx, const char *dz, Py_ssize_t columns, char *dw) noexcept nogil:
    """A tile of dW = x' dz from the numbers of x that are not 0, or as dW' = dz' x from those of dz. `columns`: of dz, with
    the padding."""
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t size = k.real_size, ldz = node.output.ld, b0 = 0, ld, depth, most = min(gradient_depth(k), ctx.batch)
    cdef const char *a
    cdef char *rows = ctx.scratch
    cdef char *product
    cdef Nonzeros y
    if of_x:
        a, ld, y.rows = x, ldx, tile.rows
        y.b, y.ldb, y.n = dz, ldz, columns
    else:
        a, ld, y.rows = dz, ldz, columns
        y.b, y.ldb, y.n = x, ldx, tile.rows
    y.k, y.panel_step, y.share = k, k.nr, share
    y.a_row, y.ldc = round_up(most, k.vl), round_up(y.n, k.vl)
    product = rows + y.rows * y.a_row * size
    y.c, y.bias, y.accumulate, y.relu = product, NULL, False, False
    while b0 < ctx.batch:
        depth = min(ctx.batch - b0, most)
        add_transposed(&y, depth, a + b0 * ld * size, ld, rows, product + y.rows * y.ldc * size)
        y.b += depth * y.ldb * size
        b0 += depth
    to_panels(k, tile.rows, columns, product, y.ldc, not of_x, dw)


cdef void kernel_gradient(const Node *node, const Context *ctx, const Tile *tile, char *dw) noexcept nogil:
    """Some panels' rows lo..hi of dW, the whole batch."""
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t size = k.real_size, ldz = node.output.ld, first = tile.panel * k.nr, ldx, i
    cdef Py_ssize_t padded = piece_start(tile, tile.n_panels) // tile.rows, columns = min(padded, node.kernel.columns - first)
    cdef const char *x = columns_of_x(node, ctx, tile, &ldx)
    cdef const char *dz = node.output.dy + first * size
    cdef double of_x = tile_share(k, ctx.batch, x, ldx, tile.rows, columns, ctx.scratch)
    cdef double of_dz = tile_share(k, ctx.batch, dz, ldz, columns, tile.rows, ctx.scratch)
    if min(of_x, of_dz) < 1:
        gradient_of_nonzeros(node, ctx, tile, of_x < of_dz, min(of_x, of_dz), x, ldx, dz, padded, dw)
        return
    for i in range(tile.n_panels):
        panel_gradient(node, ctx, tile, x, ldx, dz + i * k.nr * size, piece_width(tile, i), columns - i * k.nr,
                       dw + piece_start(tile, i) * size)


cdef void panel_gradient(const Node *node, const Context *ctx, const Tile *tile, const char *x, Py_ssize_t ldx, const char *dz,
                         Py_ssize_t width, Py_ssize_t columns, char *dw) noexcept nogil:
    cdef const nn_kernels *k = node.k
    cdef Py_ssize_t size = k.real_size, ldz = node.output.ld, b0 = 0
    cdef nn_brgemm op
    columns = columns_to_store(k, tile, columns, width, dw)
    op.count = 1
    op.a_offset = NULL
    op.b_step = 0
    op.a_row = 1
    op.a_col = ldx
    op.ldb = ldz
    op.ldc = width
    op.relu = False
    while b0 < ctx.batch:
        op.k = min(ctx.batch - b0, gradient_depth(k))
        op.accumulate = b0 > 0
        multiply_rows(k, &op, tile.rows, columns, x + b0 * ldx * size, dz + b0 * ldz * size, NULL, dw)
        b0 += op.k


cdef void kernel_gradient_many_rows(const Node *node, const Context *ctx, const Tile *tile, char *dw) noexcept nogil:
    """The same where a sample has several rows: they are not padded, so dz is packed first."""
    cdef const nn_kernels *k = node.k
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = k.real_size, rows = node.kernel.rows
    cdef Py_ssize_t width = panel_width(k, node.kernel.columns, tile.panel)
    cdef Py_ssize_t columns = columns_to_store(k, tile, node.kernel.columns - tile.panel * k.nr, width, dw)
    cdef Py_ssize_t depth = scratch_bytes(k) // (k.nr * size), b, r
    cdef Product dz
    cdef nn_brgemm op
    dz.k = k
    dz.N = node.kernel.columns
    dz.storage = ROWS
    dz.ldb = dz.N
    op.count = 1
    op.a_offset = NULL
    op.b_step = 0
    op.a_row = 1
    op.a_col = rows
    op.ldb = width
    op.ldc = width
    op.relu = False
    for b in range(ctx.batch):
        r = 0
        while r < node.outer:
            op.k = min(node.outer - r, depth)
            op.accumulate = b > 0 or r > 0
            dz.b = y.dy + (b * y.ld + r * dz.N) * size
            pack_panel(&dz, tile.panel, 0, op.k, ctx.scratch)
            multiply_rows(k, &op, tile.hi - tile.lo, columns, x.y + (b * x.ld + r * rows + tile.lo) * size, ctx.scratch,
                          NULL, dw)
            r += op.k


# Stateless, over whole arrays: for nnfast.functional, which has checked them. x [M][C], w [C][K], y [M][K].

def dense_forward(x, w, b, activation, double alpha, out, int n_threads):
    """out = act(x w + b)."""
    cdef Product product
    cdef char *bias = NULL
    cdef Py_ssize_t size
    product.k = kernels_of(x.itemsize)
    size = product.k.real_size
    product.M, product.K, product.N = x.shape[0], w.shape[0], w.shape[1]
    product.a, product.a_row, product.a_col = address(x), product.K, 1
    product.storage, product.b, product.ldb = ROWS, address(w), product.N
    product.c, product.ldc = address(out, True), product.N
    product.accumulate = False
    product.relu = activation == "relu"
    product.skips_zeros = False
    if b is not None:       # tiles read whole vectors of it
        bias = <char *>calloc(round_up(product.N, product.k.vl), size)
        if bias == NULL:
            raise MemoryError()
        memcpy(bias, address(b), product.N * size)
    product.bias = bias
    try:
        multiply_parallel(&product, n_threads)
    finally:
        free(bias)
    if product.N == 0:
        return
    if activation == "softmax":
        softmax_forward(out, out, product.N, n_threads)
    elif activation not in ("linear", "relu"):
        activation_forward(activation, out, out, alpha, n_threads)


cdef int sum_columns(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t columns, x, y) except -1:
    cdef const char *at = address(x)
    cdef char *to = address(y, True)
    cdef uint64_t mode
    with nogil:
        mode = nn_flush_subnormals()
        k.column_sum(rows, columns, at, columns, to)
        nn_restore_subnormals(mode)
    return 0


def dense_backward(x, w, dy, dx, dw, db, int n_threads):
    """dx = dy w', dw = x' dy, db = the column sums of dy; None where one is not wanted."""
    cdef Product product
    cdef Py_ssize_t M = x.shape[0], C = w.shape[0], K = w.shape[1]
    product.k = kernels_of(x.itemsize)
    product.bias = NULL
    product.accumulate = product.relu = product.skips_zeros = False
    if dx is not None:
        product.M, product.K, product.N = M, K, C
        product.a, product.a_row, product.a_col = address(dy), K, 1
        product.storage, product.b, product.ldb = COLUMNS, address(w), K
        product.c, product.ldc = address(dx, True), C
        multiply_parallel(&product, n_threads)
    if dw is not None:
        product.M, product.K, product.N = C, M, K
        product.a, product.a_row, product.a_col = address(x), 1, C
        product.storage, product.b, product.ldb = ROWS, address(dy), K
        product.c, product.ldc = address(dw, True), K
        multiply_parallel(&product, n_threads)
    if db is not None:
        sum_columns(product.k, M, K, dy, db)
