"""User data to checked arrays: converted once, before any kernel runs.

Accepted: NumPy arrays of any integer, float or bool type, strided or read-only, lists, tuples, pandas objects, and
whatever has ``__array__``. Returned: C-contiguous arrays. Inputs stay float32, float64 or uint8, which the compiled
gather reads as they are; everything else becomes the model's dtype. Arrays that fit already are not copied.

Every error names the array, what came and what was expected.
"""

import math
import numbers
from collections.abc import Mapping

import numpy as np

from .layout import data_shape
from .sparse_rows import SparseRows

#: types of input the gather reads without a conversion here
GATHERED = frozenset({np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.uint8)})
#: of a sample or class, which is far from where sums or their inverse would overflow
LARGEST_WEIGHT = 1e100
#: of a pixel, whose weight has the precision of the model: beyond it no gradient is taken for finite
LARGEST_PIXEL_WEIGHT = 1e18
#: by how much probabilities may miss the sum 1, which those in float32 do
SUM_TOLERANCE = 1e-3
#: numbers that are looked at together
WHOLE_BLOCK = 1 << 20


class NotNumbersError(TypeError, ValueError):
    """Data of another kind: of the wrong type, and in an argument whose other errors are ValueErrors."""


def as_numbers(data, what):
    """`data` as a NumPy array of real numbers, neither copied nor converted if it is one.

    Raises
    ------
    NotNumbersError
        For strings, objects, complex numbers, dates, masked and sparse arrays.
    ValueError
        For ragged lists.
    """
    if type(data) is not np.ndarray:
        data = unmasked(data, what)
        if data is None or isinstance(data, (str, bytes, Mapping, set)) or hasattr(data, "tocsr") or is_read(data):
            hint = "; call .toarray() on sparse matrices" if hasattr(data, "tocsr") else ""
            if isinstance(data, str):
                hint = "; nf.data.csv and nf.data.image_folder read files"
            elif is_read(data):
                hint = "; pass its .x and .y"
            raise NotNumbersError(f"{what}: expected an array of numbers, got {type(data).__name__}{hint}")
        given = data
        if hasattr(data, "columns") and not hasattr(data, "iloc"):
            data = frame_values(data, what)
        elif hasattr(data, "to_numpy") and hasattr(data, "iloc") and all_numbers(data):
            # NumPy would make objects of pandas columns of several types, and of those that can lack values.
            data = data.to_numpy(np.float64, na_value=np.nan)
        try:
            data = np.asarray(data)
        except ValueError as error:
            batches = isinstance(data, (list, tuple)) and len(data) > 0 and isinstance(data[0], tuple)
            hint = "; batches (x, y) may come from an iterator, or from a function that returns one" if batches else ""
            raise ValueError(f"{what}: the rows have different lengths or depths (ragged list): {error}"
                             f"{hint}") from error
        except (TypeError, RuntimeError) as error:      # a tensor that has a gradient, or of a type that NumPy lacks
            raise NotNumbersError(f"{what}: {type(data).__name__} cannot be read as an array: {error}") from error
        if data.dtype.kind == "O":
            raise NotNumbersError(f"{what}: expected numbers, got {describe_objects(data, given, what)}")
    kind = data.dtype.kind
    if kind not in "fiub":
        if kind == "O":
            raise NotNumbersError(f"{what}: expected numbers, got {describe_objects(data, data, what)}")
        names = {"c": "complex numbers", "U": "strings", "T": "strings", "S": "bytes", "M": "dates",
                 "m": "time differences"}
        hint = text_hint(what) if kind in "UT" else ""
        raise NotNumbersError(f"{what}: expected real numbers, got {names.get(kind, 'values')} (dtype {data.dtype}, "
                              f"shape {data.shape}){hint}")
    return data


def unmasked(data, what):
    """`data`, or the numbers of a masked array that masks none of them."""
    if not isinstance(data, np.ma.MaskedArray):
        return data
    if np.ma.is_masked(data):
        raise TypeError(f"{what}: masked arrays are not supported, fill the masked entries first")
    return data.data


