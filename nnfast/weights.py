"""A model's parameters by name: copies of them, and new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .arrays import as_numbers, check_finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .typing import Array, ArrayLike


class Weights:
    """What `Model` offers to read and to set its parameters."""

    @property
    def parameters(self) -> dict[str, Array]:
        """Copies of all parameters by name, ``{"dense/kernel": array, ...}``.

        Writing to them does not change the model; `set_parameters` does.
        """
        return dict(zip(self._built().index, self.get_weights()))

    def get_weights(self) -> list[Array]:
        """Copies of all parameters as a list, in the order of `parameters`.

        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(2)], input_shape=(3,))
        >>> [w.shape for w in model.get_weights()]
        [(3, 2), (2,)]
        """
        self._built()
        if self._plan is None:
            return [value.copy() for value in self._values]
        return self._plan.read_parameters()

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set all parameters.

        Parameters
        ----------
        weights : list of array
            In the order and shapes of `get_weights`; converted to the model's dtype.

        Raises
        ------
        ValueError, TypeError
            For a wrong number, shape or type of arrays, NaN or infinities; no parameter is changed then.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(2)], input_shape=(1,))
        >>> model.set_weights([[[3.0, 4.0]], [0.5, 0.5]])
        >>> model.predict([[1.0]])
        array([[3.5, 4.5]], dtype=float32)
        """
        graph = self._built()
        if isinstance(weights, (str, bytes, Mapping)) or not hasattr(weights, "__len__"):
            raise TypeError(f"set_weights: expected a list of arrays, got {type(weights).__name__}; a dict goes to "
                            "set_parameters")
        if len(weights) != len(graph.parameters):
            raise ValueError(f"set_weights: the model has {len(graph.parameters)} parameters "
                             f"({', '.join(graph.index)}), got {len(weights)} arrays")
        self.set_parameters(dict(zip(graph.index, weights)))

    def set_parameters(self, parameters: Mapping[str, ArrayLike]) -> None:
        """Set some or all parameters by name; the others stay.

        Parameters
        ----------
        parameters : dict of str to array
            In the shapes of `parameters`; converted to the model's dtype.

        Raises
        ------
        ValueError, TypeError
            For unknown names, wrong shapes or types, NaN, infinities or a negative variance; no parameter is changed
            then.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(2, kernel_initializer="ones")], input_shape=(1,))
        >>> model.set_parameters({"dense/bias": [1.0, 2.0]})
        >>> model.predict([[1.0]])
        array([[2., 3.]], dtype=float32)
        """
        graph = self._built()
        new = self._checked(parameters, "set_parameters")
        for name, value in new.items():
            minimum = graph.parameters[graph.index[name]].spec.minimum
            if minimum is not None and value.min() < minimum:
                raise ValueError(f"set_parameters: {name} must not be below {minimum:g}, got {value.min()}")
        arrays = {graph.index[name]: value for name, value in new.items()}
        if self._plan is not None:
            self._plan.write_parameters(arrays)
        else:
            for i, value in arrays.items():
                self._values[i] = value

    def _checked(self, arrays, what):
        """Arrays by parameter name as fresh arrays of the model's dtype."""
        graph = self._built()
        if not isinstance(arrays, Mapping):
            raise TypeError(f"{what}: expected a dict of parameter name to array, got {type(arrays).__name__}")
        new = {}
        for name, array in arrays.items():
            if name not in graph.index:
                raise ValueError(f"{what}: unknown parameter {name!r}; this model has {', '.join(graph.index)}")
            array = as_numbers(array, f"{what}: {name}")
            shape = graph.parameters[graph.index[name]].spec.shape
            if array.shape != shape:
                raise ValueError(f"{what}: {name} has shape {shape}, got {array.shape}")
            check_finite(array, self._dtype, f"{what}: {name}")
            new[name] = np.array(array, dtype=self._dtype, order="C")
        return new
