"""Images from folders, by Pillow."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..configurable import integer
from ..names import choose
from ..summary import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Array, PathLike

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MODES = {"rgb": "RGB", "gray": "L"}


@dataclass(frozen=True)
class Images:
    """What `image_folder` returns.

    Attributes
    ----------
    x : uint8 array (N, H, W, C)
        Divide by 255 in the network, by a first layer ``nf.Rescale(1 / 255)``: bytes are gathered as they are.
    y : int32 array (N,), or None without labels
    classes : list of str, or None without labels
        Names of the folders; ``model.class_names = images.classes`` saves them with the model.
    paths : list of str

    Examples
    --------
    >>> import numpy as np
    >>> from nnfast.data import Images
    >>> x, y = np.zeros((2, 6, 8, 3), np.uint8), np.array([0, 1], np.int32)
    >>> images = Images(x, y, classes=["cat", "dog"], paths=["cat/1.png", "dog/1.png"])
    >>> images, [images.classes[label] for label in images.y]
    (<Images: 2 of 6 x 8 x 3, 2 classes>, ['cat', 'dog'])
    """

    x: Array
    y: Array | None
    classes: list[str] | None
    paths: list[str]

    def __repr__(self) -> str:
        n, h, w, c = self.x.shape
        what = "no labels" if self.classes is None else counted(len(self.classes), "class")
        return f"<Images: {n} of {h} x {w} x {c}, {what}>"


def image_folder(path: PathLike, size: int | Sequence[int] | None = None, mode: Literal["rgb", "gray"] = "rgb",
                 classes: Sequence[str] | None = None, labels: bool = True) -> Images:
    """Read images that lie in one folder per class, or, to predict, anywhere in a folder.

    Parameters
    ----------
    path : str or os.PathLike
        A folder of folders of images: path/cat/1.png, path/dog/2.jpg.
    size : int or (height, width), optional
        Images of other sizes are scaled to it (bilinear, proportions are not kept). Needed where they differ.
    mode : {"rgb", "gray"}
        Three channels, or one. Where an image is transparent it becomes white.
    classes : list of str, optional
        Names of the folders in the order of their labels, for data that go with earlier ones; sorted by default.
    labels : bool
        False: read all images in the folder and those within it, whatever their names, or the one image `path` is.

    Returns
    -------
    Images

    Raises
    ------
    FileNotFoundError, ValueError
        If there are no such folders or images, an image is damaged, or sizes differ and none is asked for.
    ImportError
        Without Pillow: ``pip install 'nnfast[image]'``.

    Examples
    --------
    >>> import os, tempfile
    >>> from PIL import Image
    >>> import nnfast as nf
    >>> path = tempfile.mkdtemp()
    >>> for name, grey in [("black", 0), ("white", 255)]:
    ...     os.mkdir(os.path.join(path, name))
    ...     Image.new("L", (8, 6), grey).save(os.path.join(path, name, "1.png"))
    >>> images = nf.data.image_folder(path, mode="gray")
    >>> images, images.classes
    (<Images: 2 of 6 x 8 x 1, 2 classes>, ['black', 'white'])
    """
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("image_folder: needs Pillow; pip install 'nnfast[image]'") from None

    path = os.fspath(path)
    mode = choose("image_folder mode", mode, MODES)
    if size is not None:
        size = (size, size) if np.ndim(size) == 0 else tuple(size)  # type: ignore[arg-type]
        if len(size) != 2:
            raise ValueError(f"image_folder: size must be a number or (height, width), got {size!r}")
        size = tuple(integer("image_folder", "size", length, at_least=1) for length in size)
    if not labels:
        files = [path] if os.path.isfile(path) else images_below(path)
        return Images(read_images(files, size, mode, Image), None, None, files)
    if not os.path.isdir(path):
        raise FileNotFoundError(f"image_folder: {path!r} is not a folder")
    found = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise ValueError(f"image_folder: {path!r} has no folders in it; images of class 'cat' belong in "
                         f"{os.path.join(path, 'cat')!r}")
    if isinstance(classes, str):
        raise TypeError(f"image_folder: classes must be a list of names, got the text {classes!r}")
    if classes is None:
        classes = found
    elif twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise ValueError(f"image_folder: the class {twice[0]!r} is named twice; name every class once")
    elif unknown := [name for name in found if name not in classes]:
        raise ValueError(f"image_folder: the folder {unknown[0]!r} is not among the classes {', '.join(classes)}")
    paths: list[str] = []
    y = []
    for label, name in enumerate(classes):
        if name not in found:
            continue
        before = len(paths)
        for entry in sorted(os.listdir(os.path.join(path, name))):
            if is_image(entry):
                paths.append(os.path.join(path, name, entry))
                y.append(label)
        if len(paths) == before:
            raise ValueError(f"image_folder: no images ({', '.join(ENDINGS)}) in {os.path.join(path, name)!r}; put "
                             "some there, or remove the folder")
    x = read_images(paths, size, mode, Image)
    return Images(x, np.array(y, np.int32), list(classes), paths)


def is_image(name):
    return name.lower().endswith(ENDINGS) and not name.startswith(".")


def images_below(path):
    """The images in a folder and in those within it, sorted; each folder once, those with a dot first not at all."""
    if not os.path.isdir(path):
        raise FileNotFoundError(f"image_folder: there is no folder {path!r}")
    paths: list[str] = []
    seen = set()
    for folder, inner, names in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:        # links may lead back to where one came from
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        paths += [os.path.join(folder, name) for name in names if is_image(name)]
    if not paths:
        raise ValueError(f"image_folder: no images ({', '.join(ENDINGS)}) in {path!r} or a folder within it")
    return sorted(paths)


def read_images(paths, size, mode, Image):
    """uint8 array (N, H, W, C)."""
    from PIL import ImageOps

    arrays = []
    for file in paths:
        try:
            with Image.open(file) as opened:
                image = ImageOps.exif_transpose(opened)     # upright, as the camera was held; what follows forgets how
                if image.mode.startswith("I;16") or (image.mode == "I" and opened.format in ("PNG", "PPM")):
                    # Pillow would cut grey values of 16 bits off at 255.
                    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                elif image.mode in ("I", "F"):
                    raise ValueError(f"its grey values are {'floats' if image.mode == 'F' else 'integers of 32 bits'}, "
                                     "and nothing says which are black and white; bring them to 8 or 16 bits")
                elif image.has_transparency_data:       # what lies beneath is often black, whatever is drawn
                    image = image.convert("RGBA")
                    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                image = image.convert(MODES[mode])
                if size is not None and image.size != size[::-1]:
                    image = image.resize(size[::-1], Image.Resampling.BILINEAR)  # type: ignore[arg-type]
                arrays.append(np.asarray(image, np.uint8))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"image_folder: {file!r} cannot be read as an image: {error}; save it anew, or take "
                             "it out of the folder") from error
    sizes = Counter(a.shape[:2] for a in arrays)
    if len(sizes) > 1:
        listed = ", ".join(f"{count} of {h} x {w}" for (h, w), count in sizes.most_common(4))
        h, w = sizes.most_common(1)[0][0]
        raise ValueError(f"image_folder: the images have different sizes ({listed}{', ...' if len(sizes) > 4 else ''})"
                         f"; scale them to one with size=({h}, {w})")
    x = np.stack(arrays)
    return x if x.ndim == 4 else x[..., None]
