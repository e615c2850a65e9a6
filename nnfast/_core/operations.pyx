"""The table of operations: what a node's functions are, what it keeps, and what it reads again after the forward pass.

A node of an inference program computes values alone: it has no buffers for a backward pass, and a normalization's numbers
are made when the parameters have changed (prepare), not in each step.
"""
from libc.stdlib cimport free

from nnfast._core.activation cimport activation_backward, activation_forward, activation_index, apply, apply_backward
from nnfast._core.arena cimport Arena
from nnfast._core.convolution cimport (
    Convolution, after_team_forward, allocate_kernels, backward as conv_backward, before_input_gradient, describe,
    forward as conv_forward, free_kernels, fuse_pool, gradient as conv_gradient, multiplies, prepare_kernel,
    segment_gradients, segments as conv_segments, takes_chunks, team_backward as conv_team_backward,
    team_forward as conv_team_forward,
)
from nnfast._core.dense cimport (
    backward as dense_backward, by_columns, forward as dense_forward, gradient as dense_gradient,
    team_backward as dense_team_backward, team_forward as dense_team_forward,
)
from nnfast._core.dropout cimport dropout_backward, dropout_forward
from nnfast._core.embedding cimport embedding_backward, embedding_bound, embedding_forward, embedding_gradient
from nnfast._core.gemm cimport CACHE_LINE, round_up, scratch_bytes
from nnfast._core.group_norm cimport (
    GroupNorm, group_norm_backward, group_norm_bound, group_norm_forward, group_norm_gradient, group_norm_scratch,
)
from nnfast._core.kernel_segments cimport all_segments, segment_row
from nnfast._core.kernels cimport NN_LINEAR, nn_kernels
from nnfast._core.layer_norm cimport (
    LayerNorm, layer_norm_backward, layer_norm_bound, layer_norm_forward, layer_norm_gradient,
)
from nnfast._core.memory cimport aligned, allocate, release, table
from nnfast._core.merge cimport (
    Product, add_backward, add_forward, concatenate_backward, concatenate_forward, multiply_backward, multiply_forward,
)
from nnfast._core.node cimport SOFTMAX, Context, Node, Parameter, team_function
from nnfast._core.normalization cimport (
    ROWS, Folding, Normalization, blocks, combine_gradients, combine_moments, finite_variance, fold, normalize_backward,
    normalize_bound, normalize_forward, normalize_gradient, sample_gradients, sample_moments, update_running,
)
from nnfast._core.pooling cimport (
    ALL_TAPS, TAPS_INSIDE, Pool, average_backward, average_forward, max_backward, max_forward, pad_backward, pad_forward,
    upsample_backward, upsample_forward,
)
from nnfast._core.scaling cimport rescale_backward, rescale_forward
from nnfast._core.sparse cimport sparse_maximum
from nnfast._core.window cimport Window, read_window
from nnfast._core cimport convolution_transpose

cdef enum:
    SHARED_BYTES = 262144   # half of a core's L2: weights beyond it leave no room there for anything else
    FIRST_SHARED_BYTES = 16384  # of a layer without a backward pass, whose weights then stay with one thread each


def product_of(shape):
    cdef Py_ssize_t n = 1
    for length in shape:
        n *= length
    return n


cdef Py_ssize_t row_length(const nn_kernels *k, Py_ssize_t size) noexcept:
    """Whole vectors, and an odd number of cache lines where rows are long: products read columns of a value, and columns
    of even strides fall into few sets of the L1 cache."""
    cdef Py_ssize_t ld = round_up(size, k.vl), line = CACHE_LINE // k.real_size
    if ld >= 8 * line:
        ld = round_up(ld, line)
        if ld // line % 2 == 0:
            ld += line
    return ld


