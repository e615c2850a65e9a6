"""The activations a layer can name, and what each of them needs.

The functions themselves are compiled; this table is what Python has to know to check names and parameters.

============  ==========================================  =====================
name          value                                       parameter `alpha`
============  ==========================================  =====================
linear        z
sigmoid       1 / (1 + exp(-z))
tanh          tanh(z)
relu          max(0, z)
leaky_relu    z if z > 0 else alpha * z                   0.01 (as PyTorch)
elu           z if z > 0 else alpha * (exp(z) - 1)        1.0
gelu          z * Phi(z), Phi the normal distribution
silu          z * sigmoid(z)
softplus      log(1 + exp(z))
relu6         min(max(0, z), 6)
hard_sigmoid  relu6(z + 3) / 6
hard_swish    z * relu6(z + 3) / 6
selu          1.0507... * elu(z), alpha 1.6732...
mish          z * tanh(softplus(z))
softmax       exp(z_j) / sum_k exp(z_k), last axis
============  ==========================================  =====================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .configurable import number
from .names import choose

if TYPE_CHECKING:
    import numpy as np

LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127


class Needs(NamedTuple):
    """What an activation needs.

    Attributes
    ----------
    backward : str
        "y" if the derivative follows from the output, "z" if the value before the activation must be kept.
    alpha : float or None
        Default of the parameter, None where there is none.
    elementwise : bool
        False for softmax, which acts on whole rows.
    """

    backward: str = "y"
    alpha: float | None = None
    elementwise: bool = True


ACTIVATIONS = {
    "linear": Needs(),
    "sigmoid": Needs(),
    "tanh": Needs(),
    "relu": Needs(),
    "leaky_relu": Needs(alpha=0.01),
    "elu": Needs(alpha=1.0),
    "gelu": Needs(backward="z"),
    "silu": Needs(backward="z"),
    "softplus": Needs(backward="z"),
    "relu6": Needs(),
    "hard_sigmoid": Needs(),
    "hard_swish": Needs(backward="z"),
    "selu": Needs(),
    "mish": Needs(backward="z"),
    "softmax": Needs(elementwise=False),
}


def get(identifier: str | None, owner: str = "") -> str:
    """Return the checked name of an activation; None means "linear".

    >>> get(None), get("relu")
    ('linear', 'relu')
    """
    if identifier is None:
        return "linear"
    return choose("activation", identifier, ACTIVATIONS, owner)


def resolve(identifier: str | None, alpha: float | None = None, owner: str = "activation") -> tuple[str, float]:
    """Return (name, alpha) of an activation, alpha being its default where None is given.

    Raises
    ------
    ValueError
        If the name is unknown, or alpha is negative, not finite, or given to an activation that has none.

    Examples
    --------
    >>> resolve("elu"), resolve("leaky_relu", 0.2), resolve("tanh")
    (('elu', 1.0), ('leaky_relu', 0.2), ('tanh', 0.0))
    """
    name = get(identifier, owner)
    default = ACTIVATIONS[name].alpha
    if alpha is None:
        return name, 0.0 if default is None else default
    if default is None:
        raise ValueError(f"{owner}: {name} takes no alpha (leaky_relu and elu do), got alpha={alpha!r}")
    # The derivatives are computed from the output's sign, which a negative alpha would turn round.
    return name, number(owner, "alpha", alpha, at_least=0)


def check_alpha(owner: str, alpha: float, dtype: np.dtype[Any]) -> None:
    """Raise ValueError if a checked alpha is infinite in the dtype of the numbers it is for."""
    if alpha > LARGEST_FLOAT32 and dtype.itemsize == 4:
        raise ValueError(f"{owner}: alpha must be at most {LARGEST_FLOAT32:g}, the largest {dtype.name}, got {alpha:g}")
