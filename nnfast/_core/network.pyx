"""A network's buffers with fixed addresses, and its programs: what compiling a model makes.

Design:

1. Building allocates everything but the memory of a batch, which grows with the largest one (arena.pyx). Nothing is
   allocated while the loop (loop.pyx) runs.
2. A program is a list of instructions that every thread carries out on its own rows of the batch or, for some operations,
   on a share of the whole batch between two barriers of their own: all operations forward, the losses, all operations
   backward. Python layers stand between barriers.
3. Training and inference have nodes and values of their own (nnfast/fusion.py says which); parameters are common.
4. Parameters' gradients are cut into tiles, which the threads share (tiling.pyx).
"""
from libc.stdint cimport int32_t
from libc.stdlib cimport free

from nnfast._core.activation cimport needs_input
from nnfast._core.arena cimport FOREVER, Arena
from nnfast._core.dense cimport columns_bytes, gradient as dense_gradient
from nnfast._core.gemm cimport CACHE_LINE, pack, packed_size, round_up, scratch_bytes, unpack
from nnfast._core.kernels cimport (
    NN_ADAGRAD, NN_FLOAT32, NN_FLOAT64, NN_SIGMOID, NN_SIGMOID_CROSS_ENTROPY, NN_SOFTMAX_CROSS_ENTROPY, kernels,
)
from nnfast._core.loss cimport (
    ABSOLUTE, ACCURACY, BINARY_ACCURACY, CUSTOM_LOSS, MAX_METRICS, MEAN_IOU, R2, SQUARED, TOP_K, Head, Metric, metric_width,
)
from nnfast._core.memory cimport address, aligned, allocate, release, table
from nnfast._core.node cimport CHUNK_BYTES, SOFTMAX, Node, Parameter, Pass, Value
from nnfast._core.operations cimport build_node, release_node, row_length, scratch_size, want_buffers
from nnfast._core.optimizer cimport fill_update, optimizer_index
from nnfast._core.threads cimport forks, resolve_threads
from nnfast._core.tiling cimport Tiling
from nnfast._core.transfer cimport Port

import threading

import numpy as np

from nnfast._core.operations import product_of
from nnfast._core.optimizer import slot_names

LOSSES = {"binary_cross_entropy": 2, "squared_error": 3, "absolute_error": 4, "huber": 5, "custom": CUSTOM_LOSS}
ON_ROWS = (FORWARD, BEFORE_FORWARD, AFTER_FORWARD, BACKWARD, BEFORE_BACKWARD, AFTER_BACKWARD)
METRICS = {"accuracy": ACCURACY, "top_k_accuracy": TOP_K, "binary_accuracy": BINARY_ACCURACY, "mse": SQUARED,
           "mae": ABSOLUTE, "r2": R2, "mean_iou": MEAN_IOU}


