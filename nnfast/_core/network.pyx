"""A network's buffers with fixed addresses, and its programs: what compiling a model makes.

Design:

1. Building allocates everything: flat arrays for parameters, gradients and optimizer state, and one arena for the values
   of a batch. Nothing is allocated while the loop (loop.pyx) runs.
2. A program is a list of instructions that every thread carries out on its own rows of the batch: all operations
   forward, the losses, all operations backward. Python layers stand between barriers.
3. Parameters' gradients are cut into tiles, each of which sums over the whole batch and belongs to one thread.
"""
from libc.stdint cimport int32_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from nnfast._core.activation cimport activation_backward, activation_forward, activation_index, needs_input
from nnfast._core.convolution cimport (
    Convolution, allocate_kernels, backward as conv_backward, describe, forward as conv_forward, free_kernels, fuse_pool,
    gradient as conv_gradient, prepare_kernel,
)
from nnfast._core.dense cimport backward as dense_backward, forward as dense_forward, gradient as dense_gradient
from nnfast._core.dropout cimport dropout_backward, dropout_forward
from nnfast._core.gemm cimport pack, packed_size, panel_width, panels, round_up, scratch_bytes, unpack
from nnfast._core.kernel_gradient cimport TileShape, tile_cost, tile_shape
from nnfast._core.kernels cimport (
    NN_ADAGRAD, NN_FLOAT32, NN_FLOAT64, NN_LINEAR, NN_SIGMOID, NN_SIGMOID_CROSS_ENTROPY, NN_SOFTMAX_CROSS_ENTROPY,
    kernels, nn_kernels,
)
from nnfast._core.loss cimport (
    ABSOLUTE, ACCURACY, BINARY_ACCURACY, CUSTOM_LOSS, MAX_METRICS, R2, SQUARED, TOP_K, Head, Metric,
)
from nnfast._core.memory cimport address, aligned, nn_allocate, nn_release, table
from nnfast._core.merge cimport add_backward, add_forward, concatenate_backward, concatenate_forward
from nnfast._core.node cimport SOFTMAX, Node, Parameter, Tile, Value, piece_start, pieces
from nnfast._core.normalization cimport (
    ROWS, Normalization, combine_gradients, combine_moments, normalize_backward, normalize_forward, normalize_gradient,
    sample_gradients, sample_moments, update_running,
)
from nnfast._core.optimizer cimport fill_update, optimizer_index
from nnfast._core.pooling cimport (
    Pool, average_backward, average_forward, max_backward, max_forward, pad_backward, pad_forward,
)
from nnfast._core.scaling cimport rescale_backward, rescale_forward
from nnfast._core.window cimport Window, read_window

import threading

import numpy as np

from nnfast._core.optimizer import slot_names

cdef enum:
    CACHE_LINE = 64

LOSSES = {"binary_cross_entropy": 2, "squared_error": 3, "absolute_error": 4, "huber": 5, "custom": CUSTOM_LOSS}
METRICS = {"accuracy": ACCURACY, "top_k_accuracy": TOP_K, "binary_accuracy": BINARY_ACCURACY, "mse": SQUARED,
           "mae": ABSOLUTE, "r2": R2}
POOLED_ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "leaky_relu", "elu")


def product_of(shape):
    cdef Py_ssize_t n = 1
    for length in shape:
        n *= length
    return n


def takes_activation(spec):
    """Whether a node can apply an activation layer's function itself."""
    return spec["op"] in ("dense", "conv", "batch_norm") and spec["activation"] == "linear" and "pool" not in spec


def takes_pool(spec, pool):
    """Whether a convolution can do a max-pooling layer's work: windows side by side, and an activation whose derivative
    is known from its value. (All activations grow with z, so the greatest z has the greatest value.)"""
    H, W, OH, OW, R, S, stride_h, stride_w, *padding, dilation_h, dilation_w = pool["window"]
    return (spec["op"] == "conv" and "pool" not in spec and spec["activation"] in POOLED_ACTIVATIONS
            and spec["window"][4:12] != (1, 1, 1, 1, 0, 0, 0, 0)    # a product of matrices, without rows of pixels
            and (R, S) == (stride_h, stride_w) and not any(padding) and (dilation_h, dilation_w) == (1, 1))


