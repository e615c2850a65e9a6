"""Where a kernel or pooling window stands: kernel, stride, padding and dilation, checked and resolved in one place.

Everything that slides a window over (N, L, C) or (N, H, W, C) asks here: layers, `nnfast.functional`, `conv_toeplitz`.
The core knows one form only, two axes and explicit padding; one-dimensional data are images of one row.

==========  =========================================================  ================================
argument    two axes (H, W)                                            one axis (L)
==========  =========================================================  ================================
kernel      int or (h, w)                                              int
stride      int or (h, w)                                              int
dilation    int or (h, w): distance of the kernel's elements           int
padding     "valid", "same", int, or ((top, bottom), (left, right))    "valid", "same", int, or (left, right)
==========  =========================================================  ================================

A transposed convolution's and an upsampling's window stands on the output. "valid" is no padding. "same" is
TensorFlow's: as many outputs as ceil(input / stride), with an odd element of padding at the bottom or right; of a
transposed convolution, input * stride outputs. An int is that much on each side.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

from .configurable import integer

#: numbers the core computes positions from stay far below what its integers hold
LARGEST = 2**31 - 1
MOST_NUMBERS = 2**40
#: of a pooling window inside the input: float32 counts no further
MOST_TAPS = 2**24


class Window(NamedTuple):
    """A window that slides over an image; pairs are (vertical, horizontal), padding ((top, bottom), (left, right))."""

    input: tuple[int, int]
    output: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]

    def as_tuple(self) -> tuple[int, ...]:
        """(H, W, OH, OW, R, S, stride_h, stride_w, top, left, bottom, right, dilation_h, dilation_w) for the core."""
        (top, bottom), (left, right) = self.padding
        return (*self.input, *self.output, *self.kernel, *self.stride, top, left, bottom, right, *self.dilation)


def check_sizes(owner: str, name: str, value: Any, axes: int, at_least: int = 1) -> Any:
    """A kernel size, stride or dilation: an int for one axis, a pair of ints for two.

    >>> check_sizes("conv2d", "stride", 2, 2), check_sizes("conv1d", "stride", 2, 1)
    ((2, 2), 2)
    """
    if type(value) is int and at_least <= value <= LARGEST:     # the usual case, for short calls
        return value if axes == 1 else (value, value)
    if isinstance(value, (tuple, list)):
        if len(value) != axes:
            raise ValueError(f"{owner}: {name} must be {_form(axes)}, got {value!r}")
        entries = [_bounded(owner, name, entry, at_least, value) for entry in value]
    else:
        entries = [_bounded(owner, name, value, at_least, value, _form(axes))] * axes
    return entries[0] if axes == 1 else tuple(entries)


def check_padding(owner: str, value: Any, axes: int) -> Any:
    """Padding in one of its forms: "valid", "same", an int, (left, right), or ((top, bottom), (left, right)).

    >>> check_padding("conv2d", [[1, 0], [2, 2]], 2), check_padding("conv2d", 1, 2)
    (((1, 0), (2, 2)), 1)
    """
    if isinstance(value, str):
        if value not in ("valid", "same"):
            raise ValueError(f"{owner}: padding must be {_padding_form(axes)}, got {value!r}")
        return value
    if not isinstance(value, (tuple, list)):
        return _bounded(owner, "padding", value, 0, value, _padding_form(axes))
    pairs = [value] if axes == 1 else value
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"{owner}: padding must be {_padding_form(axes)}, got {value!r}")
    if len(pairs) != axes:
        raise ValueError(f"{owner}: padding must be {_padding_form(axes)}, got {value!r}")
    pairs = tuple(tuple(_bounded(owner, "padding", entry, 0, value) for entry in pair) for pair in pairs)
    return pairs[0] if axes == 1 else pairs


def check_output_padding(owner: str, value: Any, stride: Any, padding: Any, axes: int) -> Any:
    """A transposed convolution's: an int for one axis, a pair of ints for two, each smaller than the stride.

    >>> check_output_padding("conv2d_transpose", 1, (2, 2), "valid", 2)
    (1, 1)
    """
    value = check_sizes(owner, "output_padding", value, axes, at_least=0)
    for entry, step in zip(*((pair,) if axes == 1 else pair for pair in (value, stride))):
        if entry >= step:
            raise ValueError(f"{owner}: output_padding must be smaller than the stride {stride}, got {value}")
        if entry and padding == "same":
            raise ValueError(f"{owner}: padding 'same' says how large the output is; output_padding must be 0, got "
                             f"{value}")
    return value


def check_groups(owner, n_groups, channels, filters):
    """The number of groups, which must divide the channels and the filters."""
    if type(n_groups) is not int or n_groups < 1:
        n_groups = integer(owner, "groups", n_groups, at_least=1)
    for what, count in (("channels", channels), ("filters", filters)):
        if count % n_groups:
            raise ValueError(f"{owner}: {count} {what} cannot be divided into {n_groups} groups")
    return n_groups


def _remembered(place):
    """`place` without deriving anew what was derived for the same arguments: it would be half of a small call's time.

    Only plain integers and texts are looked up: True, 1.0 and 1 are one key, but not one value.
    """
    known = functools.lru_cache(512)(place)

    @functools.wraps(place)
    def found(owner, *arguments, **named):
        return (known if all(map(_plain, (*arguments, *named.values()))) else place)(owner, *arguments, **named)

    return found


def _plain(value):
    kind = type(value)
    return kind is int or kind is str or value is None or (kind is tuple and all(type(entry) is int for entry in value))


@_remembered
def window(owner, shape, kernel, stride=1, padding="valid", dilation=1, channels=1, what="input"):
    """The `Window` of a kernel over spatial sizes `shape`, (L,) or (H, W), with so many channels before or after it.

    what : what a message calls the image that the window stands on.

    Raises
    ------
    ValueError
        If a size is out of range, the kernel is larger than the padded input, or that has too many elements.

    Examples
    --------
    >>> window("conv2d", (28, 28), 3, stride=2, padding="same").output
    (14, 14)
    >>> window("conv1d", (10,), 3, padding=(2, 0)).as_tuple()
    (1, 10, 1, 10, 1, 3, 1, 1, 0, 2, 0, 0, 1, 1)
    """
    axes = len(shape)
    kernel = _both(check_sizes(owner, "kernel_size", kernel, axes), 1)
    stride = _both(check_sizes(owner, "stride", stride, axes), 1)
    dilation = _both(check_sizes(owner, "dilation", dilation, axes), 1)
    shape = shape if axes == 2 else (1, *shape)
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation))
    pairs = _pairs(owner, padding, axes, shape, extent, stride)
    padded = [before + size + after for size, (before, after) in zip(shape, pairs)]
    if any(span > size for span, size in zip(extent, padded)):
        # As of an image in grey or colours whose channels come first.
        turned = axes == 2 and shape[0] in (1, 3) and shape[0] < min(shape[1], channels)
        hint = ('; the axes are (H, W, C), models of data with channels first need data_format="channels_first"'
                if turned else "")
        raise ValueError(f"{owner}: {_kernel_words(kernel, dilation, extent, axes)} is larger than the input "
                         f"{_words(shape, axes)}{_padding_words(pairs, axes)}{hint}")
    output = [(size - span) // step + 1 for size, span, step in zip(padded, extent, stride)]
    if max(padded) > LARGEST or math.prod(padded) * channels > MOST_NUMBERS:
        raise ValueError(f"{owner}: {what} {_words(shape, axes)}{_padding_words(pairs, axes)} and {channels} channels "
                         f"are {math.prod(padded) * channels:,} numbers, more than this library computes")
    return Window(tuple(shape), tuple(output), kernel, stride, pairs, dilation)


@_remembered
def transposed_window(owner, shape, kernel, stride=1, padding="valid", output_padding=0, dilation=1, channels=1):
    """The `Window` of a transposed convolution of spatial sizes `shape`: that of the convolution which goes back.

    The transposed convolution's output is the window's input, and `shape` its output.

    Raises
    ------
    ValueError
        If a size is out of range, the padding leaves nothing, or the output has too many elements.

    Examples
    --------
    >>> transposed_window("conv2d_transpose", (7, 7), 4, stride=2, padding=1).input
    (14, 14)
    """
    axes = len(shape)
    padding, sizes = check_padding(owner, padding, axes), check_sizes(owner, "stride", stride, axes)
    extra = _both(check_output_padding(owner, output_padding, sizes, padding, axes), 0)
    kernel = _both(check_sizes(owner, "kernel_size", kernel, axes), 1)
    spacing = _both(check_sizes(owner, "dilation", dilation, axes), 1)
    steps, inner = _both(sizes, 1), shape if axes == 2 else (1, *shape)
    if padding == "same":
        outer = [size * step for size, step in zip(inner, steps)]
    else:
        extent = [(k - 1) * d + 1 for k, d in zip(kernel, spacing)]
        pairs = _pairs(owner, padding, axes, inner, extent, steps)
        outer = [(size - 1) * step + span - sum(pair) + more
                 for size, step, span, pair, more in zip(inner, steps, extent, pairs, extra)]
        if min(outer) < 1:
            raise ValueError(f"{owner}: {_kernel_words(kernel, spacing, extent, axes)} with stride "
                             f"{_words(steps, axes)}{_padding_words(pairs, axes)} and output_padding "
                             f"{_words(extra, axes)} makes nothing of the input {_words(inner, axes)}")
    return window(owner, tuple(outer[2 - axes:]), kernel if axes == 2 else kernel[1], stride, padding, dilation,
                  channels, "output")


def upsampling_window(owner, shape, size, channels=1):
    """The `Window` of a pooling that undoes an upsampling of spatial sizes `shape`."""
    axes = len(shape)
    times = _both(check_sizes(owner, "size", size, axes), 1)[2 - axes:]
    return window(owner, tuple(n * factor for n, factor in zip(shape, times)), size, size, channels=channels,
                  what="output")


@_remembered
def pooling_window(owner, shape, kernel, stride=None, padding="valid"):
    """The `Window` of a pooling over spatial sizes `shape`; the stride is the kernel's size unless given.

    Raises
    ------
    ValueError
        As `window`, if the padding is not smaller than the kernel (some windows would then hold nothing), and if the
        kernel takes in more than 2^24 elements of the input.
    """
    result = _countable(owner, window(owner, shape, kernel, kernel if stride is None else stride, padding), len(shape))
    for size, pair in zip(result.kernel, result.padding):
        if max(pair) >= size:
            axes = len(shape)
            raise ValueError(f"{owner}: padding must be smaller than the kernel, got kernel "
                             f"{_words(result.kernel, axes)}{_padding_words(result.padding, axes)}")
    return result


def global_window(owner, shape):
    """The `Window` that covers all of (L, C) or (H, W, C) at once."""
    if len(shape) not in (2, 3):
        raise ValueError(f"{owner}: expected an input of shape (L, C) or (H, W, C), got {shape}")
    return _countable(owner, window(owner, shape[:-1], shape[:-1] if len(shape) == 3 else shape[0]), len(shape) - 1)


def _countable(owner, result, axes):
    """A pooling's window, whose elements are numbered and whose sums are counted."""
    taken = math.prod(map(min, result.kernel, result.input))
    if taken > MOST_TAPS:
        raise ValueError(f"{owner}: a window of {_words(result.kernel, axes)} takes in {taken:,} elements of the input "
                         f"{_words(result.input, axes)}, more than this library computes with ({MOST_TAPS:,})")
    return result


