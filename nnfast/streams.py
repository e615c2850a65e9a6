"""Data that are read while training: larger than memory, or made on the way.

===============================  ==================================================================================
np.memmap (np.load(mmap_mode=))  rows are read by index, block by block; what has been read is let go of again
__len__ and __getitem__          a data set of samples (x, y) or (x, y, weight), a PyTorch Dataset for one
iterable of batches              of (x, y) or (x, y, weight), a PyTorch DataLoader for one; or a function that returns a
                                 new generator of them for each epoch, which ends where the epoch does: of an endless
                                 one take itertools.islice(batches(), 100)
===============================  ==================================================================================

A thread reads the next block while the plan trains on this one. The order of the samples is that of arrays in memory,
so the weights are the same, bit for bit (dropout aside, whose masks are keyed by the place in the block).
"""

import contextlib
import itertools
import re
import threading
import time
from collections.abc import Mapping

import numpy as np

from ._core.plan import shuffle as permute
from .arrays import as_numbers, check_shape, per_name
from .sparse_rows import SparseRows
from .totals import add_totals

#: bytes of a block of rows: small beside memory, large beside a call
BLOCK_BYTES = 8 << 20
#: blocks read ahead
AHEAD = 2
#: seconds that the end of training waits for what is being read; the thread then ends by itself
LAST_READ = 1.0
#: seconds from one report of progress to the next
INTERVAL = 0.1


def is_stream(x):
    """Whether `x` is read while training, and not an array, a sparse matrix, a frame, or a list or dict of them."""
    if isinstance(x, np.memmap):
        return True
    if isinstance(x, (np.ndarray, list, tuple, Mapping, str, bytes, set)) or hasattr(x, "__array__"):
        return False
    if hasattr(x, "tocsr") or hasattr(x, "columns") or hasattr(x, "__dataframe__") or hasattr(x, "__array_interface__"):
        return False
    return callable(x) or hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def open_stream(model, x, y=None, sample_weight=None, class_weight=None, call="fit"):
    """The stream for data that `is_stream` knows; builds a model whose input shape is not known from its first rows."""
    if isinstance(x, np.memmap):
        return ArrayRows(model, x, y, sample_weight, class_weight, call)
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(f"{call}: {type(x).__name__} gives its targets and weights itself, as (x, y) or "
                             f"(x, y, weight); leave {name} out")
    if class_weight == "balanced":
        raise ValueError(f'{call}: class_weight="balanced" needs all labels before training; give a dict')
    if hasattr(x, "__getitem__") and hasattr(x, "__len__"):
        return Samples(model, x, class_weight, call)
    return Batches(model, x, class_weight, call)