cdef int build_node(Node *node, dict spec, Parameter *parameters, bint inference) except -1:
    """Everything but the values. One line of the table below for each operation.

    The description gets "work", the multiply-adds that decide how many threads are worth their while, and "flops", the
    arithmetic operations of its definition; both are a sample's.
    """
    op = spec["op"]
    elements = node.output.size     # Python's integers, in which products do not overflow
    if "activation" in spec:
        node.activation = activation_index(spec["activation"])
        node.alpha = spec["alpha"]
        node.rereads_output = node.activation != NN_LINEAR
    outer = node.outer = product_of(spec["shape"][:len(spec["shape"]) - 1])
    if op == "dense":
        build_weights(node, spec, parameters)
        build_dense(node)
        spec["work"] = outer * node.kernel.rows * node.kernel.columns
        spec["flops"] = 2 * spec["work"]
    elif op == "conv":
        build_convolution(node, spec, parameters, inference)
        spec["flops"] = 2 * spec["work"]
    elif op == "conv_transpose":
        build_transpose(node, spec, parameters, inference)
        spec["flops"] = 2 * spec["work"]
    elif op == "max_pool":
        spec["flops"] = elements * build_pool(node, spec)
        node.forward.rows, node.backward.rows = max_forward, max_backward
    elif op == "average_pool":
        spec["flops"] = elements * build_pool(node, spec)
        node.forward.rows, node.backward.rows = average_forward, average_backward
    elif op == "upsample":
        build_pool(node, spec)
        node.forward.rows, node.backward.rows = upsample_forward, upsample_backward
        spec["work"] = elements
    elif op == "pad":
        build_pool(node, spec)
        node.forward.rows, node.backward.rows = pad_forward, pad_backward
    elif op == "batch_norm":
        build_normalization(node, spec, parameters, inference)
        spec["flops"] = 2 * elements
    elif op == "layer_norm":
        build_layer_norm(node, spec, parameters, inference)
        spec["flops"] = 7 * elements
    elif op == "group_norm":
        build_group_norm(node, spec, parameters)
        spec["flops"] = 7 * elements
    elif op == "embedding":
        build_embedding(node, spec, parameters)
    elif op == "rescale":
        node.forward.rows, node.backward.rows = rescale_forward, rescale_backward
        node.alpha, node.rate = spec["scale"], spec["offset"]
        spec["flops"] = 2 * elements
    elif op == "activation":
        node.forward.rows, node.backward.rows = activation_forward, activation_backward
    elif op == "add":
        node.forward.rows, node.backward.rows = add_forward, add_backward
        spec["flops"] = (node.n_inputs - 1) * elements
    elif op == "multiply":
        build_product(node, spec)
        spec["flops"] = elements
    elif op == "concatenate":
        node.forward.rows, node.backward.rows = concatenate_forward, concatenate_backward
        node.outer = product_of(spec["shape"][:spec["axis"]])
    elif op == "dropout":
        node.forward.rows, node.backward.rows = dropout_forward, dropout_backward
        node.rate = spec["rate"]
        node.layer = spec["seed"]
    elif op == "python":
        # No functions of its own: thread 0 calls the layer's.
        node.rereads_input = node.rereads_output = True
    else:
        raise ValueError(f"unknown operation {op!r}")
    spec.setdefault("work", elements)
    spec.setdefault("flops", 0)
    node.work = spec["work"]
    # Vectors are short, and dense layers want many rows for each reading of their weights.
    node.in_chunks = (op not in ("dense", "python") and (max(map(len, spec["input_shapes"])) > 1 or op == "embedding")
                      and (op != "conv" or takes_chunks(node))
                      and (op != "conv_transpose" or convolution_transpose.takes_chunks(node)))
    return 0


cdef Parameter *parameter_of(Parameter *parameters, dict spec, name):
    cdef Py_ssize_t i = spec[name]
    return &parameters[i] if i >= 0 else NULL


cdef int build_weights(Node *node, dict spec, Parameter *parameters) except -1:
    """Kernel and bias: the layer's parameters, or what a normalization makes of them."""
    node.kernel = parameter_of(parameters, spec, "kernel")
    node.bias = parameter_of(parameters, spec, "bias")
    node.bound, node.scanned = product_bound, node.inputs[0].ld + node.output.ld
    node.late_input = node.late_gradient = node.kernel.trainable or (node.bias != NULL and node.bias.trainable)
    if "normalization" in spec:
        build_folding(node, spec["normalization"], parameters)
    return 0


cdef void build_dense(Node *node) noexcept:
    cdef Py_ssize_t shared_bytes = SHARED_BYTES
    node.gradient = dense_gradient
    if not node.passes_back and by_columns(node, node.team):
        shared_bytes = FIRST_SHARED_BYTES
    if node.outer == 1 and node.kernel.size * <Py_ssize_t>node.k.real_size >= shared_bytes:
        node.forward.team, node.backward.before, node.backward.team = dense_team_forward, apply_backward, dense_team_backward
        if node.activation == SOFTMAX:      # of whole rows
            node.forward.after = apply
    else:
        node.forward.rows, node.backward.rows = dense_forward, dense_backward