cdef class Network:
    """Built from data, which nnfast/graph.py describes and checks."""

    def __cinit__(self, spec, n_threads=None):
        self.optimizer = -1
        self.lock = threading.Lock()
        self.owner = None
        self.forks = forks

    def __init__(self, spec, n_threads=None):
        self.dtype = np.dtype(spec["dtype"])
        self.n_threads_wanted = n_threads
        self.k = kernels(NN_FLOAT32 if self.dtype == np.float32 else NN_FLOAT64)
        self.functions = []
        self._slots = []
        self.actions = {}
        self.scratch_size = aligned(scratch_bytes(self.k))      # samples are converted there, even if nothing else is done
        self._build_parameters(spec["parameters"], spec["training"])
        self._build_values(spec)
        self.tiling = Tiling()
        self.tiling.build(self.k, self.nodes, self.n_nodes, resolve_threads(self.n_threads_wanted))
        self._build_slices()
        self._build_programs()
        self.training_arena, self.inference_arena = self._lay_out_training(), self._lay_out_inference()
        self.head_arena = self._lay_out_heads()

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n_all_nodes):
            release_node(&self.nodes[i])
            free(self.nodes[i].inputs)
            free(self.nodes[i].adds)
        for i in range(self.n_heads):
            self._free_head(&self.heads[i])
        for i in range(4):
            self._free_flat(i)
        free(self.inputs)
        free(self.outputs)
        free(self.values)
        free(self.gradient_at)
        free(self.needs_gradient)
        free(self.nodes)
        free(self.parameters)
        free(self.heads)
        free(self.slices)
        free(self.penalties)
        free(self.squares)
        free(self.inference)
        free(self.evaluation)
        free(self.training_program)
        free(self.backward_program)
        self._free_contexts()

    cdef Py_ssize_t _context_bytes(self) noexcept nogil:
        """Scratch memory of a thread: for its operations, for one tile of a gradient and what it is made of, and for a row
        to mix."""
        return self.scratch_size + aligned(self.tiling.room * self.k.real_size) + self.columns_size + self.row_size

    cdef void _free_contexts(self) noexcept:
        free(self.reports)
        self.reports = NULL
        if self.scratch != NULL:
            release(self.scratch, self.n_contexts * self._context_bytes())
            self.scratch = NULL
        self.n_contexts = 0

    cdef void _want_row(self) noexcept:
        """The threads' memory is to have room for a row of any input or output."""
        cdef Py_ssize_t i, most = 0
        if self.row_size == 0:
            self._free_contexts()
            for i in range(self.n_values):
                most = max(most, self.values[i].ld)
            self.row_size = aligned(most * self.k.real_size)

    cdef int _allocate_flat(self, int i) except -1:
        self._free_flat(i)
        self.flat[i] = allocate(self._flat_bytes())
        if self.flat[i] == NULL:
            raise MemoryError(f"{self._flat_bytes()} bytes for the parameters")
        return 0

    cdef void _free_flat(self, int i) noexcept:
        if self.flat[i] != NULL:
            release(self.flat[i], self._flat_bytes())
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

    def _build_values(self, spec):
        """Values, what leads in and out, and the nodes."""
        cdef Py_ssize_t i, j
        cdef Port *port
        self.value_shapes = [tuple(shape) for shape in spec["shapes"]]
        self.n_values = len(self.value_shapes)
        self.values = <Value *>table(2 * self.n_values, sizeof(Value))
        self.gradient_at = <char **>table(self.n_values, sizeof(char *))
        self.needs_gradient = <bint *>table(self.n_values, sizeof(bint))
        for i in range(2 * self.n_values):
            self.values[i].size = product_of(self.value_shapes[i % self.n_values])
            self.values[i].ld = row_length(self.k, self.values[i].size)
        self.n_inputs = len(spec["inputs"])
        self.inputs = <Port *>table(self.n_inputs, sizeof(Port))
        for i, entry in enumerate(spec["inputs"]):
            port = &self.inputs[i]
            self._build_port(port, entry["value"], spec["channels_first"])
            port.scale, port.offset = entry["scale"], entry["offset"]
            port.scaled = port.scale != 1 or port.offset != 0
        self.n_outputs = len(spec["outputs"])
        self.outputs = <Port *>table(self.n_outputs, sizeof(Port))
        for i, at in enumerate(spec["outputs"]):
            self._build_port(&self.outputs[i], at, spec["channels_first"])
        self.n_nodes = len(spec["training"])
        self.n_all_nodes = self.n_nodes + len(spec["inference"])
        self.nodes = <Node *>table(self.n_all_nodes, sizeof(Node))
        self.node_specs = [dict(node) for node in spec["training"] + spec["inference"]]
        self._build_nodes(self.node_specs[:self.n_nodes], 0, False)
        self._build_nodes(self.node_specs[self.n_nodes:], self.n_nodes, True)
        # An output's gradient is set by its loss, any other value's by the first node that the backward pass meets.
        seen = set(spec["outputs"])
        for i in reversed(range(self.n_nodes)):
            for j, at in enumerate(self.node_specs[i]["inputs"]):
                self.nodes[i].adds[j] = at in seen
                seen.add(at)

    cdef int _build_port(self, Port *port, Py_ssize_t value, bint channels_first) except -1:
        shape = self.value_shapes[value]
        port.value = value
        port.size = self.values[value].size
        port.channels = shape[len(shape) - 1] if channels_first and len(shape) > 1 else 1
        return 0

    cdef int _build_nodes(self, list specs, Py_ssize_t first, bint inference) except -1:
        """The nodes of one half, from number `first` on."""
        cdef Value *values = self.values + (self.n_values if inference else 0)
        cdef Py_ssize_t i, j, at
        cdef Node *node
        for i, spec in enumerate(specs, start=first):
            node = &self.nodes[i]
            node.k = self.k
            node.team = resolve_threads(self.n_threads_wanted)
            node.n_inputs = len(spec["inputs"])
            node.inputs = <Value **>table(node.n_inputs, sizeof(Value *))
            node.adds = <bint *>table(node.n_inputs, sizeof(bint))
            for j, at in enumerate(spec["inputs"]):
                node.inputs[j] = &values[at]
            at = spec["output"]
            node.output = &values[at]
            node.passes_back = inference or any([self.needs_gradient[<Py_ssize_t>j] for j in spec["inputs"]])
            build_node(node, spec, self.parameters, inference)
            self.scratch_size = max(self.scratch_size, aligned(scratch_size(node)))
            if inference:
                continue
            if node.gradient == dense_gradient:
                self.columns_size = max(self.columns_size, columns_bytes(node))
            self.work += spec["work"]
            self.has_python |= spec["op"] == "python"
            self.needs_gradient[at] = ((node.kernel != NULL and node.kernel.trainable)
                                       or (node.bias != NULL and node.bias.trainable)
                                       or node.passes_back)
        return 0

    cdef int _build_slices(self) except -1:
        """The trainable parameters in pieces for sums over all of them. Tiles would not do: what they are depends on the
        number of threads, and so would the sums' last bits."""
        cdef Py_ssize_t i, at, number
        cdef Slice *part
        trained = [i for i in range(self.n_parameters) if self.parameters[i].trainable]
        starts = [(i, at) for i in trained for at in range(0, self.parameters[<Py_ssize_t>i].size, SLICE)]
        self.n_slices = len(starts)
        self.slices = <Slice *>table(self.n_slices, sizeof(Slice))
        for number, (i, at) in enumerate(starts):
            part = &self.slices[number]
            part.parameter = &self.parameters[i]
            part.offset = part.parameter.offset + at
            part.size = min(part.parameter.size - at, <Py_ssize_t>SLICE)
        self.penalties = <double *>table(self.n_slices, sizeof(double))
        self.squares = <double *>table(self.n_slices, sizeof(double))
        return 0

    def _build_programs(self):
        """A program is what several threads do to a batch, with barriers where one needs what another has made."""
        training, inference = range(self.n_nodes), range(self.n_nodes, self.n_all_nodes)
        losses = self._loss_actions()
        self._write_program(&self.inference, "inference", self._forward_actions(inference))
        self._write_program(&self.evaluation, "evaluation", self._forward_actions(inference) + losses)
        forward, backward = self._forward_actions(training), self._backward_actions()
        self._write_program(&self.backward_program, "backward", forward + backward)
        self._write_program(&self.training_program, "training", forward + losses + backward)

    def _forward_actions(self, nodes):
        actions = [(PREPARE, i) for i in nodes if self.nodes[<Py_ssize_t>i].prepare != NULL]
        if actions:
            actions.append((BARRIER, 0))
        for i in nodes:
            if self.node_specs[i]["op"] == "python":
                actions += self._python_actions(PYTHON_FORWARD, i)
            else:
                actions += self._pass_actions(i, True)
        return actions

    cdef list _pass_actions(self, Py_ssize_t i, bint forward):
        cdef const Pass *p = &self.nodes[i].forward if forward else &self.nodes[i].backward
        whole, before, between, after = (FORWARD, BEFORE_FORWARD, TEAM_FORWARD, AFTER_FORWARD) if forward else (
            BACKWARD, BEFORE_BACKWARD, TEAM_BACKWARD, AFTER_BACKWARD)
        if p.rows != NULL:
            return [(whole, i)]
        return ([(before, i)] * (p.before != NULL) + [(BARRIER, 0), (between, i), (BARRIER, 0)]
                + [(after, i)] * (p.after != NULL))

    def _python_actions(self, action, at):
        """Thread 0 calls a Python function. Whether it has raised is read behind the second barrier only: behind the first
        thread 0 may be that far already, and some would leave while it waits for them."""
        return [(BARRIER, 0), (action, at), (BARRIER, 0), (LEAVE, 0)]

    def _loss_actions(self):
        cdef Py_ssize_t i
        actions = []
        for i in range(self.n_heads):
            if self.heads[i].loss == CUSTOM_LOSS:
                actions += self._python_actions(PYTHON_LOSS, i)
            actions.append((LOSS, i))
        return actions

    def _backward_actions(self):
        actions = []
        for i in reversed(range(self.n_nodes)):
            if self.node_specs[i]["op"] == "python":
                actions += self._python_actions(PYTHON_BACKWARD, i)
            else:
                actions += self._pass_actions(i, False)
        return actions

    cdef int _write_program(self, Instruction **program, object name, list actions) except -1:
        cdef Py_ssize_t first = 0, end, i, size
        cdef Instruction *to
        samples = [0] * len(actions)
        free(program[0])
        program[0] = to = <Instruction *>table(len(actions) + 1, sizeof(Instruction))
        for i, (action, at) in enumerate(actions):
            to[i].action = action
            to[i].at = at
        to[len(actions)].at = -1        # the end
        while first < len(actions):
            end, size = first, 0
            while (end < len(actions) and actions[end][0] in ON_ROWS
                   and self._takes_chunks(actions[end]) == self._takes_chunks(actions[first])):
                size += self._bytes_of_sample(to[end].action, to[end].at)
                end += 1
            to[first].count = end - first
            if end - first > 1 and self._takes_chunks(actions[first]):
                to[first].samples = max(1, CHUNK_BYTES // max(size, 1))
            for i in range(first, end):
                samples[i] = to[first].samples
            first = max(end, first + 1)
        self.actions[name] = [(*action, number) for action, number in zip(actions, samples)]
        return 0

    cdef bint _takes_chunks(self, object action):
        return self.nodes[<Py_ssize_t>action[1]].in_chunks

    cdef Py_ssize_t _bytes_of_sample(self, int action, Py_ssize_t i) noexcept:
        """What a pass on rows reads and writes, but for what the one before it has just written."""
        cdef const Node *node = &self.nodes[i]
        cdef Py_ssize_t numbers = 0, j
        if action in (FORWARD, AFTER_FORWARD):
            numbers = node.output.ld
        elif action != BEFORE_FORWARD:
            numbers = node.output.ld if node.rereads_output else 0
            for j in range(node.n_inputs):
                numbers += node.inputs[j].ld * ((action != BEFORE_BACKWARD) + node.rereads_input)
        return numbers * self.k.real_size

    # ---------------------------------------------------------------- the memory of a batch

    cdef int _reserve(self, Py_ssize_t batch, bint inference, bint all_gradients) except -1:
        """Room for a batch. Training and inference have memory of their own: to change from one to the other costs
        nothing, and what the padding of the rows holds stays as it was left."""
        if inference:
            return self.inference_arena.reserve(batch)
        if all_gradients and not self.all_gradients:
            self.all_gradients = True
            self.training_arena = self._lay_out_training()
        return self.training_arena.reserve(batch)

    cdef Arena _lay_out_inference(self):
        """A value is needed until its last reader has run, an output to the end."""
        cdef Arena arena = Arena()
        cdef Py_ssize_t i, at, size
        cdef Value *value
        dies = [0] * self.n_values
        born = [0] * self.n_values
        made_by = {self.inputs[i].value: None for i in range(self.n_inputs)}
        for i in range(self.n_nodes, self.n_all_nodes):
            spec = self.node_specs[i]
            for at in spec["inputs"]:
                dies[at] = i
            made_by[spec["output"]] = born[<Py_ssize_t>spec["output"]] = i
        for i in range(self.n_outputs):
            dies[self.outputs[i].value] = FOREVER
        for at, owner in made_by.items():
            value = &self.values[self.n_values + at]
            size = value.ld * self.k.real_size
            arena.want(&value.y, size, owner, "y", value.size, born[at], dies[at])
        arena.assign()
        return arena

    cdef Arena _lay_out_training(self):
        """The moments of a step: node i runs forward at i, the losses at n, node i runs backward at 2 n - i. What a
        parameter's gradient reads is needed beyond that, and so are outputs and the gradients of inputs."""
        cdef Arena arena = Arena()
        cdef Py_ssize_t i, at, n = self.n_nodes, row
        cdef Node *node
        cdef Value *value
        y_born, y_dies, dy_born, dy_dies = [[0] * self.n_values for _ in range(4)]
        readers = [[] for _ in range(self.n_values)]
        made_by = {}
        for i in range(self.n_inputs):
            made_by[self.inputs[i].value] = None
            dy_dies[self.inputs[i].value] = FOREVER
        for i in range(n):
            node = &self.nodes[i]
            for at in self.node_specs[i]["inputs"]:
                last = FOREVER if node.late_input else 2 * n - i if node.rereads_input else i
                y_dies[at] = max(y_dies[at], last)
                dy_born[at] = 2 * n - i
                readers[at].append(i)
            at = self.node_specs[i]["output"]
            made_by[at] = y_born[at] = i
            y_dies[at] = 2 * n - i if node.rereads_output else i
            dy_dies[at] = FOREVER if node.late_gradient else 2 * n - i
        for i in range(self.n_outputs):
            at = self.outputs[i].value
            y_dies[at] = FOREVER
            dy_born[at] = 0         # vjp gathers it with the inputs
        for at, owner in made_by.items():
            value = &self.values[at]
            row = value.ld * self.k.real_size
            wanted = self.all_gradients or self.needs_gradient[at]
            in_place = wanted and owner is not None and y_dies[at] == dy_born[at] and self._in_place(owner, readers[at])
            arena.want(&value.y, row, owner, "y", None if in_place else ("y", value.size), y_born[at], y_dies[at],
                       &self.gradient_at[at] if in_place else NULL)
            if wanted and not in_place:
                arena.want(&self.gradient_at[at], row, owner, "dy", ("dy", value.size), dy_born[at], dy_dies[at])
        for i in range(n):
            node = &self.nodes[i]
            if needs_input(node.activation):
                row = node.output.ld * self.k.real_size
                arena.want(&node.output.z, row, i, "z", ("z", node.output.size), i, 2 * n - i)
            want_buffers(node, arena, i)
        arena.assign()
        return arena

    def _in_place(self, Py_ssize_t maker, readers):
        """Whether the gradient of a node's output may take the output's place: a normalization, which is all that reads
        it, sets each number of the one where it reads that of the other. The padding is zero in both."""
        cdef Node *node = &self.nodes[maker]
        return (len(readers) == 1 and self.node_specs[readers[0]]["op"] == "batch_norm"
                and not self.nodes[<Py_ssize_t>readers[0]].adds[0]
                and self.node_specs[maker]["op"] in ("conv", "conv_transpose", "dense") and not node.rereads_output)

    cdef Arena _lay_out_heads(self):
        cdef Arena arena = Arena()
        cdef Py_ssize_t i, j
        cdef Head *head
        cdef Metric *metric
        arena.want(<char **>&self.sample_weight, sizeof(double), None, "sample weights")
        for i in range(self.n_heads):
            head = &self.heads[i]
            arena.want(&head.target, head.output.ld * self.k.real_size, None, "targets")
            if head.loss == NN_SOFTMAX_CROSS_ENTROPY:
                arena.want(<char **>&head.label, head.pixels * sizeof(int32_t), None, "labels")
            if self.n_heads == 1 and len(self.value_shapes[self.outputs[i].value]) > 1 and head.loss != CUSTOM_LOSS:
                arena.want(&head.pixel_weights, head.pixels * self.k.real_size, None, "weights of pixels")
            arena.want(<char **>&head.loss_values, sizeof(double), None, "losses")
            for j in range(head.n_metrics):
                metric = &head.metrics[j]
                arena.want(<char **>&metric.values, metric.width * sizeof(double), None, "metrics")
        arena.assign()
        return arena

    cdef int _enter(self) except -1:
        """One call at a time: the buffers are the plan's."""
        if self.forks != forks:
            self._after_fork()
        if not self.lock.acquire(False):
            if self.owner == threading.get_ident():
                raise RuntimeError("the model is in use by the very call that came here (a layer, loss or progress "
                                   "function of its own)")
            self.lock.acquire()
        return 0

    cdef int _after_fork(self) except -1:
        """In a forked child lives only the thread that forked: nobody gives back a lock that another one held."""
        if self.lock.locked() and self.owner != threading.get_ident():
            if self.job.update:
                raise RuntimeError("this process was forked while another thread trained the model, whose weights may be "
                                   "half updated; fork before or after, or take a copy along (model.clone())")
            self.lock = threading.Lock()
        self.forks = forks
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
        for i in range(self.n_all_nodes):
            self.nodes[i].fused = self.node_specs[i]["output"] in fused
        self.head_arena = self._lay_out_heads()
        self._build_programs()

    cdef Py_ssize_t _describe_head(self, Head *head, Py_ssize_t at, dict spec) except -2:
        """Fill a head; the output that it makes of logits, or -1."""
        cdef Py_ssize_t made = self.outputs[at].value, i, node = -1
        cdef Metric *metric
        head.k = self.k
        head.output = &self.values[made]
        shape = self.value_shapes[made]
        head.classes = shape[len(shape) - 1]
        head.pixels = head.output.size // head.classes
        head.weight = spec["weight"]
        head.delta = spec["delta"] or 0
        head.ignores = spec["ignore_label"] is not None
        head.ignored = spec["ignore_label"] or 0
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
            metric.width = metric_width(head, metric.kind)
            metric.totals = <double *>table(metric.width, sizeof(double))
            head.n_metrics += 1
        return made if head.fused else -1

    def _write(self, int which, Py_ssize_t i, array):
        """A parameter-shaped array to its place in one of the flat arrays."""
        cdef Parameter *p = &self.parameters[i]
        cdef Py_ssize_t matrix, size = self.k.real_size
        self.prepared = False
        array = np.ascontiguousarray(array, dtype=self.dtype)
        for matrix in range(p.matrices):
            pack(self.k, p.rows, p.columns, p.columns * p.matrices, address(array) + matrix * p.columns * size,
                 self.flat[which] + (p.offset + matrix * packed_size(self.k, p.rows, p.columns)) * size, 0, 1)

    def _read(self, int which, Py_ssize_t i):
        cdef Parameter *p = &self.parameters[i]
        cdef Py_ssize_t matrix, size = self.k.real_size
        array = np.empty(self.parameter_specs[i]["shape"], self.dtype)
        for matrix in range(p.matrices):
            unpack(self.k, p.rows, p.columns, p.columns * p.matrices,
                   self.flat[which] + (p.offset + matrix * packed_size(self.k, p.rows, p.columns)) * size,
                   address(array, True) + matrix * p.columns * size)
        return array

    def write_parameters(self, arrays):
        """{number: array} to their places, all between two steps."""
        self._enter()
        try:
            for i, array in arrays.items():
                self._write(0, i, array)
        finally:
            self._leave()

    def read_parameters(self):
        """Copies of all parameters, as they stand between two steps."""
        self._enter()
        try:
            return [self._read(0, i) for i in range(self.n_parameters)]
        finally:
            self._leave()

    def set_optimizer(self, kind, hyper, double clip_norm=0, double clip_value=0):
        """Choose the optimizer; its state and the count of steps begin anew."""
        cdef int i
        cdef Py_ssize_t element
        slots = slot_names(kind, hyper)
        self._enter()
        try:
            # Without memory for its state there is no optimizer.
            self.optimizer, self.n_slots, self._slots = -1, 0, []
            for i in range(2):
                self._free_flat(2 + i)
                if i < len(slots):
                    self._allocate_flat(2 + i)
            self.optimizer, self.n_slots, self._slots = optimizer_index(kind), len(slots), slots
            fill_update(&self.update, hyper, clip_value)
            self.clip_norm = clip_norm
            self.iterations = 0
            if self.optimizer == NN_ADAGRAD and hyper["initial_accumulator"]:
                for element in range(self.n_parameters):
                    self._write(2, element, np.full(self.parameter_specs[element]["shape"], hyper["initial_accumulator"]))
        finally:
            self._leave()

    def optimizer_slots(self):
        return list(self._slots)

    def read_slots(self):
        """Copies of the optimizer's arrays, a list of them for each parameter."""
        self._enter()
        try:
            return [[self._read(2 + which, i) for which in range(self.n_slots)] for i in range(self.n_parameters)]
        finally:
            self._leave()

    def write_slots(self, arrays):
        """{(number of the parameter, slot): array} to their places."""
        self._enter()
        try:
            for (i, which), array in arrays.items():
                self._write(2 + which, i, array)
        finally:
            self._leave()