cdef class Network:
    """Built from data, which nnfast/graph.py describes and checks."""

    def __cinit__(self, spec, n_threads=None):
        self.optimizer = -1
        self.lock = threading.Lock()
        self.owner = None

    def __init__(self, spec, n_threads=None):
        self.dtype = np.dtype(spec["dtype"])
        self.n_threads_wanted = n_threads
        self.k = kernels(NN_FLOAT32 if self.dtype == np.float32 else NN_FLOAT64)
        self.functions = []
        self._slots = []
        self._build_parameters(spec["parameters"], spec["nodes"])
        self._build_nodes(spec)
        self._build_tiles()
        self._build_programs()

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n_nodes):
            if self.nodes[i].forward == conv_forward:
                free_kernels(<Convolution *>self.nodes[i].extra)
            free(self.nodes[i].extra)
            free(self.nodes[i].inputs)
            free(self.nodes[i].adds)
        for i in range(self.n_heads):
            self._free_head(&self.heads[i])
        for i in range(4):
            self._free_flat(i)
        if self.arena != NULL:
            nn_release(self.arena, self.arena_size)
        free(self.output_at)
        free(self.values)
        free(self.gradient_at)
        free(self.needs_gradient)
        free(self.keeps_input)
        free(self.nodes)
        free(self.parameters)
        free(self.heads)
        free(self.tiles)
        free(self.tile_cost)
        free(self.penalties)
        free(self.squares)
        free(self.inference)
        free(self.training_program)
        free(self.backward_program)
        free(self.reports)
        if self.scratch != NULL:
            nn_release(self.scratch, self.n_contexts * self._context_bytes())

    cdef Py_ssize_t _context_bytes(self) noexcept nogil:
        """Scratch memory of a thread: for its operations, and for one tile of a gradient."""
        return self.scratch_size + aligned(self.tile_size * self.k.real_size)

    cdef int _allocate_flat(self, int i) except -1:
        self._free_flat(i)
        self.flat[i] = <char *>nn_allocate(self._flat_bytes())
        if self.flat[i] == NULL:
            raise MemoryError(f"{self._flat_bytes()} bytes for the parameters")
        return 0

    cdef void _free_flat(self, int i) noexcept:
        if self.flat[i] != NULL:
            nn_release(self.flat[i], self._flat_bytes())
            self.flat[i] = NULL

    cdef Py_ssize_t _flat_bytes(self) noexcept:
        """With a tile's width to spare: tiles read whole vectors of a group's bias."""
        return (self.flat_size + self.k.nr) * self.k.real_size

    def _build_parameters(self, specs, node_specs):
        cdef Py_ssize_t i, line = CACHE_LINE // self.k.real_size
        cdef Parameter *p
        # A depthwise kernel is one matrix: its channels are columns like any other's.
        groups = {node["kernel"]: node["groups"] for node in node_specs
                  if node["op"] == "conv" and node["groups"] < node["channels"]}
        self.parameter_specs = list(specs)
        self.n_parameters = len(specs)
        self.parameters = <Parameter *>table(self.n_parameters, sizeof(Parameter))
        for i, spec in enumerate(specs):
            p = &self.parameters[i]
            p.rows = product_of(spec["shape"][:len(spec["shape"]) - 1]) if spec["kind"] == "kernel" else 1
            p.matrices = groups.get(i, 1)
            p.columns = spec["shape"][len(spec["shape"]) - 1] // p.matrices
            p.offset = self.flat_size
            p.size = p.matrices * packed_size(self.k, p.rows, p.columns)
            p.l1 = spec["l1"]
            p.l2 = spec["l2"]
            p.trainable = spec["trainable"]
            self.flat_size += round_up(p.size, line)
            self.penalized |= p.l1 != 0 or p.l2 != 0
        for i in range(2):
            self._allocate_flat(i)
        for i in range(self.n_parameters):
            p = &self.parameters[i]
            p.w = self.flat[0] + p.offset * self.k.real_size
            p.g = self.flat[1] + p.offset * self.k.real_size

    def _build_nodes(self, spec):
        """Values and nodes. A reshape is only another name for its value; an activation, or a max-pooling layer after a
        convolution, moves into the layer before it if nobody else sees what lies between."""
        cdef Py_ssize_t i, j, at
        cdef Node *node
        inputs, specs = spec["inputs"], spec["nodes"]
        uses = {}
        for node_spec in specs:
            for at in node_spec["inputs"]:
                uses[at] = uses.get(at, 0) + 1
        for at in spec["outputs"]:
            uses[at] = uses.get(at, 0) + 1
        self.value_shapes = [tuple(entry["shape"]) for entry in inputs]
        names = {at: at for at in range(len(inputs))}       # value of the description -> value here
        shapes = {at: shape for at, shape in enumerate(self.value_shapes)}
        producer = {}
        self.node_specs = []
        for i, node_spec in enumerate(specs):
            made = len(inputs) + i
            shapes[made] = tuple(node_spec["shape"])
            before = names[node_spec["inputs"][0]]
            if node_spec["op"] == "reshape":
                names[made] = before
                # The value behind both names now has all their users but this one.
                uses[made] = uses.get(made, 0) + uses[node_spec["inputs"][0]] - 1
                continue
            # Nobody else sees what lies between, and no reshape does either.
            alone = (uses[node_spec["inputs"][0]] == 1 and before in producer
                     and self.value_shapes[before] == shapes[node_spec["inputs"][0]])
            if (alone and node_spec["op"] == "activation" and takes_activation(producer[before])
                    and shapes[made] == self.value_shapes[before]):
                producer[before].update(activation=node_spec["activation"], alpha=node_spec["alpha"],
                                        members=producer[before]["members"] + [node_spec["name"]])
                names[made] = before
                continue
            if alone and node_spec["op"] == "max_pool" and takes_pool(producer[before], node_spec):
                producer[before].update(pool=node_spec["window"],
                                        members=producer[before]["members"] + [node_spec["name"]])
                self.value_shapes[before] = shapes[made]
                names[made] = before
                continue
            names[made] = len(self.value_shapes)
            self.value_shapes.append(shapes[made])
            held = dict(node_spec, inputs=[names[at] for at in node_spec["inputs"]], output=names[made],
                        input_shapes=[shapes[at] for at in node_spec["inputs"]], members=[node_spec["name"]])
            producer[names[made]] = held
            self.node_specs.append(held)
        self.n_inputs = len(inputs)
        self.output_ids = [names[at] for at in spec["outputs"]]
        self.n_outputs = len(self.output_ids)
        self.output_at = <Py_ssize_t *>table(self.n_outputs, sizeof(Py_ssize_t))
        for i, at in enumerate(self.output_ids):
            self.output_at[i] = at
        self.n_values = len(self.value_shapes)
        self.values = <Value *>table(self.n_values, sizeof(Value))
        self.gradient_at = <char **>table(self.n_values, sizeof(char *))
        self.needs_gradient = <bint *>table(self.n_values, sizeof(bint))
        self.keeps_input = <bint *>table(self.n_values, sizeof(bint))
        for i in range(self.n_values):
            self.values[i].size = product_of(self.value_shapes[i])
            self.values[i].ld = self._row_length(self.values[i].size)
        self.scratch_size = aligned(scratch_bytes(self.k))
        self.n_nodes = len(self.node_specs)
        self.nodes = <Node *>table(self.n_nodes, sizeof(Node))
        for i, held in enumerate(self.node_specs):
            node = &self.nodes[i]
            node.k = self.k
            node.n_inputs = len(held["inputs"])
            node.inputs = <Value **>table(node.n_inputs, sizeof(Value *))
            node.adds = <bint *>table(node.n_inputs, sizeof(bint))
            for j in range(node.n_inputs):
                node.inputs[j] = &self.values[<Py_ssize_t>held["inputs"][j]]
                if self.needs_gradient[<Py_ssize_t>held["inputs"][j]]:
                    self.needs_gradient[<Py_ssize_t>held["output"]] = True
            node.output = &self.values[<Py_ssize_t>held["output"]]
            node.outer = 1
            node.activation = NN_LINEAR
            self._build_node(node, held)
            if (node.kernel != NULL and node.kernel.trainable) or (node.bias != NULL and node.bias.trainable):
                self.needs_gradient[<Py_ssize_t>held["output"]] = True
            self.keeps_input[<Py_ssize_t>held["output"]] |= needs_input(node.activation)
        # An output's gradient is set by its loss, any other value's by the first node that the backward pass meets.
        seen = set(self.output_ids)
        for i in reversed(range(self.n_nodes)):
            for j, at in enumerate(self.node_specs[i]["inputs"]):
                self.nodes[i].adds[j] = at in seen
                seen.add(at)

    cdef Py_ssize_t _row_length(self, Py_ssize_t size):
        """Whole vectors, and an odd number of cache lines where rows are long: products read columns of a value, and
        columns of even strides fall into few sets of the L1 cache."""
        cdef Py_ssize_t ld = round_up(size, self.k.vl), line = CACHE_LINE // self.k.real_size
        if ld >= 8 * line:
            ld = round_up(ld, line)
            if ld // line % 2 == 0:
                ld += line
        return ld

    cdef int _build_node(self, Node *node, dict spec) except -1:
        """The operation's own part. One line of the table below for each operation."""
        op = spec["op"]
        if op in ("dense", "activation"):
            node.activation = activation_index(spec["activation"])
            node.alpha = spec["alpha"]
            node.outer = product_of(spec["shape"][:len(spec["shape"]) - 1])
        if op == "dense":
            node.forward, node.backward, node.gradient = dense_forward, dense_backward, dense_gradient
            node.kernel = &self.parameters[<Py_ssize_t>spec["kernel"]]
            if spec["bias"] >= 0:
                node.bias = &self.parameters[<Py_ssize_t>spec["bias"]]
            spec["work"] = node.outer * node.kernel.rows * node.kernel.columns
        elif op == "conv":
            self._build_convolution(node, spec)
        elif op == "max_pool":
            self._build_pool(node, spec)
            node.forward, node.backward = max_forward, max_backward
        elif op == "average_pool":
            self._build_pool(node, spec)
            node.forward, node.backward = average_forward, average_backward
        elif op == "pad":
            self._build_pool(node, spec)
            node.forward, node.backward = pad_forward, pad_backward
        elif op == "batch_norm":
            self._build_normalization(node, spec)
        elif op == "rescale":
            node.forward, node.backward = rescale_forward, rescale_backward
            node.alpha, node.rate = spec["scale"], spec["offset"]
        elif op == "activation":
            node.forward, node.backward = activation_forward, activation_backward
        elif op == "add":
            node.forward, node.backward = add_forward, add_backward
        elif op == "concatenate":
            node.forward, node.backward = concatenate_forward, concatenate_backward
            node.outer = product_of(spec["shape"][:spec["axis"]])
        elif op == "dropout":
            node.forward, node.backward = dropout_forward, dropout_backward
            node.rate = spec["rate"]
            node.layer = spec["seed"]
        elif op == "python":
            self.has_python = True      # no functions of its own: thread 0 calls the layer's, see _call_python
        else:
            raise ValueError(f"unknown operation {op!r}")
        spec.setdefault("work", node.output.size)
        self.work += spec["work"]
        return 0

    cdef int _build_convolution(self, Node *node, dict spec) except -1:
        cdef Convolution *c = <Convolution *>table(1, sizeof(Convolution))
        cdef Window window
        node.extra = c
        read_window(&window, spec["window"])
        node.activation = activation_index(spec["activation"])
        node.alpha = spec["alpha"]
        node.outer = window.OH * window.OW
        node.kernel = &self.parameters[<Py_ssize_t>spec["kernel"]]
        if spec["bias"] >= 0:
            node.bias = &self.parameters[<Py_ssize_t>spec["bias"]]
        describe(c, self.k, &window, spec["channels"], node.kernel.columns * node.kernel.matrices, spec["groups"])
        if "pool" in spec:
            read_window(&window, spec["pool"])
            fuse_pool(c, &window)
        node.forward, node.backward, node.gradient = conv_forward, conv_backward, conv_gradient
        node.prepare = prepare_kernel
        allocate_kernels(c)
        self.scratch_size = max(self.scratch_size, aligned(c.scratch))
        spec["work"] = node.outer * c.rows * c.K
        return 0

    cdef int _build_pool(self, Node *node, dict spec) except -1:
        cdef Pool *pool = <Pool *>table(1, sizeof(Pool))
        node.extra = pool
        read_window(&pool.window, spec["window"])
        pool.channels = spec["channels"]
        pool.include_pad = spec.get("include_pad", False)
        spec["work"] = node.output.size * pool.window.R * pool.window.S
        return 0

    cdef int _build_normalization(self, Node *node, dict spec) except -1:
        cdef Normalization *n = <Normalization *>table(1, sizeof(Normalization))
        node.extra = n
        n.channels = spec["channels"]
        n.ld = round_up(n.channels, self.k.nr)
        n.mean = &self.parameters[<Py_ssize_t>spec["mean"]]
        n.variance = &self.parameters[<Py_ssize_t>spec["variance"]]
        n.momentum, n.epsilon = spec["momentum"], spec["epsilon"]
        if spec["gamma"] >= 0:
            node.kernel = &self.parameters[<Py_ssize_t>spec["gamma"]]
        if spec["beta"] >= 0:
            node.bias = &self.parameters[<Py_ssize_t>spec["beta"]]
        node.activation = activation_index(spec["activation"])
        node.alpha = spec["alpha"]
        node.outer = node.output.size // n.channels
        node.forward, node.backward, node.gradient = normalize_forward, normalize_backward, normalize_gradient
        node.before_forward, node.combine_forward = sample_moments, combine_moments
        node.before_backward, node.combine_backward = sample_gradients, combine_gradients
        n.frozen = spec["frozen"]
        if not n.frozen:
            node.commit = update_running
        return 0

    def _build_tiles(self):
        """All trainable parameters in pieces: a kernel's by blocks of rows, then panels."""
        cdef Py_ssize_t i, count = 0, passes
        cdef double cost = 0
        for passes in range(2):
            if passes == 1:
                self.tiles = <Tile *>table(count, sizeof(Tile))
                self.n_tiles = count
                count = 0
            for i in range(self.n_nodes):
                count = self._tiles_of_kernel(&self.nodes[i], passes == 1, count)
                count = self._tiles_of_bias(&self.nodes[i], passes == 1, count)
        self.tile_cost = <double *>table(count + 1, sizeof(double))
        self.penalties = <double *>table(count, sizeof(double))
        self.squares = <double *>table(count, sizeof(double))
        for i in range(count):
            cost += self.tiles[i].cost
            self.tile_cost[i + 1] = cost
            self.tile_size = max(self.tile_size, piece_start(&self.tiles[i], pieces(&self.tiles[i])))

    cdef Py_ssize_t _tiles_of_kernel(self, Node *node, bint write, Py_ssize_t count) noexcept:
        """Tiles from number `count` on; the next number."""
        cdef Parameter *p = node.kernel
        cdef TileShape shape
        cdef Py_ssize_t lo, in_matrix, matrix, panel, rows
        if p == NULL or not p.trainable:
            return count
        if node.forward == conv_forward:
            shape = tile_shape(<Convolution *>node.extra)
        else:
            shape.rows = (p.rows + TILE_ROWS - 1) // TILE_ROWS
            shape.rows = (p.rows + shape.rows - 1) // shape.rows
            shape.panels = shape.taps = 1
        in_matrix = panels(self.k, p.columns)
        rows = p.rows // shape.taps
        lo = 0
        while lo < rows:
            for matrix in range(p.matrices):
                panel = 0
                while panel < in_matrix:
                    if write:
                        self._set_kernel_tile(&self.tiles[count], node, matrix * in_matrix + panel,
                                              min(shape.panels, in_matrix - panel), shape.taps, lo,
                                              min(lo + shape.rows, rows))
                    count += 1
                    panel += shape.panels
            lo += shape.rows
        return count

    cdef void _set_kernel_tile(self, Tile *tile, Node *node, Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t n_taps,
                               Py_ssize_t lo, Py_ssize_t hi) noexcept:
        cdef Parameter *p = node.kernel
        cdef Py_ssize_t in_matrix = panels(self.k, p.columns), matrix = panel // in_matrix, at = panel % in_matrix
        tile.node = node
        tile.parameter = p
        tile.panel = panel
        tile.n_panels = n_panels
        tile.n_taps = n_taps
        tile.lo = lo
        tile.hi = hi
        tile.rows = hi - lo
        tile.base = p.offset + matrix * packed_size(self.k, p.rows, p.columns) + at * self.k.nr * p.rows
        tile.panel_step = self.k.nr * p.rows
        tile.tap_rows = p.rows // n_taps
        tile.width = panel_width(self.k, p.columns, at)
        tile.last_width = panel_width(self.k, p.columns, at + n_panels - 1)
        tile.cost = <double>tile.rows * tile.width * n_panels * node.outer
        if node.forward == conv_forward:
            tile.cost = tile_cost(<Convolution *>node.extra, tile.rows, tile.width * n_panels)

    cdef Py_ssize_t _tiles_of_bias(self, Node *node, bint write, Py_ssize_t count) noexcept:
        cdef Parameter *p = node.bias
        cdef Py_ssize_t lo = 0, most = TILE_ROWS * self.k.nr
        cdef Tile *tile
        while p != NULL and p.trainable and lo < p.columns:
            if write:
                tile = &self.tiles[count]
                tile.node = node
                tile.parameter = p
                tile.n_panels = tile.n_taps = tile.width = tile.last_width = 1
                tile.lo = lo
                tile.hi = min(lo + most, p.columns)
                tile.rows = round_up(tile.hi - lo, self.k.vl)
                tile.base = p.offset
                tile.cost = tile.rows
            count += 1
            lo += most
        return count

    def _build_programs(self):
        self._write_program(&self.inference, False, False)
        self._write_program(&self.backward_program, False, True)
        self._write_program(&self.training_program, True, True)

    cdef int _write_program(self, Instruction **program, bint loss, bint backward) except -1:
        actions = []

        def python(action, at):
            actions.extend([(BARRIER, 0), (action, at), (BARRIER, 0)])

        def across(before, combine, at):
            actions.extend([(before, at), (BARRIER, 0), (combine, at), (BARRIER, 0)])

        for i in range(self.n_nodes):
            if self.nodes[i].prepare != NULL:
                actions.append((PREPARE, i))
        if actions:
            actions.append((BARRIER, 0))
        for i in range(self.n_nodes):
            if self.nodes[i].forward == NULL:
                python(PYTHON_FORWARD, i)
                continue
            if self.nodes[i].before_forward != NULL:
                across(BEFORE_FORWARD, COMBINE_FORWARD, i)
            actions.append((FORWARD, i))
        if loss:
            for i in range(self.n_heads):
                if self.heads[i].loss == CUSTOM_LOSS:
                    python(PYTHON_LOSS, i)
                actions.append((LOSS, i))
        if backward:
            for i in reversed(range(self.n_nodes)):
                if self.nodes[i].forward == NULL:
                    python(PYTHON_BACKWARD, i)
                    continue
                if self.nodes[i].before_backward != NULL:
                    across(BEFORE_BACKWARD, COMBINE_BACKWARD, i)
                actions.append((BACKWARD, i))
        free(program[0])
        program[0] = <Instruction *>table(len(actions) + 1, sizeof(Instruction))
        for i, (action, at) in enumerate(actions):
            program[0][i].action = action
            program[0][i].at = at
        program[0][len(actions)].at = -1        # the end
        return 0

    cdef int _reserve(self, Py_ssize_t batch) except -1:
        """Room for a batch: the arena, laid out anew if it is too small."""
        cdef Py_ssize_t i, j, size = 0, passes, row = self.k.real_size
        cdef char *at = NULL
        cdef char *new = NULL
        cdef Head *head
        if batch <= self.capacity:
            return 0
        for passes in range(2):
            for i in range(self.n_values):
                self.values[i].y = at
                at += aligned(batch * self.values[i].ld * row)
                self.gradient_at[i] = at
                at += aligned(batch * self.values[i].ld * row)
                self.values[i].z = at if self.keeps_input[i] else NULL
                if self.keeps_input[i]:
                    at += aligned(batch * self.values[i].ld * row)
            at = self._place_buffers(batch, at)
            for i in range(self.n_heads):
                head = &self.heads[i]
                head.target = at
                at += aligned(batch * head.output.ld * row)
                head.label = <int32_t *>at
                at += aligned(batch * sizeof(int32_t))
                head.loss_values = <double *>at
                at += aligned(batch * sizeof(double))
                for j in range(head.n_metrics):
                    head.metrics[j].values = <double *>at
                    at += aligned(batch * head.metrics[j].width * sizeof(double))
            self.sample_weight = <double *>at
            at += aligned(batch * sizeof(double))
            if passes == 0:
                size = at - <char *>NULL + CACHE_LINE       # a vector may be read beyond the last number
                new = <char *>nn_allocate(size)
                if self.arena != NULL:
                    nn_release(self.arena, self.arena_size)
                self.arena = new
                self.arena_size = size if new != NULL else 0
                self.capacity = batch if new != NULL else 0
                if new == NULL:
                    raise MemoryError(f"{size} bytes for a batch of {batch}")
                at = new
        return 0

    cdef char *_place_buffers(self, Py_ssize_t batch, char *at) noexcept:
        """The operations' own buffers, from `at` on; where they end."""
        cdef Py_ssize_t i, size = self.k.real_size
        cdef Node *node
        cdef Convolution *c
        cdef Pool *pool
        cdef Normalization *n
        for i in range(self.n_nodes):
            node = &self.nodes[i]
            if node.forward == conv_forward:
                c = <Convolution *>node.extra
                c.bias_sums = at
                at += aligned(batch * round_up(c.K, self.k.vl) * size)
                if c.pooled:
                    c.code = at
                    at += aligned(batch * node.output.ld * size)
                    c.dz_sample = self._row_length(c.window.OH * c.window.OW * c.K)
                    c.dz = at
                    at += aligned(batch * c.dz_sample * size)
            elif node.forward == max_forward:
                pool = <Pool *>node.extra
                pool.code = at
                at += aligned(batch * node.output.ld * size)
            elif node.before_forward == sample_moments:
                n = <Normalization *>node.extra
                n.sums = at
                at += aligned(2 * batch * n.ld * size)
                n.rows = at
                at += aligned(ROWS * n.ld * size)
        return at

    cdef int _enter(self) except -1:
        """One call at a time: the buffers are the plan's."""
        if not self.lock.acquire(False):
            if self.owner == threading.get_ident():
                raise RuntimeError("the model is in use by the very call that came here (a layer, loss or progress "
                                   "function of its own)")
            self.lock.acquire()
        return 0

    cdef int _leave(self) except -1:
        self.owner = None
        self.lock.release()
        return 0

    # ---------------------------------------------------------------- losses, parameters, optimizer

    cdef void _free_head(self, Head *head) noexcept:
        cdef Py_ssize_t i
        for i in range(head.n_metrics):
            free(head.metrics[i].totals)

    def set_losses(self, specs):
        """One loss for each output, with its metrics. Fuses softmax and sigmoid outputs with their cross-entropy."""
        cdef Py_ssize_t i
        cdef Head *heads = <Head *>table(len(specs), sizeof(Head))
        cdef Node *node
        try:
            fused = [self._describe_head(&heads[i], i, spec) for i, spec in enumerate(specs)]
        except BaseException:
            for i in range(len(specs)):
                self._free_head(&heads[i])
            free(heads)
            raise
        for i in range(self.n_heads):
            self._free_head(&self.heads[i])
        free(self.heads)
        self.heads = heads
        self.n_heads = len(specs)
        self.functions = [spec["function"] for spec in specs]
        for i in range(self.n_nodes):
            self.nodes[i].fused = False
        for i in fused:
            if i >= 0:
                self.nodes[<Py_ssize_t>i].fused = True
        self.capacity = 0       # the arena holds targets and metrics, too
        self._write_program(&self.training_program, True, True)

    cdef Py_ssize_t _describe_head(self, Head *head, Py_ssize_t at, dict spec) except -2:
        """Fill a head; the node it is fused with, or -1."""
        cdef Py_ssize_t made = self.output_ids[at], i, node = -1
        cdef Metric *metric
        head.k = self.k
        head.output = &self.values[made]
        head.weight = spec["weight"]
        head.delta = spec["delta"] or 0
        loss = spec["loss"]
        for i in range(self.n_nodes):
            if self.node_specs[i]["output"] == made:
                node = i
        if loss in ("cross_entropy", "binary_cross_entropy"):
            softmax = loss == "cross_entropy"
            if softmax or spec["from_logits"] or (node >= 0 and self.nodes[node].activation == NN_SIGMOID):
                head.loss = NN_SOFTMAX_CROSS_ENTROPY if softmax else NN_SIGMOID_CROSS_ENTROPY
            else:
                head.loss = LOSSES[loss]
            if spec["from_logits"] or head.loss == LOSSES["binary_cross_entropy"]:
                node = -1
            elif node < 0 or self.nodes[node].activation != (SOFTMAX if softmax else NN_SIGMOID):
                raise ValueError(f"{loss} needs a {'softmax' if softmax else 'sigmoid'} output or from_logits=True")
            elif any(made in other["inputs"] for other in self.node_specs):
                raise ValueError(f"{loss}: other layers read the {'softmax' if softmax else 'sigmoid'} output "
                                 f"{self.node_specs[node]['name']!r}; give the loss an output of its own")
        else:
            head.loss = LOSSES[loss]
            node = -1
        head.fused = node >= 0
        if len(spec["metrics"]) > MAX_METRICS:
            raise ValueError(f"at most {MAX_METRICS} metrics for an output, got {len(spec['metrics'])}")
        for entry in spec["metrics"]:
            metric = &head.metrics[head.n_metrics]
            metric.kind = METRICS[entry["kind"]]
            metric.k = entry.get("k", 0) or 0
            metric.threshold = entry.get("threshold", 0) or 0
            metric.width = 3 * head.output.size if metric.kind == R2 else 1
            metric.totals = <double *>table(metric.width, sizeof(double))
            head.n_metrics += 1
        return node

    def _padded(self, Py_ssize_t i, array):
        """A parameter-shaped array as it lies in the flat arrays."""
        cdef Parameter *p = &self.parameters[i]
        cdef Py_ssize_t matrix, size = self.k.real_size
        array = np.ascontiguousarray(array, dtype=self.dtype)
        packed = np.zeros(p.size, self.dtype)
        for matrix in range(p.matrices):
            pack(self.k, p.rows, p.columns, p.columns * p.matrices, address(array) + matrix * p.columns * size,
                 address(packed, True) + matrix * packed_size(self.k, p.rows, p.columns) * size)
        return packed

    def _write(self, int which, Py_ssize_t i, array):
        packed = self._padded(i, array)
        memcpy(self.flat[which] + self.parameters[i].offset * self.k.real_size, address(packed),
               self.parameters[i].size * self.k.real_size)

    def _read(self, int which, Py_ssize_t i):
        cdef Parameter *p = &self.parameters[i]
        cdef Py_ssize_t matrix, size = self.k.real_size
        array = np.empty(self.parameter_specs[i]["shape"], self.dtype)
        for matrix in range(p.matrices):
            unpack(self.k, p.rows, p.columns, p.columns * p.matrices,
                   self.flat[which] + (p.offset + matrix * packed_size(self.k, p.rows, p.columns)) * size,
                   address(array, True) + matrix * p.columns * size)
        return array

    def set_parameter(self, Py_ssize_t i, array):
        self._enter()
        try:
            self._write(0, i, array)
        finally:
            self._leave()

    def parameter(self, Py_ssize_t i):
        self._enter()
        try:
            return self._read(0, i)
        finally:
            self._leave()

    def set_optimizer(self, kind, hyper, double clip_norm=0, double clip_value=0):
        """Choose the optimizer; its state and the count of steps begin anew."""
        cdef int i
        cdef Py_ssize_t element
        slots = slot_names(kind, hyper)
        self._enter()
        try:
            self.optimizer = optimizer_index(kind)
            fill_update(&self.update, hyper, clip_value)
            self.clip_norm = clip_norm
            self.n_slots = len(slots)
            self.iterations = 0
            for i in range(2):
                self._free_flat(2 + i)
                if i < self.n_slots:
                    self._allocate_flat(2 + i)
            if self.optimizer == NN_ADAGRAD and hyper["initial_accumulator"]:
                for element in range(self.n_parameters):
                    self._write(2, element, np.full(self.parameter_specs[element]["shape"], hyper["initial_accumulator"]))
            self._slots = slots
        finally:
            self._leave()

    def optimizer_slots(self):
        return list(self._slots)

    def slot(self, Py_ssize_t i, int which):
        self._enter()
        try:
            return self._read(2 + which, i)
        finally:
            self._leave()

    def set_slot(self, Py_ssize_t i, int which, array):
        self._enter()
        try:
            self._write(2 + which, i, array)
        finally:
            self._leave()
