"""The calls that Python makes of a compiled network: each writes down a job, which loop.pyx runs."""
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

from nnfast._core.arena cimport Arena
from nnfast._core.augment cimport Recipe
from nnfast._core.kernels cimport (
    NN_ABSOLUTE_ERROR, NN_FROM_FLOAT32, NN_FROM_FLOAT64, NN_HUBER, NN_SOFTMAX_CROSS_ENTROPY, NN_SQUARED_ERROR,
    nn_update,
)
from nnfast._core.loop cimport Loop
from nnfast._core.loss cimport Head
from nnfast._core.memory cimport address
from nnfast._core.network cimport (
    AFTER_BACKWARD, AFTER_FORWARD, BACKWARD, BARRIER, BEFORE_BACKWARD, BEFORE_FORWARD, FORWARD, LEAVE, LOSS, OK, PREPARE,
    PYTHON_BACKWARD, PYTHON_FORWARD, PYTHON_LOSS, TEAM_BACKWARD, TEAM_FORWARD, Instruction, Job, Source, Status,
)
from nnfast._core.node cimport Sparse, Tile, piece_start, pieces
from nnfast._core.optimizer cimport begin_step
from nnfast._core.shuffle cimport draw_order
from nnfast._core.threads cimport nn_clock, nn_flush_subnormals, nn_restore_subnormals, resolve_threads

from numpy import empty, ndarray

from nnfast._core.shuffle import shuffle
from nnfast.sparse_rows import SparseRows

cdef double MOST_SPARSE = 0.1       # of a sparse input's numbers: where more are not 0 they are read with the zeros
cdef double TIME_AT_ONCE = 0.02     # seconds, after which Python sees about what others ask for

cdef enum:
    MOST_TOTALS = 65536         # numbers that the epochs of one call may add up to
    MOST_PLAIN_ROWS = 1024      # predict_fast and train_fast: larger arrays gain nothing there
    MUCH_MEMORY = 134217728     # for a batch whose size nobody named

SOURCES = {"f": 0, "d": 1, "B": 2}      # by dtype.char, in the order of csrc/nnfast.h

# What the threads take shares of, and what they do.
ACTIONS = {
    PREPARE: ("panels of kernels", "prepare"),
    FORWARD: ("samples", "forward"), AFTER_FORWARD: ("samples", "forward"), LOSS: ("samples", "loss"),
    BACKWARD: ("samples", "backward"), AFTER_BACKWARD: ("samples", "backward"),
    PYTHON_FORWARD: ("one thread", "forward"), PYTHON_BACKWARD: ("one thread", "backward"),
    PYTHON_LOSS: ("one thread", "loss"),
}
# The same of what belongs to one operation.
OPERATIONS = {
    ("batch_norm", BEFORE_FORWARD): ("samples", "sums"), ("batch_norm", TEAM_FORWARD): ("channels", "statistics"),
    ("batch_norm", BEFORE_BACKWARD): ("samples", "sums of gradients"),
    ("batch_norm", TEAM_BACKWARD): ("channels", "gradients"),
    ("dense", TEAM_FORWARD): ("blocks of outputs", "forward"), ("dense", AFTER_FORWARD): ("samples", "softmax"),
    ("dense", BEFORE_BACKWARD): ("samples", "activation's gradient"),
    ("dense", TEAM_BACKWARD): ("blocks of inputs", "backward"),
}


