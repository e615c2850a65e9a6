"""A trained network as C99 source: one .c file and its header, which need the C library's <math.h> and nothing else.

The file has one public function,

    void net_predict(const float *x, float *y, float *scratch);

for one sample. It allocates nothing and writes to nothing but y and scratch, so any number of threads may run it, each
with arrays of its own. Weights are constant arrays in the file; beyond 20 MB, more than compilers like to read, they go
into a .bin file of little-endian numbers, which the program reads or maps itself and hands over as a first argument.

How the source is made:

1. The nodes are those of the compiled plan (`Graph.plan_spec`). Dropout and reshapes are other names for their input; a
   batch normalization is folded into the dense layer or convolution before it if nothing else reads that one's
   output, and is a scale and a shift for each channel otherwise.
2. Every value gets a place in the scratch array that nothing else uses while it is alive (first fit).
3. Each kind of operation is one small static function (c_functions.py); the body of predict is a row of calls.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from .c_functions import ACTIVATIONS, FUNCTIONS, WINDOW
from .config import __version__
from .files import check_model
from .names import choose
from .tensor_file import replace

if TYPE_CHECKING:
    from .model import Model
    from .typing import PathLike

#: bytes of weights beyond which they go into a file of their own
LARGE = 20 << 20
#: places in the scratch array are multiples of so many numbers
LINE = 16
#: operations with a kernel, whose last axis are the outputs
PRODUCTS = "dense", "conv", "conv_transpose"
WINDOWED = "conv", "conv_transpose", "max_pool", "average_pool", "upsample", "pad"


@dataclass
class Step:
    """One call in the body of predict: writes the value `output`, reads the values `inputs`."""

    op: str
    name: str
    inputs: list
    output: int
    attributes: dict
    arrays: dict = field(default_factory=dict)      # what it reads of the weights, by argument
    in_place: bool = False                          # whether the output may lie where the input does


def export_c(model: Model, path: PathLike, name: str | None = None,
             weights: Literal["auto", "arrays", "file"] = "auto") -> list[str]:
    """Write a model as C source that computes what `predict` computes for one sample.

    Arrays have the shapes and the order of axes of the data that `predict` takes and gives, and the model's dtype.
    With several inputs or outputs the function takes one pointer for each, in their order.

    Parameters
    ----------
    model : Model
    path : str or os.PathLike
        Ends in ".c"; the header (and the .bin file) are written beside it.
    name : str, optional
        Prefix of all names in the source; by default the file's name.
    weights : {"auto", "arrays", "file"}
        Where the weights go: constant arrays in the source, a .bin file, or by their size ("auto": more than 20 MB make
        a file).

    Returns
    -------
    list of str
        The files written.

    Raises
    ------
    ValueError
        If the model is not built or holds Python functions. Nothing is written then.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(4,))
    >>> source, header = nf.export_c(model, tempfile.mkdtemp() + "/iris.c")
    >>> "void iris_predict(const float *x, float *y, float *scratch);" in pathlib.Path(header).read_text()
    True
    """
    check_model("export_c", model)
    path = os.fspath(path)
    base, extension = os.path.splitext(path)
    if extension != ".c":
        raise ValueError(f"export_c: the path must end in '.c', got {path!r}")
    if re.search(r'["\\\x00-\x1f]', os.path.basename(base)):
        raise ValueError(f"export_c: no #include can name the header of {path!r}; use a name without quotes, "
                         "backslashes and line breaks")
    if name is None:
        name = re.sub(r"[^0-9A-Za-z_]", "_", os.path.basename(base))
        name = f"net_{name}" if not re.match("[A-Za-z]", name) else name
    elif not isinstance(name, str) or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"export_c: name must be a C identifier, got {name!r}")
    choose("export_c: place of the weights", weights, ("auto", "arrays", "file"))
    source = Source(model, name)
    separate = weights == "file" or (weights == "auto" and source.weight_bytes > LARGE)
    header = f"{os.path.basename(base)}.h"
    files = {base + ".h": source.header(separate, os.path.basename(base)), path: source.text(separate, header)}
    files = {file: [text.encode("utf-8", "surrogateescape")] for file, text in files.items()}
    if separate:
        files = {base + ".bin": [array.astype(array.dtype.newbyteorder("<")) for array in source.arrays]} | files
    for file, pieces in files.items():
        replace(file, pieces)
    return [path, *(file for file in files if file != path)]


class Source:
    """The C source of a model."""

    def __init__(self, model, name):
        self.model, self.name = model, name
        self.graph = graph = model._built()
        self.real = "float" if model.dtype == "float32" else "double"
        spec = graph.plan_spec(np.dtype(model.dtype), model.seed, None)
        parameters = model.get_weights()
        self.shapes = {i: tuple(shape) for i, shape in enumerate(graph.input_shapes)}
        self.steps, self.same = [], {}      # same: value -> the value whose numbers it has
        for i, node in enumerate(spec["nodes"], start=len(graph.input_shapes)):
            self.shapes[i] = tuple(node["shape"])
            self._add(i, node, parameters)
        self.outputs = [self._resolve(i) for i in graph.output_ids]
        self._fold()
        self.arrays = [array for step in self.steps for array in step.arrays.values()]
        self.weight_bytes = sum(array.nbytes for array in self.arrays)
        self._transpose_outside()
        self._place()

    def _resolve(self, value):
        while value in self.same:
            value = self.same[value]
        return value

    # -- from the plan's nodes to steps --------------------------------------------------------------------------

    def _add(self, value, node, parameters):
        """Steps for one node of the plan."""
        op, dtype = node["op"], np.dtype(self.model.dtype)
        inputs = [self._resolve(i) for i in node["inputs"]]
        if op in ("reshape", "dropout") or (op == "activation" and node["activation"] == "linear"):
            self.same[value] = inputs[0]
            return
        step = Step(op, node["name"], inputs, value, node)
        if op in PRODUCTS:
            step.arrays["w"] = parameters[node["kernel"]]
            if op == "conv_transpose":      # the outputs last, as in the others
                step.arrays["w"] = np.ascontiguousarray(step.arrays["w"].swapaxes(-1, -2))
            if node["bias"] >= 0:
                step.arrays["b"] = parameters[node["bias"]]
        elif op == "batch_norm":
            mean, variance = (parameters[node[what]].astype(np.float64) for what in ("mean", "variance"))
            scale = 1 / np.sqrt(variance + node["epsilon"])
            if node["gamma"] >= 0:
                scale *= parameters[node["gamma"]]
            shift = -mean * scale
            if node["beta"] >= 0:
                shift += parameters[node["beta"]]
            step.arrays = {"scale": scale.astype(dtype), "shift": shift.astype(dtype)}
            step.in_place = True
        elif op == "embedding":
            step.arrays["w"] = parameters[node["kernel"]]
        elif op in ("layer_norm", "group_norm"):
            step.arrays = {what: parameters[node[what]] for what in ("gamma", "beta") if node[what] >= 0}
            step.in_place = True
        elif op in ("activation", "rescale"):
            step.in_place = True
        elif op not in FUNCTIONS:
            raise ValueError(f"export_c: {node['name']}: "
                             + ("a Lambda layer holds Python functions" if op == "python" else f"no C for {op!r}"))
        self.steps.append(step)
        if node.get("activation", "linear") != "linear" and op != "activation":
            # The activation of a layer is a step of its own, in the layer's place.
            inner = ("linear", value)
            step.output = inner
            self.shapes[inner] = self.shapes[value]
            self.steps.append(Step("activation", node["name"], [inner], value, node, in_place=True))

    def _fold(self):
        """Batch normalizations right after a product become part of its weights."""
        readers = {}
        for step in self.steps:
            for i in step.inputs:
                readers[i] = readers.get(i, 0) + 1
        made = {step.output: step for step in self.steps}
        for step in [step for step in self.steps if step.op == "batch_norm"]:
            before = made.get(step.inputs[0])
            if (before is None or before.op not in PRODUCTS or readers[before.output] > 1
                    or before.output in self.outputs or self.shapes[before.output] != self.shapes[step.output]):
                continue
            scale, shift = (step.arrays[what].astype(np.float64) for what in ("scale", "shift"))
            kernel, bias = before.arrays["w"], before.arrays.get("b", 0)
            before.arrays = {"w": (kernel * scale).astype(kernel.dtype),
                             "b": (bias * scale + shift).astype(kernel.dtype)}
            before.output = step.output
            before.name += " and " + step.name
            made[step.output] = before
            self.steps.remove(step)

    def _transpose_outside(self):
        """Data that come and go channels first are turned on entry and exit."""
        first = getattr(self.graph, "data_format", "channels_last") == "channels_first"
        entry, turned = [], {}      # turned: input -> the value with its channels last
        # An output that is an input as it came is copied; one that is a reshape of it reads it turned, as all steps do.
        copied = [self.shapes.get(value) == self.shapes[own] and value < len(self.graph.input_shapes)
                  for value, own in zip(self.outputs, self.graph.output_ids)]
        read = {i for step in self.steps for i in step.inputs}
        read |= {value for value, is_copied in zip(self.outputs, copied) if not is_copied}
        for i, shape in enumerate(self.graph.input_shapes):
            if first and len(shape) > 1 and i in read:
                turned[i] = "turned", i
                self.shapes["turned", i] = shape
                entry.append(Step("to_channels_last", self.graph.input_names[i], [i], ("turned", i), {"shape": shape}))
        for step in self.steps:
            step.inputs = [turned.get(value, value) for value in step.inputs]
        self.steps = entry + self.steps
        # An output that is computed straight into its array; the others are copied or turned at the end.
        self.direct = {}
        made = {step.output for step in self.steps}
        for at, (value, own) in enumerate(zip(self.outputs, self.graph.output_ids)):
            shape = self.shapes[own]
            if not copied[at]:
                value = turned.get(value, value)
            turn = first and len(shape) > 1 and not copied[at]
            if value in made and value not in self.direct and not turn:
                self.direct[value] = at
            else:
                self.steps.append(Step("to_channels_first" if turn else "copy", f"output {at}", [value], ("output", at),
                                       {"shape": shape}))
            self.shapes["output", at] = shape

    # -- memory --------------------------------------------------------------------------------------------------

    def _place(self):
        """A C expression for every value, and the size of the scratch array."""
        several_x, several_y = len(self.graph.input_shapes) > 1, len(self.graph.output_ids) > 1
        self.x = [f"x{i}" if several_x else "x" for i in range(len(self.graph.input_shapes))]
        self.y = [f"y{i}" if several_y else "y" for i in range(len(self.graph.output_ids))]
        self.at = dict(enumerate(self.x))
        last = {i: at for at, step in enumerate(self.steps) for i in step.inputs}
        live, self.scratch = {}, 0      # value -> (begin, end) in the scratch array
        for at, step in enumerate(self.steps):
            value = step.output
            if isinstance(value, tuple) and value[0] == "output":
                self.at[value] = self.y[value[1]]
            elif value in self.direct:
                self.at[value] = self.y[self.direct[value]]
            else:
                if step.in_place and step.inputs[0] in live and last[step.inputs[0]] == at:
                    live[value] = live.pop(step.inputs[0])
                else:
                    size = -(-int(np.prod(self.shapes[value])) // LINE) * LINE
                    begin = 0
                    for start, end in sorted(live.values()):
                        if begin + size <= start:
                            break
                        begin = max(begin, end)
                    live[value] = begin, begin + size
                    self.scratch = max(self.scratch, begin + size)
                self.at[value] = f"scratch + {live[value][0]}"
            for i in step.inputs:
                if last[i] == at:
                    live.pop(i, None)
            if value not in last:
                live.pop(value, None)

    # -- text ----------------------------------------------------------------------------------------------------

    def _signature(self, separate):
        real = self.real
        arguments = [f"const {real} *weights"] * separate + [f"const {real} *{x}" for x in self.x]
        arguments += [f"{real} *{y}" for y in self.y] + [f"{real} *scratch"]
        return f"void {self.name}_predict({', '.join(arguments)})"

    def header(self, separate, base):
        """The text of the .h file."""
        graph, upper, real = self.graph, self.name.upper(), self.real
        lines = [
            f"/* {base}.c computes what the model {comment(self.model.name)} predicts for one sample. Made by nnfast "
            f"{__version__}.",
            " *",
        ]
        names = [*zip(self.x, graph.input_names, data_shapes(graph, "input")),
                 *zip(self.y, graph.output_names, data_shapes(graph, "output"))]
        lines += [f" * {pointer}: {comment(name)}, shape ({', '.join(map(str, shape))}), last axis fastest"
                  for pointer, name, shape in names]
        lines += [f" * {pointer} holds ids 0..{ids.limit - 1}, as numbers of type {real}; any other counts as 0"
                  for pointer, ids in zip(self.x, graph.ids) if ids is not None]
        lines += [f" * scratch: {upper}_SCRATCH_SIZE numbers, whatever they are; one array for each thread"]
        if separate:
            lines += [f" * weights: the {upper}_WEIGHTS_SIZE numbers of {base}.bin ({real}, little-endian)"]
        lines += [" */", f"#ifndef {upper}_H", f"#define {upper}_H", ""]
        for what, pointers, shapes in (("INPUT", self.x, graph.input_shapes), ("OUTPUT", self.y, graph.output_shapes)):
            for i, shape in enumerate(shapes):
                number = f"_{i}" if len(pointers) > 1 else ""
                lines.append(f"#define {upper}_{what}_SIZE{number} {int(np.prod(shape))}")
        lines.append(f"#define {upper}_SCRATCH_SIZE {max(self.scratch, 1)}")
        if separate:
            lines.append(f"#define {upper}_WEIGHTS_SIZE {sum(array.size for array in self.arrays)}")
        lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
        for what, names in self._classes():
            lines += [f"extern const char *const {what}[{len(names)}];", ""]
        lines += [self._signature(separate) + ";", "", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
        return "\n".join(lines)

    def _classes(self):
        """(C name, texts) of the class names of each output."""
        names = self.model.class_names
        if not isinstance(names, dict):
            return [] if names is None else [(f"{self.name}_class_names", names)]
        number = self.graph.output_names.index
        return [(f"{self.name}_class_names_{number(output)}", own) for output, own in names.items()]

    def text(self, separate, header):
        """The text of the .c file."""
        calls, used = self._calls(separate)
        pieces = [f"/* Made by nnfast {__version__}; {comment(header)} says how to call it. */",
                  f'#include "{header}"', "", "#include <math.h>", "#include <stddef.h>", ""]
        for what, names in self._classes():
            pieces += [f"const char *const {what}[{len(names)}] = {{",
                       *(f"    {literal(text)}," for text in names), "};", ""]
        if not separate:
            for i, array in enumerate(self.arrays):
                pieces += [f"static const {self.real} {self.name}_w{i}[{array.size}] = {{", numbers(array), "};", ""]
        if used & set(WINDOWED):
            pieces += [self._fill(WINDOW)]
        for op in sorted(used):
            pieces += [self._fill(ACTIVATIONS[op] if op in ACTIVATIONS else FUNCTIONS[op])]
        pieces += [self._signature(separate), "{", *calls]
        text = "\n".join(calls)
        for argument in (*self.x, "scratch", *["weights"] * separate):
            if not re.search(rf"\b{argument}\b", text):
                pieces.append(f"    (void){argument};")
        return "\n".join([*pieces, "}", ""])

    def _fill(self, template):
        template = template.replace("NET_", f"{self.name}_").replace("REAL", self.real)
        return re.sub(r"@", "f" if self.real == "float" else "", template).strip("\n") + "\n"

    def _number(self, value):
        return number(value, self.real)

    def _calls(self, separate):
        """The body of predict, and which functions it calls."""
        calls, used, index, offset = [], set(), 0, 0
        for step in self.steps:
            arrays = {}
            for what, array in step.arrays.items():
                arrays[what] = f"weights + {offset}" if separate else f"{self.name}_w{index}"
                index, offset = index + 1, offset + array.size
            a, op = step.attributes, step.op
            x, y = [self.at[i] for i in step.inputs], self.at[step.output]
            shape = self.shapes[step.output]
            size = int(np.prod(shape))
            calls.append(f"    /* {comment(step.name)} */")
            if op == "activation":
                op = a["activation"]
                rest = [size] if op != "softmax" else [size // shape[-1], shape[-1]]
                rest += [self._number(a["alpha"])] if op in ("leaky_relu", "elu") else []
                arguments = [x[0], y, *rest]
            elif op == "dense":
                n_in, n_out = step.arrays["w"].shape
                arguments = [x[0], y, arrays["w"], arrays.get("b", "NULL"), size // n_out, n_in, n_out]
            elif op == "embedding":
                arguments = [x[0], y, arrays["w"], size // shape[-1], step.arrays["w"].shape[0], shape[-1]]
            elif op == "batch_norm":
                arguments = [x[0], y, arrays["scale"], arrays["shift"], size // shape[-1], shape[-1]]
            elif op == "layer_norm":
                weights = [arrays.get(what, "NULL") for what in ("gamma", "beta")]
                arguments = [x[0], y, *weights, size // shape[-1], shape[-1], self._number(a["epsilon"])]
            elif op == "group_norm":
                weights = [arrays.get(what, "NULL") for what in ("gamma", "beta")]
                arguments = [x[0], y, *weights, size // a["channels"], a["channels"], a["groups"],
                             self._number(a["epsilon"])]
            elif op == "rescale":
                arguments = [x[0], y, size, self._number(a["scale"]), self._number(a["offset"])]
            elif op in WINDOWED:
                arguments = [x[0], y, self._window(a["window"]), a["channels"]]
                if op in PRODUCTS:
                    arguments[2:2] = [arrays["w"], arrays.get("b", "NULL")]
                    # Channels of what is read are the kernel's: the value's own shape may be that before a Reshape.
                    arguments += [shape[-1], a["groups"]] if op == "conv" else [step.arrays["w"].shape[-2]]
                elif op == "average_pool":
                    arguments.append(int(a["include_pad"]))
            elif op == "add":
                # The first two, then the others one by one.
                calls.append(f"    {self.name}_add({x[0]}, {x[1]}, {y}, {size});")
                calls += [f"    {self.name}_add({y}, {other}, {y}, {size});" for other in x[2:]]
                used.add("add")
                continue
            elif op == "multiply":
                arguments = [x[0], *a["strides"][0], x[1], *a["strides"][1], y, a["rows"], a["columns"]]
            elif op == "concatenate":
                outer, at = int(np.prod(shape[:a["axis"]])), 0
                width = size // outer
                for value, source in zip(step.inputs, x):
                    own = int(np.prod(self.shapes[value])) // outer
                    to = f"{y} + {at}" if at else y
                    calls.append(f"    {self.name}_put({source}, {to}, {outer}, {own}, {width});")
                    at += own
                used.add("concatenate")
                continue
            elif op in ("to_channels_last", "to_channels_first"):
                arguments = [x[0], y, size // a["shape"][-1], a["shape"][-1]]
            else:   # copy
                arguments = [x[0], y, size]
            used.add(op)
            calls.append(f"    {self.name}_{op}({', '.join(map(str, arguments))});")
        return calls, used

    def _window(self, window):
        numbers = [*window[:10], *window[12:]]      # without the padding at the bottom and right, which follows
        return f"&(const {self.name}_window){{{', '.join(map(str, numbers))}}}"


def data_shapes(graph, what):
    """Shapes of inputs or outputs in the order of axes of the data."""
    return getattr(graph, f"{what}_data_shapes", None) or getattr(graph, f"{what}_shapes")


def number(value, real):
    """A C constant that is read back to the same bits."""
    if real == "float":     # what is too large or small for one is infinite or 0 in C, too, but compilers warn
        with np.errstate(over="ignore"):
            value = float(np.float32(value))
    if not math.isfinite(value):    # as what overflows where a normalization is folded
        return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
    return f"{value:.8e}f" if real == "float" else f"{value:.16e}"


def numbers(array):
    """The elements of an array as C constants, eight to a line."""
    real = "float" if array.dtype == np.float32 else "double"
    if np.isfinite(array).all():
        form = "%.8ef" if real == "float" else "%.16e"      # much faster than `number`
        texts = [form % value for value in array.ravel().tolist()]
    else:
        texts = [number(value, real) for value in array.ravel().tolist()]
    return "\n".join("    " + ", ".join(texts[i:i + 8]) + "," for i in range(0, len(texts), 8))


def comment(text):
    """A name inside a comment, which it must not end."""
    return re.sub(r"[^A-Za-z0-9_. -]", "_", text)


def literal(text):
    """A C string of the text's UTF-8 bytes."""
    return '"' + "".join(chr(byte) if chr(byte).isalnum() and byte < 128 or chr(byte) in " _-.,:;()+/"
                         else f"\\{byte:03o}" for byte in text.encode("utf-8", "surrogatepass")) + '"'