cdef int build_folding(Node *node, dict spec, Parameter *parameters) except -1:
    cdef Folding *f = <Folding *>table(1, sizeof(Folding))
    cdef Py_ssize_t kernel_bytes, size = node.k.real_size
    node.folding = f
    f.kernel, f.bias = node.kernel, node.bias
    f.gamma, f.beta = parameter_of(parameters, spec, "gamma"), parameter_of(parameters, spec, "beta")
    f.mean, f.variance = parameter_of(parameters, spec, "mean"), parameter_of(parameters, spec, "variance")
    f.epsilon = spec["epsilon"]
    f.folded_kernel = f.kernel[0]
    f.folded_bias = f.mean[0]
    kernel_bytes = aligned(f.kernel.size * size)
    f.bytes_held = kernel_bytes + (f.mean.size + node.k.nr) * size      # a tile reads whole vectors of a group's bias
    f.folded_kernel.w = allocate(f.bytes_held)
    if f.folded_kernel.w == NULL:
        raise MemoryError(f"{f.bytes_held} bytes for the weights of {spec['name']}")
    f.folded_bias.w = f.folded_kernel.w + kernel_bytes
    node.kernel, node.bias = &f.folded_kernel, &f.folded_bias
    node.prepare = prepare_folded
    return 0


cdef int build_convolution(Node *node, dict spec, Parameter *parameters, bint inference) except -1:
    cdef Convolution *c = <Convolution *>table(1, sizeof(Convolution))
    cdef Window window
    node.extra = c
    node.forward.rows, node.backward.rows, node.gradient = conv_forward, conv_backward, conv_gradient
    node.forward.team, node.forward.after = conv_team_forward, after_team_forward
    build_weights(node, spec, parameters)
    read_window(&window, spec["window"])
    node.outer = window.OH * window.OW
    describe(c, node.k, &window, spec["channels"], node.kernel.columns * node.kernel.matrices, spec["groups"], node.team,
             0)
    if "pool" in spec:
        read_window(&window, spec["pool"]["window"])
        fuse_pool(c, &window)
        node.late_gradient = False      # but dz
        c.dz_sample = row_length(node.k, c.window.OH * c.window.OW * c.K)
    build_segments(node, node.inputs[0].size + c.window.OH * c.window.OW * c.K, segment_gradients, inference)
    outer = node.outer
    spec["work"] = outer * c.rows * c.K
    allocate_kernels(c, True, not inference)
    if node.folding == NULL:
        node.prepare = prepare_kernel
    if not multiplies(c):
        node.backward.before, node.backward.team = before_input_gradient, conv_team_backward
    return 0


cdef int build_transpose(Node *node, dict spec, Parameter *parameters, bint inference) except -1:
    cdef Convolution *c = <Convolution *>table(1, sizeof(Convolution))
    cdef Window window
    node.extra = c
    node.forward.rows, node.backward.rows = convolution_transpose.forward, convolution_transpose.backward
    node.forward.before = convolution_transpose.before_forward
    node.forward.team = convolution_transpose.team_forward
    node.forward.after = convolution_transpose.after_team_forward
    node.backward.before = convolution_transpose.before_input_gradient
    node.backward.team = convolution_transpose.team_backward
    node.gradient, node.prepare = convolution_transpose.gradient, convolution_transpose.prepare_kernel
    build_weights(node, spec, parameters)
    read_window(&window, spec["window"])
    describe(c, node.k, &window, spec["channels"], node.kernel.columns, 1, node.team, 0)
    build_segments(node, node.inputs[0].size + node.output.size, convolution_transpose.segment_gradients, inference)
    outer = window.OH * window.OW
    spec["work"] = outer * c.rows * c.K
    return allocate_kernels(c, not inference, True)


cdef void build_segments(Node *node, Py_ssize_t numbers, team_function made_by, bint inference) noexcept:
    """Segments of the batch for the gradient of a small kernel, which reads so many numbers of a sample."""
    cdef Convolution *c = <Convolution *>node.extra
    c.numbers_read = 0 if inference or not node.kernel.trainable else numbers
    if segment_row(c) > 0:
        node.segments, node.segment_gradients = conv_segments, made_by