cdef class Plan(Loop):
    """A network that runs. Arrays given to its methods have been checked by nnfast/arrays.py."""

    cdef bint plain             # one input and one output, both vectors of any numbers, and no Python function
    cdef list output_shapes     # as the data have them
    cdef list output_names
    cdef list dense_readers     # of each input, whether dense layers alone read it, as a vector
    cdef readonly list gathered     # inputs, with the layers that are part of their gathering
    cdef public uint64_t fast_seed      # of dropout in train_fast

    def __init__(self, spec, n_threads=None):
        Loop.__init__(self, spec, n_threads)
        # Ids are to be checked first.
        ids = any([node["op"] == "embedding" for node in spec["training"]])
        self.plain = (self.n_inputs == self.n_outputs == 1 and not self.has_python and not ids
                      and len(spec["inputs"][0]["shape"]) == len(self.value_shapes[self.outputs[0].value]) == 1)
        self.fast_seed = 0
        self.output_names = spec["output_names"]
        self.gathered = spec["inputs"]
        self.dense_readers = [self._is_read_by_dense(entry["value"]) for entry in spec["inputs"]]
        self.output_shapes = [self.value_shapes[at] for at in spec["outputs"]]
        if spec["channels_first"]:
            self.output_shapes = [shape[len(shape) - 1:] + shape[:len(shape) - 1] for shape in self.output_shapes]

    def _is_read_by_dense(self, value):
        cdef Py_ssize_t i
        for i in range(self.n_all_nodes):
            spec = self.node_specs[i]
            if value in spec["inputs"] and not (spec["op"] == "dense" and self.nodes[i].outer == 1):
                return False
        return all([self.outputs[i].value != value for i in range(self.n_outputs)])

    # ---------------------------------------------------------------- calls from Python

    def _sources(self, arrays):
        """Sources as bytes, which the caller keeps while the job runs."""
        cdef Source *sources
        cdef Py_ssize_t i
        held = bytearray(len(arrays) * sizeof(Source))
        sources = <Source *>address(held, True)
        for i, array in enumerate(arrays):
            if isinstance(array, SparseRows):
                continue
            sources[i].data = address(array)
            sources[i].kind = SOURCES.get(array.dtype.char, 0)
            sources[i].row_bytes = array.nbytes // len(array)
        return held

    def _input_sources(self, xs):
        """The job's inputs; what the caller keeps while it runs."""
        cdef Py_ssize_t i
        held = [self._sources(xs)]
        self.job.inputs = <Source *>address(held[0], True)
        for i, x in enumerate(xs):
            if isinstance(x, SparseRows):
                held += self._sparse_source(i, x)
        return held

    def _sparse_source(self, Py_ssize_t i, x):
        cdef Py_ssize_t value = self.inputs[i].value, n = self.job.batch_size
        cdef Sparse *sparse
        x = x.in_precision(self.dtype)
        held = [bytearray(sizeof(Sparse)), x]
        sparse = <Sparse *>address(held[0], True)
        sparse.columns = self.inputs[i].size
        sparse.begin, sparse.end = <const int64_t *>address(x.begin), <const int64_t *>address(x.end)
        sparse.places, sparse.values = <const int32_t *>address(x.places), address(x.values)
        self.job.inputs[i].sparse = sparse
        if not (self.dense_readers[i] and x.share <= MOST_SPARSE and not self.inputs[i].scaled
                and self.job.n_operations == 0 and self.job.alpha == 0):
            return held
        numbers = x.most(n) if self.job.gradient else 0     # no row comes twice in a batch
        room = [empty(size, kind) for size, kind in (
            (n, "q"), (n, "q"), (sparse.columns if self.job.gradient else 0, "q"), (numbers, "i"), (numbers, self.dtype))]
        sparse.batch_begin, sparse.batch_end = <int64_t *>address(room[0], True), <int64_t *>address(room[1], True)
        sparse.column_end = <int64_t *>address(room[2], True)
        sparse.rows, sparse.column_values = <int32_t *>address(room[3], True), address(room[4], True)
        self.values[value].sparse = self.values[self.n_values + value].sparse = sparse
        return held + room

    cdef int _start(self, const Instruction *program, Py_ssize_t n_samples, Py_ssize_t batch_size, bint loss=False,
                    bint input_gradients=False) except -1:
        """A clean job over the rows of the data."""
        cdef Py_ssize_t i
        memset(&self.job, 0, sizeof(Job))
        self.job.program = program
        self.job.inference = program == self.inference or program == self.evaluation
        self.job.loss = loss
        self.job.gradient = not self.job.inference
        self.job.n_samples = n_samples
        self.job.batch_size = max(1, min(batch_size, n_samples))
        self.job.n_steps = (self.job.n_samples + self.job.batch_size - 1) // self.job.batch_size
        for i in range(self.n_inputs):
            self.values[self.inputs[i].value].sparse = self.values[self.n_values + self.inputs[i].value].sparse = NULL
        self._reserve(self.job.batch_size, self.job.inference, input_gradients)
        if loss:
            self.head_arena.reserve(self.job.batch_size)
        return 0

    def train_epoch(self, xs, ys, sample_weight, order, Py_ssize_t batch_size, lr, seed=0,
                    Py_ssize_t first_step=0, n_steps=None, progress=None, Recipe recipe=None, class_factors=None):
        """Steps first_step, first_step + 1, ... of an epoch in one call; lr holds a rate for each. recipe: how samples
        are augmented. class_factors: of the losses of pixels or yes/no answers, where they have classes of their own."""
        self._enter()
        try:
            held = self._start_training(xs, ys, sample_weight, order, batch_size, seed, recipe, class_factors)
            self.job.lr = <const double *>address(lr)
            self.job.first_step = first_step
            self.job.n_steps = min(self.job.n_steps - first_step, len(lr) if n_steps is None else <Py_ssize_t>n_steps)
            self.progress = progress
            self._launch()
            return self._totals()
        finally:
            self._leave()

    def _start_training(self, xs, ys, sample_weight, order, Py_ssize_t batch_size, seed, Recipe recipe, class_factors):
        """A clean job of steps over the rows of the data; what the caller keeps while it runs."""
        self._start(self.training_program, len(xs[0]), batch_size, True)
        self.job.update = self.job.training = True
        if recipe is not None:
            self.job.operations, self.job.n_operations = recipe.operations, recipe.n_operations
            self.job.target_operations, self.job.n_target_operations = recipe.of_targets, recipe.n_of_targets
            self.job.alpha = recipe.alpha
            if recipe.alpha > 0:
                self._want_row()
        inputs, targets = self._input_sources(xs), self._labels(ys)
        self.job.targets = <Source *>address(targets, True)
        if class_factors is not None:       # of a model with one output
            self.heads[0].class_factors = <const double *>address(class_factors)
        self._weigh(sample_weight)
        if order is not None:
            self.job.order = <const Py_ssize_t *>address(order)
        self.job.seed = <uint64_t>(seed & 0xFFFFFFFFFFFFFFFF)
        return inputs, targets

    def train_epochs(self, xs, ys, sample_weight, order, Py_ssize_t batch_size, lr, seed, Py_ssize_t first_epoch,
                     Py_ssize_t n_epochs, list ended, class_factors=None):
        """Whole epochs in one call, until time is up that others may want: Python's part of a short epoch takes as long as
        the epoch. lr holds a rate for each step of an epoch; `order` is drawn anew for each epoch, or None. `ended` gets
        (totals, seconds) of each epoch that has come to its end, also if there is an error."""
        cdef Py_ssize_t epoch = 0, n = len(xs[0])
        cdef Py_ssize_t *places = NULL
        cdef double *kept
        cdef double start, begun
        cdef int team
        if self.has_python or any([function is not None for function in self.functions]):
            n_epochs = 1        # who may ask for the end of training after this epoch
        n_epochs = min(n_epochs, max(1, MOST_TOTALS // self._count_totals()))
        self._enter()
        try:
            held = self._start_training(xs, ys, sample_weight, order, batch_size, seed, None, class_factors)
            self.job.lr = <const double *>address(lr)
            if order is not None:
                places = <Py_ssize_t *>address(order, True)
            figures = bytearray(n_epochs * (self._count_totals() + 1) * sizeof(double))
            kept = <double *>address(figures, True)
            team = self._ready()
            with nogil:
                start = nn_clock()
                while epoch < n_epochs:
                    begun = nn_clock()
                    if places != NULL:
                        draw_order(places, n, True, self.job.seed, <uint64_t>(first_epoch + epoch))
                    self._work(team)
                    if self.stop or self.failed:
                        break
                    kept = self._move_totals(kept, True)
                    kept[0] = nn_clock() - begun
                    kept += 1
                    epoch += 1
                    if self.job.status != OK or not 0 <= nn_clock() - start < TIME_AT_ONCE:
                        break
            kept = <double *>address(figures, True)
            for _ in range(epoch):
                kept = self._move_totals(kept, False)
                ended.append((self._totals(), kept[0]))
                kept += 1
            self._end()
        finally:
            self._leave()

    cdef Py_ssize_t _count_totals(self) noexcept nogil:
        cdef Py_ssize_t i, j, count = 5 + self.n_heads
        for i in range(self.n_heads):
            for j in range(self.heads[i].n_metrics):
                count += self.heads[i].metrics[j].width
        return count

    cdef double *_move_totals(self, double *kept, bint out) noexcept nogil:
        """What `_totals` reads, to memory or back; the end of it there."""
        cdef Py_ssize_t i, j, width
        if out:
            kept[0], kept[1], kept[2] = self.job.loss_total, self.job.weight_total, <double>self.job.status
            kept[3], kept[4] = <double>self.job.steps_done, <double>self.job.samples_done
        else:
            self.job.loss_total, self.job.weight_total, self.job.status = kept[0], kept[1], <Status>kept[2]
            self.job.steps_done, self.job.samples_done = <Py_ssize_t>kept[3], <Py_ssize_t>kept[4]
        kept += 5
        for i in range(self.n_heads):
            if out:
                kept[0] = self.heads[i].loss_total
            else:
                self.heads[i].loss_total = kept[0]
            kept += 1
            for j in range(self.heads[i].n_metrics):
                width = self.heads[i].metrics[j].width
                if out:
                    memcpy(kept, self.heads[i].metrics[j].totals, width * sizeof(double))
                else:
                    memcpy(self.heads[i].metrics[j].totals, kept, width * sizeof(double))
                kept += width
        return kept

    def _labels(self, ys):
        """Sources of the targets; a head learns whether they are labels."""
        cdef Py_ssize_t i
        for i, y in enumerate(ys):
            labels = y.dtype.char in "iB"       # int32 and uint8
            self.heads[i].labels = labels and self.job.alpha == 0
            self.heads[i].mixed = labels and self.job.alpha > 0
            self.heads[i].gaps = self.heads[i].ignores or (
                self.heads[i].loss == NN_SOFTMAX_CROSS_ENTROPY and self.job.n_target_operations > 0)
            self.heads[i].class_factors = NULL
            self.heads[i].weighted = False
        return self._sources(ys)

    def _weigh(self, weight):
        """Weights of the samples, float64 (N,), or of the pixels of the one output, (N, ...) in the network's precision."""
        if weight is not None and weight.ndim == 1:
            self.job.weight = <const double *>address(weight)
        elif weight is not None:
            self.job.pixel_weights = address(weight)
            self.heads[0].weighted = True

    def evaluate(self, xs, ys, sample_weight, Py_ssize_t batch_size):
        """Totals over all rows, in inference mode."""
        self._enter()
        try:
            self._start(self.evaluation, len(xs[0]), batch_size, True)
            inputs, targets = self._input_sources(xs), self._labels(ys)
            self.job.targets = <Source *>address(targets, True)
            self._weigh(sample_weight)
            self._launch()
            return self._totals()
        finally:
            self._leave()

    def predict(self, xs, Py_ssize_t batch_size):
        """The outputs for all rows."""
        outputs = [empty((len(xs[0]),) + shape, self.dtype) for shape in self.output_shapes]
        self._enter()
        try:
            self._start(self.inference, len(xs[0]), batch_size)
            inputs, targets = self._input_sources(xs), self._addresses(outputs)
            self.job.outputs = <char **>address(targets, True)
            self._launch()
        finally:
            self._leave()
        return outputs

    # The same for small arrays that need no conversion, at the cost of a few hundred nanoseconds. Both return None,
    # having done nothing, for all else: the caller then goes the long way, which also finds the words for an error.

    def predict_fast(self, x):
        """Output for a C-contiguous (rows, width) array of the plan's dtype, or None."""
        cdef Source source
        cdef Py_ssize_t rows
        cdef char *to
        if not self.plain:
            return None
        rows = self._plain_rows(x, &source)
        if rows == 0:
            return None
        out = empty((rows, self.outputs[0].size), self.dtype)
        to = address(out, True)
        self._enter()
        try:
            self._start(self.inference, rows, rows)
            self.job.inputs = &source
            self.job.outputs = &to
            self._launch()
        finally:
            self._leave()
        return out

    def train_fast(self, x, y, double lr):
        """One step; the batch's loss, or None. For labels, or targets that may be any finite numbers."""
        cdef Source source, target
        cdef Py_ssize_t rows
        if not self.plain or self.n_heads != 1:
            return None
        rows = self._plain_rows(x, &source)
        if rows == 0 or not self.k.absolute_maximum(rows * self.inputs[0].size, source.data) < INFINITY:
            return None
        self._enter()
        try:
            self._start(self.training_program, rows, rows, True)
            if not self._plain_targets(y, rows, &target):
                return None
            self.job.update = self.job.training = True
            self.job.inputs = &source
            self.job.targets = &target
            self.job.lr = &lr
            self.job.seed = self.fast_seed
            self._launch()
            return self.job.loss_total / rows if self.job.status == OK else None
        finally:
            self._leave()

    cdef Py_ssize_t _plain_rows(self, object x, Source *source) except -1:
        """Rows of an input that can be read as it is, or 0."""
        cdef Py_buffer buffer
        cdef Py_ssize_t rows = 0
        cdef char real = c"f" if self.k.real_size == 4 else c"d"
        if type(x) is not ndarray:
            return 0
        try:
            PyObject_GetBuffer(x, &buffer, PyBUF_FORMAT | PyBUF_STRIDES)
        except Exception:
            return 0
        if (buffer.ndim == 2 and buffer.shape[1] == self.inputs[0].size and buffer.shape[0] <= MOST_PLAIN_ROWS
                and buffer.format[0] == real and buffer.format[1] == 0
                and PyBuffer_IsContiguous(&buffer, c"C")):
            rows = buffer.shape[0]
            source[0] = self._own_rows(buffer.buf, self.inputs[0].size)
        PyBuffer_Release(&buffer)
        return rows

    cdef bint _plain_targets(self, object y, Py_ssize_t rows, Source *target) except -1:
        """Targets that can be read as they are: labels in range, or finite numbers for a loss that takes any."""
        cdef Py_buffer buffer
        cdef Head *head = &self.heads[0]
        cdef Py_ssize_t b, n = head.output.size
        cdef int64_t label
        cdef bint ok = False
        if type(y) is not ndarray:
            return False
        try:
            PyObject_GetBuffer(y, &buffer, PyBUF_FORMAT | PyBUF_STRIDES)
        except Exception:
            return False
        if (buffer.ndim > 0 and buffer.shape[0] == rows and PyBuffer_IsContiguous(&buffer, c"C")
                and buffer.format[1] == 0):
            if head.loss == NN_SOFTMAX_CROSS_ENTROPY:
                if (not head.ignores and buffer.ndim == 1
                        and (buffer.format[0] == c"i" or buffer.format[0] == c"l" or buffer.format[0] == c"q")):
                    ok = True
                    for b in range(rows):
                        label = (<int32_t *>buffer.buf)[b] if buffer.itemsize == 4 else (<int64_t *>buffer.buf)[b]
                        ok = ok and 0 <= label < n
                        # A step gathers labels from here as from any array of them: in place is as good.
                        head.label[b] = <int32_t>label
                    target[0] = self._own_rows(head.label, 1)
                    target.row_bytes = sizeof(int32_t)
                    head.labels, head.mixed, head.gaps = True, False, False
            elif head.loss == NN_SQUARED_ERROR or head.loss == NN_ABSOLUTE_ERROR or head.loss == NN_HUBER:
                ok = (buffer.ndim == 2 and buffer.shape[1] == n and buffer.itemsize == self.k.real_size
                      and (buffer.format[0] == c"f" or buffer.format[0] == c"d")
                      and self.k.absolute_maximum(rows * n, buffer.buf) < INFINITY)
                target[0] = self._own_rows(buffer.buf, n)
                head.labels = head.mixed = head.gaps = False
        PyBuffer_Release(&buffer)
        return ok

    cdef Source _own_rows(self, const void *data, Py_ssize_t n) noexcept:
        """Rows of n numbers in the network's precision."""
        cdef Source source
        source.data = <const char *>data
        source.row_bytes = n * self.k.real_size
        source.kind = NN_FROM_FLOAT32 if self.k.real_size == 4 else NN_FROM_FLOAT64
        source.sparse = NULL
        return source

    def _addresses(self, arrays):
        held = bytearray(len(arrays) * sizeof(char *))
        for i, array in enumerate(arrays):
            (<char **>address(held, True))[<Py_ssize_t>i] = address(array, True)
        return held

    def per_sample_loss(self, xs, ys, Py_ssize_t batch_size):
        """Each row's loss, float64, without penalties."""
        losses = empty(len(xs[0]))
        self._enter()
        try:
            self._start(self.evaluation, len(xs[0]), batch_size, True)
            inputs, targets = self._input_sources(xs), self._labels(ys)
            self.job.targets = <Source *>address(targets, True)
            self.job.sample_losses = <double *>address(losses, True)
            self._launch()
        finally:
            self._leave()
        return losses

    def gradients(self, xs, ys, sample_weight, bint training=False, seed=0):
        """Loss and its gradient for every parameter, all rows as one batch. Frozen parameters have zeros."""
        self._enter()
        try:
            self._start(self.training_program, len(xs[0]), len(xs[0]), True)
            self.job.training = training
            self.job.seed = <uint64_t>(seed & 0xFFFFFFFFFFFFFFFF)
            inputs, targets = self._input_sources(xs), self._labels(ys)
            self.job.targets = <Source *>address(targets, True)
            self._weigh(sample_weight)
            self._launch()
            loss = self.job.loss_total / self.job.weight_total if self.job.weight_total else 0.0
            return loss, [self._read(1, i) for i in range(self.n_parameters)]
        finally:
            self._leave()

    def input_gradient(self, xs, ys, Py_ssize_t batch_size):
        """Row i: the gradient of sample i's own loss with respect to its input."""
        gradients = [empty(x.shape, self.dtype) for x in xs]
        self._enter()
        try:
            self._start(self.training_program, len(xs[0]), batch_size, True, True)
            self.job.scale = 1
            inputs, targets, results = self._input_sources(xs), self._labels(ys), self._addresses(gradients)
            self.job.targets = <Source *>address(targets, True)
            self.job.input_gradients = <char **>address(results, True)
            self._launch()
        finally:
            self._leave()
        return gradients

    def vjp(self, xs, dys, bint training=False, seed=0):
        """Gradients of sum(dy * y) for parameters and inputs, all rows as one batch; penalties play no part."""
        gradients = [empty(x.shape, self.dtype) for x in xs]
        self._enter()
        try:
            self._start(self.backward_program, len(xs[0]), len(xs[0]), False, True)
            self.job.training = training
            self.job.seed = <uint64_t>(seed & 0xFFFFFFFFFFFFFFFF)
            inputs, targets, results = self._input_sources(xs), self._sources(dys), self._addresses(gradients)
            self.job.targets = <Source *>address(targets, True)
            self.job.input_gradients = <char **>address(results, True)
            self._launch()
            return [self._read(1, i) for i in range(self.n_parameters)], gradients
        finally:
            self._leave()

    def apply_gradients(self, grads, double lr):
        """One optimizer step with given gradients; True if their norm is fit for it, else nothing happened."""
        cdef nn_update update
        cdef Status status
        cdef Py_ssize_t i
        cdef uint64_t mode
        self._enter()
        try:
            for i, grad in enumerate(grads):
                self._write(1, i, grad)
            update = self.update
            with nogil:
                mode = nn_flush_subnormals()
                begin_step(&update, self.iterations, lr)
                status = self._measure(&update, 0, 1)
                if status == OK:
                    self._apply_all(&update, 0, 1)
                    self.iterations += 1
                nn_restore_subnormals(mode)
            return status == OK
        finally:
            self._leave()

    # ---------------------------------------------------------------- description

    @property
    def arena_bytes(self):
        """Memory for the batches so far."""
        return self.training_arena.size + self.inference_arena.size + self.head_arena.size

    @property
    def n_threads(self):
        """Threads a large step may use; smaller ones take fewer unless the number was fixed."""
        return resolve_threads(self.n_threads_wanted)

    def memory(self, batch, inference=False):
        """Bytes for the values of a batch, their gradients and what goes with them."""
        return (self.inference_arena if inference else self.training_arena).bytes_for(batch)

    def default_batch(self, most, inference=True):
        """Samples in a pass where nobody named a number: fewer than `most` if they would take much memory, but one for
        each thread."""
        return min(most, max(self.n_threads, MUCH_MEMORY // self.memory(1, inference)))

    def describe(self, bint inference=False):
        """The nodes as they run: the layers in each and the values that these make, its operation, output shape, what was
        fused, arithmetic operations of a sample, and what its buffers hold, with bytes of a sample (some share memory)."""
        cdef Py_ssize_t i
        cdef Arena arena = self.inference_arena if inference else self.training_arena
        rows = []
        for i in range(self.n_nodes, self.n_all_nodes) if inference else range(self.n_nodes):
            spec = self.node_specs[i]
            rows.append({"name": spec["name"], "members": list(spec["members"]), "made": list(spec["made"]),
                         "op": spec["op"], "shape": self.value_shapes[<Py_ssize_t>spec["output"]], "flops": spec["flops"],
                         "fused": " + ".join(spec["fused"] + ["loss"] * (self.nodes[i].fused and not inference)),
                         "buffers": arena.held(i)})
        return rows

    def segments(self, Py_ssize_t batch):
        """{name of a convolution: segments of such a batch} for kernels whose gradients are made by segments."""
        cdef Py_ssize_t i
        counts = [(i, self.nodes[i].segments(&self.nodes[i], batch)) for i in range(self.n_nodes)
                  if self.nodes[i].segments != NULL]
        return {self.node_specs[i]["name"]: count for i, count in counts if count > 1}

    def shares(self, Py_ssize_t batch, int team):
        """For each of so many threads {parameter: numbers of it whose gradient and update are the thread's}."""
        cdef Py_ssize_t i
        cdef int tid
        cdef const Tile *tile
        self.tiling.choose(batch)
        shares = []
        for tid in range(team):
            share = {}
            for i in range(self.tiling.border(tid, team), self.tiling.border(tid + 1, team)):
                tile = &self.tiling.deal.tiles[i]
                name = self.parameter_specs[tile.parameter - self.parameters]["name"]
                share[name] = share.get(name, 0) + piece_start(tile, pieces(tile))
            shares.append(share)
        return shares

    def stages(self, program):
        """What threads do, in order: whose shares they take, and a list of (what, node or output). "samples": each walks
        through the list with all of its own; "4 samples": with four at a time. Between other stages is a barrier."""
        stages = []
        barrier = True
        for by, what, name in self._steps(program):
            if by is not None and (barrier or stages[len(stages) - 1][0] != by):
                stages.append((by, []))
            if by is not None:
                stages[len(stages) - 1][1].append((what, name))
            barrier = by is None
        if program == "training" and self.tiling.n:
            trained = [("gradient and update", spec["name"]) for spec in self.parameter_specs if spec["trainable"]]
            stages.append(("tiles of parameters", trained))
        return stages

    def _steps(self, program):
        """(by, what, name of a node or an output) one after another; by is None for a barrier."""
        nodes = [spec["name"] for spec in self.node_specs]
        barrier = (None, None, None)
        steps = []
        for action, at, samples in self.actions[program]:
            if action in (BARRIER, LEAVE):
                steps.append(barrier)
            elif action in (LOSS, PYTHON_LOSS):
                steps.append((*ACTIONS[action], self.output_names[at]))
            elif not (action in (AFTER_FORWARD, BEFORE_BACKWARD) and program in ("training", "evaluation")
                      and self.nodes[<Py_ssize_t>at].fused):        # the loss's part
                by, what = OPERATIONS.get((self.node_specs[at]["op"], action)) or ACTIONS[action]
                if samples:
                    by = "single samples" if samples == 1 else f"{samples} samples"
                steps.append((by, what, nodes[at]))
        return [*steps, barrier]