def spatial(owner, shape, axes):
    """The spatial sizes and the channels of a sample of shape (L, C) or (H, W, C)."""
    if len(shape) != axes + 1:
        expected = "(L, C)" if axes == 1 else "(H, W, C)"
        hint = f"; with one channel it is {(*shape, 1)}" if len(shape) == axes else ""
        raise ValueError(f"{owner}: expected an input of shape {expected}, channels last, got {shape}{hint}")
    return shape[:-1], shape[-1]


def _bounded(owner, name, entry, at_least, value, form="an integer"):
    if type(entry) is int and at_least <= entry <= LARGEST:
        return entry
    entry = integer(owner, name if entry is value else f"{name} {value!r}: an entry", entry, form, at_least=at_least)
    if entry > LARGEST:
        raise ValueError(f"{owner}: {name} must be at most {LARGEST}, got {value!r}")
    return entry


def _both(value, first):
    """A size for two axes from one in the form of `check_sizes`."""
    return value if isinstance(value, tuple) else (first, value)


def _pairs(owner, value, axes, shape, extent, stride):
    value = check_padding(owner, value, axes)
    if value == "valid":
        return (0, 0), (0, 0)
    if value == "same":
        pairs = []
        for size, span, step in zip(shape, extent, stride):
            total = max((-(-size // step) - 1) * step + span - size, 0)
            pairs.append((total // 2, total - total // 2))
        return tuple(pairs)
    if axes == 1:
        return (0, 0), (value, value) if isinstance(value, int) else value
    return ((value, value), (value, value)) if isinstance(value, int) else value


# --- words for errors ------------------------------------------------------------------------------------------------

def _form(axes):
    return "an integer" if axes == 1 else "an integer or (h, w)"


def _padding_form(axes):
    return "'valid', 'same', an integer or " + ("(left, right)" if axes == 1 else "((top, bottom), (left, right))")


def _words(pair, axes):
    return str(pair[1]) if axes == 1 else f"{pair[0]} x {pair[1]}"


def _kernel_words(kernel, dilation, extent, axes):
    words = f"kernel {_words(kernel, axes)}"
    if max(dilation) > 1:
        words += f" with dilation {_words(dilation, axes)}, which spans {_words(extent, axes)},"
    return words


def _padding_words(pairs, axes):
    if not any(map(any, pairs)):
        return ""
    return f" with padding {pairs[1] if axes == 1 else pairs}"