cdef bint convolves(const Node *node) noexcept:
    """Its `extra` is a Convolution."""
    return node.forward.rows == conv_forward or node.forward.rows == convolution_transpose.forward


cdef Py_ssize_t build_pool(Node *node, dict spec) except -1:
    """The number of taps of a window."""
    cdef Pool *pool = <Pool *>table(1, sizeof(Pool))
    node.extra = pool
    read_window(&pool.window, spec["window"])
    pool.channels = spec["channels"]
    pool.divisor = ALL_TAPS if spec.get("include_pad", False) else TAPS_INSIDE
    elements, taps = node.output.size, pool.window.R * pool.window.S
    spec["work"] = elements * taps
    return taps


cdef int build_normalization(Node *node, dict spec, Parameter *parameters, bint inference) except -1:
    cdef Normalization *n = <Normalization *>table(1, sizeof(Normalization))
    node.extra = n
    node.gradient = normalize_gradient
    node.bound = normalize_bound
    n.channels = spec["channels"]
    n.ld = round_up(n.channels, node.k.nr)
    n.rows = allocate(ROWS * n.ld * node.k.real_size)
    if n.rows == NULL:
        raise MemoryError(f"{ROWS * n.ld * node.k.real_size} bytes for {spec['name']}")
    n.mean, n.variance = parameter_of(parameters, spec, "mean"), parameter_of(parameters, spec, "variance")
    n.momentum, n.epsilon = spec["momentum"], spec["epsilon"]
    n.frozen = spec["frozen"]
    node.kernel = parameter_of(parameters, spec, "gamma")
    node.bias = parameter_of(parameters, spec, "beta")
    node.outer = node.output.size // n.channels
    node.rereads_input = True
    if inference:
        node.forward.rows, node.prepare = normalize_forward, prepare_statistics
        return 0
    node.forward.before, node.forward.team, node.forward.after = sample_moments, combine_moments, normalize_forward
    node.backward.before, node.backward.team, node.backward.after = sample_gradients, combine_gradients, normalize_backward
    if not n.frozen:
        node.commit, node.may_commit = update_running, finite_variance
    return 0


cdef int build_layer_norm(Node *node, dict spec, Parameter *parameters, bint inference) except -1:
    cdef LayerNorm *n = <LayerNorm *>table(1, sizeof(LayerNorm))
    node.extra = n
    node.forward.rows, node.backward.rows = layer_norm_forward, layer_norm_backward
    node.gradient, node.bound = layer_norm_gradient, layer_norm_bound
    n.epsilon = spec["epsilon"]
    node.kernel = parameter_of(parameters, spec, "gamma")
    node.bias = parameter_of(parameters, spec, "beta")
    node.scanned = node.output.ld
    node.rereads_input = True
    node.late_input = node.kernel != NULL and node.kernel.trainable
    node.late_gradient = node.late_input or (node.bias != NULL and node.bias.trainable)
    return 0


cdef int build_group_norm(Node *node, dict spec, Parameter *parameters) except -1:
    cdef GroupNorm *n = <GroupNorm *>table(1, sizeof(GroupNorm))
    node.extra = n
    node.forward.rows, node.backward.rows = group_norm_forward, group_norm_backward
    node.gradient, node.bound = group_norm_gradient, group_norm_bound
    n.channels, n.groups, n.epsilon = spec["channels"], spec["groups"], spec["epsilon"]
    node.kernel = parameter_of(parameters, spec, "gamma")
    node.bias = parameter_of(parameters, spec, "beta")
    node.outer = node.output.size // n.channels
    node.scanned = 2 * n.channels
    node.rereads_input = True
    return 0


cdef int build_product(Node *node, dict spec) except -1:
    cdef Product *product = <Product *>table(1, sizeof(Product))
    cdef Py_ssize_t i
    node.extra = product
    node.forward.rows, node.backward.rows = multiply_forward, multiply_backward
    node.rereads_input = True
    product.rows, product.columns = spec["rows"], spec["columns"]
    for i in range(2):
        product.row[i], product.column[i] = spec["strides"][i]
    return 0


