"""Gradient descent on any function, and gradients checked against finite differences.

These work on plain Python functions of NumPy arrays; networks are trained by `Model.fit`. The 4th-order central
difference (Fornberg 1988, table 1) is

    f'(x) = (f(x - 2h) - 8 f(x - h) + 8 f(x + h) - f(x + 2h)) / 12h + O(h^4)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import schedules
from .arrays import as_numbers, check_finite
from .configurable import integer, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from .typing import Array, ArrayLike, RateLike

__all__ = ["Descent", "GradientCheck", "check_gradient", "gradient_descent", "numerical_gradient"]

# Rounding costs eps / h, the formula h^4: in float64 about 1e-12 and 1e-16 here.
STEP = 1e-4
# Entries that disagree by more are looked at again from either side, with shorter steps: relu and |x| have kinks.
AGREEMENT = 1e-7
SHORTER = 0.1
# Gradients below this part of f are compared as if they were as large: rounding of f hides the rest.
SMALLEST = 1e-3

FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True, repr=False)
class Descent:
    """Where a descent ended and how it got there.

    Attributes
    ----------
    x : float64 array of x0's shape, or a float
        The last point.
    fun : float
        f(x).
    n_iter : int
        Steps taken.
    converged : bool
        Whether the last step was not longer than delta.
    reason : str
        Why it ended, in words.
    path : array (n_iter + 1, ...)
        All points, x0 first.
    values : array (n_iter + 1,)
        f at these points.

    Examples
    --------
    >>> import nnfast as nf
    >>> result = nf.optimize.gradient_descent(lambda x: (x - 3) ** 2, lambda x: 2 * (x - 3), 0.0, lr=0.25)
    >>> result, result.path[:3]
    (<Descent: converged after 22 steps, f(x) = 5.11591e-13>, array([0.  , 1.5 , 2.25]))
    """

    x: Any
    fun: float
    n_iter: int
    converged: bool
    reason: str
    path: Array
    values: Array

    def __repr__(self) -> str:
        how = "converged" if self.converged else "not converged"
        return f"<Descent: {how} after {self.n_iter} step{'' if self.n_iter == 1 else 's'}, f(x) = {self.fun:.6g}>"


def gradient_descent(f: Callable[[Any], Any], grad: Callable[[Any], Any] | None, x0: float | ArrayLike,
                     lr: RateLike = 0.1, delta: float = 1e-6, max_iter: int = 1000,
                     callback: Callable[[int, Any, float], object] | None = None) -> Descent:
    """Walk downhill: x_{n+1} = x_n - lr_n grad f(x_n), until |x_{n+1} - x_n| <= delta.

    Cauchy 1847; Goodfellow, Bengio, Courville, *Deep Learning* (2016), eq. 4.5.

    Parameters
    ----------
    f : callable
        ``f(x) -> number``.
    grad : callable or None
        ``grad(x)`` of x's shape. None: `numerical_gradient` of f.
    x0 : number or array
        Where to start; f and grad get a float for a number, else float64 arrays of this shape.
    lr : float, schedule or function of the step
        The learning rate, see `nnfast.schedules`.
    delta : float
        The step length (Euclidean norm) that counts as standing still, above 0; at a rate of 0 it does not.
    max_iter : int
        Most steps.
    callback : callable, optional
        ``callback(n, x, fun)`` after step n = 1, 2, ...; returning True ends the descent.

    Returns
    -------
    Descent
        With ``converged=False`` and the reason where max_iter was reached, the callback ended it, or f or its
        gradient stopped being finite; x is then the last point at which f was.

    Raises
    ------
    ValueError, TypeError
        For a gradient of another shape than x, f that is not one number, delta <= 0, f or x0 not finite at the start.

    Examples
    --------
    >>> import nnfast as nf
    >>> result = nf.optimize.gradient_descent(lambda x: x**2, lambda x: 2 * x, -2.0, lr=0.1)
    >>> result.path[:3]
    array([-2.  , -1.6 , -1.28])
    >>> result.converged, result.n_iter, abs(result.x) < 1e-5
    (True, 59, True)
    """
    op = "gradient_descent"
    rates = schedules.get(lr)
    delta = number(op, "delta", delta, above=0)
    max_iter = integer(op, "max_iter", max_iter, at_least=0)
    for name, function in (("f", f), ("grad", grad), ("callback", callback)):
        if not callable(function) and (function is not None or name == "f"):
            raise TypeError(f"{op}: {name} must be callable, got {type(function).__name__}")
    x = _point(op, "x0", x0)
    fun = _value(op, f, x)
    if not math.isfinite(fun):
        raise ValueError(f"{op}: f(x0) is {fun}; start where f is finite")
    path, values = [x], [fun]
    converged, reason = False, f"no step was as short as delta={delta:g} in max_iter={max_iter} steps"
    for n in range(max_iter):
        slope = _gradient(op, f, grad, x)
        rate = rates(n)
        with np.errstate(over="ignore", invalid="ignore"):
            new = x - rate * slope
            step = _length(new - x)
        if not math.isfinite(step):
            what = "the step" if np.isfinite(slope).all() else "the gradient"
            reason = f"diverged: {what} is not finite after {n} steps, at f = {fun:.6g}; try a smaller lr"
            break
        value = _value(op, f, new)
        if not math.isfinite(value):
            reason = f"diverged: f is {value} after {n + 1} steps; try a smaller lr"
            break
        x, fun = new, value
        path.append(x)
        values.append(fun)
        if callback is not None and callback(n + 1, _argument(x), fun):
            reason = f"the callback ended it after {n + 1} steps"
            break
        if step <= delta and rate > 0:      # warming up from 0 is no standing still
            converged, reason = True, f"step {n + 1} was {step:.3g} long, delta is {delta:g}"
            break
    else:
        if fun > values[0]:
            reason = f"diverging: f rose from {values[0]:.6g} to {fun:.6g} in {max_iter} steps; try a smaller lr"
    return Descent(_result(x), fun, len(path) - 1, converged, reason, np.array(path), np.array(values))


def numerical_gradient(f: Callable[[Any], Any], x: float | ArrayLike, step: float = STEP) -> Any:
    """The gradient of f at x by 4th-order central differences: four values of f for each entry of x.

    Parameters
    ----------
    f : callable
        ``f(x) -> number``.
    x : number or array
    step : float
        h for entries of size up to 1; larger entries x_i take h |x_i|.

    Returns
    -------
    float64 array of x's shape, or a float

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.optimize.numerical_gradient(lambda x: x[0] ** 3 + x[1], [2.0, 1.0]).round(9)
    array([12.,  1.])
    """
    step = number("numerical_gradient", "step", step, above=0)
    x = _point("numerical_gradient", "x", x)
    numerical = np.array([_difference("numerical_gradient", f, x, i, step) for i in range(x.size)])
    check_finite(numerical, FLOAT64, "numerical_gradient: the finite differences of f")
    return _result(numerical.reshape(x.shape))


@dataclass(frozen=True, repr=False)
class GradientCheck:
    """A gradient beside its finite differences.

    Attributes
    ----------
    error : float
        Largest difference, divided by the largest entry of the two, or by |f| / 1000 if that is more.
    gradient, numerical : float64 arrays of x's shape, or floats

    Examples
    --------
    >>> import nnfast as nf
    >>> check = nf.optimize.check_gradient(lambda x: x @ x, lambda x: 3 * x, [1.0, 2.0])    # wrong: 2 x
    >>> round(check.error, 2), check.gradient, check.numerical.round(6)
    (0.33, array([3., 6.]), array([2., 4.]))
    """

    error: float
    gradient: Any
    numerical: Any

    def __repr__(self) -> str:
        return f"<GradientCheck: error {self.error:.2g} in {np.size(self.gradient)} derivatives>"


def check_gradient(f: Callable[[Any], Any], grad: Callable[[Any], Any], x: float | ArrayLike,
                   step: float = STEP) -> GradientCheck:
    """Compare grad(x) with finite differences of f.

    A right gradient has an error of 1e-9 or so, a wrong one mostly of 1e-3 to 2. Entries that disagree are looked at
    again from the left and from the right, with shorter steps: on a kink, as relu has one, anything from the one slope
    to the other is right.

    Parameters
    ----------
    f : callable
        ``f(x) -> number``.
    grad : callable
        ``grad(x)`` of x's shape.
    x : number or array
    step : float
        See `numerical_gradient`.

    Returns
    -------
    GradientCheck

    Raises
    ------
    ValueError, TypeError
        For a gradient of another shape than x, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.optimize.check_gradient(np.sin, np.cos, 1.0).error < 1e-9
    True
    >>> round(nf.optimize.check_gradient(np.sin, np.sin, 1.0).error, 2)
    0.36
    """
    op = "check_gradient"
    step = number(op, "step", step, above=0)
    for name, function in (("f", f), ("grad", grad)):
        if not callable(function):
            raise TypeError(f"{op}: {name} must be callable, got {type(function).__name__}")
    x = _point(op, "x", x)
    gradient = _gradient(op, f, grad, x)
    check_finite(np.atleast_1d(gradient), FLOAT64, f"{op}: grad(x)")
    error, numerical = _compare(op, f, gradient, x, step, range(x.size))
    return GradientCheck(error, _result(gradient), _result(numerical.reshape(x.shape)))


def check_model(model, xs, y, sample_weight=None, entries=100, seed=0):
    """What `Model.check_gradients` does, on a float64 model that is nobody else's; xs lists what the user gave."""
    rng = np.random.default_rng(seed)
    xs = [as_numbers(x, "check_gradients: x").astype(FLOAT64) for x in xs]
    names = model.input_names

    def inputs(arrays):
        return dict(zip(names, arrays)) if len(names) > 1 else arrays[0]

    def check(name, f, gradient, at):
        chosen = range(at.size)
        if entries is not None and entries < at.size:
            chosen = np.sort(rng.choice(at.size, entries, replace=False))
        return _compare(f"check_gradients: {name}", f, gradient, at, STEP, chosen)[0]

    errors = {}
    _, gradients = model.gradients(inputs(xs), y, sample_weight)
    for name, gradient in gradients.items():
        w = model.parameters[name]

        def loss_at(point, name=name):
            model.set_parameters({name: point})
            return model.evaluate(inputs(xs), y, sample_weight=sample_weight)["loss"]

        errors[name] = check(name, loss_at, gradient, w)
        model.set_parameters({name: w})
    gradients = model.input_gradient(inputs(xs), y)
    for i, (name, gradient) in enumerate(zip(names, gradients if len(names) > 1 else [gradients])):
        if model._graph.ids[i] is not None:       # there is nothing between one id and the next
            continue
        # Row i of the gradient is that of sample i's own loss, so together they are the gradient of the sum.
        def total_at(point, i=i):
            return model.per_sample_loss(inputs([*xs[:i], point, *xs[i + 1:]]), y).sum()

        errors[name] = check(name, total_at, gradient, xs[i])
    return errors


