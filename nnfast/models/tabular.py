"""A perceptron of a table's columns: numbers, and texts of which each has a vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..configurable import integer
from ..data.preparation import normalization
from ..data.tables import as_encoding
from ..layers import Concatenate, Dense, Dropout, Embedding, Flatten, Input
from ..model import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..data import TableEncoding
    from ..layers import Value
    from ..typing import Arrays, Config

__all__ = ["tabular"]


def tabular(x: Arrays, encoding: TableEncoding | Config, hidden_layer_sizes: int | Sequence[int] = (64, 64),
            width: int = 8, activation: str = "relu", dropout: float = 0.0, **arguments: Any) -> Model:
    """A network for a table read with `nnfast.data.csv` or `frame`.

    Columns of numbers (and of 0 and 1) are brought to mean 0 and variance 1, each text of the columns that are ids has
    a vector (Guo and Berkhahn, 2016, "Entity embeddings of categorical variables"), and dense layers see all of them.
    The output is a softmax over the target's classes, for ``loss="cross_entropy"``, or a number for each target, for
    "squared_error".

    Parameters
    ----------
    x : dict or array
        `Table.x`, or the part of it to train with, which mean and variance are of.
    encoding : TableEncoding or dict
        `Table.encoding`.
    hidden_layer_sizes : int or sequence of int
    width : int
        Length of the vectors.
    activation : str
        Of the hidden layers.
    dropout : float
        Behind each hidden layer.
    **arguments
        seed, dtype, name: as in `nf.Model`.

    Returns
    -------
    Model
        Not compiled. Its inputs are those of x: "numbers", "ids", or both.

    Raises
    ------
    ValueError
        If x does not fit the encoding, or the table has no target.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import nnfast as nf
    >>> rng = np.random.default_rng(0)
    >>> data = pd.DataFrame({"city": [f"city {i}" for i in rng.integers(0, 80, 2000)], "size": rng.random(2000)})
    >>> data["price"] = data.city.str.slice(5).astype(int) % 7 + data["size"]
    >>> table = nf.data.frame(data, target="price", max_one_hot=20)
    >>> table
    <Table: 2000 rows, 1 feature, 1 column of ids (80), target 'price'>
    >>> x, x_test, y, y_test = nf.data.train_test_split(table.x, table.y)
    >>> model = nf.models.tabular(x, table.encoding)
    >>> model.compile(nf.Adam(1e-2), "squared_error", metrics=["r2"])
    >>> history = model.fit(x, y, epochs=20, verbose=0)
    >>> model.evaluate(x_test, y_test)["r2"] > 0.9
    True
    """
    encoding = as_encoding(encoding, "tabular")
    if encoding is None or encoding.target is None:
        raise ValueError("tabular: the table has no target; csv(..., target=NAME) names what is to be predicted")
    sizes = (hidden_layer_sizes,) if isinstance(hidden_layer_sizes, (int, np.integer)) else hidden_layer_sizes
    if not isinstance(sizes, (list, tuple)):
        raise TypeError("tabular: hidden_layer_sizes must be integers, one for each hidden layer, got "
                        f"{hidden_layer_sizes!r}")
    inputs, y = inputs_of(x, encoding, integer("tabular", "width", width, at_least=1))
    for units in sizes:
        y = Dense(integer("tabular", "hidden_layer_sizes", units, at_least=1), activation=activation)(y)
        if dropout:
            y = Dropout(dropout)(y)
    if encoding.classes:
        y = Dense(len(encoding.classes), activation="softmax")(y)
    else:
        y = Dense(len(encoding.target["names"]))(y)
    return Model(inputs, y, **{"name": "tabular", **arguments})


def inputs_of(x: Arrays, encoding: TableEncoding, width: int) -> tuple[list[Input], Value]:
    """The inputs for a table's x, and the vector of all that it says about a sample."""
    columns = {"numbers": len(encoding.feature_names), "ids": len(encoding.id_names)}
    columns = {name: count for name, count in columns.items() if count}
    parts = x if isinstance(x, dict) else {"numbers": x}
    shapes = {name: getattr(part, "shape", type(part).__name__) for name, part in parts.items()}
    rows = {shape[0] for shape in shapes.values() if len(shape) == 2}
    if not rows or shapes != {name: (row, count) for row in rows for name, count in columns.items()}:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) if isinstance(x, dict) else (
            f"an array {x.shape}" if hasattr(x, "shape") else type(x).__name__)
        expected = ", ".join(f"{name} (N, {count})" for name, count in columns.items())
        raise ValueError(f"tabular: x must be table.x, or rows of it, and so "
                         f"{'a dict of ' if 'ids' in columns else ''}{expected}; got {got or 'an empty dict'}")
    inputs, features = [], []
    for name, count in columns.items():
        value = Input((count,), name=name)
        inputs.append(value)
        features.append(Flatten()(Embedding(encoding.n_ids, width)(value)) if name == "ids" else
                        normalization(parts[name])(value))
    return inputs, features[0] if len(features) == 1 else Concatenate()(features)