def is_read(data):
    """Whether `data` is a Table or Images of nnfast.data, which hold x and y."""
    return type(data).__module__.startswith("nnfast.data.")


def all_numbers(data):
    """Whether a pandas frame or series has only numbers and booleans, in columns that NumPy would make objects of."""
    kinds = [(getattr(dtype, "kind", "O"), isinstance(dtype, np.dtype)) for dtype in
             (data.dtypes if data.ndim == 2 else [data.dtype])]
    mixed = len({kind == "b" for kind, _ in kinds}) > 1 or not all(plain for _, plain in kinds)
    return mixed and all(kind in "biuf" for kind, _ in kinds)


def frame_values(data, what):
    """A frame of polars or Arrow (pandas is converted by NumPy) as an array; an error names the column."""
    from .data.tables import as_frame  # here, because few need it

    frame = as_frame(data, what)
    for name in frame.columns:
        column = frame[name]
        if not (column.dtype.is_numeric() or str(column.dtype) == "Boolean"):
            raise TypeError(f"{what}: expected numbers, got column {name!r} of {column.dtype}; nf.data.frame encodes "
                            "text")
    return np.stack([frame[name].to_numpy() for name in frame.columns], axis=1)


def column_names(data):
    """The names of a frame's columns; None for what has none."""
    names = getattr(data, "column_names", getattr(data, "columns", None))       # Arrow calls its columns `columns`
    return None if names is None else list(names)


def text_hint(what, columns=None):
    """What to do about text: in a frame with `columns`, or in an array called `what`."""
    if columns is not None:
        return "; nf.data.frame encodes text"
    return "; nf.data.encode_labels makes labels of text" if what.startswith("y") else ""


def describe_objects(data, given, what):
    """Where in an object array the first thing stands that is not a number."""
    columns = column_names(given)
    flat = data.ravel()
    for i in range(flat.size):
        if not isinstance(flat[i], (bool, int, float, np.number, np.bool_)) or isinstance(flat[i], np.complexfloating):
            place = np.unravel_index(i, data.shape) if data.ndim else ()
            where = ", ".join(f"{axis} {j}" for axis, j in zip(("row", "column", "axis 2 index"), place))
            if columns is not None and len(place) == 2:
                where = f"row {place[0]}, column {columns[place[1]]!r}"
            hint = text_hint(what, columns) if isinstance(flat[i], str) else ""
            return f"dtype object with {type(flat[i]).__name__} {flat[i]!r:.40} at {where or 'the top'}{hint}"
    return "dtype object; convert it with .astype('float32')"


def check_finite(x, dtype, what, columns=None):
    """Raise ValueError at the first NaN or infinity, or number beyond the range of `dtype`.

    One pass in the usual case: a sum is finite unless an element is not (or the sum overflows, which the second
    look settles).
    """
    stored = x.values if isinstance(x, SparseRows) else x
    given = x.dtype
    if given.kind != "f" or stored.size == 0:
        return
    narrow = np.float32 if dtype.itemsize == 4 or given.itemsize <= 4 else np.float64
    with np.errstate(all="ignore"):
        if math.isfinite(np.add.reduce(stored, axis=None, dtype=narrow)):
            return
        bad = ~np.isfinite(stored.astype(narrow))
    if bad.any():
        first = np.unravel_index(int(np.argmax(bad)), stored.shape)
        value, place = stored[first], x.place(first[0]) if stored is not x else first
        reason = f"does not fit into {dtype.name}" if np.isfinite(value) else "data must be finite"
        where = locate(place)
        if columns is not None and len(place) == 2:
            where = f"row {place[0]}, column {columns[place[1]]!r}"
        raise ValueError(f"{what}: {value} at {where}; {reason}")


