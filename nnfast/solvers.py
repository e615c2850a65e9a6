"""Training by a solver that sees all data in every step: ``model.fit(x, y, solver="lbfgs")``.

For problems with few parameters and a smooth loss, regressions above all: a hundred iterations reach the minimum to
eight digits. Loss and gradient come from the compiled plan, the steps from SciPy.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np

from .configurable import Configurable, Registry, integer, number
from .layers import Dense
from .sparse_rows import SparseRows
from .totals import training_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from .typing import Array, SolverLike

__all__ = ["LBFGS", "Solver", "get"]

#: iterations where the user names no number
MOST_ITERATIONS = 1000

# A search that ends because float64 cannot tell the losses apart has arrived if the gradient is this small (times that
# of the start, or the root of the loss, where they are above 1): at a minimum rounding hides gradients up to about
# sqrt(eps) = 1.5e-8. Columns of unequal size have units of their own, else the large ones would hide the others.
ROUNDING = 1e-6
# Of losses whose unit is so large: a tolerance that is not in proportion would be met before the first step.
SMALL_GRADIENT = 1e-3
#: ratio of the columns of a table from which on their weights are searched for in units of their own
UNEQUAL_COLUMNS = 1024
#: powers of two; a column that is smaller than all of them hardly counts
LARGEST_UNIT = 40


class Solver(Configurable):
    """Base: a subclass defines `minimize`.

    >>> import nnfast as nf
    >>> isinstance(nf.solvers.get("lbfgs"), nf.solvers.Solver)
    True
    """

    def minimize(self, function: Callable[[Array], tuple[float, Array]], x0: Array, low: Array, max_iterations: int,
                 after_iteration: Callable[[Array], bool]) -> tuple[bool, str]:
        """Minimise a function.

        Parameters
        ----------
        function : callable
            ``function(x) -> (value, gradient)``.
        x0 : float64 array
        low : float64 array
            Lower bounds, -inf where there is none.
        max_iterations : int
        after_iteration : callable
            ``after_iteration(x)`` after every iteration; returning True ends the search.

        Returns
        -------
        converged : bool
        message : str
        """
        raise NotImplementedError(f"{type(self).__name__} does not define minimize")


class LBFGS(Solver):
    """L-BFGS (Liu and Nocedal 1989) with lower bounds (Byrd, Lu, Nocedal, Zhu 1995), by SciPy.

    The last bits of its steps, unlike nnfast's own, may depend on the threads of SciPy's BLAS library.

    Parameters
    ----------
    tolerance : float
        Largest entry of the gradient at which the search ends; smaller in proportion where it starts with less than
        0.001. Where a dense layer reads columns that differ by more than a factor of 1,000 it is the gradient for
        columns of size 1.
    memory : int
        Past steps from which the curvature is estimated.
    max_evaluations : int, optional
        The search ends after the iteration in which loss and gradient have been computed more often than this.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.models.linear_regression(1, dtype="float64")
    >>> history = model.fit([[0.0], [1.0]], [[1.0], [3.0]], solver=nf.solvers.LBFGS(tolerance=1e-12), verbose=0)
    >>> history.converged, model.predict([[2.0]]).round(6)
    (True, array([[5.]]))
    """

    def __init__(self, tolerance: float = 1e-9, memory: int = 20, max_evaluations: int | None = None) -> None:
        self.tolerance = number("LBFGS", "tolerance", tolerance, above=0)
        self.memory = integer("LBFGS", "memory", memory, at_least=1)
        if max_evaluations is not None:
            max_evaluations = integer("LBFGS", "max_evaluations", max_evaluations, at_least=1)
        self.max_evaluations = max_evaluations

    def minimize(self, function: Callable[[Array], tuple[float, Array]], x0: Array, low: Array, max_iterations: int,
                 after_iteration: Callable[[Array], bool]) -> tuple[bool, str]:
        try:
            from scipy.optimize import minimize
        except ImportError:
            raise ImportError("fit: solver='lbfgs' needs SciPy; pip install 'nnfast[scipy]'") from None

        def callback(intermediate_result):      # SciPy goes by this name
            if after_iteration(intermediate_result.x):
                raise StopIteration

        def largest(x, gradient):       # entry that does not only lead out of the bounds
            return float(np.abs(x - np.maximum(x - gradient, low)).max(initial=0.0))

        known = [function(x0)]

        def value_and_gradient(x):      # SciPy begins at x0, too
            return known.pop() if known else function(x)

        first = largest(x0, known[0][1])
        tolerance = self.tolerance * min(1.0, first / SMALL_GRADIENT)
        bounded = np.isfinite(low).any()
        iterations_left, evaluations_left = max_iterations, self.max_evaluations or 10**9
        while True:
            before = known[0][0]
            result = minimize(
                value_and_gradient, x0, jac=True, method="L-BFGS-B", callback=callback,
                bounds=np.stack([low, np.full_like(low, np.inf)], axis=1) if bounded else None,
                options={"maxiter": iterations_left, "maxfun": evaluations_left, "maxcor": self.memory,
                         "gtol": tolerance, "ftol": 0.0},
            )
            gradient, message = largest(result.x, result.jac), str(result.message).strip()
            if "CALLBACK" in message.upper():
                return False, "a callback ended the search"
            if gradient <= tolerance:       # which rounding may end, too
                return True, message
            if "LIMIT" in message:
                return False, message
            iterations_left, evaluations_left = iterations_left - result.nit, evaluations_left - result.nfev
            # At a bound a step of no length may end the search far from the minimum: what was known of the curvature
            # led there, and without it the search goes on.
            small = gradient <= ROUNDING * max(1.0, first, math.sqrt(abs(result.fun)))
            if small or not bounded or not result.fun < before or min(iterations_left, evaluations_left) <= 0:
                return small, f"the loss falls no further in float64; largest entry of the gradient {gradient:.2g}"
            x0, known = result.x, [(result.fun, result.jac)]


REGISTRY = Registry("solver", Solver, {"lbfgs": LBFGS})


def get(identifier: SolverLike) -> Solver:
    """Return the solver for a name, an instance, a class or a configuration.

    >>> import nnfast as nf
    >>> nf.solvers.get("lbfgs")
    LBFGS(tolerance=1e-09)
    """
    return REGISTRY.get(identifier)


class FullBatch:
    """A model's loss over all of its data as a function of one flat vector, for a `Solver`.

    An L1 penalty has a kink at 0, where a gradient says nothing about the other side. A kernel with one is written as
    w = u - v with u, v >= 0, and l1 * sum |w| as l1 * sum (u + v), which is smooth, and equal to it at the minimum,
    where of each pair one is 0. So weights become exactly 0.

    Columns of an input that differ by orders of magnitude would bend the loss as differently: their weights, where a
    dense layer reads them, are searched for in units of 1 / the column's size, a power of two.

    Parameters
    ----------
    model : Model
        In float64, compiled; its trainable parameters are changed by `set`.
    xs, ys : list of array
    weight : array or None
        As `Model._data` returns them.
    """

    def __init__(self, model, xs, ys, weight):
        self.plan = model._require_plan()
        ys = [y if y.dtype.kind in "iu" else y.astype(np.float64, copy=False) for y in ys]
        self.data = xs, ys, None if weight is None else weight.astype(np.float64, copy=False)
        graph = model._graph
        specs = graph.plan_spec(model._dtype, model.seed, model._settings.regularizer)["parameters"]
        self.trained = [i for i, spec in enumerate(specs) if spec["trainable"]]
        if not self.trained:
            raise ValueError("fit: solver: all layers are frozen, there is nothing to train")
        self.shapes = [specs[i]["shape"] for i in self.trained]
        self.ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        l1 = np.concatenate([np.full(math.prod(shape), specs[i]["l1"]) for i, shape in zip(self.trained, self.shapes)])
        self.units = self._flat([np.broadcast_to(unit, shape)
                                 for unit, shape in zip(self._units_of(graph, xs, specs), self.shapes)])
        self.split = np.flatnonzero(l1)
        self.l1 = (l1 * self.units)[self.split]
        self.low = np.full(len(l1) + len(self.split), -np.inf)
        self.low[self.split] = self.low[len(l1):] = 0.0

    def _units_of(self, graph, xs, specs):
        """Of each trained parameter that an input's columns meet the units of its rows, of others 1."""
        units = dict.fromkeys(self.trained, 1.0)
        for node in graph.nodes:
            kernel = node.parameters.get("kernel")
            if not isinstance(node.layer, Dense) or node.inputs[0] >= len(xs) or kernel not in units:
                continue
            x = xs[node.inputs[0]]
            if isinstance(x, SparseRows):
                sizes = x.column_sizes()
            else:
                sizes = np.maximum(x.max(axis=0).astype(np.float64), -x.min(axis=0).astype(np.float64))
            sizes = np.hypot(sizes, math.sqrt(specs[kernel]["l2"]))    # the penalty bends the loss, too
            sizes = np.where(sizes > 0, sizes, 1.0)
            if x.ndim == 2 and sizes.max() > UNEQUAL_COLUMNS * sizes.min():
                units[kernel] = np.exp2(-np.round(np.log2(sizes)).clip(-LARGEST_UNIT, LARGEST_UNIT))[:, None]
        return units.values()

    def start(self):
        """The vector of the weights as they are."""
        weights = self.plan.read_parameters()
        w = self._flat([weights[i] for i in self.trained]) / self.units
        v = np.maximum(-w[self.split], 0.0)
        w[self.split] = np.maximum(w[self.split], 0.0)
        return np.concatenate([w, v])

    def set(self, x):
        """Give the model the weights of a vector; returns them as one flat array."""
        n = self.ends[-1]
        w = x[:n].copy()
        w[self.split] -= x[n:]
        w *= self.units
        parts = np.split(w, self.ends[:-1])
        self.plan.write_parameters({i: part.reshape(shape) for i, part, shape in zip(self.trained, parts, self.shapes)})
        return w

    def __call__(self, x):
        """(loss, gradient) at a vector."""
        n = self.ends[-1]
        w = self.set(x)
        loss, grads = self.plan.gradients(*self.data)
        gradient = np.zeros_like(x)
        gradient[:n] = self._flat([grads[i] for i in self.trained]) * self.units
        # The plan's loss and gradient hold the penalty of u - v; here belongs that of u + v.
        at, own = self.split, (w / self.units)[self.split]
        smooth = gradient[at] - self.l1 * np.sign(own)
        gradient[at], gradient[n:] = smooth + self.l1, -smooth + self.l1
        return loss + self.l1 @ (x[at] + x[n:] - np.abs(own)), gradient

    def _flat(self, arrays):
        return np.concatenate([np.ravel(array) for array in arrays])


