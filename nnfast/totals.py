"""What a call of the compiled plan adds up, and the error where it had to stop."""

from __future__ import annotations


class TrainingError(FloatingPointError):
    """A loss or gradient became infinite or NaN. The step was not applied: the model has its last finite weights.

    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    >>> model.compile(nf.SGD(1e30), "squared_error")
    >>> try:
    ...     history = model.fit([[1.0], [2.0]], [[1.0], [2.0]], epochs=50, verbose=0)
    ... except nf.TrainingError:
    ...     print("too fast; the history has", model.history)
    too fast; the history has <History: 0 epochs>
    """


def training_error(totals, where):
    """The error for totals whose status is not ok."""
    what = "loss" if totals["status"] == "loss" else "gradient"
    value = totals.get("bad_loss")
    shown = f" ({value})" if value is not None else ""
    if what == "gradient":
        shown = ", or so large that its square would not be"
    return TrainingError(
        f"{where}: the {what} is not finite{shown}. The step was not applied, the model has its last finite weights. A "
        "lower learning rate, clip_norm= in the optimizer, or data of a smaller scale may help."
    )


def add_totals(a, b):
    """The totals of two calls of the plan as those of one; `a` may be None."""
    if a is None:
        return b
    return {
        "loss": a["loss"] + b["loss"], "weight": a["weight"] + b["weight"], "steps": a["steps"] + b["steps"],
        "count": a["count"] + b["count"], "status": b["status"], "step": b["step"],
        "metrics": [[[x + y for x, y in zip(*sums)] for sums in zip(p, q)] for p, q in zip(a["metrics"], b["metrics"])],
        "output_loss": [x + y for x, y in zip(a["output_loss"], b["output_loss"])],
    }