# --- values and differences: `op` is the function's name -------------------------------------------------------------

def _compare(op, f, gradient, x, step, entries):
    """(error, numerical derivatives) of these entries of x, counted in the flat array."""
    exact = np.ravel(gradient)[entries]
    numerical = np.array([_difference(op, f, x, i, step) for i in entries])
    check_finite(numerical, FLOAT64, f"{op}: the finite differences of f")
    smallest = SMALLEST * abs(_value(op, f, x))

    def scale():
        return max(np.abs(gradient).max(initial=0.0), np.abs(numerical).max(initial=0.0), smallest) or 1.0

    for k in np.flatnonzero(np.abs(numerical - exact) > AGREEMENT * scale()):
        low, high = sorted(_one_sided(op, f, x, entries[k], side * SHORTER * step) for side in (-1.0, 1.0))
        nearest = min(max(exact[k], low), high)
        if abs(nearest - exact[k]) < abs(numerical[k] - exact[k]):
            numerical[k] = nearest
    return float(np.abs(numerical - exact).max(initial=0.0) / scale()), numerical


def _difference(op, f, x, i, step):
    """The derivative of f with respect to entry i of the flat x."""
    (a, b, c, d), h = _values_around(op, f, x, i, step, (-2.0, -1.0, 1.0, 2.0))
    return (a - 8.0 * b + 8.0 * c - d) / (12.0 * h)


