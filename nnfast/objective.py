"""What a model is trained for: the loss, weight and metrics of each output, and how totals become figures."""

import math
from collections.abc import Mapping, Sequence

from . import losses, metrics
from .configurable import number


class Objective:
    """Losses and metrics of a model, one entry per output.

    Parameters
    ----------
    loss : name, Loss, callable, or a list or dict of them
        A list with one entry per output, or a dict by output name, for several outputs.
    metric : sequence of name or Metric; for several outputs a dict by output name, or a list of sequences
    loss_weights : None, or a list or dict of float
        Factors of the losses in their sum; 1 by default.
    names : list of str or None
        Names of the outputs; None where they are not known yet (one output).
    """

    def __init__(self, loss, metric, loss_weights, names):
        n = 1 if names is None else len(names)
        self.names = names
        self.losses = [losses.get(entry) for entry in per_output(loss, names, "loss")]
        if loss_weights is None:
            self.weights = [1.0] * n
        else:
            given = per_output(loss_weights, names, "loss_weights")
            self.weights = [number("compile", "loss_weights", w, at_least=0) for w in given]
        if not any(self.weights):
            raise ValueError("compile: loss_weights are all zero")
        self.requested = [as_metrics(entry) for entry in split_metrics(metric, names)]
        for entry in self.requested:
            for identifier in entry:
                metrics.get(identifier)
        self.metrics = self.shapes = self.keys = self.yes_no = None
        self.directions = {}        # of each figure: whether more is better

    def bind(self, graph):
        """Check the losses against the outputs of `graph` and settle the metrics; return a bound copy."""
        new = object.__new__(Objective)
        new.__dict__.update(self.__dict__)
        new.names = names = graph.output_names
        new.shapes = graph.output_shapes
        new.metrics, new.keys, new.yes_no = [], [], []
        several = len(names) > 1
        for i, (loss, shape) in enumerate(zip(self.losses, new.shapes)):
            loss.check_output(graph.output_activation(i), names[i], shape)
            own = [metrics.resolve(identifier, loss, shape[-1]) for identifier in self.requested[i]]
            for metric in own:
                if metric.kind == "mean_iou" and shape[-1] > 1 and isinstance(loss, losses.BinaryCrossEntropy):
                    raise ValueError(f"{names[i]}: mean_iou compares one class for each pixel, but the output has "
                                     f"{shape[-1]} yes/no answers; give each an output of its own, or use a softmax "
                                     "with loss='cross_entropy' if only one of them is right")
                if loss.ignore_label is not None and not metric.counts_labels:
                    others = [name for name, cls in metrics.REGISTRY.classes.items() if cls.counts_labels]
                    raise ValueError(f"{names[i]}: {metric.kind} counts what the loss ignores (ignore_label="
                                     f"{loss.ignore_label}); use {', '.join(others)}")
                key = f"{names[i]}_{metric.name}" if several else metric.name
                if key in new.keys or key == "loss" or key.startswith("val_"):
                    raise ValueError(f"compile: the metric name {key!r} is taken; give nf.metrics a name of their own")
                new.keys.append(key)
            new.metrics.append(own)
            new.yes_no.append(next((metric.name for metric in own if metric.threshold is None and (
                metric.kind == "binary_accuracy" or (metric.kind == "mean_iou" and shape[-1] == 1))), None))
        new.output_keys = [f"{name}_loss" for name in names] if several else []
        for key in new.output_keys:
            if key in new.keys:
                raise ValueError(f"compile: the metric name {key!r} is taken by the output's loss")
            if key.startswith("val_"):
                raise ValueError(f"compile: figures of the output {key[:-5]!r} would be taken for those of validation "
                                 "data; call it otherwise")
        new.directions = dict.fromkeys(["loss", *new.output_keys], False) | dict(
            zip(new.keys, [metric.more_is_better for own in new.metrics for metric in own]))
        return new

    def plan_losses(self):
        """The argument of the plan's `set_losses`."""
        return [
            {**loss.describe(), "weight": weight, "metrics": [metric.plan_spec(loss) for metric in own]}
            for loss, weight, own in zip(self.losses, self.weights, self.metrics)
        ]

    def figure_names(self, validated=False):
        """What `figures` gives, with those of validation data or without."""
        names = ["loss", *self.output_keys, *self.keys]
        return names + [f"val_{name}" for name in names] if validated else names

    def figures(self, totals, prefix=""):
        """The figures of the totals a plan returned: {"loss": ..., "accuracy": ...}."""
        weight = totals["weight"]
        logs = {prefix + "loss": totals["loss"] / weight if weight else 0.0}
        if self.output_keys:
            for key, total in zip(self.output_keys, totals["output_loss"]):
                logs[prefix + key] = total / weight if weight else 0.0
        if self.keys:
            count = totals["count"]
            keys = iter(self.keys)
            for own, sums, shape in zip(self.metrics, totals["metrics"], self.shapes):
                for metric, total in zip(own, sums):
                    logs[prefix + next(keys)] = metric.result(total, count, n_values(shape))
        return logs

    def get_config(self):
        """JSON-able losses, weights and metrics; ValueError for functions."""
        return {
            "loss": [loss.to_config() for loss in self.losses],
            "metrics": [[identifier if isinstance(identifier, str) else metrics.get(identifier).to_config()
                         for identifier in own] for own in self.requested],
            "loss_weights": list(self.weights),
        }


def n_values(shape):
    """How many numbers of a sample a metric averages over: all of the output."""
    return math.prod(shape)


def per_output(given, names, what):
    """One entry per output from a single entry, a list or a dict."""
    n = 1 if names is None else len(names)
    if isinstance(given, Mapping) and not ({"class", "config"} == set(given)):
        if names is None:
            raise ValueError(f"compile: {what} by output name needs a model whose outputs are known; pass one {what}")
        if set(given) != set(names):
            raise ValueError(f"compile: {what} must name each output ({', '.join(names)}), got "
                             f"{', '.join(map(str, given)) or 'none'}")
        return [given[name] for name in names]
    if isinstance(given, (list, tuple)):
        if len(given) != n:
            raise ValueError(f"compile: the model has {n} outputs, got {len(given)} entries in {what}")
        return list(given)
    if n > 1:
        raise ValueError(f"compile: the model has {n} outputs ({', '.join(names)}); {what} must be a list of {n} or a "
                         f"dict by output name, got {given!r}")
    return [given]


def split_metrics(given, names):
    """One sequence of metrics per output."""
    n = 1 if names is None else len(names)
    if given is None or (isinstance(given, Sequence) and not given):
        return [()] * n
    if isinstance(given, Mapping) and set(given) != {"class", "config"}:
        unknown = [name for name in given if name not in (names or ())]
        if unknown:
            raise ValueError(f"compile: metrics for an unknown output {unknown[0]!r}; outputs: "
                             f"{', '.join(names or ('not known yet',))}")
        return [given.get(name, ()) for name in names]
    if n == 1:
        if isinstance(given, (list, tuple)) and len(given) == 1 and isinstance(given[0], (list, tuple)):
            return [given[0]]
        return [given]
    if not isinstance(given, (list, tuple)) or len(given) != n or any(isinstance(m, str) for m in given):
        raise ValueError(f"compile: the model has {n} outputs ({', '.join(names)}); metrics must be a dict by output "
                         f"name or a list of {n} lists, got {given!r}")
    return list(given)


def as_metrics(entry):
    """A sequence of metrics from one, several or None."""
    if entry is None:
        return ()
    if isinstance(entry, (list, tuple)):
        return tuple(entry)
    return (entry,)
