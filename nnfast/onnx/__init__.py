"""Models to ONNX files and from them (extra ``onnx``). The package onnx is imported when a function here is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model import Model
    from ..typing import DataFormat, PathLike

__all__ = ["UnsupportedError", "export", "load"]


class UnsupportedError(ValueError):
    """The graph needs something that the layers here do not do; the message names the node and the operator.

    >>> import tempfile
    >>> import onnx
    >>> import nnfast as nf
    >>> path = tempfile.mkdtemp() + "/sine.onnx"
    >>> graph = "g (float[N, 4] x) => (float[N, 4] y) { y = Sin(x) }"
    >>> onnx.save(onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]> ' + graph), path)
    >>> try:
    ...     nf.onnx.load(path)
    ... except nf.onnx.UnsupportedError as error:
    ...     print(str(error).partition(": ")[2].partition(";")[0])
    node 'y' (Sin): the operator Sin has no layer here
    """


def export(model: Model, path: PathLike, data_format: DataFormat | None = None, dtype: str | None = None) -> None:
    """Write a model as an ONNX file.

    The graph has a dynamic batch axis, named N, and computes what `predict` does; the file is checked by onnx's full
    checker before it takes its place.

    Parameters
    ----------
    model : Model
    path : str or os.PathLike
    data_format : "channels_last" or "channels_first", optional
        Order of the axes of inputs and outputs with more than one axis: (N, H, W, C) or (N, C, H, W). The model's own
        if left out.
    dtype : "float32" or "float64", optional
        Of inputs, weights and outputs; the model's own if left out. Many runtimes compute convolutions in float32 only,
        ONNX Runtime elu, gelu, softplus, selu, hard_sigmoid and hard_swish, too. Inputs that embeddings alone read are
        INT64.

    Raises
    ------
    ValueError
        If the model is not built or holds Python functions. Nothing is written then.
    OSError
        If the file cannot be written.
    ImportError
        Without onnx.

    Examples
    --------
    >>> import tempfile
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Conv2D(4, 3, activation="relu"), nf.GlobalAvgPool()], input_shape=(8, 8, 3))
    >>> nf.onnx.export(model, tempfile.mkdtemp() + "/net.onnx", data_format="channels_first")
    """
    _require_onnx()
    from .exporter import write

    write(model, path, data_format, dtype)


def load(path: PathLike, input_shapes: Mapping[str, Sequence[int]] | None = None, seed: int = 0) -> Model:
    """Read an ONNX file as a model that can be trained.

    Parameters
    ----------
    path : str or os.PathLike
    input_shapes : dict of str to tuple of int, optional
        Shapes, without the batch axis, of inputs for which the file does not say them, or says others than wanted.
    seed : int
        Keys the shuffling and dropout of further training.

    Returns
    -------
    Model
        Its data have the axes of the file's inputs, in their order: where that is (N, C, H, W), the model's data_format
        is "channels_first". Weights that are constants in the file are its parameters; where several nodes read one
        constant, each gets parameters of its own.

    Raises
    ------
    UnsupportedError
        For an operator, or a use of it, that no layer here can do.
    ValueError, TypeError
        If `input_shapes` does not fit the file's inputs.
    FileFormatError
        If the file is not an ONNX file, or damaged.
    OSError
        If the file cannot be read.
    ImportError
        Without onnx.

    Examples
    --------
    >>> import tempfile
    >>> import nnfast as nf
    >>> path = tempfile.mkdtemp() + "/net.onnx"
    >>> nf.onnx.export(nf.Sequential([nf.Dense(2, activation="tanh")], input_shape=(3,)), path)
    >>> nf.onnx.load(path).layers
    [Dense(2), Activation('tanh', name='dense_2')]
    """
    _require_onnx()
    from .importer import read

    return read(path, input_shapes, seed)


def _require_onnx():
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ImportError("ONNX files need the package onnx; pip install nnfast[onnx]") from error