def _one_sided(op, f, x, i, step):
    """The slope to the right of entry i, for a negative step to the left, to second order."""
    (a, b, c), h = _values_around(op, f, x, i, step, (0.0, 1.0, 2.0))
    return (-3.0 * a + 4.0 * b - c) / (2.0 * h)


def _values_around(op, f, x, i, step, places):
    """f where entry i of the flat x is moved by these multiples of h, and h."""
    flat = np.ravel(x)
    h = step * max(1.0, abs(flat[i]))
    points = np.repeat(flat[None], len(places), axis=0)
    points[:, i] += np.array(places) * h
    return [_value(op, f, point.reshape(x.shape)) for point in points], h


def _point(op, name, x):
    """A copy as float64, finite."""
    x = as_numbers(x, f"{op}: {name}")
    if x.size == 0:
        raise ValueError(f"{op}: {name} is empty, shape {x.shape}")
    check_finite(np.atleast_1d(x), FLOAT64, f"{op}: {name}")
    return np.array(x, FLOAT64)


def _length(v):
    """The Euclidean norm, without overflow in the squares."""
    largest = float(np.abs(v).max())
    return largest * float(np.linalg.norm(np.ravel(v / largest))) if 0 < largest < math.inf else largest


def _result(x):
    """A float for shape (), else the array."""
    return float(x) if x.ndim == 0 else x


def _argument(x):
    """What the user's functions get: a copy, which they may write to. NumPy's scalar overflows to inf, not an error."""
    return x[()] if x.ndim == 0 else x.copy()


def _value(op, f, x):
    """f(x) as a float; an overflow in f counts as infinite."""
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            value = f(_argument(x))
            array = np.asarray(value)
            if value is None or array.dtype.kind == "c":    # which NumPy would make nan, or real
                raise TypeError(f"{op}: f must return one real number, got {type(value).__name__}")
            value = np.asarray(array, FLOAT64)
    except OverflowError:
        return math.inf
    if value.size != 1:
        raise ValueError(f"{op}: f must return one number, got shape {value.shape}")
    return float(value.ravel()[0])


def _gradient(op, f, grad, x):
    """grad(x), or finite differences where it is None, as an array of x's shape."""
    if grad is None:
        return np.array([_difference(op, f, x, i, STEP) for i in range(x.size)]).reshape(x.shape)
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            gradient = as_numbers(grad(_argument(x)), f"{op}: grad(x)")
    except OverflowError:
        return np.full(x.shape, math.inf)
    if gradient.shape != x.shape:
        raise ValueError(f"{op}: grad(x) has shape {gradient.shape}, x has {x.shape}")
    return np.asarray(gradient, FLOAT64)