cdef int build_embedding(Node *node, dict spec, Parameter *parameters) except -1:
    node.forward.rows, node.backward.rows = embedding_forward, embedding_backward
    node.gradient, node.bound = embedding_gradient, embedding_bound
    node.kernel = parameter_of(parameters, spec, "kernel")
    node.scanned = node.output.ld
    node.late_input = node.late_gradient = node.kernel.trainable
    return 0


cdef bint looks_up(const Node *node) noexcept:
    """It is an embedding."""
    return node.forward.rows == embedding_forward


cdef void release_node(Node *node) noexcept:
    """What build_node has allocated."""
    cdef Convolution *c = <Convolution *>node.extra
    cdef Normalization *n = <Normalization *>node.extra
    cdef Folding *f = <Folding *>node.folding
    if convolves(node) and c != NULL:
        free_kernels(c)
    if node.gradient == normalize_gradient and n != NULL and n.rows != NULL:
        release(n.rows, ROWS * n.ld * node.k.real_size)
    if f != NULL and f.folded_kernel.w != NULL:
        release(f.folded_kernel.w, f.bytes_held)
    free(node.folding)
    free(node.extra)


cdef Py_ssize_t scratch_size(const Node *node) noexcept:
    """Bytes that it needs of a thread."""
    if convolves(node):
        return max(scratch_bytes(node.k), (<const Convolution *>node.extra).scratch)
    if node.forward.rows == group_norm_forward:
        return group_norm_scratch(node)
    return scratch_bytes(node.k)


cdef int want_buffers(Node *node, Arena arena, object owner) except -1:
    """What the operation keeps of a batch for its backward pass, besides the values."""
    cdef Py_ssize_t size = node.k.real_size
    cdef Convolution *c
    cdef Pool *pool
    cdef Normalization *n
    cdef GroupNorm *groups
    if convolves(node):
        c = <Convolution *>node.extra
        if node.bias != NULL and node.bias.trainable:
            arena.want(&c.bias_sums, round_up(node.bias.columns, node.k.vl) * size, owner, "bias sums")
        if node.segments != NULL:
            arena.want_at_most(&c.partial, segment_row(c) * size, all_segments(c) * size, owner, "segments")
        if c.pooled:
            arena.want(&c.code, node.output.ld * size, owner, "code")
            arena.want(&c.dz, c.dz_sample * size, owner, "dz")
    elif node.forward.rows == max_forward:
        pool = <Pool *>node.extra
        arena.want(&pool.code, node.output.ld * size, owner, "code")
    elif node.forward.rows == layer_norm_forward:
        arena.want(&(<LayerNorm *>node.extra).moments, 2 * node.outer * size, owner, "moments")
    elif node.forward.rows == group_norm_forward:
        groups = <GroupNorm *>node.extra
        arena.want(&groups.moments, 2 * groups.groups * size, owner, "moments")
        arena.want(&groups.sums, 2 * groups.channels * size, owner, "sums")
    elif node.forward.before == sample_moments and node.outer > 1:
        n = <Normalization *>node.extra
        arena.want(&n.sums, blocks(node) * 2 * n.ld * size, owner, "sums")
    return 0


cdef void prepare_folded(const Node *node, const Context *ctx, bint gradient, int part, int team) noexcept nogil:
    fold(node, ctx, part, team)
    if node.forward.rows == conv_forward:    # of the panels that this thread has folded
        prepare_kernel(node, ctx, False, part, team)


cdef void prepare_statistics(const Node *node, const Context *ctx, bint gradient, int part, int team) noexcept nogil:
    combine_moments(node, ctx, part, team)


cdef double product_bound(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """For sums over samples and pixels of an input times the output's gradient."""
    cdef Py_ssize_t size = node.k.real_size, ld = node.inputs[0].ld
    cdef double x, dy
    if node.inputs[0].sparse != NULL:
        x = sparse_maximum(node.k, node.inputs[0].sparse, lo, hi)
    else:
        x = node.k.absolute_maximum((hi - lo) * ld, node.inputs[0].y + lo * ld * size)
    ld = node.output.ld
    dy = node.k.absolute_maximum((hi - lo) * ld, node.output.dy + lo * ld * size)
    return (x if x > 1 else 1) * dy * ctx.batch * node.outer
