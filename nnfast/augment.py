"""Random changes of the training data, made anew in each epoch: ``model.fit(x, y, augment=[...])``.

==========  =====================================================================================  ===================
Flip        an image is mirrored, from left to right or upside down                                images (H, W, C)
Shift       an image is moved by some pixels, zeros come in: a random crop of the padded image     images (H, W, C)
Cutout      a rectangle of an image becomes zeros                                                  images (H, W, C)
Noise       Gaussian noise is added to each number                                                 any shape
Mixup       a sample is mixed with another one of its batch, and its target with that one's        any shape
==========  =====================================================================================  ===================

The compiled loop makes them, without Python, while it gathers the samples of a batch; the data set itself is neither
changed nor copied, and validation, `evaluate` and `predict` see it as it is.

* They are made in the order of the list. Mixup comes last, wherever it stands: it mixes samples that are augmented.
* They act on the data as they are given, before any layer: zeros, and the noise's standard deviation, are in the data's
  own unit, 0..255 for uint8 images, also where `nf.Rescale` follows. Nothing is rounded or clipped.
* Images may have channels first or last, as the model's data have.
* A target that is an image itself, or a map of labels (H, W), is flipped and shifted with the image. What Shift brings
  in from outside has no label, nor yes or no if the loss has an ignore_label; in other targets it is zero. Weights of
  pixels move with them, and what comes in has none. Cutout and Noise leave targets as they are, Mixup mixes them.
* The random numbers are a function of the model's seed, the optimizer's step, the sample's place in the batch and the
  operation's place in the list. Results depend neither on the number of threads nor on whether the data come from
  memory or from a memory map, and training goes on from a checkpoint to the same bits.
* A model with several inputs takes a dict, ``augment={"photo": [nf.augment.Flip()]}``; each input draws by itself.

Examples
--------
>>> import nnfast as nf
>>> (x, y), (x_test, y_test) = nf.datasets.digits(flatten=False)
>>> model = nf.Sequential([nf.Conv2D(8, 3, activation="relu"), nf.Flatten(), nf.Dense(10, activation="softmax")])
>>> model.compile(nf.Adam(0.01), "cross_entropy", metrics=["accuracy"])
>>> history = model.fit(x, y, epochs=5, augment=[nf.augment.Shift(1), nf.augment.Noise(0.05)], verbose=0)
>>> model.evaluate(x_test, y_test)["accuracy"] > 0.9
True
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._core.augment import Recipe
from .configurable import Configurable, Registry, boolean, integer, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .typing import Config, Shape

__all__ = ["Augmentation", "Cutout", "Flip", "Mixup", "Noise", "Shift"]


class Augmentation(Configurable):
    """Base of the operations.

    Attributes
    ----------
    kind : str
        Name of the compiled operation.
    for_images : bool
        Whether the input must be an image, (H, W, C).
    moves : bool
        Whether pixels change their places.

    Examples
    --------
    >>> import nnfast as nf
    >>> [isinstance(change, nf.augment.Augmentation) for change in (nf.augment.Flip(), nf.augment.Noise(0.1))]
    [True, True]
    """

    kind: str | None = None
    for_images = False
    moves = False

    def __init__(self) -> None:
        raise TypeError("Augmentation is the base class; use one of its subclasses")

    def describe(self) -> dict[str, Any]:
        """Return what the compiled loop has to know, as a dict."""
        return {"kind": self.kind}

    def check(self, shape: Shape, what: str) -> None:
        """Raise ValueError unless an input of this shape, in the model's order (H, W, C), can be changed so.

        `what` names the input, with its shape as the data have it, in the message.
        """
        if self.for_images and len(shape) != 3:
            raise ValueError(f"{type(self).__name__} is for images of height, width and channels; {what}")

    def check_target(self, shape: Shape, target_shape: Shape, name: str) -> None:
        """Raise ValueError unless the target of output `name`, an image, can be moved as an input of `shape` is."""


class Flip(Augmentation):
    """Mirror images: each kind of flip that is asked for happens by itself with the same probability.

    Parameters
    ----------
    horizontal : bool
        Left becomes right.
    vertical : bool
        Top becomes bottom.
    probability : float
        In [0, 1].

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.augment.Flip(vertical=True)
    Flip(vertical=True)
    """

    kind = "flip"
    for_images = moves = True

    def __init__(self, horizontal: bool = True, vertical: bool = False, probability: float = 0.5) -> None:
        self.horizontal = boolean("Flip", "horizontal", horizontal)
        self.vertical = boolean("Flip", "vertical", vertical)
        if not (horizontal or vertical):
            raise ValueError("Flip: horizontal and vertical are both False, so it would do nothing")
        self.probability = number("Flip", "probability", probability, at_least=0, at_most=1)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"pixels": (self.vertical, self.horizontal), "probability": self.probability}


class Shift(Augmentation):
    """Move images by whole pixels, with zeros where nothing comes in from: a random crop after padding with zeros.

    Parameters
    ----------
    pixels : int, or (int, int) for height and width
        Each direction is drawn by itself from -pixels..pixels, all equally likely.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.augment.Shift((0, 4)).pixels
    (0, 4)
    """

    kind = "shift"
    for_images = moves = True

    def __init__(self, pixels: int | Sequence[int]) -> None:
        self.pixels = size_of("Shift", "pixels", pixels, 0)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"pixels": height_and_width(self.pixels)}

    def check(self, shape: Shape, what: str) -> None:
        super().check(shape, what)
        if any(most >= size for most, size in zip(height_and_width(self.pixels), shape)):
            raise ValueError(f"Shift: pixels={self.pixels} can leave nothing of the image; {what}")

    def check_target(self, shape: Shape, target_shape: Shape, name: str) -> None:
        if shape[:2] != target_shape[:2]:
            raise ValueError(f"Shift moves the target of output {name!r} by as many pixels as the image, but it has "
                             f"{target_shape[0]} x {target_shape[1]} pixels, the image {shape[0]} x {shape[1]}; "
                             "augment both before fit")


class Cutout(Augmentation):
    """Set a rectangle of an image to zero, in all channels (DeVries and Taylor 2017).

    Its middle is any pixel, all equally likely, so a part of the rectangle may lie outside of the image.

    Parameters
    ----------
    size : int, or (int, int) for height and width
        Pixels.
    probability : float
        In [0, 1]; 1 by default.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> images, y = np.ones((8, 6, 6, 1)), np.arange(8) % 2
    >>> model = nf.Sequential([nf.Flatten(), nf.Dense(2, activation="softmax")], input_shape=(6, 6, 1))
    >>> model.compile("sgd", "cross_entropy")
    >>> history = model.fit(images, y, augment=nf.augment.Cutout((2, 3), probability=0.5), verbose=0)
    >>> history.epoch, bool(images.all())       # the data stay as they are
    ([0], True)
    """

    kind = "cutout"
    for_images = True

    def __init__(self, size: int | Sequence[int], probability: float = 1.0) -> None:
        self.size = size_of("Cutout", "size", size, 1)
        self.probability = number("Cutout", "probability", probability, at_least=0, at_most=1)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"pixels": height_and_width(self.size), "probability": self.probability}

    def check(self, shape: Shape, what: str) -> None:
        super().check(shape, what)
        if any(length > size for length, size in zip(height_and_width(self.size), shape)):
            raise ValueError(f"Cutout: size={self.size} is larger than the image; {what}")


class Noise(Augmentation):
    """Add independent normal numbers of mean 0 to all numbers of a sample.

    Parameters
    ----------
    deviation : float
        Standard deviation, in the unit of the data. Numbers beyond 6.7 deviations do not occur.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> model = nf.Sequential([nf.Dense(16, activation="tanh"), nf.Dense(1)])
    >>> model.compile(nf.Adam(0.01), "squared_error")
    >>> history = model.fit(x, x**2, epochs=100, augment=nf.augment.Noise(0.05), verbose=0)
    >>> model.evaluate(x, x**2)["loss"] < 0.05
    True
    """

    kind = "noise"

    def __init__(self, deviation: float) -> None:
        self.deviation = number("Noise", "deviation", deviation, at_least=0)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"deviation": self.deviation}


class Mixup(Augmentation):
    """Mix each sample i with another one of its batch, and its target with that one's (Zhang et al. 2018).

    x = s x_i + (1 - s) x_j and y = s y_i + (1 - s) y_j, for all inputs and targets alike. For each i, j is drawn from
    the other samples of the batch, and s is the larger one of l and 1 - l for an l from Beta(alpha, alpha): a sample
    keeps the larger part of itself. (Pairs that swap i and j are as likely, so this changes nothing on the whole.)
    Integer labels become two probabilities, and the loss is the cross-entropy with them. In a batch of one nothing is
    mixed.

    Weights of samples and pixels, and class weights, are those of sample i, so one of weight zero is still mixed into
    others; of a pixel the class weight is that of its larger part. Metrics compare with the mixed targets, so accuracy
    counts the class of the larger part.

    Parameters
    ----------
    alpha : float
        Above 0. The smaller, the more samples stay nearly what they are; 1 mixes with any share, larger values more and
        more by halves.

    Examples
    --------
    >>> import nnfast as nf
    >>> (x, y), (x_test, y_test) = nf.datasets.digits()
    >>> model = nf.Sequential([nf.Dense(64, activation="relu"), nf.Dense(10, activation="softmax")])
    >>> model.compile(nf.Adam(0.01), "cross_entropy", metrics=["accuracy"])
    >>> history = model.fit(x, y, epochs=10, augment=nf.augment.Mixup(0.2), verbose=0)
    >>> model.evaluate(x_test, y_test)["accuracy"] > 0.9
    True
    """

    kind = "mixup"

    def __init__(self, alpha: float = 0.2) -> None:
        self.alpha = number("Mixup", "alpha", alpha, above=0)


REGISTRY = Registry("augmentation", Augmentation, {
    "flip": Flip,
    "shift": Shift,
    "cutout": Cutout,
    "noise": Noise,
    "mixup": Mixup,
})


def get(identifier: str | Augmentation | type[Augmentation] | Config) -> Augmentation:
    """Return the augmentation for a name, an instance, a class or a configuration.

    >>> get("flip")
    Flip()
    """
    return REGISTRY.get(identifier)


def lists(augment, names):
    """What `fit` was given as a list of augmentations for each of the inputs called `names`."""
    if isinstance(augment, Mapping) and set(augment) != {"class", "config"}:
        unknown = [name for name in augment if name not in names]
        if unknown:
            raise ValueError(f"fit: augment names an unknown input {unknown[0]!r}; inputs: {', '.join(names)}")
        given = [augment.get(name, ()) for name in names]
    elif len(names) > 1:
        raise ValueError(f"fit: the model has {len(names)} inputs ({', '.join(names)}); augment must be a dict of "
                         "lists by input name")
    else:
        given = [augment]
    every = [[get(entry) for entry in (own if isinstance(own, (list, tuple)) else [own])] for own in given]
    if sum(isinstance(entry, Mixup) for own in every for entry in own) > 1:
        raise ValueError("fit: augment has several Mixups; one mixes all inputs and targets")
    return every


def recipe_of(augment, graph, model_name):
    """The argument `augment` of `fit`, compiled for the inputs and targets of a graph; None if there is nothing to do.

    Raises
    ------
    ValueError, TypeError
        For what is no augmentation or does not fit an input or a target, unknown inputs, and several Mixups.
    """
    every, operations, of_targets, alpha = lists(augment, graph.input_names), [], [], 0.0
    images = [i for i, shape in enumerate(graph.output_shapes) if len(shape) == 3]
    moving = [name for name, own in zip(graph.input_names, every) if any(entry.moves for entry in own)]
    if images and len(moving) > 1:
        raise ValueError(f"fit: augment moves the pixels of several inputs ({', '.join(moving)}), so it is not known "
                         f"with which of them the target of output {graph.output_names[images[0]]!r} is to move; "
                         "augment before fit")
    for name, own in zip(graph.input_names, graph.input_shapes):
        for output, shape in zip(graph.output_names, graph.output_shapes):
            if name in moving and len(own) == 3 and len(shape) == 2 and shape[0] == own[0] * own[1]:
                raise ValueError(f"fit: augment moves the pixels of input {name!r}, but not those of the target of "
                                 f"output {output!r}, whose shape {shape} hides rows and columns; make it "
                                 f"{(*own[:2], shape[1])}")
    mixes = any(isinstance(entry, Mixup) for own in every for entry in own)
    for name, ids, own in zip(graph.input_names, graph.ids, every):
        if ids is not None and (mixes or any(own)):
            what = "Mixup mixes all inputs" if mixes else f"augment changes {name!r}"
            raise ValueError(f"fit: {what}, but {name!r} holds ids, which the embedding {ids.reader!r} reads")
    for i, own in enumerate(every):
        shape = graph.input_shapes[i]
        what = f"input {graph.input_names[i]!r} of {model_name} has shape {graph.input_data_shapes[i]}"
        for place, entry in enumerate(own):
            entry.check(shape, what)
            if isinstance(entry, Mixup):
                alpha = entry.alpha
                continue
            spec = {**entry.describe(), "stream": (i, place)}
            operations.append({**spec, "port": i, "shape": shape})
            for at in images if entry.moves else ():
                entry.check_target(shape, graph.output_shapes[at], graph.output_names[at])
                of_targets.append({**spec, "port": at, "shape": graph.output_shapes[at]})
    if not any(every):
        return None
    return Recipe(operations, of_targets, alpha, [[entry.to_config() for entry in own] for own in every])


def size_of(owner, name, value, at_least):
    """One or two whole numbers of pixels."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{owner}: {name} must be a number or (height, width), got {value!r}")
        return tuple(integer(owner, name, part, at_least=at_least) for part in value)
    return integer(owner, name, value, at_least=at_least)


def height_and_width(value):
    return value if isinstance(value, tuple) else (value, value)