def moments(x):
    """Mean and variance (divided by N) of each column of (N, C) in float64, without a copy of x: it may be a memory
    map."""
    mean, total = x.mean(axis=0, dtype=np.float64), np.zeros(x.shape[1])
    rows = max(1, WHOLE_BLOCK // max(1, x.shape[1]))
    for start in range(0, len(x), rows):
        total += np.square(x[start:start + rows] - mean).sum(axis=0)
    return mean, total / len(x)


def varies_finely(x, limit):
    """Of each column of numbers (N, C) whether float32 rounds one of them by over `limit` standard deviations."""
    with np.errstate(all="ignore"):
        # As floats: numbers without a sign, booleans and the least of bytes have no opposite.
        ends = [np.abs(end.astype(np.float64)) for end in (x.max(axis=0), x.min(axis=0))]
        largest, deviation = np.maximum(*ends), np.sqrt(moments(x)[1])
        # Numbers that are equal but for the rounding of float64 have nothing to lose.
        spoilt = (deviation > 1e-12 * largest) & (2.0**-24 * largest > limit * deviation)
        for column in np.flatnonzero(spoilt):
            values = x[:, column]
            spoilt[column] = np.abs(values - values.astype(np.float32)).max() > limit * deviation[column]
    return spoilt & (largest <= np.finfo(np.float32).max)


def locate(place):
    """An index in words: row, column, further axes."""
    if len(place) == 1:
        return f"row {place[0]}"
    if len(place) == 2:
        return f"row {place[0]}, column {place[1]}"
    return f"row {place[0]}, index {tuple(int(i) for i in place[1:])}"


def per_name(data, names, what):
    """Split what the user gave into one array per name: the array itself for one, else a list, tuple or dict."""
    if isinstance(data, Mapping) and not hasattr(data, "tocsr"):    # one of SciPy's matrices is a dict, too
        if set(data) != set(names):
            raise ValueError(f"{what}: expected a dict with {', '.join(names)}, got {', '.join(map(str, data))}")
        return [data[name] for name in names]
    if len(names) == 1:
        return [data]
    if not isinstance(data, (list, tuple)) or len(data) != len(names):
        got = f"{len(data)}" if isinstance(data, (list, tuple)) else type(data).__name__
        raise ValueError(f"{what}: the model has {len(names)} ({', '.join(names)}); expected a list of as many arrays "
                         f"or a dict, got {got}")
    return list(data)


def as_inputs(x, names, shapes, dtype, finite=True, data_format="channels_last", ids=None):
    """Check and convert the inputs of a model.

    Parameters
    ----------
    x : array or sparse matrix, or list or dict of them
        One per input, (N,) + shape.
    names, shapes : list
        Of the model's inputs, shapes as the data have them, without the batch axis.
    dtype : dtype
        Of the model.
    finite : bool
        False lets NaN and infinities through.
    data_format : str
        Order of the axes of the data, see `nnfast.layout`.
    ids : list, optional
        For each input None, or `nnfast.graph.Ids`.

    Returns
    -------
    xs : list of C-contiguous arrays, channels last, or `SparseRows`
    n : int
        The number of samples.
    """
    xs = []
    for data, name, shape, own in zip(per_name(x, names, "x"), names, shapes, ids or [None] * len(names)):
        what = f"model input {name!r}"
        columns = column_names(data)
        if hasattr(data, "tocsr"):
            if len(shape) != 1:
                raise ValueError(f"{what}: expected shape {batch_shape(shape)}, got a sparse matrix of shape "
                                 f"{data.shape}; give x.toarray().reshape(...)")
            check_shape(data.shape, shape, what, data_format)
            as_numbers(np.empty(0, data.dtype), what)
            a = SparseRows.of(data) if own is None else data.toarray()
        else:
            a = as_numbers(data, what)
            check_shape(a.shape, shape, what, data_format)
        if own is not None:
            check_ids(a, own, what, columns)
        elif finite:
            check_finite(a, dtype, what, columns)
        given = a.dtype if a.dtype in GATHERED else dtype
        xs.append(a.astype(given) if isinstance(a, SparseRows) else contiguous(a, given))
    return xs, same_length(xs, [f"model input {name!r}" for name in names])


def check_shape(given, shape, what, data_format):
    """Raise ValueError if data of the shape `given` are not samples of `shape`."""
    if given[1:] == shape and given:
        return
    hint = ""
    if given == shape:
        hint = "; one sample is x[None]"
    elif data_format == "channels_last" and len(shape) > 1 and given[1:] + (1,) == shape:
        hint = "; the channel axis is x[..., None]"
    elif data_format == "channels_last" and given[1:] == data_shape(shape, "channels_first"):
        hint = "; for data with channels first see the model's data_format"
    raise ValueError(f"{what}: expected shape {batch_shape(shape)}, got {given}{hint}")


def check_ids(a, ids, what, columns=None):
    """Raise ValueError at the first number that is not one of the ids of an embedding."""
    if a.size == 0:
        return
    # Not as the array's own type, which may not hold the limit; a comparison with nan is False.
    low, high = float(np.minimum.reduce(a, axis=None)), float(np.maximum.reduce(a, axis=None))
    whole = a.dtype.kind != "f" or not math.isfinite(high) or all(
        (np.floor(part) == part).all() for part in np.array_split(a, 1 + a.size // WHOLE_BLOCK))
    if low >= 0 and high < ids.limit and whole:
        return
    wide = a.astype(np.float64)
    bad = ~((wide >= 0) & (wide < ids.limit) & (np.floor(wide) == wide))
    place = np.unravel_index(int(np.argmax(bad)), a.shape)
    where = locate(place)
    if columns is not None and len(place) == 2:
        where = f"row {place[0]}, column {columns[place[1]]!r}"
    raise ValueError(f"{what}: the embedding {ids.reader!r} has ids 0..{ids.limit - 1}, got {a[place]} at {where}")


def contiguous(a, dtype):
    """`a` as a C-contiguous, aligned array of `dtype`; itself if it is one."""
    a = np.ascontiguousarray(a, dtype)
    return a if a.flags.aligned else a.copy()


def same_length(arrays, whats):
    """The common number of samples, at least one."""
    n = len(arrays[0])
    if n == 0:
        raise ValueError(f"{whats[0]}: empty data, shape {arrays[0].shape}")
    for a, what in zip(arrays, whats):
        if len(a) != n:
            raise ValueError(f"{what} has {len(a)} samples, {whats[0]} has {n}")
    return n


def batch_shape(shape):
    """A shape in words, batch first."""
    return f"(N, {', '.join(map(str, shape))})" if shape else "(N,)"


def as_targets(y, names, shapes, losses, yes_no, dtype, n, data_format):
    """Check and convert the targets of a model; one array per output, shapes as the data have them.

    yes_no: for each output the name of a metric that takes its targets for no and yes, or None.

    A cross-entropy's integer labels become int32 or uint8 (N,), or (N, ...) with one for each pixel, all other targets
    the model's dtype in the output's shape.
    """
    ys = []
    for data, name, shape, loss, metric in zip(per_name(y, names, "y"), names, shapes, losses, yes_no):
        what = "y" if len(names) == 1 else f"y of output {name!r}"
        a = as_numbers(data, what)
        if a.ndim == 0 or len(a) != n:
            got = "a single number" if a.ndim == 0 else f"{len(a)} targets"
            raise ValueError(f"{what}: expected one target for each of the {n} samples, got {got}")
        if loss.integer_labels and a.shape != (n,) + shape:
            ys.append(as_labels(a, shape, what, loss, data_format))
            continue
        if a.shape == (n,) and shape == (1,):
            a = a.reshape(n, 1)
        if a.shape != (n,) + shape:
            hint = ""
            pixels, classes = split_shape(shape, data_format)
            if a.shape[1:] == pixels and classes > 1:
                hint = f"; class labels go with loss='cross_entropy', or one-hot: np.eye({classes})[y]"
            elif a.shape[1:] == pixels:
                hint = "; the axis of the single output is y[:, None]" if class_axis(shape, data_format) == 1 else (
                    "; the axis of the single output is y[..., None]")
            raise ValueError(f"{what}: output {name!r} has shape {batch_shape(shape)}, got targets of shape "
                             f"{a.shape}{hint}")
        check_finite(a, dtype, what)
        a = contiguous(a, dtype)
        if loss.name == "cross_entropy":
            check_distributions(a, what, class_axis(shape, data_format), loss.ignore_label is not None)
        elif loss.name == "binary_cross_entropy":
            check_answers(a, what, loss)
        elif metric is not None:
            check_yes_no(a, what, metric)
        ys.append(a)
    return ys


def class_axis(shape, data_format):
    """The axis of the classes in a batch of outputs (N,) + shape."""
    return 1 if data_format == "channels_first" and len(shape) > 1 else -1


def split_shape(shape, data_format):
    """The shape of the pixels, () of a vector, and the number of classes of an output's shape."""
    first = class_axis(shape, data_format) == 1
    return (shape[1:], shape[0]) if first else (shape[:-1], shape[-1])


def as_labels(a, shape, what, loss, data_format):
    """Integer class labels, one for each sample or pixel, the axis of classes left out or of length 1."""
    pixels, classes = split_shape(shape, data_format)
    if a.shape[1:] in (pixels + (1,), (1,) + pixels):
        a = a.reshape((len(a),) + pixels)
    if a.shape[1:] != pixels:
        whole = pixels and a.shape[1:] in ((), (1,), (classes,))
        hint = ("; for one class of a whole sample put nf.Flatten or nf.GlobalAvgPool before the last layer" if whole
                else "")
        raise ValueError(f"{what}: cross_entropy expects labels {batch_shape(pixels)} or probabilities "
                         f"{batch_shape(shape)}, got shape {a.shape}{hint}")
    if a.dtype.kind == "f":
        whole = np.isfinite(a) & (a == np.floor(a))
        if not whole.all():
            place = np.unravel_index(int(np.argmin(whole)), a.shape)
            raise ValueError(f"{what}: class labels must be integers, got {a[place]} at {locate(place)}")
    counted = a if loss.ignore_label is None else a[a != loss.ignore_label]
    # The ufuncs' own reductions: min() and max() take three times as long on a small batch.
    if counted.size and (np.minimum.reduce(counted, axis=None) < 0 or np.maximum.reduce(counted, axis=None) >= classes):
        bad = (a < 0) | (a >= classes)
        if loss.ignore_label is not None:
            bad &= a != loss.ignore_label
        place = np.unravel_index(int(np.argmax(bad)), a.shape)
        width = f"width {classes}" if not pixels else f"{classes} classes"
        hint = "; a label of pixels that are not to count is nf.CrossEntropy's ignore_label" if pixels else ""
        if loss.ignore_label is not None:
            hint = f"; only {loss.ignore_label} is ignored"
        raise ValueError(f"{what}: class labels must be in 0..{classes - 1} for an output of {width}, "
                         f"got {a[place]} at {locate(place)}{hint}")
    return contiguous(a, np.uint8 if a.dtype == np.uint8 else np.int32)


def check_distributions(a, what, axis, may_be_zero):
    """Rows of a cross-entropy's targets are probabilities that sum to 1, or all zero where that is allowed."""
    if a.min() < 0:
        place = np.unravel_index(int(np.argmax(a < 0)), a.shape)
        raise ValueError(f"{what}: probabilities must not be negative, got {a[place]} at {locate(place)}")
    sums = a.sum(axis=axis)
    bad = np.abs(sums - 1) > SUM_TOLERANCE
    if may_be_zero:
        bad &= sums != 0
    if bad.any():
        place = np.unravel_index(int(np.argmax(bad)), sums.shape)
        hint = "; rows of zeros do not count with nf.CrossEntropy's ignore_label" if sums[place] == 0 else ""
        raise ValueError(f"{what}: the probabilities of a sample or pixel must sum to 1, those of {locate(place)} sum "
                         f"to {sums[place]:.6g}{hint}")


def check_answers(a, what, loss):
    """A binary cross-entropy's targets are from 0 to 1, or what it ignores."""
    if a.min() >= 0 and a.max() <= 1:
        return
    bad = (a < 0) | (a > 1)
    if loss.ignore_label is not None:
        bad &= a != loss.ignore_label
    if bad.any():
        place = np.unravel_index(int(np.argmax(bad)), a.shape)
        hint = ("what marks a missing answer is nf.BinaryCrossEntropy's ignore_label" if loss.ignore_label is None else
                f"only {loss.ignore_label} is ignored")
        raise ValueError(f"{what}: binary_cross_entropy needs targets in [0, 1], got {a[place]} at {locate(place)}; "
                         f"{hint}")


def check_yes_no(a, what, metric):
    """Targets of which a metric asks whether they are above a half are from 0 to 1: of numbers its figure means
    nothing."""
    if a.min() < -SUM_TOLERANCE or a.max() > 1 + SUM_TOLERANCE:
        place = np.unravel_index(int(np.argmax(np.abs(a - 0.5))), a.shape)
        raise ValueError(f"{what}: {metric} needs classes (targets 0 and 1), got {a[place]} at {locate(place)}; for "
                         "numbers use 'mae', 'mse' or 'r2', for no and yes that are -1 and 1 nf.BinaryAccuracy(0.0)")


def as_sample_weight(sample_weight, n, function=None, pixels=(), dtype=None):
    """Weights as float64 (N,), or (N,) + pixels as `dtype`; or None.

    Parameters
    ----------
    function : str, optional
        The name of one that takes them, None for a model.
    pixels : tuple or None
        Shape of the pixels or steps of the model's output that may have weights of their own; () if they may not, None
        of several outputs, whose may not either.
    """
    if sample_weight is None:
        return None
    what = f"{function}: sample_weight" if function else "sample_weight"
    a = as_numbers(sample_weight, what)
    if pixels and a.shape in ((n,) + pixels, (n,) + pixels + (1,), (n, 1) + pixels):
        return pixel_weights(a.reshape((n,) + pixels), dtype, what)
    if a.shape != (n,):
        of_pixels = f" or {(n,) + pixels}, one for each pixel or step" if pixels else ""
        hint = "; weights of pixels or steps are for models with one output" if pixels is None and a.ndim > 1 else ""
        raise ValueError(f"{what}: expected shape ({n},), one weight per sample{of_pixels}, got {a.shape}{hint}")
    # The usual case; not as the array's own type, which may not hold the limits.
    if 1 / LARGEST_WEIGHT <= float(np.minimum.reduce(a)) and float(np.maximum.reduce(a)) <= LARGEST_WEIGHT:
        return contiguous(a, np.float64)
    check_finite(a, np.dtype(np.float64), what)
    a = contiguous(a, np.float64)
    if a.min() < 0:
        row = int(np.argmax(a < 0))
        raise ValueError(f"{what}: weights must not be negative, got {a[row]} at row {row}")
    if a.max() > LARGEST_WEIGHT or ((a > 0) & (a < 1 / LARGEST_WEIGHT)).any():
        row = int(np.argmax((a > LARGEST_WEIGHT) | ((a > 0) & (a < 1 / LARGEST_WEIGHT))))
        raise ValueError(f"{what}: weights must be 0 or from {1 / LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}, got "
                         f"{a[row]} at row {row}; only their ratios count")
    return a


def pixel_weights(a, dtype, what):
    """Weights of the pixels of each sample, checked, as `dtype`."""
    check_finite(a, np.dtype(np.float64), what)
    if a.size and not (np.minimum.reduce(a, axis=None) >= 0
                       and np.maximum.reduce(a, axis=None).astype(np.float64) <= LARGEST_PIXEL_WEIGHT):
        wide = a.astype(np.float64)
        place = np.unravel_index(int(np.argmax((wide < 0) | (wide > LARGEST_PIXEL_WEIGHT))), a.shape)
        raise ValueError(f"{what}: weights of pixels must be from 0 to {LARGEST_PIXEL_WEIGHT:g}, got {a[place]} at "
                         f"{locate(place)}")
    return contiguous(a, dtype)


def class_ids(y, loss, axis):
    """The class of each sample, pixel or yes/no answer of a checked target, for class weights, and which have one."""
    if loss.integer_labels and y.dtype.kind not in "iu":
        return y.argmax(axis=axis), y.any(axis=axis)
    counted = y != loss.ignore_label if loss.ignore_label is not None else np.ones(y.shape, bool)
    if loss.integer_labels:
        return y, counted
    ids = (y > 0.5).astype(np.intp)
    return (ids[:, 0], counted[:, 0]) if y.shape[1:] == (1,) else (ids, counted)


def weigh_classes(class_weight, sample_weight, ys, shapes, losses, data_format="channels_last"):
    """What class weights make of sample weights, and the factors of the classes that remain to be applied.

    Parameters
    ----------
    class_weight : None, "balanced" or dict of int to float
        "balanced": n / (number of classes present * samples of the class), as in scikit-learn. Classes that a dict
        leaves out weigh 1.
    shapes : list
        Of the outputs, as the data have them.

    Returns
    -------
    weight : float64 array (N,) or None
        `sample_weight` times the weight of each sample's class.
    factors : float64 array (classes,) or None
        Where a sample has several pixels with classes, or several yes/no answers: the plan multiplies them into the
        losses of these.
    """
    if class_weight is None:
        return sample_weight, None
    if len(ys) != 1:
        raise ValueError(f"class_weight: needs a model with one output, this one has {len(ys)}; use sample_weight")
    y, loss, (shape,) = ys[0], losses[0], shapes
    if loss.integer_labels:
        pixels, n_classes = split_shape(shape, data_format)
        several = bool(pixels)
    elif loss.name == "binary_cross_entropy":
        several, n_classes = shape != (1,), 2
    else:
        raise ValueError("class_weight: needs class labels (cross_entropy) or yes/no answers (binary_cross_entropy), "
                         f"the loss is {loss.name}")
    if not several or isinstance(class_weight, str):
        ids, counted = class_ids(y, loss, class_axis(shape, data_format))
    factors = np.ones(n_classes)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f'class_weight: expected a dict or "balanced", got {class_weight!r}')
        counts = np.bincount(ids[counted], minlength=n_classes)
        present = counts > 0
        factors[present] = counts.sum() / (present.sum() * counts[present])
    elif isinstance(class_weight, Mapping):
        for label, factor in class_weight.items():
            # Also False and 1.0, as np.unique gives them for such labels.
            if not isinstance(label, (numbers.Real, np.bool_)) or not 0 <= label < n_classes or label != int(label):
                raise ValueError(f"class_weight: classes are 0..{n_classes - 1}, got {label!r}")
            if isinstance(factor, bool) or not isinstance(factor, (int, float, np.integer, np.floating)):
                raise TypeError(f"class_weight: the weight of class {label} must be a number, got {factor!r}")
            factor = float(factor)
            if not (factor == 0 or 1 / LARGEST_WEIGHT <= factor <= LARGEST_WEIGHT):
                raise ValueError(f"class_weight: the weight of class {label} must be 0 or from {1 / LARGEST_WEIGHT:g} "
                                 f"to {LARGEST_WEIGHT:g}, got {factor}")
            factors[int(label)] = factor
    else:
        raise TypeError(f'class_weight: expected a dict or "balanced", got {type(class_weight).__name__}')
    if several:
        if not factors.any():
            raise ValueError("class_weight: all weights are zero")
        return sample_weight, factors
    # Samples without a class count in the mean, so that equal weights of all classes change nothing.
    weights = np.full(len(y), factors.mean())
    weights[counted] = factors[ids[counted]]
    return weights if sample_weight is None else weights * sample_weight, None
