"""First values of parameters: kernels [in][out] (or any shape with the output axis last) and biases.

An initialiser is called ``init(shape, fan_in, fan_out, rng, dtype)``. It draws in float64 and rounds at the end, so a
float32 model starts at the rounded weights of the float64 model of the same seed.

The normal ones are not truncated, as in PyTorch (Keras cuts at two standard deviations and rescales).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .configurable import Configurable, Registry, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from .typing import Array, InitializerLike, Shape

__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Initializer", "LecunNormal",
    "LecunUniform", "Ones", "Orthogonal", "Zeros", "get",
]


class Initializer(Configurable):
    """Base: subclasses return the values as float64 from `draw`.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> class Diagonal(nf.initializers.Initializer):
    ...     def draw(self, shape, fan_in, fan_out, rng):
    ...         return np.eye(*shape)
    >>> model = nf.Sequential([nf.Dense(2, kernel_initializer=Diagonal())], input_shape=(2,))
    >>> model.predict([[3.0, 4.0]])
    array([[3., 4.]], dtype=float32)
    """

    def __call__(self, shape: Sequence[int], fan_in: int, fan_out: int, rng: np.random.Generator,
                 dtype: DTypeLike = np.float32) -> Array:
        """Return a new C-contiguous array of `shape` and `dtype`.

        Parameters
        ----------
        shape : tuple of int
            Shape of the parameter, output axis last (of a transposed convolution last but one).
        fan_in, fan_out : int
            Number of inputs that feed one output, and of outputs that one input feeds.
        rng : numpy.random.Generator
            Source of the random numbers.
        dtype : dtype
            float32 or float64.
        """
        values = self.draw(tuple(shape), fan_in, fan_out, rng)
        return np.ascontiguousarray(values, dtype=dtype)

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        """Return float64 values of `shape`; what a user's own initialiser has to define."""
        raise NotImplementedError(f"{type(self).__name__} does not define draw(shape, fan_in, fan_out, rng)")


def _uniform(rng, shape, limit):
    values = rng.random(shape)
    values *= 2 * limit
    values -= limit
    return values


def _normal(rng, shape, std):
    values = rng.standard_normal(shape)
    values *= std
    return values


class GlorotUniform(Initializer):
    """Uniform in [-a, a], a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16). The default of kernels.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> rng = np.random.Generator(np.random.Philox(0))
    >>> w = nf.initializers.GlorotUniform()((4, 2), 4, 2, rng)
    >>> w.shape, bool(abs(w).max() <= 1.0)
    ((4, 2), True)
    """

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return _uniform(rng, shape, math.sqrt(6 / (fan_in + fan_out)))


class GlorotNormal(Initializer):
    """Normal with standard deviation sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 12).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> w = nf.initializers.GlorotNormal()((600, 200), 600, 200, np.random.default_rng(0))
    >>> round(float(w.std()), 3)
    0.05
    """

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return _normal(rng, shape, math.sqrt(2 / (fan_in + fan_out)))


class HeUniform(Initializer):
    """Uniform in [-a, a], a = sqrt(6 / fan_in) (He et al. 2015, eq. 10), for relu layers.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> w = nf.initializers.HeUniform()((600, 200), 600, 200, np.random.default_rng(0))
    >>> round(float(w.max()), 3)
    0.1
    """

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return _uniform(rng, shape, math.sqrt(6 / fan_in))


class HeNormal(Initializer):
    """Normal with standard deviation sqrt(2 / fan_in) (He et al. 2015, eq. 10), for relu layers.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.Dense(64, activation="relu", kernel_initializer="he_normal")
    Dense(64, activation='relu', kernel_initializer=HeNormal())
    >>> w = nf.initializers.HeNormal()((800, 100), 800, 100, np.random.default_rng(0))
    >>> round(float(w.std()), 3)
    0.05
    """

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return _normal(rng, shape, math.sqrt(2 / fan_in))


class LecunUniform(Initializer):
    """Uniform in [-a, a], a = sqrt(3 / fan_in) (LeCun et al. 1998, section 4.6).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> w = nf.initializers.LecunUniform()((300, 100), 300, 100, np.random.default_rng(0))
    >>> round(float(w.max()), 3)
    0.1
    """

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return _uniform(rng, shape, math.sqrt(3 / fan_in))


class LecunNormal(Initializer):
    """Normal with standard deviation sqrt(1 / fan_in) (LeCun et al. 1998, section 4.6), also for selu layers.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> w = nf.initializers.LecunNormal()((400, 100), 400, 100, np.random.default_rng(0))
    >>> round(float(w.std()), 3)
    0.05
    """

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return _normal(rng, shape, math.sqrt(1 / fan_in))


class Orthogonal(Initializer):
    """Orthonormal columns, or rows where there are fewer rows, times `gain` (Saxe et al. 2013).

    All axes but the last are flattened to rows. QR decomposition of a normal matrix; the signs of R's diagonal go
    into Q, without which the result would not be uniformly distributed (Mezzadri 2007).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> w = nf.initializers.Orthogonal()((3, 2), 3, 2, np.random.default_rng(0), dtype="float64")
    >>> bool(np.allclose(w.T @ w, np.eye(2)))
    True
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = number("Orthogonal", "gain", gain)

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: needs a shape of two axes or more, got {shape}")
        columns = shape[-1]
        rows = math.prod(shape[:-1])
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= self.gain * np.copysign(1.0, np.diagonal(r))
        if rows < columns:
            q = q.T
        return q.reshape(shape)


class Zeros(Initializer):
    """All zero. The default of biases.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.initializers.Zeros()((3,), 3, 3, np.random.default_rng(0))
    array([0., 0., 0.], dtype=float32)
    """

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return np.zeros(shape)


class Ones(Initializer):
    """All one.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.initializers.Ones()((3,), 3, 3, np.random.default_rng(0))
    array([1., 1., 1.], dtype=float32)
    """

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return np.ones(shape)


class Constant(Initializer):
    """All `value`.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.Dense(2, bias_initializer=nf.initializers.Constant(0.5))
    Dense(2, bias_initializer=Constant(value=0.5))
    >>> nf.initializers.Constant(0.5)((3,), 3, 3, np.random.default_rng(0))
    array([0.5, 0.5, 0.5], dtype=float32)
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value = number("Constant", "value", value)

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return np.full(shape, self.value)


REGISTRY = Registry("initializer", Initializer, {
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
})


def get(identifier: InitializerLike) -> Initializer:
    """Return the initialiser for a name, an instance, a class or a configuration.

    >>> import nnfast as nf
    >>> nf.initializers.get("he_normal")
    HeNormal()
    """
    return REGISTRY.get(identifier)
