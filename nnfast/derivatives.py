"""Derivatives of a compiled model: with respect to parameters, to inputs, and of each sample's loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .arrays import as_numbers, check_finite, contiguous, per_name
from .configurable import boolean, integer
from .totals import training_error
from .training import INFERENCE_BATCH, Unbuild, one_or_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .typing import Array, ArrayLike, Arrays, Data, Inputs


class Derivatives:
    """What `Model` offers besides training: gradients for loops of your own."""

    def gradients(self, x: Inputs, y: Data, sample_weight: ArrayLike | None = None,
                  training: bool = False) -> tuple[float, dict[str, Array]]:
        """Loss of a batch and its gradient with respect to every trainable parameter.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`; all samples are one batch.
        training : bool
            True draws dropout masks, as the next call of `train_on_batch` would, and normalises with the batch's own
            statistics (without recording them).

        Returns
        -------
        loss : float
            The (weighted) mean, penalties included.
        grads : dict of str to ndarray
            By parameter name, in the parameter's shape; frozen parameters are left out.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(1, use_bias=False, kernel_initializer="zeros")], input_shape=(1,))
        >>> model.compile("sgd", "squared_error")
        >>> loss, grads = model.gradients([[2.0]], [[3.0]])
        >>> loss, float(grads["dense/kernel"][0, 0])
        (9.0, -12.0)
        """
        boolean("gradients", "training", training)
        with Unbuild(self):
            plan, _ = self._with_loss(x)
            xs, ys, weight, _ = self._data(x, y, sample_weight, measured=False)
        loss, grads = plan.gradients(xs, ys, weight, training, self.seed)
        return loss, self._trainable(grads)

    def _trainable(self, grads):
        return {parameter.name: grad for parameter, grad in zip(self._graph.parameters, grads) if parameter.trained}

    def input_gradient(self, x: Data, y: Data) -> Arrays:
        """Gradient of each sample's loss with respect to its own input: row i is d loss_i / d x_i.

        It is not divided by the number of samples, and shows which part of the data causes the error.

        Returns
        -------
        ndarray of x's shape, in the model's dtype; a list of them for several inputs

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(1, kernel_initializer="ones")], input_shape=(2,))
        >>> model.compile("sgd", "squared_error")
        >>> model.input_gradient([[1.0, 2.0]], [[0.0]])         # 2 (y_hat - y) w
        array([[6., 6.]], dtype=float32)
        """
        with Unbuild(self):
            plan, _ = self._with_loss(x)
            refuse_sparse("input_gradient", x, self._graph)
            xs, ys, _, _ = self._data(x, y, measured=False)
        return one_or_list(plan.input_gradient(xs, ys, plan.default_batch(INFERENCE_BATCH, inference=False)))

    def per_sample_loss(self, x: Inputs, y: Data) -> Array:
        """The loss of each sample, summed over the outputs with their weights; without penalties.

        Returns
        -------
        ndarray of float64 (N,)

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(1, kernel_initializer="ones")], input_shape=(1,))
        >>> model.compile("sgd", "squared_error")
        >>> model.per_sample_loss([[1.0], [2.0]], [[1.0], [4.0]])
        array([0., 4.])
        """
        with Unbuild(self):
            plan, _ = self._with_loss(x)
            xs, ys, _, _ = self._data(x, y, measured=False)
        return plan.per_sample_loss(xs, ys, plan.default_batch(INFERENCE_BATCH))

    def check_gradients(self, x: Data, y: Data, sample_weight: ArrayLike | None = None,
                        entries: int | None = 100) -> dict[str, float]:
        """Compare `gradients` and `input_gradient` with finite differences, on a copy of the model in float64.

        Dropout is off. See `nnfast.optimize.check_gradient` for how kinks, such as relu's, are treated. Data that lies
        on several at once, such as equal pixels in a window of a max-pooling, shows an error of the input; a little
        noise moves it off them.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`; a few samples are enough.
        entries : int or None
            How many entries of each array are checked, drawn at random; None checks all. Each takes four passes.

        Returns
        -------
        dict of str to float
            By parameter and by input, but for ids: the largest difference, divided by the largest entry of the
            gradient (or by loss / 1000 if that is more). About 1e-9 if all is well.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(3, activation="tanh"), nf.Dense(1)], input_shape=(2,))
        >>> model.compile("sgd", "squared_error")
        >>> errors = model.check_gradients([[1.0, -2.0]], [[0.5]])
        >>> list(errors)
        ['dense/kernel', 'dense/bias', 'dense_1/kernel', 'dense_1/bias', 'input']
        >>> max(errors.values()) < 1e-7
        True
        """
        from .optimize import check_model

        if entries is not None:
            entries = integer("check_gradients", "entries", entries, at_least=1)
        with Unbuild(self):
            self._with_loss(x)
            refuse_sparse("check_gradients", x, self._graph)
            self._data(x, y, sample_weight, measured=False)
        xs = per_name(x, self._graph.input_names, "x")
        return check_model(self.clone(dtype="float64"), xs, y, sample_weight, entries)

    def vjp(self, x: Data, dy: Data, training: bool = False) -> tuple[dict[str, Array], Arrays]:
        """Vector-Jacobian product: parameter and input gradients for any gradient of the outputs. Needs no `compile`.

        With ``dy[i] = d L / d output_i`` the results are d L / d parameter, summed over the samples, and d L / d x, for
        any function L of the outputs: a policy gradient, say. Penalties are not included.

        Parameters
        ----------
        x : as in `predict`, but finite
        dy : array, or list or dict of arrays for several outputs
            In the shape of the outputs.
        training : bool
            True draws dropout masks, as the next call of `train_on_batch` would, and normalises with the batch's own
            statistics (without recording them).

        Returns
        -------
        grads : dict of str to ndarray
            By parameter name; frozen parameters are left out.
        dx : ndarray of x's shape, or a list of them for several inputs

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(1, kernel_initializer="ones")], input_shape=(2,))
        >>> grads, dx = model.vjp([[1.0, 2.0]], [[10.0]])
        >>> grads["dense/kernel"].ravel(), dx
        (array([10., 20.], dtype=float32), array([[10., 10.]], dtype=float32))
        """
        boolean("vjp", "training", training)
        with Unbuild(self):
            self._build_from(x)
            plan, graph = self._require_plan(), self._graph
            refuse_sparse("vjp", x, graph)
            xs, n = self._inputs(x)
            dys = []
            for given, name, shape in zip(per_name(dy, graph.output_names, "dy"), graph.output_names,
                                          graph.output_data_shapes):
                what = f"dy of output {name!r}"
                a = as_numbers(given, what)
                if a.shape != (n, *shape):
                    raise ValueError(f"{what}: expected shape {(n, *shape)}, got {a.shape}")
                check_finite(a, self._dtype, what)
                dys.append(contiguous(a, self._dtype))
        grads, dxs = plan.vjp(xs, dys, training, self.seed)
        return self._trainable(grads), one_or_list(dxs)

    def apply_gradients(self, grads: Mapping[str, ArrayLike]) -> None:
        """Take one optimizer step with gradients of your own.

        Parameters
        ----------
        grads : dict of str to array
            One for each trainable parameter, as `gradients` and `vjp` return them.

        Raises
        ------
        ValueError, TypeError
            For missing or unknown names, wrong shapes, NaN or infinities; no parameter is changed then.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(1, use_bias=False, kernel_initializer="ones")], input_shape=(1,))
        >>> model.compile(nf.SGD(0.5))
        >>> model.apply_gradients({"dense/kernel": [[0.5]]})
        >>> model.get_weights()
        [array([[0.75]], dtype=float32)]
        """
        settings = self._compiled()
        graph = self._built()
        new = self._checked(grads, "apply_gradients")
        wanted = [parameter.name for parameter in graph.parameters if parameter.trained]
        for name in new:
            if name not in wanted:
                raise ValueError(f"apply_gradients: {name} is frozen or a running statistic, it gets no update")
        missing = [name for name in wanted if name not in new]
        if missing:
            raise ValueError(f"apply_gradients: missing {', '.join(missing)}")
        plan = self._require_plan()
        rate = settings.optimizer.learning_rates(plan.iterations, 1)[0]
        every = [new[parameter.name] if parameter.name in new else np.zeros(parameter.spec.shape, self._dtype)
                 for parameter in graph.parameters]
        if not plan.apply_gradients(every, float(rate)):
            raise training_error({"status": "gradient"}, "apply_gradients")


def refuse_sparse(call, x, graph):
    """A gradient with respect to a sparse matrix would have numbers where that has none."""
    for part, name in zip(per_name(x, graph.input_names, "x"), graph.input_names):
        if hasattr(part, "tocsr"):
            raise TypeError(f"{call}: model input {name!r} is a sparse matrix, and its gradient would not be; give "
                            "x.toarray()")