def check_options(layers, callbacks, batch_size, shuffle, initial_epoch, n):
    """What belongs to training in mini-batches has no meaning here."""
    for callback in callbacks:
        if getattr(callback, "wants_batches", False):
            raise ValueError(f"fit: {type(callback).__name__} wants to see every batch, and a solver has none; its "
                             "iterations are epochs")
    if batch_size is not None and batch_size < n:
        raise ValueError(f"fit: a solver sees all {n} samples in every step, batch_size={batch_size} is for training "
                         "without one")
    if shuffle:
        raise ValueError("fit: a solver sees all samples in every step, there is no order to shuffle; leave shuffle "
                         "out")
    if initial_epoch:
        raise ValueError(f"fit: a solver starts its search anew, initial_epoch={initial_epoch} is for training without "
                         "one")
    for layer in layers:
        if getattr(layer, "rate", 0):
            raise ValueError(f"fit: a solver needs the same loss at the same weights, but {layer.label} draws masks; "
                             "train without a solver, or with rate 0")
        if layer.kind == "batch_norm" and layer.trainable:
            raise ValueError(f"fit: a solver would leave the running statistics of {layer.label} as they are; freeze "
                             "the layer, or train without a solver")


def search(model, solver, run, history, xs, ys, weight, validation, max_iterations):
    """Let a solver train a model; an epoch of the callbacks is one iteration. max_iterations None: to the minimum.

    The search runs in float64, whatever the model's dtype, else rounding ends it after two or three digits.
    """
    from .training import INFERENCE_BATCH

    plan, objective = model._require_plan(), model._objective
    work = model if model.dtype == "float64" else model.clone("float64")
    function = FullBatch(work, xs, ys, weight)
    best, epoch, in_epoch, begun = function.start(), 0, False, 0.0

    def evaluate(x):
        nonlocal in_epoch, begun
        if not in_epoch:
            begun = time.perf_counter()
            run.on_epoch_begin(epoch)
            in_epoch = True
        loss, gradient = function(x)
        if not (math.isfinite(loss) and np.isfinite(gradient).all()):
            raise training_error({"status": "gradient" if math.isfinite(loss) else "loss"}, f"iteration {epoch + 1}")
        return loss, gradient

    def use(x):
        function.set(x)
        if work is not model:
            model.set_weights(work.get_weights())

    def after_iteration(x):
        nonlocal best, epoch, in_epoch
        best = x.copy()
        use(best)
        batch = plan.default_batch(INFERENCE_BATCH)
        logs = objective.figures(plan.evaluate(xs, ys, weight, batch))
        if validation is not None:
            logs.update(objective.figures(model._evaluate(validation, batch), "val_"))
        history.seconds.append(time.perf_counter() - begun)
        run.on_epoch_end(epoch, logs)
        if model._plan is not plan:
            raise ValueError("fit: a callback has frozen a layer or called compile, which a solver cannot take over")
        epoch, in_epoch = epoch + 1, False
        return model.stop_training

    try:
        history.converged, history.message = False, "no iterations were asked for"
        if run.params["epochs"]:
            history.converged, history.message = solver.minimize(
                evaluate, best, function.low, run.params["epochs"], after_iteration,
            )
    finally:
        if model._plan is plan:
            use(best)
    if max_iterations is None and not history.converged and not model.stop_training:
        warnings.warn(f"fit: the solver has not reached the minimum after {epoch} iterations: {history.message}; "
                      "columns of equal scale help", RuntimeWarning, stacklevel=5)