class Stream:
    """Base: a subclass defines `blocks`.

    class_factors are those of `nnfast.arrays.weigh_classes` for pixels, known when the first block is. Errors about the
    data begin with `name`, where they have one.
    """

    class_factors = None
    name = None

    def blocks(self, order, rows):
        """Checked (xs, ys, weight), block by block: rows of `order`, or of all in their order."""
        raise NotImplementedError

    def check(self, x, y, weight):
        """Checked arrays of a block, class weights included."""
        model = self.model
        xs, n = model._inputs(x)
        ys = model._targets(y, n)
        weight, self.class_factors = model._weigh_classes(self.class_weight, model._weights(weight, n), ys)
        return xs, ys, weight

    def own_weight(self):
        """The weights of all rows, None where there are none or they are not known before the rows are read."""
        return None

    def train_epoch(self, plan, order, batch_size, progress, run, recipe):
        """An epoch, or what is left of it at `run.position`; the totals."""
        model = self.model
        objective, position = model._objective, run.position
        step, sums, reported = position.step, position.totals, time.monotonic()
        counted = step > 0       # what came before may have had weights
        interval = run.batch_interval
        rows = batch_size if interval else self.block_rows(batch_size)
        if step:
            order = (np.arange(self.n) if order is None else order)[step * batch_size:]
        with contextlib.closing(Ahead(self.blocks(order, rows), model)) as blocks:
            for xs, ys, weight in blocks:
                counted = counted or any_counts(weight)
                size = min(batch_size or len(xs[0]), len(xs[0]))
                count = -(-len(xs[0]) // size)
                rates = model._settings.optimizer.learning_rates(plan.iterations, count)
                totals = plan.train_epoch(xs, ys, weight, None, size, rates, model.seed, 0, count, None, recipe,
                                          self.class_factors)
                sums = add_totals(sums, totals | {"step": step + totals["steps"]})
                if totals["status"] != "ok":
                    return sums
                step += count
                if interval:
                    from .callbacks import Position

                    run.position = Position(position.epoch, step, sums)
                    run.on_batch_end(step - 1, objective.figures(sums))
                    plan = model._plan_for(objective)
                if progress is not None and time.monotonic() - reported > INTERVAL:
                    progress(step, sums)
                    reported = time.monotonic()
        if sums is None:
            raise ValueError("fit: the data gave no batch in this epoch; a generator is used up after one pass: give a "
                             "function that returns a new one, fit(lambda: batches(), epochs=...)")
        check_total(sums, counted, "fit")
        run.params["steps"] = step
        return sums

    def evaluate(self, plan, batch_size):
        """Totals over all rows."""
        sums, counted, blocks = None, False, Ahead(self.blocks(None, self.block_rows(batch_size)), self.model)
        with naming(self.name), contextlib.closing(blocks):
            for xs, ys, weight in blocks:
                counted = counted or any_counts(weight)
                sums = add_totals(sums, plan.evaluate(xs, ys, weight, min(batch_size, len(xs[0]))))
            if sums is None:
                raise ValueError("evaluate: the data gave no batch; a generator is used up after one pass")
            check_total(sums, counted, "evaluate")
        return sums

    def block_rows(self, batch_size):
        """Rows to read at once: whole batches."""
        return batch_size


class Rows(Stream):
    """Data whose rows can be read in any order; `n` of them from `first` on."""

    first = 0

    def split(self, rows):
        """Two streams: all but the last `rows`, and those."""
        parts = []
        for first, n in ((self.first, self.n - rows), (self.first + self.n - rows, rows)):
            part = object.__new__(type(self))
            part.__dict__.update(self.__dict__, first=first, n=n)
            parts.append(part)
        parts[1].class_weight = None    # class weights say what to learn, not how good it is
        return parts

    def blocks(self, order, rows):
        for start in range(0, self.n if order is None else len(order), rows):
            if order is None:
                index = np.arange(start, min(start + rows, self.n))
            else:
                index = order[start:start + rows]
            yield self.read(index + self.first)

    def block_order(self, batch_size, seed, epoch):
        """An order in which rows side by side are read together: runs of them at random, mixed within a block."""
        natural, rows = np.arange(self.n), self.block_rows(batch_size)
        run = max(1, rows // 64)
        starts = np.arange(0, len(natural), run)
        permute(starts, seed, epoch)
        order = np.concatenate([natural[start:start + run] for start in starts])
        for i, start in enumerate(range(0, len(order), rows)):
            part = order[start:start + rows].copy()
            permute(part, seed + i + 1, epoch)
            order[start:start + rows] = part
        return order

    def signature(self, batch_size, shuffle):
        """What tells this data and call of `fit` from others, for checkpoints."""
        from .checkpoint import signature

        xs, ys, weight = self.read(self.first + np.linspace(0, self.n - 1, min(self.n, 64)).astype(np.intp))
        return signature(xs, ys, weight, batch_size, shuffle) | {"samples": self.n}


class ArrayRows(Rows):
    """A memory map, with its targets in memory."""

    def __init__(self, model, x, y, sample_weight, class_weight, call):
        self.model = model
        self.x = x
        if x.ndim == 0 or len(getattr(x, "shape", ())) == 0 or x.shape[0] == 0:
            raise ValueError(f"{call}: empty data, shape {x.shape}")
        self.n = x.shape[0]
        self.row_bytes = max(1, int(np.prod(x.shape[1:])) * max(x.dtype.itemsize, 4))
        self.class_weight = class_weight
        model._build_from(self.take(np.arange(1)))
        graph = model._graph
        per_name(x, graph.input_names, "x")     # there is one
        check_shape(x.shape, graph.input_data_shapes[0], f"model input {graph.input_names[0]!r}", graph.data_format)
        self.targets = self.weight = None
        if call == "predict":
            return
        if y is None:
            raise ValueError(f"{call}: y is missing")
        self.targets = model._targets(y, self.n)
        self.plain = model._weights(sample_weight, self.n)
        self._weigh()

    def _weigh(self):
        """Weights with those of the classes."""
        rows = slice(self.first + self.n)
        self.weight, self.class_factors = self.model._weigh_classes(
            self.class_weight, None if self.plain is None else self.plain[rows],
            [target[rows] for target in self.targets])

    def split(self, rows):
        parts = super().split(rows)
        for part in parts:      # of the rows that are trained with, if they are to be balanced
            part._weigh()
        return parts

    def own_weight(self):
        return None if self.weight is None else self.weight[self.first:self.first + self.n]

    def block_rows(self, batch_size):
        return batch_size * max(1, BLOCK_BYTES // (self.row_bytes * batch_size))

    def take(self, index):
        """Rows as an array of their own."""
        import mmap  # here, because few need it

        rows = np.asarray(self.x)[index]
        mapped = getattr(self.x, "_mmap", None)
        # What has been read would count as this process's memory until the system needs it. Writes to a private map
        # would be lost.
        if mapped is not None and self.x.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
        return rows

    def read(self, index):
        rows = self.take(index)
        with naming_rows(index):
            xs, _ = self.model._inputs(rows)
        weight = None if self.weight is None else self.weight[index]
        return xs, [y[index] for y in self.targets], weight


class Samples(Rows):
    """A data set of single samples."""

    def __init__(self, model, data, class_weight, call):
        self.model, self.data, self.class_weight, self.call = model, data, class_weight, call
        self.n = len(data)
        if self.n == 0:
            raise ValueError(f"{call}: {type(data).__name__} is empty")
        self.read(np.arange(1))     # what does not fit the model is known before anything is trained

    def collect(self, index):
        """x, y and weights of samples, stacked."""
        graph = self.model._graph
        counts = (1, 1, 1) if graph is None else (len(graph.input_names), len(graph.output_names), 1)
        stacks, kind = [Stack(len(index), n) for n in counts], type(self.data).__name__
        for i in index.tolist():
            sample = parts(self.data[i], self.call, f"sample {i} of {kind}")
            if sample[2] is None and stacks[2].array is not None:
                raise ValueError(f"some samples of one batch have weights, others have none (number {stacks[2].count})")
            for stack, value in zip(stacks, sample):
                stack.add(value)
        return [stack.result() for stack in stacks]

    def read(self, index):
        with noting(f"in a batch of samples {index[0]}, ... of {type(self.data).__name__}"):
            samples = self.collect(index)
            if not self.model.built:
                self.model._build_from(samples[0])
            with naming_rows(index):
                return self.check(*samples)


class Batches(Stream):
    """An iterable of batches, or a function that returns one."""

    def __init__(self, model, data, class_weight, call):
        self.model, self.data, self.class_weight, self.call = model, data, class_weight, call
        self.n = None
        self.steps = 0      # an epoch has as many, or nobody knows
        with contextlib.suppress(TypeError, NotImplementedError):       # DataLoaders have a __len__ that may raise them
            self.steps = len(data)
        self.pending = None
        if not model.built:
            iterator = self.start()
            first = next(iterator, None)
            if first is None:
                raise ValueError(f"{call}: {type(data).__name__} gave no batch")
            model._build_from(parts(first, call, "batch 0")[0])
            # A generator cannot begin again: the batch that was looked at comes first.
            self.pending = itertools.chain([first], iterator)

    def start(self):
        data = self.data() if callable(self.data) and not hasattr(self.data, "__iter__") else self.data
        if not hasattr(data, "__iter__"):
            raise TypeError(f"{self.call}: expected an iterable of batches (x, y), got {type(data).__name__}")
        return iter(data)

    def signature(self, batch_size, shuffle):
        raise ValueError("fit: batches from a generator cannot be found again, so there are no checkpoints of them; "
                         "give an array, a memory map or a data set with __len__ and __getitem__")

    def blocks(self, order, rows):
        iterator, self.pending = self.pending or self.start(), None
        for i, batch in enumerate(iterator):
            with noting(f"in batch {i}, counted from 0"):
                checked = self.check(*parts(batch, self.call, f"batch {i}"))
            # While this one waits, a generator may write the next into the arrays that it gave.
            yield owned(checked)


def check_stream(stream, batch_size, shuffle, validation_split, solver):
    """What `fit` was asked for must fit the data."""
    if solver is not None:
        raise ValueError("fit: a solver sees all samples in every step, so it needs them in memory: an array")
    if stream.n is None:
        if batch_size is not None:
            raise ValueError("fit: the batches come as the data gives them; leave batch_size out")
        if shuffle:
            raise ValueError("fit: the batches come in the order in which the data gives them; leave shuffle out, and "
                             "shuffle where they are made")


@contextlib.contextmanager
def naming(data):
    """An error about data begins with their name, if they have one."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if data is not None and len(error.args) == 1 and isinstance(error.args[0], str):    # else it is the user's own
            error.args = (f"{data}: {error}",)
        raise


@contextlib.contextmanager
def noting(place):
    """An error, also one of the user's own, has a note that says where in the data it came up."""
    try:
        yield
    except Exception as error:
        error.add_note(place)
        raise


@contextlib.contextmanager
def naming_rows(index):
    """An error about a row of a block that holds the rows `index` of the data names the row of the data."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.args = (re.sub(r"\brow (\d+)", lambda row: f"row {index[int(row[1])]}", str(error)),)
        raise


def any_counts(weight):
    """Whether a sample or pixel of a block does."""
    return weight is None or bool(weight.any())


def check_total(sums, counted, call):
    """Data in which no sample or pixel counts say nothing; not all weights are known before they are read."""
    if sums["weight"] == 0 or not counted:
        raise ValueError(f"{call}: sample_weight: all weights are zero")


def parts(item, call, what):
    """(x, y, weight) of what a data set gave."""
    if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
        got = f"{len(item)} things" if isinstance(item, (tuple, list)) else type(item).__name__
        raise TypeError(f"{call}: {what} must be (x, y) or (x, y, weight), got {got}")
    return (*item, None) if len(item) == 2 else tuple(item)


class Stack:
    """One array of the values of `size` samples; where there are `n` inputs or outputs a list or dict of arrays.

    Each value is copied when it comes: a data set may use the array that it gave for its next sample.
    """

    def __init__(self, size, n):
        self.size, self.n = size, n
        self.count = 0
        self.parts = self.array = self.shape = self.dtype = None

    def add(self, value):
        if self.count == 0:
            self._begin(value)
        if self.array is not None:
            a = np.asarray(value)
            if a.shape != self.shape:
                raise ValueError(f"samples of one batch have different shapes, {self.shape} and {a.shape} "
                                 f"(number {self.count})")
            if a.dtype is not self.dtype:
                self._hold(np.result_type(a.dtype, self.dtype))
            self.array[self.count] = a
        elif self.parts is not None:
            for name, part in self.parts.items():
                part.add(value[name])
        elif value is not None:
            raise ValueError(f"some samples of one batch have weights, others have none (number {self.count - 1})")
        self.count += 1

    def _begin(self, first):
        """What the first value is, the others are, too; None: no weights."""
        if self.n > 1 and isinstance(first, (tuple, list)) and len(first) == self.n:
            self.parts = {i: Stack(self.size, 1) for i in range(self.n)}
        elif isinstance(first, Mapping):
            self.parts = {name: Stack(self.size, 1) for name in first}
        elif first is not None:
            a = np.asarray(first)
            self.shape, self.array = a.shape, np.empty((self.size, *a.shape), a.dtype)
            self._hold(a.dtype)

    def _hold(self, dtype):
        self.array = self.array.astype(dtype, copy=False)
        self.dtype = self.array.dtype

    def result(self):
        if self.parts is None:
            return self.array
        arrays = {name: part.result() for name, part in self.parts.items()}
        return list(arrays.values()) if 0 in arrays else arrays


def predict(model, x, batch_size):
    """Outputs for a memory map, a data set or batches, of which y is not looked at."""
    results = []
    if isinstance(x, np.memmap):
        rows = ArrayRows(model, x, None, None, None, "predict")
        size = rows.block_rows(batch_size)
        inputs = (rows.take(np.arange(i, min(i + size, rows.n))) for i in range(0, rows.n, size))
    elif hasattr(x, "__getitem__") and hasattr(x, "__len__"):
        size = batch_size
        inputs = (stacked_x(model, x, range(i, min(i + size, len(x)))) for i in range(0, len(x), size))
    else:
        size = None
        axes = len(model.input_shapes[0]) + 1 if model.built else 1
        inputs = (owned(only_x(batch, axes)) for batch in (x() if callable(x) and not hasattr(x, "__iter__") else x))
    with contextlib.closing(Ahead(inputs)) as blocks:
        for i, block in enumerate(blocks):
            with naming_rows(range(i * size, (i + 1) * size)) if size else noting(f"in batch {i}, counted from 0"):
                whole = isinstance(block, (list, Mapping)) or hasattr(block, "tocsr")
                outputs = model.predict(block if whole else as_numbers(block, "x"), batch_size)
            results.append(outputs if isinstance(outputs, list) else [outputs])
    if not results:
        raise ValueError("predict: the data gave no batch")
    results = [np.concatenate(outputs) for outputs in zip(*results)]
    return results[0] if len(results) == 1 else results


def stacked_x(model, data, index):
    """x of samples, stacked."""
    stack = Stack(len(index), len(model.input_names) if model.built else 1)
    with noting(f"in a batch of samples {index[0]}, ... of {type(data).__name__}"):
        for i in index:
            stack.add(only_x(data[i]))
    return stack.result()


def owned(value):
    """Arrays and sparse matrices as copies, also within lists, tuples and dicts."""
    if isinstance(value, SparseRows) or hasattr(value, "tocsr"):
        return value.copy()
    if isinstance(value, (list, tuple)):
        return type(value)(map(owned, value)) if type(value) in (list, tuple) else list(map(owned, value))
    if isinstance(value, Mapping):
        return {name: owned(part) for name, part in value.items()}
    if not hasattr(value, "__array__"):
        return value
    try:
        return np.asarray(value).copy()
    except Exception:       # of tensors that NumPy cannot read: `as_numbers` will say so
        return value


def only_x(item, axes=1):
    """x of what a data set gave: of (x,), (x, y) or (x, y, weight), or all of it. A list is x itself if what is in it
    has fewer axes than x: numbers of a sample, or rows of a batch."""
    if not isinstance(item, (tuple, list)) or not 1 <= len(item) <= 3 or isinstance(item[0], (int, float, np.number)):
        return item
    # A loader makes a list of the arrays in (x,); a list of one list is an array of one row.
    one_row = len(item) == 1 and isinstance(item[0], list)
    return item if isinstance(item, list) and (one_row or np.ndim(item[0]) < axes) else item[0]


class Ahead:
    """Iterate in a thread of its own, a few items ahead. `close` lets the thread end, at its next item. model: its
    interruption, from another thread than that which iterates, ends the wait for an item."""

    def __init__(self, items, model=None):
        from queue import Queue  # here, because few need it

        self.items, self.model = items, model
        self.queue = Queue(AHEAD)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name="nnfast-reader", daemon=True)

    def _run(self):
        try:
            for item in self.items:
                if not self._put((item, None)):
                    return
            self._put((None, None))
        except BaseException as error:
            self._put((None, error))
        finally:
            if hasattr(self.items, "close"):
                self.items.close()

    def _put(self, item):
        from queue import Full

        while not self.ended.is_set():
            with contextlib.suppress(Full):
                self.queue.put(item, timeout=0.05)
                return True
        return False

    def __iter__(self):
        from queue import Empty

        self.thread.start()
        while True:
            if self.model is not None and self.model._interrupted:
                raise KeyboardInterrupt
            try:
                item, error = self.queue.get(timeout=0.1)
            except Empty:
                continue
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def close(self):
        self.ended.set()
        if self.thread.ident is not None:
            self.thread.join(LAST_READ)
